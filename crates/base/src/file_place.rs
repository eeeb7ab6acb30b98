//! Whether a file that is open still stands where it was opened.
//!
//! A file that was deleted goes on taking what is written to it, and all of it is lost when it
//! is closed. Whoever acknowledges what it writes looks here first.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A path, and the file that stood there.
#[derive(Clone, Debug)]
pub struct FilePlace {
    path: PathBuf,
    /// Device and inode.
    file: (u64, u64),
}

impl FilePlace {
    /// Of the file that stands there now.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: file_at(path)?,
        })
    }

    /// An error if that file stands there no more.
    pub fn check(&self) -> io::Result<()> {
        match file_at(&self.path) {
            Ok(file) if file == self.file => Ok(()),
            Ok(_) => Err(io::Error::other("another file stands in its place")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(io::Error::new(
                error.kind(),
                "the file was deleted, or its directory",
            )),
            // It may be there, and cannot be seen for a moment.
            Err(_) => Ok(()),
        }
    }
}

fn file_at(path: &Path) -> io::Result<(u64, u64)> {
    let facts = fs::metadata(path)?;
    Ok((facts.dev(), facts.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_deleted_moved_or_replaced_is_noticed() {
        let base = std::env::temp_dir().join(format!("weappd-place-{}", std::process::id()));
        let dir = base.join("data");
        fs::create_dir_all(&dir).expect("a directory");
        let path = dir.join("a.db");
        fs::write(&path, "a").expect("a file");
        let place = FilePlace::of(&path).expect("it is there");
        place.check().expect("as it was");
        fs::write(&path, "more").expect("the same file");
        place.check().expect("written to");
        let aside = dir.join("b.db");
        fs::rename(&path, &aside).expect("moved");
        assert!(place.check().is_err());
        fs::write(&path, "a").expect("another file");
        let said = place.check().expect_err("another").to_string();
        assert!(said.contains("another file"), "{said}");
        fs::rename(&aside, &path).expect("moved back");
        place.check().expect("the same again");
        fs::remove_dir_all(&base).expect("deleted");
        let said = place.check().expect_err("gone").to_string();
        assert!(said.contains("deleted"), "{said}");
        assert!(FilePlace::of(&path).is_err());
    }
}
