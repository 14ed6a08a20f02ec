//! Whole builds with an executor that needs no privilege: what ends up in the image, and what is executed again.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod cache;
mod config;
mod copy;
mod errors;
mod support;
