//! From WebSocket frames, as the outbox holds them, to the lines of the fallback transports.

use std::mem;

use bytes::{Buf, Bytes};

use crate::protocol::message::json_string;

/// The beginning of a session.
pub(super) const OPEN: &str = "o\n";
/// Keeps proxies from closing the response; a streaming client answers with `[]`.
pub(super) const HEARTBEAT: &str = "h\n";
/// Carries nothing, and is not answered.
pub(super) const NOTHING: &str = "a[]\n";

/// Lines made of frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) text: String,
    /// Whether the last line says goodbye.
    pub(super) closes: bool,
}

impl Lines {
    /// The first line of a session.
    pub(super) fn beginning() -> Self {
        Self {
            text: OPEN.to_owned(),
            closes: false,
        }
    }

    /// Adds whole frames. Messages that follow each other share a line.
    pub(super) fn add(&mut self, mut frames: Bytes) {
        while let Some((opcode, payload)) = next_frame(&mut frames) {
            match opcode {
                0x1 => self.message(&String::from_utf8_lossy(&payload)),
                0x8 => self.close(&payload),
                0x9 => self.text.push_str(HEARTBEAT),
                _ => {}
            }
        }
    }

    /// Takes lines off the front, up to and with the one that passes `units_max`; gives them with their UTF-16 units.
    ///
    /// A client may ask anew after any line beyond that, and would lose what came behind it.
    pub(super) fn take(&mut self, units_max: usize) -> (String, usize) {
        let (mut units, mut end) = (0, 0);
        for line in self.text.split_inclusive('\n') {
            units += line.encode_utf16().count();
            end += line.len();
            if units > units_max {
                break;
            }
        }
        let rest = self.text.split_off(end);
        (mem::replace(&mut self.text, rest), units)
    }

    fn message(&mut self, message: &str) {
        let message = json_string(message);
        if self.text.ends_with("\"]\n") {
            self.text.truncate(self.text.len() - "]\n".len());
            self.text.push(',');
        } else {
            self.text.push_str("a[");
        }
        self.text.push_str(&message);
        self.text.push_str("]\n");
    }

    fn close(&mut self, payload: &[u8]) {
        let (code, reason) = match payload {
            [high, low, reason @ ..] => (
                u16::from_be_bytes([*high, *low]),
                String::from_utf8_lossy(reason),
            ),
            _ => (1000, "".into()),
        };
        self.text
            .push_str(&format!("c[{code},{}]\n", json_string(&reason)));
        self.closes = true;
    }
}

/// Takes one unmasked frame off the front.
fn next_frame(frames: &mut Bytes) -> Option<(u8, Bytes)> {
    let (first, second) = (*frames.first()?, *frames.get(1)?);
    frames.advance(2);
    let length = match second {
        126 => usize::from(frames.try_get_u16().ok()?),
        127 => usize::try_from(frames.try_get_u64().ok()?).ok()?,
        short => usize::from(short),
    };
    (frames.len() >= length).then(|| (first & 0x0f, frames.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{CloseCode, Frame};

    #[test]
    fn frames_become_lines() {
        let mut lines = Lines::default();
        let long = format!(r#"{{"x":"{}"}}"#, "y".repeat(200));
        let merged = [Frame::text(r#"{"a":1}"#), Frame::text(&long)];
        lines.add(
            merged
                .iter()
                .flat_map(|frame| frame.bytes().to_vec())
                .collect::<Vec<_>>()
                .into(),
        );
        lines.add(Frame::ping().bytes().clone());
        lines.add(Frame::text("{}").bytes().clone());
        lines.add(Frame::close(CloseCode::Reconnect, "bye").bytes().clone());
        let expected = format!(
            "a[\"{{\\\"a\\\":1}}\",{}]\nh\na[\"{{}}\"]\nc[4200,\"bye\"]\n",
            json_string(&long)
        );
        assert_eq!(
            lines,
            Lines {
                text: expected,
                closes: true
            }
        );
    }

    #[test]
    fn lines_are_taken_whole_up_to_the_one_that_passes_the_limit() {
        let mut lines = Lines {
            text: "o\nh\na[\"é😀\"]\nh\n".to_owned(),
            closes: false,
        };
        assert_eq!(lines.take(4), ("o\nh\na[\"é😀\"]\n".to_owned(), 13));
        assert_eq!(lines.take(100), ("h\n".to_owned(), 2));
        assert_eq!(lines.take(100), (String::new(), 0));
    }
}
