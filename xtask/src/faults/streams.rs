//! Long streams that are cut by a kill or a broken connection, again and again, and go on.

use anyhow::{Context as _, Result, bail};

use super::Faults;
use super::content::{Random, digest};
use super::server::{Server, Setup};
use super::wire;

const REPOSITORY: &str = "streams/a";
/// Blobs that are pushed at most.
const MOST: usize = 40;
/// How long they are, in bytes: many times what the server holds in memory of one upload.
const SHORTEST: usize = 3 << 20;
const LONGEST: usize = 24 << 20;

/// How a part of a stream ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// With an answer.
    Answer,
    /// The client hangs up in the middle.
    Torn,
    /// The server is killed in the middle.
    Kill,
}

/// Large blobs in parts of every length. What was acknowledged is there after each kill, and what the server says it has is right.
pub(super) fn cut(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("streams")?);
    let mut random = Random::new(faults.seed, 19);
    let mut server = setup.start()?;
    let mut kills = 0;
    for round in 0..faults.rounds.min(MOST) {
        let length = SHORTEST + random.below(LONGEST - SHORTEST);
        let content = random.bytes(length);
        let mut location = wire::start_upload(server.address(), REPOSITORY)?;
        let mut known = 0;
        loop {
            let here = received(&server, &location, known)
                .with_context(|| format!("round {round}, after {kills} kills"))?;
            let Some(here) = here else {
                location = wire::start_upload(server.address(), REPOSITORY)?;
                continue;
            };
            let rest = &content[here..];
            if rest.is_empty() {
                break;
            }
            // One byte and none look alike in the state of an upload.
            let part = match random.below(3) {
                0 => 2 + random.below(200_000),
                1 => 2 + random.below(8 << 20),
                _ => rest.len(),
            };
            let part = &rest[..part.min(rest.len())];
            match [End::Answer, End::Torn, End::Kill][random.below(3)] {
                End::Answer => {
                    wire::patch(server.address(), &location, here, part)?.expect(202)?;
                    known = here + part.len();
                }
                End::Torn => {
                    wire::tear(server.address(), "PATCH", &location, part.len() + 1, part)?;
                }
                End::Kill => {
                    let sent = &part[..random.below(part.len() + 1)];
                    let address = server.address();
                    let open = wire::hold(address, "PATCH", &location, part.len() + 1, sent)?;
                    server.kill()?;
                    drop(open);
                    kills += 1;
                    server = setup.start()?;
                }
            }
        }
        wire::finish(server.address(), &location, &digest(&content))?
            .expect(201)
            .with_context(|| format!("round {round}: {length} bytes after {kills} kills"))?;
        wire::check_blob(server.address(), REPOSITORY, &content)?;
    }
    // A kill in a first part leaves a file that no upload names; such files are swept when they are old.
    let left = setup.ingests()?.len();
    if left > kills {
        bail!("{left} files of uploads are left after {kills} kills");
    }
    server.kill()?;
    setup.verify()?;
    println!("      streams went on after {kills} kills");
    Ok(())
}

/// Bytes of the upload that the server has, once it has noticed that a torn stream is over.
///
/// `None`: an upload that has nothing ends with the server, and is begun anew.
fn received(server: &Server, location: &str, known: usize) -> Result<Option<usize>> {
    let state = wire::send(server.address(), "GET", location, &[], b"")?;
    if state.status == 404 && known == 0 {
        return Ok(None);
    }
    let mut here = 0;
    super::server::eventually("the upload is free", || {
        // Whoever writes to it holds it; an empty chunk at its end is the probe that changes nothing.
        let state = wire::send(server.address(), "GET", location, &[], b"")?.expect(204)?;
        here = state.received()?;
        let probe = wire::send(server.address(), "PATCH", location, &[], b"")?;
        Ok(probe.status == 202 && probe.received()? == here)
    })?;
    if here < known {
        bail!("{here} bytes are here, {known} were acknowledged");
    }
    Ok(Some(here))
}
