//! See `fuzz/rooms/apps.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_apps::fuzzing::run("apps_texts", data));
