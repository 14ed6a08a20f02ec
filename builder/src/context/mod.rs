//! The build context: a directory, less what the ignore file leaves out.

mod hash;
mod stat_cache;
mod tree;

pub(crate) use hash::hash_contents;
pub(crate) use stat_cache::StatCache;
pub use tree::Context;
