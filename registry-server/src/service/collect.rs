//! Collecting what nothing refers to, while clients push.
//!
//! There is no marking of everything and no pause. Whatever may turn something into garbage (a push that is not finished,
//! a tag that moves, a deletion) leaves an entry in the queue of reviews, within its own transaction.
//! A review decides in one transaction as well, so nothing can be referred to between question and removal.

use std::time::{Duration, Instant};

use rbuild_store::{BlobInfo, BlobStore};

use super::{Registry, Result};
use crate::clock::Moment;
use crate::metadata::{Received, UploadId};

/// Reviews of one transaction.
const BATCH: usize = 100;
/// Blobs that are removed together: pushes of the same ones wait that long.
const AT_ONCE: usize = 25;
/// Uploads that are forgotten together.
const UPLOADS: usize = 250;
/// Files that no record knows are left alone for this long: their record may be on its way.
const STRAY_AGE: Duration = Duration::from_hours(24);
/// Ingests that no upload names and nobody writes to are what a crash has left; this is far longer than recording one takes.
const LEFTOVER_AGE: Duration = Duration::from_mins(10);

/// What a collection did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests that went.
    pub manifests: u64,
    /// Links of blobs to repositories that went.
    pub links: u64,
    /// Blobs that went.
    pub blobs: u64,
    /// Bytes that they had.
    pub bytes: u64,
    /// Uploads and their leftovers that went.
    pub uploads: u64,
}

impl Registry {
    /// Does every review that is due, and forgets uploads that nothing comes for.
    pub fn collect(&self) -> Result<Collected> {
        self.collect_beside(&mut |_| true)
    }

    /// The same beside other work: `pause` is told how long each step took, and lets others have their time; `false` ends it early.
    pub fn collect_beside(&self, pause: &mut dyn FnMut(Duration) -> bool) -> Result<Collected> {
        let mut collected = Collected::default();
        // A backup reads files by the list that it copied first; they must stay until it is done.
        let Some(_removing) = self.removing()? else {
            return Ok(collected);
        };
        loop {
            let begin = Instant::now();
            let reviewed = self.metadata().review(self.now(), self.delays(), BATCH)?;
            collected.manifests += reviewed.manifests;
            collected.links += reviewed.links;
            let mut go_on = pause(begin.elapsed());
            // Also after the sign to stop: nothing else remembers them but the slow sweep.
            for orphans in reviewed.orphans.chunks(AT_ONCE) {
                let begin = Instant::now();
                for removed in self.remove_blobs(orphans)? {
                    collected.blobs += 1;
                    collected.bytes += removed.size;
                }
                go_on = go_on && pause(begin.elapsed());
            }
            if reviewed.reviews < BATCH as u64 || !go_on {
                break;
            }
        }
        collected.uploads = self.expire_uploads(pause)?;
        let old = self.now().minus(self.0.parts.collect.events);
        self.metadata().forget_events(old)?;
        Ok(collected)
    }

    /// Removes records and bytes of blobs that no repository holds, and tells which went; the others are held again.
    fn remove_blobs(&self, blobs: &[BlobInfo]) -> Result<Vec<BlobInfo>> {
        let _going = self.all_going(blobs);
        // The records first: a crash in between leaves files that nothing names, and `sweep` finds them.
        let forgotten = self.metadata().forget_blobs(blobs)?;
        for blob in &forgotten {
            self.blobs().delete(&blob.digest)?;
        }
        Ok(forgotten)
    }

    fn expire_uploads(&self, pause: &mut dyn FnMut(Duration) -> bool) -> Result<u64> {
        let cutoff = self.now().minus(self.limits().upload_time);
        let mut expired = 0;
        loop {
            let begin = Instant::now();
            let stale = self.metadata().stale_uploads(cutoff, UPLOADS)?;
            let gone = self.drop_uploads(&stale, cutoff)?;
            expired += gone;
            // What stays is being written to.
            if !pause(begin.elapsed()) || stale.len() < UPLOADS || gone == 0 {
                return Ok(expired);
            }
        }
    }

    /// Removes those that were last written to before `cutoff` and are not written to now, and tells how many.
    fn drop_uploads(&self, ids: &[UploadId], cutoff: Moment) -> Result<u64> {
        let (mut gone, mut ingests, mut empty) = (Vec::new(), Vec::new(), 0);
        let mut held = Vec::new();
        for id in ids {
            // One that is being written has just been touched, in effect.
            let Some(exclusive) = self.0.sessions.exclusive(id) else {
                continue;
            };
            if let Some(record) = self.metadata().upload(id)?
                && record.touched_at < cutoff
            {
                held.push(exclusive);
                empty += u64::from(record.is_empty());
                gone.push(record.id);
                if let Received::Ingest { id, .. } = record.received {
                    ingests.push(id);
                }
            }
        }
        if gone.is_empty() {
            return Ok(0);
        }
        // The records first: bytes that nothing names are swept later.
        self.metadata().delete_uploads(&gone)?;
        self.0.sessions.remove_empty(empty);
        for id in &ingests {
            self.blobs().discard(id)?;
        }
        Ok(gone.len() as u64)
    }

    /// Removes ingests that crashes left behind: no upload names them, and nobody writes to them.
    pub fn sweep_ingests(&self) -> Result<u64> {
        let cutoff = self.now().minus(LEFTOVER_AGE).system();
        let mut old = Vec::new();
        self.blobs().walk_ingests(&mut |id, _, modified| {
            if modified < cutoff {
                old.push(id);
            }
        })?;
        let mut swept = 0;
        for id in old {
            if !self.metadata().names_ingest(&id)? && self.blobs().discard(&id)? {
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Removes blob files that crashes left behind: no record names them.
    ///
    /// This goes through all files, so it is for the start of a server and for a slow rhythm.
    pub fn sweep(&self) -> Result<Collected> {
        let now = self.now();
        let mut collected = Collected::default();
        let Some(_removing) = self.removing()? else {
            return Ok(collected);
        };
        collected.uploads = self.sweep_ingests()?;
        let old = now.minus(STRAY_AGE);
        let mut strays = Vec::new();
        let mut failure = None;
        self.blobs().walk(&mut |blob| {
            match self.is_stray(&blob, old) {
                Ok(true) => strays.push(blob),
                Ok(false) => {}
                Err(error) => {
                    failure = Some(error);
                    return std::ops::ControlFlow::Break(());
                }
            }
            std::ops::ControlFlow::Continue(())
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
        for blob in strays {
            let _going = self.going(&blob.digest);
            if self.is_stray(&blob, old)? {
                self.blobs().delete(&blob.digest)?;
                collected.blobs += 1;
                collected.bytes += blob.size;
            }
        }
        Ok(collected)
    }

    fn is_stray(&self, blob: &BlobInfo, old: Moment) -> Result<bool> {
        let modified = match std::fs::metadata(self.blobs().path_of(&blob.digest)) {
            Ok(metadata) => metadata.modified()?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        Ok(modified < old.system() && !self.metadata().knows_blob(&blob.digest)?)
    }
}
