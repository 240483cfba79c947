#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| socket2me::fuzzing::cluster(data));
