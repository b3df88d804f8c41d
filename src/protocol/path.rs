//! Paths of requests. Applications write prefixes with a slash at their end, so a path may have slashes that follow each other or end it; they
//! mean nothing. Segments stay percent-encoded.

use std::borrow::Cow;

/// Characters of a refused path that the log and the feed show.
const SHOWN_LENGTH_MAX: usize = 100;

/// The segments of a path.
pub fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// The path behind a prefix of whole segments; `None` when the path begins otherwise.
#[must_use]
pub fn behind<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    segments(prefix).try_fold(path, |path, expected| {
        let (first, rest) = split_first(path)?;
        (first == expected).then_some(rest)
    })
}

/// The first segment, and the path behind it.
#[must_use]
pub fn split_first(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_start_matches('/');
    let slash = path.bytes().position(|byte| byte == b'/');
    let end = slash.unwrap_or(path.len());
    (end > 0).then(|| path.split_at(end))
}

/// The path without slashes that mean nothing.
#[must_use]
pub fn merged(path: &str) -> Cow<'_, str> {
    let is_merged = !path.contains("//") && (path == "/" || !path.ends_with('/'));
    if is_merged {
        return Cow::Borrowed(path);
    }
    let mut merged = String::with_capacity(path.len());
    for segment in segments(path) {
        merged.push('/');
        merged.push_str(segment);
    }
    Cow::Owned(merged)
}

/// A refused path for the log and the feed, shortened.
#[must_use]
pub fn shown(path: &str) -> Cow<'_, str> {
    match path.char_indices().nth(SHOWN_LENGTH_MAX) {
        Some((end, _)) => Cow::Owned(format!("{}…", &path[..end])),
        None => Cow::Borrowed(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_that_follow_each_other_or_end_a_path_mean_nothing() {
        for (path, expected, found) in [
            ("/app/k", "/app/k", &["app", "k"][..]),
            ("//app///k//", "/app/k", &["app", "k"]),
            ("/app/k/", "/app/k", &["app", "k"]),
            ("/a%2F/b", "/a%2F/b", &["a%2F", "b"]),
            ("/", "/", &[]),
            ("", "", &[]),
        ] {
            assert_eq!(merged(path), expected);
            assert_eq!(segments(path).collect::<Vec<_>>(), found, "{path}");
        }
    }

    #[test]
    fn a_prefix_is_made_of_whole_segments() {
        for (path, prefix, rest) in [
            ("/ws/app/k", "/ws", Some("/app/k")),
            ("//ws//app/k", "/ws", Some("//app/k")),
            ("/a/b/app", "/a/b", Some("/app")),
            ("/ws", "/ws", Some("")),
            ("/app/k", "", Some("/app/k")),
            ("/wsx/app/k", "/ws", None),
            ("/a/app", "/a/b", None),
            ("/", "/ws", None),
        ] {
            assert_eq!(behind(path, prefix), rest, "{path} behind {prefix}");
        }
    }

    #[test]
    fn a_long_path_is_shown_shortened() {
        assert_eq!(shown("/a"), "/a");
        let long = "é".repeat(101);
        assert_eq!(shown(&long), format!("{}…", "é".repeat(100)));
    }
}
