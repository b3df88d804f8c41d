//! Numbers as C and Redis read and write them.

/// An integer, strictly: no sign but a minus, no leading zeros, no spaces.
pub(super) fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let is_canonical = match digits {
        [b'0'] => digits.len() == text.len(),
        [first, ..] => (b'1'..=b'9').contains(first),
        [] => false,
    };
    if !is_canonical || text.len() > 20 {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What `strtod` finds at the start of a text.
pub(super) struct Prefix {
    pub(super) value: f64,
    pub(super) length: usize,
    /// Whether the text names a number that a double cannot hold.
    pub(super) is_out_of_range: bool,
}

/// `strtod`, without hexadecimal numbers. Nothing found is a length of 0.
pub(super) fn double_prefix(text: &[u8]) -> Prefix {
    let blank = text.iter().take_while(|byte| is_space(**byte)).count();
    let number = &text[blank..];
    let signed = usize::from(matches!(number.first(), Some(b'+' | b'-')));
    let magnitude = &number[signed..];
    let digits = decimal_length(magnitude);
    let word = [&b"infinity"[..], b"inf", b"nan"]
        .into_iter()
        .find(|word| starts_with_ignoring_case(magnitude, word));
    let (length, spelled_out) = match word {
        Some(word) => (word.len(), true),
        None => (digits, false),
    };
    if length == 0 {
        return Prefix {
            value: 0.0,
            length: 0,
            is_out_of_range: false,
        };
    }
    let text = std::str::from_utf8(&number[..signed + length]).expect("ASCII only");
    let value: f64 = text.parse().expect("the form of a number was checked");
    let is_zero = magnitude[..length]
        .iter()
        .take_while(|byte| !byte.eq_ignore_ascii_case(&b'e'))
        .all(|byte| matches!(byte, b'0' | b'.'));
    Prefix {
        value,
        length: blank + signed + length,
        is_out_of_range: !spelled_out && (value.is_infinite() || (value == 0.0 && !is_zero)),
    }
}

/// A float as commands take it: all of the text, within range, and a number.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    let found = double_prefix(text);
    let is_whole = found.length == text.len() && !text.is_empty() && !is_space(text[0]);
    (is_whole && !found.is_out_of_range && !found.value.is_nan()).then_some(found.value)
}

/// `printf("%.{precision}g")`, for a precision of at least 14.
pub(super) fn general(value: f64, precision: usize) -> String {
    if value.is_nan() {
        return if value.is_sign_negative() {
            "-nan"
        } else {
            "nan"
        }
        .to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    if value.fract() == 0.0 && value.abs() < 1e14 {
        return format!("{value}");
    }
    let scientific = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').expect("the form of {:e}");
    let exponent: i32 = exponent.parse().expect("the form of {:e}");
    let limit = i32::try_from(precision).expect("a small precision");
    if exponent < -4 || exponent >= limit {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let decimals = usize::try_from(limit - 1 - exponent).expect("below the limit");
    trimmed(&format!("{value:.decimals$}")).to_owned()
}

fn trimmed(number: &str) -> &str {
    if !number.contains('.') {
        return number;
    }
    number.trim_end_matches('0').trim_end_matches('.')
}

/// The length of digits, with a point and an exponent where they are complete.
fn decimal_length(text: &[u8]) -> usize {
    let digits = |from: usize| {
        text[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let mut length = digits(0);
    let mut seen = length;
    if text.get(length) == Some(&b'.') {
        let decimals = digits(length + 1);
        seen += decimals;
        length += 1 + decimals;
    }
    if seen == 0 {
        return 0;
    }
    if matches!(text.get(length), Some(b'e' | b'E')) {
        let signed = usize::from(matches!(text.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits((length + 1 + signed).min(text.len()));
        if exponent > 0 {
            length += 1 + signed + exponent;
        }
    }
    length
}

fn starts_with_ignoring_case(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
