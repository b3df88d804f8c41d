//! A reader of the admin listener's live feed.

use serde_json::Value;

use super::{
    server::TestServer,
    websocket::{Socket, Upgrade},
};

/// The feed, from the moment of its connection.
pub(crate) struct Feed {
    pub(crate) socket: Socket,
}

impl Feed {
    #[track_caller]
    pub(crate) fn connect(server: &TestServer) -> Self {
        Self {
            socket: Upgrade::new("/feed").connect(server.admin),
        }
    }

    /// The next line, its common members checked.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        let text = self.socket.expect_text();
        let line: Value = serde_json::from_str(&text).expect("a line is JSON");
        assert!(line["type"].is_string(), "{line}");
        assert!(
            line["time_ms"]
                .as_u64()
                .is_some_and(|time| time > 1_700_000_000_000),
            "{line}"
        );
        line
    }

    /// The next line of this type; others are skipped.
    #[track_caller]
    pub(crate) fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let line = self.next();
            if line["type"] == kind {
                return line;
            }
        }
    }

    /// The next line, which must be of this type.
    #[track_caller]
    pub(crate) fn expect(&mut self, kind: &str) -> Value {
        let line = self.next();
        assert_eq!(line["type"], kind, "{line}");
        line
    }
}
