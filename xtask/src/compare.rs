//! Builds the cases of `testdata/builds` with rbuild and with a peer and compares the images.
//!
//! What is compared: the flattened tree (all but modification times) and the config.
//! Known differences stand in the case's `expected-differences.PEER`, each below the reason as a comment;
//! they must be met exactly, so an entry that no longer holds fails as well.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::archive::{self, Image};
use crate::base;
use crate::engine::{Buildah, Dockerd, require};
use crate::ours::{ArchiveFormat, Rbuild, User};
use crate::process::Cmd;
use crate::report::Report;
use crate::tree;
use crate::workspace::{Binaries, Scratch, root};

/// The builder to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// Debian's docker.io with `DOCKER_BUILDKIT=1`: the semantics we follow.
    Docker,
    /// Debian's buildah.
    Buildah,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Buildah => "buildah",
        }
    }
}

/// The fields of the config that are compared; absent, null and empty are the same.
const CONFIG_FIELDS: &[&str] = &[
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

/// Where the cases are.
const CASES: &str = "testdata/builds";

/// A running peer.
enum Builder {
    Docker(Dockerd),
    Buildah(Buildah),
}

/// A directory of `testdata/builds`.
struct Case {
    name: String,
    directory: PathBuf,
}

/// Compares every case with every one of `peers`, as root and as an ordinary user.
pub(crate) fn run(binaries: &Binaries, peers: &[Peer], filter: Option<String>) -> Result<()> {
    let scratch = Scratch::new()?;
    let base = base::busybox(scratch.path())?;
    let mut ours = vec![Rbuild::new(binaries, &scratch, "root")?];
    match User::ordinary()? {
        Some(user) => ours.push(Rbuild::ordinary(binaries, &scratch, &user)?),
        None if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
            bail!("no ordinary user to build as; `cargo xtask setup` makes one")
        }
        None => println!("no ordinary user to build as: building as root only"),
    }
    for rbuild in &ours {
        rbuild.load(&base)?;
    }
    let mut report = Report::new(filter);
    for &peer in peers {
        let builder = Builder::start(peer, &scratch)?;
        builder.load(&base)?;
        for case in cases()? {
            let mut theirs = None;
            for rbuild in &ours {
                let name = format!(
                    "{} is built as {} builds it{}",
                    case.name,
                    peer.name(),
                    rbuild.remark()
                );
                report.check(&name, || {
                    let theirs = match &theirs {
                        Some(theirs) => theirs,
                        None => theirs.insert(builder.image(&case, peer, scratch.path())?),
                    };
                    let found = differences(&case.image(rbuild)?, theirs)?;
                    judge(&found, &expected(&case, peer)?)
                });
            }
        }
    }
    report.finish("compare")
}

fn cases() -> Result<Vec<Case>> {
    let parent = root().join(CASES);
    let mut cases = Vec::new();
    for entry in
        fs::read_dir(&parent).with_context(|| format!("cannot read `{}`", parent.display()))?
    {
        let directory = entry?.path();
        if let Some(name) = directory.file_name().and_then(|name| name.to_str()) {
            cases.push(Case {
                name: name.to_owned(),
                directory: directory.clone(),
            });
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

impl Case {
    /// A copy of the case below `home`, to whose context `prepare` has added what a checkout cannot hold.
    fn staged(&self, home: &Path, change: impl Fn(&Cmd) -> Cmd) -> Result<Self> {
        let staged = home.join("cases").join(&self.name);
        let run = |cmd: Cmd| change(&cmd).quiet();
        if !staged.exists() {
            run(Cmd::new("mkdir").arg("-p").arg(home.join("cases")))?;
            // Root copies, because a checkout may lie where nobody else can read; `tar` sets the new owner.
            let archive = home.join("case.tar");
            Cmd::new("tar")
                .arg("-C")
                .arg(root().join(CASES))
                .arg("-cf")
                .arg(&archive)
                .arg(&self.name)
                .quiet()?;
            run(Cmd::new("tar")
                .args(["--no-same-owner", "-C"])
                .arg(home.join("cases"))
                .arg("-xf")
                .arg(&archive))?;
            fs::remove_file(archive)?;
            run(Cmd::new("mkdir").arg("-p").arg(staged.join("context")))?;
            if staged.join("prepare").is_file() {
                run(Cmd::new("sh")
                    .args(["-eu", "../prepare"])
                    .dir(&staged.join("context")))?;
            }
        }
        Ok(Self {
            name: self.name.clone(),
            directory: staged,
        })
    }

    /// What rbuild builds.
    fn image(&self, rbuild: &Rbuild) -> Result<Image> {
        let case = self.staged(rbuild.home(), |cmd| rbuild.as_caller(cmd))?;
        rbuild
            .cmd()
            .args(["build", "-t", &self.reference()])
            .args(case.arguments(&case.directory.join("Dockerfile")))
            .quiet()?;
        let path = rbuild.home().join("image.tar");
        rbuild.save(ArchiveFormat::Docker, &self.reference(), &path)?;
        let image = archive::read(&path)?;
        fs::remove_file(path)?;
        Ok(image)
    }

    fn reference(&self) -> String {
        format!("localhost/compare/{}:1", self.name)
    }

    /// The arguments of a build with `dockerfile`, the context last.
    fn arguments(&self, dockerfile: &Path) -> Vec<String> {
        let mut arguments = vec!["-f".to_owned(), dockerfile.display().to_string()];
        for argument in fs::read_to_string(self.directory.join("build-args"))
            .unwrap_or_default()
            .lines()
        {
            arguments.extend(["--build-arg".to_owned(), argument.to_owned()]);
        }
        arguments.push(self.directory.join("context").display().to_string());
        arguments
    }

    /// The Dockerfile for a peer too old for ours: `Dockerfile.PEER` says the same in older words.
    fn dockerfile_of(&self, peer: Peer) -> PathBuf {
        let own = self.directory.join(format!("Dockerfile.{}", peer.name()));
        if own.is_file() {
            own
        } else {
            self.directory.join("Dockerfile")
        }
    }
}

/// What differs between two images, one line each.
fn differences(ours: &Image, theirs: &Image) -> Result<Vec<String>> {
    let mut lines = tree::differences(&tree::flatten(ours)?, &tree::flatten(theirs)?);
    for field in CONFIG_FIELDS {
        let (our, their) = (
            meaningful(field, &ours.config["config"][field]),
            meaningful(field, &theirs.config["config"][field]),
        );
        if our != their {
            lines.push(format!("config {field} {our} {their}"));
        }
    }
    Ok(lines)
}

/// Null for every spelling of "nothing"; a working directory of `/` is one of them.
fn meaningful<'a>(field: &str, value: &'a Value) -> &'a Value {
    let nothing = match value {
        Value::String(text) => text.is_empty() || (field == "WorkingDir" && text == "/"),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    if nothing { &Value::Null } else { value }
}

/// The known differences; every one must have a reason above it.
fn expected(case: &Case, peer: Peer) -> Result<Vec<String>> {
    let path = case
        .directory
        .join(format!("expected-differences.{}", peer.name()));
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(Vec::new());
    };
    let mut reasoned = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.is_empty() {
            reasoned = false;
        } else if line.starts_with('#') {
            reasoned = true;
        } else if reasoned {
            lines.push(line.to_owned());
        } else {
            bail!("`{}`: no reason above `{line}`", path.display());
        }
    }
    Ok(lines)
}

fn judge(found: &[String], expected: &[String]) -> Result<()> {
    let (found, expected): (BTreeSet<_>, BTreeSet<_>) =
        (found.iter().collect(), expected.iter().collect());
    let new: Vec<_> = found
        .difference(&expected)
        .map(|line| format!("+ {line}"))
        .collect();
    let stale: Vec<_> = expected
        .difference(&found)
        .map(|line| format!("- {line}"))
        .collect();
    if !new.is_empty() || !stale.is_empty() {
        bail!(
            "differences (rbuild's value first; `-` is expected but not found):\n{}",
            [new, stale].concat().join("\n")
        );
    }
    Ok(())
}

impl Builder {
    fn start(peer: Peer, scratch: &Scratch) -> Result<Self> {
        match peer {
            Peer::Docker => Dockerd::start(scratch).map(Self::Docker),
            Peer::Buildah => {
                require("buildah", "buildah")?;
                Ok(Self::Buildah(Buildah::new(
                    scratch.subdir("buildah")?,
                    scratch.storage_driver(),
                )))
            }
        }
    }

    fn load(&self, archive: &Path) -> Result<()> {
        match self {
            Self::Docker(dockerd) => dockerd
                .client_cmd()
                .args(["load", "-q", "-i"])
                .arg(archive)
                .quiet(),
            Self::Buildah(buildah) => buildah
                .cmd()
                .args([
                    "pull",
                    "-q",
                    &format!("docker-archive:{}", archive.display()),
                ])
                .quiet(),
        }
    }

    /// What the peer builds.
    fn image(&self, case: &Case, peer: Peer, scratch: &Path) -> Result<Image> {
        let case = case.staged(scratch, |cmd| cmd.wrapped_in(&[]))?;
        let archive = scratch.join("theirs.tar");
        self.build(
            &case.reference(),
            &case.arguments(&case.dockerfile_of(peer)),
            &archive,
        )?;
        let image = archive::read(&archive)?;
        fs::remove_file(archive)?;
        Ok(image)
    }

    /// Builds, and writes the image as a docker archive.
    fn build(&self, reference: &str, arguments: &[String], archive: &Path) -> Result<()> {
        match self {
            Self::Docker(dockerd) => {
                let build = |cmd: Cmd| {
                    cmd.args(["build", "-q", "--network", "host", "-t", reference])
                        .args(arguments)
                };
                build(dockerd.client_cmd()).quiet()?;
                dockerd
                    .client_cmd()
                    .args(["save", "-o"])
                    .arg(archive)
                    .arg(reference)
                    .quiet()
            }
            Self::Buildah(buildah) => {
                let build = [
                    "bud",
                    "-q",
                    "--isolation",
                    "chroot",
                    "--format",
                    "docker",
                    "--layers",
                    "--identity-label=false",
                    "--network",
                    "host",
                    "-t",
                    reference,
                ];
                with_buildah(|| buildah.cmd().args(build).args(arguments).quiet())?;
                buildah
                    .cmd()
                    .args([
                        "push",
                        "-q",
                        reference,
                        &format!("docker-archive:{}:{reference}", archive.display()),
                    ])
                    .quiet()
            }
        }
    }
}

/// Runs buildah, again when it stumbled over itself: it writes a copy of its own program into memory for each
/// step, and now and then cannot seal it. What a Dockerfile means has no part in that.
fn with_buildah(build: impl Fn() -> Result<()>) -> Result<()> {
    const STUMBLED: &str = "sealing memfd copy: Device or resource busy";
    let stumbled = |error: &anyhow::Error| format!("{error:#}").contains(STUMBLED);
    for _ in 0..4 {
        match build() {
            Err(error) if stumbled(&error) => {
                println!("buildah could not seal its own copy; once more");
            }
            result => return result,
        }
    }
    build()
}

#[cfg(test)]
mod tests {
    use super::{judge, meaningful};
    use serde_json::json;

    #[test]
    fn differences_must_be_met_exactly() {
        let lines = |text: &[&str]| {
            text.iter()
                .map(|line| (*line).to_owned())
                .collect::<Vec<_>>()
        };
        assert!(judge(&lines(&["a", "b"]), &lines(&["b", "a"])).is_ok());
        assert!(
            judge(&lines(&["a"]), &[])
                .unwrap_err()
                .to_string()
                .contains("+ a")
        );
        assert!(
            judge(&[], &lines(&["a"]))
                .unwrap_err()
                .to_string()
                .contains("- a")
        );
    }

    #[test]
    fn every_spelling_of_nothing_is_one() {
        for nothing in [json!(null), json!(""), json!([]), json!({})] {
            assert_eq!(meaningful("Cmd", &nothing), &json!(null));
        }
        assert_eq!(meaningful("WorkingDir", &json!("/")), &json!(null));
        assert_eq!(meaningful("Cmd", &json!([""])), &json!([""]));
    }
}
