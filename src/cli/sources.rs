//! Where host and credentials come from: flags, an env file, a profile, the environment; the demo app where nothing is said.
//!
//! Credentials come from one source as a whole, and only flags replace single ones: a key from here and a secret from there fail later,
//! and further away.

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use url::Url;

use super::{
    Failure, Variables,
    secretbox::MasterKey,
    target::{Credentials, Endpoint, Security, Signer, Target},
};
use crate::dotenv;

/// The file of profiles below the user's configuration folder.
const PROFILES: &str = "loudhailer/profiles.toml";
/// The variable with the key of encrypted channels, after Laravel's `encryption_master_key_base64`.
const MASTER_KEY: &str = "PUSHER_ENCRYPTION_MASTER_KEY_BASE64";

/// Which host and app a command talks to.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Host and app")]
pub(super) struct Where {
    /// The host's address, with path prefix, such as https://ws.example.com/ws.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The address that backends publish to, where it is another one.
    #[arg(long, value_name = "URL")]
    api_url: Option<String>,
    /// The app's id.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The app's key.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// The app's secret. Other users of this machine see arguments: prefer --env-file or a profile.
    #[arg(long, value_name = "SECRET")]
    secret: Option<String>,
    /// Take host and credentials from this .env file, read as Laravel reads it.
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    env_file: Option<PathBuf>,
    /// Take host and credentials from this profile in ~/.config/loudhailer/profiles.toml.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The key of encrypted channels: 32 bytes in Base64, as encryption_master_key_base64 has them. Other users of this machine see
    /// arguments.
    #[arg(long, value_name = "BASE64")]
    master_key: Option<String>,
}

/// The variables of one family of names.
struct Family {
    id: &'static str,
    key: &'static str,
    secret: &'static str,
    /// Empty for a server's own variables: it is on this machine.
    host: &'static [&'static str],
    port: &'static [&'static str],
    scheme: &'static [&'static str],
    path: &'static [&'static str],
    /// The same of the front end's build, which clients connect to.
    client_host: &'static [&'static str],
    client_port: &'static [&'static str],
    client_scheme: &'static [&'static str],
    /// With this the server's port has TLS.
    certificate: &'static [&'static str],
    /// Where the framework connects, or the server listens, without a port and a scheme.
    defaults: (&'static str, Security),
}

const FAMILIES: [Family; 4] = [
    Family {
        id: "PUSHER_APP_ID",
        key: "PUSHER_APP_KEY",
        secret: "PUSHER_APP_SECRET",
        host: &["PUSHER_HOST", "PUSHER_APP_HOST"],
        port: &["PUSHER_PORT", "PUSHER_APP_PORT"],
        scheme: &["PUSHER_SCHEME", "PUSHER_APP_SCHEME"],
        path: &["PUSHER_APP_PATH"],
        client_host: &["VITE_PUSHER_HOST", "MIX_PUSHER_HOST"],
        client_port: &["VITE_PUSHER_PORT", "MIX_PUSHER_PORT"],
        client_scheme: &["VITE_PUSHER_SCHEME", "MIX_PUSHER_SCHEME"],
        certificate: &[],
        defaults: ("443", Security::Tls),
    },
    Family {
        id: "REVERB_APP_ID",
        key: "REVERB_APP_KEY",
        secret: "REVERB_APP_SECRET",
        host: &["REVERB_HOST"],
        port: &["REVERB_PORT"],
        scheme: &["REVERB_SCHEME"],
        path: &[],
        client_host: &["VITE_REVERB_HOST"],
        client_port: &["VITE_REVERB_PORT"],
        client_scheme: &["VITE_REVERB_SCHEME"],
        certificate: &[],
        defaults: ("443", Security::Tls),
    },
    Family {
        id: "SOKETI_DEFAULT_APP_ID",
        key: "SOKETI_DEFAULT_APP_KEY",
        secret: "SOKETI_DEFAULT_APP_SECRET",
        host: &[],
        port: &["SOKETI_PORT"],
        scheme: &[],
        path: &["SOKETI_PATH_PREFIX"],
        client_host: &[],
        client_port: &[],
        client_scheme: &[],
        certificate: &["SOKETI_SSL_CERT"],
        defaults: ("6001", Security::Plain),
    },
    Family {
        id: "LOUDHAILER_APPS__0__ID",
        key: "LOUDHAILER_APPS__0__KEY",
        secret: "LOUDHAILER_APPS__0__SECRET",
        host: &[],
        port: &["LOUDHAILER_SERVER__PORT"],
        scheme: &[],
        path: &["LOUDHAILER_SERVER__PATH_PREFIX"],
        client_host: &[],
        client_port: &[],
        client_scheme: &[],
        certificate: &[],
        defaults: ("6001", Security::Plain),
    },
];

/// What one source says.
#[derive(Default)]
struct Said {
    id: Option<String>,
    key: Option<String>,
    secret: Option<String>,
    api: Option<Endpoint>,
    socket: Option<Endpoint>,
    master_key: Option<String>,
    source: String,
}

impl Said {
    /// Replaces what the other says, and keeps the rest.
    fn or(self, other: Self) -> Self {
        let source = sources(&other, &self);
        // One address stands for both, where the arguments name no other for backends.
        let api = self.api.or_else(|| self.socket.clone()).or(other.api);
        Self {
            id: self.id.or(other.id),
            key: self.key.or(other.key),
            secret: self.secret.or(other.secret),
            socket: self.socket.or(other.socket).or_else(|| api.clone()),
            api,
            master_key: self.master_key.or(other.master_key),
            source,
        }
    }

    fn names_an_app(&self) -> bool {
        self.id.is_some() || self.key.is_some() || self.secret.is_some()
    }

    fn required(&self, value: &Option<String>, name: &str, flag: &str) -> Result<String, Failure> {
        value.clone().ok_or_else(|| self.missing(name, flag))
    }

    fn missing(&self, name: &str, flag: &str) -> Failure {
        Failure::Usage(format!(
            "the {name} is missing: give --{flag}, --env-file or --profile (looked in {})",
            self.source
        ))
    }

    /// The app's key and secret.
    fn signer(&self) -> Result<Signer, Failure> {
        Ok(Signer {
            key: self.required(&self.key, "app's key", "key")?,
            secret: self.required(&self.secret, "app's secret", "secret")?,
        })
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let id = self.required(&self.id, "app's id", "id")?;
        let Signer { key, secret } = self.signer()?;
        Ok(Credentials { id, key, secret })
    }
}

impl Where {
    /// The host and the app.
    ///
    /// # Errors
    /// When a source cannot be read, or something is missing.
    pub(super) fn target(&self, environment: &Variables) -> Result<Target, Failure> {
        let said = self.said(environment)?;
        let master_key = said.master_key.as_deref().map(MasterKey::parse).transpose();
        let host = || said.missing("host", "url");
        let socket = said.socket.clone().ok_or_else(host)?;
        Ok(Target {
            api: said.api.clone().unwrap_or_else(|| socket.clone()),
            socket,
            app: said.credentials()?,
            master_key: master_key.map_err(Failure::Usage)?,
            source: said.source,
        })
    }

    /// The app's key and secret, for signatures that need no host.
    ///
    /// # Errors
    /// When a source cannot be read, or something is missing.
    pub(super) fn signer(&self, environment: &Variables) -> Result<Signer, Failure> {
        self.said(environment)?.signer()
    }

    /// The same, with this address instead of its own, if it is given.
    pub(super) fn at(mut self, url: Option<String>) -> Self {
        self.url = url.or(self.url);
        self
    }

    fn said(&self, environment: &Variables) -> Result<Said, Failure> {
        let said = match (&self.env_file, &self.profile) {
            (Some(file), _) => from_env_file(file, environment)?,
            (None, Some(name)) => from_profile(name, environment)?,
            (None, None) => from_variables(environment, "the environment")?,
        };
        let flagged = self.flagged()?;
        let is_named = self.env_file.is_some() || self.profile.is_some();
        let names_an_app = said.names_an_app() || flagged.names_an_app();
        if is_named || names_an_app || is_elsewhere(&said, &flagged) {
            Ok(flagged.or(said))
        } else {
            Ok(flagged.or(Said {
                master_key: said.master_key,
                ..demo()
            }))
        }
    }

    fn flagged(&self) -> Result<Said, Failure> {
        let endpoint = |url: &Option<String>| url.as_deref().map(endpoint_of).transpose();
        Ok(Said {
            id: self.id.clone(),
            key: self.key.clone(),
            secret: self.secret.clone(),
            api: endpoint(&self.api_url)?,
            socket: endpoint(&self.url)?,
            master_key: self.master_key.clone(),
            source: "the arguments".to_owned(),
        })
    }
}

/// Whether a host other than this machine was named, for which the demo app would be a guess.
fn is_elsewhere(said: &Said, flagged: &Said) -> bool {
    let named = [&flagged.api, &flagged.socket, &said.api, &said.socket];
    named
        .into_iter()
        .flatten()
        .any(|endpoint| !["localhost", "127.0.0.1", "::1"].contains(&endpoint.host.as_str()))
}

fn sources(said: &Said, flagged: &Said) -> String {
    let from_arguments = [&flagged.id, &flagged.key, &flagged.secret];
    match from_arguments.iter().filter(|it| it.is_some()).count() {
        0 => said.source.clone(),
        3 => flagged.source.clone(),
        _ => format!("{} and {}", said.source, flagged.source),
    }
}

fn demo() -> Said {
    Said {
        id: Some("1001".to_owned()),
        key: Some("app-key".to_owned()),
        secret: Some("app-secret".to_owned()),
        socket: Some(Endpoint {
            security: Security::Plain,
            host: "127.0.0.1".to_owned(),
            port: 6001,
            path: String::new(),
        }),
        source: "the demo app".to_owned(),
        ..Said::default()
    }
}

/// Reads a URL. The path stays as it was written, save that `/` alone is no path.
pub(super) fn endpoint_of(text: &str) -> Result<Endpoint, Failure> {
    // What precedes an @ may be a password.
    let shown = text.rsplit('@').next().unwrap_or_default();
    let bad =
        |reason: &str| Failure::Usage(format!("{shown:?} is not the URL of a host: {reason}"));
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url = Url::parse(&with_scheme).map_err(|error| bad(&error.to_string()))?;
    let security = Security::of_scheme(url.scheme()).ok_or_else(|| {
        bad("it begins neither with https:// or wss:// nor with http:// or ws://")
    })?;
    let host = url.host_str().ok_or_else(|| bad("it has no host"))?;
    if !url.username().is_empty() || url.query().is_some() || url.fragment().is_some() {
        return Err(bad("only host, port and path belong here"));
    }
    let path = match url.path() {
        "/" => "",
        path => path,
    };
    Ok(Endpoint {
        security,
        host: host.trim_matches(['[', ']']).to_owned(),
        port: url.port().unwrap_or(security.default_port()),
        path: path.to_owned(),
    })
}

/// The variables of an env file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read_env_file(file: &Path, environment: &Variables) -> Result<Variables, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("cannot read {shown}: {error}")))?;
    dotenv::parse(&text, environment)
        .map_err(|mistake| Failure::Usage(format!("{shown}, {mistake}")))
}

fn from_env_file(file: &Path, environment: &Variables) -> Result<Said, Failure> {
    let variables = read_env_file(file, environment)?;
    let shown = file.display().to_string();
    let said = from_variables(&variables, &shown)?;
    if said.key.is_none() {
        return Err(Failure::Usage(format!(
            "{shown} has none of PUSHER_APP_KEY, REVERB_APP_KEY, SOKETI_DEFAULT_APP_KEY and LOUDHAILER_APPS__0__KEY"
        )));
    }
    Ok(said)
}

/// A variable that says something: Laravel reads `null` and `empty`, bare or in brackets, as no value.
pub(super) fn variable<'a>(variables: &'a Variables, name: &str) -> Option<&'a str> {
    let text = variables.get(name)?.trim();
    let nothing = ["", "null", "(null)", "empty", "(empty)"];
    let says_nothing = nothing.iter().any(|it| text.eq_ignore_ascii_case(it));
    (!says_nothing).then_some(text)
}

/// The family that the framework uses, else the first whose key is there.
fn family(variables: &Variables) -> Option<&'static Family> {
    let connection = ["BROADCAST_CONNECTION", "BROADCAST_DRIVER"]
        .iter()
        .find_map(|name| variable(variables, name));
    let named = match connection {
        Some("pusher") => Some(&FAMILIES[0]),
        Some("reverb") => Some(&FAMILIES[1]),
        _ => None,
    };
    let is_there = |family: &&Family| variable(variables, family.key).is_some();
    named
        .filter(is_there)
        .or_else(|| FAMILIES.iter().find(is_there))
}

fn from_variables(variables: &Variables, source: &str) -> Result<Said, Failure> {
    let master_key = variable(variables, MASTER_KEY).map(str::to_owned);
    let Some(family) = family(variables) else {
        return Ok(Said {
            master_key,
            source: source.to_owned(),
            ..Said::default()
        });
    };
    let first = |names: &[&str]| {
        let found = names.iter().find_map(|name| variable(variables, name));
        found.map(str::to_owned)
    };
    let path = first(family.path).unwrap_or_default();
    let has_certificate = first(family.certificate).is_some();
    let own_scheme = has_certificate.then(|| "https".to_owned());
    let api = family.endpoint(
        first(family.host)
            .or_else(|| hosted_name(variables, family, "api"))
            .or_else(|| family.host.is_empty().then(|| "127.0.0.1".to_owned())),
        first(family.port),
        first(family.scheme).or(own_scheme),
        &path,
    )?;
    let socket = family.endpoint(
        first(family.client_host).or_else(|| hosted_name(variables, family, "ws")),
        first(family.client_port),
        first(family.client_scheme),
        &path,
    )?;
    let own = |name: &str| variable(variables, name).map(str::to_owned);
    Ok(Said {
        id: own(family.id),
        key: own(family.key),
        secret: own(family.secret),
        api,
        socket,
        master_key,
        source: source.to_owned(),
    })
}

/// Pusher's own host, if the variables name a cluster and no host, as Laravel understands them.
fn hosted_name(variables: &Variables, family: &Family, role: &str) -> Option<String> {
    let names_host = |names: &[&str]| names.iter().any(|name| variable(variables, name).is_some());
    if family.key != "PUSHER_APP_KEY" || names_host(family.host) {
        return None;
    }
    let cluster = variable(variables, "PUSHER_APP_CLUSTER")?;
    Some(format!("{role}-{cluster}.pusher.com"))
}

impl Family {
    fn endpoint(
        &self,
        host: Option<String>,
        port: Option<String>,
        scheme: Option<String>,
        path: &str,
    ) -> Result<Option<Endpoint>, Failure> {
        let Some(host) = host else {
            return Ok(None);
        };
        let (default_port, default_security) = self.defaults;
        let security = match scheme {
            Some(scheme) => Security::of_scheme(&scheme).ok_or_else(|| {
                Failure::Usage(format!("the scheme {scheme:?} is neither http nor https"))
            })?,
            None => default_security,
        };
        let port = port.unwrap_or_else(|| default_port.to_owned());
        let port = port
            .parse()
            .map_err(|_| Failure::Usage(format!("the port {port:?} is not a port")))?;
        Ok(Some(Endpoint {
            security,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path: path.to_owned(),
        }))
    }
}

/// One profile.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    url: Option<String>,
    api_url: Option<String>,
    id: Option<String>,
    key: Option<String>,
    secret: Option<String>,
    master_key: Option<String>,
}

fn from_profile(name: &str, environment: &Variables) -> Result<Said, Failure> {
    let file = profiles_file(environment)?;
    let shown = file.display();
    let usage = |reason: &dyn Display| Failure::Usage(format!("{shown}: {reason}"));
    let text = fs::read_to_string(&file).map_err(|error| usage(&error))?;
    let profiles: BTreeMap<String, toml::Value> =
        // The error's own text quotes the line, which may hold a secret.
        toml::from_str(&text).map_err(|error: toml::de::Error| usage(&error.message()))?;
    let Some(profile) = profiles.get(name) else {
        let known: Vec<_> = profiles.keys().map(String::as_str).collect();
        let known = known.join(", ");
        return Err(usage(&format!("no profile {name:?}; there are {known}")));
    };
    let profile: Profile = profile
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| usage(&format!("[{name}]: {}", error.message())))?;
    let endpoint = |url: Option<&String>| url.map(|url| endpoint_of(url)).transpose();
    Ok(Said {
        api: endpoint(profile.api_url.as_ref().or(profile.url.as_ref()))?,
        socket: endpoint(profile.url.as_ref())?,
        id: profile.id,
        key: profile.key,
        secret: profile.secret,
        master_key: profile.master_key,
        source: format!("profile {name}"),
    })
}

fn profiles_file(environment: &Variables) -> Result<PathBuf, Failure> {
    let folder = match variable(environment, "XDG_CONFIG_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => {
            let home = variable(environment, "HOME").ok_or_else(|| {
                Failure::Usage("a profile needs HOME or XDG_CONFIG_HOME".to_owned())
            })?;
            Path::new(home).join(".config")
        }
    };
    Ok(folder.join(PROFILES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(text: &str) -> Variables {
        dotenv::parse(text, &BTreeMap::new()).expect("no mistake")
    }

    fn target(text: &str) -> Target {
        let target = Where::default().target(&variables(text));
        target.unwrap_or_else(|failure| panic!("{failure}: {text}"))
    }

    #[test]
    fn each_framework_s_variables_are_read_as_it_reads_them() {
        let app = "APP_ID=1\nX_APP_KEY=k\nX_APP_SECRET=s\n";
        let pusher = app
            .replace("X_", "PUSHER_")
            .replace("APP_ID=1", "PUSHER_APP_ID=1");
        let reverb = pusher.replace("PUSHER_", "REVERB_");
        let soketi = pusher.replace("PUSHER_APP", "SOKETI_DEFAULT_APP");
        let loudhailer = pusher.replace("PUSHER_APP_", "LOUDHAILER_APPS__0__");
        for (text, api, socket) in [
            (
                format!("{pusher}PUSHER_HOST=ws.example.com"),
                "https://ws.example.com",
                "https://ws.example.com",
            ),
            (
                format!(
                    "{pusher}PUSHER_HOST=127.0.0.1\nPUSHER_PORT=6001\nPUSHER_SCHEME=http\nVITE_PUSHER_HOST=ws.example.com"
                ),
                "http://127.0.0.1:6001",
                "https://ws.example.com",
            ),
            (
                format!(
                    "{pusher}PUSHER_APP_HOST=h\nPUSHER_APP_PATH=/ws\nPUSHER_APP_SCHEME=http\nPUSHER_APP_PORT=80"
                ),
                "http://h/ws",
                "http://h/ws",
            ),
            (
                format!("{pusher}PUSHER_APP_CLUSTER=eu"),
                "https://api-eu.pusher.com",
                "https://ws-eu.pusher.com",
            ),
            (
                format!("{reverb}REVERB_HOST=localhost\nREVERB_PORT=8080\nREVERB_SCHEME=http"),
                "http://localhost:8080",
                "http://localhost:8080",
            ),
            (
                format!(
                    "{pusher}{reverb}BROADCAST_CONNECTION=reverb\nREVERB_HOST=r\nPUSHER_HOST=p"
                ),
                "https://r",
                "https://r",
            ),
            (
                format!("{soketi}SOKETI_PORT=7001"),
                "http://127.0.0.1:7001",
                "http://127.0.0.1:7001",
            ),
            (
                format!("{soketi}SOKETI_SSL_CERT=/etc/ssl/ws.crt"),
                "https://127.0.0.1:6001",
                "https://127.0.0.1:6001",
            ),
            (
                format!("{loudhailer}LOUDHAILER_SERVER__PATH_PREFIX=/ws"),
                "http://127.0.0.1:6001/ws",
                "http://127.0.0.1:6001/ws",
            ),
        ] {
            let target = target(&text);
            assert_eq!(target.api.to_string(), api, "{text}");
            assert_eq!(target.socket.to_string(), socket, "{text}");
            assert_eq!(target.app.secret, "s");
        }
    }

    #[test]
    fn the_demo_app_is_taken_only_where_nothing_is_said() {
        assert_eq!(target("").app.key, "app-key");
        let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        assert!(target(&format!("{MASTER_KEY}={key}")).master_key.is_some());
        assert_eq!(target("").socket.to_string(), "http://127.0.0.1:6001");
        for (text, missing) in [
            ("PUSHER_APP_KEY=k\nPUSHER_APP_ID=1\nPUSHER_HOST=h", "secret"),
            ("PUSHER_APP_KEY=k\nPUSHER_APP_SECRET=s\nPUSHER_HOST=h", "id"),
            (
                "PUSHER_APP_KEY=k\nPUSHER_APP_SECRET=s\nPUSHER_APP_ID=1",
                "host",
            ),
        ] {
            let failure = Where::default().target(&variables(text)).err();
            let failure = failure.unwrap_or_else(|| panic!("{text}")).to_string();
            assert!(failure.contains(missing), "{failure}");
        }
        let elsewhere = Where {
            url: Some("https://ws.example.com".to_owned()),
            ..Where::default()
        };
        assert!(elsewhere.target(&BTreeMap::new()).is_err());
    }

    #[test]
    fn a_url_is_host_port_and_path() {
        for (text, expected) in [
            ("ws.example.com", Some("https://ws.example.com")),
            ("http://127.0.0.1:6001/", Some("http://127.0.0.1:6001")),
            ("wss://[::1]:8443/ws/", Some("https://[::1]:8443/ws/")),
            ("ftp://h", None),
            ("https://user:hidden@h", None),
            ("https://h/?key=k", None),
        ] {
            let read = endpoint_of(text);
            let shown = read.as_ref().map(ToString::to_string);
            assert_eq!(shown.ok().as_deref(), expected, "{text}");
            let said = read.err().map(|failure| failure.to_string());
            assert!(!said.unwrap_or_default().contains("hidden"), "{text}");
        }
    }

    #[test]
    fn flags_replace_single_values() {
        let flags = Where {
            url: Some("wss://other.example.com/ws/".to_owned()),
            secret: Some("other".to_owned()),
            ..Where::default()
        };
        let environment = variables("PUSHER_APP_ID=1\nPUSHER_APP_KEY=k\nPUSHER_APP_SECRET=s");
        let target = flags
            .target(&environment)
            .unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(target.app.secret, "other");
        assert_eq!(target.app.key, "k");
        assert_eq!(target.api.to_string(), "https://other.example.com/ws/");
        assert_eq!(target.socket, target.api);
    }
}
