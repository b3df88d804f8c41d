//! The variables that frameworks and servers have for a host and an app, in the environment or in an env file.

use std::{fs, path::Path};

use super::Said;
use crate::{
    cli::{
        Failure, Variables,
        target::{Endpoint, Security},
    },
    dotenv,
};

/// The variable with the key of encrypted channels, after Laravel's `encryption_master_key_base64`.
pub(super) const MASTER_KEY: &str = "PUSHER_ENCRYPTION_MASTER_KEY_BASE64";

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
    /// The same for clients, from the front end's build.
    client_host: &'static [&'static str],
    client_port: &'static [&'static str],
    client_scheme: &'static [&'static str],
    /// If it is set, the server's port has TLS.
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

/// The variables of an env file.
///
/// # Errors
/// When it cannot be read.
fn read_env_file(file: &Path, environment: &Variables) -> Result<Variables, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::Usage(format!("cannot read {shown}: {error}")))?;
    dotenv::parse(&text, environment)
        .map_err(|mistake| Failure::Usage(format!("{shown}, {mistake}")))
}

pub(super) fn from_env_file(file: &Path, environment: &Variables) -> Result<Said, Failure> {
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

/// The value of a variable. Laravel reads `null` and `empty`, bare or in brackets, as no value.
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

pub(super) fn from_variables(variables: &Variables, source: &str) -> Result<Said, Failure> {
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

#[cfg(test)]
mod tests {
    use super::super::tests::target;

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
}
