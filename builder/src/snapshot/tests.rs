//! Laying out and reading back, with real overlay mounts.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use proptest::prelude::*;
use rbuild_image::layer::{Entry, Kind, LayerSummary, LayerWriter, Rootfs, Time, Toc, join, scan};
use rbuild_image::{ChainId, DiffId};
use rustix::fs::{XattrFlags, lgetxattr, lsetxattr};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::{ForeignOwners, LayerSource, SnapshotError, SnapshotStore, diff, is_self_contained};
use crate::sandbox::OverlayMode;

/// Whether a test may go on that needs `capability`.
fn may_go_on(capability: &str, have: bool) -> bool {
    if !have {
        let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
        let is_required = required.split(',').any(|name| name == capability);
        assert!(!is_required, "this test needs `{capability}`");
        eprintln!("this test needs `{capability}`");
    }
    have
}

fn is_root() -> bool {
    may_go_on("root", rustix::process::geteuid().is_root())
}

/// A layer in memory.
#[derive(Clone)]
struct Layer {
    tar: Vec<u8>,
    summary: LayerSummary,
}

impl Layer {
    fn of(entries: &[(Entry, &[u8])]) -> Self {
        let mut writer = LayerWriter::new(Vec::new());
        for (entry, content) in entries {
            match entry.kind {
                Kind::File { .. } => {
                    writer.file(entry, &mut &content[..], None).unwrap();
                }
                _ => writer.entry(entry).unwrap(),
            }
        }
        let (tar, summary) = writer.finish().unwrap();
        Self { tar, summary }
    }

    fn foreign(tar: Vec<u8>) -> Self {
        let summary = scan(&tar[..]).unwrap();
        Self { tar, summary }
    }

    fn from_upper(upper: &Path, mode: OverlayMode) -> Self {
        let mut writer = LayerWriter::new(Vec::new());
        let stats = diff(upper, mode, &[], &mut writer).unwrap();
        let (tar, summary) = writer.finish().unwrap();
        assert_eq!(stats.entries, summary.entries);
        Self { tar, summary }
    }
}

fn file(path: &str, content: &'static str) -> (Entry, &'static [u8]) {
    let size = content.len() as u64;
    (Entry::new(path, Kind::File { size }), content.as_bytes())
}

fn directory(path: &str) -> (Entry, &'static [u8]) {
    (Entry::new(path, Kind::Directory), b"")
}

fn entry(path: &str, kind: Kind) -> (Entry, &'static [u8]) {
    (Entry::new(path, kind), b"")
}

fn view(layers: &[Layer]) -> Rootfs {
    let toc = |layer: &Layer| Arc::new(layer.summary.toc.clone());
    Rootfs::new(layers.iter().map(toc).collect())
}

fn materialize(
    store: &SnapshotStore,
    layers: &[Layer],
    mode: OverlayMode,
) -> Result<Vec<PathBuf>, SnapshotError> {
    let opens: Vec<_> = layers
        .iter()
        .map(|layer| {
            let tar = layer.tar.clone();
            move || Ok(Box::new(io::Cursor::new(tar.clone())) as Box<dyn Read + Send>)
        })
        .collect();
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.summary.diff_id).collect();
    let sources: Vec<_> = layers
        .iter()
        .zip(&opens)
        .enumerate()
        .map(|(index, (layer, open))| LayerSource {
            diff_id: layer.summary.diff_id,
            chain_id: ChainId::of(&diff_ids[..=index]).unwrap(),
            toc: Arc::new(layer.summary.toc.clone()),
            open,
        })
        .collect();
    store.materialize(&sources, mode)
}

/// What stands at a path, as far as layers keep it.
#[derive(Debug, Clone, PartialEq)]
struct Fact {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    mtime: (i64, i64),
    xattr: Option<Vec<u8>>,
    /// The first path of the same file.
    first: Vec<u8>,
}

/// All that is below `root`, the root left out.
fn facts(root: &Path) -> BTreeMap<Vec<u8>, Fact> {
    let mut facts = BTreeMap::new();
    let mut inodes = BTreeMap::new();
    let walk = walkdir::WalkDir::new(root).min_depth(1).sort_by_file_name();
    for found in walk {
        let found = found.unwrap();
        let path = found.path().strip_prefix(root).unwrap();
        let path = path.as_os_str().as_bytes().to_vec();
        let metadata = fs::symlink_metadata(found.path()).unwrap();
        let kind = metadata.file_type();
        let text = if kind.is_dir() {
            "directory".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", fs::read_link(found.path()).unwrap().display())
        } else if kind.is_file() {
            format!("file {:?}", fs::read(found.path()).unwrap())
        } else if kind.is_fifo() {
            "pipe".to_owned()
        } else {
            format!("device {}", metadata.rdev())
        };
        let first = inodes.entry(metadata.ino()).or_insert_with(|| path.clone());
        let mut value = [0; 64];
        let xattr = lgetxattr(found.path(), "user.note", &mut value).ok();
        let fact = Fact {
            kind: text,
            mode: metadata.mode() & 0o7777,
            owner: (metadata.uid(), metadata.gid()),
            mtime: (metadata.mtime(), metadata.mtime_nsec()),
            xattr: xattr.map(|length| value[..length].to_vec()),
            // Overlayfs shows one inode under two numbers when it cannot note where it was copied from.
            first: if kind.is_file() {
                first.clone()
            } else {
                path.clone()
            },
        };
        facts.insert(path, fact);
    }
    facts
}

/// An overlay mount that ends with its value.
struct Overlay(TempDir);

impl Overlay {
    fn new(lower: &[PathBuf], changes: Option<(&Path, &Path)>, mode: OverlayMode) -> Self {
        let place = tempfile::tempdir().unwrap();
        let lower: Vec<_> = lower.iter().map(|path| path.to_str().unwrap()).collect();
        // A read-only overlay needs two directories.
        let empty = ["empty", "empty-too"].map(|name| place.path().join(name));
        for empty in &empty {
            fs::create_dir(empty).unwrap();
        }
        let lower = lower
            .into_iter()
            .chain(empty.iter().map(|path| path.to_str().unwrap()));
        let lower: Vec<_> = lower.collect();
        let mut options = format!("lowerdir={}", lower.join(":"));
        if let Some((upper, work)) = changes {
            let changes = format!(",upperdir={},workdir={}", upper.display(), work.display());
            options += &changes;
        }
        options += match mode {
            OverlayMode::Trusted => ",redirect_dir=off,metacopy=off",
            OverlayMode::User => ",userxattr",
        };
        let options = std::ffi::CString::new(options).unwrap();
        let target = place.path().join("merged");
        fs::create_dir(&target).unwrap();
        mount(
            "overlay",
            &target,
            "overlay",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .unwrap();
        Self(place)
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("merged")
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        unmount(self.path(), UnmountFlags::DETACH).unwrap();
    }
}

fn store() -> (TempDir, SnapshotStore) {
    let place = tempfile::tempdir().unwrap();
    let store = SnapshotStore::open(place.path().join("snapshots")).unwrap();
    (place, store)
}

/// Everything that layers can have.
fn rich_layer() -> Layer {
    let time = Time {
        seconds: 1_600_000_000,
        nanoseconds: 123_456_789,
    };
    let with = |(mut entry, content): (Entry, &'static [u8]), mode, uid| {
        entry.mode = mode;
        entry.uid = uid;
        entry.gid = uid;
        entry.mtime = time;
        (entry, content)
    };
    let mut noted = file("noted", "with a note");
    noted
        .0
        .xattrs
        .insert(b"user.note".to_vec(), b"a\0b".to_vec());
    noted
        .0
        .xattrs
        .insert(b"trusted.overlay.redirect".to_vec(), b"/etc".to_vec());
    let large: &'static [u8] = Box::leak(vec![7; 700_000].into_boxed_slice());
    let large = (Entry::new("large", Kind::File { size: 700_000 }), large);
    Layer::of(&[
        with(directory("closed"), 0o000, 7),
        with(file("closed/in", "secret"), 0o000, 7),
        with(directory("d"), 0o1777, 0),
        with(file("d/f", "one"), 0o4755, 33),
        with(entry("d/g", Kind::Hardlink(b"d/f".to_vec())), 0, 0),
        with(entry("d/link", Kind::Symlink(b"../d/f".to_vec())), 0o777, 5),
        with(entry("fifo", Kind::Fifo), 0o622, 0),
        with(large, 0o640, 0),
        noted,
        with(
            entry("null", Kind::CharDevice { major: 1, minor: 3 }),
            0o666,
            0,
        ),
        with(file("zero", ""), 0o600, 0),
    ])
}

#[test]
fn a_layer_is_laid_out_as_it_says() {
    if !is_root() {
        return;
    }
    let (_place, store) = store();
    let layer = rich_layer();
    let lower = materialize(&store, std::slice::from_ref(&layer), OverlayMode::Trusted).unwrap();
    let [root] = &lower[..] else {
        panic!("{lower:?}")
    };
    let facts = facts(root);
    let entries: Vec<_> = layer
        .summary
        .toc
        .iter()
        .map(|entry| entry.to_entry())
        .collect();
    assert_eq!(facts.len(), entries.len());
    for entry in &entries {
        let fact = &facts[&entry.path];
        assert_eq!(fact.owner, (entry.uid, entry.gid), "{entry:?}");
        let time = (entry.mtime.seconds, entry.mtime.nanoseconds.into());
        assert_eq!(fact.mtime, time, "{entry:?}");
        if !matches!(entry.kind, Kind::Symlink(_)) {
            assert_eq!(fact.mode, entry.mode, "{entry:?}");
        }
    }
    assert_eq!(facts[&b"d/g"[..]].first, b"d/f");
    assert_eq!(facts[&b"noted"[..]].xattr.as_deref(), Some(&b"a\0b"[..]));
    let mut value = [0; 16];
    assert!(lgetxattr(root.join("noted"), "trusted.overlay.redirect", &mut value).is_err());
    assert_eq!(fs::read(root.join("large")).unwrap(), vec![7; 700_000]);
    // What was laid out is again the layer.
    let mut writer = LayerWriter::new(Vec::new());
    diff(
        root,
        OverlayMode::Trusted,
        &[b"noted".to_vec()],
        &mut writer,
    )
    .unwrap();
    let again = writer.finish().unwrap().1.toc;
    let names = |toc: &Toc| -> Vec<_> {
        let entries = toc.iter().map(|entry| entry.to_entry());
        entries.filter(|entry| entry.path != b"noted").collect()
    };
    assert_eq!(names(&again), names(&layer.summary.toc));
}

#[test]
fn implied_directories_take_after_lower_layers() {
    if !is_root() {
        return;
    }
    let (_place, store) = store();
    let mut private = directory("a");
    private.0.mode = 0o700;
    private.0.uid = 42;
    private.0.mtime = Time::from_seconds(77);
    let lower = Layer::of(&[private, file("a/old", "old"), file("f", "linked")]);
    let upper = Layer::of(&[file("a/b/new", "new"), entry("a/old", Kind::Whiteout)]);
    assert!(is_self_contained(&lower.summary.toc));
    assert!(!is_self_contained(&upper.summary.toc));
    let layers = [lower, upper];
    let directories = materialize(&store, &layers, OverlayMode::Trusted).unwrap();
    let facts = facts(&directories[0]);
    let a = &facts[&b"a"[..]];
    assert_eq!((a.mode, a.owner.0, a.mtime.0), (0o700, 42, 77));
    let b = &facts[&b"a/b"[..]];
    assert_eq!((b.mode, b.owner.0, b.mtime.0), (0o755, 0, 0));
    assert_eq!(facts[&b"a/old"[..]].kind, "device 0");
}

#[test]
fn a_layer_is_self_contained_when_nothing_below_decides() {
    let opaque = |path| entry(path, Kind::Opaque);
    for (entries, want) in [
        (vec![], true),
        (vec![file("f", "")], true),
        (
            vec![
                directory("a"),
                directory("a/b"),
                file("a/b/c", ""),
                file("a/d", ""),
            ],
            true,
        ),
        (vec![directory("a"), file("a/b/c", "")], false),
        (vec![directory("a"), file("a-b/c", "")], false),
        (
            vec![directory("a"), directory("a/b"), file("b/c", "")],
            false,
        ),
        (vec![directory("a"), opaque("a"), file("a/b", "")], true),
        (vec![opaque("a"), file("a/b", "")], false),
        (vec![opaque("")], true),
        (
            vec![directory(""), file("x", ""), entry("y", Kind::Whiteout)],
            true,
        ),
        (vec![entry("a/y", Kind::Whiteout)], false),
    ] {
        let layer = Layer::of(&entries);
        assert_eq!(is_self_contained(&layer.summary.toc), want, "{entries:?}");
    }
}

#[test]
fn links_into_lower_layers_are_copied_up() {
    if !is_root() {
        return;
    }
    let (_place, store) = store();
    let mut private = file("f", "linked");
    private.0.mode = 0o640;
    let lower = Layer::of(&[private]);
    // Our own writer refuses such a layer, so it comes from a foreign one.
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Link);
    header.set_path("link").unwrap();
    header.set_link_name("f").unwrap();
    for set in [
        tar::Header::set_size,
        tar::Header::set_uid,
        tar::Header::set_gid,
    ] {
        set(&mut header, 0);
    }
    header.set_mode(0);
    header.set_mtime(0);
    header.set_cksum();
    let upper = Layer::foreign([&header.as_bytes()[..], &[0; 1024]].concat());
    let layers = [lower, upper.clone()];
    let directories = materialize(&store, &layers, OverlayMode::Trusted).unwrap();
    let fact = &facts(&directories[0])[&b"link"[..]];
    assert_eq!(
        (fact.kind.as_str(), fact.mode),
        (&*format!("file {:?}", b"linked"), 0o640)
    );
    let alone = materialize(&store, &[upper], OverlayMode::Trusted).unwrap_err();
    assert!(matches!(alone, SnapshotError::Link { .. }), "{alone}");
}

#[test]
fn nothing_comes_from_where_the_store_is() {
    if !is_root() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    chown(place.path(), Some(0), Some(77)).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o2755)).unwrap();
    let store = SnapshotStore::open(place.path().join("snapshots")).unwrap();
    let layers = [Layer::of(&[directory("d"), file("d/f", "content")])];
    let root = &materialize(&store, &layers, OverlayMode::Trusted).unwrap()[0];
    for fact in facts(root).values() {
        assert_eq!((fact.owner, fact.mode & 0o7000), ((0, 0), 0), "{fact:?}");
    }
    let active = store.active(&view(&layers)).unwrap();
    let metadata = fs::metadata(&active.upper).unwrap();
    assert_eq!((metadata.gid(), metadata.mode() & 0o7777), (0, 0o755));
}

#[test]
fn empty_and_repeated_layers_take_no_place() {
    if !is_root() {
        return;
    }
    let (_place, store) = store();
    let (a, b) = (Layer::of(&[file("f", "a")]), Layer::of(&[file("f", "b")]));
    let layers = [a.clone(), Layer::of(&[]), b, a];
    let directories = materialize(&store, &layers, OverlayMode::Trusted).unwrap();
    assert_eq!(directories.len(), 2);
    let overlay = Overlay::new(&directories, None, OverlayMode::Trusted);
    assert_eq!(fs::read(overlay.path().join("f")).unwrap(), b"a");
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn what_the_dead_leave_is_swept_and_the_living_is_not() {
    if !is_root() {
        return;
    }
    let (place, store) = store();
    let active = place.path().join("snapshots/.active");
    let living = store.active(&Rootfs::default()).unwrap();
    let dropped = store.active(&Rootfs::default()).unwrap();
    drop(dropped);
    fs::create_dir_all(active.join("step-dead/fs/d")).unwrap();
    fs::set_permissions(
        active.join("step-dead/fs/d"),
        fs::Permissions::from_mode(0o0),
    )
    .unwrap();
    assert_eq!(fs::read_dir(&active).unwrap().count(), 2);
    assert_eq!(store.sweep().unwrap(), 1);
    assert!(living.upper.is_dir() && living.work.is_dir());
    drop(living);
    assert_eq!(fs::read_dir(&active).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(place.path().join("snapshots/.locks"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn directories_of_an_earlier_run_of_the_machine_are_made_anew() {
    if !is_root() {
        return;
    }
    let (_place, store) = store();
    let layers = [Layer::of(&[file("f", "content")])];
    let [root] = &materialize(&store, &layers, OverlayMode::Trusted).unwrap()[..] else {
        panic!("one layer, one directory");
    };
    // As after a power failure.
    fs::write(root.join("f"), b"").unwrap();
    fs::write(root.parent().unwrap().join("boot"), b"another").unwrap();
    materialize(&store, &layers, OverlayMode::Trusted).unwrap();
    assert_eq!(fs::read(root.join("f")).unwrap(), b"content");
    store.remove(&store.list().unwrap()[0]).unwrap();
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn many_at_once_make_each_directory_once() {
    if !is_root() {
        return;
    }
    let (_place, store) = store();
    let layers = [rich_layer(), Layer::of(&[file("x", "y")])];
    std::thread::scope(|scope| {
        let work = || materialize(&store, &layers, OverlayMode::Trusted).unwrap();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        let results: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(results.iter().all(|result| *result == results[0]));
    });
    assert_eq!(store.list().unwrap().len(), 2);
    assert_eq!(store.sweep().unwrap(), 0);
}

#[test]
fn a_tar_that_is_shorter_than_its_table_leaves_nothing() {
    let (place, store) = store();
    let mut layer = Layer::of(&[file("f", "content")]);
    layer.tar.truncate(515);
    let error = materialize(&store, &[layer], OverlayMode::User).unwrap_err();
    assert!(matches!(error, SnapshotError::Layer { .. }), "{error}");
    assert!(store.list().unwrap().is_empty());
    let active = place.path().join("snapshots/.active");
    assert_eq!(fs::read_dir(active).unwrap().count(), 0);
}

/// So many files that a second thread makes them.
fn many_files(name_length: usize) -> Layer {
    let mut writer = LayerWriter::new(Vec::new());
    for number in 0..600_usize {
        // One in a hundred is larger than what is handed to the thread.
        let size = if number % 100 == 7 {
            200_000
        } else {
            number * 11
        };
        let content = vec![number.to_le_bytes()[0]; size];
        let name = format!("{number:0name_length$}");
        let entry = Entry::new(name, Kind::File { size: size as u64 });
        writer.file(&entry, &mut &content[..], None).unwrap();
    }
    let (tar, summary) = writer.finish().unwrap();
    Layer { tar, summary }
}

#[test]
fn many_files_are_made_by_two_threads() {
    let (_place, store) = store();
    if !is_root() {
        return;
    }
    let layer = many_files(4);
    let lower = materialize(&store, std::slice::from_ref(&layer), OverlayMode::User);
    let root = &lower.unwrap()[0];
    for entry in layer.summary.toc.iter() {
        let content = entry.content().unwrap();
        let name = std::str::from_utf8(entry.path()).unwrap();
        let start = usize::try_from(content.offset).unwrap();
        let end = start + usize::try_from(content.size).unwrap();
        assert!(
            fs::read(root.join(name)).unwrap() == layer.tar[start..end],
            "{name}"
        );
    }
}

#[test]
fn a_failure_of_either_thread_ends_both_and_leaves_nothing() {
    let (_place, store) = store();
    // No file system takes such names.
    let error = materialize(&store, &[many_files(300)], OverlayMode::User).unwrap_err();
    assert!(
        matches!(error, SnapshotError::Io { action: "make", .. }),
        "{error}"
    );
    let mut cut = many_files(4);
    cut.tar.truncate(cut.tar.len() / 2);
    let error = materialize(&store, &[cut], OverlayMode::User).unwrap_err();
    let is_expected = matches!(
        error,
        SnapshotError::Layer { .. } | SnapshotError::Io { .. }
    );
    assert!(is_expected, "{error}");
    assert!(store.list().unwrap().is_empty());
}

#[test]
fn sockets_and_stubs_are_left_out() {
    let upper = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(upper.path().join("socket")).unwrap();
    fs::create_dir_all(upper.path().join("stub/below")).unwrap();
    fs::write(upper.path().join("kept"), b"").unwrap();
    let mut writer = LayerWriter::new(io::sink());
    let stubs = [b"stub".to_vec()];
    let stats = diff(upper.path(), OverlayMode::User, &stubs, &mut writer).unwrap();
    assert_eq!((stats.entries, stats.sockets), (1, 1));
}

/// One thing that a step may do.
#[derive(Debug, Clone)]
enum Act {
    Write(String, u8),
    Append(String),
    Directory(String),
    Remove(String),
    Rename(String, String),
    Link(String, String),
    Symlink(String),
    Mode(String, u32),
    Owner(String, u32),
    Note(String, u8),
    Pipe(String),
}

fn act() -> impl Strategy<Value = Act> {
    let name = prop_oneof![Just("a"), Just("b"), Just("a-b"), Just("c")];
    let path = prop::collection::vec(name, 1..4).prop_map(|names| names.join("/"));
    let path = || path.clone().boxed();
    prop_oneof![
        3 => (path(), any::<u8>()).prop_map(|(path, byte)| Act::Write(path, byte)),
        1 => path().prop_map(Act::Append),
        4 => path().prop_map(Act::Directory),
        3 => path().prop_map(Act::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Act::Rename(from, to)),
        2 => (path(), path()).prop_map(|(from, to)| Act::Link(from, to)),
        1 => path().prop_map(Act::Symlink),
        1 => (path(), 0_u32..0o10000).prop_map(|(path, mode)| Act::Mode(path, mode)),
        1 => (path(), 0_u32..9).prop_map(|(path, id)| Act::Owner(path, id)),
        1 => (path(), any::<u8>()).prop_map(|(path, byte)| Act::Note(path, byte)),
        1 => path().prop_map(Act::Pipe),
    ]
}

impl Act {
    /// Does it; what cannot be done is not done.
    fn perform(&self, root: &Path, single_id: bool) {
        let at = |path: &String| root.join(path);
        let is_link = |path: &String| at(path).is_symlink();
        // Opening a pipe waits for its other end.
        let is_pipe = |path: &String| {
            let found = fs::metadata(at(path));
            found.is_ok_and(|metadata| metadata.file_type().is_fifo())
        };
        let _: io::Result<()> = match self {
            Self::Write(path, _) | Self::Append(path) if is_pipe(path) => Ok(()),
            Self::Write(path, byte) => fs::write(at(path), vec![*byte; usize::from(*byte) * 9]),
            Self::Append(path) => fs::File::options()
                .append(true)
                .open(at(path))
                .and_then(|mut file| io::Write::write_all(&mut file, b"more")),
            Self::Directory(path) => fs::create_dir_all(at(path)),
            Self::Remove(path) if at(path).is_dir() => fs::remove_dir_all(at(path)),
            Self::Remove(path) => fs::remove_file(at(path)),
            Self::Rename(from, to) => fs::rename(at(from), at(to)),
            Self::Link(from, to) => fs::hard_link(at(from), at(to)),
            Self::Symlink(path) => symlink("nowhere", at(path)),
            Self::Mode(path, _) if is_link(path) => Ok(()),
            Self::Mode(path, mode) => {
                fs::set_permissions(at(path), fs::Permissions::from_mode(*mode))
            }
            Self::Owner(path, _) if single_id => chown(at(path), Some(0), Some(0)),
            Self::Owner(path, id) => lchown(at(path), Some(*id), Some(*id)),
            Self::Note(path, byte) => {
                lsetxattr(at(path), "user.note", &[*byte], XattrFlags::empty())
                    .map_err(io::Error::from)
            }
            Self::Pipe(path) => rustix::fs::mkfifoat(rustix::fs::CWD, at(path), 0o600.into())
                .map_err(io::Error::from),
        };
    }
}

/// Steps on top of each other, each read back as a layer, give the tree that the last one saw.
fn check_steps(steps: &[Vec<Act>], mode: OverlayMode, single_id: bool) {
    let (_place, store) = store();
    let mut layers: Vec<Layer> = Vec::new();
    for acts in steps {
        let lower = materialize(&store, &layers, mode).unwrap();
        let active = store.active(&view(&layers)).unwrap();
        let changes = Some((active.upper.as_path(), active.work.as_path()));
        {
            let overlay = Overlay::new(&lower, changes, mode);
            for act in acts {
                act.perform(&overlay.path(), single_id);
            }
        }
        // Mounted anew: until then, a file that was copied up to be linked may show the inode number of its
        // lower file under one name and another number under the other.
        let seen = facts(&Overlay::new(&lower, changes, mode).path());
        layers.push(Layer::from_upper(&active.upper, mode));
        drop(active);

        let lower = materialize(&store, &layers, mode).unwrap();
        let overlay = Overlay::new(&lower, None, mode);
        let again = facts(&overlay.path());
        assert_eq!(
            again.keys().collect::<Vec<_>>(),
            seen.keys().collect::<Vec<_>>()
        );
        for (path, fact) in &again {
            assert_eq!(fact, &seen[path], "{}", String::from_utf8_lossy(path));
        }
        let rootfs = view(&layers);
        let walked: Vec<_> = rootfs.walk(b"").skip(1).map(|node| node.entry).collect();
        assert_eq!(walked.len(), seen.len());
        for entry in walked {
            let fact = &seen[&entry.path];
            assert_eq!((entry.uid, entry.gid), fact.owner);
            assert_eq!(
                (entry.mtime.seconds, i64::from(entry.mtime.nanoseconds)),
                fact.mtime
            );
            assert_eq!(entry.kind == Kind::Directory, fact.kind == "directory");
        }
    }
}

fn steps() -> impl Strategy<Value = Vec<Vec<Act>>> {
    prop::collection::vec(prop::collection::vec(act(), 1..25), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn layers_of_steps_give_back_what_steps_saw(steps in steps()) {
        if is_root() {
            check_steps(&steps, OverlayMode::Trusted, false);
        }
    }
}

/// Set for the copy of this test that runs inside of a user namespace.
const INSIDE: &str = "RBUILD_TEST_INSIDE_NAMESPACE";

#[test]
fn the_same_holds_in_a_user_namespace() {
    if std::env::var_os(INSIDE).is_some() {
        let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
            cases: 16,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let result = runner.run(&steps(), |steps| {
            check_steps(&steps, OverlayMode::User, true);
            Ok(())
        });
        result.unwrap();
        devices_and_owners_in_a_user_namespace();
        return;
    }
    let possible = Command::new("unshare").args(["-Urm", "true"]).status();
    if !may_go_on("userns", possible.is_ok_and(|status| status.success())) {
        return;
    }
    let output = Command::new("unshare")
        .arg("-Urm")
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "snapshot::tests::the_same_holds_in_a_user_namespace",
        ])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

fn devices_and_owners_in_a_user_namespace() {
    let (_place, store) = store();
    let mut foreign = file("f", "content");
    foreign.0.uid = 33;
    let null = entry("null", Kind::CharDevice { major: 1, minor: 3 });
    let layers = [Layer::of(&[foreign, null])];
    let refused = materialize(&store, &layers, OverlayMode::User).unwrap_err();
    assert!(
        matches!(refused, SnapshotError::Owner { uid: 33, .. }),
        "{refused}"
    );
    let store = store.with_foreign_owners(ForeignOwners::Squash);
    let directories = materialize(&store, &layers, OverlayMode::User).unwrap();
    let facts = facts(&directories[0]);
    assert_eq!(facts[&b"f"[..]].owner, (0, 0));
    assert!(
        !facts.contains_key(&join(b"", b"null")),
        "devices are left out"
    );
}
