//! Whole builds with an executor that needs no privilege: what ends up in the image, and what is executed again.

mod cache;
mod config;
mod copy;
mod errors;
mod support;
