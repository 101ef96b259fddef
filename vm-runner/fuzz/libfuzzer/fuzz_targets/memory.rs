//! See `vm_fuzz::memory`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vm_fuzz::memory(data));
