//! Any text as a Dockerfile: no panic, every byte in the tree, every span inside.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rbuild_parser::fuzz::parse(data));
