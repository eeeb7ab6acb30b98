//! weappd.toml: read, settled, and every problem of it told at once.
//!
//! # Story
//!
//! The text becomes a tree in which everything knows its place (`document`). A reader turns
//! tables into the rooms' own `Config` structs and notes each unknown key and wrong type on
//! the way (`read`), fetching texts that stand in the environment or in files
//! (`secret_source`). What was written (`raw`) is settled into what is meant (`resolve`,
//! `site`, `route`, `tunnel`, `address`): the short form becomes the long one, relative paths become
//! whole ones, and what crosses sections is checked at the `checker`. Problems carry their
//! place and a hint (`problem`); what is drawn of the file has its secrets hidden (`mask`).
//!
//! # To add a setting
//!
//! A room's setting: a field with a doc comment in the room's `config.rs`; nothing here. A
//! setting of weappd's own: a field in `raw`, its meaning in `resolve`, a line in `sample`.

pub(crate) mod address;
mod api_security;
mod app_section;
mod bounds;
mod checker;
mod document;
mod exposed;
mod full_width;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod internal;
mod key_hints;
mod keys;
mod mask;
mod own_logins;
mod placeholders;
mod problem;
mod proxies;
mod push;
mod quantity;
mod raw;
mod read;
mod read_error;
mod redirect;
#[cfg(test)]
mod reference_tests;
mod resolve;
mod route;
pub(crate) mod sample;
mod secret_source;
mod service;
mod site;
mod spelling;
#[cfg(test)]
mod tests;
mod toml_words;
mod tunnel;
mod uploads;
mod wechat_address;
mod whole_path;
mod written_keys;

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};
use weappd_base::language::{Language, pick};

use weappd_base::clock::Clock;
use weappd_base::{open_files, small_file};

pub(crate) use problem::{ConfigProblem, ProblemSeverity, render, to_json};
pub(crate) use raw::LogFormat;
pub(crate) use resolve::Config;
pub(crate) use secret_source::EnvLookup;
pub(crate) use wechat_address::HostLookup;
pub(crate) use written_keys::WrittenKeys;

/// A weappd.toml that can be served.
#[derive(Debug)]
pub(crate) struct LoadedConfig {
    /// What it means.
    pub(crate) config: Config,
    /// What will likely not work, and what is good to know.
    pub(crate) warnings: Vec<ConfigProblem>,
    /// The keys that it sets.
    pub(crate) keys: WrittenKeys,
}

/// Reads and checks `path`; on failure, every error and warning.
pub(crate) fn load(
    path: &Path,
    env: EnvLookup<'_>,
    look_up: HostLookup<'_>,
) -> Result<LoadedConfig, Vec<ConfigProblem>> {
    load_as(path, true, env, look_up)
}

/// The same for who only wants addresses: a secret whose variable is not set here is left out.
pub(crate) fn load_addresses(
    path: &Path,
    env: EnvLookup<'_>,
    look_up: HostLookup<'_>,
) -> Result<LoadedConfig, Vec<ConfigProblem>> {
    load_as(path, false, env, look_up)
}

fn load_as(
    path: &Path,
    needs_secrets: bool,
    env: EnvLookup<'_>,
    look_up: HostLookup<'_>,
) -> Result<LoadedConfig, Vec<ConfigProblem>> {
    match read(path) {
        Ok(bytes) => check((path, &bytes), needs_secrets, env, look_up),
        Err((message, hint)) => {
            let problems = problem::ProblemList::new(path, "");
            problems.error(None, message, hint);
            Err(problems.into_sorted())
        }
    }
}

/// Where the weappd of `file` keeps its state, whatever else may be wrong with the file.
pub(crate) fn data_dir_of(file: &Path) -> PathBuf {
    let text = read(file)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let doc = text.and_then(|text| document::parse(&text).ok());
    let written = doc.as_ref().and_then(|doc| doc.find(&["data_dir".into()]));
    let dir = match written.map(|node| &node.value) {
        Some(document::TomlValue::Text(dir)) => PathBuf::from(dir),
        _ => raw::RawConfig::default().data_dir,
    };
    dir_of(file).join(dir)
}

/// The directory a file stands in.
fn dir_of(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

fn read(path: &Path) -> Result<Vec<u8>, (String, &'static str)> {
    let name = path.display();
    small_file::read(path, small_file::MAX_BYTES).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => (
            format!("{name} does not exist"),
            "`weappd init` writes one; `weappd dev` needs none",
        ),
        std::io::ErrorKind::PermissionDenied => (
            format!("{name} may not be read by this user"),
            "it should belong to the user weappd runs as",
        ),
        std::io::ErrorKind::FileTooLarge | std::io::ErrorKind::InvalidInput => (
            format!("{name} cannot be read: {error}"),
            "is it the right file?",
        ),
        _ => (
            format!("{name} cannot be read: {error}"),
            open_files::hint_of(&error).unwrap_or_default(),
        ),
    })
}

/// Checks the bytes of the file `path`.
fn check(
    (path, bytes): (&Path, &[u8]),
    needs_secrets: bool,
    env: EnvLookup<'_>,
    look_up: HostLookup<'_>,
) -> Result<LoadedConfig, Vec<ConfigProblem>> {
    // Windows editors put a byte-order mark before the first line.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let (valid, _) = bytes.split_at(error.valid_up_to());
            let problems = problem::ProblemList::new(path, &String::from_utf8_lossy(valid));
            let end = valid.len();
            problems.error(
                Some(end..end),
                pick(
                    "the file is not UTF-8 from here",
                    "文件从这里开始不是 UTF-8 编码",
                ),
                pick("save it as UTF-8", "请以 UTF-8 编码保存"),
            );
            return Err(problems.into_sorted());
        }
    };
    let problems = problem::ProblemList::new(path, text);
    let doc = match document::parse(text) {
        Ok(doc) => doc,
        Err(errors) => {
            syntax(&problems, text, errors);
            return Err(problems.into_sorted());
        }
    };
    let secrets = secret_source::SecretSource {
        env,
        dir: dir_of(path),
        files: RefCell::default(),
        needs_secrets,
    };
    let reader = read::SectionReader::new(&problems, &secrets);
    let raw: raw::RawConfig = reader.read(&doc);
    let empty = document::TomlNode::empty();
    let section = |name: &'static str| doc.find(&[name.into()]).unwrap_or(&empty);
    let (doors, edge) = reader.read_both(section("edge"));
    let (tunnel_short, tunnel) = reader.read_both(section("tunnel"));
    let shared = resolve::Shared {
        doors,
        edge,
        tunnel_short,
        tunnel,
    };
    let checker = checker::ConfigChecker {
        doc: &doc,
        reader: &reader,
        problems: &problems,
        env,
        look_up,
        file: path.to_owned(),
        dir: dir_of(path),
        now: Clock::system().unix_secs(),
    };
    let config = resolve::resolve(&checker, raw, shared);
    proxies::tell(&checker, &config);
    uploads::tell(&checker, &config);
    own_logins::tell(&checker, &config);
    let mut found = problems.into_sorted();
    if found
        .iter()
        .any(|problem| problem.severity == ProblemSeverity::Error)
    {
        // Who answers what is told once it is settled.
        found.retain(|problem| problem.severity != ProblemSeverity::Note);
        return Err(found);
    }
    Ok(LoadedConfig {
        config,
        warnings: found,
        keys: WrittenKeys::of(&doc),
    })
}

/// Notes what is no TOML.
fn syntax(problems: &problem::ProblemList, text: &str, errors: Vec<(String, Range<usize>)>) {
    let mut doubled = 0..0;
    let mut no_number = None;
    for (message, span) in errors {
        if is_no_number(&message) {
            // A value may be wrong in more than one way.
            let line = text.get(..span.start).map(|t| t.matches('\n').count());
            if no_number.replace(line) != Some(line) {
                let message = pick(
                    "this is neither a number nor a text in quotes",
                    "这既不是数字，也不是带引号的字符串",
                );
                problems.error(Some(span), message, quotes_hint());
            }
            continue;
        }
        let is_doubled = message.contains("duplicate key");
        // What stands in a table that is there twice is there twice.
        if is_doubled && doubled.contains(&span.start) {
            continue;
        }
        if is_doubled && text.get(..span.start).is_some_and(|t| t.ends_with('[')) {
            let rest = text.get(span.start..).unwrap_or_default();
            let length = rest.find("\n[").unwrap_or(rest.len());
            doubled = span.start + 1..span.start + length;
        }
        if let Some((span, message, hint)) = full_width::in_line(text, span.start) {
            problems.error(Some(span), message, hint);
            continue;
        }
        let key = text.get(span.clone()).unwrap_or_default();
        let hint = syntax_hint(text, &message, key);
        let message = message.trim_end_matches(", expected literal string");
        let message = match Language::current() {
            Language::English => message.to_owned(),
            Language::Chinese => toml_words::in_chinese(message),
        };
        problems.error(Some(span), message, hint);
    }
}

fn quotes_hint() -> &'static str {
    pick(
        "text stands in quotes: domain = \"www.example.com\"",
        "字符串要加引号：domain = \"www.example.com\"",
    )
}

/// Whether a value began as a number and went on otherwise, as secrets and addresses without
/// quotes do.
fn is_no_number(message: &str) -> bool {
    let kinds = [
        "invalid float",
        "invalid exponent",
        "invalid integer",
        "invalid hexadecimal",
        "invalid octal",
        "invalid binary",
        "leading zero",
    ];
    kinds.iter().any(|kind| message.contains(kind))
}

/// What people most often mean when a line is not TOML.
fn syntax_hint(text: &str, message: &str, place: &str) -> &'static str {
    let nginx = text.contains("proxy_pass") || text.contains("server {");
    if nginx || text.trim_start().starts_with('{') {
        pick(
            "weappd.toml is TOML: `weappd init` writes a commented one to begin with",
            "weappd.toml 是 TOML 格式：可以先用 `weappd init` 生成一份带注释的",
        )
    } else if message.contains("must be quoted") {
        quotes_hint()
    } else if message.contains("duplicate key") {
        match place.trim_matches(['"', '\'']) {
            "app" => pick(
                "[app] is for one; of several, each has a name: [apps.web], [apps.worker]",
                "[app] 只能写一个应用；有多个时分别起名：[apps.web]、[apps.worker]",
            ),
            "miniapp" => pick(
                "[miniapp] is for one; of several, each has its AppID: [miniapps.wx...]",
                "[miniapp] 只能写一个小程序；有多个时分别以 AppID 为名：[miniapps.wx...]",
            ),
            "domain" => pick(
                "one site may have several names: domain = [\"a.example.com\", \"b.example.com\"]; \
                 for several sites write [sites.\"a.example.com\"]",
                "一个站点可以有多个域名：domain = [\"a.example.com\", \"b.example.com\"]；\
                 多个站点就写 [sites.\"a.example.com\"]",
            ),
            _ => pick(
                "it stands above already: keep one",
                "上面已经写过：只留一个",
            ),
        }
    } else {
        ""
    }
}
