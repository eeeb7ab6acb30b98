//! What weappd reads and keeps, and which sites would show it.
//!
//! The edge serves none of it; here its owner hears that it lies where the public looks.

use std::path::{Path, PathBuf};

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
            format!(
                "{} belongs to the data directory {}, which is never served",
                root.display(),
                holder.display()
            ),
            "put the site's files into a directory of their own, such as www beside weappd.toml",
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
        format!(
            "weappd's own files lie in what this site serves: {}",
            names.join(", ")
        ),
        "they are not given out, but everything else in the directory is, also your program's \
         source: put the public files into a directory of their own, such as www",
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
