//! Where a text may come from: weappd.toml itself, the environment, or a file.
//!
//! Wherever weappd.toml takes a text, it takes `{ env = "NAME" }` and `{ file = "path" }`
//! in its place, so that a secret need not stand in it.

use std::{
    cell::RefCell,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use weappd_base::language::pick;
use weappd_base::words;

use weappd_base::secret::is_secret_name;
use weappd_base::{open_files, small_file};

use crate::config::document::{TomlEntry, TomlNode, TomlValue};
use crate::config::mask;

/// Reads the environment.
pub(crate) type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The largest file a text is read from.
const MAX_BYTES: u64 = 64 * 1024;

/// Fetches texts that stand elsewhere.
pub(crate) struct SecretSource<'a> {
    /// The environment.
    pub(crate) env: EnvLookup<'a>,
    /// What relative paths are relative to.
    pub(crate) dir: PathBuf,
    /// Every file that was asked for.
    pub(crate) files: RefCell<Vec<PathBuf>>,
    /// Whether secrets are needed: who only reads addresses does without those whose
    /// variable is set in the shell of `weappd serve` alone.
    pub(crate) needs_secrets: bool,
}

/// Why a text could not be fetched; the caller knows where it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MissingSecret {
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// A fetched text, and what is risky about where it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FetchedText {
    pub(crate) text: String,
    pub(crate) warning: Option<MissingSecret>,
}

/// `env` or `file`, if that is what the node says.
pub(crate) fn reference(node: &TomlNode) -> Option<(&str, &str, &TomlNode)> {
    let [TomlEntry { key, node, .. }] = node.entries() else {
        return None;
    };
    match &node.value {
        TomlValue::Text(name) if key == "env" || key == "file" => Some((key, name, node)),
        _ => None,
    }
}

impl SecretSource<'_> {
    /// Whether the setting `key` may be left out if its variable is not set. `key` may not:
    /// the tunnel key is told to business servers together with the addresses.
    pub(crate) fn spares(&self, kind: &str, key: &str) -> bool {
        let is_apps = !key.contains(|c: char| c.is_lowercase());
        let is_secret = matches!(key, "token" | "symmetric_key" | "private_key")
            || is_secret_name(key)
            || is_apps;
        !self.needs_secrets && kind == "env" && is_secret
    }

    /// Fetches the text that `kind` (`env` or `file`) and `name` refer to.
    pub(crate) fn fetch(&self, kind: &str, name: &str) -> Result<FetchedText, MissingSecret> {
        if kind == "env" {
            return self
                .variable(name)
                .map_err(|missing| no_name(kind, name).unwrap_or(missing));
        }
        let path = self.dir.join(name);
        self.files.borrow_mut().push(path.clone());
        file(&path).map_err(|(what, hint)| {
            no_name(kind, name).unwrap_or_else(|| MissingSecret {
                message: words!("the file `{name}` {what}", "文件 `{name}` {what}"),
                hint: hint.to_owned(),
            })
        })
    }

    fn variable(&self, name: &str) -> Result<FetchedText, MissingSecret> {
        let (what, mend) = match (self.env)(name) {
            Some(text) if !text.is_empty() => {
                let warning = None;
                return Ok(FetchedText { text, warning });
            }
            Some(_) => (
                pick("is empty", "为空"),
                pick("give it a value", "给它一个值"),
            ),
            None => (pick("is not set", "没有设置"), pick("set it", "设置它")),
        };
        Err(MissingSecret {
            message: words!(
                "the environment variable {name} {what}",
                "环境变量 {name} {what}"
            ),
            hint: words!(
                "{mend} where weappd is started, or use {{ file = \"...\" }}",
                "请在启动 weappd 的环境里{mend}，或改用 {{ file = \"...\" }}"
            ),
        })
    }
}

/// Where a name that leads to nothing looks like the secret itself: it is not told.
fn no_name(kind: &str, name: &str) -> Option<MissingSecret> {
    mask::is_no_name(name).then(|| MissingSecret {
        message: words!("what `{kind}` names here is not there, and looks like the secret itself", "这里 `{kind}` 写的名字不存在，而且看上去就是密钥本身"),
        hint: pick("name the variable or the file that holds it, as in { env = \"WEAPP_SECRET\" }; the \
               secret itself stands without braces: secret = \"...\"", "请写存放密钥的变量名或文件名，例如 { env = \"WEAPP_SECRET\" }；密钥本身不用花括号：secret = \"...\"")
            .to_owned(),
    })
}

/// The text in a file, without its last line break; else what is wrong with it and what to do.
fn file(path: &Path) -> Result<FetchedText, (String, &'static str)> {
    let said = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => (
            pick("does not exist", "不存在").to_owned(),
            pick(
                "the path is relative to the directory of weappd.toml",
                "相对路径以 weappd.toml 所在目录为起点",
            ),
        ),
        std::io::ErrorKind::PermissionDenied => (
            pick("may not be read by this user", "当前用户没有权限读取").to_owned(),
            pick(
                "it should belong to the user weappd runs as",
                "文件应归运行 weappd 的用户所有",
            ),
        ),
        _ => (
            words!("cannot be read: {error}", "无法读取：{error}"),
            open_files::hint_of(&error)
                .unwrap_or(pick("is it the right file?", "是不是写错了文件？")),
        ),
    };
    let facts = std::fs::metadata(path).map_err(said)?;
    let mut text = small_file::read_text(path, MAX_BYTES).map_err(said)?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        return Err((
            pick("is empty", "为空").to_owned(),
            pick("write the secret into it", "请把密钥写进去"),
        ));
    }
    let open = facts.permissions().mode() & 0o007 != 0;
    let warning = open.then(|| MissingSecret {
        message: words!(
            "every user of this machine may read {}",
            "这台机器上的所有用户都能读取 {}",
            path.display()
        ),
        hint: words!("chmod 600 {}", "请执行 chmod 600 {}", path.display()),
    });
    Ok(FetchedText { text, warning })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_from_the_environment_and_from_files() {
        let dir = tempfile::tempdir().expect("a directory");
        let env = |name: &str| match name {
            "SET" => Some("from env".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let source = SecretSource {
            env: &env,
            dir: dir.path().to_owned(),
            files: RefCell::default(),
            needs_secrets: true,
        };
        let text = |kind, name| source.fetch(kind, name).map(|f| f.text);
        assert_eq!(text("env", "SET").as_deref(), Ok("from env"));
        let missing = text("env", "UNSET").expect_err("not set");
        assert!(missing.message.contains("UNSET is not set"));
        let own = "0ec2e70f7e57a99000000000c0ffee11";
        for kind in ["env", "file"] {
            let missing = text(kind, own).expect_err("no name");
            assert!(!format!("{missing:?}").contains(own), "{missing:?}");
            assert!(missing.hint.contains("without braces"), "{missing:?}");
        }
        let missing = text("env", "EMPTY").expect_err("empty");
        assert!(missing.message.ends_with("EMPTY is empty"), "{missing:?}");

        let path = dir.path().join("secret");
        std::fs::write(&path, "from file\r\n").expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
        let fetched = source.fetch("file", "secret").expect("a text");
        assert_eq!(fetched.text, "from file");
        assert!(fetched.warning.is_some());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        assert_eq!(
            source.fetch("file", "secret").expect("a text").warning,
            None
        );

        let other = "is it the right file?";
        for (name, content, words, hint) in [
            ("gone", None, "does not exist", "is relative to"),
            (".", None, "it is a directory, not a regular file", other),
            (
                "/dev/zero",
                None,
                "it is a device, not a regular file",
                other,
            ),
            ("empty", Some(String::new()), "is empty", "write the secret"),
            (
                "large",
                Some("x".repeat(70_000)),
                "it is larger than 64 KiB",
                other,
            ),
        ] {
            if let Some(content) = content {
                std::fs::write(dir.path().join(name), content).expect("written");
            }
            let missing = text("file", name).expect_err(name);
            assert!(missing.message.contains(words), "{missing:?}");
            assert!(missing.hint.contains(hint), "{missing:?}");
        }
    }
}
