//! Tars that the real `tar` makes.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::Digest;
use crate::layer::{Entry, Kind, LayerSummary, LayerWriter, Time, scan};

/// A tree with what the dialects write differently.
fn tree(root: &Path) -> String {
    let long = "d".repeat(60);
    let deep = format!("{long}/{long}/{long}");
    fs::create_dir_all(root.join(&deep)).unwrap();
    fs::write(root.join(&deep).join("file"), b"deep").unwrap();
    fs::write(root.join("a"), b"hello").unwrap();
    fs::set_permissions(root.join("a"), fs::Permissions::from_mode(0o4750)).unwrap();
    fs::hard_link(root.join("a"), root.join("z")).unwrap();
    symlink("t".repeat(150), root.join("link")).unwrap();
    fs::write(root.join(OsStr::from_bytes(b"n\xff")), b"name").unwrap();
    fs::write(root.join("big"), vec![7; 600_000]).unwrap();
    let time = fs::FileTimes::new();
    let time = time.set_modified(std::time::UNIX_EPOCH + std::time::Duration::new(1_234, 500));
    fs::File::options()
        .write(true)
        .open(root.join("a"))
        .unwrap()
        .set_times(time)
        .unwrap();
    deep
}

fn tar(root: &Path, arguments: &[&str]) -> Option<LayerSummary> {
    let output = Command::new("tar")
        .args(arguments)
        .args(["--numeric-owner", "-C"])
        .arg(root)
        .args(["-cf", "-", "."])
        .output();
    let Ok(output) = output else {
        let missing = "this test needs the program `tar`";
        let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "tar"), "{missing}");
        eprintln!("{missing}");
        return None;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let summary = scan(&output.stdout[..]).unwrap();
    assert_eq!(summary.diff_id.0, Digest::sha256(&output.stdout));
    Some(summary)
}

#[test]
fn all_dialects_say_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let deep = tree(directory.path());
    let mut ids = Vec::new();
    for dialect in ["--format=gnu", "--format=oldgnu", "--format=posix"] {
        for order in ["--sort=name", "--sort=inode"] {
            let Some(summary) = tar(directory.path(), &[dialect, order]) else {
                return;
            };
            let toc = &summary.toc;
            let deep = toc.find(format!("{deep}/file").as_bytes()).unwrap();
            assert_eq!(
                deep.content().map(|c| c.digest),
                Some(Digest::sha256(b"deep"))
            );
            assert_eq!(toc.find(b"z").unwrap().kind(), Kind::Hardlink(&b"a"[..]));
            assert_eq!(
                toc.find(b"link").unwrap().kind(),
                Kind::Symlink(&[b't'; 150][..])
            );
            assert!(toc.find(b"n\xff").is_some());
            let a = toc.find(b"a").unwrap();
            assert_eq!(a.mode(), 0o4750);
            let nanoseconds = if dialect == "--format=posix" { 500 } else { 0 };
            assert_eq!(
                a.mtime(),
                Time {
                    seconds: 1_234,
                    nanoseconds
                }
            );
            ids.push(summary.content_id);
        }
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn binary_owners_and_times_are_read() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("f"), b"").unwrap();
    let arguments = [
        "--format=gnu",
        "--owner=:3000000",
        "--group=:4000000000",
        "--mtime=@-5",
    ];
    let Some(summary) = tar(directory.path(), &arguments) else {
        return;
    };
    let entry = summary.toc.find(b"f").unwrap();
    assert_eq!((entry.uid(), entry.gid()), (3_000_000, 4_000_000_000));
    assert_eq!(entry.mtime(), Time::from_seconds(-5));
}

#[test]
fn the_tar_program_reads_what_we_write() {
    let long = format!("{}/{}", "d".repeat(140), "f".repeat(90));
    let longer = "g".repeat(200);
    let with = |path: &str, uid, seconds, nanoseconds| Entry {
        uid,
        mode: 0o4711,
        mtime: Time {
            seconds,
            nanoseconds,
        },
        ..Entry::new(path, Kind::File { size: 0 })
    };
    let mut noted = with("noted", 3_000_000_000, 1_600_000_000, 123_456_789);
    noted
        .xattrs
        .insert(b"user.note".to_vec(), b"a\n=b".to_vec());
    let mut writer = LayerWriter::new(Vec::new());
    for entry in [
        Entry::new("a", Kind::Directory),
        with(&long, 7, 1, 0),
        with(&longer, 7, 1, 0),
        Entry::new("link", Kind::Symlink(vec![b't'; 150])),
        Entry::new("name\u{e9}", Kind::Fifo),
        noted,
        Entry::new("z", Kind::Hardlink(b"noted".to_vec())),
    ] {
        writer.entry(&entry).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("layer.tar");
    fs::write(&file, writer.finish().unwrap().0).unwrap();
    let output = Command::new("tar")
        .args([
            "--list",
            "--verbose",
            "--full-time",
            "--utc",
            "--numeric-owner",
        ])
        .args(["--quoting-style=literal", "--xattrs", "--file"])
        .arg(&file)
        .env("LC_ALL", "C")
        .output();
    let Ok(output) = output else {
        let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "tar"));
        eprintln!("this test needs the program `tar`");
        return;
    };
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let words = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let link = "t".repeat(150);
    let want = [
        "drwxr-xr-x 0/0 0 1970-01-01 00:00:00 a/".to_owned(),
        format!("-rws--x--x 7/0 0 1970-01-01 00:00:01 {long}"),
        format!("-rws--x--x 7/0 0 1970-01-01 00:00:01 {longer}"),
        format!("lrwxrwxrwx 0/0 0 1970-01-01 00:00:00 link -> {link}"),
        "prw-r--r-- 0/0 0 1970-01-01 00:00:00 name\u{e9}".to_owned(),
        "-rws--x--x* 3000000000/0 0 2020-09-13 12:26:40.123456789 noted".to_owned(),
        "hrws--x--x* 3000000000/0 0 2020-09-13 12:26:40.123456789 z link to noted".to_owned(),
    ];
    assert_eq!(words.collect::<Vec<_>>(), want);
}
