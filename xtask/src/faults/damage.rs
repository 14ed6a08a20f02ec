//! Stored bytes that change behind the registry's back: noticed, refused, and healed by the next push.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::Faults;
use super::content::{Random, digest};
use super::server::{Setup, eventually};
use super::wire;

const REPOSITORY: &str = "damage/a";

/// A way to damage a file.
type Harm = fn(&Path) -> std::io::Result<()>;

/// Everything that leaves a trace in length or time of the file.
const TRACES: [(&str, Harm); 5] = [
    ("cut off", |path| edit(path)?.set_len(1000)),
    ("emptied", |path| edit(path)?.set_len(0)),
    ("longer", |path| edit(path)?.write_all_at(b"x", 500_000)),
    ("one byte changed", |path| flip(path, 123_456)),
    ("removed", |path| fs::remove_file(path)),
];

fn edit(path: &Path) -> std::io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn flip(path: &Path, at: u64) -> std::io::Result<()> {
    let file = edit(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[!byte[0]], at)
}

/// Files that were cut off, changed, extended or removed, while the server runs and has just served them.
pub(super) fn with_a_trace(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("damage")?);
    let server = setup.start()?;
    let address = server.address();
    let content = Random::new(faults.seed, 7).bytes(500_000);
    let name = digest(&content);
    let path = wire::blob_path(REPOSITORY, &name);
    wire::push_blob(address, REPOSITORY, &content)?.expect(201)?;
    for (what, harm) in TRACES {
        let healed = || -> Result<()> {
            // Served first, so that the file is open and known as whole.
            wire::check_blob(address, REPOSITORY, &content)?;
            harm(&setup.blob_file(&name))?;
            refused(address, &path, what == "removed")?;
            wire::push_blob(address, REPOSITORY, &content)?.expect(201)?;
            wire::check_blob(address, REPOSITORY, &content).context("it does not heal")
        };
        healed().with_context(|| what.to_owned())?;
    }
    Ok(())
}

/// A file that is changed while a client reads it: the answer breaks off, or every byte is right.
pub(super) fn while_served(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("while-served")?);
    let server = setup.start()?;
    let address = server.address();
    // More than fits into the buffers between the server and a client that reads nothing.
    let content = Random::new(faults.seed, 18).bytes(48 << 20);
    let name = digest(&content);
    let path = wire::blob_path(REPOSITORY, &name);
    let harms: [(&str, Harm); 3] = [
        ("cut off", |path| edit(path)?.set_len(1000)),
        ("one byte changed", |path| flip(path, 47 << 20)),
        ("removed", |path| fs::remove_file(path)),
    ];
    for (what, harm) in harms {
        wire::push_blob(address, REPOSITORY, &content)?.expect(201)?;
        let file = setup.blob_file(&name);
        let got = wire::interrupted(address, &path, || harm(&file))?;
        if !content.starts_with(&got) {
            bail!("{what}: wrong bytes are served");
        }
        if what == "removed" && got.len() != content.len() {
            bail!("{what}: whoever reads a blob that is removed gets it to its end");
        }
        refused(address, &path, what == "removed").with_context(|| what.to_owned())?;
    }
    Ok(())
}

/// The blob counts as absent for whoever reads, looks or mounts.
///
/// A file without a name may be served to its end while it is open: its bytes are the right ones.
fn refused(address: &str, path: &str, removed: bool) -> Result<()> {
    let answer = wire::send(address, "GET", path, &[], b"")?;
    if !removed || answer.status != 200 {
        answer.expect_error(404).context("a damaged blob")?;
    }
    wire::send(address, "HEAD", path, &[], b"")?.expect(404)?;
    let name = path.rsplit('/').next().unwrap_or_default();
    let mount = format!("/v2/damage/b/blobs/uploads/?mount={name}&from={REPOSITORY}");
    wire::send(address, "POST", &mount, &[], b"")?
        .expect(202)
        .context("a damaged blob is mounted")?;
    Ok(())
}

/// A bit that flips on the disk leaves no trace: the background reader finds it.
pub(super) fn without_a_trace(faults: &Faults) -> Result<()> {
    let directory = faults.directory("bit-rot")?;
    let setup = Setup::new(&faults.program, &directory).set("VERIFY_BYTES", "64MiB");
    let content = Random::new(faults.seed, 8).bytes(300_000);
    let name = digest(&content);
    let path = wire::blob_path(REPOSITORY, &name);
    let server = setup.start()?;
    wire::push_blob(server.address(), REPOSITORY, &content)?.expect(201)?;
    let file = setup.blob_file(&name);
    let modified = fs::metadata(&file)?.modified()?;
    flip(&file, 200_000)?;
    edit(&file)?.set_modified(modified)?;
    forge_seal(&file)?;
    if setup.verify().is_ok() {
        bail!("`verify` does not notice a changed byte");
    }
    server.kill()?;
    let server = setup.start()?;
    let address = server.address();
    eventually("the background reader finds the changed byte", || {
        let answer = wire::send(address, "HEAD", &path, &[], b"")?;
        Ok(answer.status == 404)
    })?;
    wire::send(address, "GET", &path, &[], b"")?.expect_error(404)?;
    wire::push_blob(address, REPOSITORY, &content)?.expect(201)?;
    wire::check_blob(address, REPOSITORY, &content).context("it does not heal")?;
    setup.verify().context("after it was pushed again")
}

/// Puts off the bound of a blob's seal for the time of its last change, which no program can set back.
fn forge_seal(file: &Path) -> Result<()> {
    const NAME: &str = "user.rbuild.seal";
    let mut seal = [0; 96];
    // Without attributes there is nothing to forge.
    let Ok(length) = rustix::fs::getxattr(file, NAME, &mut seal[..]) else {
        return Ok(());
    };
    let seal = std::str::from_utf8(&seal[..length])?;
    let (before, _) = seal.rsplit_once(':').context("a seal without a bound")?;
    let forged = format!("{before}:{}.0", i64::MAX);
    let flags = rustix::fs::XattrFlags::empty();
    Ok(rustix::fs::setxattr(file, NAME, forged.as_bytes(), flags)?)
}

/// A small blob and a manifest, whose bytes are in the database.
pub(super) fn in_the_database(faults: &Faults) -> Result<()> {
    let setup = Setup::new(&faults.program, &faults.directory("damaged-rows")?);
    let mut random = Random::new(faults.seed, 9);
    let small = random.bytes(500);
    let config = super::content::Content::new(&mut random, 64);
    let manifest = super::client::manifest(&[config], None);
    let headers = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
    let tag = format!("/v2/{REPOSITORY}/manifests/v1");
    let push = |address: &str| -> Result<()> {
        wire::push_blob(address, REPOSITORY, &small)?.expect(201)?;
        wire::push_blob(address, REPOSITORY, &config.bytes())?.expect(201)?;
        wire::send(address, "PUT", &tag, &headers, &manifest)?.expect(201)?;
        Ok(())
    };
    let server = setup.start()?;
    push(server.address())?;
    // Stopped in peace, the database is one file.
    server.stop()?;
    let mut harmed = 0;
    let file = setup.data().join("meta.db");
    let mut bytes = fs::read(&file)?;
    for wanted in [&small[..], &manifest[..]] {
        while let Some(at) = find(&bytes, wanted) {
            bytes[at + 40] ^= 1;
            harmed += 1;
        }
    }
    fs::write(&file, &bytes)?;
    if harmed < 2 {
        bail!("the bytes are not in the database's file");
    }
    let server = setup.start()?;
    let address = server.address();
    for path in [&wire::blob_path(REPOSITORY, &digest(&small)), &tag] {
        wire::send(address, "GET", path, &[], b"")?
            .expect_error(404)
            .context("damaged bytes of the database")?;
    }
    push(address)?;
    wire::check_blob(address, REPOSITORY, &small).context("it does not heal")?;
    let healed = wire::send(address, "GET", &tag, &[], b"")?.expect(200)?;
    wire::same(&healed, &digest(&manifest), &manifest)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}
