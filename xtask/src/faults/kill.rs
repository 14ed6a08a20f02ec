//! `kill -9` in the middle of parallel pushes, again and again on one directory.

use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};

use super::Faults;
use super::client::{Client, Outcome};
use super::content::{Random, digest};
use super::ledger::Seen;
use super::server::{Server, Setup, eventually};
use super::wire;

/// Clients at a time.
const CLIENTS: u64 = 4;
/// Kills of a server that has just begun uploads, at most: one that loses them loses them nearly always.
const STARTS: usize = 20;

/// Rounds of: start, check what the round before acknowledged, push in parallel, kill. At the end everything is read again.
pub(super) fn rounds(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("kill")?);
    let mut random = Random::new(faults.seed, 1000);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| Client::new(format!("kill/c{number}"), faults.seed, number))
        .collect();
    let mut seen = vec![Seen::default(); clients.len()];
    for round in 0..faults.rounds {
        let server = setup.start().with_context(|| format!("round {round}"))?;
        for (client, seen) in clients.iter_mut().zip(&mut seen) {
            client
                .ledger
                .check_after(server.address(), *seen)
                .and_then(|()| client.ledger.finish_uploads(server.address()))
                .with_context(|| format!("after the kill of round {round}"))?;
            *seen = client.ledger.seen();
        }
        let leftovers = setup.ingests()?.len();
        let bound = round * usize::try_from(CLIENTS)?;
        if leftovers > bound {
            bail!("{leftovers} unfinished files after {round} kills of {CLIENTS} clients");
        }
        let after = Duration::from_millis(random.next() % 250);
        clients = push_until(server, clients, after, Server::kill)?;
    }
    let server = setup.start()?;
    let address = server.address();
    let mut acknowledged = 0;
    for client in &mut clients {
        client.ledger.check(address)?;
        client.ledger.finish_uploads(address)?;
        acknowledged += client.ledger.len();
    }
    setup.verify()?;
    println!(
        "      {acknowledged} acknowledged objects are whole after {} kills",
        faults.rounds
    );
    leftovers_go(&setup, server, &clients)
}

/// Lets all clients work at once, and ends the server a little after each of them was answered once.
pub(super) fn push_until(
    server: Server,
    clients: Vec<Client>,
    after: Duration,
    end: impl FnOnce(Server) -> Result<()>,
) -> Result<Vec<Client>> {
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            let address = server.address().to_owned();
            let sender = sender.clone();
            std::thread::spawn(move || -> Result<Client> {
                loop {
                    match client.step(&address)? {
                        // Nobody listens any more once the kill is on its way.
                        Outcome::Done => drop(sender.send(())),
                        Outcome::Gone => return Ok(client),
                        Outcome::Refused(status) => bail!("a healthy server answered {status}"),
                    }
                }
            })
        })
        .collect();
    drop(sender);
    for _ in &threads {
        // An error: all clients have failed, and their own errors are the ones to tell.
        if receiver.recv_timeout(Duration::from_mins(1)).is_err() {
            break;
        }
    }
    // The moment of the end is what is random here; nothing is waited for.
    std::thread::sleep(after);
    end(server)?;
    let mut clients = Vec::new();
    for thread in threads {
        match thread.join() {
            Ok(client) => clients.push(client?),
            Err(_) => bail!("a client panicked"),
        }
    }
    Ok(clients)
}

/// What the kills left behind goes when it is a day old, and nothing else does.
fn leftovers_go(setup: &Setup, server: Server, clients: &[Client]) -> Result<()> {
    let mut strays = setup.ingests()?;
    for client in clients {
        for content in &client.ledger.open {
            let file = setup.blob_file(&digest(&content.bytes()));
            if !client.ledger.check_open(server.address(), *content)? && file.exists() {
                strays.push(file);
            }
        }
    }
    server.kill()?;
    let old = SystemTime::now() - Duration::from_hours(72);
    for path in &strays {
        std::fs::File::options()
            .write(true)
            .open(path)
            .and_then(|file| file.set_modified(old))
            .with_context(|| format!("cannot age `{}`", path.display()))?;
    }
    // An upload whose chunk was taken and not acknowledged goes like any other that nobody comes for.
    let setup = setup
        .clone()
        .set("COLLECT_INTERVAL", "100ms")
        .set("LIMITS_UPLOAD_TIME", "100ms");
    let server = setup.start()?;
    eventually("all leftovers are swept", || {
        Ok(strays.iter().all(|path| !path.exists()))
    })?;
    for client in clients {
        client.ledger.check(server.address())?;
    }
    println!("      {} leftovers are swept", strays.len());
    Ok(())
}

/// A chunk that was acknowledged is there after a kill, and the upload goes on from it.
pub(super) fn between_chunks(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("between-chunks")?);
    let content = Random::new(faults.seed, 2).bytes(1_000_000);
    let mut server = setup.start()?;
    let location = wire::start_upload(server.address(), "chunks/kill")?;
    let mut at = 0;
    for end in [1000, 60_000, 70_000, 500_000, 1_000_000] {
        wire::patch(server.address(), &location, at, &content[at..end])?.expect(202)?;
        server.kill()?;
        server = setup.start()?;
        let state = wire::send(server.address(), "GET", &location, &[], b"")?.expect(204)?;
        if state.received()? != end {
            bail!("{} bytes are here instead of {end}", state.received()?);
        }
        at = end;
    }
    wire::finish(server.address(), &location, &digest(&content))?.expect(201)?;
    server.kill()?;
    wire::check_blob(setup.start()?.address(), "chunks/kill", &content)
}

/// An upload that was started and has received nothing is there after a kill, and goes on.
pub(super) fn just_started(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("just-started")?);
    let mut random = Random::new(faults.seed, 3);
    let mut server = setup.start()?;
    for round in 0..faults.rounds.min(STARTS) {
        let address = server.address();
        // At once, so that what is answered last is as young as can be.
        let started = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CLIENTS)
                .map(|_| scope.spawn(|| wire::start_upload(address, "kill/started")))
                .collect();
            let answers = threads.into_iter().map(|thread| match thread.join() {
                Ok(location) => location,
                Err(_) => bail!("a client panicked"),
            });
            answers.collect::<Result<Vec<_>>>()
        })?;
        server.kill()?;
        server = setup.start()?;
        let address = server.address();
        for (number, location) in started.iter().enumerate() {
            let mut goes_on = || {
                wire::send(address, "GET", location, &[], b"")?.expect(204)?;
                let content = random.bytes(if number % 2 == 0 { 2000 } else { 100_000 });
                let mut at = 0;
                if number > 1 {
                    at = content.len() / 2;
                    wire::patch(address, location, 0, &content[..at])?.expect(202)?;
                }
                let end = format!("{location}?digest={}", digest(&content));
                wire::send(address, "PUT", &end, &[], &content[at..])?.expect(201)?;
                wire::check_blob(address, "kill/started", &content)?;
                wire::send(address, "GET", location, &[], b"")?.expect_error(404)
            };
            goes_on().with_context(|| format!("round {round}, upload {number}"))?;
        }
    }
    Ok(())
}
