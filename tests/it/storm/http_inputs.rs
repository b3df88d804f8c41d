//! Bad HTTP requests, from bytes that are none to well-signed nonsense.

use crate::support::{api::Api, random::Random};

pub(super) fn request(random: &mut Random, api: &Api) -> Vec<u8> {
    match random.below(10) {
        0 => noise(random),
        1 => (*random.pick(MALFORMED)).into(),
        2 => api.call("POST", "/events").body(noise(random)).bytes(),
        3 => api
            .call("POST", "/batch_events")
            .body(nonsense(random))
            .bytes(),
        4 => api
            .call("POST", "/events")
            .body(nonsense(random))
            .secret("wrong")
            .bytes(),
        5 => api
            .call(
                ["GET", "POST", "PUT", "DELETE"][random.below(4)],
                &path(random),
            )
            .bytes(),
        6 => {
            let whole = api.call("POST", "/events").body(nonsense(random));
            cut(random, &whole.bytes())
        }
        7 => target(random).into(),
        8 => upgrade(random).into(),
        _ => chunked(random).into(),
    }
}

fn noise(random: &mut Random) -> Vec<u8> {
    let length = random.below(1_000);
    random.bytes(length)
}

const MALFORMED: &[&str] = &[
    "\r\n\r\n",
    "GET\r\n\r\n",
    "GET /up HTTP/9.9\r\n\r\n",
    "GET /up HTTP/1.1\r\nno colon\r\n\r\n",
    "GET /up HTTP/1.1\r\n: empty\r\n\r\n",
    "GET /up HTTP/1.1\r\nHost: \0\r\n\r\n",
    "POST /apps/1001/events HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    "POST /apps/1001/events HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "POST /apps/1001/events HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
    "POST /apps/1001/events HTTP/1.1\r\nTransfer-Encoding: gzip, identity\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01",
];

/// Bodies that are JSON, and still no events.
fn nonsense(random: &mut Random) -> String {
    let deep = "[".repeat(random.below(50_000));
    let long = "x".repeat(random.below(30_000));
    match random.below(8) {
        0 => deep,
        1 => format!(r#"{{"name":"e","channel":"c","data":{deep}}}"#),
        2 => format!(r#"{{"name":"{long}","channel":"c","data":""}}"#),
        3 => format!(r#"{{"name":"e","channel":"{long}","data":""}}"#),
        4 => format!(r#"{{"name":"e","channels":["c"],"data":"{long}{long}"}}"#),
        5 => r#"{"name":"e","channel":"c","data":"\ud800"}"#.to_owned(),
        6 => r#"{"batch":[null,{},[],7]}"#.to_owned(),
        _ => r#"{"name":7,"channels":{},"data":null,"socket_id":[],"info":{}}"#.to_owned(),
    }
}

fn path(random: &mut Random) -> String {
    let name: String = random
        .bytes(20)
        .iter()
        .map(|byte| format!("%{byte:02x}"))
        .collect();
    let paths = [
        "/channels/X",
        "/channels/X/users",
        "/users/X/terminate_connections",
        "/X",
        "//",
        "/channels/../X",
    ];
    random.pick(&paths).replace('X', &name)
}

fn cut(random: &mut Random, bytes: &[u8]) -> Vec<u8> {
    bytes[..random.below(bytes.len())].to_vec()
}

fn target(random: &mut Random) -> String {
    let long = "x".repeat(random.below(40_000));
    let targets = [
        format!("/{long}"),
        format!(
            "/apps/1001/channels?{}",
            "a[]=1&".repeat(random.below(5_000))
        ),
        format!("/apps/1001/channels?auth_key={long}"),
        "/apps/1001/channels?auth_key=%zz&auth_timestamp=%&auth_signature=%00".to_owned(),
        "/apps/%2e%2e/channels?auth_key=x".to_owned(),
        "/app/%ff%fe?protocol=%ff".to_owned(),
        "*".to_owned(),
    ];
    format!(
        "GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        random.pick(&targets)
    )
}

fn upgrade(random: &mut Random) -> String {
    let headers = [
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 99\r\nSec-WebSocket-Key: x\r\n",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        "Upgrade: websocket\r\n",
    ];
    format!(
        "GET /app/key-of-1001 HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        random.pick(&headers)
    )
}

fn chunked(random: &mut Random) -> String {
    let bodies = [
        "zz\r\n",
        "5\r\nab\r\n",
        "ffffffffffffffffff\r\n",
        "-1\r\n",
        "1\r\na\r\n0\r\n",
        "1;x=y\r\na\r\n0\r\n\r\n",
    ];
    let head =
        "POST /apps/1001/events HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    head.to_owned() + *random.pick(&bodies)
}
