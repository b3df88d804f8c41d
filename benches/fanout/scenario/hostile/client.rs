//! Sockets of an attacker: blocking, one thread each.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::Failure;
use crate::host::Host;
use crate::scenario::swarm::socket_id_in;
use crate::websocket::{header, http_head};

/// Bytes of one write.
const WRITE_BYTES: usize = 64 << 10;

/// A WebSocket that was greeted.
pub(super) fn websocket(host: &Host, headers: &str) -> Result<TcpStream, Failure> {
    greeted(host, headers).map(|(stream, _)| stream)
}

/// A WebSocket, and all that it was sent until it was greeted.
fn greeted(host: &Host, headers: &str) -> Result<(TcpStream, Vec<u8>), Failure> {
    let mut stream = TcpStream::connect(host.address)?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /app/{}?protocol=7 HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n",
        host.app.key, host.authority
    );
    stream.write_all(request.as_bytes())?;
    let greeting = read_until(&mut stream, |bytes| {
        http_head(bytes).is_some() && bytes.windows(16).any(|part| part == b"activity_timeout")
    })?;
    Ok((stream, greeting))
}

/// The same, and what the host calls it.
pub(super) fn with_socket_id(host: &Host) -> Result<(TcpStream, String), Failure> {
    let (stream, greeting) = greeted(host, "")?;
    let start = http_head(&greeting).ok_or("no head")?;
    let frame = header(&greeting[start..]).ok_or("no greeting")?;
    let payload = greeting[start + frame.start..].get(..frame.payload);
    let id = payload.and_then(socket_id_in).ok_or("no socket_id")?;
    Ok((stream, id))
}

/// Signs with the secret of the host's app, as a backend does for its clients.
pub(super) fn signature(host: &Host, text: &str) -> Result<String, Failure> {
    let mut mac = Hmac::<Sha256>::new_from_slice(host.app.secret.as_bytes())?;
    mac.update(text.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    Ok(format!("{}:{signature}", host.app.key))
}

/// A socket on a thread of its own that counts the messages it hears.
pub(super) struct Listener {
    messages: Arc<AtomicU64>,
    stream: TcpStream,
}

impl Listener {
    /// Sends this first.
    pub(super) fn of(mut stream: TcpStream, first: &[u8]) -> Result<Self, Failure> {
        stream.write_all(first)?;
        let (mut reader, messages) = (stream.try_clone()?, Arc::<AtomicU64>::default());
        let counted = Arc::clone(&messages);
        thread::spawn(move || {
            let (mut bytes, mut part) = (Vec::new(), vec![0; 64 << 10]);
            while let Ok(count @ 1..) = reader.read(&mut part) {
                bytes.extend_from_slice(&part[..count]);
                while let Some(frame) = header(&bytes) {
                    let end = frame.start + frame.payload;
                    if bytes.len() < end {
                        break;
                    }
                    bytes.drain(..end);
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(Self { messages, stream })
    }

    pub(super) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Its thread ends with it; the server may have closed it.
        self.stream.shutdown(Shutdown::Both).ok();
    }
}

/// Everything that comes until it is enough.
pub(super) fn read_until(
    stream: &mut TcpStream,
    is_enough: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>, Failure> {
    let (mut bytes, mut part) = (Vec::new(), [0; 16 << 10]);
    while !is_enough(&bytes) {
        match stream.read(&mut part)? {
            0 => return Err("the server ended a connection".into()),
            count => bytes.extend_from_slice(&part[..count]),
        }
    }
    Ok(bytes)
}

/// The body of the answer to a signed request.
pub(super) fn signed_get(host: &Host, endpoint: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(host.address)?;
    let (path, query) = (format!("/apps/{}/{endpoint}", host.app.id), query(host)?);
    let mut mac = Hmac::<Sha256>::new_from_slice(host.app.secret.as_bytes())?;
    mac.update(format!("GET\n{path}\n{query}").as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let request = format!(
        "GET {path}?{query}&auth_signature={signature} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("{endpoint}: {head}").into());
    }
    Ok(body.to_owned())
}

/// The parameters that say who asks, and when.
pub(super) fn query(host: &Host) -> Result<String, Failure> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let key = &host.app.key;
    Ok(format!(
        "auth_key={key}&auth_timestamp={seconds}&auth_version=1.0"
    ))
}

/// A socket that writes the same bytes over and over, and throws away what comes.
pub(super) struct Flood {
    stream: TcpStream,
    received: Arc<AtomicU64>,
    threads: [JoinHandle<()>; 2],
}

impl Flood {
    pub(super) fn over(stream: TcpStream, unit: &[u8]) -> Result<Self, Failure> {
        let block = unit.repeat(1 + WRITE_BYTES / unit.len());
        let (mut writer, mut reader) = (stream.try_clone()?, stream.try_clone()?);
        let received = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&received);
        let threads = [
            thread::spawn(move || while writer.write_all(&block).is_ok() {}),
            thread::spawn(move || {
                let mut part = vec![0; 256 << 10];
                while let Ok(count @ 1..) = reader.read(&mut part) {
                    counted.fetch_add(count as u64, Ordering::Relaxed);
                }
            }),
        ];
        Ok(Self {
            stream,
            received,
            threads,
        })
    }

    /// Bytes that came so far.
    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn end(self) {
        // It may have been ended from the other side.
        self.stream.shutdown(Shutdown::Both).ok();
        for thread in self.threads {
            thread.join().ok();
        }
    }
}

/// A moment in which the attack goes on.
pub(super) fn go_on(time: Duration) {
    thread::sleep(time);
}
