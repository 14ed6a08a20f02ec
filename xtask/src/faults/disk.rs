//! A disk that is nearly full, or full: pushes are refused, everything else goes on.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::Faults;
use super::client::{Client, all_done};
use super::content::{Random, digest};
use super::server::{Setup, eventually};
use super::wire;
use crate::process::Cmd;

const MIB: usize = 1 << 20;

/// A file system of 64 MiB of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// ext4 in a file if the machine has loop devices, else tmpfs.
    fn new(faults: &Faults, name: &str) -> Result<Self> {
        let point = faults.directory(name)?;
        let image = point.with_extension("ext4");
        fs::File::create(&image)?.set_len(64 << 20)?;
        let ext4 = Cmd::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(&image)
            .quiet()
            .and_then(|()| {
                let loop_mount = Cmd::new("mount").args(["-o", "loop"]);
                loop_mount.arg(&image).arg(&point).quiet()
            });
        if let Err(error) = ext4 {
            eprintln!("no ext4 on a loop device, so tmpfs: {error:#}");
            Cmd::new("mount")
                .args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"])
                .arg(&point)
                .quiet()?;
        }
        Ok(Self(point))
    }

    /// Takes all space that is left.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        // Most of it is taken without writing it.
        let most = df(&self.0, "avail")?.saturating_sub(MIB as u64);
        let size = most.to_string();
        Cmd::new("fallocate")
            .args(["--length", &size])
            .arg(&path)
            .quiet()?;
        let mut file = fs::File::options().append(true).open(&path)?;
        for size in [MIB, 4096, 1] {
            let block = vec![1; size];
            while file
                .write_all(&block)
                .and_then(|()| file.sync_data())
                .is_ok()
            {}
        }
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = Cmd::new("umount").arg(&self.0).quiet() {
            eprintln!("{error:#}");
        }
    }
}

/// A column of `df`, in bytes.
fn df(path: &Path, column: &str) -> Result<u64> {
    let text = Cmd::new("df")
        .args(["--block-size=1", &format!("--output={column}")])
        .arg(path)
        .text()?;
    let last = text.lines().last().unwrap_or_default();
    last.trim().parse().context("df")
}

/// With a reserve: pushes get 507 before the disk is full; what is there is read and deleted; then pushes are taken again.
pub(super) fn reserve(faults: &Faults) -> Result<()> {
    let disk = SmallDisk::new(faults, "reserve")?;
    let setup = Setup::new(&faults.program, &disk.0.join("data"))
        .set("LIMITS_RESERVE_BYTES", "16MiB")
        .set("LIMITS_RESERVE_PERCENT", "100")
        .set("COLLECT_UNREFERENCED", "0s")
        .set("COLLECT_PROTECT", "0s")
        .set("COLLECT_INTERVAL", "100ms");
    // Before the collection is allowed to take what no manifest holds.
    let calm = setup.clone().set("COLLECT_PROTECT", "1h");
    let server = calm.start()?;
    let address = server.address();
    let mut client = Client::new("disk/small".to_owned(), faults.seed, 1);
    all_done(client.everything(address)?)?;
    let mut random = Random::new(faults.seed, 10);
    let mut blobs = Vec::new();
    let refused = loop {
        let content = random.bytes(4 * MIB);
        let answer = wire::push_blob(address, "disk/large", &content)?;
        if answer.status != 201 || blobs.len() > 20 {
            break answer;
        }
        blobs.push(content);
    };
    let refused = refused.expect_error(507)?;
    if refused.header("retry-after").is_none() {
        bail!("507 without `Retry-After`: {refused:?}");
    }
    let uploads = "/v2/disk/large/blobs/uploads/";
    wire::send(address, "POST", uploads, &[], b"")?.expect_error(507)?;
    wire::send(address, "GET", "/readyz", &[], b"")?.expect(503)?;
    wire::send(address, "GET", "/healthz", &[], b"")?.expect(200)?;
    for content in &blobs {
        wire::check_blob(address, "disk/large", content)?;
    }
    client.ledger.check(address)?;
    server.stop()?;
    let server = setup.start()?;
    let address = server.address();
    for content in &blobs {
        let path = wire::blob_path("disk/large", &digest(content));
        let answer = wire::send(address, "DELETE", &path, &[], b"")?;
        // The collection may have been faster.
        if answer.status != 404 {
            answer.expect(202)?;
        }
    }
    eventually("space is given back and pushes are taken", || {
        Ok(wire::push_blob(address, "disk/large", &blobs[0])?.status == 201)
    })
}

/// A push that was begun in time does not eat up the reserve either, and leaves nothing behind.
pub(super) fn longer_than_the_disk(faults: &Faults) -> Result<()> {
    let disk = SmallDisk::new(faults, "longer")?;
    let setup = Setup::new(&faults.program, &disk.0.join("data"))
        .set("LIMITS_RESERVE_BYTES", "16MiB")
        .set("LIMITS_RESERVE_PERCENT", "100");
    let server = setup.start()?;
    let address = server.address();
    let mut client = Client::new("disk/longer".to_owned(), faults.seed, 2);
    all_done(client.everything(address)?)?;
    let before = df(&disk.0, "used")?;
    let content = Random::new(faults.seed, 11).bytes(80 * MIB);
    wire::push_blob(address, "disk/longer", &content)?.expect_error(507)?;
    let location = wire::start_upload(address, "disk/longer")?;
    wire::patch(address, &location, 0, &content)?.expect_error(507)?;
    eventually("the space of refused uploads is free again", || {
        Ok(df(&disk.0, "used")? < before + 2 * MIB as u64)
    })?;
    client.ledger.check(address)?;
    all_done(client.everything(address)?)?;
    client.ledger.check(address)
}

/// Without a reserve, until nothing fits any more: refused with a sentence, nothing lost, healthy again without a restart.
pub(super) fn full(faults: &Faults) -> Result<()> {
    let disk = SmallDisk::new(faults, "full")?;
    let setup = Setup::new(&faults.program, &disk.0.join("data"));
    let server = setup.start()?;
    let address = server.address();
    let mut client = Client::new("disk/full".to_owned(), faults.seed, 3);
    for _ in 0..3 {
        all_done(client.everything(address)?)?;
    }
    let filler = disk.fill()?;
    let mut random = Random::new(faults.seed, 12);
    let mut small = Vec::new();
    for length in [3 * MIB, 200_000, 70_000] {
        let content = random.bytes(length);
        wire::push_blob(address, "disk/full", &content)?
            .expect_error(507)
            .with_context(|| format!("a push of {length} bytes"))?;
    }
    // What is kept in the database may still fit into its log; sooner or later it does not.
    let refused = loop {
        let content = random.bytes(60_000);
        let answer = wire::push_blob(address, "disk/full", &content)?;
        if answer.status != 201 || small.len() > 500 {
            break answer;
        }
        small.push(content);
    };
    refused.expect_error(507).context("a push of 60 KB")?;
    let all_here = |address: &str| -> Result<()> {
        for content in &small {
            wire::check_blob(address, "disk/full", content)?;
        }
        client.ledger.check(address)
    };
    all_here(address)?;
    fs::remove_file(filler)?;
    wire::push_blob(address, "disk/full", &random.bytes(MIB))?
        .expect(201)
        .context("with space again")?;
    all_here(address)?;
    disk.fill()?;
    server.kill()?;
    let server = setup.start().context("killed on a full disk")?;
    all_here(server.address()).context("killed on a full disk")
}
