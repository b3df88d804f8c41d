//! nginx that ends TLS before a host, as its users set it up.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::wire;

const START_TIME: Duration = Duration::from_secs(10);

/// A running nginx, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Nginx {
    child: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

impl Nginx {
    /// Starts it with as many workers as the server has.
    pub(crate) fn before(host: SocketAddr, workers: usize) -> Result<Self, Failure> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let name = format!(
            "loudhailer-fanout-nginx-{}-{}",
            std::process::id(),
            address.port()
        );
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder)?;
        let config = folder.join("nginx.conf");
        fs::write(&config, config_text(&folder, address, host, workers))?;
        let child = Command::new("/usr/sbin/nginx")
            .arg("-p")
            .arg(&folder)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("/usr/sbin/nginx: {error}"))?;
        let nginx = Self {
            child,
            folder,
            address,
        };
        let deadline = Instant::now() + START_TIME;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err("nginx does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(nginx)
    }

    /// The processes of the master and its workers.
    pub(crate) fn pids(&self) -> Result<Vec<u32>, Failure> {
        let master = self.child.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        let children = children.split_ascii_whitespace().map(str::parse);
        let mut pids = children.collect::<Result<Vec<u32>, _>>()?;
        pids.push(master);
        Ok(pids)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it only when it is asked.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn config_text(folder: &Path, address: SocketAddr, host: SocketAddr, workers: usize) -> String {
    let (cert, key) = (wire::file("endpoint.pem"), wire::file("endpoint.key"));
    let folder = folder.display();
    format!(
        "daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_processes {workers};
worker_rlimit_nofile 20000;
events {{ worker_connections 20000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream host {{ server {host}; keepalive 16; }}
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen {address} ssl reuseport backlog=4096;
    ssl_certificate {cert};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://host;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header Host $http_host;
      proxy_read_timeout 1h;
    }}
  }}
}}
"
    )
}
