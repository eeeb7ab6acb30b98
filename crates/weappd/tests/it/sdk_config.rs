//! `weappd sdk-config`: what the old SDKs take, in every form, and where it goes.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::old_software::OldSoftware;
use crate::world::{APP_SECRET, TestWorld, WEAPPD, WorldRecipe};

const KEY: &str = "9f338d1f0ecc37d25ac7b161c1d7bf72";
const PLACEHOLDER: &str = "placeholder: weappd does not use it";

fn serve() -> TestWorld {
    let tunnel = format!("[tunnel]\nkey = \"{KEY}\"");
    WorldRecipe::new().sections(&tunnel).serve()
}

/// What is printed in this form, as the file `name`, and the words beside it.
fn printed(world: &TestWorld, args: &[&str], name: &str) -> (std::path::PathBuf, String) {
    let printed = sdk_config(world.dir(), args);
    let words = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(printed.status.success(), "{words}");
    let file = world.dir().join(name);
    fs::write(&file, &printed.stdout).expect(name);
    (file, words)
}

fn sdk_config(dir: &Path, args: &[&str]) -> Output {
    Command::new(WEAPPD)
        .arg("sdk-config")
        .args(args)
        .current_dir(dir)
        .env("WEAPP_SECRET", APP_SECRET)
        .output()
        .expect("weappd runs")
}

/// What `script` prints, in a Node that has the old SDKs.
fn node(script: &str, args: &[&Path]) -> Value {
    let software = OldSoftware::install();
    let read = Command::new("node")
        .args(["-e", script])
        .args(args)
        .env("NODE_PATH", software.modules())
        .output()
        .expect("node runs");
    let words = String::from_utf8_lossy(&read.stderr);
    assert!(read.status.success(), "{words}");
    serde_json::from_slice(&read.stdout).expect("JSON")
}

#[test]
fn the_file_is_what_both_generations_take() {
    let world = serve();
    let (file, words) = printed(&world, &[], "sdk.config");
    for place in ["/etc/qcloud/sdk.config", "/data/release/sdk.config.json"] {
        assert!(words.contains(place), "{words}");
    }
    assert!(words.contains("\"placeholder\""), "{words}");
    let internal = format!("http://{}", world.internal);

    // The SDK ignores a field of the wrong type, and throws when one is empty.
    let read = node(
        "const { config } = require('qcloud-weapp-server-sdk');\
         const given = JSON.parse(require('fs').readFileSync(process.argv[1], 'utf8'));\
         config(Object.fromEntries(Object.entries(given).map(([key, value]) => \
             [key[0].toUpperCase() + key.slice(1), value])));\
         console.log(JSON.stringify([config.getServerHost(), config.getAuthServerUrl(), \
             config.getTunnelServerUrl(), config.getTunnelSignatureKey(), config.getNetworkTimeout()]));",
        &[&file],
    );
    let auth = format!("{internal}/mina_auth/");
    assert_eq!(read, json!(["localhost", auth, internal, KEY, 30_000]));

    // As Wafer 2's demo merges it with its own config.js.
    let read = node(
        "const given = JSON.parse(require('fs').readFileSync(process.argv[1], 'utf8'));\
         const own = { rootPathname: '', useQcloudLogin: false, \
             cos: { region: 'r', fileBucket: 'b', uploadFolder: '' }, \
             mysql: { host: 'h', port: 3306, user: 'u', pass: '', db: 'cAuth' } };\
         const { config } = require('wafer-node-sdk')({ ...given, ...own });\
         console.log(JSON.stringify([config.serverHost, config.tunnelServerUrl, \
             config.tunnelSignatureKey, config.qcloudAppId, config.qcloudSecretId, \
             config.qcloudSecretKey, config.wxMessageToken]));",
        &[&file],
    );
    let unused = [PLACEHOLDER; 4];
    let mut wanted = vec!["localhost", &internal, KEY];
    wanted.extend(unused);
    assert_eq!(read, json!(wanted));
}

#[test]
fn the_module_is_what_the_readmes_of_the_sdks_ask_for() {
    let world = serve();
    let (file, words) = printed(&world, &["--format", "js"], "sdk.config.js");
    assert!(words.contains("> sdk.config.js"), "{words}");
    let read = node(
        "const { wafer1, wafer2 } = require(process.argv[1]);\
         const first = require('qcloud-weapp-server-sdk').config;\
         first(wafer1);\
         const second = require('wafer-node-sdk')(wafer2).config;\
         console.log(JSON.stringify([first.getServerHost(), first.getAuthServerUrl(), \
             first.getTunnelSignatureKey(), second.tunnelServerUrl, second.wxMessageToken]));",
        &[&file],
    );
    let internal = format!("http://{}", world.internal);
    let auth = format!("{internal}/mina_auth/");
    assert_eq!(read, json!(["localhost", auth, KEY, internal, PLACEHOLDER]));
}

#[test]
fn the_variables_are_those_of_weappds_own_apps() {
    let world = serve();
    let (file, words) = printed(&world, &["--format", "env"], "weappd.env");
    assert!(words.contains("EnvironmentFile="), "{words}");
    let told = Command::new("sh")
        .arg("-c")
        .arg("set -a; . \"$0\"; echo \"$WEAPPD_SERVER_HOST $WEAPPD_TUNNEL_KEY $WEAPPD_INTERNAL_URL\"")
        .arg(&file)
        .output()
        .expect("a shell");
    let wanted = format!("localhost {KEY} http://{}\n", world.internal);
    assert_eq!(String::from_utf8_lossy(&told.stdout), wanted);
}

#[test]
fn a_site_that_is_not_there_is_told_with_those_that_are() {
    let world = serve();
    let other = sdk_config(world.dir(), &["--host", "elsewhere.example"]);
    assert_eq!(other.status.code(), Some(1));
    let words = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(words.contains("localhost"), "{words}");
}
