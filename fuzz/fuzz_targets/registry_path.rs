//! Any text as the path of a request, a name, a tag, a digest: they are those of the specification.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| rbuild_registry_server::fuzz::path(data));
