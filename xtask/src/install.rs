//! Installs what the tests and benchmarks need, where it may.

use crate::run::{found, output, run, say};

/// A program, the Debian package that brings it, and who needs it.
const NEEDS: [(&str, &str, Need); 9] = [
    ("node", "nodejs", Need::Tests),
    ("npm", "npm", Need::Tests),
    ("mariadbd", "mariadb-server", Need::Tests),
    ("chromium", "chromium", Need::Tests),
    ("curl", "curl", Need::Tests),
    ("openssl", "openssl", Need::Tests),
    ("sqlite3", "sqlite3", Need::Tests),
    ("nginx", "nginx-light", Need::Tests),
    ("wrk", "wrk", Need::Bench),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Tests,
    Bench,
}

/// What the tests need.
pub(crate) fn for_tests() -> Result<(), String> {
    packages(|need| need == Need::Tests)
}

/// What tests and benchmarks need.
pub(crate) fn everything() -> Result<(), String> {
    packages(|_| true)
}

fn packages(wanted: impl Fn(Need) -> bool) -> Result<(), String> {
    let missing: Vec<&str> = NEEDS
        .iter()
        .filter(|(program, _, need)| wanted(*need) && !found(program))
        .map(|(_, package, _)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let by_hand = format!("these are missing and must be installed by hand: {list}");
    if !found("apt-get") {
        return Err(by_hand);
    }
    let is_root = output("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    let sudo = !is_root && found("sudo");
    if !is_root && !sudo {
        return Err(format!("{by_hand}\n  as root: apt-get install {list}"));
    }
    say(&format!("installing {list}"));
    let apt = |args: &[&str]| {
        let mut words = vec!["DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"];
        words.extend(args);
        if sudo {
            let mut all = vec!["-n", "env"];
            all.extend(words);
            run("sudo", &all)
        } else {
            run("env", &words)
        }
    };
    apt(&["update"])?;
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(&missing);
    apt(&args).map_err(|error| format!("{error}\n{by_hand}"))
}
