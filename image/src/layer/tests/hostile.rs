//! Tars that mean harm, or are merely strange.

use proptest::prelude::*;

use super::model::{layer, write};
use crate::layer::{Kind, LayerError, Toc, scan};

/// One member with a right checksum.
fn member(name: &str, flag: u8, link: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    let bytes = header.as_mut_bytes();
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes[157..157 + link.len()].copy_from_slice(link.as_bytes());
    bytes[156] = flag;
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_device_major(0).unwrap();
    header.set_device_minor(0).unwrap();
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut tar = header.as_bytes().to_vec();
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
    tar
}

fn file(name: &str) -> Vec<u8> {
    member(name, b'0', "", b"content")
}

fn pax(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (1..9)
        .find(|digits| (rest + digits).to_string().len() == *digits)
        .unwrap()
        + rest;
    let body = [format!("{length} {key}=").as_bytes(), value, b"\n"].concat();
    member("x", b'x', "", &body)
}

fn read(members: &[Vec<u8>]) -> Result<Toc, LayerError> {
    let mut tar = members.concat();
    tar.extend_from_slice(&[0; 1024]);
    scan(&tar[..]).map(|summary| summary.toc)
}

#[track_caller]
fn check(members: &[Vec<u8>], want: &[&str]) {
    let toc = read(members).unwrap();
    let shown: Vec<String> = toc
        .iter()
        .map(|entry| {
            let path = String::from_utf8_lossy(entry.path()).into_owned();
            match entry.kind() {
                Kind::Directory => format!("{path}/"),
                Kind::File { .. } => path,
                Kind::Symlink(target) => format!("{path} -> {}", String::from_utf8_lossy(target)),
                Kind::Hardlink(target) => format!("{path} = {}", String::from_utf8_lossy(target)),
                Kind::Whiteout => format!("-{path}"),
                Kind::Opaque => format!("{path}/*"),
                other => format!("{path} {other:?}"),
            }
        })
        .collect();
    assert_eq!(shown, want);
    assert_eq!(Toc::from_bytes(toc.to_bytes()).as_ref(), Ok(&toc));
}

#[track_caller]
fn check_refused(members: &[Vec<u8>], want: &str) {
    let error = read(members).unwrap_err().to_string();
    assert!(error.contains(want), "{error}");
}

#[test]
fn later_entries_win() {
    let directory = |name: &str| member(name, b'5', "", b"");
    check(&[file("a"), member("a", b'2', "x", b"")], &["a -> x"]);
    check(&[directory("a/"), file("a/b"), file("a")], &["a"]);
    check(
        &[directory("a/"), file("a/b"), directory("a")],
        &["a/", "a/b"],
    );
    check(
        &[file("b"), file("a"), file("a-b"), file("b")],
        &["a", "a-b", "b"],
    );
}

#[test]
fn paths_are_clean_or_refused() {
    check(&[file("/etc/../x"), file("./y//z")], &["x", "y/z"]);
    check(&[member("./", b'5', "", b""), file("a")], &["/", "a"]);
    for name in ["../x", "a/../../x", "/../x"] {
        check_refused(&[file(name)], "not a path inside the root");
    }
    check_refused(
        &[file("a"), member("b", b'1', "../../etc/shadow", b"")],
        "inside the root",
    );
    check_refused(&[pax("path", b"a\0b"), file("x")], "inside the root");
    check_refused(&[pax("path", &[b'a'; 4096]), file("x")], "inside the root");
    let long = [pax("linkpath", &[b'a'; 4096]), member("x", b'2', "", b"")];
    check_refused(&long, "link target");
    check_refused(&[file("./")], "root");
    check_refused(&[file("a"), file("a/b")], "inside `a`");
}

#[test]
fn links_in_the_way_are_followed_inside_the_layer() {
    let link = |name: &str, target: &str| member(name, b'2', target, b"");
    check(
        &[link("lib", "usr/lib"), file("lib/x")],
        &["lib -> usr/lib", "usr/lib/x"],
    );
    check(&[link("d/l", "/a"), file("d/l/x")], &["a/x", "d/l -> /a"]);
    check(
        &[link("l", "../../../etc"), file("l/passwd")],
        &["etc/passwd", "l -> ../../../etc"],
    );
    check_refused(
        &[link("a", "b"), link("b", "a"), file("a/x")],
        "too many links",
    );
    // A link that comes later does not move what came before it.
    check(&[file("l/x"), link("l", "a")], &["l -> a"]);
    check(
        &[link("l", "a"), file("l/x"), file("l"), file("l-")],
        &["a/x", "l", "l-"],
    );
}

#[test]
fn whiteouts_hide_lower_layers_only() {
    check(&[file("a/.wh.b"), file(".wh.c")], &["-a/b", "-c"]);
    check(&[file("a"), file(".wh.a")], &["a"]);
    check(&[file(".wh.a"), file("a")], &["a"]);
    check(&[member("a", b'5', "", b""), file(".wh.a")], &["a/", "a/*"]);
    check(&[file(".wh.a"), file("a/b")], &["a/", "a/*", "a/b"]);
    check(&[file("a/.wh..wh..opq"), file("a/b")], &["a/*", "a/b"]);
    check(&[file(".wh..wh..opq")], &["/*"]);
    check(
        &[file(".wh..wh.plnk/1.2"), file(".wh..wh.aufs"), file("x")],
        &["x"],
    );
    check(&[member("w", b'3', "", b"")], &["-w"]);
    for name in [".wh.", "a/.wh..", ".wh...", ".wh.a/b"] {
        check_refused(&[file(name)], "no valid whiteout");
    }
}

#[test]
fn hard_links_stay_with_the_file_they_were_made_for() {
    let link = |name: &str, target: &str| member(name, b'1', target, b"");
    check(&[file("b"), link("a", "b")], &["a", "b = a"]);
    check(
        &[file("a"), link("b", "/a"), link("c", "b")],
        &["a", "b = a", "c = a"],
    );
    check(
        &[file("a"), link("b", "a"), member("a", b'2', "x", b"")],
        &["a -> x", "b"],
    );
    check(&[link("b", "lower/a")], &["b = lower/a"]);
    check(
        &[member("a", b'2', "x", b""), link("b", "a")],
        &["a -> x", "b = a"],
    );
    check_refused(&[link("a", "a")], "hard link `a`");
    check_refused(
        &[member("d", b'5', "", b""), link("a", "d")],
        "hard link `a`",
    );
}

#[test]
fn headers_that_lie_are_refused() {
    let mut broken = file("a");
    broken[0] ^= 1;
    check_refused(&[broken], "checksum");
    check_refused(&[vec![0; 512], file("a")], "lone block");
    check_refused(&[member("a", b'S', "", b"")], "sparse");
    check_refused(
        &[pax("GNU.sparse.major", b"1"), file("a")],
        "`a` is a sparse",
    );
    check_refused(&[member("a", b'Z', "", b"")], "unknown type 'Z'");
    check_refused(
        &[member("x", b'x', "", b"99 path=a\n"), file("b")],
        "extended header",
    );
    check_refused(&[pax("uid", b"4294967296"), file("b")], "owner");
    check_refused(&[pax("size", b"99999999"), file("b")], "cut off");
    check_refused(
        &[member("x", b'L', "", &vec![b'a'; (1 << 20) + 1])],
        "1 MiB",
    );
    let mut endless = member("x", b'L', "", b"");
    endless[124..136].copy_from_slice(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    let mut header = tar::Header::from_byte_slice(&endless).clone();
    header.set_cksum();
    check_refused(&[header.as_bytes().to_vec()], "1 MiB");
}

#[test]
fn extended_headers_say_more_than_ustar() {
    let toc = read(&[
        pax("SCHILY.xattr.user.a", b"\n\0="),
        pax("mtime", b"-1.5"),
        pax("uid", b"3000000000"),
        file("a"),
        file("b"),
    ])
    .unwrap();
    let a = toc.find(b"a").unwrap().to_entry();
    assert_eq!(a.xattrs.get(&b"user.a"[..]), Some(&b"\n\0=".to_vec()));
    assert_eq!((a.mtime.seconds, a.mtime.nanoseconds), (-2, 500_000_000));
    assert_eq!(a.uid, 3_000_000_000);
    let b = toc.find(b"b").unwrap().to_entry();
    assert_eq!((b.uid, b.mtime.seconds, b.xattrs.len()), (0, 1, 0));
}

#[test]
fn what_stands_behind_the_archive_counts_for_its_digest() {
    let (tar, summary) = write(&[]);
    let longer = [&tar[..], &[7; 9000]].concat();
    let read = scan(&longer[..]).unwrap();
    assert_eq!(read.diff_id.0, crate::Digest::sha256(&longer));
    assert_eq!(read.content_id, summary.content_id);
    assert_eq!(scan(&[][..]).unwrap().entries, 0);
}

proptest! {
    #[test]
    fn no_tar_makes_a_panic(items in layer(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut tar = write(&items).0;
        for (at, value) in changes {
            let at = at.index(tar.len());
            tar[at] = value;
            // Half of the changes get past the checksum.
            if value % 2 == 0 {
                let block = at / 512 * 512;
                let mut header = tar::Header::from_byte_slice(&tar[block..block + 512]).clone();
                header.set_cksum();
                tar[block..block + 512].copy_from_slice(header.as_bytes());
            }
        }
        if let Ok(summary) = scan(&tar[..]) {
            prop_assert!(Toc::from_bytes(summary.toc.to_bytes()).is_ok());
            let rootfs = crate::layer::Rootfs::new(vec![std::sync::Arc::new(summary.toc)]);
            rootfs.walk(b"").for_each(drop);
        }
    }

    #[test]
    fn a_cut_tar_is_noticed_unless_whole_entries_are_missing(items in layer(), at: prop::sample::Index) {
        let tar = write(&items).0;
        let at = at.index(tar.len());
        if at % 512 != 0 {
            prop_assert!(scan(&tar[..at]).is_err());
        }
    }
}
