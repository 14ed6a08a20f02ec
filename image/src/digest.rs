//! Digests: the names of content (image-spec, descriptor.md, "Digests").

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256, Sha512};

/// A registered digest algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// SHA-256, the default of every image.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// The name that stands before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// A hasher of this algorithm.
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher(State::Sha256(Sha256::new())),
            Self::Sha512 => Hasher(State::Sha512(Sha512::new())),
        }
    }
}

impl FromStr for Algorithm {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(ParseDigestError::UnsupportedAlgorithm(
                text.chars().take(64).collect(),
            )),
        }
    }
}

/// The digest of some content; always well formed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// SHA-256, 32 bytes.
    Sha256([u8; 32]),
    /// SHA-512, 64 bytes.
    Sha512([u8; 64]),
}

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseDigestError {
    /// There is no `:` between algorithm and hex.
    #[error("a digest has the form `algorithm:hex`, and this has no colon")]
    MissingColon,
    /// The algorithm is not one of those we can compute.
    #[error("digest algorithm `{0}` is not supported (sha256 and sha512 are)")]
    UnsupportedAlgorithm(String),
    /// The hex part has the wrong length.
    #[error("a digest of this algorithm has {want} hex digits, and this has {got}")]
    Length {
        /// Digits that the algorithm needs.
        want: usize,
        /// Digits that were given.
        got: usize,
    },
    /// A character is no lower-case hex digit.
    #[error("a digest is written in lower-case hex digits")]
    NotLowerHex,
}

impl Digest {
    /// The SHA-256 digest of `content`.
    ///
    /// ```
    /// use rbuild_image::Digest;
    /// let empty = Digest::sha256(b"");
    /// assert_eq!(empty.hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    /// ```
    pub fn sha256(content: impl AsRef<[u8]>) -> Self {
        Self::Sha256(Sha256::digest(content.as_ref()).into())
    }

    /// The digest of `content` by `algorithm`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = algorithm.hasher();
        hasher.update(content);
        hasher.finish()
    }

    /// Which algorithm made it.
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    /// The bytes of the digest: 32 or 64.
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }

    /// The part behind the colon: lower-case hex.
    pub fn hex(&self) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(self.as_bytes().len() * 2);
        for byte in self.as_bytes() {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        text
    }

    /// The first twelve hex digits, for people.
    pub fn short(&self) -> String {
        let mut text = self.hex();
        text.truncate(12);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm().as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (algorithm, hex) = text.split_once(':').ok_or(ParseDigestError::MissingColon)?;
        match algorithm.parse()? {
            Algorithm::Sha256 => decode_hex(hex).map(Self::Sha256),
            Algorithm::Sha512 => decode_hex(hex).map(Self::Sha512),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn decode_hex<const N: usize>(hex: &str) -> Result<[u8; N], ParseDigestError> {
    if hex.len() != N * 2 {
        return Err(ParseDigestError::Length {
            want: N * 2,
            got: hex.len(),
        });
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        match (nibble(pair[0]), nibble(pair[1])) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => return Err(ParseDigestError::NotLowerHex),
        }
    }
    Ok(bytes)
}

/// Upper-case hex is refused: two spellings of one digest would be two names for one blob.
const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Moves with the form of a saved hash state, which `sha2` keeps stable within 0.11.
const STATE_VERSION: u8 = 11;

/// Computes a [`Digest`] from bytes as they come.
#[derive(Debug, Clone)]
pub struct Hasher(State);

#[derive(Debug, Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Hasher {
    /// A SHA-256 hasher.
    pub fn sha256() -> Self {
        Algorithm::Sha256.hasher()
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Sha256(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
    }

    /// The state after the bytes taken so far, for [`Self::restore`]: private to the version of this crate.
    pub fn state(&self) -> Vec<u8> {
        let mut saved = vec![STATE_VERSION];
        match &self.0 {
            State::Sha256(state) => saved.extend_from_slice(&state.serialize()),
            State::Sha512(state) => saved.extend_from_slice(&state.serialize()),
        }
        saved
    }

    /// Goes on from a saved [`Self::state`]; `None` if it is not one of this version and `algorithm`.
    ///
    /// ```
    /// use rbuild_image::{Algorithm, Digest, Hasher};
    ///
    /// let mut first = Hasher::sha256();
    /// first.update(b"hello, ");
    /// let mut second = Hasher::restore(Algorithm::Sha256, &first.state()).expect("just saved");
    /// second.update(b"world");
    /// assert_eq!(second.finish(), Digest::sha256(b"hello, world"));
    /// assert!(Hasher::restore(Algorithm::Sha256, b"rubbish").is_none());
    /// ```
    pub fn restore(algorithm: Algorithm, saved: &[u8]) -> Option<Self> {
        let saved = saved.strip_prefix(&[STATE_VERSION])?;
        let state = match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::deserialize(saved.try_into().ok()?).ok()?),
            Algorithm::Sha512 => State::Sha512(Sha512::deserialize(saved.try_into().ok()?).ok()?),
        };
        Some(Self(state))
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        match self.0 {
            State::Sha256(state) => Digest::Sha256(state.finalize().into()),
            State::Sha512(state) => Digest::Sha512(state.finalize().into()),
        }
    }
}

impl io::Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader that errs where the content is not what was promised.
///
/// It ends with [`io::ErrorKind::InvalidData`] when the content is shorter or longer than promised or has
/// another digest; it never hands out a byte past the promised length.
#[derive(Debug)]
pub struct VerifyReader<R> {
    inner: R,
    left: u64,
    state: Option<Hasher>,
    want: Digest,
}

impl<R: Read> VerifyReader<R> {
    /// Reads `inner`, which should hold `size` bytes with digest `want`.
    pub fn new(inner: R, want: Digest, size: u64) -> Self {
        Self {
            inner,
            left: size,
            state: Some(want.algorithm().hasher()),
            want,
        }
    }

    fn at_end(&mut self) -> io::Result<usize> {
        let Some(hasher) = self.state.take() else {
            return Ok(0);
        };
        let got = hasher.finish();
        if got == self.want {
            return Ok(0);
        }
        Err(invalid(format!(
            "content has digest `{got}`, and `{}` was promised",
            self.want
        )))
    }
}

impl<R: Read> Read for VerifyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            if self.state.is_some() && self.inner.read(&mut [0])? != 0 {
                return Err(invalid("content is longer than promised".to_owned()));
            }
            return self.at_end();
        }
        let room = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let count = self.inner.read(&mut buffer[..room])?;
        if count == 0 {
            return Err(invalid(format!("content ends {} bytes early", self.left)));
        }
        if let Some(hasher) = &mut self.state {
            hasher.update(&buffer[..count]);
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_refused(text: &str, want: &ParseDigestError) {
        assert_eq!(text.parse::<Digest>().as_ref(), Err(want));
    }

    #[test]
    fn a_digest_reads_back_as_it_was_written() {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let digest = Digest::of(algorithm, b"abc");
            assert_eq!(digest.to_string().parse(), Ok(digest));
        }
    }

    #[test]
    fn malformed_digests_are_refused() {
        check_refused("", &ParseDigestError::MissingColon);
        check_refused("sha256", &ParseDigestError::MissingColon);
        check_refused(
            "md5:00",
            &ParseDigestError::UnsupportedAlgorithm("md5".into()),
        );
        check_refused("sha256:00", &ParseDigestError::Length { want: 64, got: 2 });
        check_refused(
            &format!("sha256:{}", "A".repeat(64)),
            &ParseDigestError::NotLowerHex,
        );
        check_refused(
            &format!("sha256:{}", "é".repeat(32)),
            &ParseDigestError::NotLowerHex,
        );
    }

    #[track_caller]
    fn check_reader(content: &[u8], promised: &[u8], size: u64, ok: bool) {
        let mut reader = VerifyReader::new(content, Digest::sha256(promised), size);
        let mut read = Vec::new();
        assert_eq!(reader.read_to_end(&mut read).is_ok(), ok);
        assert!(read.len() as u64 <= size);
    }

    #[test]
    fn verify_reader_notices_every_broken_promise() {
        check_reader(b"abc", b"abc", 3, true);
        check_reader(b"", b"", 0, true);
        check_reader(b"abd", b"abc", 3, false);
        check_reader(b"ab", b"abc", 3, false);
        check_reader(b"abcd", b"abc", 3, false);
        check_reader(b"x", b"", 0, false);
    }
}
