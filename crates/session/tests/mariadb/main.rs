//! The room from outside once more, over a private MariaDB: the same stories as over
//! SQLite, then what only a server can do to its guests, and the old servers' tables.
//!
//! Needs Debian's `mariadb-server`.

#![expect(clippy::expect_used, reason = "what fails in a helper fails its test")]

mod backend;
mod beside;
mod cauth;
mod migrate;
mod outage;
mod shared;
mod shared_values;

#[path = "../it/check.rs"]
mod check;
#[path = "../it/data.rs"]
mod data;
#[path = "../it/golden.rs"]
mod golden;
#[path = "../it/key.rs"]
mod key;
#[path = "../it/login.rs"]
mod login;
#[path = "../it/phone.rs"]
mod phone;
#[path = "../it/platform.rs"]
mod platform;
#[path = "../it/reload.rs"]
mod reload;
#[path = "../it/require.rs"]
mod require;
#[path = "../it/revoke.rs"]
mod revoke;
#[path = "../it/rpc.rs"]
mod rpc;
#[path = "../it/several.rs"]
mod several;
#[path = "../it/show.rs"]
mod show;
#[path = "../it/sign.rs"]
mod sign;
#[path = "../it/wechat.rs"]
mod wechat;
#[path = "../it/withdraw.rs"]
mod withdraw;
#[path = "../it/world.rs"]
mod world;

#[allow(dead_code, reason = "weappd's own tests use the rest")]
#[path = "../../../weappd/tests/it/mariadb.rs"]
mod mariadb;
#[allow(dead_code, reason = "weappd's own tests use the rest")]
#[path = "../../../weappd/tests/it/process.rs"]
mod process;
