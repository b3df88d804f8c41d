//! Looks at the way to a host: names, ports, TLS, paths.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Instant, SystemTime},
};

use actix_http::header::HttpDate;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, header};
use http_body_util::Full;

use super::{
    route::{Place, Placed, other_prefixes},
    seen::{Answer, Attempt, Certificate, Layer, Names, Opened, Ports, Routes, Signed, Tried},
};
use crate::cli::{
    api::{Api, Call, now_s},
    http::{HttpError, Reply, request, send},
    network::{Dialler, TcpError},
    socket::{Arrival, Hello, OpenError, Socket},
    target::{Credentials, Endpoint, Security},
};

/// Characters of an answer that are kept.
const TEXT_LENGTH_MAX: usize = 2_000;
/// A name that no site has.
const NOBODY: &str = "loudhailer-doctor.invalid";

pub(super) async fn names(dialler: &Dialler, endpoint: &Endpoint) -> Names {
    let addresses = dialler.addresses(endpoint).await;
    let ips = |addresses: Vec<SocketAddr>| addresses.iter().map(SocketAddr::ip).collect();
    Names {
        host: endpoint.host.clone(),
        addresses: addresses.map(ips).map_err(|error| error.to_string()),
    }
}

pub(super) async fn ports(dialler: &Dialler, port: u16, addresses: &[IpAddr]) -> Ports {
    let attempts = addresses.iter().map(async |address| {
        let began = Instant::now();
        let attempt = match dialler.tcp(SocketAddr::new(*address, port)).await {
            Ok(_) => Attempt::Accepted(began.elapsed()),
            Err(TcpError::Refused) => Attempt::Refused,
            Err(TcpError::Silent(_)) => Attempt::Silent,
            Err(TcpError::Other(error)) => Attempt::Failed(error.to_string()),
        };
        (*address, attempt)
    });
    Ports {
        port,
        attempts: join_all(attempts).await,
    }
}

pub(super) async fn layer(dialler: &Dialler, endpoint: &Endpoint, address: IpAddr) -> Layer {
    let address = SocketAddr::new(address, endpoint.port);
    match endpoint.security {
        Security::Tls => match certificate(dialler, endpoint, address).await {
            Ok(certificate) => Layer::Tls(certificate),
            Err(error) => Layer::NoTls {
                error: error.to_string(),
                speaks_http: get_root(dialler, &endpoint.with(Security::Plain))
                    .await
                    .is_ok(),
            },
        },
        Security::Plain => {
            let answer = get_root(dialler, endpoint).await;
            // nginx, Apache and Caddy answer 400 to plain HTTP on a port with TLS, HAProxy closes the connection.
            let is_odd = answer.as_ref().map_or_else(
                |error| matches!(error, HttpError::Exchange(_)),
                |answer| answer.status == 400,
            );
            let speaks_tls = is_odd && certificate(dialler, endpoint, address).await.is_ok();
            Layer::Plain { speaks_tls }
        }
    }
}

async fn certificate(
    dialler: &Dialler,
    endpoint: &Endpoint,
    address: SocketAddr,
) -> io::Result<Certificate> {
    let stream = dialler.tcp(address).await;
    let stream = stream.map_err(|error| io::Error::other(error.to_string()))?;
    let (_, presented) = dialler.trusting().tls(stream, &endpoint.host).await?;
    Ok(Certificate {
        host: endpoint.host.clone(),
        presented,
        now_s: now_s(),
    })
}

async fn get_root(dialler: &Dialler, endpoint: &Endpoint) -> Result<Reply, HttpError> {
    let request = request(Method::GET, endpoint, "/").body(Full::new(Bytes::new()));
    let request = request.map_err(|error| HttpError::Body(error.to_string()))?;
    send(dialler, endpoint, request).await
}

/// What matters of an answer.
pub(super) fn answer(reply: &Reply) -> Answer {
    let header = |name| reply.header(name).map(str::to_owned);
    let origins = reply.headers.get_all(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let text: String = String::from_utf8_lossy(&reply.body)
        .chars()
        .take(TEXT_LENGTH_MAX)
        .collect();
    Answer {
        status: reply.status.as_u16(),
        server: header(header::SERVER),
        location: header(header::LOCATION),
        content_type: header(header::CONTENT_TYPE),
        challenge: header(header::WWW_AUTHENTICATE),
        encoding: header(header::CONTENT_ENCODING),
        allowed_origins: origins
            .iter()
            .map(|origin| String::from_utf8_lossy(origin.as_bytes()).into_owned())
            .collect(),
        clock_ahead_s: reply.header(header::DATE).and_then(ahead_s),
        text,
    }
}

fn ahead_s(date: &str) -> Option<i64> {
    let theirs: SystemTime = date.parse::<HttpDate>().ok()?.into();
    let now = SystemTime::now();
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).ok();
    match theirs.duration_since(now) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => seconds(behind.duration()).map(|behind| -behind),
    }
}

/// A signed request for the channels.
pub(super) async fn signed(dialler: &Dialler, endpoint: &Endpoint, app: &Credentials) -> Signed {
    let api = Api {
        dialler,
        endpoint,
        app,
    };
    let reply = api.send(&Call::get("/channels")).await;
    reply.as_ref().map(answer).map_err(ToString::to_string)
}

/// A client's connection, closed at once.
pub(super) async fn opened(dialler: &Dialler, hello: Hello<'_>) -> Opened {
    match Socket::greeted(dialler, hello).await {
        Ok(mut greeted) => {
            greeted.socket.close().await;
            Opened::Greeted
        }
        Err(OpenError::NotUpgraded(reply)) => Opened::NotUpgraded(answer(&reply)),
        Err(OpenError::NotGreeted(arrival)) => refusal(arrival),
        Err(OpenError::Silent(_)) => Opened::Silent,
        Err(error @ (OpenError::Http(_) | OpenError::BadUpgrade(_))) => {
            Opened::Broken(error.to_string())
        }
    }
}

fn refusal(arrival: Arrival) -> Opened {
    match arrival {
        Arrival::Event(event) => {
            let data = event.decoded();
            let code = data["code"]
                .as_u64()
                .and_then(|code| u16::try_from(code).ok());
            let reason = data["message"].as_str().map(str::to_owned);
            let reason = reason.unwrap_or_else(|| format!("{} {data}", event.name));
            Opened::Refused { code, reason }
        }
        Arrival::Closed { code, reason } => Opened::Refused { code, reason },
        Arrival::Broken(_) => Opened::Refused {
            code: None,
            reason: arrival.to_string(),
        },
    }
}

/// Tries the paths as they are written, and others where nothing is there.
pub(super) async fn routes(
    dialler: &Dialler,
    hello: Hello<'_>,
    api: &Endpoint,
    app: &Credentials,
) -> Routes {
    let written = opened(dialler, hello).await;
    let mut others = Vec::new();
    if is_missing(&written) {
        for prefix in other_prefixes(&hello.endpoint.path) {
            let endpoint = hello.endpoint.at(&prefix);
            let endpoint = &endpoint;
            let one = opened(dialler, Hello { endpoint, ..hello }).await;
            let is_over = !is_missing(&one);
            others.push((prefix, one));
            if is_over {
                break;
            }
        }
    }
    let socket = Tried {
        endpoint: hello.endpoint.clone(),
        written,
        others,
    };
    let written = signed(dialler, api, app).await;
    let mut others = Vec::new();
    if is_missing(&written) {
        for prefix in other_prefixes(&api.path) {
            let one = signed(dialler, &api.at(&prefix), app).await;
            let is_over = !is_missing(&one);
            others.push((prefix, one));
            if is_over {
                break;
            }
        }
    }
    let of_nobody = match is_missing(&written) {
        true => Some(of_nobody(dialler, api, app).await),
        false => None,
    };
    let api = Tried {
        endpoint: api.clone(),
        written,
        others,
    };
    Routes {
        socket,
        api,
        of_nobody,
    }
}

/// Whether it is worth while to look elsewhere.
fn is_missing(tried: &impl Placed) -> bool {
    matches!(tried.place(), Place::Nothing | Place::NoUpgrade)
}

/// The same request to the same address, for a site that nobody has.
async fn of_nobody(dialler: &Dialler, api: &Endpoint, app: &Credentials) -> Signed {
    let (target, _) = Call::get("/channels").signed(app, now_s());
    let nobody = Endpoint {
        host: NOBODY.to_owned(),
        ..api.clone()
    };
    let request = request(Method::GET, &nobody, &api.join(&target))
        .body(Full::new(Bytes::new()))
        .map_err(|error| error.to_string())?;
    let reply = send(dialler, api, request).await;
    reply.as_ref().map(answer).map_err(ToString::to_string)
}
