//! The file that `weappd init` writes.

use super::*;

#[test]
fn the_sample_is_right_as_it_is_and_with_every_line_in_use() {
    for language in Language::ALL {
        the_sample_is_right(language);
    }
    // The same file in both languages, but for what is said beside it.
    let bare = |language| {
        let text = sample::text(language, "key");
        let all = text.replace("#: ", "").replace("#:", "");
        let lines = all.lines().map(|line| match line.split_once(" #") {
            Some((code, _)) => code.trim_end().to_owned(),
            None => line.to_owned(),
        });
        let is_code = |line: &String| !line.starts_with('#') && !line.is_empty();
        lines.filter(is_code).collect::<Vec<String>>()
    };
    assert_eq!(bare(Language::English), bare(Language::Chinese));
}

fn the_sample_is_right(language: Language) {
    let checker = Desk::new();
    let text = sample::text(language, "0123456789abcdef");
    // Only what the user must fill in is missing.
    let told = checker.told(&text);
    assert_eq!(told.len(), 4, "{told:#?}");
    for (told, missing) in told.iter().zip([
        "cannot read 1_www.example.com_bundle.crt",
        "cannot read 2_www.example.com.key",
        "is the AppID of the sample, not yours",
        "app.js is not there",
    ]) {
        assert!(told.contains(missing), "{told}");
    }

    for name in ["www", "shop"] {
        for (from, to) in [
            ("a.crt", format!("1_{name}.example.com_bundle.crt")),
            ("a.key", format!("2_{name}.example.com.key")),
        ] {
            std::fs::copy(checker.dir.path().join(from), checker.dir.path().join(to))
                .expect("copied");
        }
    }
    let secrets = [
        ("shop.secret", "abc"),
        ("internal.token", "0123456789abcdef"),
    ];
    for (name, text) in secrets {
        std::fs::write(checker.dir.path().join(name), text).expect("written");
    }
    let all = text.replace("#: ", "").replace("#:", "");
    let told = checker.told(&all);
    assert!(
        !told.iter().any(|told| told.contains(" error: ")),
        "{told:#?}"
    );
    let config = checker.config(&all);
    let appids: Vec<_> = config.sites.iter().map(|site| &site.appids[..]).collect();
    let (one, two) = ("wx0123456789abcdef", "wxfedcba9876543210");
    assert_eq!(appids, [&[one][..], &[one, two]]);
}
