//! The floor of connecting: the runtime that the server uses, which accepts, answers the handshake as actix-http does, and answers the
//! subscription with ready bytes. No app, no limit, no channel.

use std::io::Write;
use std::net::TcpListener;

use actix_codec::Framed;
use actix_http::body::BodySize;
use actix_http::{HttpService, Request, Response, h1, ws};
use actix_server::Server;
use actix_service::fn_service;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::codec::Encoder;

use crate::Failure;
use crate::websocket::text_frame;

const ESTABLISHED: &str = r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.1\",\"activity_timeout\":120}"}"#;
const SUBSCRIBED: &str =
    r#"{"event":"pusher_internal:subscription_succeeded","channel":"bench-000000","data":"{}"}"#;

/// Serves until the process is ended.
pub(crate) fn run(workers: usize) -> Result<(), Failure> {
    rlimit::increase_nofile_limit(u64::MAX)?;
    actix_web::rt::System::new().block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let builder = Server::build().workers(workers).backlog(4096);
        let server = builder.listen("handshake", listener, || {
            HttpService::build()
                .tcp_nodelay(true)
                .upgrade(fn_service(
                    |(request, framed): (Request, Framed<TcpStream, h1::Codec>)| {
                        let parts = framed.into_parts();
                        tokio::task::spawn_local(serve(request, parts.io, parts.codec));
                        async { Ok::<_, actix_web::Error>(()) }
                    },
                ))
                .finish(fn_service(|_: Request| async {
                    Ok::<_, actix_web::Error>(Response::not_found())
                }))
                .tcp()
        })?;
        let server = server.run();
        writeln!(std::io::stdout(), "Listening on http://{address}")?;
        server.await?;
        Ok(())
    })
}

/// Ends when the client goes.
async fn serve(request: Request, mut stream: TcpStream, mut codec: h1::Codec) {
    let mut answer = BytesMut::new();
    let response = ws::handshake_response(request.head()).finish().drop_body();
    let item = h1::Message::Item((response, BodySize::None));
    if codec.encode(item, &mut answer).is_err() {
        return;
    }
    answer.extend_from_slice(&text_frame(ESTABLISHED));
    let subscribed = text_frame(SUBSCRIBED);
    let mut message = [0; 512];
    let mut written = stream.write_all(&answer).await;
    while written.is_ok() && stream.read(&mut message).await.is_ok_and(|count| count > 0) {
        written = stream.write_all(&subscribed).await;
    }
}
