//! Where host and credentials come from: flags, an env file, a profile, the environment; without any, the demo app.
//!
//! All credentials come from one source, and only flags replace single values: a key and a secret of two sources would fail later, at
//! the host.

mod variables;

use std::{
    collections::BTreeMap,
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Deserialize;
use url::Url;

use self::variables::{from_env_file, from_variables, variable};
use super::{
    Failure, Variables,
    secretbox::MasterKey,
    target::{Credentials, Endpoint, Security, Signer, Target},
};

/// The file of profiles below the user's configuration folder.
const PROFILES: &str = "loudhailer/profiles.toml";

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

/// The values of one source.
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
    /// These values, and the other source's where there are none.
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

    /// Replaces the address, if one is given.
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
    use super::{variables::MASTER_KEY, *};
    use crate::dotenv;

    fn variables(text: &str) -> Variables {
        dotenv::parse(text, &BTreeMap::new()).expect("no mistake")
    }

    pub(super) fn target(text: &str) -> Target {
        let target = Where::default().target(&variables(text));
        target.unwrap_or_else(|failure| panic!("{failure}: {text}"))
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
