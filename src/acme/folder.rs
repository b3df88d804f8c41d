//! The folder of accounts, certificates and answers to challenges. Whatever is in it is written whole and readable for its owner alone.
//! Processes may share it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use url::Url;

use crate::tls::{Certificate, CertificateError, PairFiles};

/// Bytes of the answer to a challenge: a token, a dot and a thumbprint.
const ANSWER_BYTES_MAX: u64 = 512;
/// Characters of a token. Let's Encrypt's have 43.
const TOKEN_LENGTH_MAX: usize = 256;

/// What one ACME server's orders leave behind. The servers have nothing in common: certificates of a server for trying things out are not
/// served in place of others.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// Of the ACME server.
    own: PathBuf,
    challenges: PathBuf,
}

/// Keeps other processes from ordering, as long as it lives. The system takes it from a process that ends.
pub(super) struct Lock {
    _file: File,
}

/// The answer to an HTTP-01 challenge, for as long as it lives.
pub(super) struct HttpAnswer(PathBuf);

impl Folder {
    pub(super) fn new(folder: &str, directory: &Url) -> Self {
        let own = Path::new(folder).join(name_of(directory));
        let challenges = own.join("challenges");
        Self { own, challenges }
    }

    /// Makes what is missing.
    ///
    /// # Errors
    /// When it can't be made, or not be written to.
    pub(super) fn create(&self) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.challenges)?;
        try_to_write(&self.own)
    }

    /// Whether it could be made and written to. Leaves nothing behind.
    ///
    /// # Errors
    /// When not.
    pub(super) fn try_out(&self) -> io::Result<()> {
        let existing = self.own.ancestors().find(|folder| folder.exists());
        // A relative path begins here.
        let existing = existing.filter(|folder| !folder.as_os_str().is_empty());
        try_to_write(existing.unwrap_or(Path::new(".")))
    }

    pub(super) fn path(&self) -> &Path {
        &self.own
    }

    /// The file of a certificate with its chain and key.
    pub(super) fn certificate_file(&self, name: &str) -> PathBuf {
        self.own.join(format!("{name}.pem"))
    }

    /// The stored certificate of a name.
    ///
    /// # Errors
    /// Why it can't be served.
    pub(super) fn certificate(&self, name: &str) -> Result<Option<Certificate>, String> {
        let file = self.certificate_file(name);
        match Certificate::read(&PairFiles::in_one(file.clone())) {
            Ok(certificate) if certificate.names.iter().any(|it| it == name) => {
                Ok(Some(certificate))
            }
            Ok(_) => Err(format!("{} is for other names", file.display())),
            Err(CertificateError::Unreadable(_, error))
                if error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Stores a certificate with its chain and key.
    pub(super) fn store_certificate(&self, name: &str, pem: &str) -> io::Result<()> {
        write(&self.certificate_file(name), pem.as_bytes())
    }

    /// The stored account, if there is one that can be read.
    pub(super) fn account(&self) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.account_file()) {
            Ok(account) => Ok(Some(account)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn store_account(&self, account: &[u8]) -> io::Result<()> {
        write(&self.account_file(), account)
    }

    /// Puts an account aside that is of no use, so that the next one does not overwrite its key.
    pub(super) fn retire_account(&self) -> io::Result<()> {
        fs::rename(self.account_file(), self.own.join("account.unusable.json"))
    }

    pub(super) fn account_file(&self) -> PathBuf {
        self.own.join("account.json")
    }

    /// Takes the lock, unless another process has it. What others have left of challenges is removed.
    pub(super) fn lock(&self) -> io::Result<Option<Lock>> {
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let file = options.open(self.own.join("lock"))?;
        match file.try_lock() {
            Ok(()) => {
                self.clear_challenges()?;
                Ok(Some(Lock { _file: file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn clear_challenges(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.challenges)? {
            fs::remove_file(entry?.path())?;
        }
        Ok(())
    }

    /// Has every node that shares the folder answer requests for this token. Dropping the result ends that. The token is valid.
    pub(super) fn answer(&self, token: &str, authorization: &str) -> io::Result<HttpAnswer> {
        let file = self.challenges.join(token);
        write(&file, authorization.as_bytes())?;
        Ok(HttpAnswer(file))
    }

    /// The answer to a request for this token, which anybody may have sent.
    pub(super) fn find_answer(&self, token: &str) -> Option<String> {
        if !is_token(token) {
            return None;
        }
        let mut answer = String::new();
        let file = File::open(self.challenges.join(token)).ok()?;
        let read = file.take(ANSWER_BYTES_MAX).read_to_string(&mut answer);
        read.ok().map(|_| answer)
    }
}

impl Drop for HttpAnswer {
    fn drop(&mut self) {
        // What stays behind is removed with the next order.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether it is a token (RFC 8555 §8.1: base64url), and so the name of a file without a path.
pub(super) fn is_token(token: &str) -> bool {
    let is_base64url = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=TOKEN_LENGTH_MAX).contains(&token.len()) && token.chars().all(is_base64url)
}

/// The host and the path of a directory as the name of a folder: `acme-v02.api.letsencrypt.org-directory`.
fn name_of(directory: &Url) -> String {
    let port = directory.port().map(|port| format!("-{port}"));
    let text = format!(
        "{}{}{}",
        directory.host_str().unwrap_or_default(),
        port.unwrap_or_default(),
        directory.path().trim_end_matches('/')
    );
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    text.replace(|c: char| !is_plain(c), "-")
}

/// Writes a file beside its place and renames it, so that nobody sees half of it.
fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = file.as_os_str().to_owned();
    new.push(format!(".{}.new", std::process::id()));
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let written = options.open(&new).and_then(|mut opened| {
        opened.write_all(content)?;
        opened.sync_all()
    });
    written
        .and_then(|()| fs::rename(&new, file))
        .inspect_err(|_| drop(fs::remove_file(&new)))
}

fn try_to_write(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".loudhailer-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let opened = options.create(true).truncate(true).write(true).open(&probe);
    let named = |error: io::Error| {
        io::Error::other(format!("cannot write to {}: {error}", folder.display()))
    };
    opened.map_err(named)?;
    fs::remove_file(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_no_path() {
        assert!(is_token("evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"));
        let long = "a".repeat(257);
        for text in [
            "",
            ".",
            "..",
            "../account.json",
            "a/b",
            "a.b",
            "a b",
            "ä",
            &long,
        ] {
            assert!(!is_token(text), "{text}");
        }
    }

    #[test]
    fn each_acme_server_has_a_folder_of_its_own() {
        for (url, expected) in [
            (
                "https://acme-v02.api.letsencrypt.org/directory",
                "acme-v02.api.letsencrypt.org-directory",
            ),
            ("https://ca.test:9000/acme/../x/", "ca.test-9000-x"),
            ("https://[::1]/a?b", "---1--a"),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(name_of(&url), expected);
        }
    }
}
