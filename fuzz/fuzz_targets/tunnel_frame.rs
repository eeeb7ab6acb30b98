//! See `fuzz/rooms/tunnel.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_tunnel::fuzzing::run("tunnel_frame", data));
