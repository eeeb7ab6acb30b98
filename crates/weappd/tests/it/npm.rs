//! npm packages of the tests, at exact versions, installed once into the target directory.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha1::{Digest as _, Sha1};

/// Installs what `package.json` and `package-lock.json` in `from` name, unless that was done
/// before; tests in other processes wait. Gives the `node_modules` directory.
pub(crate) fn install(name: &str, from: &Path) -> PathBuf {
    let files = ["package.json", "package-lock.json"];
    let mut sum = Sha1::new();
    for file in files {
        sum.update(fs::read(from.join(file)).expect(file));
    }
    let key = hex::encode(sum.finalize());
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("npm-{name}-{}", &key[..12]));
    let guard = File::create(home.with_extension("lock")).expect("a lock file");
    guard.lock().expect("the lock on the npm cache");
    let done = home.join("complete");
    if !done.exists() {
        drop(fs::remove_dir_all(&home));
        fs::create_dir_all(&home).expect("the npm cache");
        for file in files {
            fs::copy(from.join(file), home.join(file)).expect(file);
        }
        let npm = Command::new("npm")
            .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
            .arg("--loglevel=error")
            .current_dir(&home)
            .output()
            .expect("npm: `cargo xtask install` brings it");
        assert!(
            npm.status.success(),
            "npm ci in {}: {}",
            home.display(),
            String::from_utf8_lossy(&npm.stderr)
        );
        fs::write(done, "").expect("the mark of a whole install");
    }
    home.join("node_modules")
}

/// A lock file must hold on every machine: whole, by checksum, and without a host to ask.
pub(crate) fn names_no_host(from: &Path) {
    let lock = fs::read_to_string(from.join("package-lock.json")).expect("package-lock.json");
    assert!(
        !lock.contains("://"),
        "strip `resolved`, `funding` and `deprecated`"
    );
    assert!(lock.contains("\"integrity\""));
}
