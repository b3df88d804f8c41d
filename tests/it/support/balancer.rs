//! nginx and HAProxy as a test needs them, each in a folder of its own, ended with the test.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

use super::{
    process::Process,
    redis::{Folder, free_port},
    stream::PATIENCE,
    within,
};

/// A running balancer.
pub(crate) struct Balancer {
    pub(crate) address: SocketAddr,
    _process: Process,
    _folder: Folder,
}

/// Debian installs both where a user's PATH does not lead.
fn program(name: &str) -> Command {
    let installed = Path::new("/usr/sbin").join(name);
    Command::new(if installed.exists() {
        installed
    } else {
        name.into()
    })
}

impl Balancer {
    /// nginx with this server behind it, which WebSockets reach, too.
    #[track_caller]
    pub(crate) fn nginx(node: &str) -> Self {
        Self::start("nginx", |folder, port| {
            let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                .map(|kind| format!("{kind}_temp_path {};\n", folder.file(kind)))
                .concat();
            let pid = folder.file("nginx.pid");
            let text = format!(
                "daemon off;\nmaster_process off;\nuser root;\npid {pid};\nerror_log stderr notice;\nevents {{}}\n\
                 http {{\naccess_log off;\n{temporary}\
                 map $http_upgrade $upgraded {{ default upgrade; \"\" close; }}\n\
                 upstream loudhailer {{ server {node}; }}\n\
                 server {{\nlisten 127.0.0.1:{port};\nproxy_http_version 1.1;\n\
                 proxy_set_header Upgrade $http_upgrade;\nproxy_set_header Connection $upgraded;\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                 location / {{ proxy_pass http://loudhailer; }}\n}}\n}}\n"
            );
            fs::write(folder.file("conf"), text).expect("the file is written");
            vec![
                "-p".to_owned(),
                folder.file(""),
                "-c".to_owned(),
                folder.file("conf"),
            ]
        })
    }

    /// HAProxy in TCP mode, with this server and its options behind it.
    #[track_caller]
    pub(crate) fn haproxy(node: &str) -> Self {
        Self::start("haproxy", |folder, port| {
            let text = format!(
                "global\n  maxconn 100\n\
                 defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
                 frontend all\n  bind 127.0.0.1:{port}\n  default_backend nodes\n\
                 backend nodes\n  server node {node}\n"
            );
            fs::write(folder.file("conf"), text).expect("the file is written");
            vec!["-db".to_owned(), "-f".to_owned(), folder.file("conf")]
        })
    }

    #[track_caller]
    fn start(name: &str, prepare: impl FnOnce(&Folder, u16) -> Vec<String>) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let mut command = program(name);
        command.args(prepare(&folder, port));
        let process = Process::spawn(command);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        within(PATIENCE, "the balancer listens", || {
            let connected = TcpStream::connect(address);
            connected.map(drop).map_err(|_| process.stderr())
        });
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }
}
