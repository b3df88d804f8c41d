//! Redis' patterns: `*`, `?`, `[a-z]`, `[^a]` and `\` before a character that stands for itself.

/// Whether all of the text matches the pattern. An empty text matches `*` but, in Redis, not `**`.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return matches!(pattern, b"" | b"*");
    }
    matches_rest(pattern, text)
}

fn matches_rest(mut pattern: &[u8], mut text: &[u8]) -> bool {
    while let Some((&token, rest)) = pattern.split_first() {
        if token == b'*' {
            return (0..=text.len()).any(|skipped| matches_rest(rest, &text[skipped..]));
        }
        let Some((&byte, text_rest)) = text.split_first() else {
            return false;
        };
        let (is_match, pattern_rest) = match token {
            b'?' => (true, rest),
            b'[' => class(rest, byte),
            b'\\' if !rest.is_empty() => (rest[0] == byte, &rest[1..]),
            _ => (token == byte, rest),
        };
        if !is_match {
            return false;
        }
        (pattern, text) = (pattern_rest, text_rest);
    }
    text.is_empty()
}

/// Whether a byte is of the class that starts behind `[`, and the pattern behind the class. A class without its `]` ends with the
/// pattern.
fn class(mut pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    let is_negated = pattern.first() == Some(&b'^');
    if is_negated {
        pattern = &pattern[1..];
    }
    let mut found = false;
    loop {
        match pattern {
            [b'\\', escaped, rest @ ..] => {
                found |= *escaped == byte;
                pattern = rest;
            }
            [b']', rest @ ..] => return (found != is_negated, rest),
            [] => return (found != is_negated, pattern),
            [one, b'-', other, rest @ ..] => {
                // Either end may come first.
                let (low, high) = ((*one).min(*other), (*one).max(*other));
                found |= (low..=high).contains(&byte);
                pattern = rest;
            }
            [single, rest @ ..] => {
                found |= *single == byte;
                pattern = rest;
            }
        }
    }
}
