//! How messages between nodes look. Binary, so that a ready frame travels as it is; scripts write theirs as text.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::core::{Count, Edge, Event, Lasting, Mark, PeerMessage};
use crate::protocol::{Frame, SocketId};

/// The version of this layout; others are ignored, so that a rolling upgrade can't misread. Scripts write it too.
const VERSION: u8 = b'2';
/// What stands before the frame of an event.
pub const EVENT_HEADER: usize = 2 + 8 + 8 + 8 + 4;

/// The bytes of a [`PeerMessage::Event`].
#[must_use]
pub fn event(event: &Event, lasting: Lasting) -> Bytes {
    let frame = event.frame.bytes();
    let (kind, ttl_s) = match lasting {
        Lasting::Passing => (b'P', 0),
        Lasting::Cached(ttl_s) => (b'C', ttl_s),
        Lasting::Recorded => (b'H', 0),
    };
    let mut out = BytesMut::with_capacity(EVENT_HEADER + frame.len());
    out.put_u8(VERSION);
    out.put_u8(kind);
    out.put_u64(event.id.0);
    out.put_u64(event.id.1);
    out.put_u64(event.except.map_or(0, SocketId::to_bits));
    out.put_u32(ttl_s);
    out.put_slice(frame);
    out.freeze()
}

/// The bytes of a [`PeerMessage::Terminate`].
#[must_use]
pub fn terminate(sender: u64, app_id: &str, user_id: &str) -> Bytes {
    let fields = serde_json::to_string(&(sender, app_id, user_id));
    let fields = fields.expect("strings and numbers always serialise");
    format!("2T{fields}").into()
}

/// The bytes of a [`PeerMessage::Hello`].
#[must_use]
pub fn hello(node: u64) -> Bytes {
    format!("2J{node}").into()
}

/// The bytes of a [`PeerMessage::AppsChanged`].
#[must_use]
pub fn apps_changed(node: u64) -> Bytes {
    format!("2R{node}").into()
}

/// The bytes of a [`PeerMessage::Mark`].
#[must_use]
pub fn mark(mark: &Mark) -> Bytes {
    with_fields('M', mark)
}

/// The bytes of a [`PeerMessage::MarkAnswered`].
#[must_use]
pub fn mark_answer(mark: &Mark) -> Bytes {
    with_fields('A', mark)
}

fn with_fields(kind: char, mark: &Mark) -> Bytes {
    let fields = serde_json::to_string(&(mark.node, &mark.app_id, mark.number));
    let fields = fields.expect("strings and numbers always serialise");
    format!("2{kind}{fields}").into()
}

fn decode_mark(bytes: &[u8]) -> Option<Mark> {
    let (node, app_id, number) = serde_json::from_slice::<(u64, String, u64)>(bytes).ok()?;
    Some(Mark {
        node,
        app_id: app_id.into(),
        number,
    })
}

/// Reads a message; `None` when it is damaged or of another version.
#[must_use]
pub fn decode(mut bytes: Bytes) -> Option<PeerMessage> {
    if bytes.len() < 2 || bytes.get_u8() != VERSION {
        return None;
    }
    match bytes.get_u8() {
        kind @ (b'P' | b'C' | b'H') => decode_event(kind, bytes),
        b'E' => {
            let (generation, sequence, user_id, info, again) =
                serde_json::from_slice::<(u64, u64, String, Option<String>, bool)>(&bytes).ok()?;
            Some(PeerMessage::Edge(Edge {
                generation,
                sequence,
                user_id: user_id.into(),
                info: info.map(Into::into),
                again,
            }))
        }
        b'N' => serde_json::from_slice(&bytes)
            .ok()
            .map(|(number, at_us)| PeerMessage::Count(Count { number, at_us })),
        b'J' => serde_json::from_slice(&bytes).ok().map(PeerMessage::Hello),
        b'R' => {
            let node = serde_json::from_slice(&bytes).ok()?;
            Some(PeerMessage::AppsChanged(node))
        }
        b'M' => decode_mark(&bytes).map(PeerMessage::Mark),
        b'A' => decode_mark(&bytes).map(PeerMessage::MarkAnswered),
        b'T' => {
            let (sender, app_id, user_id) =
                serde_json::from_slice::<(u64, String, String)>(&bytes).ok()?;
            Some(PeerMessage::Terminate {
                sender,
                app_id: app_id.into(),
                user_id: user_id.into(),
            })
        }
        _ => None,
    }
}

/// Whether this is the echo of this node's own event and can be ignored. That of a cached event says which event is the channel's last.
#[must_use]
pub fn is_idle_echo(bytes: &[u8], node: u64) -> bool {
    let sender = matches!(bytes, [VERSION, b'P' | b'H', ..]).then(|| bytes.get(2..10));
    sender.flatten() == Some(&node.to_be_bytes()[..])
}

fn decode_event(kind: u8, mut bytes: Bytes) -> Option<PeerMessage> {
    if bytes.len() < EVENT_HEADER - 2 {
        return None;
    }
    let id = (bytes.get_u64(), bytes.get_u64());
    let except = SocketId::from_bits(bytes.get_u64());
    let ttl_s = bytes.get_u32();
    let lasting = match kind {
        b'C' => Lasting::Cached(ttl_s),
        b'H' => Lasting::Recorded,
        _ => Lasting::Passing,
    };
    let frame = Frame::checked(bytes)?;
    Some(PeerMessage::Event(Event { id, except, frame }, lasting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read_back() {
        let sent = Event {
            id: (7, 9),
            except: Some(SocketId::random()),
            frame: Frame::text("{}"),
        };
        for lasting in [Lasting::Passing, Lasting::Cached(1800), Lasting::Recorded] {
            let expected = PeerMessage::Event(sent.clone(), lasting);
            assert_eq!(decode(event(&sent, lasting)), Some(expected));
        }
        let edge = Bytes::from_static(br#"2E[5,6,"u",null,false]"#);
        let expected = Edge {
            generation: 5,
            sequence: 6,
            user_id: "u".into(),
            info: None,
            again: false,
        };
        assert_eq!(decode(edge), Some(PeerMessage::Edge(expected)));
        assert_eq!(decode(hello(3)), Some(PeerMessage::Hello(3)));
        assert_eq!(decode(apps_changed(3)), Some(PeerMessage::AppsChanged(3)));
        let sent = Mark {
            node: 3,
            app_id: "a".into(),
            number: 4,
        };
        assert_eq!(decode(mark(&sent)), Some(PeerMessage::Mark(sent.clone())));
        let answered = PeerMessage::MarkAnswered(sent.clone());
        assert_eq!(decode(mark_answer(&sent)), Some(answered));
        let expected = PeerMessage::Terminate {
            sender: 1,
            app_id: "a".into(),
            user_id: "\"".into(),
        };
        assert_eq!(decode(terminate(1, "a", "\"")), Some(expected));
    }

    #[test]
    fn an_echo_is_idle_unless_it_tells_which_cached_event_is_the_last() {
        let sent = Event {
            id: (7, 9),
            except: None,
            frame: Frame::text("{}"),
        };
        let is_idle = |lasting, node| is_idle_echo(&event(&sent, lasting), node);
        assert!(is_idle(Lasting::Passing, 7) && is_idle(Lasting::Recorded, 7));
        assert!(!is_idle(Lasting::Cached(1800), 7));
        assert!(!is_idle(Lasting::Passing, 8) && !is_idle(Lasting::Recorded, 8));
        for other in [hello(7), apps_changed(7), Bytes::from_static(b"2P")] {
            assert!(!is_idle_echo(&other, 7));
        }
    }

    #[test]
    fn what_is_damaged_is_no_message() {
        for junk in [
            &b""[..],
            b"2",
            b"2P",
            b"1P",
            b"2Exyz",
            b"2X",
            b"2N[-1,1]",
            b"2T[]",
            b"2R",
            b"2R-1",
        ] {
            assert_eq!(decode(Bytes::from_static(junk)), None);
        }
        let sent = Event {
            id: (7, 9),
            except: None,
            frame: Frame::text(r#"{"event":"e"}"#),
        };
        let whole = event(&sent, Lasting::Passing);
        for cut in EVENT_HEADER..whole.len() {
            assert_eq!(decode(whole.slice(..cut)), None, "{cut}");
        }
        for at in [
            EVENT_HEADER,
            EVENT_HEADER + 1,
            EVENT_HEADER + 2,
            whole.len() - 1,
        ] {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 0x80;
            assert_eq!(decode(damaged.into()), None, "{at}");
        }
    }
}
