//! Requests from a list, each with the answer it must get (`bench_load`).

use std::fs;
use std::path::{Path, PathBuf};

use crate::bench::load::{self, Turn};
use crate::bench::process::{Process, pinned};
use crate::bench::world::{Base, Running};

/// A list of requests on the disk.
#[derive(Clone, Debug)]
pub(super) struct List(PathBuf);

/// A request of a list.
pub(super) struct Order<'a> {
    /// Method and path.
    pub(super) asks: (&'a str, &'a str),
    /// `{n}` in one becomes a number never given before.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a str,
    /// What the answer holds; the last is kept beside the answer's skey.
    pub(super) expected: &'a [&'a str],
}

/// How a list is gone through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace<'a> {
    pub(super) connections: u32,
    /// How long, round and round; or each request once.
    pub(super) seconds: Option<u32>,
    pub(super) tls: bool,
    /// Where the skeys of the answers go.
    pub(super) keep: Option<&'a Path>,
}

impl Order<'_> {
    /// Its line of a list.
    pub(super) fn line(&self) -> String {
        let (method, path) = self.asks;
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| format!("{name}: {value}|"));
        let headers = headers.collect::<Vec<_>>().concat();
        let expected = self.expected.join("|");
        format!("{method}\t{path}\t{headers}\t{}\t{expected}\n", self.body)
    }
}

impl List {
    /// Writes the list.
    pub(super) fn write(
        file: PathBuf,
        lines: impl Iterator<Item = String>,
    ) -> Result<Self, String> {
        let text: String = lines.collect();
        fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))?;
        Ok(Self(file))
    }

    /// Sends it to a server; one wrong answer is an error.
    pub(super) fn send(
        &self,
        base: &Base,
        server: &Running,
        wechat: Option<&Process>,
        pace: Pace<'_>,
    ) -> Result<Turn, String> {
        load::measure(server, wechat, || {
            let time = pace
                .seconds
                .map_or("once".to_owned(), |secs| secs.to_string());
            let mut command = pinned(base.machine.client_cores, &base.programs.load);
            command
                .arg(server.port.to_string())
                .arg(if pace.tls { "tls" } else { "plain" })
                .arg(&self.0)
                .arg(pace.connections.to_string())
                .arg(base.machine.client_threads.to_string())
                .arg(time)
                .args(pace.keep);
            let said = Process::start("load", &mut command, &server.dir)?.finish()?;
            load::result(&said)
        })
    }
}
