//! The `[app]` and `[apps.name]` sections of weappd.toml.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use weappd_base::language::pick;
use weappd_base::words;

use serde::Deserialize;
use weappd_base::secret::Secret;
use weappd_base::setting_problem::SettingProblem;

use crate::command::{self, SplitError};
use crate::placeholder;

/// One business server that weappd keeps alive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AppConfig {
    /// The program and its arguments: one text (`"node app.js"`, quotes and backslashes as
    /// in a shell) or a list (`["node", "app.js"]`). No shell is started; `$PORT` is put in.
    pub run: RunCommand,
    /// The directory the program starts in. Default: the directory of weappd.toml.
    pub dir: Option<PathBuf>,
    /// More environment variables for the program. They win over all others.
    pub env: BTreeMap<String, Secret>,
    /// Secret-looking variables of weappd's own environment that the program may see
    /// nevertheless, such as `["DB_PASSWORD"]`; `*` stands for any text: `["DB_*"]`.
    pub pass_env: Vec<String>,
    /// Whether the program listens on `PORT`. `false` for workers that only do work in
    /// the background: they get no port and no requests.
    pub listens: bool,
    /// The port the program gets in `PORT`. Default: a free one, chosen anew at each
    /// start. With several instances, instance `n` gets `port + n`.
    pub port: Option<u16>,
    /// How many processes of the program run side by side.
    pub instances: u16,
    /// Whether the program starts together with weappd.
    pub autostart: bool,
    /// When a program that ended is started again.
    pub restart: RestartConfig,
    /// When a program counts as started.
    pub ready: ReadyConfig,
    /// How a program is ended.
    pub stop: StopConfig,
    /// What is kept of the program's output.
    pub log: LogConfig,
}

impl Default for AppConfig {
    fn default() -> Self {
        Self {
            run: RunCommand::default(),
            dir: None,
            env: BTreeMap::new(),
            pass_env: Vec::new(),
            listens: true,
            port: None,
            instances: 1,
            autostart: true,
            restart: RestartConfig::default(),
            ready: ReadyConfig::default(),
            stop: StopConfig::default(),
            log: LogConfig::default(),
        }
    }
}

/// A command line: one text, or its words.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a command line, or a list of words")]
pub enum RunCommand {
    /// Split like a shell splits words.
    Line(String),
    /// Taken as they are.
    Words(Vec<String>),
}

impl RunCommand {
    /// The program and its arguments.
    pub fn words(&self) -> Result<Vec<String>, SplitError> {
        match self {
            Self::Line(line) => command::split(line),
            Self::Words(words) => Ok(words.clone()),
        }
    }
}

impl Default for RunCommand {
    fn default() -> Self {
        Self::Words(Vec::new())
    }
}

impl From<&str> for RunCommand {
    fn from(line: &str) -> Self {
        Self::Line(line.to_owned())
    }
}

impl From<Vec<String>> for RunCommand {
    fn from(words: Vec<String>) -> Self {
        Self::Words(words)
    }
}

// Arguments may hold passwords; only the program is shown.
impl fmt::Debug for RunCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.words().unwrap_or_default();
        match words.split_first() {
            Some((program, rest)) => write!(f, "{program} …({})", rest.len()),
            None => f.write_str("nothing"),
        }
    }
}

/// When a program that ended is started again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartConfig {
    /// `"always"`, `"on-failure"` (not after exit code 0) or `"never"`.
    pub when: RestartPolicy,
    /// Exit codes after which the program stays down.
    pub stop_exit_codes: Vec<i32>,
    /// A program that was ready for this long is healthy: its next ending is answered with
    /// a restart at once.
    pub min_uptime_ms: u64,
    /// The wait before the second try in a row; it doubles with every further one. The
    /// first try never waits.
    pub backoff_ms: u64,
    /// The longest wait between two tries.
    pub max_backoff_ms: u64,
    /// Gives up after this many tries in a row. Default: never.
    pub max_tries: Option<u32>,
}

impl Default for RestartConfig {
    fn default() -> Self {
        Self {
            when: RestartPolicy::Always,
            stop_exit_codes: Vec::new(),
            min_uptime_ms: 10_000,
            backoff_ms: 100,
            max_backoff_ms: 30_000,
            max_tries: None,
        }
    }
}

/// Which endings are answered with a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// All.
    #[default]
    Always,
    /// All but exit code 0.
    OnFailure,
    /// None.
    Never,
}

/// When a program counts as started.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReadyConfig {
    /// A path that must answer `GET` with a status below 400, such as `"/healthz"`.
    /// Default: accepting connections on `PORT` is enough.
    pub path: Option<String>,
    /// A program that is not ready after this time hangs: it is ended and started again.
    /// Until then a slow one is waited for.
    pub timeout_ms: u64,
}

impl Default for ReadyConfig {
    fn default() -> Self {
        Self {
            path: None,
            timeout_ms: 600_000,
        }
    }
}

/// How a program is ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StopConfig {
    /// The signal that asks the program and everything it started to end: `"SIGTERM"`,
    /// `"SIGINT"`, `"SIGQUIT"`, `"SIGHUP"`, `"SIGUSR1"` or `"SIGUSR2"`.
    pub signal: StopSignal,
    /// Whoever still lives this long after the signal is killed.
    pub grace_ms: u64,
}

impl Default for StopConfig {
    fn default() -> Self {
        Self {
            signal: StopSignal::Term,
            grace_ms: 5_000,
        }
    }
}

/// A signal that asks a program to end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum StopSignal {
    /// The usual one.
    #[default]
    #[serde(rename = "SIGTERM")]
    Term,
    /// What Ctrl-C sends.
    #[serde(rename = "SIGINT")]
    Int,
    /// What some servers take as "finish your requests".
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// What a closing terminal sends.
    #[serde(rename = "SIGHUP")]
    Hup,
    /// Whatever the program makes of it.
    #[serde(rename = "SIGUSR1")]
    Usr1,
    /// Whatever the program makes of it.
    #[serde(rename = "SIGUSR2")]
    Usr2,
}

/// What is kept of a program's output.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// A log file that would grow beyond this many bytes is set aside and a new one begun.
    pub max_file_bytes: u64,
    /// How many log files are kept, the current one included.
    pub max_files: u32,
    /// Longer lines are cut.
    pub max_line_bytes: usize,
    /// Output beyond this many bytes a second is dropped and counted in the log.
    pub max_bytes_per_sec: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            max_file_bytes: 10 * 1024 * 1024,
            max_files: 5,
            max_line_bytes: 16 * 1024,
            max_bytes_per_sec: 16 * 1024 * 1024,
        }
    }
}

impl AppConfig {
    /// Everything that is wrong with this section, all at once.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut found = AppProblems(Vec::new());
        self.problems_of_run(&mut found);
        if self.instances == 0 {
            found.add(
                "instances",
                pick("must be at least 1", "至少是 1"),
                pick(
                    "to keep an app from starting, write autostart = false",
                    "不想让应用启动，请写 autostart = false",
                ),
            );
        }
        let last_port = u32::from(self.port.unwrap_or(1)) + u32::from(self.instances);
        if self.port == Some(0) || last_port > 65_536 {
            found.add(
                "port",
                pick("is out of range", "超出范围"),
                pick(
                    "a port is 1 to 65535, and instance n gets port + n",
                    "端口是 1 到 65535，第 n 个实例用 port + n",
                ),
            );
        }
        if self.port.is_some() && !self.listens {
            found.add(
                "port",
                pick(
                    "is given, but listens = false",
                    "写了端口，却又写了 listens = false",
                ),
                pick("remove one of the two", "请删掉其中一个"),
            );
        }
        if (self.ready.path.as_deref()).is_some_and(|path| !is_plain_path(path)) {
            found.add(
                "ready.path",
                pick("is not a path", "不是路径"),
                pick(
                    "write it as \"/healthz\": a slash first, no spaces",
                    "写成 \"/healthz\" 这样：以斜杠开头，没有空格",
                ),
            );
        }
        if self.ready.timeout_ms == 0 {
            found.add(
                "ready.timeout_ms",
                pick("must be above 0", "必须大于 0"),
                pick("the default is 600000", "默认是 600000"),
            );
        }
        self.problems_of_log(&mut found);
        self.problems_of_env(&mut found);
        found.0
    }

    fn problems_of_env(&self, found: &mut AppProblems) {
        if self.env.contains_key("PORT") {
            found.add(
                "env",
                pick("sets PORT", "设置了 PORT"),
                pick("write port = 5757 instead", "请改写 port = 5757"),
            );
        }
        for name in self.env.keys() {
            if name.is_empty() || name.contains(['=', '\0']) {
                found.add(
                    "env",
                    &words!(
                        "\"{}\" cannot name a variable",
                        "\"{}\" 不能作为变量名",
                        name.escape_default()
                    ),
                    pick(
                        "a name has no = in it and is not empty",
                        "变量名里没有 =，也不能是空的",
                    ),
                );
            }
        }
        if (self.env.values()).any(|value| value.expose().contains('\0')) {
            found.add(
                "env",
                pick("a value holds a NUL byte", "值里有 NUL 字节"),
                pick("remove it", "请删掉它"),
            );
        }
    }

    /// What of this section will hardly do what it is meant to do.
    pub fn warnings(&self) -> Vec<SettingProblem> {
        let mut found = AppProblems(Vec::new());
        let words = self.run.words().unwrap_or_default();
        for name in placeholder::unfilled(&words, self.listens) {
            if name == "PORT" {
                found.add(
                    "run",
                    pick(
                        "names $PORT, but with listens = false the app gets no port",
                        "用了 $PORT，但 listens = false 时应用没有端口",
                    ),
                    pick("remove one of the two", "请删掉其中一个"),
                );
            } else {
                found.add(
                    "run",
                    &words!("nobody puts a value in the place of ${name}: no shell is started", "${name} 不会被替换成它的值：这里不启动 shell"),
                    pick("only $PORT is put in; for all others write run = [\"sh\", \"-c\", \"exec ...\"]", "只有 $PORT 会被替换；要用其他变量请写 run = [\"sh\", \"-c\", \"exec ...\"]"),
                );
            }
        }
        found.0
    }

    fn problems_of_run(&self, found: &mut AppProblems) {
        let words = match self.run.words() {
            Ok(words) => words,
            Err(error) => {
                found.add("run", &error.to_string(), error.hint());
                return;
            }
        };
        if words.first().is_none_or(String::is_empty) {
            found.add(
                "run",
                pick("names no program", "没有写程序"),
                pick(
                    "write the command that starts your server, such as \"node app.js\"",
                    "请写启动你的业务服务器的命令，例如 \"node app.js\"",
                ),
            );
        }
        if words.iter().any(|word| word.contains('\0')) {
            found.add(
                "run",
                pick("holds a NUL byte", "里面有 NUL 字节"),
                pick("remove it", "请删掉它"),
            );
        }
        let RunCommand::Line(_) = &self.run else {
            return;
        };
        if let Some(word) = words
            .iter()
            .find(|word| SHELL_WORDS.contains(&word.as_str()))
        {
            found.add(
                "run",
                &words!(
                    "\"{word}\" is for a shell, and no shell is started",
                    "\"{word}\" 是给 shell 用的，而这里不启动 shell"
                ),
                pick(
                    "write run = [\"sh\", \"-c\", \"...\"]; weappd keeps the output by itself",
                    "写 run = [\"sh\", \"-c\", \"...\"]；weappd 自己会保存输出",
                ),
            );
        }
        if words.first().is_some_and(|word| word.contains('=')) {
            found.add(
                "run",
                pick("begins with a variable", "以变量开头"),
                pick(
                    "variables belong into env = { NAME = \"value\" }",
                    "变量写在 env = { NAME = \"value\" } 里",
                ),
            );
        }
    }

    fn problems_of_log(&self, found: &mut AppProblems) {
        if self.log.max_file_bytes < 64 * 1024 {
            found.add(
                "log.max_file_bytes",
                pick("is too small", "太小"),
                pick(
                    "at least 65536; the default is 10485760",
                    "至少 65536；默认是 10485760",
                ),
            );
        }
        if self.log.max_files == 0 || self.log.max_files > 100 {
            found.add(
                "log.max_files",
                pick("must be 1 to 100", "必须是 1 到 100"),
                pick("the default is 5", "默认是 5"),
            );
        }
        if !(256..=64 * 1024).contains(&self.log.max_line_bytes) {
            found.add(
                "log.max_line_bytes",
                pick("must be 256 to 65536", "必须是 256 到 65536"),
                pick("the default is 16384", "默认是 16384"),
            );
        }
        if self.log.max_bytes_per_sec < 64 * 1024 {
            found.add(
                "log.max_bytes_per_sec",
                pick("is too small", "太小"),
                pick(
                    "at least 65536; the default is 16777216",
                    "至少 65536；默认是 16777216",
                ),
            );
        }
    }
}

/// Words that a shell would take for its own.
const SHELL_WORDS: [&str; 9] = ["&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"];

fn is_plain_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

struct AppProblems(Vec<SettingProblem>);

impl AppProblems {
    fn add(&mut self, field: &'static str, message: &str, hint: &'static str) {
        self.0.push(SettingProblem::new(field, message, hint));
    }
}

/// What is wrong with the name of an app, if anything: it names files and routes.
pub fn problem_of_name(name: &str) -> Option<SettingProblem> {
    let ok = (1..=64).contains(&name.len())
        && !name.starts_with(['.', '-'])
        && (name.bytes()).all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'));
    (!ok).then(|| {
        SettingProblem::new(
            "",
            words!(
                "\"{}\" cannot name an app",
                "\"{}\" 不能作为应用名",
                name.escape_default()
            ),
            pick(
                "1 to 64 letters, digits, - _ and dots, beginning with a letter or digit",
                "1 到 64 个字母、数字、- _ 和点，以字母或数字开头",
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(json: serde_json::Value) -> AppConfig {
        serde_json::from_value(json).expect("a section")
    }

    fn fields(config: &AppConfig) -> Vec<String> {
        config
            .problems()
            .into_iter()
            .map(|p| p.field.into_owned())
            .collect()
    }

    #[test]
    fn the_smallest_section_is_enough() {
        let config = from(serde_json::json!({"run": "node 'my app.js'"}));
        assert_eq!(config.problems(), []);
        assert_eq!(config.run.words().expect("words"), ["node", "my app.js"]);
        assert_eq!(config.instances, 1);
        let list = from(serde_json::json!({"run": ["sh", "-c", "a && b"]}));
        assert_eq!(list.problems(), []);
    }

    #[test]
    fn unknown_fields_are_refused() {
        let config = serde_json::from_value::<AppConfig>(serde_json::json!({"rum": "node"}));
        assert!(config.is_err());
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let config = from(serde_json::json!({
            "run": "node 'app.js",
            "instances": 0,
            "port": 0,
            "ready": {"path": "healthz"},
            "log": {"max_files": 0},
            "env": {"A=B": "x"},
        }));
        assert_eq!(
            fields(&config),
            [
                "run",
                "instances",
                "port",
                "ready.path",
                "log.max_files",
                "env"
            ]
        );
    }

    #[test]
    fn shell_words_are_pointed_out() {
        for line in [
            "npm ci && node app.js",
            "A=1 node app.js",
            "node app.js > log",
        ] {
            let config = from(serde_json::json!({"run": line}));
            assert_eq!(fields(&config), ["run"], "{line}");
        }
        assert_eq!(fields(&AppConfig::default()), ["run"]);
    }

    #[test]
    fn the_last_instance_must_have_a_port() {
        let json = |n| serde_json::json!({"run": "a", "port": 65_535, "instances": n});
        assert_eq!(fields(&from(json(1))), Vec::<String>::new());
        assert_eq!(fields(&from(json(2))), ["port"]);
    }

    #[test]
    fn debug_shows_no_arguments_and_no_values() {
        let config = from(serde_json::json!({"run": "node --key=abc", "env": {"K": "abc"}}));
        assert!(!format!("{config:?}").contains("abc"));
    }

    #[test]
    fn a_name_is_a_file_name() {
        assert!(problem_of_name("shop-2.test_x").is_none());
        for bad in ["", "..", "a/b", "-x", "店", &"x".repeat(65)] {
            assert!(problem_of_name(bad).is_some(), "{bad}");
        }
    }
}
