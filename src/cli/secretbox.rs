//! The encryption of `private-encrypted-` channels: NaCl's secretbox under a key that the application derives from its master key.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use crypto_secretbox::{KeyInit, Nonce, XSalsa20Poly1305, aead::Aead};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const NONCE_BYTES: usize = 24;
const KEY_BYTES: usize = 32;

/// An application's master key. It is never printed.
#[derive(Clone)]
pub(super) struct MasterKey([u8; KEY_BYTES]);

impl MasterKey {
    /// Reads Base64 of 32 bytes.
    ///
    /// # Errors
    /// What is wrong with the text, without the text.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let bytes = STANDARD
            .decode(text.trim())
            .map_err(|error| format!("the master key is not Base64: {error}"))?;
        let length = bytes.len();
        let key = bytes.try_into();
        key.map(Self)
            .map_err(|_| format!("the master key has {length} bytes instead of {KEY_BYTES}"))
    }

    fn of_channel(&self, channel: &str) -> XSalsa20Poly1305 {
        let secret = Sha256::new()
            .chain_update(channel)
            .chain_update(self.0)
            .finalize();
        XSalsa20Poly1305::new_from_slice(&secret).expect("a digest has the length of a key")
    }

    /// The data of an event for a channel, encrypted.
    pub(super) fn seal(&self, channel: &str, data: &str) -> String {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = self
            .of_channel(channel)
            .encrypt(Nonce::from_slice(&nonce), data.as_bytes())
            .expect("memory takes any text");
        json!({"nonce": STANDARD.encode(nonce), "ciphertext": STANDARD.encode(sealed)}).to_string()
    }

    /// The text of an event's data, if it was encrypted with this key for this channel.
    pub(super) fn open(&self, channel: &str, data: &Value) -> Option<String> {
        let part = |name: &str| STANDARD.decode(data[name].as_str()?).ok();
        let nonce = part("nonce").filter(|nonce| nonce.len() == NONCE_BYTES)?;
        let opened = self
            .of_channel(channel)
            .decrypt(Nonce::from_slice(&nonce), part("ciphertext")?.as_slice());
        String::from_utf8(opened.ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> MasterKey {
        let bytes: Vec<u8> = (0..32).collect();
        MasterKey::parse(&STANDARD.encode(bytes)).expect("32 bytes")
    }

    /// Made with tweetnacl 1.0.3 for the channel `private-encrypted-room` and the master key of bytes 0 to 31.
    #[test]
    fn what_tweetnacl_sealed_is_opened() {
        let data = json!({"nonce": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX", "ciphertext": "iB8X0HorcCc7stFi67RQ4znkIvHHpr9yvQ=="});
        let opened = key().open("private-encrypted-room", &data);
        assert_eq!(opened.as_deref(), Some(r#"{"id":42}"#));
    }

    #[test]
    fn only_the_same_channel_and_key_open_what_was_sealed() {
        let sealed = key().seal("private-encrypted-a", "text é");
        let sealed: Value = serde_json::from_str(&sealed).expect("JSON");
        let opened = |channel: &str| key().open(channel, &sealed);
        assert_eq!(opened("private-encrypted-a").as_deref(), Some("text é"));
        assert_eq!(opened("private-encrypted-b"), None);
        assert_eq!(
            key().open("private-encrypted-a", &json!({"nonce": "x"})),
            None
        );
    }

    #[test]
    fn a_bad_master_key_is_named_and_not_shown() {
        for (text, reason) in [("§", "not Base64"), ("c2hvcnQ=", "5 bytes instead of 32")] {
            let error = MasterKey::parse(text).map(|_| ()).expect_err("it is bad");
            assert!(error.contains(reason), "{error}");
        }
    }
}
