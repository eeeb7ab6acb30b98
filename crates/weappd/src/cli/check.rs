//! `weappd check`: every problem of weappd.toml at once, like `nginx -t`.

use std::{io::IsTerminal as _, path::Path};

use serde_json::json;
use weappd_base::words;

use crate::{
    cli::say,
    config::{self, ConfigProblem, EnvLookup, HostLookup, LoadedConfig, ProblemSeverity},
    exit::ExitFailure,
    host_lookup,
};

/// Checks `path` and says what it found; problems that keep weappd from starting are a
/// failure, and warnings too if it is `strict`.
pub(crate) fn run(path: &Path, json: bool, strict: bool) -> Result<(), ExitFailure> {
    let colors = ColorChoice::of_terminal();
    let machine: MachineFacts<'_> = (&variable, &host_lookup::addresses);
    let report = report(path, (json, strict), colors, machine);
    if report.fine || json {
        say(&report.words);
    }
    match (report.fine, json) {
        (true, _) => Ok(()),
        (false, true) => Err(ExitFailure::config(String::new())),
        (false, false) => Err(ExitFailure::config(report.words + "\n")),
    }
}

/// A variable of weappd's own environment.
#[expect(
    clippy::disallowed_methods,
    reason = "this is weappd's command line, which reads the environment for the rooms"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Whether the two outputs show colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct ColorChoice {
    stdout: bool,
    pub(super) stderr: bool,
}

impl ColorChoice {
    /// Whether somebody asked for none.
    pub(super) fn are_wanted() -> bool {
        variable("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    pub(super) fn of_terminal() -> Self {
        let wanted = Self::are_wanted();
        Self {
            stdout: wanted && std::io::stdout().is_terminal(),
            stderr: wanted && std::io::stderr().is_terminal(),
        }
    }
}

struct CheckReport {
    fine: bool,
    words: String,
}

/// What a file's meaning hangs on besides itself.
type MachineFacts<'a> = (EnvLookup<'a>, HostLookup<'a>);

fn report(
    path: &Path,
    (json, strict): (bool, bool),
    colors: ColorChoice,
    (env, look_up): MachineFacts<'_>,
) -> CheckReport {
    let loaded = config::load(path, env, look_up);
    let fine = match &loaded {
        Ok(loaded) => !strict || warned(&loaded.warnings, ProblemSeverity::Warning) == 0,
        Err(_) => false,
    };
    let words = match loaded {
        Ok(LoadedConfig { warnings, .. }) if json => to_json(fine, &warnings),
        Err(problems) if json => to_json(fine, &problems),
        Ok(LoadedConfig { warnings, .. }) if !fine => words!(
            "{}{} has {}, which --strict does not let pass",
            "{}{} 有 {}，--strict 下不予通过",
            config::render(&warnings, colors.stderr),
            path.display(),
            warnings_of(&warnings),
        ),
        Ok(LoadedConfig {
            config, warnings, ..
        }) => words!(
            "{}{} is fine: {}, {}, {}{}",
            "{}{} 没有问题：{}、{}、{}{}",
            config::render(&warnings, colors.stdout),
            path.display(),
            count(config.sites.len(), ("site", "个站点")),
            count(config.mini_apps.len(), ("mini program", "个小程序")),
            count(config.apps.len(), ("app", "个应用")),
            match warned(&warnings, ProblemSeverity::Warning) {
                0 => String::new(),
                _ => words!(" ({})", "（{}）", warnings_of(&warnings)),
            },
        ),
        Err(problems) => words!(
            "{}{} has {}",
            "{}{} 有 {}",
            config::render(&problems, colors.stderr),
            path.display(),
            count(
                warned(&problems, ProblemSeverity::Error),
                ("problem", "个问题")
            ),
        ),
    };
    CheckReport { fine, words }
}

fn to_json(fine: bool, problems: &[ConfigProblem]) -> String {
    let problems: Vec<_> = problems.iter().map(config::to_json).collect();
    json!({ "ok": fine, "problems": problems }).to_string()
}

fn warned(problems: &[ConfigProblem], severity: ProblemSeverity) -> usize {
    let alike = |problem: &&ConfigProblem| problem.severity == severity;
    problems.iter().filter(alike).count()
}

fn warnings_of(problems: &[ConfigProblem]) -> String {
    let number = warned(problems, ProblemSeverity::Warning);
    count(number, ("warning", "条警告"))
}

/// So many of what both languages call so.
fn count(number: usize, (english, chinese): (&str, &str)) -> String {
    let plural = if number == 1 { "" } else { "s" };
    words!("{number} {english}{plural}", "{number} {chinese}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: ColorChoice = ColorChoice {
        stdout: false,
        stderr: false,
    };

    fn checked(text: &str, json: bool) -> CheckReport {
        checked_as(text, (json, false))
    }

    fn checked_as(text: &str, how: (bool, bool)) -> CheckReport {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("weappd.toml");
        std::fs::write(&path, text).expect("written");
        let mut report = report(&path, how, PLAIN, (&|_| None, &|_| Vec::new()));
        let place = format!("{}/", dir.path().display());
        report.words = report.words.replace(&place, "");
        report
    }

    #[test]
    fn a_fine_file_is_counted() {
        let report = checked("domain = \"a.com\"\ntls = \"off\"\nproxy = 1937\n", false);
        assert!(report.fine, "{}", report.words);
        let last = report.words.lines().last().unwrap_or_default();
        assert_eq!(last, "weappd.toml is fine: 1 site, 0 mini programs, 0 apps");
    }

    #[test]
    fn a_broken_file_is_counted_too() {
        let report = checked("domian = \"a.com\"\nprxy = 1\n", false);
        assert!(!report.fine);
        let last = report.words.lines().last().unwrap_or_default();
        assert_eq!(last, "weappd.toml has 3 problems");
    }

    #[test]
    fn strictly_a_warning_is_a_failure() {
        let text = "domain = \"a.com\"\ntls = \"off\"\n";
        assert!(checked_as(text, (false, false)).fine);
        let report = checked_as(text, (false, true));
        assert!(!report.fine);
        let last = report.words.lines().last().unwrap_or_default();
        assert_eq!(
            last,
            "weappd.toml has 1 warning, which --strict does not let pass"
        );
        assert!(
            checked_as(text, (true, true))
                .words
                .contains("\"ok\":false")
        );
        // What is only good to know is no warning.
        let fine = format!("{text}proxy = 1937\n");
        assert!(checked_as(&fine, (false, true)).fine);
    }

    #[test]
    fn json_names_places() {
        let report = checked("domain = \"a.com\"\ntls = \"of\"\nproxy = 1937\n", true);
        let json: serde_json::Value = serde_json::from_str(&report.words).expect("json");
        assert_eq!(json["ok"], false);
        let problem = &json["problems"][0];
        assert_eq!(problem["severity"], "error");
        assert_eq!(problem["file"], "weappd.toml");
        assert_eq!(
            (&problem["line"], &problem["column"]),
            (&2.into(), &7.into())
        );
        assert_eq!(problem["message"], "expected \"auto\" or \"off\"");
        assert_eq!(problem["hint"], "did you mean `off`?");
    }

    #[test]
    fn a_missing_file_says_how_to_make_one() {
        let path = Path::new("/nowhere/weappd.toml");
        let report = report(path, (false, false), PLAIN, (&|_| None, &|_| Vec::new()));
        assert!(!report.fine);
        assert!(report.words.contains("does not exist"), "{}", report.words);
        assert!(report.words.contains("weappd init"), "{}", report.words);
    }
}
