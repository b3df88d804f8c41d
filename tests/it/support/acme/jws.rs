//! Signed requests (RFC 7515, RFC 8555 §6.2).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    hmac,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use serde_json::Value;

use super::{
    protocol::{Refusal, malformed},
    wire::Request,
};

/// A request whose signature has yet to be verified.
pub(super) struct Jws {
    header: Value,
    /// What was signed.
    signed: String,
    signature: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

impl Jws {
    pub(super) fn parse(request: &Request) -> Result<Self, Refusal> {
        if request.header("content-type") != Some("application/jose+json") {
            let text = "the content type is not application/jose+json".to_owned();
            return Err(Refusal(415, "malformed", text));
        }
        if request.header("user-agent").is_none_or(str::is_empty) {
            return Err(malformed("there is no user agent"));
        }
        let body: Value =
            serde_json::from_slice(&request.body).map_err(|_| malformed("not JSON"))?;
        Self::of(&body)
    }

    fn of(body: &Value) -> Result<Self, Refusal> {
        let fields: Vec<_> = body
            .as_object()
            .into_iter()
            .flat_map(|it| it.keys())
            .collect();
        if fields != ["payload", "protected", "signature"] {
            return Err(malformed("not a flattened JWS"));
        }
        let field = |name: &str| body[name].as_str().unwrap_or_default();
        let header = decode(field("protected"))?;
        Ok(Self {
            header: serde_json::from_slice(&header).map_err(|_| malformed("the header"))?,
            signed: format!("{}.{}", field("protected"), field("payload")),
            signature: decode(field("signature"))?,
            payload: decode(field("payload"))?,
        })
    }

    pub(super) fn url(&self) -> &str {
        self.header["url"].as_str().unwrap_or_default()
    }

    pub(super) fn nonce(&self) -> Result<&str, Refusal> {
        let nonce = self.header["nonce"].as_str();
        nonce.ok_or_else(|| malformed("there is no nonce"))
    }

    /// The key itself, which only new accounts may show.
    pub(super) fn jwk(&self) -> Result<&Value, Refusal> {
        match (&self.header["jwk"], &self.header["kid"]) {
            (jwk @ Value::Object(_), Value::Null) => Ok(jwk),
            _ => Err(malformed("a new account has a jwk and no kid")),
        }
    }

    pub(super) fn kid(&self) -> Result<&str, Refusal> {
        match (&self.header["jwk"], &self.header["kid"]) {
            (Value::Null, Value::String(kid)) => Ok(kid),
            _ => Err(malformed("an account's request has a kid and no jwk")),
        }
    }

    pub(super) fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(&self.payload).map_err(|_| malformed("the payload is no JSON"))
    }

    /// Verifies an ES256 signature.
    pub(super) fn verify(&self, jwk: &Value) -> Result<(), Refusal> {
        if self.header["alg"] != "ES256" {
            return Err(malformed("not ES256"));
        }
        let coordinate = |name: &str| decode(jwk[name].as_str().unwrap_or_default());
        let point = [vec![4], coordinate("x")?, coordinate("y")?].concat();
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        let verified = key.verify(self.signed.as_bytes(), &self.signature);
        verified.map_err(|_| Refusal(403, "unauthorized", "wrong signature".to_owned()))
    }
}

/// RFC 8555 §7.3.4: the account's key, signed with a key that the client has from elsewhere.
pub(super) fn verify_binding(
    binding: &Value,
    (id, key): (&str, &[u8]),
    url: &str,
    jwk: &Value,
) -> Result<(), Refusal> {
    if binding.is_null() {
        let text = "an external account is needed".to_owned();
        return Err(Refusal(403, "externalAccountRequired", text));
    }
    let jws = Jws::of(binding)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let is_signed = hmac::verify(&key, jws.signed.as_bytes(), &jws.signature).is_ok();
    let header_fits = jws.header["alg"] == "HS256"
        && jws.header["kid"] == id
        && jws.header["nonce"].is_null()
        && jws.url() == url;
    match is_signed && header_fits && jws.json()? == *jwk {
        true => Ok(()),
        false => Err(malformed("the external account's binding")),
    }
}

/// RFC 7638.
pub(super) fn thumbprint(jwk: &Value) -> String {
    let (x, y) = (&jwk["x"], &jwk["y"]);
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{x},"y":{y}}}"#);
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, canonical.as_bytes()))
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    let decoded = BASE64_URL_SAFE_NO_PAD.decode(text);
    decoded.map_err(|_| malformed("not base64url without padding"))
}
