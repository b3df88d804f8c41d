//! HMAC-SHA256 signatures, as Pusher's libraries make them: lower-case hex over a string that the caller spells out in parts.

use ctutils::CtEq;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::digits::hex_digits;

/// A secret made ready to sign with, which saves half of the work for a short text.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl Key {
    /// A key of any length.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// Whether `signature` (lower-case hex) signs the concatenation of `parts`. Compared in constant time.
    #[must_use]
    pub fn verify(&self, parts: &[&[u8]], signature: &[u8]) -> bool {
        // Writing digits costs less than reading them, where every one is a branch that nobody can predict.
        let mac = self.mac(parts).finalize().into_bytes();
        let expected = hex_digits(mac.into());
        let (expected, _) = expected.as_flattened().as_chunks();
        // Eight digits at once are compared in the time of one.
        let words = |digits: &[[u8; 8]]| -> [u64; 8] {
            std::array::from_fn(|at| digits.get(at).map_or(0, |word| u64::from_ne_bytes(*word)))
        };
        let (given, rest) = signature.as_chunks();
        given.len() == expected.len()
            && rest.is_empty()
            && words(expected).ct_eq(&words(given)).into()
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in parts {
            mac.update(part);
        }
        mac
    }
}

/// Signs the concatenation of `parts`.
#[must_use]
pub fn sign(secret: &[u8], parts: &[&[u8]]) -> String {
    let mac = Key::new(secret).mac(parts);
    hex::encode(mac.finalize().into_bytes())
}

/// Why an `auth` of a client permits nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsigned {
    /// There is none.
    Missing,
    /// It is not of the form `key:signature`.
    Form,
    /// No valid key of the app begins it.
    Key,
    /// Another text was signed, or another secret signed it.
    Signature,
}

/// Checks that `auth` (`key:signature`) permits the socket to subscribe to the channel with this `channel_data`. Some libraries sign empty
/// `channel_data` with the colon before it, others without. `secret_of` gives the secret of a valid key, its letter case ignored: PusherSwift's
/// inline authorizer lower-cases all of `auth` (`Sources/Services/PusherConnection.swift`), and the secret proves who signed.
///
/// # Errors
/// [`Unsigned`] says why not.
pub fn verify_channel<'a>(
    secret_of: impl FnOnce(&str) -> Option<&'a Key>,
    auth: &str,
    socket_id: &str,
    channel: &str,
    channel_data: Option<&str>,
) -> Result<(), Unsigned> {
    let (secret, signature) = split(auth, secret_of)?;
    let signs = |colon: &str, data: &str| {
        let parts = [socket_id, ":", channel, colon, data].map(str::as_bytes);
        secret.verify(&parts, signature.as_bytes())
    };
    let is_signed = match channel_data {
        None => signs("", ""),
        Some("") => signs("", "") || signs(":", ""),
        Some(data) => signs(":", data),
    };
    is_signed.then_some(()).ok_or(Unsigned::Signature)
}

/// Checks that `auth` (`key:signature`) permits the socket to sign in with this `user_data`. `secret_of` is as in [`verify_channel`].
///
/// # Errors
/// [`Unsigned`] says why not.
pub fn verify_user<'a>(
    secret_of: impl FnOnce(&str) -> Option<&'a Key>,
    auth: &str,
    socket_id: &str,
    user_data: &str,
) -> Result<(), Unsigned> {
    let parts = [socket_id, "::user::", user_data].map(str::as_bytes);
    let (secret, signature) = split(auth, secret_of)?;
    let is_signed = secret.verify(&parts, signature.as_bytes());
    is_signed.then_some(()).ok_or(Unsigned::Signature)
}

impl std::fmt::Display for Unsigned {
    /// For clients.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Missing => "No signature: auth is missing",
            Self::Form => "Invalid signature: auth must be key:signature",
            Self::Key => "Invalid signature: auth begins with no valid key of this app",
            Self::Signature => "Invalid signature",
        })
    }
}

/// The key's secret, and the signature.
fn split<'a, 'b>(
    auth: &'b str,
    secret_of: impl FnOnce(&str) -> Option<&'a Key>,
) -> Result<(&'a Key, &'b str), Unsigned> {
    if auth.is_empty() {
        return Err(Unsigned::Missing);
    }
    let (key, signature) = auth.split_once(':').ok_or(Unsigned::Form)?;
    Ok((secret_of(key).ok_or(Unsigned::Key)?, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The golden vectors of Pusher's signature scheme: secret `app-secret-1`; what is signed, and the result.
    #[test]
    fn golden_vectors() {
        for (text, expected) in [
            (
                "11.22:private-room",
                "75e4ccf2c0eaff480cff3b3900770094ac0ad7e79302e1fba5719fa4710f8fe7",
            ),
            (
                r#"11.22:presence-room:{"user_id":"u-1","user_info":{"name":"Ann"}}"#,
                "afa519c27fcbf1a2dad747b5df6d10a7acea10dc905c106884fc9a207fda4e53",
            ),
            (
                "11.22:presence-room",
                "79aefe6d56c47c5eff267a312421cf3b574cf0d93b5694225d51cceb15f9dc94",
            ),
            (
                r#"11.22::user::{"id":"u-1","watchlist":["u-2"]}"#,
                "7d5df3d1cb4255031d3eb6cd8d901b8e08a844876c3de798e639dc750795e9a3",
            ),
            (
                "GET\n/apps/app1/channels\nauth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0&filter_by_prefix=presence-&info=user_count",
                "a0f9c47b27d9fcd214d4cca0c9aecfbecec8e6f680a11607c9c21b81a2c642f7",
            ),
            (
                "GET\n/apps/app1/channels\nauth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0&info=user_count,subscription_count",
                "e81b466d450d86283daf726217756dac2dba7e4d452e1cbb52f3daf58b1545cd",
            ),
            (
                "GET\n/apps/app1/channels\nauth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0&info=user_count&zeta=1",
                "62904dce6fbb16173e323b519d067d7f5b3c7af88bb70de7be86ba6368756e52",
            ),
            (
                "POST\n/apps/app1/users/u-1/terminate_connections\nauth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0&body_md5=99914b932bd37a50b983c5e7c90ae93b",
                "e9b6c1e1d4c6ee3843388d90a880744945b8c476c3e1b15d090e6df79b0f9600",
            ),
            (
                "POST\n/apps/app1/batch_events\nauth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0&body_md5=7fb321f44172f1df42bcad820829635b",
                "2d959ab256ab41eb752f221d0f74829656cfa44700f59af60482050e18c4c5de",
            ),
            (
                "POST\n/apps/app1/channels/orders/events\nauth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0&body_md5=053d97b35951861fb2a956062b3a95dd&name=order.created",
                "deb3af4e1443ae718bc3af2c7fdf8cc588506d2dee5db28ced0c27fac263e474",
            ),
            (
                r#"{"time_ms":1700000000123,"events":[{"name":"channel_occupied","channel":"orders"}]}"#,
                "a85f348256315c4483242ae70ba14cca832da702631896cfc79085cb66d53448",
            ),
            (
                "POST\n/apps/app1/events\nauth_key=app-key-1&auth_timestamp=1700000000&auth_version=1.0&body_md5=e4b8576ecddb042f26e6a75aa7361149",
                "2b35d77be86bc9fec858358ded82b2693a43df9df1909e3e497c00ae2f933d0e",
            ),
        ] {
            assert_eq!(
                sign(b"app-secret-1", &[text.as_bytes()]),
                expected,
                "{text}"
            );
            assert!(Key::new(b"app-secret-1").verify(&[text.as_bytes()], expected.as_bytes()));
        }
    }

    /// The examples of Pusher's own documentation.
    #[test]
    fn documented_examples() {
        let (key, secret) = ("278d425bdf160c739803", &Key::new(b"7ad3773142a6692b25b8"));
        let secret_of = |given: &str| (given == key).then_some(secret);
        let auth = |signature: &str| format!("{key}:{signature}");
        assert!(
            verify_channel(
                secret_of,
                &auth("58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4"),
                "1234.1234",
                "private-foobar",
                None
            )
            .is_ok()
        );
        assert!(
            verify_channel(
                secret_of,
                &auth("31935e7d86dba64c2a90aed31fdc61869f9b22ba9d8863bba239c03ca481bc80"),
                "1234.1234",
                "presence-foobar",
                Some(r#"{"user_id":10,"user_info":{"name":"Mr. Channels"}}"#)
            )
            .is_ok()
        );
        assert!(
            verify_user(
                secret_of,
                &auth("4708d583dada6a56435fb8bc611c77c359a31eebde13337c16ab43aa6de336ba"),
                "1234.1234",
                r#"{"id":"12345"}"#
            )
            .is_ok()
        );
        let published = "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f";
        assert!(secret.verify(
            &[published.as_bytes()],
            b"da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c"
        ));
    }

    /// The secret of an encrypted channel is the clients' and the backend's affair; the vector keeps our reading of it honest.
    #[test]
    fn shared_secret_of_an_encrypted_channel() {
        use sha2::Digest;
        let master: Vec<u8> = (0..32).collect();
        let digest = Sha256::new()
            .chain_update("private-encrypted-room")
            .chain_update(&master)
            .finalize();
        // Base64 `jLl7T7Vic8zzeBQOhI8a5zJ4iMwqc2omg0xT37NC5hs=` in the documentation's form.
        assert_eq!(
            hex::encode(digest),
            "8cb97b4fb56273ccf378140e848f1ae7327888cc2a736a26834c53dfb342e61b"
        );
    }

    #[test]
    fn empty_channel_data_is_signed_with_or_without_its_colon() {
        let secret = Key::new(b"app-secret-1");
        let verify = |signed: &str, channel_data| {
            let auth = format!("k:{}", sign(b"app-secret-1", &[signed.as_bytes()]));
            verify_channel(|_| Some(&secret), &auth, "1.2", "private-a", channel_data).is_ok()
        };
        for (signed, channel_data, expected) in [
            ("1.2:private-a", Some(""), true),
            ("1.2:private-a:", Some(""), true),
            ("1.2:private-a::", Some(""), false),
            ("1.2:private-a", None, true),
            ("1.2:private-a:", None, false),
            ("1.2:private-a:{}", Some("{}"), true),
            ("1.2:private-a", Some("{}"), false),
            ("1.2:private-a:", Some("{}"), false),
        ] {
            assert_eq!(
                verify(signed, channel_data),
                expected,
                "{signed} {channel_data:?}"
            );
        }
    }

    #[test]
    fn a_wrong_key_or_signature_is_refused() {
        let good = "75e4ccf2c0eaff480cff3b3900770094ac0ad7e79302e1fba5719fa4710f8fe7";
        let secret = Key::new(b"app-secret-1");
        let ok = |auth: &str| {
            verify_channel(
                |key| key.eq_ignore_ascii_case("app-key-1").then_some(&secret),
                auth,
                "11.22",
                "private-room",
                None,
            )
        };
        assert_eq!(ok(&format!("app-key-1:{good}")), Ok(()));
        assert_eq!(ok(&format!("App-KEY-1:{good}")), Ok(()));
        let other_case = good.to_uppercase();
        let accents = "é".repeat(32);
        for (auth, why) in [
            (String::new(), Unsigned::Missing),
            (good.to_owned(), Unsigned::Form),
            (format!("app-key-2:{good}"), Unsigned::Key),
            (format!("app-key-1:{other_case}"), Unsigned::Signature),
            (format!("app-key-1:{}", &good[1..]), Unsigned::Signature),
            (format!("app-key-1:{good}00"), Unsigned::Signature),
            ("app-key-1:".to_owned(), Unsigned::Signature),
            (format!("app-key-1:{accents}"), Unsigned::Signature),
        ] {
            assert_eq!(ok(&auth), Err(why), "{auth}");
        }
    }
}
