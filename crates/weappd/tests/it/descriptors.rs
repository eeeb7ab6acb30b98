//! How many files weappd may have open at a time.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::world::WEAPPD;

#[test]
fn a_limit_that_stays_low_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = "ulimit -n 400; exec \"$0\" dev --http 0 --https 0 --internal 0 --wechat 0";
    let mut weappd = Command::new("sh")
        .args(["-c", start, WEAPPD])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weappd starts");
    let log = BufReader::new(weappd.stderr.take().expect("piped"));
    let mut told = log.lines().map_while(Result::ok);
    let told = told.find(|line| line.contains("few files"));
    weappd.kill().expect("killed");
    weappd.wait().expect("gone");
    let told = told.expect("a warning");
    assert!(
        told.contains("files=400") && told.contains("LimitNOFILE"),
        "{told}"
    );
}

#[test]
fn a_low_limit_of_the_shell_is_raised() {
    let dir = tempfile::tempdir().expect("a directory");
    let start = "ulimit -Sn 500; exec \"$0\" dev --http 0 --https 0 --internal 0";
    let mut weappd = Command::new("sh")
        .args(["-c", start, WEAPPD])
        .current_dir(dir.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("weappd starts");
    let mut banner = std::io::BufReader::new(weappd.stdout.take().expect("piped"));
    let mut line = String::new();
    // Its first word comes once it is open.
    let read = std::io::BufRead::read_line(&mut banner, &mut line);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", weappd.id()));
    weappd.kill().expect("killed");
    weappd.wait().expect("gone");
    assert!(read.is_ok_and(|bytes| bytes > 0));
    let limits = limits.expect("limits");
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let mut numbers = files.expect("a limit").split_whitespace().skip(3);
    let mut number = || numbers.next().and_then(|text| text.parse::<u64>().ok());
    let (soft, hard) = (number(), number());
    assert_eq!(soft, Some(hard.map_or(65_536, |hard| hard.min(65_536))));
}
