//! `weappd logs [APP]`: what the apps print; of all of them, each line with its app's name.

use std::io::Write as _;

use futures_util::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::{Method, Response, StatusCode};
use serde_json::Value;

use crate::cli::running::{RunningWeappd, app_hint, escaped, good, no_apps, read, refused, text};
use crate::cli::say;
use crate::control;
use crate::exit::ExitFailure;

#[derive(Debug, clap::Args)]
pub(super) struct LogsArgs {
    /// The app, as `weappd app list` shows it; all of them unless said
    app: Option<String>,
    #[command(flatten)]
    how: LineFormat,
    #[command(flatten)]
    target: RunningWeappd,
}

#[derive(Debug, clap::Args)]
struct LineFormat {
    /// How many lines to go back
    #[arg(short = 'n', long, default_value_t = 100)]
    lines: usize,
    /// Go on printing as lines come
    #[arg(short, long)]
    follow: bool,
}

pub(super) async fn run(args: LogsArgs) -> Result<(), ExitFailure> {
    let names = match args.app {
        Some(name) => vec![name],
        None => all(&args.target).await?,
    };
    match &names[..] {
        [] => {
            say(no_apps());
            Ok(())
        }
        [name] => of_one(name, &args.target, &args.how).await,
        names => of_all(names, &args.target, &args.how).await,
    }
}

/// The names of all apps.
async fn all(target: &RunningWeappd) -> Result<Vec<String>, ExitFailure> {
    let answer = control::ask(&target.data_dir(), Method::GET, "/apps").await?;
    let apps = read(&good(answer, app_hint()).await?)?;
    let apps = apps.as_array().into_iter().flatten();
    Ok(apps
        .filter_map(|app| app["name"].as_str().map(str::to_owned))
        .collect())
}

/// Prints one app's output as it is.
async fn of_one(name: &str, target: &RunningWeappd, how: &LineFormat) -> Result<(), ExitFailure> {
    let mut body = ask(name, target, how).await?.into_body();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data()
            && !print(&data)
        {
            break;
        }
    }
    Ok(())
}

async fn of_all(
    names: &[String],
    target: &RunningWeappd,
    how: &LineFormat,
) -> Result<(), ExitFailure> {
    let width = names.iter().map(|name| name.chars().count()).max();
    let mut outputs = Vec::new();
    for name in names {
        let body = ask(name, target, how).await?.into_body();
        let label = text(&Value::from(name.as_str()));
        let label = format!("{label:width$} | ", width = width.unwrap_or_default());
        outputs.push(Box::pin(lines(body, label)));
    }
    // What is there already comes app by app, what is still to come as it comes.
    if how.follow {
        let mut lines = stream::select_all(outputs);
        while let Some(line) = lines.next().await {
            if !print(&line) {
                return Ok(());
            }
        }
        return Ok(());
    }
    for mut output in outputs {
        while let Some(line) = output.next().await {
            if !print(&line) {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn ask(
    name: &str,
    target: &RunningWeappd,
    how: &LineFormat,
) -> Result<Response<Incoming>, ExitFailure> {
    let path = format!(
        "/apps/{}/logs?lines={}&follow={}",
        escaped(name),
        how.lines,
        u8::from(how.follow)
    );
    let answer = control::ask(&target.data_dir(), Method::GET, &path).await?;
    if answer.status() == StatusCode::OK {
        Ok(answer)
    } else {
        Err(refused(answer, app_hint()).await)
    }
}

/// A body's whole lines, each after `label`.
fn lines(body: Incoming, label: String) -> impl stream::Stream<Item = Vec<u8>> {
    stream::unfold(
        (body, Vec::new(), label),
        async |(mut body, mut begun, label)| {
            loop {
                if let Some(at) = begun.iter().position(|byte| *byte == b'\n') {
                    let rest = begun.split_off(at + 1);
                    return Some(([label.as_bytes(), &begun].concat(), (body, rest, label)));
                }
                let Some(Ok(frame)) = body.frame().await else {
                    if begun.is_empty() {
                        return None;
                    }
                    begun.push(b'\n');
                    continue;
                };
                if let Ok(data) = frame.into_data() {
                    begun.extend_from_slice(&data);
                }
            }
        },
    )
}

/// Prints; says whether anybody still reads. The reader of a pipe may have gone, which ends
/// the command without a word.
fn print(data: &[u8]) -> bool {
    let mut out = std::io::stdout();
    out.write_all(data).and_then(|()| out.flush()).is_ok()
}
