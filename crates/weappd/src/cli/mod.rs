//! The command line: what can be typed, and which file answers it.
//!
//! # To add a command
//!
//! A variant of [`CliCommand`] with its arguments, a line in [`run`], a file `cli/<verb>.rs`
//! with a function that returns `Result<(), ExitFailure>`, and a line in the README if a
//! newcomer needs it. `cargo xtask tidy` checks that every command a README shows exists.

mod app;
mod check;
mod dev;
mod dev_ports;
mod help_words;
mod inbox;
mod init;
mod logs;
mod reload;
mod running;
mod sdk_config;
mod serve;
mod session;
mod simulate;
mod status;
mod stop;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};
use weappd_base::language::Language;
use weappd_base::words;

use crate::demo_chat;
use crate::exit::ExitFailure;
use crate::rooms::LAUNCH_APP;

/// Everything a WeChat Mini Program needs on the server, in one binary: HTTPS, login,
/// sessions, realtime tunnels, uploads, and your app kept alive.
#[derive(Debug, Parser)]
#[command(
    name = "weappd",
    version,
    disable_version_flag = true,
    after_help = "Examples:\n  weappd dev               everything on this machine, with a simulated WeChat\n  weappd init              write a commented weappd.toml\n  weappd check             every problem of weappd.toml at once\n  weappd serve             run it\n\nExit codes: 0 done, 1 failed, 2 wrong command line, 70 a part crashed, 78 configuration problems."
)]
struct CliArgs {
    /// Print version
    #[arg(short = 'v', short_alias = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[arg(
        long,
        global = true,
        display_order = 900,
        value_enum,
        value_name = "LANGUAGE",
        help = "Language, otherwise that of LC_ALL, LC_MESSAGES or LANG; logs are English"
    )]
    lang: Option<LanguageName>,
    #[command(subcommand)]
    command: CliCommand,
}

#[derive(Debug, Subcommand)]
enum CliCommand {
    #[command(
        about = "Run everything on loopback with a simulated WeChat: no AppID, domain or database needed"
    )]
    Dev(dev::DevArgs),
    /// Write a commented weappd.toml with generated secrets
    Init {
        /// Directory to write weappd.toml into
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// Overwrite a weappd.toml that is there
        #[arg(long)]
        force: bool,
    },
    /// Check weappd.toml: every problem at once, with file, line and hint
    Check {
        #[command(flatten)]
        file: ConfigFile,
        /// The same as --config
        #[arg(value_name = "FILE", conflicts_with = "config")]
        path: Option<PathBuf>,
        /// Print the problems as JSON
        #[arg(long)]
        json: bool,
        /// Fail on warnings too, as before a deployment
        #[arg(long)]
        strict: bool,
    },
    /// Serve what weappd.toml says
    Serve {
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Say whether a weappd runs here: since when, where it listens, its apps
    Status(status::StatusArgs),
    /// Make the weappd that runs here take what weappd.toml says now, without a restart
    Reload {
        #[command(flatten)]
        target: running::RunningWeappd,
    },
    /// Stop the weappd that runs here, in order
    Stop {
        #[command(flatten)]
        target: running::RunningWeappd,
    },
    /// Print what the apps of a running weappd print
    Logs(logs::LogsArgs),
    /// List, restart and read the apps of a running weappd
    App {
        #[command(subcommand)]
        command: app::AppCommand,
    },
    /// List, show and end the sessions of a running weappd
    Session {
        #[command(subcommand)]
        command: session::SessionCommand,
    },
    /// See the messages WeChat pushed to a running weappd, and deliver dead letters anew
    Inbox {
        #[command(subcommand)]
        command: inbox::InboxCommand,
    },
    /// Run the simulated WeChat alone, for the tests of any stack
    Simulate(simulate::SimulateArgs),
    /// Print what points an old Wafer business server at this weappd, and where it goes
    SdkConfig {
        #[command(flatten)]
        file: ConfigFile,
        /// The site's host, when weappd.toml has several
        #[arg(long)]
        host: Option<String>,
        /// What to print
        #[arg(long, value_enum, default_value = "file")]
        format: sdk_config::SdkFormat,
    },
    /// Print version
    Version,
    /// Print shell completions
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// The business server of `weappd dev`: a chat room
    #[command(hide = true)]
    DemoChat,
}

/// What clap ends with where the command line is wrong.
const COMMAND_LINE_EXIT: u8 = 2;

/// A language, as it is typed.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LanguageName {
    /// English
    En,
    /// 中文
    Zh,
}

/// Where the configuration stands.
#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(short, long = "config", default_value = "weappd.toml")]
    config: PathBuf,
}

/// Reads the command line and does what it says.
pub(crate) fn run() -> Result<ExitCode, ExitFailure> {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == LAUNCH_APP) {
        let error = weappd_apps::launch(words);
        return Err(ExitFailure::new(&error, "check `run` in weappd.toml").not_started());
    }
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    // Before all else: what is wrong with the command line is told in it, too.
    let language = help_words::language_of(&words, check::variable);
    language.settle();
    let args = match parsed(language, std::env::args_os()) {
        Ok(args) => args,
        Err(error) => return complain(error, language),
    };
    match args.command {
        CliCommand::Dev(args) => runtime()?.block_on(dev::run(args))?,
        CliCommand::Init { dir, force } => init::run(&dir, force, language)?,
        CliCommand::Check {
            file,
            path,
            json,
            strict,
        } => check::run(&path.unwrap_or(file.config), json, strict)?,
        CliCommand::Serve { file } => {
            let loaded = serve::load(&file.config)?;
            runtime()?.block_on(serve::run(file.config, loaded))?;
        }
        CliCommand::Status(args) => small_runtime()?.block_on(status::run(args))?,
        CliCommand::Reload { target } => small_runtime()?.block_on(reload::run(target))?,
        CliCommand::Stop { target } => small_runtime()?.block_on(stop::run(target))?,
        CliCommand::Logs(args) => small_runtime()?.block_on(logs::run(args))?,
        CliCommand::App { command } => small_runtime()?.block_on(app::run(command))?,
        CliCommand::Session { command } => small_runtime()?.block_on(session::run(command))?,
        CliCommand::Inbox { command } => small_runtime()?.block_on(inbox::run(command))?,
        CliCommand::Simulate(args) => runtime()?.block_on(simulate::run(args))?,
        CliCommand::SdkConfig { file, host, format } => {
            sdk_config::run(&file.config, host.as_deref(), format)?;
        }
        CliCommand::Version => say(format_args!("weappd {}", env!("CARGO_PKG_VERSION"))),
        CliCommand::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut CliArgs::command(), "weappd", &mut text);
            say(String::from_utf8_lossy(&text).trim_end());
        }
        CliCommand::DemoChat => small_runtime()?.block_on(demo_chat::main())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The command line, its help in this language.
fn parsed(
    language: Language,
    words: impl IntoIterator<Item = OsString>,
) -> Result<CliArgs, clap::Error> {
    let command = match language {
        Language::English => CliArgs::command(),
        Language::Chinese => help_words::in_chinese(CliArgs::command()),
    };
    let matches = command.try_get_matches_from(words)?;
    CliArgs::from_arg_matches(&matches)
}

/// Says what is wrong with the command line, or prints the help that it asks for.
fn complain(error: clap::Error, language: Language) -> Result<ExitCode, ExitFailure> {
    let error = tipped(error);
    let chinese = (language == Language::Chinese).then(|| help_words::complaint(&error));
    match chinese.flatten() {
        Some(words) => Err(ExitFailure::told(COMMAND_LINE_EXIT, words)),
        None => error.exit(),
    }
}

/// The error with a better tip than clap has: what follows `dev` is a command of one's own.
fn tipped(mut error: clap::Error) -> clap::Error {
    let word = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) if !word.starts_with('-') => word.clone(),
        _ => return error,
    };
    let of_dev = |usage: &ContextValue| usage.to_string().contains("weappd dev");
    if error.get(ContextKind::Usage).is_some_and(of_dev) {
        let tip = words!(
            "your own command goes after --: weappd dev -- {word} ...",
            "你自己的启动命令写在 -- 之后：weappd dev -- {word} ..."
        );
        let tips = ContextValue::StyledStrs(vec![tip.into()]);
        error.insert(ContextKind::Suggested, tips);
    }
    error
}

/// The work runtime; edge threads bring their own (docs/decisions/0001).
fn runtime() -> Result<Runtime, ExitFailure> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_name("work")
        .enable_all()
        .build()
        .map_err(|error| ExitFailure::new(&error, "the system gave no threads"))
}

fn small_runtime() -> Result<Runtime, ExitFailure> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ExitFailure::new(&error, ""))
}

/// Prints a line for the person who called.
fn say(line: impl std::fmt::Display) {
    // Who reads no further, as `head` does, has what they wanted.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        CliArgs::command().debug_assert();
    }

    #[test]
    fn the_tip_for_a_command_of_ones_own_has_the_dashes() {
        for words in [
            &["weappd", "dev", "node", "app.js"][..],
            &["weappd", "dev", "--http", "9000", "npm", "start"],
        ] {
            let error = CliArgs::try_parse_from(words)
                .map(drop)
                .expect_err("no dashes");
            let told = tipped(error).to_string();
            let word = words.iter().rev().nth(1).expect("a word");
            assert!(told.contains(&format!("weappd dev -- {word}")), "{told}");
        }
        let other = CliArgs::try_parse_from(["weappd", "stop", "x"]).map(drop);
        let told = tipped(other.expect_err("no such word")).to_string();
        assert!(!told.contains("weappd dev --"), "{told}");
        assert!(CliArgs::try_parse_from(["weappd", "app", "logs"]).is_ok());
    }

    #[test]
    fn a_user_may_be_named_in_either_way() {
        let parsed = |words: &[&str]| {
            let all = ["weappd", "session", "show"].iter().chain(words);
            CliArgs::try_parse_from(all).is_ok()
        };
        assert!(parsed(&["oABC"]));
        assert!(parsed(&["--openid", "oABC"]));
        assert!(parsed(&["17", "--json"]));
        assert!(!parsed(&[]));
        assert!(!parsed(&["--openid", "oABC", "17"]));
        assert!(!parsed(&["--openid", ""]));
    }
}
