//! The sections of apps: settled, and what of them will hardly work.

use std::collections::BTreeMap;
use std::path::Path as FilePath;
use weappd_base::language::pick;
use weappd_base::words;

use weappd_apps::AppConfig;

use crate::config::checker::ConfigChecker;
use crate::config::document::PathStep;
use crate::config::placeholders;
use crate::config::raw::RawConfig;
use crate::config::whole_path::whole;

/// Every app by its name; `[app]` is called `app`.
pub(crate) fn all(checker: &ConfigChecker<'_>, raw: &mut RawConfig) -> BTreeMap<String, AppConfig> {
    let mut apps = std::mem::take(&mut raw.apps);
    let mut short = false;
    if let Some(app) = raw.app.clone() {
        if apps.contains_key("app") {
            checker.error(
                &["apps".into(), "app".into()],
                pick(
                    "[app] and [apps.app] are the same app",
                    "[app] 和 [apps.app] 是同一个应用",
                ),
                pick(
                    "keep one of them, or give this one another name",
                    "只留一个，或给这一个另起名字",
                ),
            );
        }
        short = true;
        apps.insert("app".to_owned(), app);
    }
    for (name, app) in &mut apps {
        let path = if short && name == "app" {
            vec!["app".into()]
        } else {
            vec!["apps".into(), PathStep::Key(name)]
        };
        if let Some(problem) = weappd_apps::config::problem_of_name(name) {
            checker.error(&path, problem.message, problem.hint);
        }
        checker.room(&path, app.problems());
        app.dir = app.dir.as_ref().map(|dir| whole(&checker.dir.join(dir)));
        directory(checker, &path, app);
        program(checker, &path, app);
        placeholders::script(checker, &path, app);
        for warning in app.warnings() {
            checker.warning(
                &[&path[..], &[(&*warning.field).into()]].concat(),
                warning.message,
                warning.hint,
            );
        }
    }
    apps
}

fn directory(checker: &ConfigChecker<'_>, path: &[PathStep<'_>], app: &AppConfig) {
    if let Some(dir) = app.dir.as_ref().filter(|dir| !dir.is_dir()) {
        checker.error(
            &[path, &["dir".into()]].concat(),
            words!("{} is not a directory", "{} 不是目录", dir.display()),
            pick(
                "a relative path begins at the directory of weappd.toml",
                "相对路径以 weappd.toml 所在目录为起点",
            ),
        );
    }
}

/// Warns of a program that is not there: it may come with the next deployment.
fn program(checker: &ConfigChecker<'_>, path: &[PathStep<'_>], app: &AppConfig) {
    let words = app.run.words().unwrap_or_default();
    let Some(program) = words.first().filter(|word| !word.is_empty()) else {
        return;
    };
    let dir = app.dir.as_ref().unwrap_or(&checker.dir);
    let search = app.env.get("PATH").map(|path| path.expose().to_owned());
    let search = search.or_else(|| (checker.env)("PATH")).unwrap_or_default();
    let found = if program.contains('/') {
        is_program(&dir.join(program))
    } else {
        std::env::split_paths(&search).any(|dir| is_program(&dir.join(program)))
    };
    if !found {
        checker.warning(
            &[path, &["run".into()]].concat(),
            words!("the program `{program}` is not found", "找不到程序 `{program}`"),
            pick("install it, or write its whole path; weappd searches the directories of its own PATH", "请安装它，或写出完整路径；weappd 在自己的 PATH 里查找"),
        );
    }
}

fn is_program(path: &FilePath) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}
