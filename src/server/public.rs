//! The public side: how clients' connections are taken, and their requests answered.

use std::{io, net::SocketAddr, rc::Rc, sync::Arc};

use actix_codec::Framed;
use actix_http::{HttpService, Request, error::DispatchError, h1};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{ServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::AppConfig,
    web::{self, Payload},
};
use tokio::net::{TcpStream, UnixStream};

use super::{
    doors::{Doors, Entrance},
    worker::{PublicSide, PublicWorker},
};
use crate::{
    acme,
    address::Peer,
    api::{self, ApiSettings},
    door::{self, Listening},
    transport::{
        Port,
        fallback::{self, Fallback},
        http::{FirstRequest, HttpStream, Introduced},
        redirect,
    },
};

/// Time for HTTP replies after the clients have gone.
const HTTP_GRACE_S: u64 = 5;

/// How one thread takes the connections of one door.
struct Entry {
    worker: Rc<PublicWorker>,
    entrance: Entrance,
    proxy_protocol: bool,
    stopping: GracefulShutdownSignal,
}

impl Entry {
    /// The connection, with what HTTP takes for its peer.
    async fn admit(
        &self,
        tcp: TcpStream,
        peer: Peer,
    ) -> Result<(HttpStream, Option<SocketAddr>), DispatchError> {
        let introduced = if self.proxy_protocol {
            // Apart, so that other connections stay small.
            Box::pin(self.introduce(tcp, peer)).await
        } else {
            Some(Introduced {
                tcp,
                peer,
                told_secure: None,
            })
        };
        let introduced = introduced.ok_or(DispatchError::DisconnectTimeout)?;
        let PublicWorker {
            connections,
            buffers,
            ..
        } = &*self.worker;
        let stream = self.entrance.take(introduced.tcp, buffers)?;
        let admitted = connections.admit(stream, introduced.peer);
        let stream = admitted.ok_or(DispatchError::DisconnectTimeout)?;
        stream.tell_secure(introduced.told_secure);
        Ok((stream, introduced.peer.address()))
    }

    /// A proxy that has said nothing yet does not hold up a stop.
    async fn introduce(&self, tcp: TcpStream, proxy: Peer) -> Option<Introduced> {
        tokio::select! {
            introduced = self.worker.connections.introduce(tcp, proxy) => introduced,
            () = self.stopping.notified() => None,
        }
    }
}

pub(super) fn public_server(side: PublicSide, doors: &Doors) -> io::Result<Server> {
    let mut builder = Server::build()
        .workers(side.config.server.workers())
        .disable_signals()
        .shutdown_timeout(HTTP_GRACE_S);
    let stopping = builder.graceful_shutdown_signal();
    for (door, entrance) in &doors.0 {
        let (side, stopping, entrance) = (side.clone(), stopping.clone(), entrance.clone());
        builder = match door.listening()? {
            Listening::Tcp(socket) => builder.listen("public", socket, move || {
                let entry = side.entry(&entrance, &stopping);
                let http = side.http(&entry);
                fn_service(move |tcp: TcpStream| {
                    // Fails only when the peer has gone.
                    let peer = tcp.peer_addr().map(Peer::At);
                    let entry = Rc::clone(&entry);
                    async move { entry.admit(tcp, peer?).await }
                })
                .and_then(http)
            }),
            Listening::Unix(socket) => builder.listen_uds("public", socket, move || {
                let entry = side.entry(&entrance, &stopping);
                let http = side.http(&entry);
                fn_service(move |stream: UnixStream| {
                    let tcp = door::as_tcp(stream);
                    let entry = Rc::clone(&entry);
                    async move { entry.admit(tcp?, Peer::Local).await }
                })
                .and_then(http)
            }),
        }?;
    }
    Ok(builder.run())
}

impl PublicSide {
    fn entry(&self, entrance: &Entrance, stopping: &GracefulShutdownSignal) -> Rc<Entry> {
        Rc::new(Entry {
            worker: self.worker(),
            entrance: entrance.clone(),
            proxy_protocol: self.config.server.proxy_protocol,
            stopping: stopping.clone(),
        })
    }

    /// What answers on the connections of one door.
    fn http(
        &self,
        entry: &Entry,
    ) -> impl ServiceFactory<
        (HttpStream, Option<SocketAddr>),
        Config = (),
        Response = (),
        Error = DispatchError,
        InitError = (),
    > + use<> {
        let (server, port) = (&self.config.server, entry.entrance.port());
        let prefix: Rc<str> = server.path_prefix.0.as_str().into();
        let fallback = Rc::clone(&entry.worker.fallback);
        let answers = self.answers.clone();
        let answer = move |request: HttpRequest, body: Payload| {
            if let Some(first) = request.conn_data::<FirstRequest>() {
                first.has_come();
            }
            let (fallback, prefix) = (Rc::clone(&fallback), Rc::clone(&prefix));
            let answers = answers.clone();
            async move {
                if let Some(answers) = answers.filter(|_| acme::may_ask(&request))
                    && let Some(answer) = Box::pin(answers.find(&request)).await
                {
                    return answer;
                }
                answer(&fallback, &prefix, port, request, body).await
            }
        };
        let app = App::new()
            .app_data(web::Data::from(Arc::clone(&self.node)))
            .app_data(web::Data::new(ApiSettings::of(&self.config)))
            .app_data(port)
            .default_service(web::to(answer));
        let (stopping, listener) = (entry.stopping.clone(), Rc::clone(&entry.worker.listener));
        HttpService::build()
            .on_connect_ext(|stream: &HttpStream, data| {
                data.insert(stream.first_request());
                if let Some(told) = stream.told_secure() {
                    data.insert(told);
                }
            })
            // Ends idle keep-alive connections, which would hold up the stop.
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            // A client that has shut its side of a streaming response is gone.
            .h1_allow_half_closed(false)
            .keep_alive(server.keep_alive_s.get())
            .client_request_timeout(server.request_timeout_s.get())
            .upgrade(fn_service(
                move |(request, framed): (Request, Framed<HttpStream, h1::Codec>)| {
                    let parts = framed.into_parts();
                    let (io, received) = (parts.io, parts.read_buf);
                    listener.accept(&request, io, parts.codec, received, port);
                    async { Ok::<_, actix_web::Error>(()) }
                },
            ))
            .h1(map_config(app, |()| AppConfig::default()))
    }
}

/// Answers a request that asks for no WebSocket.
async fn answer(
    fallback: &Rc<Fallback>,
    prefix: &str,
    port: Port,
    request: HttpRequest,
    body: Payload,
) -> HttpResponse {
    match (fallback::Target::find(request.path()), port) {
        (Some(target), _) => fallback.answer(&request, &target, body).await,
        (None, Port::Redirect(port)) => redirect(&request, port),
        (None, _) => api::answer(&request, body, prefix).await,
    }
}
