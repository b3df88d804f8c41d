//! Sessions of the HTTP transports, whose requests reach any node.

use serde_json::json;

use super::{AGREEMENT, three_nodes};
use crate::support::{
    client::Message,
    fallback::{Line, Opened, POLLING, STREAMING, Session},
    server::TestServer,
    within,
};

const SUCCEEDED: &str = super::SUCCEEDED;

#[track_caller]
fn open(nodes: &[TestServer], kind: &str) -> Opened {
    Session::new(&nodes[0], nodes[0].app()).open(kind)
}

fn ask(session: &Opened, channel: &str) {
    let data = json!({"channel": channel, "auth": ""});
    session.send(&[json!({"event": "pusher:subscribe", "data": data})]);
}

#[test]
fn what_a_client_sends_reaches_its_session_from_any_node() {
    let (_redis, nodes) = three_nodes();
    let mut opened = open(&nodes, STREAMING);
    for (at, channel) in [(1, "one"), (2, "two"), (0, "three")] {
        opened.session.move_to(&nodes[at]);
        ask(&opened, channel);
        opened.receiving.expect_on(channel, SUCCEEDED);
    }
    // A sign of life, too.
    opened.session.move_to(&nodes[1]);
    opened.send(&[]);
    opened.receiving.expect_line(&Line::Nothing);
}

#[test]
fn a_stream_goes_on_from_another_node() {
    let (_redis, nodes) = three_nodes();
    let mut opened = open(&nodes, STREAMING);
    ask(&opened, "news");
    opened.receiving.expect_on("news", SUCCEEDED);
    let mut before = None;
    for (number, at) in [1, 2, 1, 0, 2].into_iter().enumerate() {
        opened.session.move_to(&nodes[at]);
        let receiving = opened.session.receive(STREAMING);
        before = Some(std::mem::replace(&mut opened.receiving, receiving));
        nodes[number % 3]
            .api()
            .publish("news", "e", &number.to_string());
        let event = opened.receiving.expect_on("news", "e");
        assert_eq!(event.data(), number.to_string());
    }
    before.expect("there was one").expect_end();
}

#[test]
fn polls_through_all_nodes_lose_nothing() {
    let (_redis, nodes) = three_nodes();
    let mut opened = open(&nodes, POLLING);
    ask(&opened, "news");
    let mut turn = 0;
    let mut next = |opened: &mut Opened| -> Message {
        loop {
            match opened.receiving.read(AGREEMENT) {
                Ok(Some(Line::Message(text))) => return Message::parse(text),
                Ok(Some(_)) => {}
                Ok(None) => {
                    turn += 1;
                    opened.session.move_to(&nodes[turn % 3]);
                    opened.receive(POLLING);
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    };
    assert_eq!(next(&mut opened).event(), SUCCEEDED);
    for number in 0..60 {
        nodes[1].api().publish("news", "e", &number.to_string());
    }
    for number in 0..60 {
        assert_eq!(next(&mut opened).data(), number.to_string());
    }
}

#[test]
fn a_client_whose_node_was_killed_begins_anew_on_another() {
    let (_redis, mut nodes) = three_nodes();
    let mut opened = open(&nodes, STREAMING);
    opened.session.move_to(&nodes[1]);
    opened.receive(STREAMING);
    ask(&opened, "news");
    opened.receiving.expect_on("news", SUCCEEDED);
    nodes[0].kill();
    opened.receiving.expect_end();
    let refused = opened.session.send_raw("[]");
    assert_eq!(refused.status, 404, "{refused:?}");
    // The second beginning tells pusher-js that the session was lost.
    let mut again = opened.session.receive(STREAMING);
    again.expect_line(&Line::Open);
    again.expect("pusher:connection_established");
}

#[test]
fn a_session_ends_when_its_client_leaves_another_node() {
    let (_redis, nodes) = three_nodes();
    let mut opened = open(&nodes, STREAMING);
    ask(&opened, "news");
    opened.receiving.expect_on("news", SUCCEEDED);
    opened.session.move_to(&nodes[1]);
    opened.receive(STREAMING);
    drop(opened);
    within(AGREEMENT, "nobody is there any more", || {
        let channels = nodes[2].api().get("/channels", &[]).json();
        if channels["channels"] == json!({}) {
            Ok(())
        } else {
            Err(channels.to_string())
        }
    });
}
