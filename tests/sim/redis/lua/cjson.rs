//! `cjson` as Redis has it: lua-cjson 2.1 with its default settings. Errors are returned as the texts that it raises.

use mlua::{Lua, Table, Value};

use super::number;

/// Arrays with a larger index must be filled to more than one half.
const SPARSE_SAFE: f64 = 10.0;

/// How deeply tables may be nested.
const DEPTH_MAX: usize = 1000;

/// Why a value has no JSON, or a text no value.
pub(super) enum Trouble {
    /// The text that the script gets.
    Refused(String),
    /// The interpreter has failed.
    Lua(mlua::Error),
}

impl From<String> for Trouble {
    fn from(text: String) -> Self {
        Self::Refused(text)
    }
}

impl From<mlua::Error> for Trouble {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

type Result<T, E = Trouble> = std::result::Result<T, E>;

pub(super) fn encode(value: &Value) -> Result<Vec<u8>> {
    let mut json = Vec::new();
    append(&mut json, value, 0)?;
    Ok(json)
}

fn append(json: &mut Vec<u8>, value: &Value, depth: usize) -> Result<()> {
    match value {
        Value::Nil => json.extend_from_slice(b"null"),
        Value::LightUserData(pointer) if pointer.0.is_null() => json.extend_from_slice(b"null"),
        Value::Boolean(flag) => json.extend_from_slice(if *flag { b"true" } else { b"false" }),
        Value::Integer(number) => append_number(json, *number as f64)?,
        Value::Number(number) => append_number(json, *number)?,
        Value::String(text) => append_string(json, &text.as_bytes()),
        Value::Table(table) => return append_table(json, table, depth + 1),
        other => {
            let name = match other {
                Value::LightUserData(_) => "userdata",
                other => other.type_name(),
            };
            return Err(refusal(name, "type not supported").into());
        }
    }
    Ok(())
}

fn refusal(type_name: &str, reason: &str) -> String {
    format!("Cannot serialise {type_name}: {reason}")
}

fn append_number(json: &mut Vec<u8>, number: f64) -> Result<(), String> {
    if !number.is_finite() {
        return Err(refusal("number", "must not be NaN or Inf"));
    }
    json.extend_from_slice(number::general(number, 14).as_bytes());
    Ok(())
}

fn append_string(json: &mut Vec<u8>, text: &[u8]) {
    json.push(b'"');
    for byte in text {
        match byte {
            b'"' => json.extend_from_slice(b"\\\""),
            b'\\' => json.extend_from_slice(b"\\\\"),
            b'/' => json.extend_from_slice(b"\\/"),
            8 => json.extend_from_slice(b"\\b"),
            b'\t' => json.extend_from_slice(b"\\t"),
            b'\n' => json.extend_from_slice(b"\\n"),
            12 => json.extend_from_slice(b"\\f"),
            b'\r' => json.extend_from_slice(b"\\r"),
            0..=31 | 127 => json.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => json.push(*byte),
        }
    }
    json.push(b'"');
}

fn append_table(json: &mut Vec<u8>, table: &Table, depth: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        let text = format!("Cannot serialise, excessive nesting ({depth})");
        return Err(text.into());
    }
    match array_length(table)? {
        Some(length) if length > 0 => append_array(json, table, length, depth),
        _ => append_object(json, table, depth),
    }
}

/// The largest index, if all keys are positive integers.
fn array_length(table: &Table) -> Result<Option<usize>> {
    let (mut max, mut items) = (0.0_f64, 0.0);
    for pair in table.pairs::<Value, Value>() {
        let index = match pair?.0 {
            Value::Integer(number) => number as f64,
            Value::Number(number) => number,
            _ => return Ok(None),
        };
        if index.floor() != index || index < 1.0 {
            return Ok(None);
        }
        max = max.max(index);
        items += 1.0;
    }
    if max > items * 2.0 && max > SPARSE_SAFE {
        return Err(refusal("table", "excessively sparse array").into());
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most ten or twice the number of items"
    )]
    let length = max as usize;
    Ok(Some(length))
}

fn append_array(json: &mut Vec<u8>, table: &Table, length: usize, depth: usize) -> Result<()> {
    json.push(b'[');
    for index in 1..=length {
        if index > 1 {
            json.push(b',');
        }
        append(json, &table.raw_get(index)?, depth)?;
    }
    json.push(b']');
    Ok(())
}

fn append_object(json: &mut Vec<u8>, table: &Table, depth: usize) -> Result<()> {
    json.push(b'{');
    let start = json.len();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        if json.len() > start {
            json.push(b',');
        }
        let number = match key {
            Value::String(name) => {
                append_string(json, &name.as_bytes());
                None
            }
            Value::Integer(number) => Some(number as f64),
            Value::Number(number) => Some(number),
            other => {
                let reason = "table key must be a number or string";
                return Err(refusal(other.type_name(), reason).into());
            }
        };
        if let Some(number) = number {
            json.push(b'"');
            append_number(json, number)?;
            json.push(b'"');
        }
        json.push(b':');
        append(json, &value, depth)?;
    }
    json.push(b'}');
    Ok(())
}

pub(super) fn decode(lua: &Lua, text: &[u8]) -> Result<Value> {
    if text.len() >= 2 && text[..2].contains(&0) {
        let text = "JSON parser does not support UTF-16 or UTF-32";
        return Err(text.to_owned().into());
    }
    let mut parser = Parser {
        lua,
        text,
        at: 0,
        depth: 0,
    };
    let first = parser.next();
    let value = parser.value(first)?;
    let last = parser.next();
    match last.kind {
        Kind::End => Ok(value),
        _ => Err(last.unexpected("the end").into()),
    }
}

struct Parser<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    depth: usize,
}

struct Token {
    kind: Kind,
    /// Where it starts, or where its error is.
    start: usize,
}

enum Kind {
    ObjectStart,
    ObjectEnd,
    ArrayStart,
    ArrayEnd,
    Colon,
    Comma,
    Text(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    End,
    Error(&'static str),
}

impl Token {
    fn unexpected(&self, expected: &str) -> String {
        let found = match self.kind {
            Kind::ObjectStart => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayStart => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::Text(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::End => "T_END",
            Kind::Error(error) => error,
        };
        let character = self.start + 1;
        format!("Expected {expected} but found {found} at character {character}")
    }
}

impl Parser<'_> {
    fn value(&mut self, token: Token) -> Result<Value> {
        Ok(match token.kind {
            Kind::Text(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(flag) => Value::Boolean(flag),
            Kind::Null => Value::NULL,
            Kind::ObjectStart => return self.object(),
            Kind::ArrayStart => return self.array(),
            _ => return Err(token.unexpected("value").into()),
        })
    }

    fn descend(&mut self) -> Result<(), String> {
        self.depth += 1;
        if self.depth <= DEPTH_MAX {
            return Ok(());
        }
        let (depth, at) = (self.depth, self.at);
        Err(format!(
            "Found too many nested data structures ({depth}) at character {at}"
        ))
    }

    fn object(&mut self) -> Result<Value> {
        self.descend()?;
        let object = self.lua.create_table()?;
        let mut token = self.next();
        if !matches!(token.kind, Kind::ObjectEnd) {
            loop {
                let Kind::Text(name) = token.kind else {
                    return Err(token.unexpected("object key string").into());
                };
                let colon = self.next();
                if !matches!(colon.kind, Kind::Colon) {
                    return Err(colon.unexpected("colon").into());
                }
                let first = self.next();
                let value = self.value(first)?;
                object.raw_set(self.lua.create_string(name)?, value)?;
                token = self.next();
                match token.kind {
                    Kind::ObjectEnd => break,
                    Kind::Comma => token = self.next(),
                    _ => return Err(token.unexpected("comma or object end").into()),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(object))
    }

    fn array(&mut self) -> Result<Value> {
        self.descend()?;
        let array = self.lua.create_table()?;
        let mut token = self.next();
        if !matches!(token.kind, Kind::ArrayEnd) {
            for index in 1_usize.. {
                let value = self.value(token)?;
                array.raw_set(index, value)?;
                token = self.next();
                match token.kind {
                    Kind::ArrayEnd => break,
                    Kind::Comma => token = self.next(),
                    _ => return Err(token.unexpected("comma or array end").into()),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(array))
    }

    /// The byte at an offset from here; 0 behind the end, as in C.
    fn peek(&self, offset: usize) -> u8 {
        self.text.get(self.at + offset).copied().unwrap_or(0)
    }

    fn next(&mut self) -> Token {
        while matches!(self.peek(0), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let start = self.at;
        let kind = match self.peek(0) {
            0 => Kind::End,
            b'{' => self.take(1, Kind::ObjectStart),
            b'}' => self.take(1, Kind::ObjectEnd),
            b'[' => self.take(1, Kind::ArrayStart),
            b']' => self.take(1, Kind::ArrayEnd),
            b':' => self.take(1, Kind::Colon),
            b',' => self.take(1, Kind::Comma),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        };
        let start = match kind {
            Kind::Error(_) => self.at,
            _ => start,
        };
        Token { kind, start }
    }

    fn take(&mut self, length: usize, kind: Kind) -> Kind {
        self.at += length;
        kind
    }

    fn word(&mut self) -> Kind {
        let rest = &self.text[self.at..];
        let unsigned = rest.strip_prefix(b"+").unwrap_or(rest);
        let names_a_number = ["inf", "nan"].iter().any(|word| {
            unsigned
                .get(..3)
                .is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
        });
        match rest {
            [b't', b'r', b'u', b'e', ..] => self.take(4, Kind::Boolean(true)),
            [b'f', b'a', b'l', b's', b'e', ..] => self.take(5, Kind::Boolean(false)),
            [b'n', b'u', b'l', b'l', ..] => self.take(4, Kind::Null),
            [b'+', ..] => self.number(),
            _ if names_a_number => self.number(),
            _ => Kind::Error("invalid token"),
        }
    }

    fn number(&mut self) -> Kind {
        let found = number::double_prefix(&self.text[self.at..]);
        if found.length == 0 {
            return Kind::Error("invalid number");
        }
        self.take(found.length, Kind::Number(found.value))
    }

    fn string(&mut self) -> Kind {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match self.peek(0) {
                b'"' => return self.take(1, Kind::Text(text)),
                0 => return Kind::Error("unexpected end of string"),
                b'\\' => {
                    if let Err(error) = self.escape(&mut text) {
                        return Kind::Error(error);
                    }
                }
                byte => {
                    text.push(byte);
                    self.at += 1;
                }
            }
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), &'static str> {
        let byte = match self.peek(1) {
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 12,
            b'r' => b'\r',
            b'u' => {
                let (character, length) = self.unicode().ok_or("invalid unicode escape code")?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                self.at += length;
                return Ok(());
            }
            _ => return Err("invalid escape code"),
        };
        text.push(byte);
        self.at += 2;
        Ok(())
    }

    /// The character of `\uXXXX`, or of a pair of surrogates, and the length of what names it.
    fn unicode(&self) -> Option<(char, usize)> {
        let first = self.hexadecimal(2)?;
        if !(0xd800..0xe000).contains(&first) {
            return Some((char::from_u32(first)?, 6));
        }
        let is_pair = first < 0xdc00 && self.peek(6) == b'\\' && self.peek(7) == b'u';
        let second = self.hexadecimal(8).filter(|_| is_pair)?;
        let low = (0xdc00..0xe000)
            .contains(&second)
            .then_some(second & 0x3ff)?;
        let code = ((first & 0x3ff) << 10 | low) + 0x1_0000;
        Some((char::from_u32(code)?, 12))
    }

    fn hexadecimal(&self, offset: usize) -> Option<u32> {
        (0..4).try_fold(0, |code, digit| {
            let digit = char::from(self.peek(offset + digit)).to_digit(16)?;
            Some(code << 4 | digit)
        })
    }
}
