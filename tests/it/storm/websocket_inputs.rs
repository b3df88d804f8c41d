//! Bad WebSocket inputs: messages that a connection survives, and bytes that end it.

use serde_json::json;

use crate::support::{
    app::App,
    random::Random,
    websocket::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, TEXT},
};

/// A text message that is wrong but no reason to close.
pub(super) fn message(random: &mut Random, app: &App) -> String {
    match random.below(12) {
        0 => noise(random),
        1 => truncated(random),
        2 => {
            (*random.pick(&["[]", "7", "null", "\"x\"", "{}", "[{}]", "", " ", "true"])).to_owned()
        }
        3 => format!(
            r#"{{"event":{}}}"#,
            random.pick(&["7", "null", "[]", "{}", "true", "\"\"", "1e999"])
        ),
        4 => format!(
            r#"{{"event":"pusher:{}","data":{}}}"#,
            random.next(),
            random.next()
        ),
        5 => json!({"event": noise(random), "data": noise(random), "channel": noise(random)})
            .to_string(),
        6 => subscribe(&json!({"channel": noise(random), "auth": noise(random)})),
        7 => subscribe(
            &json!({"channel": "private-room", "auth": format!("{}:{:064x}", app.key, random.next())}),
        ),
        8 => subscribe(
            &json!({"channel": "presence-room", "auth": "x:y", "channel_data": noise(random)}),
        ),
        9 => subscribe(random.pick(&[
            json!(null),
            json!([]),
            json!("{"),
            json!({"channel": 7}),
            json!({}),
        ])),
        10 => json!({"event": "client-x", "channel": "private-room", "data": noise(random)})
            .to_string(),
        _ => deep(random),
    }
}

fn subscribe(data: &serde_json::Value) -> String {
    json!({"event": "pusher:subscribe", "data": data}).to_string()
}

fn noise(random: &mut Random) -> String {
    let length = random.below(300);
    let bytes = random.bytes(length);
    bytes.into_iter().map(char::from).collect()
}

fn truncated(random: &mut Random) -> String {
    let whole = r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"news"}}"#;
    whole[..random.below(whole.len())].to_owned()
}

fn deep(random: &mut Random) -> String {
    let depth = 200 + random.below(20_000);
    let (open, close) = *random.pick(&[("[", "]"), ("{\"a\":", "}"), ("[", "")]);
    format!(
        r#"{{"event":"pusher:x","data":{}{}}}"#,
        open.repeat(depth / 2),
        close.repeat(depth / 2)
    )
}

/// Bytes after which the connection cannot go on.
pub(super) fn fatal(random: &mut Random) -> Vec<u8> {
    let length = random.below(200);
    let bytes = random.bytes(length);
    let frame = match random.below(13) {
        0 => Frame::new(BINARY, bytes),
        1 => Frame::text(b"\xff"),
        2 => Frame::text(bytes).reserved(1 + random.next().to_le_bytes()[0] % 7),
        3 => Frame::new(*random.pick(&[3, 4, 5, 6, 7, 11, 12, 13, 14, 15]), bytes),
        4 => Frame::text(bytes).unmasked(),
        5 => Frame::text(bytes).declaring(65_537 + (random.next() >> 1)),
        6 => Frame::text(bytes).declaring(random.next() | 1 << 63),
        7 => Frame::new(CONTINUATION, bytes),
        8 => Frame::new(*random.pick(&[PING, PONG, CLOSE]), vec![0; 126 + length]),
        9 => Frame::new(*random.pick(&[PING, PONG]), "x").unfinished(),
        10 => Frame::new(
            CLOSE,
            random.pick(&[&b"x"[..], b"\x03\xed", b"\x00\x00", b"\x03\xe8\xff"]),
        ),
        11 => {
            return [
                Frame::text("{").unfinished().bytes(),
                Frame::new(TEXT, "}").bytes(),
            ]
            .concat();
        }
        _ => return unmasked_noise(random),
    };
    frame.bytes()
}

/// Whatever comes, its second byte says that it is not masked.
fn unmasked_noise(random: &mut Random) -> Vec<u8> {
    let length = 20 + random.below(2_000);
    let mut bytes = random.bytes(length);
    bytes[1] &= 0x7f;
    bytes
}
