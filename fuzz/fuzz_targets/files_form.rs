//! See `fuzz/rooms/files.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| weappd_files::fuzzing::run("files_form", data));
