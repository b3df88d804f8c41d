//! nginx, HAProxy, Caddy and Apache of Debian's packages, each one process on a free port that ends with the test.

use std::{fs, net::TcpStream, process::Command, time::Duration};

use super::certificates::certificates;
use crate::support::{
    process::Process,
    redis::{Folder, free_port},
    server::TestServer,
    stream::PATIENCE,
    within,
};

/// nginx' lines that forward a request as it should be.
pub(super) const FORWARD: &str = "
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $upgrade;
    proxy_read_timeout 180s;
";

/// A proxy. In its configuration `PORT` is the port that it listens to.
pub(super) struct Proxy {
    pub(super) port: u16,
    _process: Process,
    _folder: Folder,
}

impl Proxy {
    /// nginx with these `server` blocks.
    #[track_caller]
    pub(super) fn nginx(servers: &str) -> Self {
        let folder = Folder::new();
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let paths = kinds.map(|kind| format!("{kind}_temp_path {};\n", folder.file(kind)));
        let text = format!(
            "daemon off; master_process off; pid {}; error_log stderr;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off;\n{}\n\
             map $http_upgrade $upgrade {{ default upgrade; '' close; }}\n{servers}\n}}\n",
            folder.file("pid"),
            paths.concat()
        );
        Self::start(folder, &text, |file| {
            let mut command = Command::new("/usr/sbin/nginx");
            command.args(["-e", "stderr", "-c", file]);
            command
        })
    }

    /// nginx that forwards everything, with these lines besides.
    #[track_caller]
    pub(super) fn nginx_before(server: &TestServer, lines: &str) -> Self {
        let to = server.public;
        Self::nginx(&format!(
            "server {{ listen 127.0.0.1:PORT; {lines} location / {{ {FORWARD} proxy_pass http://{to}; }} }}"
        ))
    }

    /// nginx with TLS and one of the certificates.
    #[track_caller]
    pub(super) fn nginx_with(server: &TestServer, certificate: &str) -> Self {
        let to = server.public;
        let lines = certificates().nginx(certificate);
        Self::nginx(&format!(
            "server {{ listen 127.0.0.1:PORT ssl; {lines} location / {{ {FORWARD} proxy_pass http://{to}; }} }}"
        ))
    }

    /// HAProxy before an address: what follows `bind` besides the address, and lines of the frontend.
    #[track_caller]
    pub(super) fn haproxy(to: &str, bind: &str, lines: &str) -> Self {
        Self::haproxy_with_tunnel(to, bind, lines, "180s")
    }

    /// HAProxy that cuts silent connections after this time.
    #[track_caller]
    pub(super) fn haproxy_with_tunnel(to: &str, bind: &str, lines: &str, tunnel: &str) -> Self {
        let text = format!(
            "global\n maxconn 100\ndefaults\n mode http\n timeout connect 2s\n timeout client 60s\n timeout server 60s\n \
             timeout tunnel {tunnel}\nfrontend front\n bind 127.0.0.1:PORT {bind}\n {lines}\n default_backend back\n\
             backend back\n server one {to}\n"
        );
        Self::haproxy_of(&text)
    }

    /// HAProxy with this configuration.
    #[track_caller]
    pub(super) fn haproxy_of(text: &str) -> Self {
        Self::start(Folder::new(), text, |file| {
            let mut command = Command::new("/usr/sbin/haproxy");
            command.args(["-db", "-f", file]);
            command
        })
    }

    /// Caddy with these sites.
    #[track_caller]
    pub(super) fn caddy(sites: &str) -> Self {
        let folder = Folder::new();
        let home = folder.file("home");
        let text = format!("{{\n\tadmin off\n\tauto_https off\n}}\n{sites}\n");
        Self::start(folder, &text, |file| {
            let mut command = Command::new("/usr/bin/caddy");
            command
                .args(["run", "--adapter", "caddyfile", "--config", file])
                .env("HOME", &home)
                .env("XDG_DATA_HOME", &home)
                .env("XDG_CONFIG_HOME", &home);
            command
        })
    }

    /// Apache with these lines, without TLS.
    #[track_caller]
    pub(super) fn apache(lines: &str) -> Self {
        const MODULES: [&str; 6] = [
            "mpm_event",
            "authz_core",
            "headers",
            "proxy",
            "proxy_http",
            "proxy_wstunnel",
        ];
        let folder = Folder::new();
        let modules = MODULES.map(|it| format!("LoadModule {it}_module modules/mod_{it}.so\n"));
        // The user counts only for a test run by root.
        let text = format!(
            "ServerRoot /usr/lib/apache2\nServerName localhost\nListen 127.0.0.1:PORT\n\
             PidFile {}\nMutex file:{} default\nErrorLog /dev/stderr\nUser www-data\nGroup www-data\n{}{lines}\n",
            folder.file("pid"),
            folder.file("."),
            modules.concat(),
        );
        Self::start(folder, &text, |file| {
            let mut command = Command::new("/usr/sbin/apache2");
            command.args(["-X", "-f", file]);
            command
        })
    }

    #[track_caller]
    fn start(folder: Folder, text: &str, command: impl Fn(&str) -> Command) -> Self {
        let port = free_port();
        let file = folder.file("configuration");
        fs::write(&file, text.replace("PORT", &port.to_string())).expect("it is written");
        let mut process = Process::spawn(command(&file));
        within(PATIENCE, "the proxy listens", || {
            if process.wait_exit(Duration::ZERO).is_some() {
                panic!("{}\n{}", process.stderr(), process.stdout());
            }
            let tried = [("127.0.0.1", port), ("::1", port)].map(TcpStream::connect);
            match tried.iter().any(Result::is_ok) {
                true => Ok(()),
                false => Err("refused".to_owned()),
            }
        });
        Self {
            port,
            _process: process,
            _folder: folder,
        }
    }

    /// Its address as a URL without TLS.
    pub(super) fn plain(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its address as a URL with TLS and the name of the certificates.
    pub(super) fn secure(&self) -> String {
        format!("https://{}:{}", super::NAME, self.port)
    }
}
