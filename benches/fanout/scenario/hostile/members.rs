//! What many others hear of one client, and what one client asks to hear of many others.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Flood, Listener, signature, websocket, with_socket_id};
use super::{Figure, Ground};
use crate::Failure;
use crate::host::Host;
use crate::proc::{Cpu, settled_rss_bytes};
use crate::report::float;
use crate::scenario::swarm::Swarm;
use crate::websocket::{TEXT, client_frame};

const MEMBERS: usize = 5000;
const LISTENERS: usize = 50;
const USERS: usize = 2000;
const WATCHED: usize = 100;
const ROOM: &str = "presence-room";

/// 5,000 users join one presence channel at once.
pub(super) fn join(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let mut swarm = Swarm::connect(ground.host, MEMBERS, 2)?;
    let (began, before) = (Instant::now(), Cpu::of(&ground.host.pids)?);
    for socket in 0..MEMBERS {
        let ask = join_request(
            ground.host,
            swarm.socket_id(socket),
            &format!("user-{socket}"),
        );
        swarm.send(socket, &ask);
    }
    swarm.pump(|answers| answers.succeeded + answers.refused + answers.closed >= MEMBERS)?;
    let spent = Cpu::of(&ground.host.pids)?.since(before);
    let answers = swarm.answers;
    if answers.refused + answers.closed > 0 {
        return Err(format!("not all were let in: {answers:?}").into());
    }
    Ok(vec![
        Figure {
            what: "seconds of CPU",
            value: float(spent.total_ns) / 1e9,
            target: Some(2.5),
        },
        Figure {
            what: "seconds",
            value: began.elapsed().as_secs_f64(),
            target: None,
        },
    ])
}

/// One client subscribes to a channel of 50 and unsubscribes in a loop, where each change is counted.
pub(super) fn count(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let ask = |event: &str| {
        let message = json!({"event": event, "data": {"channel": "x"}});
        text(&message)
    };
    let unit = [ask("pusher:subscribe"), ask("pusher:unsubscribe")].concat();
    let listeners = (0..LISTENERS).map(|_| {
        let stream = websocket(ground.host, "")?;
        Listener::of(stream, &ask("pusher:subscribe"))
    });
    let listeners = listeners.collect::<Result<Vec<_>, Failure>>()?;
    // What they hear of each other is over.
    std::thread::sleep(Duration::from_secs(1));
    messages_of(
        ground,
        &listeners,
        Flood::over(websocket(ground.host, "")?, &unit)?,
    )
}

/// One member of a channel of 50 leaves and returns in a loop.
pub(super) fn come_and_go(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let listeners = (0..LISTENERS).map(|number| {
        let (stream, id) = with_socket_id(ground.host)?;
        let ask = join_request(ground.host, &id, &format!("user-{number}"));
        Listener::of(stream, &text(&ask))
    });
    let listeners = listeners.collect::<Result<Vec<_>, Failure>>()?;
    std::thread::sleep(Duration::from_secs(1));
    let (stream, id) = with_socket_id(ground.host)?;
    let leave = json!({"event": "pusher:unsubscribe", "data": {"channel": ROOM}});
    let join = join_request(ground.host, &id, "restless");
    // Longer than a turn, so that they don't cancel out.
    let ping = text(&json!({"event": "pusher:ping", "data": "x".repeat(8000)}));
    let unit = [text(&join), ping.repeat(8), text(&leave), ping.repeat(8)].concat();
    messages_of(ground, &listeners, Flood::over(stream, &unit)?)
}

/// 2,000 users sign in at once, each with a watchlist of 100 others.
pub(super) fn watch(ground: &Ground<'_>) -> Result<Vec<Figure>, Failure> {
    let host = ground.host;
    let mut swarm = Swarm::connect(host, USERS, 2)?;
    let settled = settled_rss_bytes(&host.pids)?;
    for socket in 0..USERS {
        let watched = (1..=WATCHED).map(|next| format!("user-{}", (socket + next * 7) % USERS));
        let watched: Vec<String> = watched.collect();
        let user = json!({"id": format!("user-{socket}"), "watchlist": watched}).to_string();
        let id = swarm.socket_id(socket);
        let auth = signature(host, &format!("{id}::user::{user}"))?;
        let ask = json!({"event": "pusher:signin", "data": {"auth": auth, "user_data": user}});
        swarm.send(socket, &ask);
    }
    swarm.pump(|answers| answers.signed_in >= USERS)?;
    let grown = settled_rss_bytes(&host.pids)?.saturating_sub(settled);
    Ok(vec![Figure {
        what: "KB for each user",
        value: float(grown) / 1e3 / float(USERS as u64),
        target: Some(20.0),
    }])
}

/// What each of the others hears in a second.
fn messages_of(
    ground: &Ground<'_>,
    listeners: &[Listener],
    flood: Flood,
) -> Result<Vec<Figure>, Failure> {
    let heard = || listeners.iter().map(Listener::messages).sum::<u64>();
    let before = heard();
    super::client::go_on(ground.time);
    let each = float(heard() - before) / float(listeners.len() as u64);
    flood.end();
    Ok(vec![Figure {
        what: "messages a second to each of the others",
        value: each / ground.time.as_secs_f64(),
        // Four a second, and in the first seconds what may come at once.
        target: Some(12.0),
    }])
}

fn join_request(host: &Host, socket_id: &str, user_id: &str) -> Value {
    let channel_data = json!({"user_id": user_id, "user_info": {"name": user_id}}).to_string();
    let auth = signature(host, &format!("{socket_id}:{ROOM}:{channel_data}"));
    let auth = auth.expect("any length is a key");
    let data = json!({"channel": ROOM, "auth": auth, "channel_data": channel_data});
    json!({"event": "pusher:subscribe", "data": data})
}

fn text(message: &Value) -> Vec<u8> {
    client_frame(TEXT, message.to_string().as_bytes())
}
