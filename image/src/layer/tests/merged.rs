//! The merged view against the naive model.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;

use super::model::{Item, Model, entries, layer, write};
use crate::layer::{Entry, Kind, LayerWriter, ResolveError, Rootfs, parent};

fn stack(layers: &[Vec<Item>]) -> Rootfs {
    Rootfs::new(
        layers
            .iter()
            .map(|layer| Arc::new(write(layer).1.toc))
            .collect(),
    )
}

proptest! {
    #[test]
    fn the_view_is_what_applying_all_layers_gives(layers in vec(layer(), 0..4)) {
        let rootfs = stack(&layers);
        let mut model = Model::default();
        for layer in &layers {
            model.apply(layer);
        }
        let want = model.entries();
        let walked = entries(rootfs.walk(b""));
        prop_assert_eq!(&walked[1..], &want[..]);
        for entry in &want {
            let found = rootfs.lookup(&entry.path).map(|node| node.entry);
            prop_assert_eq!(found.as_ref(), Some(entry));
            let below: Vec<_> = want.iter().filter(|other| parent(&other.path) == Some(&entry.path)).cloned().collect();
            prop_assert_eq!(entries(rootfs.children(&entry.path)), below);
            let subtree: Vec<_> = want.iter().filter(|other| crate::layer::is_within(&other.path, &entry.path)).cloned().collect();
            prop_assert_eq!(entries(rootfs.walk(&entry.path)), subtree);
        }
        for (entry, _) in layers.iter().flatten() {
            prop_assert_eq!(rootfs.lookup(&entry.path).is_some(), model.0.contains_key(&entry.path));
        }
    }

    #[test]
    fn nodes_say_where_their_bytes_are(layers in vec(layer(), 1..4)) {
        let written: Vec<_> = layers.iter().map(|layer| write(layer)).collect();
        let rootfs = Rootfs::new(written.iter().map(|(_, summary)| Arc::new(summary.toc.clone())).collect());
        let mut model = Model::default();
        for layer in &layers {
            model.apply(layer);
        }
        for node in rootfs.walk(b"") {
            let Kind::File { size } = node.entry.kind else { continue };
            let content = node.content.unwrap();
            let start = usize::try_from(content.offset).unwrap();
            let end = start + usize::try_from(size).unwrap();
            prop_assert_eq!(&written[node.layer].0[start..end], &model.0[&node.entry.path].1[..]);
        }
    }
}

fn rootfs(layers: &[&[Entry]]) -> Rootfs {
    let toc = |entries: &&[Entry]| {
        let mut writer = LayerWriter::new(std::io::sink());
        for entry in *entries {
            writer.entry(entry).unwrap();
        }
        Arc::new(writer.finish().unwrap().1.toc)
    };
    Rootfs::new(layers.iter().map(toc).collect())
}

fn link(path: &str, target: &str) -> Entry {
    Entry::new(path, Kind::Symlink(target.into()))
}

fn directory(path: &str) -> Entry {
    Entry::new(path, Kind::Directory)
}

fn file(path: &str) -> Entry {
    Entry::new(path, Kind::File { size: 0 })
}

#[track_caller]
fn check_resolve(path: &str, follow: bool, want: &str, missing: usize) {
    let rootfs = rootfs(&[
        &[
            directory("a"),
            file("a/f"),
            link("a/up", "../b"),
            link("bin", "usr/bin"),
            link("dangling", "/nowhere/x"),
            link("loop", "loop"),
            link("out", "../../../../a"),
            directory("usr"),
            directory("usr/bin"),
            file("usr/bin/sh"),
        ],
        &[link("b", "/usr")],
    ]);
    let found = rootfs.resolve(path.as_bytes(), follow).unwrap();
    assert_eq!(String::from_utf8_lossy(&found.path), want);
    assert_eq!(found.missing.len(), missing);
    assert_eq!(found.node.is_some(), missing == 0);
    if let Some(node) = found.node {
        assert_eq!(node.entry.path, found.path);
    }
}

#[test]
fn paths_lead_through_links_and_stay_inside() {
    check_resolve("/", true, "", 0);
    check_resolve("bin/sh", true, "usr/bin/sh", 0);
    check_resolve("/bin", true, "usr/bin", 0);
    check_resolve("/bin", false, "bin", 0);
    check_resolve("/bin/", false, "usr/bin", 0);
    check_resolve("a/up/bin/../bin/./sh", true, "usr/bin/sh", 0);
    check_resolve("../../a/f", true, "a/f", 0);
    check_resolve("out/f", true, "a/f", 0);
    check_resolve("bin/../..", true, "", 0);
    check_resolve("x/y/z", true, "x/y/z", 3);
    check_resolve("a/x", true, "a/x", 1);
    check_resolve("x/../a/f", true, "a/f", 0);
    check_resolve("dangling/y", true, "nowhere/x/y", 3);
    check_resolve("dangling", false, "dangling", 0);
}

#[test]
fn paths_that_lead_nowhere_are_errors() {
    let rootfs = rootfs(&[&[file("f"), link("loop", "x/../loop"), link("self", "self")]]);
    for (path, want) in [
        ("f/x", ResolveError::NotDirectory("f".into())),
        ("self", ResolveError::TooManyLinks("self".into())),
        ("loop/y", ResolveError::TooManyLinks("loop/y".into())),
        ("a\0b", ResolveError::Path("a\0b".into())),
    ] {
        assert_eq!(rootfs.resolve(path.as_bytes(), true), Err(want));
    }
    assert!(rootfs.resolve(b"self", false).is_ok());
}

#[test]
fn content_ids_of_stacks_know_the_order() {
    let (a, b) = ([file("a")], [file("b")]);
    let id = |layers: &[&[Entry]]| rootfs(layers).content_id();
    let ids = [
        id(&[]),
        id(&[&a]),
        id(&[&b]),
        id(&[&a, &b]),
        id(&[&b, &a]),
        id(&[&[]]),
    ];
    for (at, one) in ids.iter().enumerate() {
        assert_eq!(ids.iter().position(|other| other == one), Some(at));
    }
}

#[test]
fn names_of_one_file_have_one_position() {
    let rootfs = rootfs(&[&[
        file("a"),
        Entry::new("b", Kind::Hardlink(b"a".to_vec())),
        file("c"),
    ]]);
    let position = |path: &str| {
        rootfs
            .lookup(path.as_bytes())
            .map(|n| (n.layer, n.position))
    };
    assert_eq!(position("a"), position("b"));
    assert_ne!(position("a"), position("c"));
}

#[test]
fn a_directory_that_is_only_marked_opaque_keeps_its_attributes() {
    let private = Entry {
        mode: 0o700,
        ..directory("d")
    };
    let rootfs = rootfs(&[
        &[private.clone(), file("d/old")],
        &[Entry::new("d", Kind::Opaque), file("d/new")],
    ]);
    assert_eq!(entries(rootfs.walk(b"d")), [private, file("d/new")]);
}
