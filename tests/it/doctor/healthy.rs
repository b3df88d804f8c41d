//! Nothing is found where nothing is wrong.

use std::fs;

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

/// Both ways that the doctor names against `no_upgrade`.
#[test]
fn nothing_is_wrong_behind_apache_that_forwards_websockets() {
    let server = server();
    let to = server.public;
    for rules in [
        format!("ProxyPass / http://{to}/ upgrade=websocket"),
        format!("ProxyPass /app ws://{to}/app\nProxyPass / http://{to}/"),
    ] {
        let proxy = Proxy::apache(&format!("ProxyPreserveHost On\n{rules}"));
        Run::of(server.app(), proxy.plain())
            .examine()
            .finds_nothing();
    }
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

/// The files in `config`, as `tests/clients` tries them with a cluster.
#[test]
fn nothing_is_wrong_behind_the_configurations_that_are_shipped() {
    let server = server();
    for proxy in [
        Proxy::nginx(&shipped("nginx.conf", &server)),
        Proxy::haproxy_of(&shipped("haproxy.cfg", &server)),
        Proxy::caddy(&shipped("Caddyfile", &server)),
    ] {
        Run::of(server.app(), proxy.plain())
            .examine()
            .finds_nothing();
    }
}

fn shipped(file: &str, server: &TestServer) -> String {
    let path = format!("{}/config/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).expect("the file");
    let to = server.public.to_string();
    let nodes = ["127.0.0.1:6001", "127.0.0.1:6002", "127.0.0.1:6003"];
    let text = nodes
        .iter()
        .fold(text, |text, node| text.replace(node, &to));
    // The limit of open files may be low here.
    text.replace("8080", "PORT")
        .replace("maxconn 50000", "maxconn 100")
}
