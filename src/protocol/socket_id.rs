//! The id of one connection, `123.456` on the wire.

use std::{fmt, num::NonZeroU64, str::FromStr};

use rand::RngExt;

/// Names a connection in signatures and exclusions. Two random numbers of 1..=10⁹: unguessable in practice, unique in the
/// whole cluster, and matching `^\d+\.\d+$`, which every server library demands before it signs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(NonZeroU64);

/// The text is not of the form `digits.digits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedSocketId;

impl SocketId {
    /// A new id from the thread's cryptographic generator.
    #[must_use]
    pub fn random() -> Self {
        let mut rng = rand::rng();
        let mut half = || rng.random_range(1..=1_000_000_000_u64);
        Self(NonZeroU64::new(half() << 32 | half()).expect("each half is at least 1"))
    }

    /// The id as a number, for the way between nodes.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        self.0.get()
    }

    /// The id of such a number; 0 is none.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        NonZeroU64::new(bits).map(Self)
    }

    /// Reads a publisher's `socket_id`. `Ok(None)`: well-formed, but no id that this server ever gives, so it excludes nobody.
    ///
    /// # Errors
    /// [`MalformedSocketId`] when the text is not `digits.digits`.
    pub fn parse(text: &str) -> Result<Option<Self>, MalformedSocketId> {
        let (left, right) = text.split_once('.').ok_or(MalformedSocketId)?;
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(left) || !digits(right) {
            return Err(MalformedSocketId);
        }
        let half = |s: &str| {
            u32::from_str(s)
                .ok()
                .filter(|n| *n > 0 && (s.len() == 1 || !s.starts_with('0')))
        };
        Ok(half(left)
            .zip(half(right))
            .and_then(|(l, r)| NonZeroU64::new(u64::from(l) << 32 | u64::from(r)).map(Self)))
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.get() >> 32, self.0.get() & 0xffff_ffff)
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for _ in 0..1000 {
            let id = SocketId::random();
            assert_eq!(SocketId::parse(&id.to_string()), Ok(Some(id)));
        }
    }

    #[test]
    fn only_digits_dot_digits_is_well_formed() {
        for text in [
            "", ".", "1.", ".2", "1", "a.b", "1.2.3", "1,2", " 1.2", "1.2\n", "+1.2", "-1.2",
        ] {
            assert_eq!(SocketId::parse(text), Err(MalformedSocketId), "{text:?}");
        }
    }

    #[test]
    fn a_well_formed_id_of_nobody_excludes_nobody() {
        for text in ["0.1", "1.0", "01.1", "99999999999999999999.1"] {
            assert_eq!(SocketId::parse(text), Ok(None), "{text:?}");
        }
    }
}
