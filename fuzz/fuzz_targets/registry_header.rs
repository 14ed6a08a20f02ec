//! Any text as a query and headers: what is understood is what was said.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rbuild_registry_server::fuzz::header(data));
