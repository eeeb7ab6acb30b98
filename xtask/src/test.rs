//! `cargo xtask test`: everything that must hold before a change lands.

use crate::run::{run, say};
use crate::{fuzz, install, tidy};

/// Everything; installs what is missing where it may.
pub(crate) fn all() -> Result<(), String> {
    install::for_tests()?;
    laws()?;
    fuzz::check()?;
    run("cargo", &["test", "--workspace", "--all-targets"])?;
    run("cargo", &["test", "--workspace", "--doc"])?;
    say("all tests passed");
    Ok(())
}

/// The rooms' own tests, which need no other program.
pub(crate) fn quick() -> Result<(), String> {
    laws()?;
    run("cargo", &["test", "--workspace", "--lib", "--bins"])
}

fn laws() -> Result<(), String> {
    run("cargo", &["fmt", "--all", "--check"])?;
    run(
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    tidy::check()
}
