//! Connects to endpoints: only to addresses that the operator allows, and so that no answer is read without end.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector, dns::GaiResolver, dns::Name},
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tower_service::Service;

use crate::app::WebhookTargets;

/// Bytes that are read for one request, whatever they are: heads, interim answers, bodies. All endpoints share a thread, which an
/// endless answer would keep busy until its time is over.
const ANSWER_BYTES_MAX: usize = 128 << 10;

type AnyError = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, AnyError>> + Send>>;

/// Opens connections to endpoints.
#[derive(Clone)]
pub(super) struct Connector {
    http: HttpConnector<AllowedOnly<GaiResolver>>,
    targets: Arc<WebhookTargets>,
}

impl Connector {
    /// Connects to these addresses and no others.
    pub(super) fn to(targets: WebhookTargets) -> Self {
        let targets = Arc::new(targets);
        let mut http = HttpConnector::new_with_resolver(AllowedOnly {
            resolver: GaiResolver::new(),
            targets: Arc::clone(&targets),
        });
        http.enforce_http(false);
        http.set_nodelay(true);
        Self { http, targets }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Metered<TcpStream>>;
    type Error = AnyError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.http.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        // The resolver is asked only about names.
        let forbidden = address(&uri).filter(|address| !self.targets.allow(*address));
        if let Some(address) = forbidden {
            return Box::pin(async move { Err(Forbidden(address).into()) });
        }
        let connecting = self.http.call(uri);
        Box::pin(async move {
            let stream = connecting.await?.into_inner();
            Ok(TokioIo::new(Metered::new(stream)))
        })
    }
}

/// The address, if a URL holds one instead of a name.
fn address(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

/// An address that webhooks may not be sent to.
#[derive(Debug)]
struct Forbidden(IpAddr);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address) = self;
        write!(f, "{address} is not among server.webhook_allowed_addresses")
    }
}

impl Error for Forbidden {}

/// A resolver that gives only allowed addresses, which are those that are connected to. Asked at every connection, because a name
/// that resolved to a public address before may resolve to an internal one now.
#[derive(Clone)]
struct AllowedOnly<R> {
    resolver: R,
    targets: Arc<WebhookTargets>,
}

impl<R> Service<Name> for AllowedOnly<R>
where
    R: Service<Name>,
    R::Response: Iterator<Item = SocketAddr>,
    R::Error: Into<AnyError>,
    R::Future: Send + 'static,
{
    type Response = vec::IntoIter<SocketAddr>;
    type Error = AnyError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), AnyError>> {
        self.resolver.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (resolving, targets) = (self.resolver.call(name), Arc::clone(&self.targets));
        Box::pin(async move {
            let found = resolving.await.map_err(Into::into)?;
            let (allowed, forbidden): (Vec<_>, Vec<_>) =
                found.partition(|address| targets.allow(address.ip()));
            match forbidden.first() {
                Some(address) if allowed.is_empty() => Err(Forbidden(address.ip()).into()),
                _ => Ok(allowed.into_iter()),
            }
        })
    }
}

/// A connection from which only so much is read after each write.
pub(super) struct Metered<T> {
    stream: T,
    left: usize,
}

impl<T> Metered<T> {
    fn new(stream: T) -> Self {
        Self {
            stream,
            left: ANSWER_BYTES_MAX,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            let text = format!("the answer has more than {} KiB", ANSWER_BYTES_MAX >> 10);
            return Poll::Ready(Err(io::Error::other(text)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.left = ANSWER_BYTES_MAX;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<T: Connection> Connection for Metered<T> {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible, future::Ready, future::ready};

    use super::*;

    /// Gives other addresses each time.
    struct Scripted(VecDeque<Vec<&'static str>>);

    impl Service<Name> for Scripted {
        type Response = vec::IntoIter<SocketAddr>;
        type Error = Infallible;
        type Future = Ready<Result<Self::Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Name) -> Self::Future {
            let addresses = self.0.pop_front().expect("an answer is left").into_iter();
            let addresses = addresses.map(|address| (address.parse::<IpAddr>().expect(address), 0));
            let addresses: Vec<_> = addresses.map(SocketAddr::from).collect();
            ready(Ok(addresses.into_iter()))
        }
    }

    #[tokio::test]
    async fn each_resolution_is_checked_anew() {
        let targets = WebhookTargets::parse(&["external".to_owned()]).expect("an entry");
        let script = [
            vec!["1.1.1.1"],
            vec!["169.254.169.254"],
            vec!["127.0.0.1", "1.1.1.1", "::1"],
            vec![],
        ];
        let mut resolver = AllowedOnly {
            resolver: Scripted(script.into()),
            targets: Arc::new(targets),
        };
        let mut resolve = async || {
            let name = "rebinding.example".parse().expect("a name");
            let found = resolver.call(name).await;
            found
                .map(|found| {
                    found
                        .map(|address| address.ip().to_string())
                        .collect::<Vec<_>>()
                })
                .map_err(|error| error.to_string())
        };
        assert_eq!(resolve().await, Ok(vec!["1.1.1.1".to_owned()]));
        let refusal = "169.254.169.254 is not among server.webhook_allowed_addresses";
        assert_eq!(resolve().await, Err(refusal.to_owned()));
        assert_eq!(resolve().await, Ok(vec!["1.1.1.1".to_owned()]));
        assert_eq!(resolve().await, Ok(Vec::new()));
    }
}
