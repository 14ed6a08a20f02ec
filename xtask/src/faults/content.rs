//! Numbers and bytes that look random and come again with the same seed.

/// A generator of numbers (xorshift64*), the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The sequence of this seed; `stream` tells sequences of one seed apart.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        // The splitmix64 step spreads seeds that differ in one bit only.
        let mut state = seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((state ^ (state >> 31)).max(1))
    }

    /// The next number.
    pub(super) const fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }

    /// This many bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length + 8);
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

/// Bytes that are made again instead of being remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    seed: u64,
    length: usize,
}

impl Content {
    /// This many bytes.
    pub(super) const fn new(random: &mut Random, length: usize) -> Self {
        Self {
            seed: random.next(),
            length,
        }
    }

    /// The bytes.
    pub(super) fn bytes(self) -> Vec<u8> {
        Random::new(self.seed, 0).bytes(self.length)
    }
}

/// The digest of some bytes, as the API writes it.
pub(super) fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", crate::archive::sha256(bytes))
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_gives_the_same_bytes_and_another_one_others() {
        assert_eq!(Random::new(1, 2).bytes(100), Random::new(1, 2).bytes(100));
        assert_ne!(Random::new(1, 2).bytes(100), Random::new(1, 3).bytes(100));
        assert_ne!(Random::new(1, 2).bytes(100), Random::new(2, 2).bytes(100));
        assert_eq!(Random::new(1, 2).bytes(13).len(), 13);
    }
}
