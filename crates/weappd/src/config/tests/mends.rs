//! Mistakes of people who write their first weappd.toml, each with its mend.

use super::{Desk, MINIAPP, SITE};
use crate::config::{ConfigProblem, ProblemSeverity};

/// What is told of `text` beside notes: place, message and hint.
fn told(text: &str) -> Vec<(String, String, String)> {
    let checker = Desk::new();
    let problems = checker
        .load(text)
        .map_or_else(|found| found, |l| l.warnings);
    let place = format!("{}/", checker.dir.path().display());
    let words = |problem: ConfigProblem| {
        let at = problem.place.as_ref();
        let at = at.map_or("-".to_owned(), |at| format!("{}:{}", at.line, at.column));
        let message = problem.message.replace(&place, "");
        (at, message, problem.hint.unwrap_or_default())
    };
    let loud = problems
        .into_iter()
        .filter(|problem| problem.severity != ProblemSeverity::Note);
    loud.map(words).collect()
}

#[test]
fn full_width_characters_are_named_with_what_to_write() {
    for (text, at, message, hint) in [
        (
            "domain = “www.example.com”\n",
            "1:10",
            "“ ” are Chinese full-width characters",
            "write \" for “, \" for ”",
        ),
        (
            "domain = ‘www.example.com’\n",
            "1:10",
            "‘ ’ are Chinese full-width characters",
            "write ' for ‘, ' for ’",
        ),
        (
            "domain ＝ \"www.example.com\"\n",
            "1:8",
            "＝ is a Chinese full-width character",
            "write = for ＝",
        ),
        (
            "domain = \"a.com\"\n【miniapp】\nappid = \"wx1234567890abcdef\"\n",
            "2:1",
            "【 】 are Chinese full-width characters",
            "write [ for 【, ] for 】",
        ),
        (
            "domain = [\"a.com\"，\"b.com\"]\n",
            "1:18",
            "， is a Chinese full-width character",
            "write , for ，",
        ),
        (
            "domain = \"a.com”\n",
            "1:16",
            "” is a Chinese full-width character",
            "write \" for ”",
        ),
    ] {
        let found = told(text);
        let (place, what, how) = &found[0];
        assert_eq!((&**place, &**what, &**how), (at, message, hint), "{text}");
    }
}

#[test]
fn full_width_characters_inside_of_a_value_are_named_too() {
    for (line, hint) in [
        ("proxy = \"127.0.0.1：1937\"", "write : for ："),
        ("domain = \"www。example。com\"", "write . for 。"),
        ("domain = \"ｗｗｗ.example.com\"", "write w for ｗ"),
    ] {
        let rest = if line.starts_with("proxy") {
            "domain = \"a.com\"\ntls = \"off\"\n"
        } else {
            "tls = \"off\"\nproxy = 1937\n"
        };
        let found = told(&format!("{line}\n{rest}"));
        assert!(found[0].2.contains(hint), "{found:?}");
        assert!(found[0].2.contains("full-width"), "{found:?}");
    }
    // Where they are right, nobody speaks of them.
    let fine = told(&format!("{SITE}proxy = 1937\n# 注释：“好”，\n"));
    assert_eq!(fine, []);
}

#[test]
fn what_stands_twice_is_told_apart() {
    for (section, mend) in [
        ("[app]\nrun = \"sh app.sh\"\n", "[apps.web]"),
        (MINIAPP, "[miniapps.wx...]"),
        ("[files]\nmax_upload_bytes = 1\n", "keep one"),
    ] {
        let found = told(&format!("{SITE}{section}{section}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].1.contains("duplicate key"), "{found:?}");
        assert!(found[0].2.contains(mend), "{found:?}");
    }
    let found = told("domain = \"a.com\"\ndomain = \"b.com\"\n");
    assert!(found[0].2.contains("[sites."), "{found:?}");
}

#[test]
fn a_text_without_quotes_that_begins_with_a_digit_is_told_once() {
    for value in [
        "0ec2e70f7e57a99000000000c0ffee11",
        "5ec2e70f7e57a99000000000c0ffee11",
        "1e5abc0f7e57a99000000000c0ffee11",
        "0xc0ffee11zz",
        "127.0.0.1:8080",
    ] {
        let found = told(&format!(
            "{SITE}proxy = 1937\n[miniapp]\nappid = \"wx1234567890abcdef\"\nsecret = {value}\n"
        ));
        let [(_, message, hint)] = &found[..] else {
            panic!("{value}: {found:?}");
        };
        assert!(message.contains("a text in quotes"), "{message}");
        assert!(hint.contains("stands in quotes"), "{hint}");
        assert!(!format!("{found:?}").contains(value), "{found:?}");
    }
}

#[test]
fn which_app_answers_is_said_in_a_route() {
    let apps = "[apps.py]\nrun = \"sh app.sh\"\n[apps.js]\nrun = \"sh app.sh\"\n";
    let found = told(&format!("app = \"py\"\n{SITE}{apps}"));
    let expected = "expected a table, found text";
    let wrong = found.iter().find(|(_, message, _)| message == expected);
    let (at, _, hint) = wrong.expect(expected);
    assert_eq!(at, "1:7");
    assert!(hint.contains("routes = [{ path = \"/\", app ="), "{hint}");
    // The mend is right.
    let found = told(&format!(
        "routes = [{{ path = \"/\", app = \"py\" }}]\n{SITE}{apps}"
    ));
    assert_eq!(found, []);
    let found = told("miniapp = \"wx1234567890abcdef\"\n");
    assert!(found[0].2.contains("[miniapp]"), "{found:?}");
}

#[test]
fn a_root_below_which_the_path_is_not_is_warned_of() {
    let routes = |path: &str, root: &str| {
        told(&format!(
            "{SITE}proxy = 1937\nroutes = [{{ path = \"{path}\", root = \"{root}\" }}]\n"
        ))
    };
    for path in ["/static/", "/static", "/static/*", "= /app.css", "/a/b"] {
        let found = routes(path, "html");
        assert_eq!(found.len(), 1, "{path}: {found:?}");
        assert!(found[0].1.starts_with("html/"), "{found:?}");
        assert!(found[0].1.contains("is not there"), "{found:?}");
        assert!(found[0].2.contains("alias"), "{found:?}");
        let is_one_folder = path.starts_with("/static");
        assert_eq!(
            found[0].2.contains("`ln -s . static`"),
            is_one_folder,
            "{found:?}"
        );
    }
    // The files of this directory are there, and everything is under /.
    for (path, root) in [
        ("/html/", "."),
        ("/html", "."),
        ("= /app.sh", "."),
        ("/x", "nosuch"),
    ] {
        let found = routes(path, root);
        assert!(
            !found.iter().any(|(_, m, _)| m.contains("is not there")),
            "{found:?}"
        );
    }
}

#[test]
fn sizes_and_times_may_have_units() {
    let checker = Desk::new();
    let text = format!(
        "{SITE}proxy = 1937\n[edge]\nmax_body_bytes = \"10MB\"\nkeep_alive_secs = \"5m\"\n\
         hold_ms = \"2s\"\nmin_upload_rate = \"1KB\"\ngrace_secs = \"1m\"\n\
         [session]\nopen_data_max_age_secs = \"1h\"\ncache_bytes = \"1 GiB\"\n\
         [files]\nmax_upload_bytes = \"1.5m\"\n[tunnel]\nheartbeat_secs = \"15s\"\n\
         [gateway.inbox]\nmax_age_hours = \"3d\"\ndead_days = \"48h\"\n\
         [wechat]\ntimeout_ms = \"5 秒\"\n\
         [apps.a]\nrun = \"sh app.sh\"\nready.timeout_ms = \"90s\"\nlog.max_bytes_per_sec = \"1MB\"\n\
         [miniapps.wx1234567890abcdef]\nsecret = {{ env = \"WEAPP_SECRET\" }}\n\
         login_duration_days = \"7d\"\nsession_duration_secs = \"12h\"\n"
    );
    let config = checker.config(&text);
    assert_eq!(config.edge.max_body_bytes, 10 << 20);
    assert_eq!(config.edge.keep_alive_secs, 300);
    assert_eq!(
        (config.edge.hold_ms, config.edge.min_upload_rate),
        (2000, 1024)
    );
    assert_eq!(config.grace.as_secs(), 60);
    assert_eq!(config.session.open_data_max_age_secs, 3600);
    assert_eq!(config.files.max_upload_bytes, 3 << 19);
    assert_eq!(
        (
            config.gateway.inbox.max_age_hours,
            config.gateway.inbox.dead_days
        ),
        (72, 2)
    );
    assert_eq!(config.mini_apps[0].login_duration_days, 7);
    assert_eq!(config.mini_apps[0].session_duration_secs, 43_200);
    assert_eq!(config.apps["a"].ready.timeout_ms, 90_000);
}

#[test]
fn a_quantity_that_is_none_is_told_with_an_example() {
    let edge = |line: &str| {
        let mut found = told(&format!("{SITE}proxy = 1937\n[edge]\n{line}\n"));
        let (_, message, hint) = found.remove(0);
        (message, hint)
    };
    for (line, message) in [
        (
            "max_body_bytes = \"100 apples\"",
            "expected a number of bytes, or a size such as \"10MB\", found text",
        ),
        (
            "max_body_bytes = -1",
            "expected a number of bytes, or a size such as \"10MB\", found -1",
        ),
        (
            "keep_alive_secs = \"10MB\"",
            "expected a number of seconds, or a time such as \"30s\", found text",
        ),
        (
            "keep_alive_secs = -5",
            "expected a number of seconds, or a time such as \"30s\", found -5",
        ),
        (
            "keep_alive_secs = \"500ms\"",
            "`keep_alive_secs` counts whole seconds",
        ),
        (
            "hold_ms = true",
            "expected a number of milliseconds, or a time such as \"5s\", found true or false",
        ),
        ("threads = \"4MB\"", "expected a whole number, found text"),
    ] {
        assert_eq!(edge(line).0, message, "{line}");
    }
    let bare = edge("keep_alive_secs = \"30\"");
    assert_eq!(bare.1, "numbers stand without quotes");
}
