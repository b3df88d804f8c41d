//! Resolves the names of endpoints, and withholds addresses that the operator does not allow.
//!
//! The addresses that are checked here are those that are connected to, at every connection: a name that resolved to a public
//! address before may resolve to an internal one now.

use std::{
    error::Error,
    fmt,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use crate::app::WebhookTargets;

type AnyError = Box<dyn Error + Send + Sync>;

/// An address that webhooks may not be sent to.
#[derive(Debug)]
pub(super) struct Forbidden(pub(super) IpAddr);

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(address) = self;
        write!(f, "{address} is not among server.webhook_allowed_addresses")
    }
}

impl Error for Forbidden {}

/// A resolver that gives only allowed addresses.
#[derive(Clone)]
pub(super) struct AllowedOnly<R> {
    pub(super) resolver: R,
    pub(super) targets: Arc<WebhookTargets>,
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
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, AnyError>> + Send>>;

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
