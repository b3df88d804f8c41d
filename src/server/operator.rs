//! The operators' listener.

use std::{future::ready, io, net::TcpListener, sync::Arc, time::Duration};

use actix_http::{HttpService, error::DispatchError};
use actix_server::Server;
use actix_service::{ServiceFactoryExt, fn_service, map_config};
use actix_web::{App, dev::AppConfig, middleware::from_fn, web};
use tokio::net::TcpStream;

use super::doors::Entrance;
use crate::{
    address::Peer,
    admin::{self, AdminSettings},
    node::Node,
    store::AppControl,
    tls::{Buffers, TlsListener},
    transport::http::OperatorStream,
};

/// Time for the last answer to an operator.
const ADMIN_GRACE: Duration = Duration::from_secs(1);

pub(super) fn admin_server(
    node: &Arc<Node>,
    settings: AdminSettings,
    control: AppControl,
    (socket, tls): (TcpListener, Option<TlsListener>),
) -> io::Result<Server> {
    let (node, told) = (web::Data::from(Arc::clone(node)), Arc::clone(node));
    let settings = web::Data::new(settings);
    let control = web::Data::new(control);
    let entrance = tls.map_or(Entrance::Plain, Entrance::Tls);
    let builder = Server::build()
        .workers(1)
        .disable_signals()
        .shutdown_timeout(1);
    let server = builder.listen("admin", socket, move || {
        let app = App::new()
            .wrap(from_fn(admin::admit))
            .app_data(node.clone())
            .app_data(settings.clone())
            .app_data(control.clone())
            .configure(admin::configure);
        let http = HttpService::build()
            .client_disconnect_timeout(ADMIN_GRACE)
            .h1(map_config(app, |()| AppConfig::default()));
        let (entrance, buffers) = (entrance.clone(), Buffers::default());
        let told = Arc::clone(&told);
        fn_service(move |tcp: TcpStream| {
            let take = || {
                let peer = tcp.peer_addr()?;
                let stream = entrance.take(tcp, &buffers)?;
                let stream = OperatorStream::new(stream, Peer::At(peer), Arc::clone(&told));
                Ok((stream, Some(peer)))
            };
            ready(take().map_err(|_: io::Error| DispatchError::DisconnectTimeout))
        })
        .and_then(http)
    })?;
    Ok(server.run())
}
