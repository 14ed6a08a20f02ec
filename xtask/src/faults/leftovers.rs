//! Uploads that break off must not pile up.

use anyhow::{Result, bail};

use super::Faults;
use super::content::{Random, digest};
use super::server::{Setup, eventually};
use super::wire;

/// Uploads that are broken off, of each kind.
const UPLOADS: usize = 50;

/// Nobody can go on with a push in one request: what came of it is gone at once.
pub(super) fn of_single_requests(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("broken-posts")?);
    let server = setup.start()?;
    let address = server.address();
    let content = Random::new(faults.seed, 13).bytes(400_000);
    let path = format!("/v2/left/over/blobs/uploads/?digest={}", digest(&content));
    for _ in 0..UPLOADS {
        wire::tear(address, "POST", &path, content.len(), &content[..300_000])?;
    }
    // The wrong digest is a way to break off as well.
    let wrong = format!("/v2/left/over/blobs/uploads/?digest={}", digest(b"x"));
    for _ in 0..UPLOADS {
        wire::send(address, "POST", &wrong, &[], &content)?.expect_error(400)?;
    }
    eventually("nothing is left of broken requests", || {
        Ok(setup.ingests()?.is_empty())
    })?;
    wire::push_blob(address, "left/over", &content)?.expect(201)?;
    wire::check_blob(address, "left/over", &content)
}

/// An upload in chunks waits for its client, as long as the settings say, and then goes with its bytes.
pub(super) fn of_sessions(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("broken-sessions")?);
    let content = Random::new(faults.seed, 14).bytes(200_000);
    let server = setup.start()?;
    let mut locations = Vec::new();
    for _ in 0..UPLOADS {
        let location = wire::start_upload(server.address(), "left/over")?;
        wire::patch(server.address(), &location, 0, &content)?.expect(202)?;
        locations.push(location);
    }
    let files = setup.ingests()?.len();
    if files != UPLOADS {
        bail!("{files} files of {UPLOADS} uploads");
    }
    server.kill()?;
    let hasty = setup
        .clone()
        .set("LIMITS_UPLOAD_TIME", "100ms")
        .set("COLLECT_INTERVAL", "50ms");
    let server = hasty.start()?;
    eventually("forgotten uploads are gone", || {
        Ok(setup.ingests()?.is_empty())
    })?;
    for location in &locations {
        let answer = wire::send(server.address(), "GET", location, &[], b"")?;
        answer.expect_error(404)?;
    }
    Ok(())
}
