//! What a removal sets free: everything that only the removed manifest kept, at whatever depth.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rbuild_image::Digest;
use rbuild_store::BlobInfo;

use super::{Freed, Result};
use crate::clock::Moment;

/// Manifests that are followed; what more of them keep is counted as kept.
pub(super) const MANIFESTS: usize = 1000;

/// Manifests that go, and after how many delays.
pub(super) type Gone = BTreeMap<Digest, u32>;

/// The manifests of one repository, and what they refer to.
pub(super) trait Holdings {
    /// Manifests of the repository that this one lists, and those whose subject it is.
    fn below(&self, manifest: &Digest) -> Result<Vec<Digest>>;

    /// Whether a tag keeps the manifest, or an index or a subject that stays.
    fn is_kept(&self, manifest: &Digest, gone: &Gone) -> Result<bool>;

    /// Blobs that the manifest refers to.
    fn blobs(&self, manifest: &Digest) -> Result<Vec<BlobInfo>>;

    /// Whether another repository holds the blob, or a manifest refers to it that stays.
    fn is_used(&self, blob: &Digest, gone: &Gone) -> Result<bool>;
}

/// What becomes free once this manifest has gone, which is `at` this time for its own blobs, and `step` later for those of what it kept.
///
/// Nothing does if it `stays`.
pub(super) fn freed(
    holdings: &impl Holdings,
    manifest: Digest,
    stays: bool,
    at: Moment,
    step: Duration,
) -> Result<Freed> {
    let mut gone = Gone::from([(manifest, 0)]);
    let mut queue = VecDeque::from([(manifest, 0_u32)]);
    while let Some((next, delays)) = queue.pop_front() {
        for below in holdings.below(&next)? {
            // Asked again for each index that goes, so the last one that kept it counts.
            if gone.len() < MANIFESTS
                && !gone.contains_key(&below)
                && !holdings.is_kept(&below, &gone)?
            {
                gone.insert(below, delays + 1);
                queue.push_back((below, delays + 1));
            }
        }
    }
    let mut blobs: BTreeMap<BlobInfo, u32> = BTreeMap::new();
    for (manifest, delays) in &gone {
        for blob in holdings.blobs(manifest)? {
            let latest = blobs.entry(blob).or_default();
            *latest = (*latest).max(*delays);
        }
    }
    let mut freed = Freed {
        bytes: 0,
        shared_bytes: 0,
        at,
    };
    let mut last = 0;
    for (blob, delays) in blobs {
        if stays || holdings.is_used(&blob.digest, &gone)? {
            freed.shared_bytes += blob.size;
        } else {
            freed.bytes += blob.size;
            last = last.max(delays);
        }
    }
    freed.at = at.plus(step.saturating_mul(last));
    Ok(freed)
}
