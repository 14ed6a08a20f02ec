//! Every test there is, with what they need installed.

use anyhow::Result;

use crate::compare::{self, Peer};
use crate::peers;
use crate::process::Cmd;
use crate::setup::{self, Purpose};
use crate::workspace::{Binaries, Profile, cargo, is_root, root, run_as_root};

/// What a test may lack elsewhere but not in continuous integration; a test that finds one missing fails there.
const CAPABILITIES: &[&str] = &[
    "userns",
    "overlay",
    "xattr",
    "tar",
    "gzip",
    "busybox",
    "docker",
    "podman",
    "skopeo",
    "ctr",
    "umoci",
    "buildah",
    "docker-registry",
    "nginx",
    "openssl",
];

/// Runs the tests of the workspace, then those against other engines.
pub(crate) fn run() -> Result<()> {
    setup::run(Purpose::Test)?;
    let mut tests = Cmd::new(cargo())
        .args(["test", "--workspace", "--locked", "--no-fail-fast"])
        .dir(&root());
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        tests = tests.env("RBUILD_REQUIRE", require());
    }
    tests.show_and_run()?;

    // The tests have compiled both programs; `cargo build` would do it again with other features.
    let binaries = Binaries::built(Profile::Debug)?;
    if !is_root() {
        return ["peers", "compare"]
            .iter()
            .try_for_each(|task| run_as_root(&binaries, &[task.into()]));
    }
    println!("\n== peers");
    peers::run(&binaries, None)?;
    println!("\n== compare");
    compare::run(&binaries, &[Peer::Docker, Peer::Buildah], None)
}

fn require() -> String {
    // What the caller wants besides, such as the clients that are written in Go.
    let besides = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
    let mut names = CAPABILITIES.to_vec();
    names.extend(besides.split(',').filter(|name| !name.is_empty()));
    if is_root() {
        names.push("root");
    }
    names.join(",")
}
