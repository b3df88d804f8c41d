//! A TCP stream with a deadline on every read, which keeps what it read ahead.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::OwnedFd,
    process::Command,
    time::{Duration, Instant},
};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Why a read brought nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadError {
    /// The deadline passed first.
    Quiet,
    /// The peer closed or reset the connection.
    Ended,
}

/// A connected socket and the bytes read ahead of what was asked for.
pub(crate) struct Stream {
    tcp: TcpStream,
    ahead: Vec<u8>,
    taken: usize,
}

impl Stream {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the server accepts")
    }

    pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
        Ok(Self::over(tcp))
    }

    /// Over a connection that stands.
    pub(crate) fn over(tcp: TcpStream) -> Self {
        tcp.set_nodelay(true).expect("an option is set");
        tcp.set_write_timeout(Some(PATIENCE))
            .expect("a timeout is set");
        Self {
            tcp,
            ahead: Vec::new(),
            taken: 0,
        }
    }

    /// Sends everything. A peer that closed meanwhile is not this call's business: the next read tells.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.try_send(bytes);
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.tcp.write_all(bytes)
    }

    /// Sends what fits now and tells how much that was; for a peer that may have stopped reading.
    pub(crate) fn send_some(&mut self, bytes: &[u8], patience: Duration) -> usize {
        self.tcp
            .set_write_timeout(Some(patience))
            .expect("a timeout is set");
        let sent = self.tcp.write(bytes).unwrap_or(0);
        self.tcp
            .set_write_timeout(Some(PATIENCE))
            .expect("a timeout is set");
        sent
    }

    /// The same socket once more, for another thread.
    pub(crate) fn duplicate(&self) -> TcpStream {
        self.tcp.try_clone().expect("the socket is cloned")
    }

    /// Segments with data that came so far. What the peer wrote in one go comes in one, up to the 64 KB of the loopback.
    pub(crate) fn segments_received(&self) -> u32 {
        // The standard library has no getsockopt; 152 is the place of tcpi_data_segs_in in Linux's tcp_info.
        let program = "import socket, struct\n\
            info = socket.socket(fileno=0).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)\n\
            print(*struct.unpack_from('I', info, 152))";
        let socket = OwnedFd::from(self.tcp.try_clone().expect("the socket is cloned"));
        let python = Command::new("python3")
            .args(["-c", program])
            .stdin(socket)
            .output()
            .expect("Python is there");
        let printed = String::from_utf8_lossy(&python.stdout);
        printed
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&python.stderr)))
    }

    /// Ends this side's half of the connection.
    pub(crate) fn shutdown_write(&self) {
        let _ = self.tcp.shutdown(Shutdown::Write);
    }

    /// What was read and not yet taken, at least `wanted` bytes of it.
    pub(crate) fn peek(&mut self, wanted: usize, patience: Duration) -> Result<&[u8], ReadError> {
        let deadline = Instant::now() + patience;
        while self.ahead.len() - self.taken < wanted {
            self.fill(deadline)?;
        }
        Ok(&self.ahead[self.taken..])
    }

    /// Takes exactly `wanted` bytes, or none.
    pub(crate) fn take(&mut self, wanted: usize, patience: Duration) -> Result<Vec<u8>, ReadError> {
        let bytes = self.peek(wanted, patience)?[..wanted].to_vec();
        self.taken += wanted;
        if self.taken == self.ahead.len() {
            self.ahead.clear();
            self.taken = 0;
        }
        Ok(bytes)
    }

    /// Takes everything up to and with `end`.
    pub(crate) fn take_until(
        &mut self,
        end: &[u8],
        patience: Duration,
    ) -> Result<Vec<u8>, ReadError> {
        let deadline = Instant::now() + patience;
        loop {
            let found = self.ahead[self.taken..]
                .windows(end.len())
                .position(|window| window == end);
            match found {
                Some(at) => return self.take(at + end.len(), patience),
                None => self.fill(deadline)?,
            }
        }
    }

    /// Takes everything until the peer closes.
    pub(crate) fn take_rest(&mut self, patience: Duration) -> Result<Vec<u8>, ReadError> {
        let deadline = Instant::now() + patience;
        loop {
            match self.fill(deadline) {
                Ok(()) => {}
                Err(ReadError::Ended) => {
                    let rest = self.ahead.split_off(self.taken);
                    self.ahead.clear();
                    self.taken = 0;
                    return Ok(rest);
                }
                Err(ReadError::Quiet) => return Err(ReadError::Quiet),
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> Result<(), ReadError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut chunk = [0; 16 * 1024];
        self.tcp
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .expect("a timeout is set");
        match self.tcp.read(&mut chunk) {
            Ok(0) => Err(ReadError::Ended),
            Ok(read) => {
                self.ahead.extend_from_slice(&chunk[..read]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Err(ReadError::Quiet),
                _ => Err(ReadError::Ended),
            },
        }
    }
}
