//! Any text as a word: no panic, and the names are names.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rbuild_parser::fuzz::expand(data));
