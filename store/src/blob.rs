//! The traits: what every blob store promises.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::ops::ControlFlow;
use std::str::FromStr;

use rbuild_image::{Algorithm, Digest};

/// What a store knows about a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobInfo {
    /// Digest of the content; its name.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
}

/// What the writer promised about the content before it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: whatever was written is the blob, named by the ingest's own algorithm.
    Any,
    /// This many bytes.
    Size(u64),
    /// This digest; its algorithm names the blob, even if the ingest was started with another one.
    Digest(Digest),
    /// This digest and this many bytes, as a descriptor says.
    Blob(BlobInfo),
}

impl Expected {
    /// The promised digest, if there is one.
    pub const fn digest(&self) -> Option<Digest> {
        match self {
            Self::Any | Self::Size(_) => None,
            Self::Digest(digest) => Some(*digest),
            Self::Blob(blob) => Some(blob.digest),
        }
    }

    /// The promised length in bytes, if there is one.
    pub const fn size(&self) -> Option<u64> {
        match self {
            Self::Any | Self::Digest(_) => None,
            Self::Size(size) => Some(*size),
            Self::Blob(blob) => Some(blob.size),
        }
    }

    /// Compares the promise with what was written.
    ///
    /// ```
    /// use rbuild_image::Digest;
    /// use rbuild_store::{BlobInfo, CommitError, Expected};
    ///
    /// let actual = BlobInfo { digest: Digest::sha256(b"abc"), size: 3 };
    /// assert!(Expected::Digest(actual.digest).check(actual).is_ok());
    /// assert!(matches!(Expected::Size(4).check(actual), Err(CommitError::Size { expected: 4, actual: 3 })));
    /// ```
    pub fn check(&self, actual: BlobInfo) -> Result<(), CommitError> {
        if let Some(size) = self.size()
            && size != actual.size
        {
            return Err(CommitError::Size {
                expected: size,
                actual: actual.size,
            });
        }
        match self.digest() {
            Some(digest) if digest != actual.digest => Err(CommitError::Digest {
                expected: digest,
                actual: actual.digest,
            }),
            _ => Ok(()),
        }
    }
}

/// Why an ingest did not become a blob; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The content is not what was promised.
    #[error("content has digest `{actual}`, not the promised `{expected}`")]
    Digest {
        /// The promised digest.
        expected: Digest,
        /// The digest of what was written.
        actual: Digest,
    },
    /// The content is not as long as promised.
    #[error("content has {actual} bytes, not the promised {expected}")]
    Size {
        /// The promised length in bytes.
        expected: u64,
        /// The length of what was written, in bytes.
        actual: u64,
    },
    /// The store could not do it.
    #[error("could not store the blob")]
    Io(#[from] io::Error),
}

/// The name of an ingest that is not yet a blob: 32 lower-case hexadecimal digits, not guessable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IngestId(Box<str>);

/// The text is no ingest id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an ingest id has 32 lower-case hexadecimal digits")]
pub struct ParseIngestIdError;

impl IngestId {
    /// A new id from the system's random source.
    pub fn random() -> io::Result<Self> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let mut text = String::with_capacity(32);
        for byte in bytes {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
            }
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IngestId {
    type Err = ParseIngestIdError;

    /// ```
    /// use rbuild_store::IngestId;
    ///
    /// assert!("0123456789abcdef0123456789abcdef".parse::<IngestId>().is_ok());
    /// assert!("../../etc/passwd".parse::<IngestId>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well_formed = text.len() == 32
            && text
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if well_formed {
            Ok(Self(text.into()))
        } else {
            Err(ParseIngestIdError)
        }
    }
}

impl fmt::Display for IngestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where an ingest stood: enough to go on without reading what is already there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Bytes that were written and hashed, and (in a durable store) are on disk.
    pub offset: u64,
    /// The algorithm that the ingest hashes with.
    pub algorithm: Algorithm,
    /// The state of the hash after `offset` bytes, in a form private to the store's version.
    ///
    /// Empty or not understood: the bytes are read again.
    pub hash_state: Vec<u8>,
}

/// Blobs, by digest.
pub trait BlobStore: Send + Sync + fmt::Debug {
    /// Whether the blob is here, and how long it is.
    ///
    /// A blob whose file is damaged counts as absent.
    fn stat(&self, digest: &Digest) -> io::Result<Option<BlobInfo>>;

    /// Opens the blob for reading; `None` if it is not here.
    ///
    /// An open reader keeps reading the same bytes, whatever happens to the blob's name.
    fn open(&self, digest: &Digest) -> io::Result<Option<Box<dyn BlobReader>>>;

    /// Starts an ingest that hashes with `algorithm`.
    fn ingest_with(&self, algorithm: Algorithm) -> io::Result<Box<dyn Ingest>>;

    /// Starts an ingest that hashes with SHA-256.
    fn ingest(&self) -> io::Result<Box<dyn Ingest>> {
        self.ingest_with(Algorithm::Sha256)
    }

    /// Takes up an ingest that was dropped.
    ///
    /// With a checkpoint, bytes behind its offset are forgotten and the hash goes on from its state;
    /// without one, everything that was written is hashed again.
    /// If fewer bytes are there than the checkpoint says, [`Ingest::offset`] tells how many.
    /// `None`: there is no such ingest (it was committed, aborted or swept).
    /// An error of kind [`io::ErrorKind::WouldBlock`]: another writer has it.
    fn resume(
        &self,
        id: &IngestId,
        checkpoint: Option<&Checkpoint>,
    ) -> io::Result<Option<Box<dyn Ingest>>>;

    /// Removes the blob. `Ok`: it is not here now.
    fn delete(&self, digest: &Digest) -> io::Result<()>;

    /// Visits every blob, in no particular order, until `visit` breaks off.
    ///
    /// Blobs that come or go meanwhile may be visited or not.
    fn walk(&self, visit: &mut dyn FnMut(BlobInfo) -> ControlFlow<()>) -> io::Result<()>;
}

/// An open blob.
pub trait BlobReader: Read + Seek + Send + fmt::Debug {
    /// Length of the blob in bytes.
    fn size(&self) -> u64;

    /// The open file, where the store keeps blobs as files: for mapping it or sending it by the kernel.
    fn file(&self) -> Option<&File> {
        None
    }
}

/// Content on its way into a store.
///
/// Dropping it keeps what was written so far for [`BlobStore::resume`], until a sweep takes it.
pub trait Ingest: Write + Send + fmt::Debug {
    /// The name for [`BlobStore::resume`].
    fn id(&self) -> &IngestId;

    /// Bytes written so far.
    fn offset(&self) -> u64;

    /// Whether writing so many bytes would not wait for a disk: then it can be done where nobody may wait.
    fn takes(&self, bytes: usize) -> bool {
        let _ = bytes;
        false
    }

    /// Makes what was written so far survive a crash (in a durable store), and tells how to go on from here.
    fn checkpoint(&mut self) -> io::Result<Checkpoint>;

    /// Makes the blob visible, all of it or none.
    ///
    /// `Ok` means "the store has this content", not "this call put it there":
    /// committing content that is already stored succeeds.
    /// After an error nothing of the ingest is left.
    fn commit(self: Box<Self>, expected: Expected) -> Result<BlobInfo, CommitError>;

    /// Throws away what was written.
    fn abort(self: Box<Self>) -> io::Result<()>;
}
