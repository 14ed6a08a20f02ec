//! The root, its mounts, and what is left of them in the layer: nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rbuild_builder::sandbox::{Access, BindMount, Outcome, SandboxMount};

use crate::sandbox_support::harness::{Case, Needs};
use crate::sandbox_support::world::{Step, World};

pub(crate) const CASES: &[Case] = &[
    (
        "changes_are_in_the_upper_directory",
        Needs::Any,
        changes_are_in_the_upper_directory,
    ),
    (
        "two_hundred_layers_are_stacked",
        Needs::Any,
        two_hundred_layers_are_stacked,
    ),
    (
        "without_layers_the_upper_directory_is_the_root",
        Needs::Any,
        without_layers_the_upper_directory_is_the_root,
    ),
    (
        "mount_points_leave_no_trace",
        Needs::Any,
        mount_points_leave_no_trace,
    ),
    (
        "mount_points_leave_what_the_step_did",
        Needs::Any,
        mount_points_leave_what_the_step_did,
    ),
    (
        "bind_mounts_have_their_access",
        Needs::Any,
        bind_mounts_have_their_access,
    ),
    (
        "bind_sources_stay_inside_their_tree",
        Needs::Any,
        bind_sources_stay_inside_their_tree,
    ),
    (
        "files_and_tmpfs_are_in_memory",
        Needs::Any,
        files_and_tmpfs_are_in_memory,
    ),
    (
        "a_mount_at_the_root_is_refused",
        Needs::Any,
        a_mount_at_the_root_is_refused,
    ),
    (
        "a_read_only_root_cannot_be_written",
        Needs::Any,
        a_read_only_root_cannot_be_written,
    ),
    (
        "hostile_links_stay_inside_the_root",
        Needs::Any,
        hostile_links_stay_inside_the_root,
    ),
    (
        "hostile_roots_are_refused",
        Needs::Any,
        hostile_roots_are_refused,
    ),
    ("fsync_is_not_paid_for", Needs::Any, fsync_is_not_paid_for),
];

fn bind(tree: &[&Path], source: &str, target: &str, access: Access) -> SandboxMount {
    SandboxMount::Bind(BindMount {
        tree: tree.iter().map(|path| path.to_path_buf()).collect(),
        source: source.to_owned(),
        target: target.to_owned(),
        access,
    })
}

/// A directory with these files; names that end with `/` are directories.
fn tree(world: &World, files: &[(&str, &str)]) -> PathBuf {
    let root = world.scratch();
    for (name, content) in files {
        let path = root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(&path).expect("a directory");
        } else {
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(&path, content).expect("a file");
        }
    }
    root
}

fn changes_are_in_the_upper_directory(world: &World) {
    let step = world.script(
        "echo new > /new; rm /data/file; echo more >> /data/other; rm -r /root; mkdir /root; touch /root/x; mkdir -p /a/b",
    );
    let ran = world.run(&step);
    assert_eq!(
        ran.names(),
        [
            "a/",
            "a/b/",
            "data/",
            "data/file whiteout",
            "data/other",
            "new",
            "root/",
            "root/x"
        ]
    );
    assert_eq!(ran.changes["root/"]["opaque"], true);
    assert_eq!(ran.changes["data/"]["opaque"], false);
    assert_eq!(ran.changes["a/b/"]["mode"], 0o755);
    assert_eq!(ran.changes["new"]["uid"], 0);
    assert_eq!(
        fs::read_to_string(step.spec.upper.join("data/other")).expect("the file"),
        "other\nmore\n"
    );
}

fn two_hundred_layers_are_stacked(world: &World) {
    let mut step = world.script("ls /layers | wc -l; cat /top");
    for number in 0..200 {
        let name = format!("{}/{number}", "long-directory-name/".repeat(10));
        let layer = tree(
            world,
            &[
                (&format!("layers/{number}"), ""),
                ("top", &number.to_string()),
                (&name, ""),
            ],
        );
        step.spec.lower.insert(0, layer);
    }
    assert_eq!(world.run(&step).stdout, "200\n199");
    step.spec.lower = vec![world.rootfs.clone(); 501];
    let error = world
        .try_run(&step)
        .expect_err("too many layers")
        .to_string();
    assert_eq!(
        error,
        "invalid sandbox request: 501 layers below a step, and overlayfs takes at most 500"
    );
}

fn without_layers_the_upper_directory_is_the_root(world: &World) {
    let mut step = world.command(&[
        "/busybox",
        "sh",
        "-c",
        "/busybox touch /made; /busybox ls /",
    ]);
    step.spec.lower.clear();
    fs::copy("/bin/busybox", step.spec.upper.join("busybox")).expect("busybox");
    let ran = world.run(&step);
    assert_eq!(ran.stdout, "busybox\ndev\netc\nmade\nproc\nsys\n");
    assert_eq!(ran.names(), ["busybox", "made"]);
}

/// A root that lacks every mount point, with times of long ago.
fn bare_root(world: &World) -> PathBuf {
    let root = tree(
        world,
        &[
            ("bin/", ""),
            ("etc/passwd", "root:x:0:0::/:/bin/sh\n"),
            ("deep/er/", ""),
        ],
    );
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    for applet in [
        "sh", "touch", "true", "echo", "rm", "mv", "mkdir", "chmod", "ls",
    ] {
        symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    for directory in ["etc", "deep", "deep/er", ""] {
        set_old(&root.join(directory));
    }
    root
}

const LONG_AGO: i64 = 1_000_000_000;

fn set_old(path: &Path) {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(LONG_AGO.unsigned_abs());
    fs::File::open(path)
        .and_then(|file| file.set_modified(time))
        .expect("a time");
}

fn bare_step(world: &World, script: &str) -> Step {
    let mut step = world.command(&["/bin/sh", "-c", script]);
    step.spec.lower = vec![bare_root(world)];
    let cache = tree(world, &[("x", "")]);
    step.spec.mounts = vec![
        bind(
            &[&cache],
            "/",
            "/deep/er/and/deeper/cache",
            Access::ReadWrite,
        ),
        bind(&[&cache], "x", "/new/x", Access::ReadOnly),
    ];
    set_old(&step.spec.upper);
    step
}

fn mount_points_leave_no_trace(world: &World) {
    let step = bare_step(world, "ls /deep/er/and/deeper/cache");
    let ran = world.run(&step);
    assert_eq!(
        (ran.stdout.as_str(), ran.outcome),
        ("x\n", Outcome::Exited(0))
    );
    assert_eq!(ran.names(), Vec::<&str>::new());
    let upper = fs::metadata(&step.spec.upper).expect("the upper directory");
    assert_eq!(upper.mtime(), LONG_AGO);
    // The same if the command fails, or cannot even start.
    for script in ["exit 3", "kill -9 $$"] {
        let step = bare_step(world, script);
        world.run(&step);
        assert_eq!(
            fs::read_dir(&step.spec.upper)
                .expect("the directory")
                .count(),
            0,
            "{script}"
        );
    }
    let mut step = bare_step(world, "true");
    step.spec.workdir = "/not/there".into();
    world.try_run(&step).expect_err("no such directory");
    assert_eq!(
        fs::read_dir(&step.spec.upper)
            .expect("the directory")
            .count(),
        0
    );
}

fn mount_points_leave_what_the_step_did(world: &World) {
    for (script, want) in [
        ("touch /etc/mine", &["etc/", "etc/mine"][..]),
        ("chmod 700 /etc", &["etc/"]),
        ("touch -d @5 /etc", &["etc/"]),
        ("touch /new/mine", &["new/", "new/mine"]),
        ("rm /etc/passwd", &["etc/", "etc/passwd whiteout"]),
        (
            "touch /deep/er/mine",
            &["deep/", "deep/er/", "deep/er/mine"],
        ),
        (
            "mkdir /etc/hosts2; touch /proc2",
            &["etc/", "etc/hosts2/", "proc2"],
        ),
    ] {
        let ran = world.run(&bare_step(world, script));
        assert_eq!(ran.outcome, Outcome::Exited(0), "{script}: {ran:#?}");
        assert_eq!(ran.names(), want, "{script}");
        match script {
            "chmod 700 /etc" => {
                assert_eq!(ran.changes["etc/"]["mode"], 0o700);
                assert_eq!(ran.changes["etc/"]["modified"][0], LONG_AGO);
            }
            "touch -d @5 /etc" => assert_eq!(ran.changes["etc/"]["modified"][0], 5),
            // `deep` was only copied up.
            "touch /deep/er/mine" => assert_eq!(ran.changes["deep/"]["modified"][0], LONG_AGO),
            _ => {}
        }
    }
}

fn bind_mounts_have_their_access(world: &World) {
    let source = tree(world, &[("dir/file", "host\n"), ("dir/other", "")]);
    let second = tree(world, &[("dir/file", "upper layer\n"), ("dir/added", "")]);
    let scratch = world.scratch();
    let mut step = world.script(
        "cat /ro/file /layers/file /single; ls /layers; touch /ro/x /layers/x /single; echo w > /rw/written; \
         echo d > /discard/file; cat /discard/file; touch /discard/x; ls /discard; mkdir /data/mine",
    );
    step.spec.mounts = vec![
        bind(&[&source], "dir", "/ro", Access::ReadOnly),
        bind(&[&source], "/dir", "/rw", Access::ReadWrite),
        bind(&[&second, &source], "/dir", "/layers", Access::ReadOnly),
        bind(&[&source], "dir/file", "/single", Access::ReadOnly),
        bind(
            &[&second, &source],
            "dir",
            "/discard",
            Access::Discard {
                scratch: scratch.clone(),
            },
        ),
    ];
    let ran = world.run(&step);
    assert_eq!(
        ran.stdout,
        "host\nupper layer\nhost\nadded\nfile\nother\nd\nadded\nfile\nother\nwritten\nx\n",
        "{ran:#?}"
    );
    assert_eq!(
        ran.stderr.matches("Read-only file system").count(),
        3,
        "{ran:#?}"
    );
    assert_eq!(ran.names(), ["data/", "data/mine/"]);
    assert_eq!(
        fs::read_to_string(source.join("dir/written")).expect("the file"),
        "w\n"
    );
    assert_eq!(
        fs::read_to_string(second.join("dir/file")).expect("the file"),
        "upper layer\n"
    );
    assert!(!source.join("dir/x").exists());

    let mut step = world.script("true");
    step.spec.mounts = vec![bind(&[&second, &source], "dir", "/rw", Access::ReadWrite)];
    let error = world
        .try_run(&step)
        .expect_err("layers cannot be written")
        .to_string();
    assert!(
        error.contains("layers cannot be bound for writing"),
        "{error}"
    );
}

fn bind_sources_stay_inside_their_tree(world: &World) {
    let outside = tree(world, &[("secret", "secret\n")]);
    let source = tree(world, &[("dir/", ""), ("secret", "inside\n")]);
    symlink(&outside, source.join("dir/absolute")).expect("a link");
    symlink(
        "../../../../../../../../secret",
        source.join("dir/relative"),
    )
    .expect("a link");
    let step = |path: &str| {
        let mut step = world.script("cat /x");
        step.spec.mounts = vec![bind(&[&source], path, "/x", Access::ReadOnly)];
        step
    };
    for path in ["dir/relative", "../../secret", "/dir/../secret"] {
        assert_eq!(world.run(&step(path)).stdout, "inside\n", "{path}");
    }
    let error = world
        .try_run(&step("dir/absolute/secret"))
        .expect_err("it leads nowhere")
        .to_string();
    assert!(error.contains("No such file or directory"), "{error}");
}

fn files_and_tmpfs_are_in_memory(world: &World) {
    let mut step = world.script(
        "cat /run/secrets/key; stat -c '%a %u:%g' /run/secrets/key; echo x > /run/secrets/key; touch /mem/x; \
         stat -c %a /mem; df -k /mem | tail -n 1 | awk '{ print $2 }'; ls /dev/shm/inner",
    );
    step.spec.mounts = vec![
        SandboxMount::File {
            target: "/run/secrets/key".into(),
            content: b"secret\0bytes\n".to_vec(),
            mode: 0o400,
            uid: 0,
            gid: 0,
        },
        SandboxMount::Tmpfs {
            target: "/mem".into(),
            size: Some(1 << 20),
            mode: 0o1777,
        },
        SandboxMount::Tmpfs {
            target: "/dev/shm/inner".into(),
            size: None,
            mode: 0o755,
        },
    ];
    let ran = world.run(&step);
    assert_eq!(
        ran.stdout, "secret\0bytes\n400 0:0\n1777\n1024\n",
        "{ran:#?}"
    );
    assert!(ran.stderr.contains("Read-only file system"), "{ran:#?}");
    assert_eq!(ran.names(), Vec::<&str>::new());
}

fn a_mount_at_the_root_is_refused(world: &World) {
    for target in ["/", "", "/.", "/tmp/.."] {
        let mut step = world.script("true");
        step.spec.mounts = vec![SandboxMount::Tmpfs {
            target: target.into(),
            size: None,
            mode: 0o755,
        }];
        let error = world
            .try_run(&step)
            .expect_err("the root is taken")
            .to_string();
        assert!(error.contains("is the root directory"), "{target}: {error}");
    }
}

fn a_read_only_root_cannot_be_written(world: &World) {
    let mut step = world.script("touch /x; touch /dev/shm/x && echo shm");
    step.spec.read_only_root = true;
    let ran = world.run(&step);
    assert_eq!(ran.stdout, "shm\n");
    assert!(ran.stderr.contains("Read-only file system"), "{ran:#?}");
}

/// A root where `link` is a symbolic link to `target`.
fn linked_root(world: &World, link: &str, target: &Path) -> PathBuf {
    let root = world.scratch();
    super::super::world::make_rootfs(&root);
    let path = root.join(link);
    if path.is_dir() {
        fs::remove_dir_all(&path).expect("the directory was made");
    } else {
        fs::remove_file(&path).expect("the file was made");
    }
    symlink(target, path).expect("a link");
    root
}

fn hostile_links_stay_inside_the_root(world: &World) {
    for link in ["etc", "dev", "etc/hosts", "etc/resolv.conf", "data"] {
        for prefix in ["", "../../../../../../../../.."] {
            let outside = tree(world, &[("hosts", "outside\n")]);
            let is_file = link.starts_with("etc/");
            let absolute = outside
                .join(if is_file { "hosts" } else { "" })
                .display()
                .to_string();
            let target = format!("{prefix}{absolute}");
            let mut step = world
                .script("cat /etc/hosts; touch /data/mounted/x; echo x > /dev/null; echo done");
            step.spec.lower = vec![linked_root(world, link, Path::new(&target))];
            step.spec.mounts = vec![SandboxMount::Tmpfs {
                target: "/data/mounted".into(),
                size: None,
                mode: 0o755,
            }];
            let ran = world.run(&step);
            assert_eq!(
                ran.stdout,
                "127.0.0.1\tlocalhost step\n::1\tlocalhost ip6-localhost ip6-loopback\ndone\n",
                "{link} to {target}: {ran:#?}"
            );
            assert_eq!(ran.names(), Vec::<&str>::new(), "{link} to {target}");
            let left: Vec<_> = fs::read_dir(&outside)
                .expect("the directory")
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            assert_eq!(left, ["hosts"], "{link} to {target}");
            assert_eq!(
                fs::read_to_string(outside.join("hosts")).expect("the file"),
                "outside\n"
            );
        }
    }
}

fn hostile_roots_are_refused(world: &World) {
    for (link, target, message) in [
        ("proc", "/tmp", "`/proc` of the image is a symbolic link"),
        ("sys", "../tmp", "`/sys` of the image is a symbolic link"),
        (
            "etc",
            "etc",
            "mounting at `/etc/hosts`: Too many levels of symbolic links",
        ),
        (
            "etc/hosts",
            "/tmp",
            "mounting at `/etc/hosts`: Is a directory",
        ),
        (
            "etc",
            "/data/file",
            "mounting at `/etc/hosts`: Not a directory",
        ),
        ("dev", "/data/file", "mounting at `/dev`: Not a directory"),
        ("proc", "/proc/self/root", "`/proc`"),
    ] {
        let mut step = world.script("true");
        step.spec.lower = vec![linked_root(world, link, Path::new(target))];
        let error = world
            .try_run(&step)
            .expect_err("the root is hostile")
            .to_string();
        assert!(error.contains(message), "{link} to {target}: {error}");
        assert_eq!(
            fs::read_dir(&step.spec.upper)
                .expect("the directory")
                .count(),
            0,
            "{link} to {target}"
        );
    }
}

/// `volatile` is among the options of the overlay, or package managers wait for the disk.
fn fsync_is_not_paid_for(world: &World) {
    let table = world.output("grep ' / / ' /proc/self/mountinfo");
    assert!(table.contains("volatile"), "{table}");
    let metadata = fs::metadata(&world.rootfs).expect("the root");
    assert!(metadata.permissions().mode() & 0o700 == 0o700);
}
