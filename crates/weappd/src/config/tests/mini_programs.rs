//! Mini programs: several on one site, and what was not filled in.

use super::*;

#[test]
fn a_site_may_have_several_mini_programs() {
    let checker = Desk::new();
    let (one, two) = ("wx1234567890abcdef", "wx1234567890abcdee");
    let apps = format!(
        "[miniapps.{one}]\nsecret = \"0123456789abcdef0123456789abcdea\"\nmessage_token = \"t\"\n\
         [miniapps.{two}]\nsecret = \"0123456789abcdef0123456789abcdeb\"\nmessage_token = \"u\"\n"
    );
    let site =
        |lines: &str| format!("[sites.\"a.com\"]\ntls = \"off\"\nproxy = 1\n{lines}\n{apps}");
    let both = site(&format!("miniapps = [\"{two}\", \"{one}\"]"));
    assert_eq!(checker.told(&both), Vec::<String>::new());
    let config = checker.config(&both);
    assert_eq!(
        config.sites[0].appids,
        [two, one],
        "the first is the default"
    );
    assert_eq!(config.sites[0].messages, [two, one]);
    let note = &checker.notes(&both)[0];
    let inbox = format!("/weapp/message, /weapp/message/{two}, /weapp/message/{one}");
    assert!(note.contains(&inbox), "{note}");

    let single = site(&format!("miniapps = [\"{two}\"]"));
    let as_before = site(&format!("miniapp = \"{two}\""));
    let (single, as_before) = (checker.config(&single), checker.config(&as_before));
    assert_eq!(format!("{single:?}"), format!("{as_before:?}"));

    for (lines, told) in [
        (
            format!("miniapps = [\"{one}\", \"{two}\", \"{one}\"]"),
            format!("4:57 error: the mini program {one} stands here twice"),
        ),
        (
            format!("miniapps = [\"{one}\", \"wx1234567890abcd00\"]"),
            "4:35 error: no mini program is called `wx1234567890abcd00`".to_owned(),
        ),
        (
            "miniapps = []".to_owned(),
            "4:12 error: `miniapps` names no mini program".to_owned(),
        ),
        (
            format!("miniapp = \"{one}\"\nminiapps = [\"{two}\"]"),
            "4:11 error: both `miniapp` and `miniapps` say who logs in here".to_owned(),
        ),
        (
            String::new(),
            "1:8 error: the site does not say which mini program logs in here".to_owned(),
        ),
    ] {
        assert_eq!(checker.told(&site(&lines)), [told], "{lines}");
    }
    let alike = both.replace("\"u\"", "\"t\"");
    assert_eq!(
        checker.told(&alike),
        [format!(
            "7:17 warning: {one} and {two} sign messages with the same Token"
        )]
    );
}

#[test]
fn the_short_forms_mini_program_is_its_own_beside_others() {
    let checker = Desk::new();
    let text = format!(
        "{SITE}proxy = 1\n{MINIAPP}[miniapps.wx1234567890abcdee]\nsecret = \"0123456789abcdef0123456789abcdeb\"\n"
    );
    assert_eq!(checker.told(&text), Vec::<String>::new());
    let config = checker.config(&text);
    assert_eq!(config.sites[0].appids, ["wx1234567890abcdef"]);
    assert_eq!(config.mini_apps.len(), 2);
}

#[test]
fn api_security_names_what_it_cannot_do() {
    let checker = Desk::new();
    let told = |lines: &str| {
        let text = format!("{SITE}proxy = 1\n{MINIAPP}[miniapp.api_security]\n{lines}\n");
        checker.told(&text).join("\n")
    };
    let sm = told("algorithms = \"sm\"");
    assert!(
        sm.contains("SM4_GCM with SM2withSM3 is not supported"),
        "{sm}"
    );
    let short = told("symmetric_key = \"QUJD\"");
    assert!(short.contains("not 32 bytes of base64"), "{short}");
}

#[test]
fn what_was_not_filled_in_is_told() {
    let checker = Desk::new();
    let told = |secret: &str, run: &str| {
        checker.told(&format!(
            "{SITE}[miniapp]\nappid = \"wx0123456789abcdef\"\nsecret = {secret}\n[app]\nrun = \"{run}\"\n"
        ))
    };
    let sample = "4:9 warning: wx0123456789abcdef is the AppID of the sample, not yours";
    let shape = "5:10 warning: this does not look like an AppSecret, which has 32 hex digits";
    let here = |what: &str| format!("5:10 warning: {what}");
    for (secret, warnings) in [
        (
            "\"YOUR_SECRET\"",
            vec![
                shape.to_owned(),
                here("this is a placeholder from a manual"),
            ],
        ),
        (
            "\"${WEAPP_SECRET}\"",
            vec![
                shape.to_owned(),
                here("`${WEAPP_SECRET}` is not replaced by a variable: it is taken as it stands"),
            ],
        ),
        ("\"0123\"", vec![shape.to_owned()]),
        ("{ env = \"WEAPP_SECRET\" }", vec![]),
    ] {
        let mut found = told(secret, "sh app.sh");
        assert_eq!(found.remove(0), sample);
        assert_eq!(found, warnings, "{secret}");
    }
    let found = told("{ env = \"WEAPP_SECRET\" }", "sh other.sh");
    assert_eq!(found[1..], ["7:7 warning: other.sh is not there"]);
    let dates = checker
        .told("domain = \"www.example.org\"\ncert = \"a.crt\"\nkey = \"a.key\"\nproxy = 1\n");
    assert!(
        dates
            .iter()
            .any(|told| told.contains("warning: a.crt does not cover www.example.org")),
        "{dates:?}"
    );
}
