//! Lines as a page has them against lines as a program prints them: what differs from run to run may differ.

/// Words of hexadecimal digits from this length on are made anew in each run: ids, keys, secrets. Where numbers count as written, so do they.
const MADE_MIN: usize = 8;

/// Which numbers of a page may be others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    AsWritten,
    /// Ports, times, counts, and what is made by chance.
    Any,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Number,
    Made(String),
    /// Two spaces or more: a column is as wide as its widest cell.
    Gap,
    /// `…`
    Anything,
}

fn pieces(line: &str, numbers: Numbers) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_ascii_alphanumeric();
        let end_of = |is_in: &dyn Fn(char) -> bool| rest.find(|c| !is_in(c)).unwrap_or(rest.len());
        let length = match first {
            ' ' => end_of(&|c| c == ' '),
            first if is_word(first) => end_of(&is_word),
            first => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        rest = after;
        let is_made = numbers == Numbers::Any
            && length >= MADE_MIN
            && piece.chars().all(|c| c.is_ascii_hexdigit())
            && piece.contains(|c: char| c.is_ascii_digit());
        match piece {
            "…" => pieces.push(Piece::Anything),
            piece if piece.starts_with("  ") => pieces.push(Piece::Gap),
            piece if is_made => pieces.push(Piece::Made(piece.to_owned())),
            piece if numbers == Numbers::Any => split_numbers(piece, &mut pieces),
            piece => pieces.push(Piece::Text(piece.to_owned())),
        }
    }
    pieces
}

fn split_numbers(piece: &str, pieces: &mut Vec<Piece>) {
    let mut was_digit = false;
    for character in piece.chars() {
        let is_digit = character.is_ascii_digit();
        if is_digit && !was_digit {
            pieces.push(Piece::Number);
        } else if !is_digit {
            pieces.push(Piece::Text(character.to_string()));
        }
        was_digit = is_digit;
    }
}

/// Words that a page has, with those that were made in this run.
pub(super) type Made = Vec<(String, String)>;

/// Whether a printed line is that of the page; what was made in it is learned.
pub(super) fn matches(written: &str, printed: &str, numbers: Numbers, made: &mut Made) -> bool {
    let known = made.len();
    let fits = fits(&pieces(written, numbers), printed, made);
    if !fits {
        made.truncate(known);
    }
    fits
}

fn fits(pieces: &[Piece], printed: &str, made: &mut Made) -> bool {
    let Some((first, rest)) = pieces.split_first() else {
        return printed.is_empty();
    };
    match first {
        Piece::Text(text) => printed
            .strip_prefix(text.as_str())
            .is_some_and(|after| fits(rest, after, made)),
        Piece::Number => {
            let end = printed.find(|c: char| !c.is_ascii_digit());
            let end = end.unwrap_or(printed.len());
            end > 0 && fits(rest, &printed[end..], made)
        }
        Piece::Gap => {
            let after = printed.trim_start_matches(' ');
            after.len() < printed.len() && fits(rest, after, made)
        }
        Piece::Made(word) => {
            let end = printed.find(|c: char| !c.is_ascii_hexdigit());
            let (new, after) = printed.split_at(end.unwrap_or(printed.len()));
            // A number made by chance may be shorter.
            let is_number = |word: &str| word.chars().all(|c| c.is_ascii_digit());
            let is_like_it = new.len() == word.len() || (is_number(word) && is_number(new));
            made.push((word.clone(), new.to_owned()));
            !new.is_empty() && is_like_it && fits(rest, after, made)
        }
        Piece::Anything => {
            let mut ends = printed.char_indices().map(|(at, _)| at);
            ends.any(|at| fits(rest, &printed[at..], made)) || fits(rest, "", made)
        }
    }
}

#[test]
fn a_line_matches_with_other_ids_and_where_it_may_with_other_numbers() {
    for (written, printed, numbers, expected) in [
        ("a 1", "a 1", Numbers::AsWritten, true),
        ("a 1", "a 2", Numbers::AsWritten, false),
        ("a 1.2 ms", "a 37.05 ms", Numbers::Any, true),
        ("a 1", "b 2", Numbers::Any, false),
        ("key 8ae8cfc367", "key 0000000001", Numbers::Any, true),
        ("key 8ae8cfc367", "key 00000000", Numbers::Any, false),
        (
            "key 8ae8cfc367",
            "key 0000000001",
            Numbers::AsWritten,
            false,
        ),
        (
            "{\"a\":[],…,\"id\":\"8\"}",
            "{\"a\":[],\"b\":2,\"id\":\"8\"}",
            Numbers::AsWritten,
            true,
        ),
        (
            "{\"a\":[],…,\"id\":\"8\"}",
            "{\"a\":[],\"id\":\"8\"}",
            Numbers::AsWritten,
            false,
        ),
        ("a…", "a", Numbers::AsWritten, true),
        (
            "id:     2441341982",
            "id:     857015906",
            Numbers::Any,
            true,
        ),
        (
            "ID          NAME",
            "ID         NAME",
            Numbers::AsWritten,
            true,
        ),
        ("ID          NAME", "IDNAME", Numbers::AsWritten, false),
    ] {
        let fits = matches(written, printed, numbers, &mut Made::new());
        assert_eq!(fits, expected, "{written}: {printed}");
    }
    let mut made = Made::new();
    assert!(matches(
        "id 12345678",
        "id 87654321",
        Numbers::Any,
        &mut made
    ));
    assert_eq!(made, [("12345678".to_owned(), "87654321".to_owned())]);
}
