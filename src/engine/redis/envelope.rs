//! What nodes tell each other through a channel's Redis channel. Binary, so that a ready frame travels as it is.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::protocol::{Frame, SocketId};

/// The version of this layout; others are ignored, so that a rolling upgrade can't misread.
const VERSION: u8 = b'1';
/// What stands before the frame of an event.
pub(super) const EVENT_HEADER: usize = 2 + 8 + 8 + 8 + 4;

/// One message between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// An event that the sender has delivered to its own subscribers, and what becomes of it for later ones.
    Event(Event, Kind),
    /// A change of members, made by a script.
    Edge(Edge),
    /// How many subscriptions the channel has.
    Count(usize),
    /// The user's connections are to be closed.
    Terminate {
        /// Names the sending process, which has closed its own.
        sender: u64,
        /// The app.
        app_id: String,
        /// The signed-in user.
        user_id: String,
    },
}

/// The bytes of [`Envelope::Terminate`].
pub(super) fn terminate(sender: u64, app_id: &str, user_id: &str) -> Bytes {
    let fields = serde_json::to_string(&(sender, app_id, user_id));
    format!(
        "1T{}",
        fields.expect("strings and numbers always serialise")
    )
    .into()
}

/// What becomes of an event for those who subscribe later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Passing,
    /// It is the last of its cache channel.
    Cached,
    /// It is part of its channel's history.
    Recorded,
}

/// An event on its way to the other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    /// Names the sending process.
    pub(super) sender: u64,
    /// Rises with every event of the sender, in the order of sending, so that one sent twice is seen once.
    pub(super) number: u64,
    /// Who is left out.
    pub(super) except: Option<SocketId>,
    /// Seconds that a cached event is kept.
    pub(super) ttl_s: u32,
    /// Ready for the socket.
    pub(super) frame: Bytes,
}

/// A change of a channel's members. Scripts write it as text: `1E`, then a JSON array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// When the channel's state began; another one means that Redis lost it in between.
    pub(super) generation: u64,
    /// Rises by one with every edge.
    pub(super) sequence: u64,
    /// Who.
    pub(super) user_id: String,
    /// Came, with this info; `None`: went.
    pub(super) info: Option<String>,
    /// Came back: had a seat before, which Redis had lost.
    pub(super) again: bool,
}

impl Event {
    /// The bytes of [`Envelope::Event`].
    pub(super) fn encode(&self, kind: Kind) -> Bytes {
        let mut out = BytesMut::with_capacity(EVENT_HEADER + self.frame.len());
        out.put_u8(VERSION);
        out.put_u8(match kind {
            Kind::Passing => b'P',
            Kind::Cached => b'C',
            Kind::Recorded => b'H',
        });
        out.put_u64(self.sender);
        out.put_u64(self.number);
        out.put_u64(self.except.map_or(0, SocketId::to_bits));
        out.put_u32(self.ttl_s);
        out.put_slice(&self.frame);
        out.freeze()
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < 8 + 8 + 8 + 4 + 2 {
            return None;
        }
        Some(Self {
            sender: bytes.get_u64(),
            number: bytes.get_u64(),
            except: SocketId::from_bits(bytes.get_u64()),
            ttl_s: bytes.get_u32(),
            frame: bytes,
        })
    }

    /// The frame, for this node's sockets.
    pub(super) fn frame(&self) -> Frame {
        Frame::received(self.frame.clone())
    }
}

impl Envelope {
    fn event(bytes: Bytes, kind: Kind) -> Option<Self> {
        Some(Self::Event(Event::decode(bytes)?, kind))
    }

    /// Reads a message; `None` when it is none of ours.
    pub(super) fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.len() < 2 || bytes.get_u8() != VERSION {
            return None;
        }
        match bytes.get_u8() {
            b'P' => Self::event(bytes, Kind::Passing),
            b'C' => Self::event(bytes, Kind::Cached),
            b'H' => Self::event(bytes, Kind::Recorded),
            b'E' => {
                let (generation, sequence, user_id, info, again) =
                    serde_json::from_slice(&bytes).ok()?;
                Some(Self::Edge(Edge {
                    generation,
                    sequence,
                    user_id,
                    info,
                    again,
                }))
            }
            b'N' => serde_json::from_slice(&bytes).ok().map(Self::Count),
            b'T' => {
                let (sender, app_id, user_id) = serde_json::from_slice(&bytes).ok()?;
                Some(Self::Terminate {
                    sender,
                    app_id,
                    user_id,
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_read_back() {
        let event = Event {
            sender: 7,
            number: 9,
            except: Some(SocketId::random()),
            ttl_s: 1800,
            frame: Frame::text("{}").bytes().clone(),
        };
        for kind in [Kind::Passing, Kind::Cached, Kind::Recorded] {
            let expected = Envelope::Event(event.clone(), kind);
            assert_eq!(Envelope::decode(event.encode(kind)), Some(expected));
        }
        let edge = Bytes::from_static(br#"1E[5,6,"u",null,false]"#);
        let expected = Edge {
            generation: 5,
            sequence: 6,
            user_id: "u".to_owned(),
            info: None,
            again: false,
        };
        assert_eq!(Envelope::decode(edge), Some(Envelope::Edge(expected)));
        for junk in [&b""[..], b"1", b"1P", b"2P", b"1Exyz", b"1X"] {
            assert_eq!(Envelope::decode(Bytes::from_static(junk)), None);
        }
    }
}
