//! What the published events carry: a stamp that says who sent it, in which place and when, and filling.
//!
//! The event data is a JSON object in a string, as Pusher's libraries send it, so every host has the same escapes to carry.

use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Instant;

/// Bytes of a written stamp: `@pp.ssssssss.tttttttttttttttt@` in hexadecimal.
pub(crate) const STAMP_BYTES: usize = 30;

/// The smallest event data that has room for a stamp.
pub(crate) const DATA_BYTES_MIN: usize =
    DATA_START.len() + STAMP_BYTES + DATA_MIDDLE.len() + DATA_END.len();

const DATA_START: &str = r#"{"stamp":""#;
const DATA_MIDDLE: &str = r#"","fill":""#;
const DATA_END: &str = r#""}"#;

const CHANNEL_START: &str = "bench-";
const PRESENCE_PREFIX: &str = "presence-";
const CHANNEL_DIGITS: usize = 6;

/// Nanoseconds since the first call in this process.
pub(crate) fn now_ns() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    let start = START.get_or_init(Instant::now);
    u64::try_from(start.elapsed().as_nanos()).expect("the process runs for less than 584 years")
}

/// Who sent an event, its place in that publisher's order on the channel, and when it left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u8,
    pub(crate) sequence: u32,
    pub(crate) sent_ns: u64,
}

impl Stamp {
    /// Writes the stamp over the first `STAMP_BYTES` of `out`.
    pub(crate) fn write(self, out: &mut [u8]) {
        out[0] = b'@';
        write_hex(u64::from(self.publisher), &mut out[1..3]);
        out[3] = b'.';
        write_hex(u64::from(self.sequence), &mut out[4..12]);
        out[12] = b'.';
        write_hex(self.sent_ns, &mut out[13..29]);
        out[29] = b'@';
    }

    /// The stamp that starts at `bytes[0]`, if there is one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let stamp = bytes.get(..STAMP_BYTES)?;
        if stamp[0] != b'@' || stamp[3] != b'.' || stamp[12] != b'.' || stamp[29] != b'@' {
            return None;
        }
        Some(Self {
            publisher: u8::try_from(read_hex(&stamp[1..3])?).ok()?,
            sequence: u32::try_from(read_hex(&stamp[4..12])?).ok()?,
            sent_ns: read_hex(&stamp[13..29])?,
        })
    }

    /// The stamp anywhere in `bytes`. `hint` is where the last one was: the next is nearly always there too.
    pub(crate) fn find(bytes: &[u8], hint: &mut usize) -> Option<Self> {
        if let Some(stamp) = bytes.get(*hint..).and_then(Self::read) {
            return Some(stamp);
        }
        let places = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'@');
        let (at, stamp) = places
            .filter_map(|(at, _)| Self::read(&bytes[at..]).map(|stamp| (at, stamp)))
            .next()?;
        *hint = at;
        Some(stamp)
    }
}

fn write_hex(mut value: u64, out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in out.iter_mut().rev() {
        *byte = DIGITS[usize::from(value.to_le_bytes()[0] & 15)];
        value >>= 4;
    }
}

fn read_hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0_u64, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

/// The name of the benchmark's channel `number`; all names have one length.
pub(crate) fn channel_name(number: u32) -> String {
    format!("{CHANNEL_START}{number:0CHANNEL_DIGITS$}")
}

/// The name of a presence channel's `number`; all names have one length.
pub(crate) fn presence_channel_name(number: u32) -> String {
    format!("{PRESENCE_PREFIX}{}", channel_name(number))
}

/// The number in a name that `channel_name` made.
pub(crate) fn channel_number(name: &str) -> Option<u32> {
    name.strip_prefix(CHANNEL_START)?.parse().ok()
}

/// Text around one event whose stamp and channel are written in place before each use.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    stamp_at: usize,
    channel_at: usize,
}

impl Template {
    /// One event of `data_bytes` of data as an object whose event name is under `name_key`.
    /// With `rows`, of data as an app sends it, which compresses as such data does.
    pub(crate) fn event(name_key: &str, data_bytes: usize, rows: bool) -> Self {
        let filling = data_bytes.saturating_sub(DATA_BYTES_MIN);
        if rows {
            Self::event_on(CHANNEL_START, name_key, &escape(&filled_with_rows(filling)))
        } else {
            Self::event_on(CHANNEL_START, name_key, &"x".repeat(filling))
        }
    }

    /// The same for presence channels.
    pub(crate) fn presence_event(name_key: &str, data_bytes: usize) -> Self {
        let channel_start = format!("{PRESENCE_PREFIX}{CHANNEL_START}");
        let filling = data_bytes.saturating_sub(DATA_BYTES_MIN);
        Self::event_on(&channel_start, name_key, &"x".repeat(filling))
    }

    fn event_on(channel_start: &str, name_key: &str, filling: &str) -> Self {
        let mut text = format!(r#"{{"{name_key}":"bench","channel":"{channel_start}"#);
        let channel_at = text.len();
        text.push_str(&"0".repeat(CHANNEL_DIGITS));
        text.push_str(r#"","data":""#);
        text.push_str(&escape(DATA_START));
        let stamp_at = text.len();
        text.push_str(&"@".repeat(STAMP_BYTES));
        text.push_str(&escape(DATA_MIDDLE));
        text.push_str(filling);
        text.push_str(&escape(DATA_END));
        text.push_str(r#""}"#);
        Self {
            bytes: text.into_bytes(),
            stamp_at,
            channel_at,
        }
    }

    /// The same event after `prefix`.
    pub(crate) fn after(mut self, prefix: &[u8]) -> Self {
        self.bytes.splice(0..0, prefix.iter().copied());
        self.stamp_at += prefix.len();
        self.channel_at += prefix.len();
        self
    }

    /// The event with this channel and stamp.
    pub(crate) fn fill(&mut self, channel: u32, stamp: Stamp) -> &[u8] {
        let digits = format!("{channel:0CHANNEL_DIGITS$}");
        self.bytes[self.channel_at..self.channel_at + CHANNEL_DIGITS]
            .copy_from_slice(digits.as_bytes());
        stamp.write(&mut self.bytes[self.stamp_at..]);
        &self.bytes
    }

    /// Bytes of the whole text.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// So many bytes of orders as JSON: names over and over, values that are never the same.
fn filled_with_rows(bytes: usize) -> String {
    const STATES: [&str; 5] = ["paid", "packed", "shipped", "delivered", "returned"];
    let mut random: u64 = 1;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    let mut rows = String::new();
    while rows.len() < bytes {
        let state = STATES[usize::try_from(next(5)).unwrap_or(0)];
        write!(
            rows,
            r#"{{"id":{},"state":"{state}","customer":"{:08x}","total_cents":{},"updated_at":"2026-03-{:02}T{:02}:{:02}:{:02}Z"}},"#,
            next(1_000_000), next(1 << 31), next(100_000), next(28) + 1, next(24), next(60), next(60)
        )
        .ok();
    }
    rows.truncate(bytes);
    rows
}

fn escape(text: &str) -> String {
    text.replace('"', "\\\"")
}
