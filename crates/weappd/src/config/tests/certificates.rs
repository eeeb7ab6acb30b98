//! Certificates and keys that weappd.toml names.

use super::*;

#[test]
fn a_certificate_and_its_key_are_told_at_once() {
    let checker = Desk::new();
    let no_key = "3:7 error: cannot read none.key: No such file or directory (os error 2)";
    for (cert, key, expected) in [
        (
            "none.crt",
            "none.key",
            [
                "2:8 error: cannot read none.crt: No such file or directory (os error 2)",
                no_key,
            ],
        ),
        (
            "app.sh",
            "none.key",
            [
                "2:8 error: app.sh: holds no certificate: it is empty",
                no_key,
            ],
        ),
    ] {
        let files = format!("cert = \"{cert}\"\nkey = \"{key}\"\n");
        let told = checker.told(&format!("domain = \"a.com\"\n{files}proxy = 1\n"));
        assert_eq!(told, expected);
    }
    let told = checker.told("domain = \"a.com\"\ncert = \"a.key\"\nkey = \"a.crt\"\nproxy = 1\n");
    assert_eq!(told.len(), 2, "exchanged: {told:?}");
}

#[test]
fn the_mend_of_a_certificate_for_another_name_names_settings() {
    let checker = Desk::new();
    let text = "domain = \"a.com\"\ncert = \"a.crt\"\nkey = \"a.key\"\nproxy = 1\n";
    let warnings = checker.load(text).expect("usable").warnings;
    let other = |problem: &&ConfigProblem| problem.message.contains("does not cover a.com");
    let hint = warnings.iter().find(other).and_then(|p| p.hint.as_deref());
    assert!(hint.is_some_and(|hint| hint.contains("`domain` or `aliases`")));
}

#[test]
fn a_certificate_and_a_key_of_another_one_do_not_match() {
    let checker = Desk::new();
    let other = rcgen::generate_simple_self_signed(["a.com".to_owned()]).expect("a certificate");
    let key = other.signing_key.serialize_pem();
    std::fs::write(checker.dir.path().join("b.key"), key).expect("written");
    let text = "domain = \"www.example.com\"\ncert = \"a.crt\"\nkey = \"b.key\"\nproxy = 1937\n";
    let told = checker.told(text);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("3:7 error: b.key: does not belong"),
        "{told:?}"
    );
}
