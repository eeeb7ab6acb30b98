//! `cargo xtask fuzz`: feeds hostile input to the parsers (docs/fuzzing.md).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::run::{found, output, root, say};

/// How long a target runs unless told otherwise.
const SECONDS: u64 = 600;
/// The longest input made.
const LONGEST: u32 = 4096;

/// Runs one target, or all of them in turn: `[target] [seconds]`; or only `check`s them.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    if words == ["check"] {
        return check();
    }
    let known = targets()?;
    let (chosen, seconds) = chosen(words, &known)?;
    tools()?;
    for target in chosen {
        once(&target, seconds)?;
    }
    Ok(())
}

/// Checks on the stable compiler that every target still compiles against the rooms.
///
/// The rooms' own crates alone are compiled with `--cfg fuzzing`, by a rustc that this
/// program stands before: with RUSTFLAGS all the others would be compiled once more.
pub(crate) fn check() -> Result<(), String> {
    let myself = std::env::current_exe().map_err(|error| format!("xtask: {error}"))?;
    let manifest = root().join("fuzz/Cargo.toml");
    let mut command = Command::new("cargo");
    command.args(["check", "--bins", "--locked", "--manifest-path"]);
    command.arg(&manifest).arg("--target-dir");
    command.arg(root().join("target"));
    command.env("RUSTC_WRAPPER", myself);
    // Nothing is linked, so libFuzzer itself need not be built: any file will do for it.
    command.env("CUSTOM_LIBFUZZER_PATH", &manifest);
    say("$ cargo check (the fuzz targets, stable)");
    let status = command.current_dir(root()).stdin(Stdio::null()).status();
    let status = status.map_err(|error| format!("cargo could not be started: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "a fuzz target does not compile ({status}); a module of weappd that `weappd_config` \
         needs is taken in by its path in fuzz/fuzz_targets/weappd_config.rs"
    ))
}

/// Stands before rustc: `--cfg fuzzing` for the house's crates, and where cargo asks which
/// dependencies count.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo says by its variables what it compiles"
)]
pub(crate) fn wrapped(rustc: &str, args: &[String]) -> Option<i32> {
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let mut command = Command::new(rustc);
    command.args(args);
    if package.starts_with("weappd") || args.iter().any(|arg| arg == "--print=cfg") {
        command.args(["--cfg", "fuzzing"]);
    }
    command.status().ok()?.code()
}

/// Every file in `fuzz/fuzz_targets` is a target.
fn targets() -> Result<Vec<String>, String> {
    let dir = root().join("fuzz/fuzz_targets");
    let files = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let names = files.filter_map(|file| {
        let path = file.ok()?.path();
        let is_rust = path.extension().is_some_and(|ext| ext == "rs");
        is_rust.then(|| path.file_stem()?.to_str().map(str::to_owned))?
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}

/// What to run, and for how long each.
fn chosen(words: &[&str], known: &[String]) -> Result<(Vec<String>, u64), String> {
    let usage = || {
        format!(
            "usage: cargo xtask fuzz [target] [seconds], or cargo xtask fuzz check\n\nwithout a target all run, {SECONDS} seconds each:\n  {}\n",
            known.join("\n  ")
        )
    };
    let (target, seconds) = match words {
        [] => (None, None),
        [one] if one.bytes().all(|c| c.is_ascii_digit()) => (None, Some(*one)),
        [one] => (Some(*one), None),
        [one, two] => (Some(*one), Some(*two)),
        _ => return Err(usage()),
    };
    let seconds = match seconds {
        Some(text) => text.parse().map_err(|_| usage())?,
        None => SECONDS,
    };
    let targets = match target {
        Some(target) if known.iter().any(|name| name == target) => vec![target.to_owned()],
        Some(_) => return Err(usage()),
        None => known.to_vec(),
    };
    Ok((targets, seconds))
}

/// Says what is missing and how to get it.
fn tools() -> Result<(), String> {
    let mut missing = Vec::new();
    if !found("cargo-fuzz") {
        missing.push("cargo-fuzz: cargo install cargo-fuzz --locked");
    }
    if output("cargo", &["+nightly", "--version"]).is_none() {
        missing.push("a nightly compiler: rustup toolchain install nightly --profile minimal");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "fuzzing needs what is not here:\n  {}\n(cargo xtask test replays the committed inputs without it)",
        missing.join("\n  ")
    ))
}

/// Runs one target, gently. New inputs stay in `fuzz/work`, what breaks a promise in
/// `fuzz/artifacts`.
fn once(target: &str, seconds: u64) -> Result<(), String> {
    let dir = root().join("fuzz");
    let work = PathBuf::from("work").join(target);
    fs::create_dir_all(dir.join(&work)).map_err(|error| format!("{}: {error}", work.display()))?;
    let mut command = Command::new("nice");
    command.args(["-n", "19", "cargo", "+nightly", "fuzz", "run"]);
    // The house is safe Rust: the address sanitizer would only slow it down.
    command.args(["--sanitizer", "none", target]);
    command.arg(&work).arg(format!("corpus/{target}")).arg("--");
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-max_len={LONGEST}"));
    command.args(["-timeout=10", "-print_final_stats=1"]);
    let dict = format!("dict/{target}.dict");
    if dir.join(&dict).is_file() {
        command.arg(format!("-dict={dict}"));
    }
    say(&format!("$ cargo +nightly fuzz run {target} ({seconds} s)"));
    let status = command.current_dir(dir).stdin(Stdio::null()).status();
    let status = status.map_err(|error| format!("cargo could not be started: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "{target} does not hold ({status}): the input is in fuzz/artifacts/{target}; once mended, \
         put it into fuzz/corpus/{target}, so that the tests replay it"
    ))
}
