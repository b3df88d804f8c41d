//! Each fault, seeded, is found by its name and no other is.

use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};

use super::{
    Run,
    certificates::certificates,
    proxies::{FORWARD, Proxy},
    server,
};
use crate::support::{app::App, redis::free_port, server::TestServer, setup::Setup};

#[test]
fn wrong_secret() {
    let server = server();
    let proxy = Proxy::nginx_with(&server, "good");
    let wrong = App::new(&server.app().id, &server.app().key);
    Run::of(&wrong, proxy.secure())
        .examine()
        .finds("wrong_secret");
}

#[test]
fn wrong_id() {
    let server = server();
    let proxy = Proxy::haproxy(&server.public.to_string(), "", "");
    let wrong = App::with_secret("9999", &server.app().key, &server.app().secret);
    Run::of(&wrong, proxy.plain()).examine().finds("wrong_id");
}

#[test]
fn unknown_key() {
    let server = server();
    let wrong = App::with_secret(&server.app().id, "no-such-key", &server.app().secret);
    let url = format!("http://{}", server.public);
    let examined = Run::of(&wrong, url).examine();
    assert_eq!(
        examined.wrong,
        ["unknown_key", "wrong_id"],
        "{}",
        examined.printed
    );
}

#[test]
fn app_disabled() {
    let server = TestServer::start(Setup::new().usual_with("enabled", false));
    let proxy = Proxy::caddy(&format!(
        "http://127.0.0.1:PORT {{\n\treverse_proxy {}\n}}",
        server.public
    ));
    Run::of(server.app(), proxy.plain())
        .examine()
        .finds("app_disabled");
}

#[test]
fn skewed_clock() {
    let server = server();
    let proxy = Proxy::nginx_with(&server, "good");
    for clock in ["+20m", "-20m"] {
        let mut run = Run::of(server.app(), proxy.secure());
        run.clock = Some(clock);
        run.examine().finds("clock_skewed");
    }
}

#[test]
fn a_proxy_without_upgrade() {
    let server = server();
    let to = server.public;
    let nginx = Proxy::nginx(&format!(
        "server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://{to}; }} }}"
    ));
    let haproxy = Proxy::haproxy(&to.to_string(), "", "http-request del-header Upgrade");
    let apache = Proxy::apache(&format!("ProxyPass / http://{to}/"));
    for proxy in [nginx, haproxy, apache] {
        Run::of(server.app(), proxy.plain())
            .examine()
            .finds("no_upgrade");
    }
}

#[test]
fn a_proxy_that_only_forwards_app() {
    let server = server();
    let to = server.public;
    let caddy = Proxy::caddy(&format!(
        "http://127.0.0.1:PORT {{\n\thandle /app/* {{\n\t\treverse_proxy {to}\n\t}}\n\thandle {{\n\t\trespond 404\n\t}}\n}}"
    ));
    let nginx = Proxy::nginx(&format!(
        "server {{ listen 127.0.0.1:PORT; location /app/ {{ {FORWARD} proxy_pass http://{to}; }} }}"
    ));
    for proxy in [caddy, nginx] {
        Run::of(server.app(), proxy.plain())
            .examine()
            .finds("apps_not_forwarded");
    }
}

#[test]
fn a_proxy_that_only_forwards_apps() {
    let server = server();
    let to = server.public;
    let proxy = Proxy::nginx(&format!(
        "server {{ listen 127.0.0.1:PORT; location /apps/ {{ {FORWARD} proxy_pass http://{to}; }} }}"
    ));
    Run::of(server.app(), proxy.plain())
        .examine()
        .finds("app_not_forwarded");
}

#[test]
fn doubled_slash() {
    let server = server();
    let to = server.public;
    let location = format!("{FORWARD} rewrite ^/ws(/.*) $1 break; proxy_pass http://{to};");
    let proxy = Proxy::nginx(&format!(
        "server {{ listen 127.0.0.1:PORT; merge_slashes off; location /ws/app/ {{ {location} }} location /ws/apps/ {{ {location} }} }}"
    ));
    let url = format!("{}/ws/", proxy.plain());
    Run::of(server.app(), url).examine().finds("doubled_slash");
}

#[test]
fn wrong_prefix() {
    let server = server();
    let proxy = Proxy::haproxy(
        &server.public.to_string(),
        "",
        "http-request return status 404 unless { path_beg /ws/app }\n http-request replace-path /ws(/.*) \\1",
    );
    for path in ["", "/sockets"] {
        let url = format!("{}{path}", proxy.plain());
        Run::of(server.app(), url).examine().finds("wrong_prefix");
    }
}

#[test]
fn certificates_that_are_refused() {
    let server = server();
    for (certificate, fault) in [
        ("expired", "certificate_expired"),
        ("itself", "certificate_self_signed"),
        ("other", "certificate_wrong_name"),
        ("incomplete", "certificate_chain_incomplete"),
    ] {
        let proxy = Proxy::nginx_with(&server, certificate);
        Run::of(server.app(), proxy.secure()).examine().finds(fault);
    }
}

#[test]
fn a_certificate_that_expires_soon_is_a_warning() {
    let server = server();
    let proxy = Proxy::nginx_with(&server, "soon");
    Run::of(server.app(), proxy.secure())
        .examine()
        .warns("certificate_expires_soon");
}

#[test]
fn blocked_port() {
    let app = App::usual();
    let url = format!("http://127.0.0.1:{}", free_port());
    Run::of(&app, url).examine().finds("port_refused");
    // With a full backlog the kernel drops further attempts, as a firewall does.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting = TcpStream::connect(address).unwrap();
    let run = Run::of(&app, format!("http://{address}"));
    run.examine().finds("port_silent");
}

#[test]
fn a_name_with_ipv6_alone_is_a_warning() {
    let server = server();
    let to = server.public;
    let proxy = Proxy::nginx(&format!(
        "server {{ listen [::1]:PORT; location / {{ {FORWARD} proxy_pass http://{to}; }} }}"
    ));
    let url = format!("http://v6.example.test:{}", proxy.port);
    let run = Run::of(server.app(), url).with(&["--resolve", "v6.example.test:::1"]);
    run.examine().warns("ipv6_only");
}

#[test]
fn a_buffering_proxy() {
    let server = server();
    // nginx passes on what comes in chunks, whatever `proxy_buffering` says.
    let rule = "http-request set-var(txn.path) path\n \
         http-response wait-for-body time 10s if { var(txn.path) -m beg /pusher/ }";
    let proxy = Proxy::haproxy(&server.public.to_string(), "", rule);
    Run::of(server.app(), proxy.plain())
        .examine()
        .finds("buffered");
}

#[test]
fn an_idle_time_out_of_30_s() {
    let server = server();
    let to = server.public.to_string();
    let proxy = Proxy::haproxy_with_tunnel(&to, "", "", "30s");
    let run = Run::of(server.app(), proxy.plain()).with(&["--long"]);
    run.examine().finds("idle_cut");
}

#[test]
fn a_body_limit_of_1_kb() {
    let server = server();
    let proxy = Proxy::nginx_before(&server, "client_max_body_size 1k;");
    Run::of(server.app(), proxy.plain())
        .examine()
        .finds("body_limit");
}

/// The proxy in front names another site than the one that clients ask for.
#[test]
fn host_rewritten() {
    let server = server();
    let to = server.public;
    let sites = Proxy::nginx(&format!(
        "server {{ listen 127.0.0.1:PORT default_server; location / {{ return 404; }} }}\n\
         server {{ listen 127.0.0.1:PORT; server_name ws.example.test; location / {{ {FORWARD} proxy_pass http://{to}; }} }}"
    ));
    let inner = format!("127.0.0.1:{}", sites.port);
    let right = Proxy::haproxy(&inner, "", "");
    let url = format!("http://{}:{}", super::NAME, right.port);
    Run::of(server.app(), url).examine().finds_nothing();
    let wrong = Proxy::haproxy(
        &inner,
        "",
        "http-request set-header Host inner.example.test",
    );
    let url = format!("http://{}:{}", super::NAME, wrong.port);
    Run::of(server.app(), url).examine().finds("host_rewritten");
}

#[test]
fn tls_on_the_plain_port_and_the_other_way_round() {
    let server = server();
    let plain = Proxy::nginx_before(&server, "");
    Run::of(server.app(), plain.secure())
        .examine()
        .finds("tls_on_plain_port");
    let bind = format!("ssl crt {}", certificates().all("good"));
    let nginx = Proxy::nginx_with(&server, "good");
    let haproxy = Proxy::haproxy(&server.public.to_string(), &bind, "");
    for secure in [nginx, haproxy] {
        Run::of(server.app(), secure.plain())
            .examine()
            .finds("plain_on_tls_port");
    }
}

/// As with `PUSHER_SCHEME=http` beside `VITE_PUSHER_SCHEME=https`.
#[test]
fn the_address_of_backends_is_looked_at_too() {
    let server = server();
    let proxy = Proxy::nginx_with(&server, "good");
    let api = format!("http://{}:{}", super::NAME, proxy.port);
    let run = Run::of(server.app(), proxy.secure()).with(&["--api-url", &api]);
    run.examine().finds("plain_on_tls_port");
}

#[test]
fn gzip_in_between_is_a_warning() {
    let server = server();
    let lines = "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;";
    let proxy = Proxy::nginx_before(&server, lines);
    Run::of(server.app(), proxy.plain())
        .examine()
        .warns("compressed");
}

#[test]
fn a_server_that_is_down_behind_its_proxy() {
    let server = server();
    let nobody = free_port();
    let proxy = Proxy::nginx(&format!(
        "server {{ listen 127.0.0.1:PORT; location / {{ {FORWARD} proxy_pass http://127.0.0.1:{nobody}; }} }}"
    ));
    Run::of(server.app(), proxy.plain())
        .examine()
        .finds("server_down");
}

#[test]
fn a_redirect_to_tls() {
    let server = server();
    let lines = "return 301 https://$host$request_uri;";
    let proxy = Proxy::nginx_before(&server, lines);
    Run::of(server.app(), proxy.plain())
        .examine()
        .finds("redirected");
}

#[test]
fn a_second_cors_header() {
    let server = server();
    let proxy = Proxy::nginx_before(&server, "add_header Access-Control-Allow-Origin *;");
    Run::of(server.app(), proxy.plain())
        .examine()
        .finds("cors_twice");
}

#[test]
fn an_origin_that_the_app_does_not_allow() {
    let origins = serde_json::json!(["https://shop.example"]);
    let server = TestServer::start(Setup::new().usual_with("allowed_origins", origins));
    let url = format!("http://{}", server.public);
    let run = Run::of(server.app(), &*url).with(&["--origin", "https://other.example"]);
    run.examine().finds("origin_refused");
    let run = Run::of(server.app(), url).with(&["--origin", "https://shop.example"]);
    run.examine().finds_nothing();
}
