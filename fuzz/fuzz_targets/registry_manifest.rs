//! Any bytes as a manifest: what it refers to is what stands in it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rbuild_registry_server::fuzz::manifest(data));
