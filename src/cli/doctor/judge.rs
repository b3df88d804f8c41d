//! From what was seen to what is wrong. Pure: facts in, verdicts out.

use std::{net::IpAddr, time::Duration};

use rustls::{CertificateError, Error as TlsError};
use time::OffsetDateTime;

use super::super::network::Issuer;
use super::{
    fault::Fault,
    seen::{
        Answer, Attempt, Certificate, ClientEvent, Delivery, Exclusion, Fallback, Idle, Layer,
        Names, Opened, Ports, Signed, Subscription,
    },
};
use crate::protocol::CloseCode;

/// Below this, a clock is right. Signed requests are refused beyond 600 s.
const CLOCK_OFF_MAX_S: i64 = 60;
/// A certificate that has no more time than this should have been renewed.
const EXPIRY_NOTICE_S: u64 = 14 * 86_400;
/// Delivery takes longer only where something holds it back.
const DELIVERY_MAX: Duration = Duration::from_secs(1);

/// A fault, and how it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) fault: Fault,
    pub(super) seen: String,
}

/// What is to be said of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is wrong; what was seen.
    Fine(String),
    /// It could not be tried; why.
    Skipped(String),
    /// What is wrong.
    Found(Vec<Finding>),
}

impl Verdict {
    pub(super) fn found(fault: Fault, seen: impl Into<String>) -> Self {
        let seen = seen.into();
        Self::Found(vec![Finding { fault, seen }])
    }
}

/// Milliseconds, for people.
fn ms(duration: &Duration) -> String {
    format!("{} ms", duration.as_millis())
}

fn list(addresses: &[IpAddr]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

pub(super) fn names(names: &Names) -> Verdict {
    let host = &names.host;
    match &names.addresses {
        Err(error) => Verdict::found(Fault::NoAddress, format!("{host}: {error}")),
        Ok(addresses) if addresses.is_empty() => {
            Verdict::found(Fault::NoAddress, format!("{host} has no address"))
        }
        Ok(addresses) => {
            let seen = format!("{host}: {}", list(addresses));
            let is_name = host.parse::<IpAddr>().is_err();
            match is_name && addresses.iter().all(IpAddr::is_ipv6) {
                true => Verdict::found(Fault::Ipv6Only, seen),
                false => Verdict::Fine(seen),
            }
        }
    }
}

pub(super) fn ports(ports: &Ports) -> Verdict {
    let port = ports.port;
    let describe = |attempt: &Attempt| match attempt {
        Attempt::Accepted(after) => format!("accepted after {}", ms(after)),
        Attempt::Refused => "connection refused".to_owned(),
        Attempt::Silent => "no answer".to_owned(),
        Attempt::Failed(error) => error.clone(),
    };
    let each: Vec<_> = ports
        .attempts
        .iter()
        .map(|(address, attempt)| format!("{address} port {port}: {}", describe(attempt)))
        .collect();
    let seen = each.join("; ");
    let accepts = |(_, attempt): &(IpAddr, Attempt)| matches!(attempt, Attempt::Accepted(_));
    let silent = |(_, attempt): &(IpAddr, Attempt)| matches!(attempt, Attempt::Silent);
    match ports.attempts.iter().filter(|it| accepts(it)).count() {
        0 if ports.attempts.iter().any(silent) => Verdict::found(Fault::PortSilent, seen),
        0 => Verdict::found(Fault::PortRefused, seen),
        count if count == ports.attempts.len() => Verdict::Fine(seen),
        _ => Verdict::found(Fault::AddressDown, seen),
    }
}

pub(super) fn layer(layer: &Layer) -> Verdict {
    match layer {
        Layer::Tls(presented) => certificate(presented),
        Layer::NoTls {
            error,
            speaks_http: true,
        } => Verdict::found(
            Fault::TlsOnPlainPort,
            format!("TLS: {error}; plain HTTP is answered"),
        ),
        Layer::NoTls { error, .. } => Verdict::found(Fault::TlsFailed, error.clone()),
        Layer::Plain { speaks_tls: true } => Verdict::found(
            Fault::PlainOnTlsPort,
            "plain HTTP is refused; a TLS handshake succeeds",
        ),
        Layer::Plain { .. } => Verdict::Skipped("the URL says plain HTTP".to_owned()),
    }
}

fn certificate(certificate: &Certificate) -> Verdict {
    let Certificate {
        host,
        presented,
        now_s,
    } = certificate;
    let until = match presented.expires_s {
        Some(expires_s) => format!("valid until {}", day(expires_s)),
        None => "valid".to_owned(),
    };
    let Some(refused) = &presented.refused else {
        let left_s = presented.expires_s.map(|it| it.saturating_sub(*now_s));
        let seen = format!("the certificate for {host} is {until}");
        return match left_s {
            Some(left_s) if left_s < EXPIRY_NOTICE_S => {
                Verdict::found(Fault::CertificateExpiresSoon, seen)
            }
            _ => Verdict::Fine(seen),
        };
    };
    let fault = match (refused, presented.issuer) {
        (TlsError::InvalidCertificate(error), issuer) => fault_of(error, issuer),
        (_, Issuer::Itself) => Fault::CertificateSelfSigned,
        _ => Fault::CertificateUnknownIssuer,
    };
    Verdict::found(fault, format!("{host}: {refused}"))
}

fn fault_of(error: &CertificateError, issuer: Issuer) -> Fault {
    use CertificateError::{
        Expired, ExpiredContext, NotValidForName, NotValidForNameContext, NotValidYet,
        NotValidYetContext,
    };
    match (error, issuer) {
        (Expired | ExpiredContext { .. }, _) => Fault::CertificateExpired,
        (NotValidYet | NotValidYetContext { .. }, _) => Fault::CertificateNotYetValid,
        (NotValidForName | NotValidForNameContext { .. }, _) => Fault::CertificateWrongName,
        (_, Issuer::Itself) => Fault::CertificateSelfSigned,
        (_, Issuer::Absent) => Fault::CertificateChainIncomplete,
        (_, Issuer::Presented) => Fault::CertificateUnknownIssuer,
    }
}

fn day(unix_s: u64) -> String {
    let time = i64::try_from(unix_s).map(OffsetDateTime::from_unix_timestamp);
    match time {
        Ok(Ok(time)) => time.date().to_string(),
        _ => "the end of time".to_owned(),
    }
}

/// The clock, by the `Date` headers and by what a signed request was told.
pub(super) fn clock(opened: &Opened, signed: &Signed) -> Verdict {
    let not_upgraded = match opened {
        Opened::NotUpgraded(answer) => Some(answer),
        _ => None,
    };
    let answers = [signed.as_ref().ok(), not_upgraded];
    let ahead = answers
        .iter()
        .flatten()
        .find_map(|answer| answer.clock_ahead_s);
    let refused = signed.as_ref().ok().and_then(Answer::refusal);
    let refused = refused.filter(|(status, reason)| *status == 401 && is_about_time(reason));
    let off = ahead.map(|ahead| match ahead {
        -1..=1 => "the host's clock agrees with this one".to_owned(),
        ..-1 => format!("the host's clock is {} s behind this one", -ahead),
        _ => format!("the host's clock is {ahead} s ahead of this one"),
    });
    match (refused, ahead, off) {
        (Some((_, reason)), _, _) => Verdict::found(Fault::ClockSkewed, reason),
        (None, Some(ahead), Some(off)) if ahead.abs() > CLOCK_OFF_MAX_S => {
            Verdict::found(Fault::ClockSkewed, off)
        }
        (None, Some(_), Some(off)) => Verdict::Fine(off),
        _ => Verdict::Skipped("no answer says what time it is".to_owned()),
    }
}

fn is_about_time(reason: &str) -> bool {
    subject(reason).contains("timestamp")
}

/// What a refusal is about, in lower case: hosts that show what should have been signed do so after it.
fn subject(reason: &str) -> String {
    let subject = reason.split([':', ';', '"']).next().unwrap_or_default();
    subject.to_lowercase()
}

/// Whether host and credentials fit, by what a Pusher host said.
pub(super) fn app(opened: Option<&Opened>, signed: Option<&Signed>) -> Verdict {
    let signed = signed.and_then(|signed| signed.as_ref().ok());
    let is_hidden = signed
        .and_then(Answer::refusal)
        .is_some_and(|(_, it)| is_about_time(&it));
    let mut findings: Vec<Finding> = opened.and_then(key).into_iter().collect();
    let secret = signed.filter(|_| !is_hidden).and_then(secret);
    findings.extend(secret.filter(|it| findings.iter().all(|other| other.fault != it.fault)));
    if !findings.is_empty() {
        return Verdict::Found(findings);
    }
    match (opened, signed) {
        (None, None) => Verdict::Skipped("no host was found that could know the app".to_owned()),
        (_, Some(_)) if !is_hidden => Verdict::Fine("the host knows key, id and secret".to_owned()),
        _ => {
            Verdict::Skipped("id and secret cannot be tried before the above is mended".to_owned())
        }
    }
}

fn key(opened: &Opened) -> Option<Finding> {
    let (fault, seen) = match opened {
        Opened::Refused { code, reason } => {
            let is = |one: CloseCode| *code == Some(one.number());
            let fault = match () {
                () if is(CloseCode::AppNotFound) => Fault::UnknownKey,
                () if is(CloseCode::AppDisabled) => Fault::AppDisabled,
                () if is(CloseCode::TlsOnly) => Fault::TlsRequired,
                () if is(CloseCode::Unauthorized) => Fault::OriginRefused,
                () if is(CloseCode::AppOverQuota) || is(CloseCode::OverCapacity) => Fault::Full,
                () => Fault::ConnectionRefused,
            };
            let code = code.map_or_else(String::new, |code| format!("{code}: "));
            (
                fault,
                format!("the connection was refused with {code}{reason}"),
            )
        }
        Opened::Silent => {
            let seen = "the WebSocket opened, and no greeting came";
            (Fault::ConnectionRefused, seen.to_owned())
        }
        Opened::Greeted | Opened::NotUpgraded(_) | Opened::Broken(_) => return None,
    };
    Some(Finding { fault, seen })
}

fn secret(answer: &Answer) -> Option<Finding> {
    let (status, reason) = answer.refusal()?;
    let subject = subject(&reason);
    let fault = match status {
        401 if subject.contains("auth_key") || subject.contains("app key") => Fault::WrongId,
        401 => Fault::WrongSecret,
        403 if subject.contains("disabled") => Fault::AppDisabled,
        404 => Fault::WrongId,
        _ => Fault::RequestRefused,
    };
    let seen = format!("a signed request: {}", answer.shown());
    Some(Finding { fault, seen })
}

pub(super) fn subscriptions(subscriptions: &[Subscription]) -> Verdict {
    let refused: Vec<_> = subscriptions
        .iter()
        .filter_map(|it| {
            let reason = it.result.as_ref().err()?;
            Some(Finding {
                fault: Fault::SubscriptionRefused,
                seen: format!("{}: {reason}", it.kind),
            })
        })
        .collect();
    if !refused.is_empty() {
        return Verdict::Found(refused);
    }
    let took = |it: &Subscription| Some(format!("{} {}", it.kind, ms(it.result.as_ref().ok()?)));
    let took: Vec<_> = subscriptions.iter().filter_map(took).collect();
    Verdict::Fine(took.join(", "))
}

pub(super) fn delivery(delivery: &Delivery) -> Verdict {
    match delivery {
        Delivery::Took(after) if *after > DELIVERY_MAX => {
            Verdict::found(Fault::SlowDelivery, format!("after {}", ms(after)))
        }
        Delivery::Took(after) => {
            Verdict::Fine(format!("from request to subscriber in {}", ms(after)))
        }
        Delivery::Missing => {
            let seen = "the request was answered with 200, and the subscriber got nothing";
            Verdict::found(Fault::NotDelivered, seen)
        }
        Delivery::Refused(answer) => Verdict::found(Fault::RequestRefused, answer.shown()),
        Delivery::NoAnswer(error) => Verdict::found(Fault::RequestRefused, error.clone()),
    }
}

pub(super) fn exclusion(exclusion: &Exclusion) -> Verdict {
    match exclusion {
        Exclusion::NotSeen => {
            Verdict::Fine("the excluded connection did not get the event".to_owned())
        }
        Exclusion::Seen => {
            let seen = "the connection whose socket_id was given got the event";
            Verdict::found(Fault::SenderNotExcluded, seen)
        }
        Exclusion::Unknown(why) => Verdict::Skipped(why.clone()),
    }
}

pub(super) fn client_event(event: &ClientEvent) -> Verdict {
    match event {
        ClientEvent::Took(after) => {
            Verdict::Fine(format!("from client to client in {}", ms(after)))
        }
        ClientEvent::Refused(reason) => Verdict::Skipped(format!("not for this app: {reason}")),
        ClientEvent::Missing => {
            Verdict::Skipped("the host relays none and says nothing".to_owned())
        }
    }
}

/// What became of an event of Pusher's size.
pub(super) fn large(size: usize, large: &Delivery) -> Verdict {
    match large {
        Delivery::Took(_) => Verdict::Fine(format!("an event of {size} bytes arrives")),
        Delivery::Missing => {
            Verdict::found(Fault::NotDelivered, format!("an event of {size} bytes"))
        }
        Delivery::Refused(answer) => {
            let fault = match answer.host_error() {
                Some(_) => Fault::EventLimit,
                None => Fault::BodyLimit,
            };
            Verdict::found(
                fault,
                format!("an event of {size} bytes: {}", answer.shown()),
            )
        }
        // Some proxies close the connection in the middle of a body that is too long.
        Delivery::NoAnswer(error) => Verdict::found(
            Fault::BodyLimit,
            format!("an event of {size} bytes: {error}"),
        ),
    }
}

/// What is between the host and its clients may not encode answers.
pub(super) fn compression(answer: &Signed) -> Verdict {
    match answer.as_ref().map(|answer| answer.encoding.as_deref()) {
        Ok(Some(encoding)) => Verdict::found(
            Fault::Compressed,
            format!("an answer of the HTTP API has Content-Encoding: {encoding}"),
        ),
        Ok(None) => Verdict::Fine("answers come as they were sent".to_owned()),
        Err(error) => Verdict::Skipped(error.clone()),
    }
}

pub(super) fn fallback(fallback: &Fallback) -> Verdict {
    let (head, pong) = match fallback {
        Fallback::Absent(answer) => {
            return Verdict::Skipped(format!("not offered: {}", answer.shown()));
        }
        Fallback::NoAnswer(error) => return Verdict::found(Fault::Buffered, error.clone()),
        Fallback::Stream { head, pong } => (head, pong),
    };
    match pong {
        _ if head.encoding.is_some() => {
            Verdict::Skipped("the stream is compressed, see above".to_owned())
        }
        Ok(after) => Verdict::Fine(format!(
            "xhr_streaming: a ping is answered after {}",
            ms(after)
        )),
        Err(why) => Verdict::found(Fault::Buffered, format!("xhr_streaming: {why}")),
    }
}

pub(super) fn cors(fallback: &Fallback) -> Verdict {
    let Fallback::Stream { head, .. } = fallback else {
        return Verdict::Skipped("only the HTTP fallbacks need it".to_owned());
    };
    let all = head.allowed_origins.join(", ");
    match (head.allowed_origins.len(), all.contains(',')) {
        (0, _) => Verdict::found(Fault::NoCors, "no Access-Control-Allow-Origin"),
        (1, false) => Verdict::Fine(format!("Access-Control-Allow-Origin: {all}")),
        _ => Verdict::found(
            Fault::CorsTwice,
            format!("Access-Control-Allow-Origin: {all}"),
        ),
    }
}

pub(super) fn idle(idle: &Idle) -> Verdict {
    match idle {
        Idle::Held(time) => {
            Verdict::Fine(format!("a silent connection lasts {} s", time.as_secs()))
        }
        Idle::Cut { after, how } => Verdict::found(
            Fault::IdleCut,
            format!("after {} s: {how}", after.as_secs()),
        ),
    }
}
