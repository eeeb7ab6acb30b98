//! `weappd init`: writes a commented weappd.toml with generated secrets.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use weappd_base::language::{Language, pick};
use weappd_base::random::RandomSource;
use weappd_base::words;

use crate::{cli::say, config::sample, exit::ExitFailure};

/// Writes `dir/weappd.toml`, commented in `language`, over an existing one only by `force`.
pub(crate) fn run(dir: &Path, force: bool, language: Language) -> Result<(), ExitFailure> {
    let path = if dir == Path::new(".") {
        PathBuf::from("weappd.toml")
    } else {
        dir.join("weappd.toml")
    };
    let text = sample::text(language, &RandomSource::system().hex256());
    write(&path, force, &text).map_err(|error| {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return ExitFailure::say(
                words!("{} is there already", "{} 已存在", path.display()),
                pick(
                    "`weappd init --force` writes a new one and keeps the old one as weappd.toml.old",
                    "`weappd init --force` 会生成一份新的，旧的另存为 weappd.toml.old",
                ),
            );
        }
        let sentence = words!(
            "{} cannot be written: {error}",
            "无法写入 {}：{error}",
            path.display()
        );
        let hint = pick(
            "name a directory that exists and that you may write",
            "请指定一个已存在、并且你有写权限的目录",
        );
        ExitFailure::say(sentence, hint)
    })?;
    let path = path.display();
    match language {
        Language::English => say(format_args!(
            "Wrote {path}. Only you can read it: it holds a generated tunnel key.\n\n\
             Next: put in your domain, certificate, AppID and start command, then run\n  \
             weappd check --config {path}"
        )),
        Language::Chinese => say(format_args!(
            "已生成 {path}。只有你能读取它：里面有随机生成的信道密钥。\n\n\
             下一步：填写域名、证书、AppID 和启动命令，然后运行\n  \
             weappd check --config {path}"
        )),
    }
    Ok(())
}

/// Writes the whole file or none: a new one is put beside it and renamed.
fn write(path: &Path, force: bool, text: &str) -> io::Result<()> {
    if !force && path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let beside = with_suffix(path, &format!(".{}", RandomSource::system().hex256()));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| {
            if force && path.symlink_metadata().is_ok() {
                fs::rename(path, with_suffix(path, ".old"))?;
            }
            // Unlike a rename, a link never replaces a file that came meanwhile.
            fs::hard_link(&beside, path)
        });
    drop(fs::remove_file(&beside));
    written
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_written_once_and_replaced_only_by_force() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("weappd.toml");
        write(&path, false, "first").expect("written");
        let first = fs::read_to_string(&path).expect("a file");
        let mode = path.metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let error = write(&path, false, "second").expect_err("there already");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).expect("a file"), first);

        write(&path, true, "second").expect("written");
        let second = fs::read_to_string(&path).expect("a file");
        assert_ne!(first, second, "every file has a key of its own");
        let old = fs::read_to_string(dir.path().join("weappd.toml.old")).expect("a file");
        assert_eq!(old, first);
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        assert!(write(Path::new("/nowhere/weappd.toml"), false, "text").is_err());
    }
}
