//! The live feed over a WebSocket: one JSON object a message.

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{Message, MessageStream, Session};
use futures_util::StreamExt;
use serde::Deserialize;

use crate::{
    feed::{Filter, Watcher},
    node::Node,
};

#[derive(Deserialize)]
pub(super) struct Wanted {
    app: Option<String>,
    #[serde(default)]
    types: String,
}

impl From<Wanted> for Filter {
    fn from(Wanted { app, types }: Wanted) -> Self {
        let types = types.split(',').filter(|name| !name.is_empty());
        Self {
            app: app.filter(|app| !app.is_empty()),
            types: types.map(str::to_owned).collect(),
        }
    }
}

pub(super) async fn stream(
    request: HttpRequest,
    body: web::Payload,
    node: web::Data<Node>,
    wanted: web::Query<Wanted>,
) -> actix_web::Result<HttpResponse> {
    let (response, session, messages) = actix_ws::handle(&request, body)?;
    let watcher = node.feed.watch(wanted.into_inner().into());
    actix_web::rt::spawn(forward(watcher, session, messages));
    Ok(response)
}

/// Sends lines until the reader goes. A reader who is slow blocks only this task; the feed drops lines for it and says so.
async fn forward(mut watcher: Watcher, mut session: Session, mut messages: MessageStream) {
    loop {
        tokio::select! {
            line = watcher.next() => match line {
                Some(line) => if session.text(line.json()).await.is_err() { return },
                None => break,
            },
            message = messages.next() => match message {
                Some(Ok(Message::Ping(payload))) => {
                    if session.pong(&payload).await.is_err() {
                        return;
                    }
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                Some(Ok(_)) => {}
            },
        }
    }
    // The reader may be gone already.
    let _ = session.close(None).await;
}
