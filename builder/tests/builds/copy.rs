//! Where files go and what they look like there (builder-features rules 23 to 35).

use crate::support::{Fixture, set_mode};

/// Builds on a scratch image that holds the context's files, and compares the whole tree.
#[track_caller]
fn check(files: &[(&str, &str)], dockerfile: &str, want: &[&str]) {
    let mut fixture = Fixture::new();
    fixture.files(files);
    assert_eq!(fixture.build(dockerfile).tree(), want);
}

#[test]
fn a_file_takes_the_name_or_goes_into_the_directory() {
    let files = [("a", "1")];
    check(&files, "FROM scratch\nCOPY a /x\n", &["644 0:0 x"]);
    check(
        &files,
        "FROM scratch\nCOPY a /x/\n",
        &["755 0:0 x/", "644 0:0 x/a"],
    );
    check(
        &files,
        "FROM scratch\nCOPY a /x/.\n",
        &["755 0:0 x/", "644 0:0 x/a"],
    );
    check(&files, "FROM scratch\nCOPY a x\n", &["644 0:0 x"]);
    check(
        &files,
        "FROM scratch\nWORKDIR /w\nCOPY a .\n",
        &["755 0:0 w/", "644 0:0 w/a"],
    );
    check(
        &files,
        "FROM scratch\nCOPY a /d/\nCOPY a /d\n",
        &["755 0:0 d/", "644 0:0 d/a"],
    );
    check(
        &files,
        "FROM scratch\nCOPY a /p/q/x\n",
        &["755 0:0 p/", "755 0:0 p/q/", "644 0:0 p/q/x"],
    );
}

#[test]
fn of_a_directory_the_contents_are_copied() {
    let files = [("d/one", "1"), ("d/sub/two", "2")];
    for source in ["d", "d/", "./d", "/d", "../d", "d/."] {
        let dockerfile = format!("FROM scratch\nCOPY {source} /x\n");
        check(
            &files,
            &dockerfile,
            &[
                "755 0:0 x/",
                "644 0:0 x/one",
                "755 0:0 x/sub/",
                "644 0:0 x/sub/two",
            ],
        );
    }
}

#[test]
fn a_new_destination_has_the_usual_mode_and_an_existing_one_keeps_its_own() {
    let mut fixture = Fixture::new();
    fixture.files(&[("d/sub/one", "1"), ("e/sub/two", "2")]);
    set_mode(&fixture.context.join("d"), 0o700);
    set_mode(&fixture.context.join("d/sub"), 0o711);
    set_mode(&fixture.context.join("e/sub"), 0o770);
    let built = fixture.build("FROM scratch\nCOPY d /x\nCOPY e /x\n");
    assert_eq!(
        built.tree(),
        [
            "755 0:0 x/",
            "770 0:0 x/sub/",
            "644 0:0 x/sub/one",
            "644 0:0 x/sub/two"
        ]
    );
}

#[test]
fn chown_and_chmod_hold_for_implied_parents_too() {
    let files = [("d/one", "1")];
    check(
        &files,
        "FROM scratch\nCOPY --chown=3:4 d/one /p/x\n",
        &["755 3:4 p/", "644 3:4 p/x"],
    );
    check(
        &files,
        "FROM scratch\nCOPY --chown=3 d/one /p/x\n",
        &["755 3:3 p/", "644 3:3 p/x"],
    );
    check(
        &files,
        "FROM scratch\nCOPY --chmod=750 d/one /p/x\n",
        &["750 0:0 p/", "750 0:0 p/x"],
    );
    check(
        &files,
        "FROM scratch\nCOPY --chmod=u=rwX,go= d /p\n",
        &["755 0:0 p/", "600 0:0 p/one"],
    );
}

#[test]
fn names_are_looked_up_in_the_stage_that_is_copied_into() {
    let files = [
        ("passwd", "app:x:7:8::/:/bin/sh\n"),
        ("group", "web:x:9:\n"),
        ("a", "1"),
    ];
    let base = "FROM scratch\nCOPY passwd group /etc/\n";
    let etc = ["755 0:0 etc/", "644 0:0 etc/group", "644 0:0 etc/passwd"];
    check(
        &files,
        &format!("{base}COPY --chown=app:web a /a\n"),
        &[&["644 7:9 a"], &etc[..]].concat(),
    );
    check(
        &files,
        &format!("{base}COPY --chown=app a /a\n"),
        &[&["644 7:8 a"], &etc[..]].concat(),
    );
}

#[test]
fn patterns_match_component_by_component() {
    let files = [
        ("a.txt", ""),
        ("b.txt", ""),
        ("c.log", ""),
        ("d/e.txt", ""),
        ("[x]", ""),
    ];
    check(
        &files,
        "FROM scratch\nCOPY *.txt /o/\n",
        &["755 0:0 o/", "644 0:0 o/a.txt", "644 0:0 o/b.txt"],
    );
    check(
        &files,
        "FROM scratch\nCOPY */*.txt /o/\n",
        &["755 0:0 o/", "644 0:0 o/e.txt"],
    );
    check(
        &files,
        "FROM scratch\nCOPY [ab].txt /o/\n",
        &["755 0:0 o/", "644 0:0 o/a.txt", "644 0:0 o/b.txt"],
    );
    check(
        &files,
        "FROM scratch\nCOPY [[]x] /o/\n",
        &["755 0:0 o/", "644 0:0 o/[x]"],
    );
    check(
        &files,
        "FROM scratch\nCOPY *.none /o/\nCOPY a.txt /\n",
        &["644 0:0 a.txt"],
    );
}

#[test]
fn the_ignore_file_leaves_out_and_takes_back() {
    let files = [
        ("a.log", ""),
        ("keep.log", ""),
        ("d/x", ""),
        ("d/sub/keep", ""),
        ("e/y", ""),
    ];
    let with = |ignore: &str, want: &[&str]| {
        let mut all = files.to_vec();
        all.push((".dockerignore", ignore));
        check(&all, "FROM scratch\nCOPY . /\n", want);
    };
    with("*\n!keep.log\n", &["644 0:0 keep.log"]);
    with(
        "d\n!d/sub/keep\n*.log\n.dockerignore\n",
        &[
            "755 0:0 d/",
            "755 0:0 d/sub/",
            "644 0:0 d/sub/keep",
            "755 0:0 e/",
            "644 0:0 e/y",
        ],
    );
    with("d\ne\n*.log\n", &["644 0:0 .dockerignore"]);
}

#[test]
fn links_in_the_context() {
    let fixture = || {
        let fixture = Fixture::new();
        fixture.files(&[("d/one", "1")]);
        for (target, link) in [
            ("d", "to-dir"),
            ("d/one", "to-file"),
            ("/d", "absolute"),
            ("none", "dangling"),
            ("..", "d/up"),
        ] {
            std::os::unix::fs::symlink(target, fixture.context.join(link)).unwrap();
        }
        fixture
    };
    for source in ["to-dir", "absolute", "to-dir/up/d"] {
        let tree = fixture()
            .build(&format!("FROM scratch\nCOPY {source} /x\n"))
            .tree();
        assert_eq!(
            tree,
            ["755 0:0 x/", "644 0:0 x/one", "777 0:0 x/up -> .."],
            "{source}"
        );
    }
    assert_eq!(
        fixture().build("FROM scratch\nCOPY to-file /x\n").tree(),
        ["644 0:0 x"]
    );
    assert!(
        fixture()
            .build("FROM scratch\nCOPY dangling /x\n")
            .error()
            .contains("not there to copy")
    );
    let all = fixture().build("FROM scratch\nCOPY . /\n").tree();
    assert!(
        all.contains(&"777 0:0 dangling -> none".to_owned()),
        "{all:?}"
    );
}

#[test]
fn a_link_at_the_destination_is_followed_inside_the_root() {
    let mut fixture = Fixture::new();
    fixture.files(&[("l/real/keep", ""), ("a", "1")]);
    std::os::unix::fs::symlink("/real", fixture.context.join("l/link")).unwrap();
    let built = fixture.build("FROM scratch\nCOPY l /\nCOPY a /link/a\nCOPY a /link/\n");
    assert_eq!(
        built.tree(),
        [
            "777 0:0 link -> /real",
            "755 0:0 real/",
            "644 0:0 real/a",
            "644 0:0 real/keep"
        ]
    );
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let mut fixture = Fixture::new();
    fixture.files(&[("d/b", "1")]);
    std::fs::hard_link(fixture.context.join("d/b"), fixture.context.join("d/a")).unwrap();
    let built = fixture.build("FROM scratch\nCOPY d /d\n");
    let rootfs = built.rootfs();
    let position = |path: &[u8]| rootfs.lookup(path).unwrap().position;
    assert_eq!(position(b"d/a"), position(b"d/b"));
}

#[test]
fn owners_of_other_stages_are_kept() {
    let files = [("a", "1")];
    let stage = "FROM scratch AS s\nCOPY --chown=5:6 --chmod=4755 a /d/a\nFROM scratch\n";
    check(
        &files,
        &format!("{stage}COPY --from=s /d/a /x/\n"),
        &["755 0:0 x/", "4755 5:6 x/a"],
    );
    check(
        &files,
        &format!("{stage}COPY --from=s /d /x\n"),
        &["755 0:0 x/", "4755 5:6 x/a"],
    );
    check(
        &files,
        &format!("{stage}COPY --from=0 --chown=1:2 /d /x\n"),
        &["755 1:2 x/", "4755 1:2 x/a"],
    );
}

#[test]
fn user_does_not_own_what_is_copied_but_owns_working_directories() {
    let files = [("a", "1")];
    let dockerfile = "FROM scratch\nUSER 7:8\nWORKDIR /p/q\nCOPY a ./\n";
    check(
        &files,
        dockerfile,
        &["755 7:8 p/", "755 7:8 p/q/", "644 0:0 p/q/a"],
    );
    check(
        &files,
        "FROM scratch\nCOPY a /p/a\nUSER 7\nWORKDIR /p\n",
        &["755 0:0 p/", "644 0:0 p/a"],
    );
}

#[test]
fn files_written_in_the_dockerfile() {
    let dockerfile =
        "FROM scratch\nARG V=1\nCOPY <<one <<\"two\" /d/\nv=$V \\$V \"q\"\none\nv=$V\ntwo\n";
    let mut fixture = Fixture::new();
    let built = fixture.build(dockerfile);
    assert_eq!(
        built.tree(),
        ["755 0:0 d/", "644 0:0 d/one", "644 0:0 d/two"]
    );
    let rootfs = built.rootfs();
    let digest = |path: &[u8]| rootfs.lookup(path).unwrap().content.unwrap().digest;
    assert_eq!(
        digest(b"d/one"),
        rbuild_image::Digest::sha256(b"v=1 $V \"q\"\n")
    );
    assert_eq!(digest(b"d/two"), rbuild_image::Digest::sha256(b"v=$V\n"));
}

#[test]
fn several_files_onto_one_name_leave_the_last_and_a_notice() {
    let mut fixture = Fixture::new();
    fixture.files(&[("a", "1"), ("b", "2")]);
    let built = fixture.build("FROM scratch\nCOPY a b /x\n");
    assert_eq!(built.tree(), ["644 0:0 x"]);
    assert!(
        built.notices[0].contains("only the last stays"),
        "{:?}",
        built.notices
    );
}

#[test]
fn excluded_files_are_not_copied() {
    let files = [("d/a.log", ""), ("d/b", ""), ("d/s/c.log", "")];
    check(
        &files,
        "FROM scratch\nCOPY --exclude=*.log d /x\n",
        &[
            "755 0:0 x/",
            "644 0:0 x/b",
            "755 0:0 x/s/",
            "644 0:0 x/s/c.log",
        ],
    );
    check(
        &files,
        "FROM scratch\nCOPY --exclude=**/*.log d /x\n",
        &["755 0:0 x/", "644 0:0 x/b", "755 0:0 x/s/"],
    );
}

#[test]
fn archives_are_unpacked_by_content_and_keep_owners() {
    let mut fixture = Fixture::new();
    let mut tar = tar_of(&[
        ("./", tar::EntryType::Directory, 0o700),
        ("sub/", tar::EntryType::Directory, 0o711),
        ("sub/f", tar::EntryType::Regular, 0o640),
    ]);
    std::fs::write(fixture.context.join("plain"), &tar).unwrap();
    let want = ["755 0:0 x/", "711 3:4 x/sub/", "640 3:4 x/sub/f"];
    assert_eq!(fixture.build("FROM scratch\nADD plain /x\n").tree(), want);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &tar).unwrap();
    std::fs::write(fixture.context.join("packed"), encoder.finish().unwrap()).unwrap();
    assert_eq!(fixture.build("FROM scratch\nADD packed /x\n").tree(), want);
    assert!(fixture.build("FROM scratch\nADD packed /x\n").is_cached());
    assert_eq!(
        fixture
            .build("FROM scratch\nADD --chown=1:2 packed /x\n")
            .tree(),
        ["755 1:2 x/", "711 1:2 x/sub/", "640 1:2 x/sub/f"]
    );
    assert_eq!(
        fixture.build("FROM scratch\nCOPY packed /x\n").tree(),
        ["644 0:0 x"]
    );
    tar.truncate(100);
    std::fs::write(fixture.context.join("text.tar"), &tar).unwrap();
    assert_eq!(
        fixture.build("FROM scratch\nADD text.tar /x\n").tree(),
        ["644 0:0 x"]
    );
}

fn tar_of(entries: &[(&str, tar::EntryType, u32)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, kind, mode) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(3);
        header.set_gid(4);
        header.set_size(0);
        builder
            .append_data(&mut header, path, std::io::empty())
            .unwrap();
    }
    builder.into_inner().unwrap()
}
