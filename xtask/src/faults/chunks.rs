//! Chunks that are torn, out of order, repeated, or sent by two at once.

use std::sync::Barrier;

use anyhow::{Context as _, Result, bail};

use super::Faults;
use super::content::{Random, digest};
use super::server::{Setup, eventually};
use super::wire;

/// Where a test is content to see little traffic: one chunk.
const CHUNK: usize = 100_000;

/// A chunk that breaks off is kept as far as it came; the upload goes on from there.
pub(super) fn torn(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("torn")?);
    let server = setup.start()?;
    let address = server.address();
    let mut random = Random::new(faults.seed, 3);
    for round in 0..faults.rounds.min(20) {
        let content = random.bytes(4 * CHUNK);
        let location = wire::start_upload(address, "chunks/torn")?;
        let mut at = 0;
        while at < content.len() {
            // One byte and none look alike in the state of an upload.
            let here = 2 + random.below(CHUNK);
            let end = (at + here).min(content.len());
            wire::tear(
                address,
                "PATCH",
                &location,
                content.len(),
                &content[at..end],
            )?;
            // The server notices the end in its own time.
            let mut received = 0;
            eventually("a torn chunk is kept", || {
                let state = wire::send(address, "GET", &location, &[], b"")?.expect(204)?;
                received = state.received()?;
                Ok(received > at)
            })?;
            if received > end {
                bail!("round {round}: {received} bytes after {at} and a torn chunk up to {end}");
            }
            // A chunk that ends where it should, so that every round gets on.
            let end = (received + here).min(content.len());
            eventually("the upload is free for the next chunk", || {
                if end == received {
                    return Ok(true);
                }
                let answer = wire::patch(address, &location, received, &content[received..end])?;
                if answer.status == 409 {
                    return Ok(false);
                }
                answer.expect(202).map(|_| true)
            })?;
            at = end;
        }
        wire::finish(address, &location, &digest(&content))?.expect(201)?;
        wire::check_blob(address, "chunks/torn", &content)?;
    }
    Ok(())
}

/// A chunk in the wrong place is refused with the right place, and changes nothing.
pub(super) fn reordered(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("reordered")?);
    let server = setup.start()?;
    let address = server.address();
    let mut random = Random::new(faults.seed, 4);
    for _ in 0..faults.rounds.min(20) {
        let content = random.bytes(5 * CHUNK);
        let location = wire::start_upload(address, "chunks/order")?;
        let mut next = 0;
        while next < 5 {
            let chosen = random.below(5);
            let at = chosen * CHUNK;
            let chunk = &content[at..at + CHUNK];
            let answer = wire::patch(address, &location, at, chunk)?;
            if chosen == next {
                answer.expect(202)?;
                next += 1;
                continue;
            }
            let refused = answer.expect_error(416)?;
            if refused.received()? != next * CHUNK {
                bail!("chunk {chosen} is refused, and {refused:?} does not tell the place");
            }
        }
        wire::finish(address, &location, &digest(&content))?.expect(201)?;
        wire::check_blob(address, "chunks/order", &content)?;
    }
    Ok(())
}

/// Of two who write to one upload at once, one is refused; what is served is what its digest says.
pub(super) fn two_writers(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("two-writers")?);
    let server = setup.start()?;
    let address = server.address();
    let mut random = Random::new(faults.seed, 5);
    for round in 0..faults.rounds.min(40) {
        // Alternately too little for a file and more than that.
        let length = if round % 2 == 0 { 20_000 } else { 900_000 };
        let contents = [random.bytes(length), random.bytes(length)];
        let location = wire::start_upload(address, "writers/one-upload")?;
        // With a place in every other pair of rounds; without one, both chunks may be taken one after the other.
        let placed = round % 4 < 2;
        let statuses = both(|index| {
            let content = &contents[index];
            let answer = if placed {
                wire::patch(address, &location, 0, content)
            } else {
                wire::send(address, "PATCH", &location, &[], content)
            };
            Ok(answer?.status)
        })?;
        let [a, b] = &contents;
        let candidates = match statuses.as_slice() {
            [202, 409 | 416] => vec![a.clone()],
            [409 | 416, 202] => vec![b.clone()],
            [202, 202] if !placed => {
                vec![[&a[..], &b[..]].concat(), [&b[..], &a[..]].concat()]
            }
            other => bail!("round {round}: two writers got {other:?}"),
        };
        let state = wire::send(address, "GET", &location, &[], b"")?.expect(204)?;
        if state.received()? != candidates[0].len() {
            bail!("{} bytes are here, {statuses:?}", state.received()?);
        }
        end_as_one_of(address, &location, &candidates)?;
    }
    Ok(())
}

/// Ends an upload under the digest that fits. A wrong one ends it as well, so the candidates are many only by chance.
fn end_as_one_of(address: &str, location: &str, candidates: &[Vec<u8>]) -> Result<()> {
    for content in candidates {
        let answer = wire::finish(address, location, &digest(content))?;
        match answer.status {
            201 => return wire::check_blob(address, "writers/one-upload", content),
            400 => {
                let path = wire::blob_path("writers/one-upload", &digest(content));
                wire::send(address, "HEAD", &path, &[], b"")?
                    .expect(404)
                    .context("a refused blob is served")?;
            }
            404 if candidates.len() > 1 => return Ok(()),
            _ => drop(answer.expect(201)?),
        }
    }
    if candidates.len() == 1 {
        bail!("what one writer sent alone is not what is here");
    }
    Ok(())
}

/// Two (and more) who push the same blob at once are all told that it is here, and it is, once.
pub(super) fn same_blob(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("same-blob")?);
    let server = setup.start()?;
    let address = server.address();
    let mut random = Random::new(faults.seed, 6);
    for round in 0..faults.rounds.min(40) {
        let length = if round % 2 == 0 { 40_000 } else { 1_500_000 };
        let content = random.bytes(length);
        both(|index| {
            let repository = format!("same/{}", index % 2);
            if index == 0 {
                wire::push_chunked(address, &repository, &content, length / 3)?.expect(201)?;
            } else {
                wire::push_blob(address, &repository, &content)?.expect(201)?;
            }
            Ok(())
        })?;
        for repository in ["same/0", "same/1"] {
            wire::check_blob(address, repository, &content)?;
        }
    }
    let left = setup.ingests()?;
    if !left.is_empty() {
        bail!("{} files of uploads are left", left.len());
    }
    drop(server);
    setup.verify()
}

/// Runs both at the same moment.
fn both<T: Send>(work: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|index| {
                let (barrier, work) = (&barrier, &work);
                scope.spawn(move || {
                    barrier.wait();
                    work(index)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(_) => bail!("a client panicked"),
            })
            .collect()
    })
}
