//! What weappd reads and keeps, and which sites would show it.
//!
//! The edge serves none of it; here its owner hears that it lies where the public looks.

use std::path::{Path, PathBuf};
use weappd_base::language::pick;
use weappd_base::words;

use weappd_edge::ProtectedFiles;

use crate::config::checker::ConfigChecker;
use crate::config::document::PathStep;
use crate::config::raw::{self, RawConfig};
use crate::plan::SitePlan;

/// Everything that no site serves.
pub(crate) fn protected(
    checker: &ConfigChecker<'_>,
    raw: &RawConfig,
    sites: &[SitePlan],
    data_dir: &Path,
) -> ProtectedFiles {
    let mut files = vec![checker.file.clone()];
    files.extend(checker.reader.secrets.files.borrow().iter().cloned());
    files.extend(
        sites
            .iter()
            .filter_map(|site| Some(site.tls.as_ref()?.key.clone())),
    );
    files.push(data_dir.join(&raw.session.key_file));
    files.extend(database(&raw.session.store).map(|file| data_dir.join(file)));
    files.sort_unstable();
    files.dedup();
    ProtectedFiles::new(
        files,
        [data_dir.to_owned()],
        // Uploads are public under their own names.
        [data_dir.join(&raw.files.dir)],
    )
}

/// The file of a SQLite store.
fn database(store: &str) -> Option<PathBuf> {
    let path = match store.split_once(':') {
        Some(("sqlite", rest)) => rest.strip_prefix("//").unwrap_or(rest),
        Some(_) => return None,
        None => store,
    };
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Tells of each directory that a site serves what of it lies there.
pub(crate) fn tell(checker: &ConfigChecker<'_>, raw: &RawConfig, protected: &ProtectedFiles) {
    let mut roots = Vec::new();
    add_roots(&mut roots, &[], raw.root.as_deref(), &raw.routes);
    for (host, site) in &raw.sites.0 {
        let base = ["sites".into(), PathStep::Key(host)];
        add_roots(&mut roots, &base, site.root.as_deref(), &site.routes);
    }
    for (place, root) in roots {
        tell_of(checker, &place, &checker.dir.join(root), protected);
    }
}

fn add_roots<'a>(
    roots: &mut Vec<(Vec<PathStep<'a>>, &'a Path)>,
    base: &[PathStep<'a>],
    own: Option<&'a Path>,
    routes: &'a [raw::RouteSection],
) {
    roots.extend(own.map(|root| ([base, &["root".into()]].concat(), root)));
    for (at, route) in routes.iter().enumerate() {
        let place = || [base, &["routes".into(), at.into(), "root".into()]].concat();
        roots.extend(route.root.as_deref().map(|root| (place(), root)));
    }
}

fn tell_of(
    checker: &ConfigChecker<'_>,
    place: &[PathStep<'_>],
    root: &Path,
    protected: &ProtectedFiles,
) {
    if let Some(holder) = protected.holder_of(root) {
        checker.error(
            place,
            words!(
                "{} belongs to the data directory {}, which is never served", "{} 在数据目录 {} 之内，那里的文件不会对外提供",
                root.display(),
                holder.display()
            ),
            pick("put the site's files into a directory of their own, such as www beside weappd.toml", "请把站点的文件放进单独的目录，例如 weappd.toml 旁边的 www"),
        );
        return;
    }
    let found = protected.found_under(root);
    if found.is_empty() {
        return;
    }
    let dir = std::path::absolute(&checker.dir).unwrap_or_default();
    let names: Vec<String> = found
        .iter()
        .map(|path| path.strip_prefix(&dir).unwrap_or(path))
        .map(|path| path.display().to_string())
        .collect();
    checker.warning(
        place,
        words!(
            "weappd's own files lie in what this site serves: {}", "这个站点对外提供的目录里有 weappd 自己的文件：{}",
            names.join(", ")
        ),
        pick("they are not given out, but everything else in the directory is, also your program's \
         source: put the public files into a directory of their own, such as www", "它们不会对外提供，但目录里的其他文件都会，包括你的程序源码：请把公开文件放进单独的目录，例如 www"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sqlite_is_a_file() {
        for (store, file) in [
            ("sqlite:weappd.db", Some("weappd.db")),
            ("sqlite:///var/w.db", Some("/var/w.db")),
            ("weappd.db", Some("weappd.db")),
            ("mysql://u:p@h/d", None),
            ("", None),
        ] {
            assert_eq!(database(store), file.map(PathBuf::from), "{store}");
        }
    }
}
