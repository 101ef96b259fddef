//! An nginx that proxies to a runner with the gateway's certificate, and checks nobody: the least that any proxy does.

use crate::{cluster::Cluster, runner_peer::secret};
use anyhow::{Context, Result, ensure};
use std::{
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running nginx, ended when dropped.
pub(super) struct Nginx {
    pub(super) address: String,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM ends its workers too.
        let pid = self.process.id().to_string();
        let ended = Command::new("kill").arg(&pid).status().and_then(|_| self.process.wait());
        drop(ended);
    }
}

impl Nginx {
    /// Starts one in front of a runner; `None` if there is none to start: `LODGE_NGINX` names the program.
    pub(super) fn start(cluster: &Cluster, runner: &str, runner_name: &str) -> Result<Option<Self>> {
        let Some(program) = std::env::var_os("LODGE_NGINX").map(PathBuf::from).filter(|path| path.exists())
        else {
            return Ok(None);
        };
        let folder = tempfile::tempdir()?;
        for (file, field) in [("tls.crt", "tls.crt"), ("tls.key", "tls.key"), ("ca.crt", "ca.crt")] {
            std::fs::write(folder.path().join(file), secret(cluster, "lodge-gateway-tls", field)?)?;
        }
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let config = folder.path().join("nginx.conf");
        std::fs::write(&config, configuration(folder.path(), &address, runner, runner_name))?;
        let process = Command::new(&program)
            .arg("-p")
            .arg(folder.path())
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let nginx = Self { address, process, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(&nginx.address).is_err() {
            ensure!(Instant::now() < deadline, "nginx does not listen on {}", nginx.address);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Some(nginx))
    }
}

fn configuration(folder: &Path, address: &str, runner: &str, runner_name: &str) -> String {
    let folder = folder.display();
    format!(
        "daemon off; user root; worker_processes auto; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream runner {{ server {runner}; keepalive 64; }}
  server {{
    listen {address} ssl;
    keepalive_requests 1000000;
    ssl_certificate {folder}/tls.crt; ssl_certificate_key {folder}/tls.key;
    location / {{
      proxy_pass https://runner;
      proxy_http_version 1.1; proxy_set_header Connection ''; proxy_set_header Host {runner_name};
      proxy_ssl_certificate {folder}/tls.crt; proxy_ssl_certificate_key {folder}/tls.key;
      proxy_ssl_trusted_certificate {folder}/ca.crt; proxy_ssl_verify on; proxy_ssl_name {runner_name};
      proxy_ssl_server_name on; proxy_ssl_session_reuse on; proxy_buffering off;
    }}
  }}
}}
"
    )
}
