//! Edits of an app's settings as they are stored: the admin API and the command line make the same ones.

use serde_json::json;

use super::WriteError;
use crate::{
    app::Moment,
    settings::{Json, Secrets, Text},
};

/// Bytes of a generated key and of a generated secret, in hexadecimal digits twice as many.
const KEY_BYTES: usize = 10;
const SECRET_BYTES: usize = 20;

/// Settings of an app, or of one of its keys.
pub type Settings = serde_json::Map<String, Json>;

/// Makes the id, key and secret that a new app's settings lack, and returns the id.
pub fn complete(settings: &mut Settings) -> String {
    let id = || rand::random_range(1_000_000..u32::MAX).to_string();
    let id = settings.entry("id").or_insert_with(|| id().into());
    let id = id.as_str().unwrap_or_default().to_owned();
    if !settings.contains_key("keys") {
        let mut make = |name: &str, text: String| {
            settings.entry(name).or_insert_with(|| text.into());
        };
        make("key", random::<KEY_BYTES>());
        make("secret", random::<SECRET_BYTES>());
    }
    id
}

/// A new key with its secret.
#[must_use]
pub fn new_key(label: &str) -> Json {
    json!({
        "key": random::<KEY_BYTES>(),
        "secret": random::<SECRET_BYTES>(),
        "label": label,
        "created": Moment::now().text(Secrets::Hidden),
    })
}

/// Adds a key; it is the newest.
///
/// # Errors
/// [`WriteError::NotFound`] if the stored keys are no list.
pub fn add_key(settings: &mut Settings, key: Json) -> Result<(), WriteError> {
    further(settings)?.push(key);
    Ok(())
}

/// Changes a key's own settings.
///
/// # Errors
/// [`WriteError::NotFound`] if the app has no such key.
pub fn change_key(settings: &mut Settings, key: &str, changes: Settings) -> Result<(), WriteError> {
    found(settings, key)?.extend(changes);
    Ok(())
}

/// Removes a key.
///
/// # Errors
/// [`WriteError::NotFound`] if the app has no such key.
pub fn remove_key(settings: &mut Settings, key: &str) -> Result<(), WriteError> {
    found(settings, key)?;
    further(settings)?.retain(|table| table["key"] != *key);
    Ok(())
}

/// The list of further keys.
fn further(settings: &mut Settings) -> Result<&mut Vec<Json>, WriteError> {
    let keys = settings.entry("keys");
    let keys = keys.and_modify(|keys| {
        if keys.is_null() {
            *keys = json!([]);
        }
    });
    let keys = keys.or_insert_with(|| json!([]));
    keys.as_array_mut().ok_or(WriteError::NotFound)
}

/// The table of a key. The app's own key becomes the first of the further ones, which alone have labels and times.
fn found<'a>(settings: &'a mut Settings, key: &str) -> Result<&'a mut Settings, WriteError> {
    if settings.get("key").is_some_and(|own| *own == *key) {
        let secret = settings.remove("secret").unwrap_or_default();
        settings.remove("key");
        further(settings)?.insert(0, json!({"key": key, "secret": secret}));
    }
    let mut tables = further(settings)?.iter_mut();
    let table = tables.find(|table| table["key"] == *key);
    let table = table.and_then(Json::as_object_mut);
    table.ok_or(WriteError::NotFound)
}

fn random<const BYTES: usize>() -> String {
    hex::encode(std::array::from_fn::<u8, BYTES, _>(|_| rand::random()))
}
