//! What goes wrong: one clear message each, the documented exit status, a store that stays whole.

use std::io::{Read, Write};
use std::net::TcpListener;

use insta::assert_snapshot;

use crate::world::World;

/// Builds a Dockerfile that is wrong.
#[track_caller]
fn check(name: &str, dockerfile: &str, code: i32) {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.write("ctx/Dockerfile", dockerfile);
    world.write("ctx/readme.txt", "x");
    world.write(
        "ctx/.dockerignore",
        "# what we do not need\n*.log\nnode_modules\n",
    );
    world.write("ctx/debug.log", "x");
    let done = world.run(&["build", "ctx"]);
    assert_eq!(done.code, Some(code), "{done:?}");
    assert_snapshot!(name.to_owned(), world.log());
}

#[test]
fn unknown_instruction() {
    check(
        "unknown_instruction",
        "FROM busybox\nWORKDRI /app\nRNU true\n",
        1,
    );
}

#[test]
fn unknown_flag() {
    check(
        "unknown_flag",
        "FROM busybox\nCOPY --form=x readme.txt /\n",
        1,
    );
}

#[test]
fn file_that_is_not_there() {
    check(
        "file_that_is_not_there",
        "FROM busybox\nCOPY readme.md /\n",
        1,
    );
}

#[test]
fn file_that_is_ignored() {
    check(
        "file_that_is_ignored",
        "FROM busybox\nCOPY debug.log /\n",
        1,
    );
}

#[test]
fn empty_dockerfile() {
    check("empty_dockerfile", "# nothing\n", 1);
}

#[test]
fn failing_step() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN echo one && \\\n    echo two >&2 && \\\n    exit 42\nRUN echo never\n",
    );
    let done = world.run(&["build", "-t", "app", "ctx"]);
    assert_eq!(done.code, Some(1));
    world.run(&["build", "-q", "ctx"]);
    world.write("ctx/Dockerfile", "FROM busybox\nRUN [\"nosuchprogram\"]\n");
    world.run(&["build", "ctx"]);
    world.write("ctx/Dockerfile", "FROM busybox\nRUN kill -9 $$\n");
    world.run(&["build", "ctx"]);
    world.run(&["images"]);
    assert_snapshot!(world.log());
}

#[test]
fn no_context_no_dockerfile() {
    let mut world = World::new();
    std::fs::create_dir(world.path("empty")).expect("mkdir");
    world.write("file", "x");
    for context in [
        "nowhere",
        "empty",
        "file",
        "-",
        "https://example.com/a.git#main",
        "https://example.com/context.tar.gz",
        "git@example.com:a/b",
        "imagse",
    ] {
        let done = world.run(&["build", context]);
        assert_eq!(done.code, Some(2), "{context}");
    }
    world.run(&["imagse"]);
    world.run(&["build", "-f", "missing.Dockerfile", "empty"]);
    world.run(&["build", "-f", "empty", "empty"]);
    assert_snapshot!(world.log());
}

#[test]
fn registries_that_do_not_answer() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    // A port that nobody listens on: it was ours a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")
        .expect("bind")
        .local_addr()
        .expect("address");
    let name = format!("{address}/app:1");
    world.write("ctx/Dockerfile", &format!("FROM {name}\n"));
    let pulled = world.run(&["pull", &name]);
    assert_eq!(pulled.code, Some(2));
    let built = world.run(&["build", "ctx"]);
    assert_eq!(built.code, Some(1));
    world.quietly(&["tag", "busybox", &name]);
    let pushed = world.run(&["push", &name]);
    assert_eq!(pushed.code, Some(2));
    assert_snapshot!(world.log().replace(&address.to_string(), "NOBODY"));
}

/// Answers every request with the same bytes, on a thread that ends with its listener.
fn fake(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // Whatever it is (a request, or the beginning of TLS), it comes in one piece.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn registries_that_answer_wrongly() {
    let answers: [(&str, &'static [u8]); 3] = [
        (
            "rubbish",
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<html></html>\n",
        ),
        (
            "refusal",
            b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: 70\r\nConnection: close\r\n\r\n{\"errors\":[{\"code\":\"DENIED\",\"message\":\"access to this is not given\"}]}",
        ),
        ("no http", b"220 mail.example ESMTP\r\n"),
    ];
    let mut logs = String::new();
    for (what, answer) in answers {
        let address = fake(answer);
        let mut world = World::new();
        let done = world.run(&["pull", &format!("{address}/app:1")]);
        assert_eq!(done.code, Some(2), "{what}: {done:?}");
        assert!(world.files("root/v1/names").is_empty(), "{what}");
        logs.push_str(&world.log().replace(&address, "FAKE"));
    }
    assert_snapshot!(logs);
}

#[test]
fn a_blob_with_another_digest() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.start_registry();
    world.quietly(&["tag", "busybox", "REGISTRY/app:1"]);
    assert_eq!(world.quietly(&["push", "REGISTRY/app:1"]).code, Some(0));
    // The registry's disk goes bad, and its seal is forged, or the registry would notice. The layer is the only large file.
    let layer = world
        .files("registry/blobs")
        .into_iter()
        .max_by_key(|path| std::fs::metadata(path).expect("metadata").len())
        .expect("a blob");
    let mut bytes = std::fs::read(&layer).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    let times = std::fs::metadata(&layer)
        .expect("metadata")
        .modified()
        .expect("time");
    std::fs::write(&layer, &bytes).expect("write");
    std::fs::File::options()
        .write(true)
        .open(&layer)
        .and_then(|file| file.set_modified(times))
        .expect("times");
    let since = times
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let seal = format!(
        "ok:{}:{}.{:09}:{}.0",
        bytes.len(),
        since.as_secs(),
        since.subsec_nanos(),
        since.as_secs() + 3600
    );
    let flags = rustix::fs::XattrFlags::empty();
    // Where there are no attributes, there are no seals.
    let _ = rustix::fs::setxattr(&layer, "user.rbuild.seal", seal.as_bytes(), flags);
    let done = world.run_with(&["pull", "REGISTRY/app:1"], "", |command| {
        command.env("RBUILD_ROOT", "fresh");
    });
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(world.files("fresh/v1/names").is_empty());
    assert_snapshot!(world.log());
}

#[test]
fn a_full_disk() {
    let Some(world) = World::with_busybox() else {
        return;
    };
    // A file system of two megabytes, in a mount namespace of its own.
    let script = r#"mkdir small && mount -t tmpfs -o size=2m none small && mkdir ctx &&
        head -c 4000000 /dev/urandom > ctx/big && printf 'FROM scratch\nCOPY big /\n' > ctx/Dockerfile &&
        "$RBUILD" --root small build ctx; echo "=> $?"; "$RBUILD" --root small images; find small -path '*ingest/*'"#;
    let mut command = std::process::Command::new("unshare");
    world.surround(&mut command);
    command
        .args(["--mount", "--", "sh", "-c", script])
        .env("RBUILD", env!("CARGO_BIN_EXE_rbuild"));
    if !rustix::process::geteuid().is_root() {
        crate::world::missing("root", "a small file system cannot be mounted");
        return;
    }
    let output = command.output().expect("unshare");
    let mut world = world;
    let text = format!(
        "{}--- stderr\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_snapshot!(world.normal(&text));
}

#[test]
fn a_store_that_cannot_be_written() {
    let mut world = World::new();
    world.write("file", "x");
    let done = world.run(&["--root", "file", "images"]);
    assert_eq!(done.code, Some(2));
    let done = world.run(&["--root", "/proc/rbuild", "images"]);
    assert_eq!(done.code, Some(2));
    assert_snapshot!(world.log());
}
