//! Base images made on this machine: busybox from one static program, Python from Debian's packages.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::archive::write_docker_archive;
use crate::process::Cmd;
use crate::workspace;

/// The name under which the busybox base is imported everywhere.
pub(crate) const BUSYBOX: &str = "localhost/base/busybox:1";
/// The name under which the Python base is imported.
pub(crate) const PYTHON: &str = "localhost/base/python:3.11";

const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Directories of the busybox base with their modes.
const DIRECTORIES: &[(&str, u32)] = &[
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/sbin", 0o755),
    ("var", 0o755),
    ("var/lib", 0o755),
];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\nother:x:1001:1001:other:/home/other:/bin/sh\nodd:x:1002:50:group differs:/home/odd:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUP: &str = "root:x:0:\napp:x:1000:\nother:x:1001:\nstaff:x:50:app\nnogroup:x:65534:\n";

/// Files of the busybox base; engines put their own over the last three at run time.
const FILES: &[(&str, &str)] = &[
    ("etc/passwd", PASSWD),
    ("etc/group", GROUP),
    ("etc/hostname", ""),
    ("etc/hosts", ""),
    ("etc/resolv.conf", ""),
];

/// Writes a docker archive of the busybox base into `directory` and returns its path.
pub(crate) fn busybox(directory: &Path) -> Result<PathBuf> {
    let program =
        fs::read("/bin/busybox").context("cannot read `/bin/busybox` (package busybox-static)")?;
    let applets = Cmd::new("/bin/busybox").arg("--list").text()?;
    let rootfs = directory.join("busybox-rootfs.tar");
    let file =
        File::create(&rootfs).with_context(|| format!("cannot create `{}`", rootfs.display()))?;
    let mut tar = tar::Builder::new(io::BufWriter::new(file));
    for (path, mode) in DIRECTORIES {
        tar.append_data(
            &mut header(tar::EntryType::Directory, *mode, 0),
            path,
            io::empty(),
        )?;
    }
    tar.append_data(
        &mut header(tar::EntryType::Regular, 0o755, program.len()),
        "bin/busybox",
        program.as_slice(),
    )?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        tar.append_link(
            &mut header(tar::EntryType::Symlink, 0o777, 0),
            format!("bin/{applet}"),
            "busybox",
        )?;
    }
    for (path, content) in FILES {
        tar.append_data(
            &mut header(tar::EntryType::Regular, 0o644, content.len()),
            path,
            content.as_bytes(),
        )?;
    }
    tar.into_inner()?.flush()?;

    let archive = directory.join("busybox.tar");
    write_docker_archive(
        &rootfs,
        &json!({ "Env": [SEARCH_PATH], "Cmd": ["sh"] }),
        BUSYBOX,
        &archive,
    )?;
    fs::remove_file(rootfs)?;
    Ok(archive)
}

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// Writes a docker archive of Debian with Python and pip into `directory`, or finds the one made before.
pub(crate) fn python(directory: &Path) -> Result<PathBuf> {
    let archive = directory.join("python.tar");
    if archive.is_file() {
        println!("base image: `{}` from an earlier run", archive.display());
        return Ok(archive);
    }
    let rootfs = directory.join("python-rootfs.tar");
    let mut mmdebstrap = Cmd::new("mmdebstrap").args([
        "--quiet",
        "--variant=essential",
        "--include=passwd,python3,python3-pip",
        "--skip=output/dev",
    ]);
    for left_out in ["doc", "man", "info", "locale"] {
        mmdebstrap = mmdebstrap.arg(format!("--dpkgopt=path-exclude=/usr/share/{left_out}/*"));
    }
    mmdebstrap
        .arg("bookworm")
        .arg(&rootfs)
        .env("SOURCE_DATE_EPOCH", "0")
        .show_and_run()?;
    // A killed run must not leave half an archive under the final name.
    let unfinished = directory.join("python.tar.part");
    write_docker_archive(
        &rootfs,
        &json!({ "Env": [SEARCH_PATH, "LANG=C.UTF-8"], "Cmd": ["python3"] }),
        PYTHON,
        &unfinished,
    )?;
    fs::rename(&unfinished, &archive)?;
    fs::remove_file(rootfs)?;
    Ok(archive)
}

/// The directory that keeps base images between runs.
pub(crate) fn cache() -> Result<PathBuf> {
    let directory = workspace::target().join("demo");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create `{}`", directory.display()))?;
    Ok(directory)
}
