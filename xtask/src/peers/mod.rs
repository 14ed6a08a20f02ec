//! Tests against real engines: each pulls what rbuild built from our registry and runs it.
//!
//! The other direction is here as well: what they push to our registry, rbuild pulls and runs.

mod crane;
mod index;
mod oras;
mod programs;
mod stored;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::archive;
use crate::base;
use crate::engine::{Buildah, Containerd, Dockerd, Podman, Runner, require};
use crate::ours::{ArchiveFormat, Rbuild, Registry};
use crate::process::Cmd;
use crate::report::Report;
use crate::runs::{self, Run};
use crate::tree::{self, Kind};
use crate::workspace::{Binaries, Scratch, root};

pub(crate) use programs::install;

/// A directory of `testdata/peers`.
struct Case {
    name: String,
    directory: PathBuf,
    runs: Vec<Run>,
    /// The name of the built image in our registry.
    reference: String,
}

/// Everything the checks share.
struct Bench {
    registry: Registry,
    rbuild: Rbuild,
    dockerd: Dockerd,
    podman: Podman,
    containerd: Containerd,
    buildah: Buildah,
    /// Removed last: the daemons write to it until they have stopped.
    scratch: Scratch,
}

/// Builds each case, pushes it, and lets every engine have it.
pub(crate) fn run(binaries: &Binaries, filter: Option<String>) -> Result<()> {
    for (program, package) in [
        ("skopeo", "skopeo"),
        ("umoci", "umoci"),
        ("podman", "podman"),
        ("ctr", "containerd"),
        ("buildah", "buildah"),
    ] {
        require(program, package)?;
    }
    let scratch = Scratch::new()?;
    let registry = Registry::start(binaries, &scratch)?;
    let bench = Bench {
        rbuild: Rbuild::new(binaries, &scratch, "rbuild")?,
        dockerd: Dockerd::start(&scratch)?,
        podman: Podman::new(&scratch)?,
        containerd: Containerd::start(&scratch)?,
        buildah: Buildah::new(scratch.subdir("buildah")?, scratch.storage_driver()),
        registry,
        scratch,
    };
    bench.rbuild.load(&base::busybox(bench.scratch.path())?)?;
    bench.rbuild.load(&base::python(&base::cache()?)?)?;

    let mut report = Report::new(filter);
    let cases = cases(bench.registry.address())?;
    for case in &cases {
        // Whatever the filter is: all other checks of the case need its image.
        report.always(&format!("rbuild builds and pushes {}", case.name), || {
            bench.build_and_push(case)
        });
        bench.check_runs(case, &mut report);
        report.check(&format!("skopeo reads {}", case.name), || {
            bench.skopeo_reads(case)
        });
        report.check(&format!("umoci unpacks {}", case.name), || {
            bench.umoci_unpacks(case)
        });
        for format in [ArchiveFormat::Docker, ArchiveFormat::Oci] {
            report.check(
                &format!("{format:?} archive of {} is accepted", case.name),
                || bench.archive_is_accepted(case, format),
            );
        }
    }
    let subject = cases
        .iter()
        .find(|case| case.name == "files")
        .context("no case `files` in testdata/peers")?;
    report.check("docker pulls by digest", || {
        bench.docker_pulls_by_digest(subject)
    });
    for pusher in ["docker", "podman", "skopeo", "ctr", "buildah"] {
        report.check(&format!("{pusher} pushes, rbuild pulls and runs"), || {
            bench.foreign_push(pusher, subject)
        });
    }
    report.check("umoci changes an image, rbuild pulls and runs it", || {
        let target = format!("{}/pushed/umoci:1", bench.registry.address());
        bench.umoci_changes(&subject.reference, &target)
    });
    if let Some(index) = index::checks(&bench, &mut report) {
        if let Some(program) = programs::find(&programs::CRANE)? {
            crane::checks(&bench, program, &index, &mut report)?;
        }
        if let Some(program) = programs::find(&programs::ORAS)? {
            oras::checks(&bench, program, &index, &mut report)?;
        }
    }
    report.finish("peers")
}

/// The cases of `testdata/peers`, and the image of the demonstration.
fn cases(registry: &str) -> Result<Vec<Case>> {
    let parent = root().join("testdata/peers");
    let mut directories = vec![root().join("testdata/dag-task")];
    for entry in
        fs::read_dir(&parent).with_context(|| format!("cannot read `{}`", parent.display()))?
    {
        directories.push(entry?.path());
    }
    directories.sort_unstable();
    directories
        .into_iter()
        .map(|directory| case(registry, directory))
        .collect()
}

fn case(registry: &str, directory: PathBuf) -> Result<Case> {
    let name = directory
        .file_name()
        .and_then(|name| name.to_str())
        .context("a case without a name")?
        .to_owned();
    let text = fs::read_to_string(directory.join("runs"))
        .with_context(|| format!("case `{name}` has no file `runs`"))?;
    let runs = runs::parse(&text).with_context(|| format!("case `{name}`"))?;
    Ok(Case {
        reference: format!("{registry}/peers/{name}:1"),
        name,
        directory,
        runs,
    })
}

impl Bench {
    fn build_and_push(&self, case: &Case) -> Result<()> {
        let mut build = self.rbuild.cmd().args(["build", "-t", &case.reference]);
        if let Ok(arguments) = fs::read_to_string(case.directory.join("build-args")) {
            build = arguments.lines().fold(build, |build, argument| {
                build.args(["--build-arg", argument])
            });
        }
        build.arg(&case.directory).quiet()?;
        self.rbuild.cmd().args(["push", &case.reference]).quiet()
    }

    fn check_runs(&self, case: &Case, report: &mut Report) {
        for run in &case.runs {
            report.check(&format!("rbuild runs {}: {}", case.name, run.line), || {
                run.check(&self.rbuild, &case.reference)
            });
        }
        for engine in [&self.dockerd as &dyn Runner, &self.podman, &self.containerd] {
            report.check(&format!("{} pulls {}", engine.name(), case.name), || {
                engine.pull(&case.reference)
            });
            // ctr replaces the whole command line by arguments and has no options of docker's.
            let runs = case
                .runs
                .iter()
                .filter(|run| engine.name() != "ctr" || run.is_plain());
            for run in runs {
                report.check(
                    &format!("{} runs {}: {}", engine.name(), case.name, run.line),
                    || run.check(engine, &case.reference),
                );
            }
        }
    }

    fn skopeo_reads(&self, case: &Case) -> Result<()> {
        let source = format!("docker://{}", case.reference);
        Cmd::new("skopeo")
            .args(["inspect", "--tls-verify=false", &source])
            .quiet()?;
        // A copy to a directory verifies every digest and size on the way.
        let target = format!(
            "dir:{}",
            self.scratch.subdir("skopeo")?.join(&case.name).display()
        );
        Cmd::new("skopeo")
            .args(["copy", "-q", "--src-tls-verify=false", &source, &target])
            .quiet()
    }

    fn umoci_unpacks(&self, case: &Case) -> Result<()> {
        let home = self.scratch.subdir("umoci")?;
        let layout = format!("{}:{}", home.join("layout").display(), case.name);
        Cmd::new("skopeo")
            .args([
                "copy",
                "-q",
                "--src-tls-verify=false",
                &format!("docker://{}", case.reference),
                &format!("oci:{layout}"),
            ])
            .quiet()?;
        let bundle = home.join(&case.name);
        Cmd::new("umoci")
            .args(["unpack", "--image", &layout])
            .arg(&bundle)
            .quiet()?;

        let archive = self.archive_path(case, ArchiveFormat::Docker)?;
        self.rbuild
            .save(ArchiveFormat::Docker, &case.reference, &archive)?;
        let flattened = tree::flatten(&archive::read(&archive)?)?;
        same_files(&flattened, &bundle.join("rootfs"))
    }

    fn archive_path(&self, case: &Case, format: ArchiveFormat) -> Result<PathBuf> {
        Ok(self
            .scratch
            .subdir("archives")?
            .join(format!("{}-{format:?}.tar", case.name)))
    }

    fn archive_is_accepted(&self, case: &Case, format: ArchiveFormat) -> Result<()> {
        let path = self.archive_path(case, format)?;
        self.rbuild.save(format, &case.reference, &path)?;
        archive::read(&path)?;
        let transport = if format == ArchiveFormat::Docker {
            "docker-archive"
        } else {
            "oci-archive"
        };
        Cmd::new("skopeo")
            .args(["inspect", &format!("{transport}:{}", path.display())])
            .quiet()?;
        self.podman
            .cmd()
            .args(["load", "-q", "-i"])
            .arg(&path)
            .quiet()?;
        if format == ArchiveFormat::Docker {
            return self
                .dockerd
                .client_cmd()
                .args(["load", "-q", "-i"])
                .arg(&path)
                .quiet();
        }
        // umoci reads directories, so the archive's layout is laid out as it is.
        let layout = self.scratch.subdir(&format!("layouts/{}", case.name))?;
        Cmd::new("tar")
            .arg("-xf")
            .arg(&path)
            .arg("-C")
            .arg(&layout)
            .quiet()?;
        let tag = Cmd::new("umoci")
            .args(["list", "--layout"])
            .arg(&layout)
            .text()?;
        let image = format!(
            "{}:{}",
            layout.display(),
            tag.lines()
                .next()
                .context("umoci finds no tag in the layout")?
        );
        Cmd::new("umoci")
            .args(["unpack", "--image", &image])
            .arg(layout.with_extension("bundle"))
            .quiet()
    }

    fn docker_pulls_by_digest(&self, case: &Case) -> Result<()> {
        let source = format!("docker://{}", case.reference);
        let digest = Cmd::new("skopeo")
            .args([
                "inspect",
                "--tls-verify=false",
                "--format",
                "{{.Digest}}",
                &source,
            ])
            .text()?;
        let repository = case
            .reference
            .rsplit_once(':')
            .map_or(case.reference.as_str(), |(repository, _)| repository);
        let reference = format!("{repository}@{}", digest.trim());
        self.dockerd.pull(&reference)?;
        case.runs
            .iter()
            .try_for_each(|run| run.check(&self.dockerd, &reference))
    }

    fn foreign_push(&self, pusher: &str, case: &Case) -> Result<()> {
        let target = format!("{}/pushed/{pusher}:1", self.registry.address());
        let source = format!("docker://{}", case.reference);
        match pusher {
            "docker" => {
                self.dockerd
                    .client_cmd()
                    .args(["tag", &case.reference, &target])
                    .quiet()?;
                self.dockerd
                    .client_cmd()
                    .args(["push", "-q", &target])
                    .quiet()?;
            }
            "podman" => self
                .podman
                .cmd()
                .args(["push", "-q", "--tls-verify=false", &case.reference, &target])
                .quiet()?,
            "skopeo" => Cmd::new("skopeo")
                .args([
                    "copy",
                    "-q",
                    "--src-tls-verify=false",
                    "--dest-tls-verify=false",
                    &source,
                    &format!("docker://{target}"),
                ])
                .quiet()?,
            "ctr" => {
                self.containerd
                    .cmd()
                    .args(["images", "tag", &case.reference, &target])
                    .quiet()?;
                self.containerd
                    .cmd()
                    .args(["images", "push", "--plain-http", &target])
                    .quiet()?;
            }
            "buildah" => {
                self.buildah
                    .cmd()
                    .args(["pull", "-q", "--tls-verify=false", &case.reference])
                    .quiet()?;
                self.buildah
                    .cmd()
                    .args([
                        "push",
                        "-q",
                        "--tls-verify=false",
                        &case.reference,
                        &format!("docker://{target}"),
                    ])
                    .quiet()?;
            }
            other => bail!("`{other}` cannot push"),
        }
        self.rbuild.pull(&target)?;
        case.runs
            .iter()
            .try_for_each(|run| run.check(&self.rbuild, &target))
    }
}

/// Compares regular files and links of `expected` with a directory on disk.
fn same_files(expected: &tree::Tree, directory: &Path) -> Result<()> {
    let mut wrong = BTreeMap::new();
    for (path, node) in expected {
        let on_disk = directory.join(path);
        let same = match &node.kind {
            Kind::Directory => on_disk.is_dir(),
            Kind::Symlink(target) => {
                fs::read_link(&on_disk).is_ok_and(|link| link.to_str() == Some(target))
            }
            Kind::File(_, digest) => {
                fs::read(&on_disk).is_ok_and(|content| archive::sha256(&content) == *digest)
            }
            Kind::Special(..) => on_disk.symlink_metadata().is_ok(),
        };
        if !same {
            wrong.insert(path, &node.kind);
        }
    }
    if !wrong.is_empty() {
        bail!(
            "`{}` differs from the flattened layers at {wrong:?}",
            directory.display()
        );
    }
    Ok(())
}
