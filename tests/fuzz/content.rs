//! [`body::hold`] of what libFuzzer makes.
#![no_main]

mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::hold(data);
});
