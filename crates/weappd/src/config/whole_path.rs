//! Paths that mean the same in every directory.

use std::path::{Path, PathBuf};

/// A directory that a process can be started in, wherever that happens.
pub(crate) fn whole(dir: &Path) -> PathBuf {
    let dir = if dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        dir
    };
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_start_in_whole_directories() {
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(whole(Path::new("")), here);
        assert_eq!(whole(Path::new("app")), here.join("app"));
        assert_eq!(whole(Path::new("/srv/app")), Path::new("/srv/app"));
    }
}
