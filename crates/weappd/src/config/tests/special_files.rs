//! Paths that lead to no file with an end: each is told, and none is read without bound.

use std::fs::File;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Desk, MINIAPP};
use crate::config;

/// A desk with a pipe, a file of two MiB, and the names of what cannot be read and why.
fn checker() -> (Desk, [(&'static str, &'static str); 4]) {
    let checker = Desk::new();
    let at = |name: &str| checker.dir.path().join(name);
    mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let large = File::create(at("large")).expect("a file");
    large.set_len(2 << 20).expect("its size");
    let files = [
        ("/dev/zero", "it is a device, not a regular file"),
        ("pipe", "it is a pipe, not a regular file"),
        ("html", "it is a directory, not a regular file"),
        ("large", "it is larger than"),
    ];
    (checker, files)
}

#[test]
fn a_certificate_a_key_or_a_secret_that_never_ends_is_told() {
    let (checker, files) = checker();
    let site = |cert: &str, key: &str| {
        format!("domain = \"example.com\"\ncert = {cert:?}\nkey = {key:?}\nproxy = 1\n")
    };
    for (name, words) in files {
        let secret = MINIAPP.replace("env = \"WEAPP_SECRET\"", &format!("file = {name:?}"));
        for (text, place) in [
            (site(name, "a.key"), "2:8"),
            (site("a.crt", name), "3:7"),
            (site("a.crt", "a.key") + &secret, "7:"),
        ] {
            let told = checker.told(&text);
            let hit = told
                .iter()
                .any(|told| told.starts_with(place) && told.contains(name) && told.contains(words));
            assert!(hit, "{text}{told:#?}");
        }
    }
}

#[test]
fn a_weappd_toml_that_never_ends_is_told() {
    let (checker, files) = checker();
    for (name, words) in files {
        let path = checker.dir.path().join(name);
        let told = config::load(&path, &|_| None, &|_| Vec::new()).expect_err(name);
        let told = checker.rendered(&told);
        assert!(told.contains(name) && told.contains(words), "{told}");
        assert_eq!(
            config::data_dir_of(&path),
            path.parent().expect("a directory").join(".weappd")
        );
    }
}
