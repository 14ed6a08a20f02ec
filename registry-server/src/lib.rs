//! The OCI distribution API: a registry as a library, and its thin binary.
//!
//! Three layers, each knowing only the one below:
//!
//! - [`http`] reads requests and writes answers; nothing else knows HTTP.
//! - [`service`] holds the rules of a registry; it knows no HTTP and no SQL.
//! - [`metadata`] and `rbuild_store` keep what was pushed.
//!
//! [`serve`] puts them together, and gives tests of other crates a registry in their own process.
//! [`admin`] is what is done to a registry's directory from beside it: verify, back up, restore, import.

pub mod admin;
pub mod clock;
pub mod config;
pub mod fuzz;
pub mod http;
pub mod metadata;
pub mod serve;
pub mod service;
mod session;
mod tls;
