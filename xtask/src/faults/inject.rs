//! A push whose system calls fail or kill, one at a time.
//!
//! strace does it: `inject=CALL:error=EIO:when=N` lets the n-th such call of each thread fail without being made,
//! `signal=SIGKILL` kills the server when it enters the call. The calls that matter are those that change files.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::Faults;
use super::client::{Client, Outcome, all_done};
use super::content::Random;
use super::server::Setup;

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It fails, and was not made.
    Error(&'static str),
    /// The process is killed instead.
    Kill,
}

/// Calls that change files, and what may happen to them.
///
/// `write` is for the log and wakes threads of the runtime up, which is no business of a disk: it is only killed.
const CALLS: [(&str, &[Fault]); 11] = [
    ("write", &[Fault::Kill]),
    ("pwrite64", &FAULTS),
    ("fsync", &FAULTS),
    ("fdatasync", &FAULTS),
    ("?rename,?renameat,?renameat2", &FAULTS),
    ("?mkdir,?mkdirat", &FAULTS),
    ("?unlink,?unlinkat", &FAULTS),
    ("fsetxattr", &FAULTS),
    ("ftruncate", &FAULTS),
    ("flock", &FAULTS),
    ("?open,openat", &[Fault::Kill]),
];
const FAULTS: [Fault; 3] = [Fault::Error("EIO"), Fault::Error("ENOSPC"), Fault::Kill];

/// A place of a call in its thread behind which nothing new is expected.
const LAST: usize = 60;

/// What one run showed.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// The call came, and the fault happened.
    Hit,
    /// No thread made so many such calls.
    NotReached,
}

/// Every fault of `CALLS`, at the first, second, … call; with few rounds, a choice of them.
pub(super) fn every_call(faults: &Faults) -> Result<()> {
    let mut plans: Vec<(&str, Fault, usize)> = Vec::new();
    for (call, kinds) in CALLS {
        for fault in kinds {
            plans.extend((1..=LAST).map(|when| (call, *fault, when)));
        }
    }
    let complete = faults.rounds >= 100;
    let mut random = Random::new(faults.seed, 15);
    if !complete {
        let early: Vec<_> = plans
            .into_iter()
            .filter(|(_, _, when)| *when <= 6)
            .collect();
        plans = (0..faults.rounds.max(1) * 2)
            .map(|_| early[random.below(early.len())])
            .collect();
    }
    let mut hits = 0;
    let mut finished = None;
    for (number, (call, fault, when)) in plans.iter().enumerate() {
        if finished == Some((call, fault)) {
            continue;
        }
        let seen = one(faults, number, call, *fault, *when)
            .with_context(|| format!("{fault:?} at {call} number {when}"))?;
        match seen {
            Seen::Hit => hits += 1,
            // A later one is not reached either.
            Seen::NotReached if complete => finished = Some((call, fault)),
            Seen::NotReached => {}
        }
    }
    if hits == 0 {
        bail!("no fault happened");
    }
    println!("      {hits} faults");
    Ok(())
}

fn one(faults: &Faults, number: usize, call: &str, fault: Fault, when: usize) -> Result<Seen> {
    let setup = Setup::new(
        &faults.program,
        &faults.directory(&format!("inject-{number}"))?,
    );
    let mut client = Client::new("inject/a".to_owned(), faults.seed, 1000 + number as u64);
    // On a directory that is in use, so that what is there already can be lost as well.
    let server = setup.start()?;
    all_done(client.everything(server.address())?)?;
    server.stop()?;
    let trace = setup.data().with_extension("trace");
    let what = match fault {
        Fault::Error(name) => format!("error={name}"),
        Fault::Kill => "signal=SIGKILL".to_owned(),
    };
    let wrapped = setup.clone().under(vec![
        "strace".to_owned(),
        "-D".to_owned(),
        "-f".to_owned(),
        "-qq".to_owned(),
        "-e".to_owned(),
        format!("trace={call}"),
        "-e".to_owned(),
        format!("inject={call}:{what}:when={when}"),
        "-o".to_owned(),
        trace.display().to_string(),
    ]);
    match wrapped.start() {
        Ok(mut server) => {
            let mut refused = 0;
            for _ in 0..2 {
                match client.everything(server.address())? {
                    Outcome::Gone => break,
                    Outcome::Refused(_) => refused += 1,
                    Outcome::Done => {}
                }
            }
            if fault != Fault::Kill {
                if !server.runs()? {
                    bail!("the server ends because of an error:\n{}", server.said());
                }
                // An error is over when it is over: the server goes on, and everything is there.
                client.ledger.check(server.address())?;
                all_done(client.everything(server.address())?)
                    .with_context(|| format!("after {refused} refusals"))?;
                // An upload whose end was refused before it began can be ended again.
                let open = client.ledger.uploads.len() + client.ledger.open.len();
                let left = setup.ingests()?.len();
                if left > open {
                    bail!("{left} unfinished files, and {open} uploads that could go on");
                }
            }
            server.kill()?;
        }
        // Hit while it started.
        Err(error) if fault == Fault::Kill => drop(error),
        Err(error) => {
            let text = format!("{error:#}");
            if !text.contains("could not") {
                bail!("an error at the start is not explained: {text}");
            }
        }
    }
    let trace = std::fs::read_to_string(PathBuf::from(&trace)).unwrap_or_default();
    let hit =
        trace.contains("INJECTED") || trace.contains("killed by SIGKILL") && fault == Fault::Kill;
    let server = setup.start().context("the start after it")?;
    client.ledger.check(server.address())?;
    client.ledger.finish_uploads(server.address())?;
    all_done(client.everything(server.address())?).context("the first push after it")?;
    client.ledger.check(server.address())?;
    server.stop()?;
    setup.verify()?;
    std::fs::remove_dir_all(setup.data())?;
    Ok(if hit { Seen::Hit } else { Seen::NotReached })
}
