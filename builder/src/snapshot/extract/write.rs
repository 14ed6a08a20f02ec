//! Writing the files of a layer while its tar is read.
//!
//! One thread reads (and decompresses), others make the small files; large ones are written as they are read.

use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use rbuild_image::layer::{EntryRef, FileContent};
use rustix::fs::{Mode, OFlags, openat};

use super::super::attributes::Attributes;
use super::super::error::{Doing, SnapshotError};
use super::super::place::{BUFFER, Places, read_full};
use super::Task;

/// Files up to this size are handed to another thread.
const SMALL: u64 = 128 << 10;
/// They are handed over in batches of about so many bytes or files: waking a thread costs as much as making a file.
const BATCH_BYTES: usize = 256 << 10;
const BATCH_FILES: usize = 128;
/// Batches that may wait; with their size it bounds the memory.
const QUEUE: usize = 8;
/// Fewer files than this are not worth a thread.
const FEW: usize = 32;

/// A small file: its position in the table, and its content.
type Job = (usize, Vec<u8>);

pub(super) struct Writer<'a> {
    pub(super) task: &'a Task<'a>,
    pub(super) root: BorrowedFd<'a>,
}

impl Writer<'_> {
    /// Writes all files of the layer.
    pub(super) fn write_files(&self, tar: &mut dyn Read) -> Result<(), SnapshotError> {
        let entries = self.task.toc().iter();
        let mut files: Vec<(FileContent, usize)> = entries
            .filter_map(|entry| Some((entry.content()?, entry.index())))
            .collect();
        files.sort_by_key(|(content, _)| content.offset);
        if files.len() < FEW {
            return self.read_all(&files, tar, &mut |job| {
                let mut places = Places::new(self.root);
                self.write_small(&mut places, &job).map(|()| true)
            });
        }
        let failed = Mutex::new(None);
        let stop = AtomicBool::new(false);
        let (jobs, incoming) = sync_channel(QUEUE);
        thread::scope(|scope| {
            let work = || {
                let result = self.work(incoming, &stop);
                if let Err(error) = result {
                    stop.store(true, Ordering::Relaxed);
                    failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(error);
                }
            };
            thread::Builder::new()
                .name("layer-files".to_owned())
                .spawn_scoped(scope, work)
                .doing("start a thread for", b"")?;
            let (mut batch, mut bytes) = (Vec::new(), 0);
            let mut hand_over = |job: Job| {
                bytes += job.1.len();
                batch.push(job);
                if bytes < BATCH_BYTES && batch.len() < BATCH_FILES {
                    return Ok(true);
                }
                bytes = 0;
                // When it cannot be sent the other side has failed, and keeps the reason.
                Ok(jobs.send(mem::take(&mut batch)).is_ok())
            };
            let result = self.read_all(&files, tar, &mut hand_over);
            let _ = jobs.send(batch);
            drop(jobs);
            result
        })?;
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn work(&self, incoming: Receiver<Vec<Job>>, stop: &AtomicBool) -> Result<(), SnapshotError> {
        let mut places = Places::new(self.root);
        for job in incoming.into_iter().flatten() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            self.write_small(&mut places, &job)?;
        }
        Ok(())
    }

    /// Goes through the tar. `small` takes small files, and says whether to go on.
    fn read_all(
        &self,
        files: &[(FileContent, usize)],
        tar: &mut dyn Read,
        small: &mut dyn FnMut(Job) -> Result<bool, SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let broken = |source| SnapshotError::Layer {
            diff_id: self.task.diff_id.to_owned(),
            source,
        };
        let early = || broken(io::ErrorKind::UnexpectedEof.into());
        let mut position = 0_u64;
        let mut places = Places::new(self.root);
        for (content, index) in files {
            if content.size == 0 {
                if !small((*index, Vec::new()))? {
                    return Ok(());
                }
                continue;
            }
            let gap = content.offset.checked_sub(position).ok_or_else(early)?;
            let skipped = io::copy(&mut (&mut *tar).take(gap), &mut io::sink()).map_err(broken)?;
            if skipped != gap {
                return Err(early());
            }
            position = content.offset.saturating_add(content.size);
            if content.size <= SMALL {
                let mut bytes = vec![0; usize::try_from(content.size).unwrap_or(0)];
                if read_full(tar, &mut bytes).map_err(broken)? != bytes.len() {
                    return Err(early());
                }
                if !small((*index, bytes))? {
                    return Ok(());
                }
                continue;
            }
            let Some(entry) = self.task.toc().get(*index) else {
                continue;
            };
            let mut file = create_in(&mut places, entry)?;
            let mut buffer = vec![0; BUFFER];
            let mut left = content.size;
            while left > 0 {
                let most = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
                let count = read_full(tar, &mut buffer[..most]).map_err(broken)?;
                if count == 0 {
                    return Err(early());
                }
                file.write_all(&buffer[..count])
                    .doing("write", entry.path())?;
                left -= count as u64;
            }
            Attributes::of(entry, self.task.foreign).set(file.as_fd())?;
        }
        Ok(())
    }

    fn write_small(&self, places: &mut Places<'_>, job: &Job) -> Result<(), SnapshotError> {
        let (index, bytes) = job;
        let Some(entry) = self.task.toc().get(*index) else {
            return Ok(());
        };
        let mut file = create_in(places, entry)?;
        file.write_all(bytes).doing("write", entry.path())?;
        Attributes::of(entry, self.task.foreign).set(file.as_fd())
    }
}

fn create_in(places: &mut Places<'_>, entry: EntryRef<'_>) -> Result<std::fs::File, SnapshotError> {
    let (at, name) = places.of(entry.path())?;
    create(at, name, entry.path()).map(std::fs::File::from)
}

/// A new file that nothing was in the place of.
pub(super) fn create(
    at: BorrowedFd<'_>,
    name: &[u8],
    path: &[u8],
) -> Result<OwnedFd, SnapshotError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::RUSR | Mode::WUSR).doing("make", path)
}
