//! What apps print, on the terminal of `weappd dev`, as it comes.
//!
//! It is read from the apps' logs: a terminal that is slow, or stopped with Ctrl-S, keeps no
//! app waiting.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use weappd_apps::{AppSupervisor, LogStream};
use weappd_base::tasks::Work;

use crate::exit::ExitFailure;
use crate::server_context::ServerContext;

/// Colours of names, one for each app in turn: cyan, yellow, green, magenta, blue.
const COLORS: [&str; 5] = ["36", "33", "32", "35", "34"];
/// The colour of the bar before what came over standard error.
const RED: &str = "31";
/// Longer lines do not occur: the log cuts them before.
const MOST: usize = 128 * 1024;

/// Output that is still to be shown.
#[derive(Debug)]
pub(crate) struct AppOutput(Vec<(String, LogStream)>);

impl AppOutput {
    /// Begins here: what is in the logs already is of an earlier run.
    pub(crate) async fn open(apps: &AppSupervisor) -> Result<Self, ExitFailure> {
        let mut streams = Vec::new();
        for app in apps.list().await {
            let stream = apps.logs(&app.name, 0, true).await;
            let stream = stream.map_err(|error| ExitFailure::new(&error, ""))?;
            streams.push((app.name, stream));
        }
        Ok(Self(streams))
    }

    /// Shows it until the apps have ended. `has_color` tells whether colours are wanted.
    pub(crate) fn show(self, context: &ServerContext, has_color: bool) {
        let width = self.0.iter().map(|(name, _)| name.len()).max();
        for (at, (name, stream)) in self.0.into_iter().enumerate() {
            let label = AppLabel {
                name: format!("{name:width$}", width = width.unwrap_or_default()),
                color: COLORS[at % COLORS.len()],
                on_stdout: has_color && stdout().is_terminal(),
                on_stderr: has_color && stderr().is_terminal(),
            };
            context
                .tasks
                .spawn(print(stream, label, context.work.clone()));
        }
    }
}

async fn print(mut stream: LogStream, label: AppLabel, work: Work) {
    let mut begun = Vec::new();
    while let Some(chunk) = stream.next().await {
        begun.extend_from_slice(&chunk);
        let mut pages = LinePages::default();
        let mut from = 0;
        while let Some(len) = begun[from..].iter().position(|byte| *byte == b'\n') {
            label.add(&begun[from..from + len], &mut pages);
            from += len + 1;
        }
        begun.drain(..from);
        begun.truncate(MOST);
        // A terminal may be slow.
        if work.run_blocking(move || pages.print()).await.is_err() {
            return;
        }
    }
}

/// What goes to the two outputs at once.
#[derive(Debug, Default)]
struct LinePages {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl LinePages {
    fn print(&self) {
        // Nobody reads any more: that is no reason to stop the apps.
        drop(stdout().lock().write_all(&self.stdout));
        drop(stderr().lock().write_all(&self.stderr));
    }
}

/// How lines of one app begin.
#[derive(Debug)]
struct AppLabel {
    name: String,
    color: &'static str,
    on_stdout: bool,
    on_stderr: bool,
}

impl AppLabel {
    /// Puts a line of the log where it belongs: `name | ` before what the app printed,
    /// `name ! ` before what it printed to standard error, `name - ` before what weappd says.
    fn add(&self, line: &[u8], pages: &mut LinePages) {
        // The line begins with when it came and from where: `…Z out.2 `.
        let mut parts = line.splitn(3, |byte| *byte == b' ');
        let (_, source) = (parts.next(), parts.next().unwrap_or_default());
        let text = parts.next().unwrap_or_default();
        let (word, instance) = match source.iter().position(|byte| *byte == b'.') {
            Some(dot) => source.split_at(dot),
            None => (source, &b""[..]),
        };
        let (page, has_color, bar) = match word {
            b"err" => (&mut pages.stderr, self.on_stderr, '!'),
            b"out" => (&mut pages.stdout, self.on_stdout, '|'),
            _ => (&mut pages.stdout, self.on_stdout, '-'),
        };
        let name = format!("{}{}", self.name, String::from_utf8_lossy(instance));
        let prefix = if has_color {
            let of_bar = if bar == '!' { RED } else { self.color };
            format!(
                "\x1b[{}m{name}\x1b[0m \x1b[{of_bar}m{bar}\x1b[0m ",
                self.color
            )
        } else {
            format!("{name} {bar} ")
        };
        page.extend_from_slice(prefix.as_bytes());
        page.extend_from_slice(text);
        page.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(has_color: bool, line: &str) -> (String, String) {
        let label = AppLabel {
            name: "shop".to_owned(),
            color: COLORS[0],
            on_stdout: has_color,
            on_stderr: has_color,
        };
        let mut pages = LinePages::default();
        label.add(line.as_bytes(), &mut pages);
        let text = |page: Vec<u8>| String::from_utf8(page).unwrap();
        (text(pages.stdout), text(pages.stderr))
    }

    #[test]
    fn lines_say_whose_they_are_and_where_they_came_from() {
        let at = "2026-11-20T08:00:00.000Z";
        for (line, out, err) in [
            ("out hello  world", "shop | hello  world\n", ""),
            ("err     at x.js:3", "", "shop !     at x.js:3\n"),
            ("sys started: pid 7", "shop - started: pid 7\n", ""),
            ("out.1 hello", "shop.1 | hello\n", ""),
            ("out ", "shop | \n", ""),
            ("out", "shop | \n", ""),
        ] {
            let line = format!("{at} {line}");
            assert_eq!(shown(false, &line), (out.to_owned(), err.to_owned()));
        }
        let (_, err) = shown(true, &format!("{at} err boom"));
        assert_eq!(err, "\x1b[36mshop\x1b[0m \x1b[31m!\x1b[0m boom\n");
    }
}
