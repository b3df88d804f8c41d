//! Whether a request is signed. Pure: takes the parts of the request and the time.
//!
//! What is signed is the method, the path and every parameter but the signature; the body through its MD5. Libraries
//! differ in what they sign and what they then send, so a signature that does not fit the request as it stands is tried
//! against its equivalents: arrays collapsed as PHP does, the path decoded, without meaningless slashes or with the prefix, `+` as a space.
//! Each says the same as the request does, so none opens a request that was not signed.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

use super::{
    error::{ApiError, Unauthorized},
    parameters::{Parameter, Parameters, Plus},
};
use crate::{
    app::{App, Moment, Secret},
    protocol::{digits::hex_digits, path, signature::Key},
};

/// The parameter that names the key whose secret signs.
pub(super) const KEY: &str = "auth_key";
const SIGNATURE: &str = "auth_signature";
/// What a usual publish signs has fewer bytes.
const TEXT_BYTES: usize = 256;

/// The parts of a request that its signature covers.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignedRequest<'a> {
    /// In upper case.
    pub(super) method: &'a str,
    /// As on the request line, without the prefix: what libraries sign when the prefix is an option of theirs.
    pub(super) path: &'a str,
    /// As on the request line.
    pub(super) query: &'a str,
}

/// The time, and how exactly a request must know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// Unix time in seconds.
    pub(super) now_s: u64,
    /// Seconds that `auth_timestamp` may be off.
    pub(super) tolerance_s: u64,
}

impl<'a> SignedRequest<'a> {
    /// Checks what says who signed the request and when, before its body is read. Gives its parameters as they stand, and the secret that
    /// it must be signed with.
    pub(super) fn check<'s>(
        &self,
        app: &'s App,
        clock: Clock,
    ) -> Result<(Parameters<'a>, &'s Secret), ApiError> {
        let parameters = Parameters::parse(self.query, Plus::Literal)?;
        let secret = check_elements(&parameters, app, clock)?;
        Ok((parameters, secret))
    }

    /// Checks that the request with this body was signed with the secret, and gives its parameters as they were signed.
    pub(super) fn verify(
        &self,
        parameters: Parameters<'a>,
        body: &[u8],
        secret: &Secret,
        prefix: &str,
    ) -> Result<Parameters<'a>, ApiError> {
        check_body(&parameters, body)?;
        let signature = parameters
            .bytes(SIGNATURE)
            .ok_or(Unauthorized::Missing(SIGNATURE))?;
        let check = Check {
            method: self.method,
            secret: secret.key(),
            signature,
        };
        let path = self.path;
        // The usual case costs one HMAC; the others are tried only after it.
        if check.passes("", path.as_bytes(), &parameters)
            || check.passes_equivalent(prefix, path, &parameters)
        {
            return Ok(parameters);
        }
        if self.query.contains('+') {
            let spaced = Parameters::parse(self.query, Plus::Space)?;
            if check.passes_equivalent(prefix, path, &spaced) {
                return Ok(spaced);
            }
        }
        let expected = check.text("", path.as_bytes(), &parameters);
        Err(Unauthorized::Signature(String::from_utf8_lossy(&expected).into()).into())
    }
}

/// Checks all but the signature; gives the secret that it must be made with.
fn check_elements<'a>(
    parameters: &Parameters<'_>,
    app: &'a App,
    clock: Clock,
) -> Result<&'a Secret, Unauthorized> {
    let element = |name| parameters.bytes(name).ok_or(Unauthorized::Missing(name));
    let secret = app.secret_of(element(KEY)?, Moment(clock.now_s));
    let secret = secret.ok_or(Unauthorized::Key)?;
    if element("auth_version")? != b"1.0" {
        return Err(Unauthorized::Version);
    }
    let timestamp = std::str::from_utf8(element("auth_timestamp")?).ok();
    let timestamp: u64 = timestamp
        .and_then(|text| text.parse().ok())
        .ok_or(Unauthorized::Timestamp)?;
    let off_s = timestamp.abs_diff(clock.now_s);
    if off_s > clock.tolerance_s {
        return Err(Unauthorized::Clock {
            off_s,
            tolerance_s: clock.tolerance_s,
        });
    }
    Ok(secret)
}

fn check_body(parameters: &Parameters<'_>, body: &[u8]) -> Result<(), Unauthorized> {
    let Some(body_md5) = parameters.bytes("body_md5") else {
        return if body.is_empty() {
            Ok(())
        } else {
            Err(Unauthorized::Missing("body_md5"))
        };
    };
    let md5 = hex_digits(Md5::digest(body).into());
    let md5 = md5.as_flattened();
    // Nearly all libraries write the digits as they are here.
    if body_md5 == md5 || body_md5.eq_ignore_ascii_case(md5) {
        Ok(())
    } else {
        Err(Unauthorized::BodyMd5)
    }
}

/// The fixed half of a check; the path and the form of the parameters may be tried one after another.
struct Check<'a> {
    method: &'a str,
    secret: &'a Key,
    signature: &'a [u8],
}

impl Check<'_> {
    /// Whether the signature is that of this path and these parameters. Compares in constant time.
    fn passes(&self, prefix: &str, path: &[u8], parameters: &Parameters<'_>) -> bool {
        let text = self.text(prefix, path, parameters);
        self.secret.verify(&[&text], self.signature)
    }

    fn passes_equivalent(&self, prefix: &str, path: &str, parameters: &Parameters<'_>) -> bool {
        let merged = path::merged(path);
        let is_merged = merged == path;
        let written = [Some(path), (!is_merged).then_some(&*merged)];
        let mut paths: SmallVec<[Cow<'_, [u8]>; 4]> = SmallVec::new();
        for path in written.into_iter().flatten() {
            paths.push(Cow::Borrowed(path.as_bytes()));
            if let decoded @ Cow::Owned(_) = percent_decode_str(path).into() {
                paths.push(decoded);
            }
        }
        let collapsed = parameters.collapsed();
        let forms = || [Some(parameters), collapsed.as_ref()].into_iter().flatten();
        let prefixes = if prefix.is_empty() {
            &[""][..]
        } else {
            &["", prefix][..]
        };
        prefixes.iter().any(|prefix| {
            paths
                .iter()
                .any(|path| forms().any(|form| self.passes(prefix, path, form)))
        })
    }

    /// The string to sign: method, path, and the parameters sorted by name.
    fn text(&self, prefix: &str, path: &[u8], parameters: &Parameters<'_>) -> Vec<u8> {
        let is_signed = |parameter: &&Parameter<'_>| *parameter.name != *SIGNATURE.as_bytes();
        let mut sorted: SmallVec<[_; 8]> = parameters.iter().filter(is_signed).collect();
        // A stable sort: parameters of one name are signed in the order in which they were sent.
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        let mut text = Vec::with_capacity(TEXT_BYTES);
        for piece in [self.method.as_bytes(), b"\n", prefix.as_bytes(), path] {
            text.extend_from_slice(piece);
        }
        let mut separator = b'\n';
        for parameter in sorted {
            text.push(separator);
            text.extend_from_slice(&parameter.name);
            text.push(b'=');
            text.extend_from_slice(&parameter.value);
            separator = b'&';
        }
        text
    }
}
