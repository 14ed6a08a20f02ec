//! Content of any length that costs the client next to nothing: one block of random bytes, again and again.

use sha2::{Digest as _, Sha256};

/// Bytes that are written at once. They stay in the processor's cache.
const BLOCK: usize = 256 << 10;

/// Some bytes with their digest.
pub(super) struct Content {
    block: Vec<u8>,
    length: u64,
    digest: String,
}

impl Content {
    /// `length` bytes that nothing else has; `number` tells contents apart.
    pub(super) fn new(number: u64, length: u64) -> Self {
        let size = usize::try_from(length).unwrap_or(BLOCK).min(BLOCK);
        let mut content = Self {
            block: random(number, size),
            length,
            digest: String::new(),
        };
        let mut hash = Sha256::new();
        for part in content.parts() {
            hash.update(part);
        }
        content.digest = format!("sha256:{:x}", Hex(&hash.finalize()));
        content
    }

    /// All of it, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts_of(0, self.length)
    }

    /// The bytes from `start` to `end`, which are multiples of a block or the end.
    pub(super) fn parts_of(&self, start: u64, end: u64) -> impl Iterator<Item = &[u8]> {
        let mut left = end - start;
        std::iter::from_fn(move || {
            let size = usize::try_from(left).unwrap_or(BLOCK).min(BLOCK);
            left -= size as u64;
            (size > 0).then(|| &self.block[..size])
        })
    }

    /// Its length in bytes.
    pub(super) const fn length(&self) -> u64 {
        self.length
    }

    /// `sha256:…`.
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }
}

/// The digest of some bytes.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{:x}", Hex(&Sha256::digest(bytes)))
}

struct Hex<'a>(&'a [u8]);

impl std::fmt::LowerHex for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Random bytes (splitmix64).
pub(super) fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x2545_f491_4f6c_dd1d);
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::{Content, digest};

    #[test]
    fn the_digest_is_that_of_the_parts() {
        let content = Content::new(7, 600_000);
        let bytes: Vec<u8> = content.parts().flatten().copied().collect();
        assert_eq!(bytes.len(), 600_000);
        assert_eq!(content.digest(), digest(&bytes));
        assert_ne!(content.digest(), Content::new(8, 600_000).digest());
    }
}
