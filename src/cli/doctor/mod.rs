//! `doctor`: looks for what is wrong between clients, backends and a host, step by step from the name to the delivered event.
//!
//! `probe` and `talk` see, `route` and `judge` decide from what was seen, `fault` says what it means and how it is mended, `report` prints.

mod fault;
mod judge;
mod probe;
mod report;
mod route;
mod seen;
mod talk;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

use clap::Args;

use self::{
    judge::Verdict,
    report::Report,
    route::{Place, Placed},
    seen::{Attempt, Routes},
    talk::{Channels, Client, Talk},
};
use super::{
    Failure, Host, Variables,
    network::{Dialler, Network},
    output::Printer,
    socket::Hello,
    sources::Where,
    target::Endpoint,
};

/// The origin of a page that the host does not serve.
const ORIGIN: &str = "https://loudhailer-doctor.example";

/// `loudhailer doctor`
#[derive(Args)]
pub struct Doctor {
    /// The host's address as clients have it, with path prefix, such as https://ws.example.com/ws; or --env-file, or what is in the
    /// environment.
    #[arg(value_name = "URL")]
    address: Option<String>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Hold a silent connection for 65 s too, to see when a proxy cuts it.
    #[arg(long)]
    long: bool,
    /// Connect as a page of this origin.
    #[arg(long, value_name = "ORIGIN")]
    origin: Option<String>,
    #[command(flatten)]
    host: Where,
    #[command(flatten)]
    network: Network,
}

/// Whether a silent connection is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    Short,
    Long,
}

impl Doctor {
    pub(super) async fn run(self, environment: &Variables) -> Result<(), Failure> {
        let printer = if self.json {
            Printer::Json
        } else {
            Printer::Text
        };
        let host = Host {
            target: self.host.at(self.address).target(environment)?,
            // A certificate that is refused is a finding, and hides no other.
            dialler: Dialler::new(&self.network)?.trusting(),
            printer,
        };
        let mut examination = Examination {
            host: &host,
            origin: self.origin.as_deref(),
            report: Report::new(printer),
        };
        let patience = if self.long {
            Patience::Long
        } else {
            Patience::Short
        };
        examination.examine(patience).await?;
        examination.report.end()
    }
}

/// One run of the doctor.
struct Examination<'a> {
    host: &'a Host,
    origin: Option<&'a str>,
    report: Report,
}

impl<'a> Examination<'a> {
    async fn examine(&mut self, patience: Patience) -> Result<(), Failure> {
        let target = &self.host.target;
        let app = format!(
            "id {}, key {}, from {}",
            target.app.id, target.app.key, target.source
        );
        self.report.step("credentials", &Verdict::Fine(app))?;
        if !self.reach(&target.socket).await? {
            return Ok(());
        }
        let is_same_port = target.api.at("") == target.socket.at("");
        if !is_same_port && !self.reach(&target.api).await? {
            return Ok(());
        }
        let hello = self.hello();
        let routes = probe::routes(&self.host.dialler, hello, &target.api, &target.app).await;
        let is_routed = self.report.step("paths", &route::routes(&routes))?;
        let clock = judge::clock(&routes.socket.written, &routes.api.written);
        let is_in_time = self.report.step("clock", &clock)?;
        if !self.know(&routes)? || !is_routed || !is_in_time {
            return Ok(());
        }
        self.talk(patience).await
    }

    fn hello(&self) -> Hello<'a> {
        Hello {
            endpoint: &self.host.target.socket,
            key: &self.host.target.app.key,
            origin: self.origin,
        }
    }

    /// Name, port and TLS; whether it is worth while to go on.
    async fn reach(&mut self, endpoint: &Endpoint) -> Result<bool, Failure> {
        let dialler = &self.host.dialler;
        let names = probe::names(dialler, endpoint).await;
        let is_named = self.report.step("name", &judge::names(&names))?;
        let addresses = names.addresses.unwrap_or_default();
        if !is_named {
            return Ok(false);
        }
        let ports = probe::ports(dialler, endpoint.port, &addresses).await;
        self.report.step("port", &judge::ports(&ports))?;
        let accepts = |(address, attempt): &(IpAddr, Attempt)| {
            matches!(attempt, Attempt::Accepted(_)).then_some(*address)
        };
        let Some(address) = ports.attempts.iter().find_map(accepts) else {
            return Ok(false);
        };
        let layer = probe::layer(dialler, endpoint, address).await;
        self.report.step("TLS", &judge::layer(&layer))?;
        Ok(layer.is_spoken())
    }

    /// Key, id and secret; whether all fit.
    fn know(&mut self, routes: &Routes) -> Result<bool, Failure> {
        let (opened, signed) = (&routes.socket.written, &routes.api.written);
        let opened = (opened.place() == Place::Here).then_some(opened);
        let signed = (signed.place() == Place::Here).then_some(signed);
        let verdict = judge::app(opened, signed);
        self.report.step("app", &verdict)
    }

    async fn talk(&mut self, patience: Patience) -> Result<(), Failure> {
        let mut talk = match self.connect().await {
            Ok(talk) => talk,
            Err(why) => {
                let verdict = Verdict::found(fault::Fault::ConnectionRefused, why);
                self.report.step("connections", &verdict)?;
                return Ok(());
            }
        };
        let subscriptions = talk.subscribe().await;
        if !self
            .report
            .step("subscribe", &judge::subscriptions(&subscriptions))?
        {
            return Ok(());
        }
        let delivery = talk.publish("doctor", "{}", None).await;
        if self.report.step("deliver", &judge::delivery(&delivery))? {
            self.report
                .step("toOthers", &judge::exclusion(&talk.exclude().await))?;
            let event = talk.client_event().await;
            self.report
                .step("client events", &judge::client_event(&event))?;
            let large = talk.large().await;
            self.report
                .step("size", &judge::large(talk::LARGE_BYTES, &large))?;
        }
        self.report
            .step("compression", &judge::compression(&talk.compressed().await))?;
        let origin = self.origin.unwrap_or(ORIGIN);
        let fallback = talk::fallback(self.host, origin).await;
        self.report.step("fallbacks", &judge::fallback(&fallback))?;
        self.report.step("CORS", &judge::cors(&fallback))?;
        let idle = match patience {
            Patience::Long => judge::idle(&talk.idle().await),
            Patience::Short => Verdict::Skipped("tried with --long".to_owned()),
        };
        self.report.step("idle", &idle)?;
        Ok(())
    }

    async fn connect(&self) -> Result<Talk<'a>, String> {
        let hello = self.hello();
        Ok(Talk {
            host: self.host,
            channels: Channels::new(),
            sender: Client::connect(&self.host.dialler, hello).await?,
            listener: Client::connect(&self.host.dialler, hello).await?,
        })
    }
}
