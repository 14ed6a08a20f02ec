//! The client against registries: a fake one that misbehaves on demand, and a real one.

mod peer;
mod support;
