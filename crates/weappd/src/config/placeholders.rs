//! What was copied from a manual and not filled in yet.

use std::path::Path;
use weappd_base::language::pick;
use weappd_base::words;

use weappd_apps::AppConfig;

use crate::config::checker::ConfigChecker;
use crate::config::document::{PathStep, TomlNode, TomlValue};

/// The AppID in the file that `weappd init` writes.
const SAMPLE_APPID: &str = "wx0123456789abcdef";

/// Warns of every text that is a placeholder, wherever it stands.
pub(crate) fn tell(checker: &ConfigChecker<'_>) {
    walk(checker, checker.doc, None);
}

fn walk(checker: &ConfigChecker<'_>, node: &TomlNode, key: Option<&str>) {
    match &node.value {
        TomlValue::Table(entries) => {
            for entry in entries {
                if entry.key == SAMPLE_APPID {
                    sample_appid(checker, entry.key_span.clone());
                }
                walk(checker, &entry.node, Some(&entry.key));
            }
        }
        TomlValue::List(items) => items.iter().for_each(|item| walk(checker, item, key)),
        TomlValue::Text(text) => {
            let span = node.span.clone();
            if let Some(name) = variable(text).filter(|_| key != Some("run")) {
                checker.problems.warning(
                    Some(span),
                    words!(
                        "`{}` is not replaced by a variable: it is taken as it stands",
                        "`{}` 不会被替换成变量，会原样使用",
                        text.trim()
                    ),
                    words!(
                        "write {{ env = \"{name}\" }} in its place",
                        "请改写成 {{ env = \"{name}\" }}"
                    ),
                );
            } else if key == Some("appid") && text == SAMPLE_APPID {
                sample_appid(checker, span);
            } else if !key.is_some_and(is_name_of_file) && is_placeholder(text) {
                checker.problems.warning(
                    Some(span),
                    pick("this is a placeholder from a manual", "这是教程里的占位符"),
                    pick("put your own value in its place", "请换成你自己的值"),
                );
            }
        }
        _ => {}
    }
}

/// A file may be called `secret`.
fn is_name_of_file(key: &str) -> bool {
    matches!(
        key,
        "file" | "key_file" | "env" | "run" | "root" | "dir" | "path"
    )
}

fn sample_appid(checker: &ConfigChecker<'_>, span: std::ops::Range<usize>) {
    checker.problems.warning(
        Some(span),
        words!(
            "{SAMPLE_APPID} is the AppID of the sample, not yours",
            "{SAMPLE_APPID} 是示例里的 AppID，不是你的"
        ),
        pick(
            "mp.weixin.qq.com shows yours under Development settings (开发设置)",
            "在 mp.weixin.qq.com 的“开发设置”里可以看到你的 AppID",
        ),
    );
}

/// The variable that `${NAME}`, `$NAME`, `%NAME%`, `{{ NAME }}` or `process.env.NAME` means.
fn variable(text: &str) -> Option<&str> {
    let text = text.trim();
    let inside = |open: &str, close: &str| text.strip_prefix(open)?.strip_suffix(close);
    let name = inside("${", "}")
        .or_else(|| inside("{{", "}}"))
        .or_else(|| inside("%", "%"))
        .or_else(|| text.strip_prefix("process.env."))
        .or_else(|| text.strip_prefix('$'))?;
    let name = name.trim();
    let name = name.split(":-").next().unwrap_or(name);
    let is_name = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then_some(name)
}

/// Whether a text only says what should stand there.
fn is_placeholder(text: &str) -> bool {
    const WHOLE: [&str; 11] = [
        "changeme",
        "todo",
        "tbd",
        "appsecret",
        "secret",
        "yoursecret",
        "xxx",
        "fixme",
        "placeholder",
        "replaceme",
        "wxappsecret",
    ];
    let text = text.trim();
    let plain: String = text
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    let is_upper = !text.chars().any(char::is_lowercase);
    let your = plain.starts_with("your")
        && (is_upper || text.contains(['_', '-', ' ']))
        && !text.contains(['.', '/', ':']);
    let bracketed = text.len() > 2 && text.starts_with('<') && text.ends_with('>');
    let repeated = plain.len() >= 3 && plain.chars().all(|c| matches!(c, 'x' | '*'));
    let chinese = ["你的", "您的", "请填写", "填写", "替换"];
    WHOLE.contains(&plain.as_str())
        || your
        || bracketed
        || repeated
        || (text.len() >= 3 && text.chars().all(|c| c == '*' || c == '.'))
        || chinese.iter().any(|word| text.starts_with(word))
}

/// Whether a text looks like an AppSecret.
pub(crate) fn is_app_secret(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Warns of a script that is not where its interpreter will look for it: it may come with
/// the next deployment.
pub(crate) fn script(checker: &ConfigChecker<'_>, path: &[PathStep<'_>], app: &AppConfig) {
    let words = app.run.words().unwrap_or_default();
    let dir = app.dir.as_deref().unwrap_or(&checker.dir);
    let Some(missing) = missing_script(&words, dir) else {
        return;
    };
    let whole = dir.join(&missing);
    checker.warning(
        &[path, &["run".into()]].concat(),
        words!("{} is not there", "{} 不存在", whole.display()),
        pick(
            "a relative path begins at `dir`, or else at the directory of weappd.toml",
            "相对路径以 `dir` 为起点；没有写 `dir` 时以 weappd.toml 所在目录为起点",
        ),
    );
}

/// The file that a command line names first and that is not in `dir`.
fn missing_script(words: &[String], dir: &Path) -> Option<String> {
    let mut words = words.iter().map(String::as_str);
    let program = Path::new(words.next()?).file_name()?.to_str()?;
    let is_package = matches!(program, "npm" | "pnpm" | "yarn" | "cnpm");
    if is_package {
        return (!dir.join("package.json").exists()).then(|| "package.json".to_owned());
    }
    let endings: &[&str] = match program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
    {
        "node" | "nodejs" | "bun" | "deno" | "nodemon" | "tsx" | "ts-node" | "pm" => {
            &["js", "mjs", "cjs", "ts", "mts"]
        }
        "python" => &["py"],
        "php" => &["php"],
        "ruby" => &["rb"],
        "java" => &["jar"],
        "dotnet" => &["dll"],
        "sh" | "bash" | "dash" => &["sh"],
        _ => return None,
    };
    let is_script = |word: &&str| {
        let extension = Path::new(word).extension().and_then(|e| e.to_str());
        !word.starts_with('-') && extension.is_some_and(|e| endings.contains(&e))
    };
    // What `-c` or `-e` is followed by is no file.
    let inline = |word: &&str| matches!(*word, "-c" | "-e" | "-m" | "-r" | "--eval" | "-p");
    let script = words.take_while(|word| !inline(word)).find(is_script)?;
    (!dir.join(script).exists()).then(|| script.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_placeholders_are_seen() {
        for (text, name) in [
            ("${WEAPP_SECRET}", Some("WEAPP_SECRET")),
            ("$WEAPP_SECRET", Some("WEAPP_SECRET")),
            ("%WEAPP_SECRET%", Some("WEAPP_SECRET")),
            ("{{ secret }}", Some("secret")),
            ("${A:-b}", Some("A")),
            ("process.env.A", Some("A")),
            ("https://a.com{path}", None),
            ("$1", None),
            ("100%", None),
            ("a${B}c", None),
        ] {
            assert_eq!(variable(text), name, "{text}");
        }
        for text in [
            "YOUR_SECRET",
            "your-app-secret",
            "YOURSECRET",
            "<secret>",
            "<AppSecret>",
            "xxxxxxxx",
            "XXXX",
            "****",
            "changeme",
            "Change-Me",
            "TODO",
            "AppSecret",
            "你的AppSecret",
            "...",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in [
            "www.example.com",
            "your.example.com",
            "yourapp",
            "a",
            "info",
            "/your/path",
            "node app.js",
            "wafer2",
            "0123456789abcdef0123456789abcdef",
            ".",
            "..",
        ] {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn a_script_is_looked_for_where_it_will_run() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("app.js"), "").expect("written");
        for (line, missing) in [
            ("node app.js", None),
            ("node --max-old-space-size=1 app.js x.js", None),
            ("node server.js", Some("server.js")),
            ("/usr/bin/node --inspect src/main.mjs", Some("src/main.mjs")),
            ("node -e 1 x.js", None),
            ("node .", None),
            ("python3 -u manage.py runserver", Some("manage.py")),
            ("python3.11 main.py", Some("main.py")),
            ("python3 -m http.server", None),
            ("php -S 127.0.0.1:80 index.php", Some("index.php")),
            ("java -Xmx1g -jar app.jar", Some("app.jar")),
            ("npm start", Some("package.json")),
            ("sh run.sh", Some("run.sh")),
            ("sh -c x.sh", None),
            ("gunicorn app:app", None),
            ("", None),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(
                missing_script(&words, dir.path()).as_deref(),
                missing,
                "{line}"
            );
        }
    }
}
