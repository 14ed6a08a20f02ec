//! Any text as an ignore file and a path: no panic, and pruning agrees with the rules.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rbuild_parser::fuzz::ignore(data));
