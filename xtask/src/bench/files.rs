//! Directories copied, so that two servers begin with the same users.

use std::fs;
use std::path::Path;

/// Copies a directory and all below it.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), std::io::Error> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            // A socket left behind is nothing to copy.
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
