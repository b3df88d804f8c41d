//! Where clients will connect, as the variables of an app say, against where this server listens.

use std::collections::BTreeMap;

use super::groups::Given;
use crate::config::Config;

/// Host, port and scheme of clients, as one server's apps name them.
const FAMILIES: [[&str; 3]; 3] = [
    ["PUSHER_HOST", "PUSHER_PORT", "PUSHER_SCHEME"],
    ["PUSHER_APP_HOST", "PUSHER_APP_PORT", "PUSHER_APP_SCHEME"],
    ["REVERB_HOST", "REVERB_PORT", "REVERB_SCHEME"],
];
/// What Laravel takes where nothing is set.
const SCHEME: &str = "https";

/// One line for each family of names that says something.
pub(in crate::config) fn lines(
    variables: &BTreeMap<String, String>,
    config: &Config,
) -> Vec<String> {
    let given = Given(variables);
    let families = FAMILIES
        .iter()
        .filter_map(|family| line(given, family, config));
    families.collect()
}

fn line(given: Given<'_>, family: &[&'static str; 3], config: &Config) -> Option<String> {
    let set = family.iter().filter(|name| given.get(name).is_some());
    let names: Vec<_> = set.copied().collect();
    let [host, port, scheme] = family;
    if names.is_empty() || names == ["PUSHER_PORT"] {
        // A port alone is the server's own.
        return None;
    }
    let host = given.get(host).unwrap_or("(no host)");
    let scheme = given.get(scheme).unwrap_or(SCHEME);
    let is_tls = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss");
    let dialled = given.get(port).unwrap_or(if is_tls { "443" } else { "80" });
    let tls = &config.server.tls;
    let has_tls = is_tls && tls.is_on();
    let listened = if has_tls {
        tls.port
    } else {
        config.server.port
    };
    let is_same = dialled.parse() == Ok(listened);
    let has_tls_alone = !is_tls && tls.is_on() && !config.server.has_plain_port();
    let bracketed = match host.contains(':') && !host.starts_with('[') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    };
    let clients = format!(
        "Clients connect to {scheme}://{bracketed}:{dialled} ({})",
        names.join(", ")
    );
    let here = format!("this server listens on port {listened}");
    Some(match (is_tls, is_same) {
        _ if has_tls_alone => format!(
            "{clients}, but this server listens on port {} with TLS alone: set {}=https for the app, unless a proxy has TLS towards this server",
            tls.port, family[2]
        ),
        (true, true) if has_tls => format!("{clients}; {here} with TLS"),
        (true, false) if has_tls => format!(
            "{clients}, but {here} with TLS: set LOUDHAILER_SERVER__TLS__PORT={dialled}, or {port}={listened} for the app, unless a proxy forwards one to the other"
        ),
        (false, true) => format!("{clients}; {here}"),
        (false, false) => format!(
            "{clients}, but {here}: set LOUDHAILER_SERVER__PORT={dialled}, or {port}={listened} for the app, unless a proxy forwards one to the other"
        ),
        (true, false) => format!(
            "{clients}; {here} without TLS: a proxy with a certificate must forward from there to here"
        ),
        (true, true) => format!(
            "{clients}, but {here} without TLS: set {} for the app, or give the port to a proxy with a certificate and LOUDHAILER_SERVER__PORT to this server",
            format_args!("{}=http", family[2])
        ),
    })
}
