//! See `crates/weappd/src/config/fuzzing.rs`.
#![no_main]
#![allow(
    dead_code,
    unused_imports,
    reason = "weappd is a program: some of its modules are taken in whole"
)]

#[path = "../../crates/weappd/src/config/mod.rs"]
mod config;
#[path = "../../crates/weappd/src/plan.rs"]
mod plan;
#[path = "../../crates/weappd/src/site_rooms.rs"]
mod site_rooms;


libfuzzer_sys::fuzz_target!(|data: &[u8]| config::fuzzing::run("weappd_config", data));
