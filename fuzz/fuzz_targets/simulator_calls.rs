//! See `fuzz/rooms/simulator.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_simulator::fuzzing::run("simulator_calls", data));
