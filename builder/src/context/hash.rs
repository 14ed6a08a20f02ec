//! Digests of the files that are about to be copied, on all cores, read only when the stat cache does not know.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbuild_image::{Digest, Hasher};

use super::StatCache;
use crate::copy::{Content, Stamp};

/// Fills in every digest that is not known. Returns how many bytes were read.
pub(crate) fn hash_contents<'a>(
    contents: impl Iterator<Item = &'a mut Content>,
    cache: &StatCache,
    threads: usize,
) -> io::Result<()> {
    let mut unknown = Vec::new();
    for content in contents {
        if let Content::File {
            path,
            stamp,
            digest,
        } = content
            && digest.is_none()
        {
            match cache.get(stamp) {
                Some(known) => *digest = Some(known),
                None => unknown.push((path, stamp, digest)),
            }
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let next = AtomicUsize::new(0);
    let jobs: Vec<_> = unknown.iter_mut().map(Mutex::new).collect();
    let work = || -> io::Result<()> {
        let mut buffer = vec![0; 1 << 17];
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut job = job
                .lock()
                .map_err(|_| io::Error::other("a hashing thread failed"))?;
            let (path, stamp, digest) = &mut **job;
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            };
            let (found, known) =
                hash(File::open(&**path).map_err(named)?, stamp, &mut buffer).map_err(named)?;
            **stamp = found;
            **digest = Some(known);
            cache.put(found, known);
        }
        Ok(())
    };
    if threads < 2 || jobs.len() < 32 {
        return work();
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut result = work();
        for other in others {
            result = result.and(
                other
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a hashing thread failed"))),
            );
        }
        result
    })
}

fn hash(mut file: File, stamp: &Stamp, buffer: &mut [u8]) -> io::Result<(Stamp, Digest)> {
    let mut hasher = Hasher::sha256();
    let mut size = 0;
    loop {
        match file.read(buffer)? {
            0 => break,
            count => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
    // Asked after reading: a write that came in between shows as a later change time.
    let after = Stamp::of(&file.metadata()?);
    if after != *stamp || size != after.size {
        return Err(io::Error::other(
            "the file changed while it was being read; build again",
        ));
    }
    Ok((after, hasher.finish()))
}
