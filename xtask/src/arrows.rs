//! Which room may import which, and which outside crate belongs to one room only.
//!
//! A new arrow is a new line here, and therefore a conversation.

use serde_json::Value;

use crate::run::output;

/// Each room and the rooms it may import. Rooms on one floor never import each other.
const ROOMS: [(&str, &[&str]); 14] = [
    ("base", &[]),
    ("content", &[]),
    ("durable", &["base"]),
    ("outbound", &["base"]),
    ("wechat", &["base", "outbound"]),
    ("certs", &["base"]),
    ("edge", &["base", "certs", "content"]),
    ("tunnel", &["base", "outbound"]),
    ("apps", &["base"]),
    ("files", &["base", "content"]),
    ("session", &["base", "durable", "outbound", "wechat"]),
    ("simulator", &["base", "outbound", "wechat"]),
    ("gateway", &["base", "durable", "outbound", "wechat"]),
    (
        "weappd",
        &[
            "base",
            "outbound",
            "wechat",
            "certs",
            "edge",
            "tunnel",
            "apps",
            "files",
            "session",
            "simulator",
            "gateway",
        ],
    ),
];

/// Outside crates that only the named rooms may use.
const GUESTS: [(&str, &[&str]); 9] = [
    ("aws-lc-rs", &["wechat"]),
    ("rusqlite", &["session"]),
    ("sqlx", &["session", "gateway"]),
    ("clap", &["weappd"]),
    ("miette", &["weappd"]),
    ("multer", &["files"]),
    ("hyper-rustls", &["outbound"]),
    ("rustls", &["certs", "edge", "outbound", "wechat"]),
    ("tracing-subscriber", &["weappd"]),
];

/// What the workspace's manifests break of the tables above.
pub(crate) fn problems() -> Result<Vec<String>, String> {
    let text = output("cargo", &["metadata", "--no-deps", "--format-version", "1"])
        .ok_or("cargo metadata failed")?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().cloned().unwrap_or_default();
    let mut problems = Vec::new();
    for package in &packages {
        let name = package["name"].as_str().unwrap_or_default();
        if name == "xtask" {
            continue;
        }
        let room = name.strip_prefix("weappd-").unwrap_or(name);
        let Some((_, allowed)) = ROOMS.iter().find(|(known, _)| *known == room) else {
            problems.push(format!(
                "crates/{room}: a room that xtask/src/arrows.rs does not know"
            ));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // A test may build its world from anything.
            if dependency["kind"] == "dev" {
                continue;
            }
            let to = dependency["name"].as_str().unwrap_or_default();
            if let Some(to) = to.strip_prefix("weappd-")
                && !allowed.contains(&to)
            {
                problems.push(format!(
                    "crates/{room} imports {to}: no such arrow in the house"
                ));
            }
            if let Some((_, hosts)) = GUESTS.iter().find(|(guest, _)| *guest == to)
                && !hosts.contains(&room)
            {
                problems.push(format!("crates/{room} uses {to}, which only {hosts:?} may"));
            }
        }
    }
    if packages.len() != ROOMS.len() + 1 {
        problems.push(format!(
            "{} packages, but xtask/src/arrows.rs knows {} rooms and xtask",
            packages.len(),
            ROOMS.len()
        ));
    }
    Ok(problems)
}
