//! A login for one place at a time: when an account logs in, its other sessions end, and the
//! pages of those sessions hear so at once, over any Pusher-compatible server.
//!
//! `accounts` owns users and sessions, `broadcast` talks to the server, `pages` to browsers; `mode` says who tells the older page.

mod accounts;
mod broadcast;
mod mode;
mod pages;

use std::env::{self, VarError};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use actix_web::middleware::{DefaultHeaders, from_fn};
use actix_web::{App, HttpServer, web};

use accounts::{AccountError, Accounts};
use broadcast::PusherApp;
use mode::Mode;
use pages::Example;

/// Where npm installs the browser's scripts.
const NODE_MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/node_modules");

/// The database, if the environment names no other.
const DATABASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/single_login.sqlite");

/// Why the example did not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("the environment variable {0} has no usable value")]
    Variable(&'static str),
    #[error("{0}: {1} (run `npm ci` in examples/single_login first)")]
    Script(PathBuf, std::io::Error),
    #[error("the database {0}: {1}")]
    Accounts(String, AccountError),
    #[error("port {0}: {1}")]
    Port(u16, std::io::Error),
    #[error("{0}")]
    Serving(#[from] std::io::Error),
}

#[actix_web::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), StartError> {
    let port: u16 = variable("APP_PORT", "8000")?;
    let database: String = variable("DATABASE", DATABASE)?;
    let pusher = PusherApp {
        host: variable("PUSHER_HOST", "127.0.0.1")?,
        port: variable("PUSHER_PORT", "6001")?,
        id: variable("PUSHER_APP_ID", "1001")?,
        key: variable("PUSHER_APP_KEY", "app-key")?,
        secret: variable("PUSHER_APP_SECRET", "app-secret")?,
    };
    let mode = variable("LOGIN_MODE", Mode::Application.name())?;
    let policy = content_security_policy(&pusher);
    let example = web::Data::new(Example {
        accounts: Accounts::open(&database)
            .map_err(|error| StartError::Accounts(database, error))?,
        pusher,
        mode,
        pusher_js: script("pusher-js/dist/web/pusher.min.js")?,
        echo_js: script("laravel-echo/dist/echo.js")?,
    });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(example.clone())
            .app_data(web::Data::new(awc::Client::default()))
            .wrap(from_fn(pages::refuse_foreign_posts))
            .wrap(
                DefaultHeaders::new()
                    .add(("Cache-Control", "no-store"))
                    .add(("Content-Security-Policy", policy.as_str()))
                    .add(("X-Content-Type-Options", "nosniff")),
            )
            .configure(pages::routes)
    })
    .workers(2)
    .bind(("127.0.0.1", port))
    .map_err(|error| StartError::Port(port, error))?;
    say_where(&server.addrs());
    Ok(server.run().await?)
}

/// The one line on stdout; everything else is log.
#[expect(clippy::print_stdout, reason = "whoever starts it waits for it")]
fn say_where(addresses: &[std::net::SocketAddr]) {
    for address in addresses {
        println!("Example on http://{address}");
    }
}

/// An environment variable, or its default if it is not set.
fn variable<T: FromStr>(name: &'static str, default: &str) -> Result<T, StartError> {
    let text = match env::var(name) {
        Ok(text) => text,
        Err(VarError::NotPresent) => default.to_owned(),
        Err(VarError::NotUnicode(_)) => return Err(StartError::Variable(name)),
    };
    text.parse().map_err(|_| StartError::Variable(name))
}

/// A file that npm installed.
fn script(name: &str) -> Result<String, StartError> {
    let path = Path::new(NODE_MODULES).join(name);
    std::fs::read_to_string(&path).map_err(|error| StartError::Script(path, error))
}

/// Pages run this example's own scripts only, and talk to it and the broadcast server only.
fn content_security_policy(pusher: &PusherApp) -> String {
    let PusherApp { host, port, .. } = pusher;
    format!(
        "default-src 'self'; img-src 'self' data:; connect-src 'self' ws://{host}:{port}; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )
}
