//! What `SCAN`, `HSCAN` and `SSCAN` have in common.

use bytes::Bytes;

use super::{ErrorReply, Reply, glob, is_option, number};

/// What is scanned.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Of {
    /// The keys of the server, which can be chosen by type.
    Keys,
    Value,
}

/// How a scan is narrowed.
pub(super) struct Options<'a> {
    pub(super) count: usize,
    pattern: Option<&'a Bytes>,
    type_name: Option<&'a Bytes>,
}

impl<'a> Options<'a> {
    pub(super) fn parse(words: &'a [Bytes], of: Of) -> Result<Self, ErrorReply> {
        let mut options = Self {
            count: 10,
            pattern: None,
            type_name: None,
        };
        for option in words.chunks(2) {
            let [name, value] = option else {
                return Err(ErrorReply::syntax());
            };
            if is_option(name, "count") {
                let count = number::integer(value).ok_or_else(ErrorReply::not_an_integer)?;
                options.count = usize::try_from(count)
                    .ok()
                    .filter(|count| *count > 0)
                    .ok_or_else(ErrorReply::syntax)?;
            } else if is_option(name, "match") {
                options.pattern = Some(value);
            } else if is_option(name, "type") && of == Of::Keys {
                options.type_name = Some(value);
            } else {
                return Err(ErrorReply::syntax());
            }
        }
        Ok(options)
    }

    pub(super) fn matches(&self, name: &Bytes) -> bool {
        self.pattern
            .is_none_or(|pattern| glob::matches(pattern, name))
    }

    pub(super) fn is_type(&self, name: &str) -> bool {
        self.type_name.is_none_or(|wanted| is_option(wanted, name))
    }
}

/// A cursor as `strtoul` reads it.
pub(super) fn cursor(text: &Bytes) -> Result<u64, ErrorReply> {
    let (is_negative, digits) = match &text[..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if text.is_empty() {
        return Ok(0);
    }
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)
        .and_then(|digits| digits.parse::<u64>().ok())
        .ok_or_else(|| ErrorReply::plain("invalid cursor"))?;
    Ok(if is_negative {
        number.wrapping_neg()
    } else {
        number
    })
}

pub(super) fn reply(next: u64, found: Vec<Reply>) -> Reply {
    Reply::Array(vec![Reply::text(next.to_string()), Reply::Array(found)])
}
