//! The ids of users who sign in: any text that people use as one, so that the user's own channel, publishing to it and termination work for
//! e-mail addresses, `auth0|5` or `e:1` as for numbers.

use std::fmt;

/// Why a text is no user id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidUserId {
    /// It has no characters.
    Empty,
    /// More characters than allowed.
    TooLong {
        /// How many it has.
        length: usize,
        /// How many it may have.
        max: usize,
    },
    /// It contains a control character. No identity provider issues one, and logs and terminals act on them.
    ControlCharacter(char),
}

impl fmt::Display for InvalidUserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the user id is empty"),
            Self::TooLong { length, max } => write!(
                f,
                "the user id has {length} characters, at most {max} are allowed"
            ),
            Self::ControlCharacter(c) => write!(
                f,
                "the user id contains the control character U+{:04X}",
                u32::from(*c)
            ),
        }
    }
}

/// Checks the id of a user who signs in, or whose own channel is named.
///
/// # Errors
/// [`InvalidUserId`] says what is wrong.
pub fn check_user_id(id: &str, max_length: usize) -> Result<(), InvalidUserId> {
    if id.is_empty() {
        return Err(InvalidUserId::Empty);
    }
    let length = id.chars().count();
    if length > max_length {
        return Err(InvalidUserId::TooLong {
            length,
            max: max_length,
        });
    }
    match id.chars().find(|c| c.is_control()) {
        Some(c) => Err(InvalidUserId::ControlCharacter(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_any_text_without_control_characters() {
        for id in [
            "7",
            "e:1",
            "auth0|5",
            "a b",
            "a/b",
            "zoë",
            "a.b+c@d.example",
            "\"\\{}#%?",
            " ",
        ] {
            assert_eq!(check_user_id(id, 20), Ok(()), "{id}");
        }
        for (id, expected) in [
            ("", InvalidUserId::Empty),
            ("ééééé", InvalidUserId::TooLong { length: 5, max: 4 }),
            ("a\nb", InvalidUserId::ControlCharacter('\n')),
            ("\0", InvalidUserId::ControlCharacter('\0')),
            ("a\u{7f}", InvalidUserId::ControlCharacter('\u{7f}')),
            ("\u{85}", InvalidUserId::ControlCharacter('\u{85}')),
        ] {
            assert_eq!(check_user_id(id, 4), Err(expected), "{id:?}");
        }
        assert_eq!(
            InvalidUserId::ControlCharacter('\n').to_string(),
            "the user id contains the control character U+000A"
        );
    }
}
