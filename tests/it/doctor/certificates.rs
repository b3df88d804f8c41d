//! Certificates of an authority of our own, made by openssl: good ones and each kind of bad one.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::support::redis::run_to_end;

/// The name in the certificates.
pub(super) const NAME: &str = "ws.example.test";
/// The name of a run's folder begins like this and ends with its process id.
const FOLDER: &str = "certificates-of-";

const SCRIPT: &str = r#"
set -e
cd "$1"
new_key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
request() { openssl req $new_key -keyout "$1.key" -out "$1.csr" -subj "/CN=$2"; }
issue() { # name, issuer, days, extensions, clock
  printf "$4" > "$1.ext"
  faketime "$5" openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days "$3" -extfile "$1.ext" -out "$1.pem"
  cat "$1.pem" "$2.pem" > "$1.chain.pem"
  cat "$1.chain.pem" "$1.key" > "$1.all.pem"
}
leaf() { # name, common name, days, clock
  request "$1" "$2"
  issue "$1" issuer "$3" "basicConstraints=CA:FALSE\nsubjectAltName=DNS:$2\nextendedKeyUsage=serverAuth\n" "$4"
}
faketime '1 day ago' openssl req -x509 $new_key -keyout root.key -out root.pem -subj '/CN=Root of a test' -days 60
request issuer 'Issuer of a test'
issue issuer root 60 'basicConstraints=critical,CA:TRUE\nkeyUsage=keyCertSign,cRLSign\n' '1 day ago'
leaf good ws.example.test 60 '1 day ago'
leaf soon ws.example.test 7 '1 day ago'
leaf expired ws.example.test 1 '10 days ago'
leaf other other.example.test 60 '1 day ago'
cp good.key incomplete.key
cp good.pem incomplete.chain.pem
faketime '1 day ago' openssl req -x509 $new_key -keyout itself.key -out itself.chain.pem -subj /CN=ws.example.test -addext subjectAltName=DNS:ws.example.test -days 60
chmod a+r *
"#;

/// The folder with all of them.
pub(super) struct Certificates(PathBuf);

/// They are made once; the folders of runs that have ended are removed.
pub(super) fn certificates() -> &'static Certificates {
    static MADE: OnceLock<Certificates> = OnceLock::new();
    MADE.get_or_init(|| {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let run = name.strip_prefix(FOLDER);
            if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
                // Another run may remove it just now.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let folder = parent.join(format!("{FOLDER}{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let made = Certificates(folder);
        run_to_end("sh", &["-c", SCRIPT, "sh", &made.file(".")]);
        made
    })
}

impl Certificates {
    /// The certificate to trust.
    pub(super) fn authority(&self) -> String {
        self.file("root.pem")
    }

    /// nginx' lines for one of: good, soon, expired, other, incomplete, itself.
    pub(super) fn nginx(&self, name: &str) -> String {
        let (chain, key) = (self.chain(name), self.key(name));
        format!("ssl_certificate {chain}; ssl_certificate_key {key};")
    }

    pub(super) fn chain(&self, name: &str) -> String {
        self.file(&format!("{name}.chain.pem"))
    }

    pub(super) fn key(&self, name: &str) -> String {
        self.file(&format!("{name}.key"))
    }

    /// Chain and key in one file, for HAProxy.
    pub(super) fn all(&self, name: &str) -> String {
        self.file(&format!("{name}.all.pem"))
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}
