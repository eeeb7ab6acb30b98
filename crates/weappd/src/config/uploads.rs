//! Uploads that anybody may send: by choice, and not without a word.

use crate::config::{checker::ConfigChecker, resolve::Config};
use weappd_base::language::pick;

/// Says that uploads want no session, and warns where they may fill the disk.
pub(crate) fn tell(checker: &ConfigChecker<'_>, config: &Config) {
    let files = &config.files;
    if !files.enabled || !files.anonymous {
        return;
    }
    let place = ["files".into(), "anonymous".into()];
    if files.max_total_bytes == 0 {
        checker.warning(
            &place,
            pick("anybody on the internet may upload, and all uploads together have no limit", "互联网上任何人都能上传，而且总量没有上限"),
            pick("give one to [files] max_total_bytes, or remove anonymous: phones that are logged in need it not", "请用 [files] max_total_bytes 设上限，或删掉 anonymous：已登录的手机不需要它"),
        );
    } else {
        checker.note(
            &place,
            pick(
                "anybody on the internet may upload here: /weapp/upload wants no session",
                "互联网上任何人都能上传：/weapp/upload 不要求登录",
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ProblemSeverity, load};

    fn told(files: &str) -> Vec<ProblemSeverity> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("weappd.toml");
        let site = "domain = \"a.com\"\ntls = \"off\"\nproxy = 1937\n";
        std::fs::write(&path, format!("{site}[files]\n{files}\n")).expect("written");
        let loaded = load(&path, &|_| None, &|_| Vec::new()).expect("a fine file");
        let about = |words: &String| words.contains("anybody on the internet");
        let found = loaded.warnings.iter();
        let found = found.filter(|problem| about(&problem.message));
        found.map(|problem| problem.severity).collect()
    }

    #[test]
    fn open_uploads_are_told_and_unbounded_ones_warned_of() {
        assert_eq!(told("anonymous = true"), [ProblemSeverity::Warning]);
        assert_eq!(
            told("anonymous = true\nmax_total_bytes = 1000000000"),
            [ProblemSeverity::Note]
        );
        assert_eq!(told("anonymous = false"), []);
        assert_eq!(told("anonymous = true\nenabled = false"), []);
    }
}
