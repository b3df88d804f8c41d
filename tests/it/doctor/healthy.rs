//! Nothing is found where nothing is wrong.

use super::{Run, certificates::certificates, proxies::Proxy, server};
use crate::support::{
    process::{ConfigFile, Process},
    server::TestServer,
};

#[test]
fn nothing_is_wrong_with_a_server_alone() {
    let server = server();
    let examined = Run::of(server.app(), format!("http://{}", server.public)).examine();
    examined.finds_nothing();
    for step in [
        "name",
        "port",
        "paths",
        "clock",
        "app",
        "subscribe",
        "deliver",
        "toOthers",
        "client events",
        "size",
        "compression",
        "fallbacks",
        "CORS",
    ] {
        assert_eq!(examined.result(step), "ok", "{step}: {}", examined.printed);
    }
    assert_eq!(examined.result("TLS"), "skipped");
}

#[test]
fn nothing_is_wrong_behind_nginx_with_tls() {
    let server = server();
    let proxy = Proxy::nginx_with(&server, "good");
    let examined = Run::of(server.app(), proxy.secure()).examine();
    examined.finds_nothing();
    assert_eq!(examined.result("TLS"), "ok");
    assert_eq!(examined.result("fallbacks"), "ok");
}

#[test]
fn nothing_is_wrong_behind_haproxy_with_tls() {
    let server = server();
    let bind = format!("ssl crt {}", certificates().all("good"));
    let proxy = Proxy::haproxy(&server.public.to_string(), &bind, "");
    Run::of(server.app(), proxy.secure())
        .examine()
        .finds_nothing();
}

#[test]
fn nothing_is_wrong_behind_caddy_with_tls() {
    let server = server();
    let proxy = Proxy::caddy(&caddy_with_tls(&server));
    Run::of(server.app(), proxy.secure())
        .examine()
        .finds_nothing();
}

fn caddy_with_tls(server: &TestServer) -> String {
    let (chain, key) = (certificates().chain("good"), certificates().key("good"));
    let name = super::NAME;
    format!(
        "https://{name}:PORT {{\n\ttls {chain} {key}\n\treverse_proxy {}\n}}",
        server.public
    )
}

#[test]
fn nothing_is_wrong_under_a_path() {
    let server = server();
    let to = server.public;
    let proxy = Proxy::haproxy(
        &to.to_string(),
        "",
        "http-request return status 404 unless { path_beg /ws/app }\n http-request replace-path /ws(/.*) \\1",
    );
    let url = format!("{}/ws", proxy.plain());
    Run::of(server.app(), url).examine().finds_nothing();
}

/// Laravel publishes within the machine, browsers come through the proxy.
#[test]
fn backends_and_clients_may_have_addresses_of_their_own() {
    let server = server();
    let to = server.public;
    let proxy = Proxy::caddy(&format!(
        "http://127.0.0.1:PORT {{\n\thandle /app/* {{\n\t\treverse_proxy {to}\n\t}}\n\thandle {{\n\t\trespond 404\n\t}}\n}}"
    ));
    let app = server.app();
    let file = ConfigFile::new(&format!(
        "BROADCAST_CONNECTION=pusher\nPUSHER_APP_ID={}\nPUSHER_APP_KEY=\"{}\"\nPUSHER_APP_SECRET='{}'\nPUSHER_HOST=127.0.0.1\n\
         PUSHER_PORT={}\nPUSHER_SCHEME=http\nVITE_PUSHER_HOST=127.0.0.1\nVITE_PUSHER_PORT={}\nVITE_PUSHER_SCHEME=\"${{PUSHER_SCHEME}}\"\n",
        app.id,
        app.key,
        app.secret,
        to.port(),
        proxy.port
    ));
    let finished = Process::run(
        &["doctor", "--env-file", file.path(), "--timeout", "2"],
        &[],
    );
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(
        finished.stdout.ends_with("Nothing is wrong.\n"),
        "{finished:?}"
    );
    assert!(!finished.stdout.contains(&app.secret), "{finished:?}");
}
