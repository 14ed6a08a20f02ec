//! Uploads that break off must not pile up.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::Faults;
use super::content::{Random, digest};
use super::server::{Setup, eventually};
use super::wire;

/// Uploads that are broken off, of each kind.
const UPLOADS: usize = 50;

/// Uploads that are open when the server is killed, at most.
const MANY: usize = 3000;
/// Clients that go away in the middle of an answer.
const VANISHED: usize = 200;
/// How long a start may take with all of them.
const START: Duration = Duration::from_secs(5);

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

/// However many uploads were open, a server that was killed is there again at once, and each upload goes on.
pub(super) fn thousands(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("thousands")?);
    let mut random = Random::new(faults.seed, 16);
    let content = random.bytes(70_000);
    let server = setup.start()?;
    let mut locations = Vec::new();
    for _ in 0..MANY.min(faults.rounds * 20) {
        let location = wire::start_upload(server.address(), "left/many")?;
        wire::patch(server.address(), &location, 0, &content)?.expect(202)?;
        locations.push(location);
    }
    server.kill()?;
    let began = Instant::now();
    let server = setup.start()?;
    let address = server.address();
    wire::push_blob(address, "left/many", b"one more")?.expect(201)?;
    if began.elapsed() > START {
        bail!(
            "the start with {} uploads takes {:?}",
            locations.len(),
            began.elapsed()
        );
    }
    for location in &locations {
        let state = wire::send(address, "GET", location, &[], b"")?.expect(204)?;
        if state.received()? != content.len() {
            bail!("an upload has {} bytes", state.received()?);
        }
    }
    for _ in 0..20 {
        let location = &locations[random.below(locations.len())];
        // The second end of the same upload finds it gone.
        let answer = wire::finish(address, location, &digest(&content))?;
        if answer.status != 404 {
            answer.expect(201)?;
        }
    }
    wire::check_blob(address, "left/many", &content)
}

/// Clients that ask for a large blob or begin a push and go away cost nothing that lasts.
pub(super) fn vanished(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("vanished")?);
    let content = Random::new(faults.seed, 17).bytes(8 << 20);
    let server = setup.start()?;
    let address = server.address();
    wire::push_blob(address, "gone/away", &content)?.expect(201)?;
    wire::check_blob(address, "gone/away", &content)?;
    let path = wire::blob_path("gone/away", &digest(&content));
    let before = server.open_files()?;
    let push = format!("/v2/gone/away/blobs/uploads/?digest={}", digest(b"never"));
    for number in 0..VANISHED {
        match number % 4 {
            // A head that is not finished, an answer that nobody reads, one that is read a little, half a push.
            0 => wire::vanish(address, b"GET /v2/ HTTP/1.1\r\nHost: x\r\n", 0)?,
            1 => wire::vanish(address, wire::get(&path).as_bytes(), 0)?,
            2 => wire::vanish(address, wire::get(&path).as_bytes(), 100_000)?,
            _ => wire::tear(address, "POST", &push, 1 << 20, &content[..200_000])?,
        }
    }
    eventually(
        "connections and files of clients that went away are closed",
        || {
            // Some may be kept open for the next who asks for the blob.
            Ok(server.open_files()? <= before + 8)
        },
    )?;
    eventually("nothing is left of their pushes", || {
        Ok(setup.ingests()?.is_empty())
    })?;
    wire::check_blob(address, "gone/away", &content)
}
