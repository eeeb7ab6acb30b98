//! What apps are told, so that `https://api.weixin.qq.com` leads them to the stand-in and
//! they believe its certificate.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use weappd_apps::EnvVariables;
use weappd_base::secret::Secret;
use weappd_base::small_file;

use crate::exit::ExitFailure;
use crate::stand_in::trust::{StandInTrust, write};

/// Leads a Node process there: see its own first lines.
const NODE: &str = include_str!("node.cjs");

/// Variables that name a file of certificates, and whether the file is instead of the
/// system's or beside them.
const CERTIFICATES: [(&str, bool); 4] = [
    ("NODE_EXTRA_CA_CERTS", false),
    ("SSL_CERT_FILE", true),
    ("REQUESTS_CA_BUNDLE", true),
    ("CURL_CA_BUNDLE", true),
];

/// Where systems keep the certificates they trust: Debian and its kin, Fedora and its kin,
/// SUSE, Alpine.
const SYSTEMS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The variables, for a stand-in at `at`; what `environment` says already is kept.
pub(super) fn of(
    trust: &StandInTrust,
    at: SocketAddr,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<EnvVariables, ExitFailure> {
    let failed = |error: io::Error| {
        ExitFailure::new(
            &VariableError(trust.dir.display().to_string(), error),
            "make the data directory writable",
        )
    };
    let read = |file: &Path| small_file::read_text(file, small_file::MAX_BYTES);
    let own = read(&trust.authority).map_err(failed)?;
    let mut variables = EnvVariables::new();
    let mut say = |name: &str, value: String| variables.insert(name.to_owned(), Secret::new(value));
    for (name, is_instead) in CERTIFICATES {
        let others = match environment(name) {
            Some(file) => read(file.as_ref()).ok(),
            None if is_instead => SYSTEMS.iter().find_map(|file| read(file.as_ref()).ok()),
            None => Some(String::new()),
        };
        let Some(others) = others else {
            tracing::warn!(
                variable = name,
                "the certificates that are trusted already cannot be read: apps are not told to \
                 trust weappd's by this variable"
            );
            continue;
        };
        let file = trust.dir.join(format!("{}.pem", name.to_ascii_lowercase()));
        write(&file, 0o644, &format!("{}\n{own}", others.trim_end())).map_err(failed)?;
        say(name, file.display().to_string());
    }
    let script = trust.dir.join("node.cjs");
    write(&script, 0o644, NODE).map_err(failed)?;
    let options = environment("NODE_OPTIONS").unwrap_or_default();
    let options = format!("{options} --require {}", quoted(&script));
    say("NODE_OPTIONS", options.trim_start().to_owned());
    say("WEAPPD_WECHAT_HTTPS", at.to_string());
    say("WEAPPD_WECHAT_CA", trust.authority.display().to_string());
    Ok(variables)
}

/// A path as `NODE_OPTIONS` reads it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[derive(Debug, thiserror::Error)]
#[error("the files that apps need to trust the stand-in could not be written in {0}")]
struct VariableError(String, #[source] io::Error);

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::stand_in::trust::find_or_make;

    #[test]
    fn what_was_trusted_before_is_trusted_still() {
        let dir = tempfile::tempdir().unwrap();
        let trust = find_or_make(dir.path()).unwrap();
        let mine = dir.path().join("mine.pem");
        fs::write(&mine, "MINE").unwrap();
        let environment = |name: &str| match name {
            "NODE_EXTRA_CA_CERTS" | "SSL_CERT_FILE" => Some(mine.display().to_string()),
            "REQUESTS_CA_BUNDLE" => Some("/nowhere".to_owned()),
            "NODE_OPTIONS" => Some("--enable-source-maps".to_owned()),
            _ => None,
        };
        let at = SocketAddr::from(([127, 0, 0, 1], 8083));
        let variables = of(&trust, at, &environment).unwrap();
        let own = fs::read_to_string(&trust.authority).unwrap();
        for name in ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
            let text = fs::read_to_string(variables[name].expose()).unwrap();
            assert_eq!(text, format!("MINE\n{own}"), "{name}");
        }
        assert!(!variables.contains_key("REQUESTS_CA_BUNDLE"));
        let options = variables["NODE_OPTIONS"].expose();
        let script = trust.dir.join("node.cjs");
        let wanted = format!("--enable-source-maps --require \"{}\"", script.display());
        assert_eq!(options, wanted);
        assert_eq!(variables["WEAPPD_WECHAT_HTTPS"].expose(), "127.0.0.1:8083");
        // A second start finds them there.
        of(&trust, at, &environment).unwrap();
    }

    #[test]
    fn node_is_led_by_all_of_wechats_names() {
        for name in weappd_wechat::API_HOSTS {
            assert!(NODE.contains(&format!("'{name}'")), "{name}");
        }
    }

    #[test]
    fn a_path_may_have_blanks_and_quotes() {
        assert_eq!(quoted(Path::new("/a b/c\"d")), "\"/a b/c\\\"d\"");
    }
}
