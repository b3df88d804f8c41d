//! HTTP/1.1 over TLS, from the server's side.

use std::{
    fmt::Write as _,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// Bytes of a body that a client of ACME has any use for.
const BODY_BYTES_MAX: usize = 64 << 10;

/// One request.
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

/// What is answered to it.
pub(super) enum Answer {
    Whole {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// These bytes and the end.
    Raw(String),
    /// A body that ends with the client's patience.
    Endless,
    /// Nothing, until the client leaves.
    Silent,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value.as_str())
    }

    fn read(from: &mut impl BufRead) -> Option<Self> {
        let mut line = || {
            let mut line = String::new();
            let read = from.read_line(&mut line).ok()?;
            (read > 0).then(|| line.trim_end().to_owned())
        };
        let first = line()?;
        let mut parts = first.split(' ');
        let (method, path) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let line = line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut request = Self {
            method,
            path,
            headers,
            body: Vec::new(),
        };
        let length = request.header("content-length").unwrap_or("0");
        let length: usize = length.parse().ok()?;
        assert!(length <= BODY_BYTES_MAX, "{length} bytes");
        request.body = vec![0; length];
        from.read_exact(&mut request.body).ok()?;
        Some(request)
    }
}

impl Answer {
    pub(super) fn status(status: u16) -> Self {
        Self::text("text/plain", String::new()).with_status(status)
    }

    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::text("application/json", body.to_string()).with_status(status)
    }

    pub(super) fn text(kind: &str, body: String) -> Self {
        Self::Whole {
            status: 200,
            headers: vec![("Content-Type", kind.to_owned())],
            body,
        }
    }

    pub(super) fn with_status(mut self, new: u16) -> Self {
        if let Self::Whole { status, .. } = &mut self {
            *status = new;
        }
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Whole { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }

    fn bytes(status: u16, headers: &[(&str, String)], body: &str, method: &str) -> String {
        let mut text = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            write!(text, "{name}: {value}\r\n").expect("a string takes text");
        }
        text.push_str("\r\n");
        if method != "HEAD" {
            text.push_str(body);
        }
        text
    }
}

/// Answers the requests of one connection.
pub(super) fn serve(tcp: TcpStream, tls: Arc<ServerConfig>, answer: impl Fn(&Request) -> Answer) {
    let session = ServerConnection::new(tls).expect("a session");
    let mut stream = BufReader::new(StreamOwned::new(session, tcp));
    while let Some(request) = Request::read(&mut stream) {
        let out = stream.get_mut();
        let written = match answer(&request) {
            Answer::Whole {
                status,
                headers,
                body,
            } => {
                let bytes = Answer::bytes(status, &headers, &body, &request.method);
                out.write_all(bytes.as_bytes()).and_then(|()| out.flush())
            }
            Answer::Raw(bytes) => {
                // The client may have left.
                let _ = out.write_all(bytes.as_bytes()).and_then(|()| out.flush());
                out.conn.send_close_notify();
                let _ = out.flush();
                return;
            }
            Answer::Endless => {
                let head = "HTTP/1.1 200 x\r\nContent-Type: application/json\r\n\r\n";
                let mut written = out.write_all(head.as_bytes());
                while written.is_ok() {
                    written = out.write_all(&[b' '; 16384]);
                }
                written
            }
            Answer::Silent => {
                let mut rest = Vec::new();
                out.read_to_end(&mut rest).map(|_| ())
            }
        };
        if written.is_err() {
            return;
        }
    }
}
