//! `LOUDHAILER_<SECTION>__<KEY>`: the environment form of every key; of an app's, `LOUDHAILER_APPS__<INDEX>__<KEY>`.

use std::collections::BTreeMap;

use super::{
    Config,
    layer::{APPS, Layer},
    nearest::nearest_variable,
};
use crate::settings::{self, Problem, Problems, Settings, Takes};

pub(super) const PREFIX: &str = "LOUDHAILER_";
/// Names the configuration file when the command line does not.
pub(super) const FILE: &str = "LOUDHAILER_CONFIG";

/// Reads the variables of this server. One that stands for no key is a problem; an empty one is as good as absent.
pub(super) fn read(
    variables: &BTreeMap<String, String>,
    apps: usize,
    problems: &mut Problems,
) -> Layer {
    let mut layer = Layer::default();
    let mut ours: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)))
        .filter(|(name, _, value)| *name != FILE && !is_service_link(name, value))
        .collect();
    // An app whose keys are all variables comes after those of the file.
    let mut apps = apps.max(1);
    ours.sort_by_key(|(_, rest, _)| index(rest));
    for (name, rest, value) in ours {
        let located = locate(rest, Takes::Table(Config::FIELDS), "");
        match located {
            Some(_) if index(rest).is_some_and(|index| index > apps) => {
                problem(
                    name,
                    format!("skips apps: there are {apps}, counted from 0"),
                    problems,
                );
            }
            Some((path, takes)) if !value.is_empty() => {
                apps = apps.max(index(rest).map_or(0, |index| index + 1));
                layer.set(path, name, takes.read(value, name));
            }
            Some(_) => {}
            None => {
                let hint = match nearest_variable(rest) {
                    Some(nearest) => format!("did you mean {nearest}?"),
                    None => "`loudhailer default-config` prints every key".to_owned(),
                };
                problem(name, format!("stands for no key; {hint}"), problems);
            }
        }
    }
    layer
}

fn problem(name: &str, reason: String, problems: &mut Problems) {
    problems.push(Problem {
        place: String::new(),
        key: name.to_owned(),
        reason,
    });
}

/// Which app a variable belongs to, if it is an app's.
fn index(rest: &str) -> Option<usize> {
    let (section, rest) = rest.split_once("__")?;
    let index = rest.split("__").next()?;
    (section.eq_ignore_ascii_case(APPS)).then(|| index.parse().ok())?
}

/// The path of `SECTION__KEY` below a table or a list, and what stands there.
fn locate(rest: &str, within: Takes, path: &str) -> Option<(String, Takes)> {
    let (step, rest) = rest
        .split_once("__")
        .map_or((rest, None), |(step, rest)| (step, Some(rest)));
    let (path, takes) = match within {
        Takes::Table(keys) => {
            let field = settings::fields(keys).find(|it| it.name.to_ascii_uppercase() == step)?;
            let dot = if path.is_empty() { "" } else { "." };
            (format!("{path}{dot}{}", field.name), field.takes)
        }
        Takes::List(of) => (format!("{path}[{}]", step.parse::<u16>().ok()?), *of),
        _ => return None,
    };
    match (rest, takes) {
        (Some(rest), takes) => locate(rest, takes, &path),
        (None, Takes::Table(_)) => None,
        (None, Takes::List(Takes::Table(_))) if path == APPS => None,
        (None, takes) => Some((path, takes)),
    }
}

/// Kubernetes and old Docker links put variables such as `LOUDHAILER_PORT=tcp://10.0.0.7:6001` and
/// `LOUDHAILER_SERVICE_HOST` into every container beside a service called `loudhailer`; nobody wrote them.
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
            name.split_once("_PORT_")
                .is_some_and(|(_, rest)| rest.contains(protocol))
        })
        || (name.ends_with("_PORT") && value.contains("://"))
}
