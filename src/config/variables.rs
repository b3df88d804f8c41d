//! `LOUDHAILER_<SECTION>__<KEY>`: the environment form of every key outside the apps.

use std::collections::BTreeMap;

use super::{
    error::ConfigError,
    raw::Layer,
    schema::{APPS, KEYS, Key},
};

const PREFIX: &str = "LOUDHAILER_";
/// Names the configuration file when the command line does not.
pub(super) const FILE: &str = "LOUDHAILER_CONFIG";

/// Reads the variables of this server. One that stands for no key is an error; an empty one is as good as absent.
pub(super) fn read(variables: &BTreeMap<String, String>) -> Result<Layer, ConfigError> {
    let mut layer = Layer::default();
    let ours = variables
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && *name != FILE);
    for (name, value) in ours {
        if is_service_link(name, value) {
            continue;
        }
        let key = KEYS
            .iter()
            .find(|key| key.variable() == *name)
            .ok_or_else(|| unknown(name))?;
        if key.is_of_an_app() {
            return Err(only_in_the_file(name));
        }
        if !value.is_empty() {
            layer.set(key, name, key.kind.read(value));
        }
    }
    layer.check()?;
    Ok(layer)
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

fn unknown(name: &str) -> ConfigError {
    let mistaken = name
        .trim_start_matches(PREFIX)
        .to_ascii_lowercase()
        .replace("__", ".");
    if mistaken == APPS || mistaken.starts_with("apps.") {
        return only_in_the_file(name);
    }
    let nearest = Key::nearest(&mistaken).filter(|key| !key.is_of_an_app());
    ConfigError::UnknownVariable {
        name: name.to_owned(),
        nearest: nearest.map(Key::variable),
    }
}

fn only_in_the_file(name: &str) -> ConfigError {
    let reason = "can be listed only in the configuration file".to_owned();
    ConfigError::BadValue {
        place: name.to_owned(),
        key: APPS.to_owned(),
        reason,
    }
}
