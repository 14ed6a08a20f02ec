//! Reading everything again and comparing it with its digest, at a bounded rate.

use std::io::Read;
use std::time::{Duration, Instant};

use rbuild_image::Digest;
use rbuild_store::fs::Verdict;
use rbuild_store::{BlobStore, FsBlobStore};

use super::{AdminError, at};
use crate::metadata::MetadataStore;

/// Records of one look into the database.
const PAGE: usize = 200;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs and manifests that were read.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those whose content is not what their digest says. They count as absent until they are pushed again.
    pub damaged: Vec<Digest>,
    /// Blobs that are recorded and not there.
    pub missing: Vec<Digest>,
}

/// How fast bytes may be read.
pub struct Pace {
    bytes_per_second: u64,
    began: Instant,
    bytes: u64,
    stop: Box<dyn Fn(Duration) -> bool + Send>,
}

impl std::fmt::Debug for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pace")
            .field("bytes_per_second", &self.bytes_per_second)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Pace {
    /// At most this many bytes per second; 0 sets no bound.
    ///
    /// `pause` waits for as long as it is told, and says whether to stop.
    pub fn new(bytes_per_second: u64, pause: impl Fn(Duration) -> bool + Send + 'static) -> Self {
        Self {
            bytes_per_second,
            began: Instant::now(),
            bytes: 0,
            stop: Box::new(pause),
        }
    }

    /// Counts bytes, and waits until they are due. `true`: stop.
    fn spend(&mut self, bytes: usize) -> bool {
        self.bytes += bytes as u64;
        let due = self
            .bytes
            .saturating_mul(1000)
            .checked_div(self.bytes_per_second)
            .map_or(Duration::ZERO, Duration::from_millis);
        (self.stop)(due.saturating_sub(self.began.elapsed()))
    }
}

/// Verifies everything, or as much as the pace allows before it is told to stop.
pub fn verify(
    blobs: &FsBlobStore,
    metadata: &dyn MetadataStore,
    pace: &mut Pace,
) -> Result<Verified, AdminError> {
    let mut verified = Verified::default();
    let mut after = None;
    loop {
        let contents = metadata.contents(after.as_ref(), PAGE)?;
        let Some((last, _)) = contents.last() else {
            break;
        };
        after = Some(*last);
        for (digest, content) in &contents {
            verified.objects += 1;
            verified.bytes += content.len() as u64;
            if Digest::of(digest.algorithm(), content) != *digest {
                verified.damaged.push(*digest);
            }
            if pace.spend(content.len()) {
                return Ok(verified);
            }
        }
    }
    let mut after = None;
    loop {
        let page = metadata.stored_blobs(after.as_ref(), PAGE)?;
        let Some(last) = page.last() else {
            return Ok(verified);
        };
        after = Some(last.digest);
        for blob in &page {
            let Some(stop) = verify_file(blobs, blob.digest, &mut verified, pace)? else {
                // The record may have gone since the page was read.
                if metadata.knows_blob(&blob.digest)? {
                    verified.missing.push(blob.digest);
                }
                continue;
            };
            if stop {
                return Ok(verified);
            }
        }
    }
}

/// `None`: the blob is not there. Otherwise, whether to stop.
fn verify_file(
    blobs: &FsBlobStore,
    digest: Digest,
    verified: &mut Verified,
    pace: &mut Pace,
) -> Result<Option<bool>, AdminError> {
    let path = blobs.path_of(&digest);
    let reader = blobs.open(&digest).map_err(at(&path))?;
    let Some(mut reader) = reader else {
        return match blobs.verify(&digest).map_err(at(&path))? {
            Verdict::Missing => Ok(None),
            // It was known to be damaged, or has been healed this moment.
            Verdict::Damaged => {
                verified.objects += 1;
                verified.damaged.push(digest);
                Ok(Some(false))
            }
            Verdict::Intact(_) => Ok(Some(false)),
        };
    };
    verified.objects += 1;
    let mut hasher = digest.algorithm().hasher();
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = reader.read(&mut chunk).map_err(at(&path))?;
        if count == 0 {
            break;
        }
        hasher.update(&chunk[..count]);
        verified.bytes += count as u64;
        if pace.spend(count) {
            return Ok(Some(true));
        }
    }
    if hasher.finish() != digest {
        // Read once more by the store itself, which then remembers what it found.
        if blobs.verify(&digest).map_err(at(&path))? == Verdict::Damaged {
            verified.damaged.push(digest);
        }
    }
    Ok(Some(false))
}

/// Verifies everything again and again until `pause` says to stop, and logs what is damaged.
pub fn verify_forever(
    blobs: &FsBlobStore,
    metadata: &dyn MetadataStore,
    bytes_per_second: u64,
    pause: impl Fn(Duration) -> bool + Clone + Send + 'static,
) {
    // Between two rounds, so that an almost empty registry is not read all the time.
    const REST: Duration = Duration::from_hours(1);
    while !pause(REST) {
        let mut pace = Pace::new(bytes_per_second, pause.clone());
        match verify(blobs, metadata, &mut pace) {
            Ok(verified) if verified.damaged.is_empty() && verified.missing.is_empty() => {
                tracing::info!(
                    objects = verified.objects,
                    size_bytes = verified.bytes,
                    "verified what is stored"
                );
            }
            Ok(verified) => {
                for digest in verified.damaged.iter().chain(&verified.missing) {
                    tracing::error!(%digest, "content is damaged or missing; pushing it again heals it");
                }
            }
            Err(error) => tracing::error!(?error, "could not verify what is stored"),
        }
    }
}
