//! What a finished step left behind: its key, its record, and why a later step missed.
//!
//! A key is made of the operation and the content of its inputs, never of the history that led there
//! (docs/keys.md). The index is a hint: deleting it costs time only.
//! This crate knows no Dockerfile and no layer format.

#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod explain;
pub mod fs;
pub mod index;
pub mod key;
pub mod memory;
pub mod record;

pub use explain::{Difference, differences};
pub use fs::FsCacheIndex;
pub use index::{CacheIndex, Position};
pub use key::{CacheKey, KeyBuilder};
pub use memory::MemoryCacheIndex;
pub use record::{Ingredient, LayerRecord, Record};
