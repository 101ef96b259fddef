//! See `vm_fuzz::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vm_fuzz::archive(data));
