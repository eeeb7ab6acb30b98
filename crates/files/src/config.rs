//! The `[files]` section of weappd.toml.

use std::path::PathBuf;
use weappd_base::language::pick;
use weappd_base::words;

use serde::Deserialize;
use weappd_base::setting_problem::SettingProblem;

/// What may be uploaded, and where it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether `POST /weapp/upload` and `/weapp/files/...` are served at all.
    pub enabled: bool,
    /// Whether anybody may upload, without a session; with `max_total_bytes`, or anybody can
    /// fill the disk.
    pub anonymous: bool,
    /// The directory uploads are kept in; a relative one stands under `data_dir`.
    pub dir: PathBuf,
    /// The largest file accepted, in bytes. Larger ones are answered 413.
    pub max_upload_bytes: u64,
    /// The largest picture that a user may choose for themselves at `/weapp/session/avatar`,
    /// in bytes; only types of `allowed_types` that begin with `image/` are taken there.
    pub max_avatar_bytes: u64,
    /// All kept files together may not grow past this many bytes; 0 sets no limit.
    pub max_total_bytes: u64,
    /// The content types accepted, recognised by the file's first bytes; what the phone
    /// calls the file does not count.
    pub allowed_types: Vec<String>,
    /// An upload that sends nothing for this long is given up.
    pub upload_idle_secs: u64,
    /// How long phones and caches may keep a downloaded file, in seconds.
    pub cache_secs: u64,
}

/// The types the original upload endpoint took, and WebP, which it did not know yet.
const DEFAULT_TYPES: [&str; 12] = [
    "image/jpeg",
    "image/jp2",
    "image/jpm",
    "image/jpx",
    "image/gif",
    "image/bmp",
    "image/png",
    "image/webp",
    "audio/mpeg",
    "audio/mp3",
    "audio/m4a",
    "application/pdf",
];

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            anonymous: false,
            dir: PathBuf::from("files"),
            max_upload_bytes: 10 * 1024 * 1024,
            max_avatar_bytes: 2 * 1024 * 1024,
            max_total_bytes: 0,
            allowed_types: DEFAULT_TYPES.map(str::to_owned).to_vec(),
            upload_idle_secs: 30,
            cache_secs: 30 * 24 * 60 * 60,
        }
    }
}

impl Config {
    /// What is wrong with these settings.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        if self.max_upload_bytes == 0 {
            problems.push(SettingProblem::new(
                "max_upload_bytes",
                pick("no file fits into 0 bytes", "0 字节装不下任何文件"),
                pick(
                    "give a size such as 10485760 (10 MiB), or enabled = false",
                    "请写一个大小，例如 10485760（10 MiB），或写 enabled = false",
                ),
            ));
        }
        if self.max_avatar_bytes == 0 {
            problems.push(SettingProblem::new(
                "max_avatar_bytes",
                pick("no picture fits into 0 bytes", "0 字节装不下任何图片"),
                pick(
                    "leave it out for 2097152 (2 MiB)",
                    "删掉这一行则默认为 2097152（2 MiB）",
                ),
            ));
        }
        if self.max_total_bytes > 0 && self.max_total_bytes < self.max_upload_bytes {
            problems.push(SettingProblem::new(
                "max_total_bytes",
                pick(
                    "all files together may be smaller than one file may be",
                    "所有文件的总量比单个文件的上限还小",
                ),
                words!(
                    "give at least max_upload_bytes ({}), or 0 for no limit",
                    "至少写 max_upload_bytes（{}），或写 0 表示不限",
                    self.max_upload_bytes
                ),
            ));
        }
        if self.upload_idle_secs == 0 {
            problems.push(SettingProblem::new(
                "upload_idle_secs",
                pick(
                    "every upload would be given up at once",
                    "这样每次上传都会立即中止",
                ),
                pick("give a number of seconds such as 30", "写一个秒数，例如 30"),
            ));
        }
        if self.allowed_types.is_empty() {
            problems.push(SettingProblem::new(
                "allowed_types",
                pick("no type of file is accepted", "这样不接受任何类型的文件"),
                pick(
                    "leave the line out for the usual types, or say enabled = false",
                    "删掉这一行则接受常见类型；或写 enabled = false",
                ),
            ));
        }
        for name in &self.allowed_types {
            if !crate::file_type::is_known(name) {
                problems.push(SettingProblem::new(
                    "allowed_types",
                    words!(
                        "`{name}` cannot be recognised by a file's first bytes",
                        "`{name}` 无法从文件开头的字节识别"
                    ),
                    pick(
                        "types that can: image/png, audio/mpeg, video/mp4, application/zip ...",
                        "可以识别的类型：image/png、audio/mpeg、video/mp4、application/zip 等",
                    ),
                ));
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_have_no_problem() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn every_bad_setting_is_named() {
        let config = Config {
            max_upload_bytes: 0,
            max_avatar_bytes: 0,
            upload_idle_secs: 0,
            allowed_types: vec!["text/plane".to_owned()],
            ..Config::default()
        };
        let fields: Vec<_> = config.problems().iter().map(|p| p.field.clone()).collect();
        assert_eq!(
            fields,
            [
                "max_upload_bytes",
                "max_avatar_bytes",
                "upload_idle_secs",
                "allowed_types"
            ]
        );
    }
}
