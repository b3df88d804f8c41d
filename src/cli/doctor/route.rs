//! Where `/app` and `/apps` lead: from what was tried to what the proxy does. Pure.

use super::{
    fault::Fault,
    judge::{Finding, Verdict},
    seen::{Answer, Opened, Routes, Signed, Tried},
};
use crate::protocol::CloseCode;

/// Paths that hosts are put under.
const PREFIXES: [&str; 10] = [
    "",
    "/ws",
    "/wss",
    "/socket",
    "/pusher",
    "/reverb",
    "/soketi",
    "/websocket",
    "/websockets",
    "/broadcasting",
];

/// Who answers at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A Pusher host, whatever it says.
    Here,
    /// A Pusher host that was asked for something else than an upgrade.
    NoUpgrade,
    /// Somebody else, who has nothing there.
    Nothing,
    /// A proxy that does not reach its server.
    Down,
    /// A proxy that points elsewhere.
    Redirected,
    /// A proxy that refuses.
    Blocked,
    /// Nobody who speaks HTTP.
    Silence,
}

/// A thing that was tried.
pub(super) trait Placed {
    fn place(&self) -> Place;
    fn shown(&self) -> String;
}

impl Placed for Signed {
    fn place(&self) -> Place {
        let Ok(answer) = self else {
            return Place::Silence;
        };
        let mentions_app = |text: &str| text.to_lowercase().contains("app");
        match answer.host_error() {
            Some((404, reason)) if !mentions_app(&reason) => return Place::Nothing,
            Some(_) => return Place::Here,
            None => {}
        }
        match answer.status {
            200 if answer.text.trim_start().starts_with('{') => Place::Here,
            401 | 403 if !is_a_proxys(answer) => Place::Here,
            404 if !answer.is_html() && mentions_app(&answer.text) => Place::Here,
            _ => foreign(answer),
        }
    }

    fn shown(&self) -> String {
        match self {
            Ok(answer) => answer.shown(),
            Err(error) => error.clone(),
        }
    }
}

impl Placed for Opened {
    fn place(&self) -> Place {
        let answer = match self {
            Self::Refused { code, .. } if *code == Some(CloseCode::PathNotFound.number()) => {
                return Place::Nothing;
            }
            Self::Greeted | Self::Refused { .. } | Self::Silent => return Place::Here,
            Self::Broken(_) => return Place::Silence,
            Self::NotUpgraded(answer) => answer,
        };
        match answer.status {
            400 | 426 => Place::NoUpgrade,
            _ if answer.host_error().is_some() => Place::NoUpgrade,
            _ => foreign(answer),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Greeted => "greeted".to_owned(),
            Self::Refused { reason, .. } => reason.clone(),
            Self::Silent => "upgraded, then silence".to_owned(),
            Self::Broken(error) => error.clone(),
            Self::NotUpgraded(answer) => answer.shown(),
        }
    }
}

/// Whether a refusal comes from something that guards the host.
fn is_a_proxys(answer: &Answer) -> bool {
    answer.challenge.is_some() || answer.is_html()
}

fn foreign(answer: &Answer) -> Place {
    match answer.status {
        301..=308 => Place::Redirected,
        401 | 403 | 407 | 429 => Place::Blocked,
        502..=504 | 520..=530 => Place::Down,
        _ => Place::Nothing,
    }
}

/// Paths to try where nothing is under the one that was written.
pub(super) fn other_prefixes(written: &str) -> Vec<String> {
    // Many copy the whole path of a client, or end it with a slash.
    let before_app = written.split("/app").next().unwrap_or_default();
    let mut prefixes = vec![single(written), single(before_app)];
    prefixes.extend(PREFIXES.map(str::to_owned));
    let mut others: Vec<String> = Vec::new();
    for prefix in prefixes {
        if prefix != written && !others.contains(&prefix) {
            others.push(prefix);
        }
    }
    others
}

/// A path with single slashes, and none at its end.
fn single(path: &str) -> String {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments.map(|segment| format!("/{segment}")).collect()
}

pub(super) fn routes(routes: &Routes) -> Verdict {
    let (socket, api) = (routes.socket.written.place(), routes.api.written.place());
    let mut findings = Vec::new();
    findings.extend(plain_fault(&routes.socket, "/app"));
    findings.extend(plain_fault(&routes.api, "/apps"));
    findings.extend(elsewhere(&routes.socket, "/app"));
    findings.extend(elsewhere(&routes.api, "/apps"));
    if findings.is_empty() {
        findings.extend(missing(routes, &socket, &api));
    }
    if findings.is_empty() {
        let (socket, api) = (&routes.socket.endpoint, &routes.api.endpoint);
        return Verdict::Fine(format!("{socket}/app upgrades, {api}/apps answers"));
    }
    Verdict::Found(merged(findings))
}

/// One finding of each fault.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        match merged.iter_mut().find(|other| other.fault == finding.fault) {
            Some(other) => other.seen = format!("{}; {}", other.seen, finding.seen),
            None => merged.push(finding),
        }
    }
    merged
}

/// What is wrong whatever the path.
fn plain_fault<T: Placed>(tried: &Tried<T>, path: &str) -> Option<Finding> {
    let fault = match tried.written.place() {
        Place::Down => Fault::ServerDown,
        Place::Redirected => Fault::Redirected,
        Place::Blocked => Fault::RequestRefused,
        Place::Silence => Fault::NoHttp,
        Place::Here | Place::NoUpgrade | Place::Nothing => return None,
    };
    let seen = format!("{}{path}: {}", tried.endpoint, tried.written.shown());
    Some(Finding { fault, seen })
}

/// A path under which the host is, if not under the one that was written.
fn elsewhere<T: Placed>(tried: &Tried<T>, path: &str) -> Option<Finding> {
    let is_here = |(_, one): &&(String, T)| one.place() == Place::Here;
    let (prefix, _) = tried.others.iter().find(is_here)?;
    let written = &tried.endpoint.path;
    let fault = match *prefix == single(written) {
        true => Fault::DoubledSlash,
        false => Fault::WrongPrefix,
    };
    let shown = tried.written.shown();
    let seen = format!("{written}{path}: {shown}; {prefix}{path} is the host");
    Some(Finding { fault, seen })
}

/// What the proxy does not forward.
fn missing(routes: &Routes, socket: &Place, api: &Place) -> Vec<Finding> {
    let found = |fault, seen: String| Finding { fault, seen };
    let upgrade = format!(
        "an upgrade of {}/app: {}",
        routes.socket.endpoint,
        routes.socket.written.shown()
    );
    let request = format!(
        "{}/apps: {}",
        routes.api.endpoint,
        routes.api.written.shown()
    );
    let says_upgrade =
        matches!(&routes.socket.written, Opened::NotUpgraded(answer) if answer.status == 426);
    match (socket, api) {
        (Place::NoUpgrade, Place::Here) => vec![found(Fault::NoUpgrade, upgrade)],
        (Place::NoUpgrade, _) if says_upgrade => vec![
            found(Fault::NoUpgrade, upgrade),
            found(Fault::AppsNotForwarded, request),
        ],
        (Place::Nothing, Place::Here) => vec![found(Fault::AppNotForwarded, upgrade)],
        (Place::Here, Place::Nothing) => vec![found(Fault::AppsNotForwarded, request)],
        (Place::Here, _) => Vec::new(),
        _ => {
            let tried: Vec<_> = routes
                .api
                .others
                .iter()
                .map(|(prefix, _)| format!("{prefix}/"))
                .collect();
            let seen = format!(
                "{request}; {upgrade}; no host under {} either",
                tried.join(", ")
            );
            let fault = match is_blind_to_host(routes) {
                true => Fault::HostRewritten,
                false => Fault::WrongPrefix,
            };
            vec![found(fault, seen)]
        }
    }
}

/// Whether a Host that nobody has gets the same answer.
fn is_blind_to_host(routes: &Routes) -> bool {
    let (Some(Ok(nobody)), Ok(written)) = (&routes.of_nobody, &routes.api.written) else {
        return false;
    };
    // A Pusher host answers in JSON, and takes any Host.
    let is_a_hosts = written.host_error().is_some();
    !is_a_hosts && nobody.status == written.status && nobody.text == written.text
}
