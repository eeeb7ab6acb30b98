//! nginx as its manual advises for speed: no access log, connections kept on both sides, one
//! worker for each core it may use.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::bench::mariadb::sbin;
use crate::bench::process::{Process, pinned};
use crate::bench::world::Base;

/// An nginx with a configuration and a directory of its own.
#[derive(Clone, Debug)]
pub(super) struct Nginx {
    dir: PathBuf,
    cores: &'static str,
    /// The port it is known by.
    pub(super) port: u16,
}

impl Nginx {
    /// Writes the configuration: `inner` is what stands in its `http` block.
    pub(super) fn prepare(
        dir: &Path,
        (cores, workers): (&'static str, usize),
        port: u16,
        inner: &str,
    ) -> Result<Self, String> {
        let file = dir.join("nginx.conf");
        fs::create_dir_all(dir)
            .and_then(|()| fs::write(&file, conf(workers, inner)))
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self {
            dir: dir.to_owned(),
            cores,
            port,
        })
    }

    /// Starts it, and does not wait.
    pub(super) fn spawn(&self) -> Result<Process, String> {
        let mut command: Command = pinned(self.cores, &sbin("nginx"));
        command.arg("-p").arg(&self.dir).args(["-c", "nginx.conf"]);
        Process::start("nginx", &mut command, &self.dir)
    }

    /// Starts it and waits until it accepts connections.
    pub(super) fn start(&self) -> Result<Process, String> {
        let mut process = self.spawn()?;
        process.wait_until(Duration::from_millis(1), |_| {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        })?;
        Ok(process)
    }
}

fn conf(workers: usize, inner: &str) -> String {
    format!(
        "daemon off;\n\
         worker_processes {workers};\n\
         pid nginx.pid;\n\
         error_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
         access_log off;\n\
         keepalive_requests 100000000;\n\
         client_body_temp_path tmp-body;\n\
         proxy_temp_path tmp-proxy;\n\
         fastcgi_temp_path tmp-fastcgi;\n\
         uwsgi_temp_path tmp-uwsgi;\n\
         scgi_temp_path tmp-scgi;\n\
         {inner}\
         }}\n"
    )
}

/// A server with TLS and `inner`, and `/` goes to the business server at `upstream`.
pub(super) fn front(base: &Base, https: u16, upstream: u16, inner: &str) -> String {
    format!(
        "upstream app {{\n\
         server 127.0.0.1:{upstream};\n\
         keepalive 128;\n\
         keepalive_requests 100000000;\n\
         # Below Node's 5 seconds, or it closes under a request.\n\
         keepalive_timeout 4s;\n\
         }}\n\
         server {{\n\
         listen 127.0.0.1:{https} ssl;\n\
         server_name localhost;\n\
         ssl_certificate {cert};\n\
         ssl_certificate_key {key};\n\
         ssl_protocols TLSv1.2 TLSv1.3;\n\
         ssl_session_cache shared:tls:10m;\n\
         {inner}\
         location / {{\n\
         proxy_pass http://app;\n\
         proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\";\n\
         proxy_set_header Host $host;\n\
         proxy_set_header X-Real-IP $remote_addr;\n\
         }}\n\
         }}\n",
        cert = base.cert.display(),
        key = base.key.display(),
    )
}
