//! The client against registries: a fake one that misbehaves on demand, and a real one.

mod auth;
mod cut;
mod fake;
mod peer;
mod pull;
mod push;
mod support;
