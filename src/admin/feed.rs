//! The live feed over a WebSocket: one JSON object a message.

use actix_web::{HttpRequest, HttpResponse, web};
use actix_ws::{Message, MessageStream, Session};
use futures_util::StreamExt;
use serde_json::json;

use super::origin;
use crate::{feed::Watcher, node::Node};

pub(super) async fn stream(
    request: HttpRequest,
    body: web::Payload,
    node: web::Data<Node>,
) -> actix_web::Result<HttpResponse> {
    if origin::is_foreign(&request) {
        let reason = "the feed is for this machine only, and not for web pages of other origins";
        let body = json!({"error": reason, "code": 403});
        return Ok(HttpResponse::Forbidden().json(body));
    }
    let (response, session, messages) = actix_ws::handle(&request, body)?;
    let watcher = node.feed.watch();
    actix_web::rt::spawn(forward(watcher, session, messages));
    Ok(response)
}

/// Sends lines until the reader goes. A reader who is slow blocks only this task; the feed drops lines for it and says so.
async fn forward(mut watcher: Watcher, mut session: Session, mut messages: MessageStream) {
    loop {
        tokio::select! {
            line = watcher.next() => match line {
                Some(line) => if session.text(&*line).await.is_err() { return },
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
