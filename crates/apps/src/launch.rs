//! The step between weappd and the program: ties the program's life to weappd's.
//!
//! Linux can end a child when the thread that started it dies (`PR_SET_PDEATHSIG`), but the
//! child must ask for it itself, between its birth and the program's start. Without unsafe
//! code that takes a program of ours: weappd starts itself with a hidden subcommand, which
//! calls [`launch`] and becomes the program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Becomes the program named by `args`: the parent's pid, the name the program is to see
/// as its own, its file, its arguments. Returns only if that failed.
pub fn launch(args: impl IntoIterator<Item = OsString>) -> io::Error {
    let mut args = args.into_iter();
    let parent = (args.next()).and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    let (Some(parent), Some(name), Some(file)) = (parent, args.next(), args.next()) else {
        return io::Error::other("launch takes the parent's pid, a name, a file, arguments");
    };
    if let Err(error) = die_with(parent) {
        return error;
    }
    Command::new(file).arg0(name).args(args).exec()
}

/// What [`launch`] expects before the program's own arguments.
pub(crate) fn arguments(name: &str, file: &Path) -> [OsString; 3] {
    let parent = std::process::id().to_string();
    [parent.into(), name.into(), file.into()]
}

#[cfg(target_os = "linux")]
fn die_with(parent: i32) -> io::Result<()> {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        return Err(io::Error::other("weappd is gone"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_parent: i32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_an_error() {
        for args in [&["x", "y", "z"][..], &["1"], &[]] {
            let error = launch(args.iter().map(OsString::from));
            assert!(error.to_string().contains("launch takes"), "{error}");
        }
    }
}
