//! The two identities of layers in a root file system (image-spec, config.md, "Layer `DiffID`", "Layer `ChainID`").

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// The digest of a layer's uncompressed tar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiffId(pub Digest);

impl fmt::Display for DiffId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a stack of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChainId(Digest);

impl ChainId {
    /// The chain of one layer: its diff id.
    pub const fn base(layer: DiffId) -> Self {
        Self(layer.0)
    }

    /// The chain that has `layer` on top of `self`.
    #[must_use]
    pub fn child(self, layer: DiffId) -> Self {
        Self(Digest::sha256(format!("{} {}", self.0, layer.0)))
    }

    /// The chain of `layers`, lowest first; none when there are no layers.
    pub fn of(layers: &[DiffId]) -> Option<Self> {
        let (first, rest) = layers.split_first()?;
        Some(
            rest.iter()
                .fold(Self::base(*first), |chain, layer| chain.child(*layer)),
        )
    }

    /// The digest itself.
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_the_digest_of_the_chain_below_and_the_layer() {
        let [a, b] = [b"a", b"b"].map(|content| DiffId(Digest::sha256(content)));
        assert_eq!(ChainId::of(&[]), None);
        assert_eq!(ChainId::of(&[a]).map(|c| c.digest()), Some(a.0));
        let want = Digest::sha256(format!("{a} {b}"));
        assert_eq!(ChainId::of(&[a, b]).map(|c| c.digest()), Some(want));
    }
}
