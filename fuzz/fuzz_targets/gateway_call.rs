//! See `fuzz/rooms/gateway.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_gateway::fuzzing::run("gateway_call", data));
