//! Keys, and the builder that is the only way to make one.

use std::fmt;

use rbuild_image::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use crate::Ingredient;

/// Version of the meaning of keys. It moves whenever an ingredient is added, dropped or read differently,
/// so that records made under another meaning are never found.
pub const KEY_VERSION: &str = "1";

/// The longest value that an ingredient keeps as text, in bytes.
const SHOWN_MAX: usize = 200;

/// What would be done, to what: the name under which a step's result is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// The digest itself, for naming files.
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Collects the ingredients of a key.
///
/// Every part is hashed with its length, so that ("ab", "c") and ("a", "bc") differ.
///
/// ```
/// use rbuild_cache::KeyBuilder;
/// let key = |a: &str, b: &str| KeyBuilder::new("run").text("argv", a).text("workdir", b).finish().0;
/// assert_ne!(key("ab", "c"), key("a", "bc"));
/// ```
#[derive(Debug)]
pub struct KeyBuilder {
    hasher: Hasher,
    ingredients: Vec<Ingredient>,
}

impl KeyBuilder {
    /// Starts the key of an operation.
    pub fn new(operation: &'static str) -> Self {
        let mut builder = Self {
            hasher: Hasher::sha256(),
            ingredients: Vec::new(),
        };
        builder.part(KEY_VERSION.as_bytes());
        builder.part(operation.as_bytes());
        builder
    }

    /// Adds bytes; only their digest is kept for explaining.
    #[must_use]
    pub fn bytes(self, label: &str, value: &[u8]) -> Self {
        self.field(label, value, None)
    }

    /// Adds a text that may be shown to the user when it differs.
    #[must_use]
    pub fn text(self, label: &str, value: &str) -> Self {
        let shown = (value.len() <= SHOWN_MAX).then(|| value.to_owned());
        self.field(label, value.as_bytes(), shown)
    }

    /// Adds the identity of some content.
    #[must_use]
    pub fn content(self, label: &str, value: &Digest) -> Self {
        self.field(label, value.as_bytes(), None)
    }

    /// The key and its ingredients.
    pub fn finish(self) -> (CacheKey, Vec<Ingredient>) {
        (CacheKey(self.hasher.finish()), self.ingredients)
    }

    fn field(mut self, label: &str, value: &[u8], shown: Option<String>) -> Self {
        self.part(label.as_bytes());
        self.part(value);
        self.ingredients.push(Ingredient {
            label: label.to_owned(),
            value: Digest::sha256(value),
            shown,
        });
        self
    }

    fn part(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_be_bytes());
        self.hasher.update(bytes);
    }
}
