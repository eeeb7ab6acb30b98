//! See `fuzz/rooms/wechat.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_wechat::fuzzing::run("wechat_message", data));
