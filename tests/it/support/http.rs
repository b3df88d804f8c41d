//! HTTP/1.1 by hand: requests are bytes, so that a test may send anything; responses are read strictly.

use std::{
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use super::stream::{PATIENCE, ReadError, Stream};

/// One response.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    /// A header's value, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(header, _)| header == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: not JSON: {self:?}"))
    }

    /// Asserts status 200 and this JSON body.
    #[track_caller]
    pub(crate) fn is(&self, expected: &Value) {
        assert_eq!(self.status, 200, "{self:?}");
        assert_eq!(&self.json(), expected);
        self.is_json();
    }

    /// Asserts status 200 and exactly the body `{}`.
    #[track_caller]
    pub(crate) fn is_empty_object(&self) {
        assert_eq!((self.status, self.body.as_str()), (200, "{}"), "{self:?}");
        self.is_json();
    }

    /// Asserts an error of this status in the API's shape, and gives its text.
    #[track_caller]
    pub(crate) fn is_error(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        self.is_json();
        let body = self.json();
        assert_eq!(body["code"], status, "{body}");
        let text = body["error"]
            .as_str()
            .unwrap_or_else(|| panic!("no error text: {body}"));
        assert!(!text.is_empty(), "an error says what was wrong");
        text.to_owned()
    }

    #[track_caller]
    fn is_json(&self) {
        let kind = self.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/json"), "{self:?}");
    }
}

/// A client's HTTP connection.
pub(crate) struct Http {
    pub(crate) stream: Stream,
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self {
            stream: Stream::connect(address),
        }
    }

    /// Over a connection that stands.
    pub(crate) fn over(tcp: TcpStream) -> Self {
        Self {
            stream: Stream::over(tcp),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.send(bytes.as_ref());
    }

    /// The next response; the connection must bring one.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.try_response(PATIENCE).expect("a response")
    }

    pub(crate) fn try_response(&mut self, patience: Duration) -> Result<Response, ReadError> {
        let mut response = read_head(&mut self.stream, patience)?;
        response.body = read_body(&mut self.stream, &response, patience)?;
        Ok(response)
    }

    /// The response of a HEAD request: headers that may promise a body, which does not come.
    pub(crate) fn head_response(&mut self) -> Response {
        read_head(&mut self.stream, PATIENCE).expect("a response")
    }

    /// Sends a request without a body and gives the response.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.response()
    }

    /// Waits until the server has closed this connection; nothing more may come.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) {
        let rest = self.stream.take_rest(PATIENCE).expect("the server closes");
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}

/// The status line and headers.
pub(crate) fn read_head(stream: &mut Stream, patience: Duration) -> Result<Response, ReadError> {
    let head = stream.take_until(b"\r\n\r\n", patience)?;
    let head = String::from_utf8(head).expect("a head is text");
    let mut lines = head.trim_end().split("\r\n");
    let status_line = lines.next().expect("a status line");
    assert!(status_line.starts_with("HTTP/1."), "{status_line}");
    let status = status_line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':').expect("a header has a colon");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        })
        .collect();
    Ok(Response {
        status: status.expect("a status"),
        headers,
        body: String::new(),
    })
}

fn read_body(
    stream: &mut Stream,
    head: &Response,
    patience: Duration,
) -> Result<String, ReadError> {
    let bytes = if head.status < 200 || head.status == 204 || head.status == 304 {
        Vec::new()
    } else if head.header("transfer-encoding") == Some("chunked") {
        read_chunks(stream, patience)?
    } else if let Some(length) = head.header("content-length") {
        stream.take(length.parse().expect("a length"), patience)?
    } else {
        stream.take_rest(patience)?
    };
    Ok(String::from_utf8(bytes).expect("a body is text"))
}

fn read_chunks(stream: &mut Stream, patience: Duration) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    loop {
        let line = stream.take_until(b"\r\n", patience)?;
        let line = String::from_utf8(line).expect("a chunk size");
        let size = usize::from_str_radix(line.trim_end(), 16).expect("a chunk size");
        body.extend(stream.take(size, patience)?);
        assert_eq!(stream.take(2, patience)?, b"\r\n");
        if size == 0 {
            return Ok(body);
        }
    }
}
