//! The header of the PROXY protocol, versions 1 and 2: with it a proxy begins a connection and says for whom it speaks.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>. Parses bytes and does nothing else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Bytes of a header, with whatever a proxy adds to version 2. The specification asks senders to stay below 536.
const HEADER_BYTES_MAX: usize = 4096;
/// Bytes of a header of version 1, its line end included.
const TEXT_BYTES_MAX: usize = 107;
/// What a header of version 1 begins with.
const TEXT: &[u8] = b"PROXY ";
const LINE_END: &[u8] = b"\r\n";
/// What a header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and protocol, length.
const FIXED_BYTES: usize = 16;
/// The addition of version 2 that tells of TLS, and the bit in its first byte that says that the client used it.
const TYPE_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Bytes of the header; what follows is the client's.
    pub bytes: usize,
    /// Where the client is. `None`: the proxy speaks for itself, or for a client that has no address.
    pub client: Option<SocketAddr>,
    /// Whether the client's side of the connection is encrypted, as far as the proxy says.
    pub secure: bool,
}

/// Why the beginning of a connection is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeaderError {
    /// It begins with something else.
    Absent,
    /// It has more than 4 KiB.
    TooLong,
    /// It begins as one, and goes on otherwise.
    Malformed,
}

impl ProxyHeaderError {
    /// In words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Absent => "the connection begins without a PROXY protocol header",
            Self::TooLong => "the PROXY protocol header is too long",
            Self::Malformed => "the PROXY protocol header is malformed",
        }
    }
}

impl ProxyHeader {
    /// Parses the beginning of a connection. `None`: it is the beginning of a header, and more has to come.
    ///
    /// # Errors
    /// [`ProxyHeaderError`], as soon as it is seen.
    pub fn parse(input: &[u8]) -> Result<Option<Self>, ProxyHeaderError> {
        if begins(input, SIGNATURE) {
            return match input.get(..FIXED_BYTES) {
                Some(fixed) => binary(fixed, input),
                None => Ok(None),
            };
        }
        if !begins(input, TEXT) {
            return Err(ProxyHeaderError::Absent);
        }
        let line = &input[..input.len().min(TEXT_BYTES_MAX)];
        match memchr::memmem::find(line, LINE_END) {
            Some(end) => text(&line[..end], end + LINE_END.len()).map(Some),
            None if line.len() == TEXT_BYTES_MAX => Err(ProxyHeaderError::Malformed),
            None => Ok(None),
        }
    }

    fn of_proxy_itself(bytes: usize) -> Self {
        Self {
            bytes,
            client: None,
            secure: false,
        }
    }
}

/// Whether `input` begins with this, as far as it goes.
fn begins(input: &[u8], with: &[u8]) -> bool {
    let length = input.len().min(with.len());
    input[..length] == with[..length]
}

/// `PROXY TCP4 192.0.2.1 192.0.2.9 56324 443`, without its line end.
fn text(line: &[u8], bytes: usize) -> Result<ProxyHeader, ProxyHeaderError> {
    let line = str::from_utf8(line).map_err(|_| ProxyHeaderError::Malformed)?;
    let words: Vec<_> = line.split(' ').collect();
    let client = match words[..] {
        // What follows, nobody is to read.
        ["PROXY", "UNKNOWN", ..] => return Ok(ProxyHeader::of_proxy_itself(bytes)),
        [
            "PROXY",
            "TCP4",
            source,
            destination,
            source_port,
            destination_port,
        ] => {
            let ends = (
                address::<Ipv4Addr>(source),
                address::<Ipv4Addr>(destination),
            );
            ends.0.zip(ends.1).zip(ports(source_port, destination_port))
        }
        [
            "PROXY",
            "TCP6",
            source,
            destination,
            source_port,
            destination_port,
        ] => {
            let ends = (
                address::<Ipv6Addr>(source),
                address::<Ipv6Addr>(destination),
            );
            ends.0.zip(ends.1).zip(ports(source_port, destination_port))
        }
        _ => None,
    };
    let ((source, _), port) = client.ok_or(ProxyHeaderError::Malformed)?;
    Ok(ProxyHeader {
        bytes,
        client: Some(SocketAddr::new(source, port)),
        secure: false,
    })
}

fn address<A: std::str::FromStr + Into<IpAddr>>(text: &str) -> Option<IpAddr> {
    text.parse::<A>().ok().map(Into::into)
}

/// The source's, if both are ports.
fn ports(source: &str, destination: &str) -> Option<u16> {
    let port = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_plain)
    };
    port(destination).and(port(source))
}

fn binary(fixed: &[u8], input: &[u8]) -> Result<Option<ProxyHeader>, ProxyHeaderError> {
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0xf);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let bytes = FIXED_BYTES + length;
    if version != 2 || command > 1 {
        return Err(ProxyHeaderError::Malformed);
    }
    if bytes > HEADER_BYTES_MAX {
        return Err(ProxyHeaderError::TooLong);
    }
    let Some(rest) = input.get(FIXED_BYTES..bytes) else {
        return Ok(None);
    };
    if command == 0 {
        return Ok(Some(ProxyHeader::of_proxy_itself(bytes)));
    }
    // Family and protocol: only streams come to a listener of streams.
    let (client, additions) = match fixed[13] {
        0x00 => (None, Some(&[][..])),
        0x11 => (source::<4>(rest, 8), rest.get(12..)),
        0x21 => (source::<16>(rest, 32), rest.get(36..)),
        0x31 => (None, rest.get(216..)),
        _ => return Err(ProxyHeaderError::Malformed),
    };
    let additions = additions.ok_or(ProxyHeaderError::Malformed)?;
    Ok(Some(ProxyHeader {
        bytes,
        client,
        secure: says_secure(additions)?,
    }))
}

/// The address that the block begins with, with the port at this place.
fn source<const N: usize>(block: &[u8], port_at: usize) -> Option<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let ip = IpAddr::from(*block.first_chunk::<N>()?);
    let port = *block.get(port_at..)?.first_chunk()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes(port)))
}

/// Goes through the additions: type, length of two bytes, value.
fn says_secure(mut additions: &[u8]) -> Result<bool, ProxyHeaderError> {
    let mut secure = false;
    while let Some(([kind, high, low], rest)) = additions.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, next)) = rest.split_at_checked(length) else {
            return Err(ProxyHeaderError::Malformed);
        };
        if *kind == TYPE_SSL {
            secure |= value.first().is_some_and(|bits| bits & CLIENT_SSL != 0);
        }
        additions = next;
    }
    if additions.is_empty() {
        Ok(secure)
    } else {
        Err(ProxyHeaderError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng, rngs::SmallRng};

    use super::*;

    /// A header of version 2 with this second half of its fixed part, and these additions.
    fn version_2(command: u8, family: u8, block: &[u8], additions: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len() + additions.len()).expect("short");
        [
            SIGNATURE,
            &[0x20 | command, family],
            &length.to_be_bytes(),
            block,
            additions,
        ]
        .concat()
    }

    fn ipv4() -> Vec<u8> {
        [192, 0, 2, 1, 192, 0, 2, 9, 0xdc, 0x04, 0x01, 0xbb].to_vec()
    }

    fn ipv6() -> Vec<u8> {
        let source: Ipv6Addr = "2001:db8::1".parse().expect("an address");
        let ends = [source.octets(), source.octets()].concat();
        [ends, vec![0xdc, 0x04, 0x01, 0xbb]].concat()
    }

    fn all_valid() -> Vec<(Vec<u8>, Option<&'static str>, bool)> {
        let text = |line: &str| format!("{line}\r\n").into_bytes();
        let unix = vec![b'/'; 216];
        let ssl = |bits: u8| [&[TYPE_SSL, 0, 5][..], &[bits, 0, 0, 0, 0]].concat();
        let others = [&[0x01, 0, 2, b'h', b'2'][..], &[0x04, 0, 0]].concat();
        let client = Some("192.0.2.1:56324");
        vec![
            (
                text("PROXY TCP4 192.0.2.1 192.0.2.9 56324 443"),
                client,
                false,
            ),
            (
                text("PROXY TCP4 192.0.2.1 192.0.2.9 0 65535"),
                Some("192.0.2.1:0"),
                false,
            ),
            (
                text("PROXY TCP6 2001:db8::1 ::1 56324 443"),
                Some("[2001:db8::1]:56324"),
                false,
            ),
            (text("PROXY UNKNOWN"), None, false),
            (text("PROXY UNKNOWN ffff::1 whatever 1"), None, false),
            (version_2(1, 0x11, &ipv4(), b""), client, false),
            (version_2(1, 0x11, &ipv4(), &others), client, false),
            (
                version_2(1, 0x11, &ipv4(), &[others.clone(), ssl(1)].concat()),
                client,
                true,
            ),
            (version_2(1, 0x11, &ipv4(), &ssl(6)), client, false),
            (
                version_2(1, 0x21, &ipv6(), b""),
                Some("[2001:db8::1]:56324"),
                false,
            ),
            (version_2(1, 0x31, &unix, b""), None, false),
            (version_2(1, 0x31, &unix, &ssl(1)), None, true),
            (version_2(1, 0x00, b"", b""), None, false),
            (version_2(1, 0x00, b"what nobody knows", b""), None, false),
            (version_2(0, 0x00, b"", b""), None, false),
            (version_2(0, 0x11, &ipv4(), &ssl(1)), None, false),
            (
                version_2(
                    1,
                    0x11,
                    &ipv4(),
                    &[&[0xe0, 0x0f, 0xe1][..], &[7; 4065]].concat(),
                ),
                client,
                false,
            ),
        ]
    }

    #[test]
    fn a_header_says_where_the_client_is_and_where_its_bytes_begin() {
        for (header, client, secure) in all_valid() {
            let expected = ProxyHeader {
                bytes: header.len(),
                client: client.map(|client| client.parse().expect(client)),
                secure,
            };
            let shown = header.escape_ascii().to_string();
            assert_eq!(ProxyHeader::parse(&header), Ok(Some(expected)), "{shown}");
            let with_request = [&header[..], b"GET / HTTP/1.1\r\n\r\n"].concat();
            assert_eq!(
                ProxyHeader::parse(&with_request),
                Ok(Some(expected)),
                "{shown}"
            );
        }
    }

    #[test]
    fn each_part_of_a_header_waits_for_the_rest() {
        for (header, ..) in all_valid() {
            for length in 0..header.len() {
                let parsed = ProxyHeader::parse(&header[..length]);
                assert_eq!(parsed, Ok(None), "{length} of {}", header.escape_ascii());
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        let text = |line: &str| format!("{line}\r\n").into_bytes();
        let mut version_3 = version_2(1, 0x11, &ipv4(), b"");
        version_3[12] = 0x31;
        let long = "x".repeat(TEXT_BYTES_MAX - 14);
        let absent = [
            b"G".to_vec(),
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"\x16\x03\x01".to_vec(),
            b"PROXX".to_vec(),
            b"\r\n\r\n\x01".to_vec(),
            b"\n".to_vec(),
        ];
        for input in absent {
            let parsed = ProxyHeader::parse(&input);
            assert_eq!(
                parsed,
                Err(ProxyHeaderError::Absent),
                "{}",
                input.escape_ascii()
            );
        }
        let too_long = version_2(1, 0x11, &ipv4(), &[0; HEADER_BYTES_MAX - 27]);
        let parsed = ProxyHeader::parse(&too_long[..FIXED_BYTES]);
        assert_eq!(parsed, Err(ProxyHeaderError::TooLong));
        let malformed = [
            text("PROXY "),
            text("PROXY  TCP4 192.0.2.1 192.0.2.9 56324 443"),
            text("PROXY TCP4 192.0.2.1 192.0.2.9 56324"),
            text("PROXY TCP4 192.0.2.1 192.0.2.9 56324 443 "),
            text("PROXY TCP4 192.0.2.1 192.0.2.9 56324 65536"),
            text("PROXY TCP4 192.0.2.1 192.0.2.9 +1 443"),
            text("PROXY TCP4 192.0.2.256 192.0.2.9 56324 443"),
            text("PROXY TCP4 192.0.02.1 192.0.2.9 56324 443"),
            text("PROXY TCP4 ::1 ::1 56324 443"),
            text("PROXY TCP6 192.0.2.1 192.0.2.9 56324 443"),
            text("PROXY UDP4 192.0.2.1 192.0.2.9 56324 443"),
            text("PROXY UNKNOWNX"),
            text("PROXY TCP4 \u{00fc} 192.0.2.9 56324 443"),
            format!("PROXY UNKNOWN {long}").into_bytes(),
            b"PROXY TCP4 192.0.2.1 192.0.2.9 56324 443\n\r\n".to_vec(),
            version_3,
            version_2(2, 0x11, &ipv4(), b""),
            version_2(1, 0x12, &ipv4(), b""),
            version_2(1, 0x41, &ipv4(), b""),
            version_2(1, 0x11, &ipv4()[..11], b""),
            version_2(1, 0x21, &ipv6()[..35], b""),
            version_2(1, 0x31, &[0; 215], b""),
            version_2(1, 0x11, &ipv4(), &[TYPE_SSL, 0, 2, 1]),
            version_2(1, 0x11, &ipv4(), &[TYPE_SSL, 0]),
        ];
        for input in malformed {
            let parsed = ProxyHeader::parse(&input);
            assert_eq!(
                parsed,
                Err(ProxyHeaderError::Malformed),
                "{}",
                input.escape_ascii()
            );
        }
    }

    /// Whatever comes: no panic, no more bytes than there are, and what was decided stays so when more comes.
    #[test]
    fn any_bytes_are_a_header_or_the_beginning_of_one_or_refused_for_good() {
        let mut random = SmallRng::seed_from_u64(15);
        let valid = all_valid();
        for _ in 0..200_000 {
            let (header, ..) = &valid[random.random_range(0..valid.len())];
            let mut input = header[..header.len().min(300)].to_vec();
            for _ in 0..random.random_range(0..4) {
                let at = random.random_range(0..input.len());
                input[at] = random.random();
            }
            input.truncate(random.random_range(0..=input.len()));
            let begun = ProxyHeader::parse(&input);
            if let Ok(Some(header)) = begun {
                assert!(header.bytes <= input.len() && header.bytes <= HEADER_BYTES_MAX);
            }
            input.extend((0..random.random_range(0..200)).map(|_| random.random::<u8>()));
            let more = ProxyHeader::parse(&input);
            if begun != Ok(None) {
                assert_eq!(more, begun, "{}", input.escape_ascii());
            }
        }
    }
}
