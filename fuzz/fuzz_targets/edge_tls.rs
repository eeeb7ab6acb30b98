//! See `fuzz/rooms/edge.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_edge::fuzzing::run("edge_tls", data));
