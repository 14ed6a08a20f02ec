//! What is written is what is read.

use std::io;

use proptest::prelude::*;

use super::model::{layer, write};
use crate::Digest;
use crate::layer::{Entry, Kind, LayerSummary, LayerWriter, Time, Toc, compare_paths, scan};

proptest! {
    #[test]
    fn reading_gives_what_writing_summed_up(items in layer()) {
        let (tar, summary) = write(&items);
        prop_assert_eq!(summary.diff_id.0, Digest::sha256(&tar));
        prop_assert_eq!(summary.size, tar.len() as u64);
        prop_assert_eq!(&scan(&tar[..]).unwrap(), &summary);
        let entries: Vec<_> = summary.toc.iter().map(|entry| entry.to_entry()).collect();
        let written: Vec<_> = items.iter().map(|item| item.0.clone()).collect();
        prop_assert_eq!(entries, written);
    }

    #[test]
    fn the_table_tells_where_the_bytes_of_files_are(items in layer()) {
        let (tar, summary) = write(&items);
        for (entry, content) in &items {
            if let Kind::File { .. } = entry.kind {
                let found = summary.toc.find(&entry.path).and_then(|entry| entry.content()).unwrap();
                let start = usize::try_from(found.offset).unwrap();
                prop_assert_eq!(&tar[start..start + content.len()], &content[..]);
                prop_assert_eq!(found.digest, Digest::sha256(content));
            }
        }
    }

    #[test]
    fn a_table_survives_its_bytes(items in layer()) {
        let toc = write(&items).1.toc;
        let again = Toc::from_bytes(toc.to_bytes()).unwrap();
        prop_assert_eq!(&again, &toc);
        for (index, (entry, _)) in items.iter().enumerate() {
            if entry.kind == Kind::Opaque {
                prop_assert!(again.is_opaque(&entry.path));
            } else {
                prop_assert_eq!(again.find(&entry.path).map(|found| found.index()), Some(index));
            }
            let inside = |other: &Entry| crate::layer::is_within(&other.path, &entry.path);
            let want: Vec<_> = (0..items.len()).filter(|at| inside(&items[*at].0)).collect();
            prop_assert_eq!(again.subtree(&entry.path).collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn rubbish_is_no_table_and_no_panic(items in layer(), at: prop::sample::Index, value: u8) {
        let mut bytes = write(&items).1.toc.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = value;
        if let Ok(toc) = Toc::from_bytes(bytes.clone()) {
            for entry in toc.iter() {
                let _ = entry.to_entry();
            }
        }
        bytes.truncate(at);
        prop_assert!(Toc::from_bytes(bytes).is_err());
    }

    #[test]
    fn content_ids_do_not_know_time(items in layer(), seconds in -9_i64..9) {
        let mut later = items.clone();
        for (entry, _) in &mut later {
            entry.mtime = Time { seconds, nanoseconds: 7 };
        }
        prop_assert_eq!(write(&items).1.content_id, write(&later).1.content_id);
    }
}

fn summary_of(entries: &[Entry]) -> LayerSummary {
    let mut writer = LayerWriter::new(io::sink());
    for entry in entries {
        writer.entry(entry).unwrap();
    }
    writer.finish().unwrap().1
}

#[test]
fn content_ids_know_everything_but_time() {
    let entry = || Entry::new("f", Kind::File { size: 0 });
    let directory = |path: &str| Entry::new(path, Kind::Directory);
    let with_xattr = |name: &[u8]| {
        let mut entry = entry();
        entry.xattrs.insert(name.to_vec(), b"1".to_vec());
        entry
    };
    let layers = [
        vec![],
        vec![entry()],
        vec![Entry {
            mode: 0o600,
            ..entry()
        }],
        vec![Entry { uid: 1, ..entry() }],
        vec![Entry { gid: 1, ..entry() }],
        vec![with_xattr(b"user.a")],
        vec![with_xattr(b"user.b")],
        vec![Entry::new("g", Kind::File { size: 0 })],
        vec![directory("f")],
        vec![Entry::new("f", Kind::Symlink(b"a".to_vec()))],
        vec![Entry::new("f", Kind::Symlink(b"b".to_vec()))],
        vec![Entry::new("f", Kind::Fifo)],
        vec![Entry::new("f", Kind::CharDevice { major: 1, minor: 2 })],
        vec![Entry::new("f", Kind::BlockDevice { major: 1, minor: 2 })],
        vec![Entry::new("f", Kind::BlockDevice { major: 2, minor: 1 })],
        vec![Entry::new("f", Kind::Whiteout)],
        vec![Entry::new("f", Kind::Opaque)],
        vec![directory("f"), Entry::new("f", Kind::Opaque)],
        vec![directory("f"), entry_at("f/g")],
        vec![entry(), entry_at("g")],
        vec![entry(), Entry::new("g", Kind::Hardlink(b"f".to_vec()))],
    ];
    let ids: Vec<_> = layers
        .iter()
        .map(|layer| summary_of(layer).content_id)
        .collect();
    for (at, id) in ids.iter().enumerate() {
        let same = ids.iter().position(|other| other == id);
        assert_eq!(same, Some(at), "{:?}", layers[at]);
    }
    let without = summary_of(&[entry()]).content_id;
    let overlay = summary_of(&[with_xattr(b"trusted.overlay.origin")]).content_id;
    assert_eq!(
        without, overlay,
        "overlayfs's own attributes are no content"
    );
}

fn entry_at(path: &str) -> Entry {
    Entry::new(path, Kind::File { size: 0 })
}

#[track_caller]
fn check_refused(entries: &[Entry], want: &str) {
    let mut writer = LayerWriter::new(io::sink());
    let error = entries
        .iter()
        .find_map(|entry| writer.entry(entry).err())
        .expect("one of the entries is refused");
    assert!(error.to_string().contains(want), "{error}");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert!(
        writer.finish().is_err(),
        "a broken layer cannot be finished"
    );
}

#[test]
fn what_makes_no_layer_is_refused() {
    let file = entry_at;
    check_refused(&[file("b"), file("a")], "`a` comes after `b`");
    check_refused(&[file("a"), file("a")], "`a` comes after `a`");
    check_refused(&[file("a"), file("a/b")], "inside `a`");
    check_refused(&[file("../a")], "`../a`");
    check_refused(&[file("/a")], "`/a`");
    check_refused(&[file("")], "root");
    check_refused(&[file(&"a".repeat(4096))], "no path inside a layer");
    check_refused(
        &[Entry::new("l", Kind::Symlink(vec![b'a'; 4096]))],
        "link target",
    );
    check_refused(&[file("d/.wh.x")], "`.wh.`");
    check_refused(
        &[Entry::new("l", Kind::Hardlink(b"a".to_vec()))],
        "hard link `l`",
    );
    check_refused(
        &[Entry::new("c", Kind::CharDevice { major: 0, minor: 0 })],
        "device number",
    );
    check_refused(&[Entry::new("f", Kind::File { size: 3 })], "none was given");
    let mut entry = file("x");
    entry.xattrs.insert(b"user.a=b".to_vec(), Vec::new());
    check_refused(&[entry], "extended attribute");
}

#[test]
fn content_of_another_length_is_refused() {
    for content in [&b"ab"[..], b"abcd"] {
        let mut writer = LayerWriter::new(io::sink());
        let entry = Entry::new("f", Kind::File { size: 3 });
        let error = writer.file(&entry, &mut &content[..], None).unwrap_err();
        assert!(error.to_string().contains("3 were announced"), "{error}");
    }
}

#[test]
fn large_files_cross_chunks_and_threads() {
    let content: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[n as usize % 3])
        .collect();
    let size = content.len() as u64;
    let mut tars = Vec::new();
    for writer in [
        LayerWriter::new(Vec::new()),
        LayerWriter::single_threaded(Vec::new()),
    ] {
        let mut writer = writer;
        for name in ["a", "b"] {
            let entry = Entry::new(name, Kind::File { size });
            let digest = writer.file(&entry, &mut Dribble(&content), None).unwrap();
            assert_eq!(digest, Digest::sha256(&content));
        }
        let (tar, summary) = writer.finish().unwrap();
        assert_eq!(summary.diff_id.0, Digest::sha256(&tar));
        assert_eq!(scan(Dribble(&tar)).unwrap(), summary);
        tars.push(tar);
    }
    assert_eq!(tars[0], tars[1]);
}

/// Reads in odd pieces, with interruptions.
struct Dribble<'a>(&'a [u8]);

impl io::Read for Dribble<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.len() % 3 == 1 && buffer.len() > 1 {
            return self.0.read(&mut buffer[..1]);
        }
        let most = buffer.len().min(7_777);
        self.0.read(&mut buffer[..most])
    }
}

#[test]
fn known_digests_are_taken_on_trust() {
    let digest = Digest::sha256(b"something else");
    let mut writer = LayerWriter::new(io::sink());
    let entry = Entry::new("f", Kind::File { size: 3 });
    assert_eq!(
        writer.file(&entry, &mut &b"abc"[..], Some(digest)).unwrap(),
        digest
    );
    let toc = writer.finish().unwrap().1.toc;
    assert_eq!(
        toc.find(b"f")
            .and_then(|entry| entry.content())
            .map(|c| c.digest),
        Some(digest)
    );
}

#[test]
fn hard_links_carry_the_attributes_of_their_file() {
    let mut file = entry_at("a");
    file.mode = 0o4755;
    file.uid = 7;
    file.xattrs
        .insert(b"security.capability".to_vec(), b"x".to_vec());
    let link = Entry::new("b", Kind::Hardlink(b"a".to_vec()));
    let toc = summary_of(&[file, link]).toc;
    let link = toc.find(b"b").unwrap();
    assert_eq!(
        (link.mode(), link.uid(), link.xattrs().count()),
        (0o4755, 7, 1)
    );
}

#[test]
fn an_empty_layer_has_a_table_too() {
    let (tar, summary) = write(&[]);
    assert_eq!(tar, [0; 1024]);
    assert_eq!(summary.toc, Toc::default());
    assert_eq!(summary.content_id, Toc::default().content_id());
}

#[test]
fn order_is_by_component() {
    let mut paths = ["a-b", "a", "a/z", "", "a/b/c", "a.b", "a/b", "b"];
    paths.sort_by(|left, right| compare_paths(left.as_bytes(), right.as_bytes()));
    assert_eq!(paths, ["", "a", "a/b", "a/b/c", "a/z", "a-b", "a.b", "b"]);
}
