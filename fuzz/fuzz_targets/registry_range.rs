//! Any text as a range or the place of a chunk: it lies inside.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rbuild_registry_server::fuzz::range(data));
