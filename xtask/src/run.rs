//! Runs programs and speaks to the person who waits for them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Prints one line.
#[expect(clippy::print_stderr, reason = "xtask speaks to a person")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .unwrap_or_default()
}

/// Runs a program in the checkout, shown first; its failure is the error.
pub(crate) fn run(program: &str, args: &[&str]) -> Result<(), String> {
    say(&format!("$ {program} {}", args.join(" ")));
    let status = Command::new(program)
        .args(args)
        .current_dir(root())
        // weappd speaks the caller's language, and its tests read what it says.
        .env("LC_ALL", "C.UTF-8")
        .status()
        .map_err(|error| format!("{program} could not be started: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{program} {}` failed ({status})", args.join(" ")))
    }
}

/// What a program prints, if it runs and succeeds.
pub(crate) fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(args)
        .current_dir(root())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether a program can be found.
#[expect(clippy::disallowed_methods, reason = "xtask is no room of the house")]
pub(crate) fn found(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}
