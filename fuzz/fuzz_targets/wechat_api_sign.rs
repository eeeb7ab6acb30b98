//! See `crates/wechat/src/api_sign/fuzzing.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_wechat::fuzzing::run("wechat_api_sign", data));
