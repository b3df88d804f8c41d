//! Variables of other servers that mean the same here: Laravel's `PUSHER_…`, soketi's, Reverb's and
//! laravel-websockets' names. Weaker than the file and than `LOUDHAILER_…`.

mod clients;
mod groups;
pub(in crate::config) mod names;
mod reading;

use std::collections::BTreeMap;

pub(super) use clients::lines as client_lines;
use groups::{GROUPS, Given, Outcome};
use names::{Meaning, NAMES, PREFIXES};
pub use reading::Reading;

use super::{
    Alias, Config, Unused,
    layer::{APPS, Layer},
    variables::{self, is_service_link},
};
use crate::settings::{MISSING, Problem, Problems, Settings, Takes, ValueKind, find};

/// Below this a port is a proxy's: clients connect to it, and a server without privileges can't listen on it.
const UNPRIVILEGED_PORT_MIN: i64 = 1024;

/// What the other servers' variables come to.
#[derive(Default)]
pub(super) struct Foreign {
    pub(super) layer: Layer,
    pub(super) aliases: Vec<Alias>,
    pub(super) unused: Vec<Unused>,
}

/// Variables that were understood.
struct Understood {
    names: Vec<&'static str>,
    /// The key's path, `apps[0].key`.
    path: String,
    takes: Takes,
    /// Nil is no limit.
    value: ValueKind,
}

/// Reads the variables of other servers. What a `stronger` source already says is left unread.
pub(super) fn read(
    variables: &BTreeMap<String, String>,
    stronger: [&Layer; 2],
    problems: &mut Problems,
) -> Foreign {
    let given = Given(variables);
    let mut foreign = Foreign::default();
    let mut understood: Vec<Understood> = Vec::new();
    let mut outcomes = outcomes(given);
    serve_tls_alone(&mut outcomes, stronger);
    for outcome in outcomes {
        match outcome {
            Outcome::Unused(name, reason) => foreign.not_used(name, reason),
            Outcome::Refused(name, reason) => problems.push(Problem {
                place: String::new(),
                key: name.to_owned(),
                reason,
            }),
            Outcome::Sets(names, key, value) => {
                let (path, takes) = located(key);
                let it = Understood {
                    names,
                    path,
                    takes,
                    value,
                };
                foreign.take(it, given, stronger, &mut understood, problems);
            }
        }
    }
    leave_out_apps_beside_a_database(&mut understood, stronger, &mut foreign);
    for it in understood {
        foreign.set(it);
    }
    foreign.unused.extend(unknown(variables));
    foreign
}

impl Foreign {
    fn not_used(&mut self, name: &str, reason: String) {
        self.unused.push(Unused {
            name: name.to_owned(),
            reason,
        });
    }

    /// Adds what was understood, unless something stronger says otherwise or another variable contradicts.
    fn take(
        &mut self,
        it: Understood,
        given: Given<'_>,
        stronger: [&Layer; 2],
        understood: &mut Vec<Understood>,
        problems: &mut Problems,
    ) {
        let path = &it.path;
        if let Some(place) = stronger.iter().find_map(|layer| layer.place(path)) {
            for name in it.names {
                self.not_used(name, overridden(path, place));
            }
            return;
        }
        let same_key = understood.iter().position(|other| other.path == *path);
        let Some(at) = same_key.filter(|at| understood[*at].value != it.value) else {
            understood.push(it);
            return;
        };
        let (first, second) = (understood[at].names[0], it.names[0]);
        match broadcaster(given).filter(|chosen| is_of(first, chosen) != is_of(second, chosen)) {
            None => problems.push(conflict(path, first, second)),
            Some(chosen) => {
                let left_out = match is_of(first, chosen) {
                    true => it,
                    false => std::mem::replace(&mut understood[at], it),
                };
                let reason = format!("the app's broadcaster is {chosen}, whose variables count");
                for name in left_out.names {
                    self.not_used(name, reason.clone());
                }
            }
        }
    }

    fn set(&mut self, it: Understood) {
        let set = what_was_set(&it);
        for name in &it.names {
            let of_this = self.aliases.iter_mut().find(|alias| alias.name == *name);
            match of_this {
                Some(alias) => alias.set = format!("{}, {set}", alias.set),
                None => self.aliases.push(Alias {
                    name: (*name).to_owned(),
                    set: set.clone(),
                }),
            }
        }
        self.layer.set(it.path, &it.names.join(", "), it.value);
    }
}

/// What all variables come to, in the order of the names.
fn outcomes(given: Given<'_>) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for (name, meaning) in NAMES.iter().copied() {
        let Some(text) = given.get(name) else {
            continue;
        };
        match meaning {
            Meaning::Sets(key, reading) => outcomes.push(set(name, key, reading, text)),
            Meaning::Nothing(reason) => outcomes.push(Outcome::Unused(name, reason.to_owned())),
            Meaning::Only(words, reason, _) if words.contains(&text) => {
                outcomes.push(Outcome::Unused(name, reason.to_owned()));
            }
            Meaning::Only(_, _, reason) => {
                let reason = format!("is {text:?}: {reason}");
                outcomes.push(Outcome::Refused(name, reason));
            }
            Meaning::Refused(reason) => {
                let reason = format!("can't be followed: {reason}");
                outcomes.push(Outcome::Refused(name, reason));
            }
            Meaning::Grouped(_) | Meaning::Clients => {}
        }
    }
    outcomes.extend(GROUPS.iter().flat_map(|group| group.read(given)));
    outcomes
}

const PORT: &str = "server.port";
const TLS_CERT: &str = "server.tls.cert";
const TLS_KEY: &str = "server.tls.key";
const TLS_PORT: &str = "server.tls.port";
const TLS_PLAIN: &str = "server.tls.plain";
/// Where soketi and laravel-websockets listen if nothing else is said.
const THEIR_PORT: i64 = 6001;
/// PHP looks for the key in the certificate's file if no other is named.
const CERT_WITH_KEY: &str = "LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT";

/// The other servers have one port, with TLS where there is a certificate: it is the one with TLS here, and there is none without.
fn serve_tls_alone(outcomes: &mut Vec<Outcome>, stronger: [&Layer; 2]) {
    let is_ours = |path| stronger.iter().any(|layer| layer.place(path).is_some());
    let sets = |outcome: &Outcome, key| matches!(outcome, Outcome::Sets(_, set, _) if *set == key);
    let certificate = outcomes.iter().find_map(|outcome| match outcome {
        Outcome::Sets(names, TLS_CERT, file) => Some((names[0], file.clone())),
        _ => None,
    });
    let Some((name, file)) = certificate.filter(|_| !is_ours(TLS_CERT)) else {
        return;
    };
    if name == CERT_WITH_KEY && !outcomes.iter().any(|it| sets(it, TLS_KEY)) {
        outcomes.push(Outcome::Sets(vec![name], TLS_KEY, file));
    }
    for outcome in outcomes.iter_mut() {
        match outcome {
            Outcome::Sets(_, key, _) if *key == PORT => *key = TLS_PORT,
            _ => {}
        }
    }
    if !outcomes.iter().any(|it| sets(it, TLS_PORT)) {
        let port = ValueKind::I64(THEIR_PORT);
        outcomes.push(Outcome::Sets(vec![name], TLS_PORT, port));
    }
    if !is_ours(PORT) {
        outcomes.push(Outcome::Sets(vec![name], TLS_PLAIN, "off".into()));
    }
}

fn set(name: &'static str, key: &'static str, reading: Reading, text: &str) -> Outcome {
    let (_, takes) = located(key);
    match reading.value(takes, text, name) {
        ValueKind::I64(port @ 1..UNPRIVILEGED_PORT_MIN) if reading == Reading::PublicPort => {
            let reason = format!(
                "{port} is where clients connect to a proxy, not where this server listens; to listen there, set LOUDHAILER_SERVER__PORT={port}"
            );
            Outcome::Unused(name, reason)
        }
        value => Outcome::Sets(vec![name], key, value),
    }
}

/// Which of Laravel's broadcasters the app uses, if it says so.
fn broadcaster<'a>(given: Given<'a>) -> Option<&'a str> {
    let names = ["BROADCAST_CONNECTION", "BROADCAST_DRIVER"];
    let chosen = names.iter().find_map(|name| given.get(name));
    chosen.filter(|name| matches!(*name, "pusher" | "reverb"))
}

fn is_of(name: &str, broadcaster: &str) -> bool {
    let (prefix, _) = name.split_once('_').unwrap_or((name, ""));
    prefix.eq_ignore_ascii_case(broadcaster)
}

/// soketi ignores the one app of its variables where its apps are in a database, and so does this server.
fn leave_out_apps_beside_a_database(
    understood: &mut Vec<Understood>,
    stronger: [&Layer; 2],
    foreign: &mut Foreign,
) {
    let is_url = |it: &Understood| it.path == super::DATABASE;
    let has_database = stronger.iter().any(|layer| layer.has_text(super::DATABASE))
        || understood.iter().any(is_url);
    if has_database {
        for it in understood.extract_if(.., |it| it.path.starts_with(APPS)) {
            for name in it.names {
                foreign.not_used(name, "the apps are those of database.url".to_owned());
            }
        }
    }
}

/// Laravel reads `null` and `empty`, bare or in brackets, as no value.
fn is_set(name: &str, text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    !matches!(text.as_str(), "" | "null" | "(null)" | "empty" | "(empty)")
        && !is_service_link(name, &text)
}

/// The path of an alias' key, and which values it takes.
fn located(key: &str) -> (String, Takes) {
    const KNOWN: &str = "a test looks every alias up";
    let (section, rest) = key.split_once('.').expect("a section and a key");
    let section = find(Config::FIELDS, section).expect(KNOWN);
    let path = match section.takes {
        Takes::Table(_) => key.to_owned(),
        _ => format!("{}[0].{rest}", section.name),
    };
    let field = rest.split('.').fold(section, |table, name| {
        let keys = table.takes.keys().expect(KNOWN);
        find(keys, name).expect(KNOWN)
    });
    (path, field.takes)
}

fn what_was_set(it: &Understood) -> String {
    let path = &it.path;
    match &it.value {
        _ if it.takes.is_secret() || it.takes.keys().is_some() => path.clone(),
        ValueKind::Nil => format!("{path}: no limit"),
        ValueKind::String(text) => format!("{path} = {text:?}"),
        ValueKind::Array(texts) => {
            let texts: Vec<_> = texts
                .iter()
                .map(|it| format!("{:?}", it.kind.to_string()))
                .collect();
            format!("{path} = [{}]", texts.join(", "))
        }
        value => format!("{path} = {value}"),
    }
}

fn overridden(path: &str, place: &str) -> String {
    match path.starts_with(APPS) {
        true => format!("the apps are those of {place}"),
        false => format!("{place} sets {path}"),
    }
}

fn conflict(path: &str, first: &str, second: &str) -> Problem {
    let remedy = match path.strip_prefix("apps[0].") {
        Some(_) => "list the app in a configuration file".to_owned(),
        None => format!(
            "set {}{}",
            variables::PREFIX,
            path.replace('.', "__").to_uppercase()
        ),
    };
    Problem {
        place: String::new(),
        key: format!("{first} and {second}"),
        reason: format!("set {path} to different values; remove one, or {remedy}"),
    }
}

/// A name that begins like another server's, but that none of them has.
fn unknown(variables: &BTreeMap<String, String>) -> impl Iterator<Item = Unused> {
    let foreign = |name: &str| {
        PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            && !NAMES.iter().any(|(known, _)| *known == name)
    };
    let set = variables.iter().filter(|(name, text)| is_set(name, text));
    set.filter(move |(name, _)| foreign(name))
        .map(|(name, _)| Unused {
            name: name.clone(),
            reason: match nearest(name) {
                Some(nearest) => format!("no server has such a setting; did you mean {nearest}?"),
                None => "no server has such a setting".to_owned(),
            },
        })
}

fn nearest(mistaken: &str) -> Option<&'static str> {
    let distance = |name: &&str| strsim::osa_distance(mistaken, name);
    let nearest = NAMES.iter().map(|(name, _)| *name).min_by_key(distance)?;
    (distance(&nearest) <= 1 + mistaken.len() / 8).then_some(nearest)
}

/// Names the variable beside which an id, key or secret is missing, and the one that would give it.
pub(super) fn name_missing_credentials(
    problems: Problems,
    variables: &BTreeMap<String, String>,
) -> Problems {
    const FAMILIES: [&str; 4] = [
        "LOUDHAILER_APPS__0_",
        "PUSHER_APP",
        "REVERB_APP",
        "SOKETI_DEFAULT_APP",
    ];
    const PARTS: [&str; 3] = ["ID", "KEY", "SECRET"];
    let names = FAMILIES
        .iter()
        .flat_map(|family| PARTS.map(|part| (*family, format!("{family}_{part}"))));
    let mut set = names.filter(|(_, name)| Given(variables).get(name).is_some());
    let Some((family, beside)) = set.next() else {
        return problems;
    };
    let mut named = Problems::default();
    for problem in problems.iter() {
        let missing = problem.key.strip_prefix("apps[0].");
        let missing = missing.map(str::to_ascii_uppercase);
        let is_ours = problem.reason == MISSING && !problem.place.contains(':');
        named.push(match missing {
            Some(part) if is_ours && PARTS.contains(&part.as_str()) => Problem {
                place: beside.clone(),
                reason: format!("{MISSING}: set {family}_{part}"),
                ..problem.clone()
            },
            _ => problem.clone(),
        });
    }
    named
}
