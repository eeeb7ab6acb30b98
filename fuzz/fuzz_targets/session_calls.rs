//! See `fuzz/rooms/session.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_session::fuzzing::run("session_calls", data));
