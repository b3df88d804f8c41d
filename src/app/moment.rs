//! Points in time as people write them.

use std::{
    borrow::Cow,
    time::{SystemTime, UNIX_EPOCH},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::settings::{Secrets, Text};

/// A second of Unix time, written as RFC 3339: `2026-10-01T12:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// By this machine's clock.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.unwrap_or_default().as_secs())
    }
}

impl Text for Moment {
    fn parse(text: &str) -> Result<Self, String> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
        let seconds = parsed.and_then(|it| u64::try_from(it.unix_timestamp()).ok());
        seconds.map(Self).ok_or_else(|| {
            format!("must be a point in time such as \"2026-10-01T12:00:00Z\", not {text:?}")
        })
    }

    fn text(&self, _: Secrets) -> Cow<'_, str> {
        let seconds = i64::try_from(self.0).ok();
        let moment = seconds.and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok());
        let text = moment.and_then(|it| it.format(&Rfc3339).ok());
        text.unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_with_any_offset_and_written_in_utc() {
        let moment = <Moment as Text>::parse("2026-10-01T14:00:00+02:00").expect("RFC 3339");
        assert_eq!(moment, Moment(1_790_856_000));
        assert_eq!(moment.text(Secrets::Hidden), "2026-10-01T12:00:00Z");
        for text in ["", "2026-10-01", "yesterday", "1969-12-31T23:59:59Z"] {
            assert!(<Moment as Text>::parse(text).is_err(), "{text}");
        }
    }
}
