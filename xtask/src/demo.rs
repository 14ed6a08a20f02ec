//! The demonstration: base images, build, push, pull by digest, run; every command as a reader can repeat it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::base;
use crate::ours::Registry;
use crate::process::Cmd;
use crate::setup::{self, Purpose};
use crate::workspace::{Binaries, Profile, remove_tree, root};

/// What the task image prints without arguments; the demonstration fails if it prints anything else.
const SUMMARY: &str =
    "DE              160.83 EUR\nFR               76.25 EUR\nAT               20.00 EUR\n";

/// The name of the image in the local store.
const NAME: &str = "localhost/team/daily-orders:1.0";

struct Demo {
    rbuild: PathBuf,
    /// The store that builds; kept, so that a second demonstration shows the cache.
    store: PathBuf,
    /// The store that pulls; empty at the start.
    second_store: PathBuf,
}

/// Runs the whole way through.
pub(crate) fn run() -> Result<()> {
    title("What the machine needs");
    setup::run(Purpose::Demo)?;

    title("Two programs, as users run them");
    let binaries = Binaries::build(Profile::Release)?;

    title("Base images: Debian with Python, and busybox");
    let home = base::cache()?;
    let python = base::python(&home)?;
    let busybox = base::busybox(&home)?;

    let demo = Demo {
        rbuild: short(&binaries.rbuild),
        store: short(&home.join("store")),
        second_store: short(&home.join("second-store")),
    };
    for fresh in [home.join("second-store"), home.join("registry")] {
        remove_tree(&fresh);
        fs::create_dir_all(&fresh)?;
    }
    println!("\nThe commands below are run in {}, with", root().display());
    println!("$ export RBUILD_ROOT={}", demo.store.display());
    demo.rbuild(&demo.store)
        .arg("load")
        .arg("-i")
        .arg(short(&python))
        .show_and_run()?;
    demo.rbuild(&demo.store)
        .arg("load")
        .arg("-i")
        .arg(short(&busybox))
        .show_and_run()?;
    demo.rbuild(&demo.store)
        .args(["run", base::BUSYBOX, "echo", "busybox runs"])
        .show_and_run()?;

    title("A registry on loopback");
    let command = Cmd::new(short(&binaries.registry))
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(short(&home.join("registry")))
        .dir(&root());
    println!("$ {} &", command.shown());
    let registry = Registry::start_with(command, &home.join("registry.log"))?;
    println!("listening on http://{}", registry.address());

    let image = format!("{}/team/daily-orders:1.0", registry.address());
    title("Build a task image of a data pipeline");
    demo.build()?;

    title("Push it");
    demo.rbuild(&demo.store)
        .args(["tag", NAME, &image])
        .show_and_run()?;
    demo.rbuild(&demo.store)
        .args(["push", &image])
        .show_and_run()?;
    demo.rbuild(&demo.store)
        .args(["images", "--digests"])
        .show_and_run()?;

    title("Pull it by digest into another store");
    let by_digest = demo.repository_digest(&image)?;
    demo.second(&["pull", &by_digest]).show_and_run()?;

    title("Run it, without and with arguments");
    let printed = demo.second(&["run", &by_digest]).show_and_capture()?;
    if printed != SUMMARY {
        bail!("the image should have printed\n{SUMMARY}");
    }
    demo.second(&[
        "run",
        &by_digest,
        "summary",
        "--by",
        "day",
        "--day",
        "2026-03-02",
    ])
    .show_and_run()?;
    demo.second(&["run", "-e", "DAG_ID=from-outside", &by_digest, "whoami"])
        .show_and_run()?;

    title("Build it again: everything is cached");
    demo.build()?;
    // Its registry is about to end; the image keeps its own name.
    demo.rbuild(&demo.store).args(["rmi", &image]).quiet()?;
    println!(
        "\nStores, base images and the registry's data stay in {}; the registry has been stopped.",
        short(&home).display()
    );
    Ok(())
}

impl Demo {
    /// A command in a store.
    fn rbuild(&self, store: &Path) -> Cmd {
        Cmd::new(&self.rbuild)
            .env("RBUILD_ROOT", root().join(store))
            .dir(&root())
    }

    /// A command in the second store, which is named on the command line.
    fn second(&self, arguments: &[&str]) -> Cmd {
        self.rbuild(&self.store)
            .arg("--root")
            .arg(&self.second_store)
            .args(arguments)
    }

    fn build(&self) -> Result<()> {
        let arguments = ["--build-arg", "REVISION=2026.03", "testdata/dag-task"];
        self.rbuild(&self.store)
            .args(["-t", NAME])
            .args(arguments)
            .show_and_run()
    }

    /// `REPOSITORY@DIGEST`, as the push has left it in the store.
    fn repository_digest(&self, image: &str) -> Result<String> {
        let text = self.rbuild(&self.store).args(["inspect", image]).text()?;
        let inspected: Value =
            serde_json::from_str(&text).context("cannot read what `rbuild inspect` prints")?;
        let repository = image
            .rsplit_once(':')
            .map_or(image, |(repository, _)| repository);
        let digests = inspected[0]["RepoDigests"].as_array().into_iter().flatten();
        let mut ours = digests
            .filter_map(Value::as_str)
            .filter(|digest| digest.starts_with(repository));
        ours.next()
            .map(str::to_owned)
            .with_context(|| format!("no digest of `{repository}` in the store"))
    }
}

fn title(text: &str) {
    println!("\n== {text}");
}

/// The path as typed in the checkout.
fn short(path: &Path) -> PathBuf {
    path.strip_prefix(root())
        .map_or_else(|_| path.to_owned(), Path::to_owned)
}
