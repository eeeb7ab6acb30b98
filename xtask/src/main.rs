//! Everything automated: `cargo xtask test`, `tidy`, `bench`, `fuzz`, `install`.
//!
//! Automation is Rust, so that it runs wherever the project builds and is checked by the
//! same lints.

mod arrows;
mod bench;
mod fuzz;
mod install;
mod names;
mod rings;
mod run;
mod test;
mod tidy;
mod times;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask <task>

  test     install what the tests need where it may, then format check, lints, tidy and all tests
           (test --quick: neither installs nor runs what needs other programs)
  tidy     the house rules: arrows between rooms, module docs, lints, README commands
  install  only install what tests and benchmarks need (Debian, Ubuntu; root or sudo)
  bench    weappd against its peers (docs/benchmarks.md); installs what it needs where it may
           (bench check cold login decrypt front proxy start memory: all of them, or those named;
           --rounds 1..50  --seconds 1..60  --profile dist|release|dev
           --beside FILE: another build of weappd, in the same rounds of check, login, front, proxy)
  fuzz     feed hostile input to the parsers (docs/fuzzing.md); needs nightly and cargo-fuzz
           (fuzz [target] [seconds]; fuzz check: only whether all targets compile, on stable)
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    // Cargo calls it so, as told by `fuzz check`.
    if let Some((rustc, rest)) = args.split_first()
        && Path::new(rustc)
            .file_stem()
            .is_some_and(|name| name == "rustc")
    {
        let code = fuzz::wrapped(rustc, rest).and_then(|code| u8::try_from(code).ok());
        return code.map_or(ExitCode::FAILURE, ExitCode::from);
    }
    let done = match words.as_slice() {
        ["test"] => test::all(),
        ["test", "--quick"] => test::quick(),
        ["tidy"] => tidy::check(),
        ["bench", rest @ ..] => bench::run(rest),
        ["fuzz", rest @ ..] => fuzz::run(rest),
        ["install"] => install::everything(),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => {
            run::say(words.trim_end());
            ExitCode::FAILURE
        }
    }
}
