//! A machine that loses its power: what was not synced is gone.
//!
//! The registry's directory is on a file system of its own in a file. What is synced has been written to that file;
//! what is not is only in memory. So a copy of the file, made while the registry stands still,
//! is the disk as a machine without power would find it again.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::Faults;
use super::client::Client;
use super::content::Random;
use super::kill::push_until;
use super::ledger::Seen;
use super::server::Setup;
use crate::process::Cmd;

/// Clients at a time.
const CLIENTS: u64 = 4;
/// Every round mounts and copies the disk, which takes longer than a kill.
const MOST_ROUNDS: usize = 20;

/// A file system in a file, and where it is mounted.
struct Disk {
    image: PathBuf,
    point: PathBuf,
}

impl Disk {
    fn new(directory: &Path) -> Result<Self> {
        let (image, point) = (directory.join("disk.ext4"), directory.join("disk"));
        fs::create_dir(&point)?;
        fs::File::create(&image)?.set_len(1 << 30)?;
        Cmd::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(&image)
            .quiet()?;
        Ok(Self { image, point })
    }

    /// Nothing but what is synced is written within the next minutes.
    fn mount(&self) -> Result<Mounted<'_>> {
        Cmd::new("mount")
            .args(["-o", "loop,commit=600"])
            .arg(&self.image)
            .arg(&self.point)
            .quiet()?;
        Ok(Mounted(self))
    }

    fn lost(&self) -> PathBuf {
        self.image.with_extension("lost")
    }
}

/// A disk that is mounted; unmounted when dropped.
struct Mounted<'a>(&'a Disk);

impl Mounted<'_> {
    /// Keeps the disk as it is without what is in memory.
    fn copy(&self) -> Result<()> {
        let disk = self.0;
        Cmd::new("cp").arg(&disk.image).arg(disk.lost()).quiet()
    }

    /// Takes the power away: the disk is what [`Self::copy`] kept.
    fn lose(self) -> Result<()> {
        let disk = self.0;
        drop(self);
        fs::rename(disk.lost(), &disk.image)?;
        Ok(())
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(error) = Cmd::new("umount").arg(&self.0.point).quiet() {
            eprintln!("{error:#}");
        }
    }
}

/// Whether a file can be mounted as a disk here.
pub(super) fn is_possible(directory: &Path) -> bool {
    let mounted = Disk::new(directory).and_then(|disk| disk.mount().map(drop));
    if let Err(error) = &mounted {
        eprintln!("{error:#}");
    }
    mounted.is_ok()
}

/// The way of losing power works: what is synced stays, what is not goes.
fn check_the_method(disk: &Disk) -> Result<()> {
    let mounted = disk.mount()?;
    let write = |name: &str| -> Result<fs::File> {
        let mut file = fs::File::create(disk.point.join(name))?;
        file.write_all(&vec![7; 100_000])?;
        Ok(file)
    };
    write("synced")?.sync_all()?;
    fs::File::open(&disk.point)?.sync_all()?;
    write("unsynced")?;
    mounted.copy()?;
    mounted.lose()?;
    let _mounted = disk.mount()?;
    let length = |name: &str| {
        let metadata = fs::metadata(disk.point.join(name));
        metadata.map_or(0, |metadata| metadata.len())
    };
    match (length("synced"), length("unsynced")) {
        (100_000, 0) => Ok(()),
        (synced, unsynced) => bail!(
            "a loss of power cannot be played here: {synced} synced and {unsynced} other bytes are left"
        ),
    }
}

/// Rounds of: start, check what the round before acknowledged, push in parallel, lose the power. At the end everything is read again.
pub(super) fn lost(faults: &Faults) -> Result<()> {
    let directory = faults.directory("power")?;
    let disk = Disk::new(&directory)?;
    check_the_method(&disk)?;
    let setup = Setup::new(&faults.program, &disk.point.join("data"));
    let mut random = Random::new(faults.seed, 2000);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| Client::new(format!("power/c{number}"), faults.seed, 100 + number))
        .collect();
    let mut seen = vec![Seen::default(); clients.len()];
    let rounds = faults.rounds.min(MOST_ROUNDS);
    for round in 0..rounds {
        let mounted = disk.mount()?;
        let server = setup.start().with_context(|| format!("round {round}"))?;
        for (client, seen) in clients.iter_mut().zip(&mut seen) {
            client
                .ledger
                .check_after(server.address(), *seen)
                .and_then(|()| client.ledger.finish_uploads(server.address()))
                .with_context(|| format!("after {round} losses of power"))?;
            *seen = client.ledger.seen();
        }
        let after = Duration::from_millis(random.next() % 500);
        clients = push_until(server, clients, after, |server| {
            server.freeze()?;
            mounted.copy()?;
            server.kill()
        })?;
        mounted.lose()?;
    }
    let _mounted = disk.mount()?;
    let server = setup.start()?;
    let mut acknowledged = 0;
    for client in &mut clients {
        client.ledger.check(server.address())?;
        client.ledger.finish_uploads(server.address())?;
        acknowledged += client.ledger.len();
    }
    setup.verify()?;
    println!("      {acknowledged} acknowledged objects are whole after {rounds} losses of power");
    Ok(())
}
