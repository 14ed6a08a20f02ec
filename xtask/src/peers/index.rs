//! A real index of two platforms, moved about by Debian's clients.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Bench;
use super::stored::{INDEX, Repository, lines, same, strings, text};
use crate::archive::sha256;
use crate::engine::Runner as _;
use crate::process::Cmd;
use crate::report::Report;

/// The platforms of the index, all of Linux.
pub(super) const PLATFORMS: [&str; 2] = ["amd64", "arm64"];
/// Bytes of the file in each image: too many for the database, so a file of its own on the registry's disk.
const FILE: usize = 300_000;

/// An index in our registry, with its parts.
pub(super) struct Index {
    /// The repository that has it under the tag `1`.
    pub(super) repository: String,
    /// The repository that has each image under its platform's name.
    pub(super) parts: String,
    /// Digest of the index.
    pub(super) digest: String,
}

impl Index {
    /// The index by tag.
    pub(super) fn reference(&self) -> String {
        format!("{}:1", self.repository)
    }

    /// Fails unless this repository holds the same index under the tag `1`, with all that is in it.
    pub(super) fn is_whole_in(&self, repository: &str) -> Result<()> {
        let original = Repository::new(&self.repository)?.everything("1")?;
        let copy = Repository::new(repository)?;
        same(
            "digest of the copy",
            &copy.manifest("1")?.digest,
            &self.digest,
        )?;
        same("what is in the copy", copy.everything("1")?, original)
    }
}

/// Makes the index and lets every client copy it.
pub(super) fn checks(bench: &Bench, report: &mut Report) -> Option<Index> {
    let mut index = None;
    report.always(
        "rbuild builds for two platforms, buildah makes an index",
        || {
            index = Some(bench.make_index()?);
            Ok(())
        },
    );
    let index = index?;
    report.check(
        "skopeo copies an index to a registry, a layout and back",
        || bench.skopeo_copies_all(&index),
    );
    report.check("skopeo syncs registry, directory and registry", || {
        bench.skopeo_syncs(&index)
    });
    report.check("skopeo inspects, lists and deletes", || {
        bench.skopeo_deletes(&index)
    });
    report.check("ctr pulls and pushes an index", || bench.ctr_copies(&index));
    for platform in PLATFORMS {
        report.check(
            &format!("docker and podman pull linux/{platform} of an index"),
            || bench.engines_pick(&index, platform),
        );
    }
    Some(index)
}

impl Bench {
    fn make_index(&self) -> Result<Index> {
        let address = self.registry.address();
        let index = Index {
            repository: format!("{address}/index/made"),
            parts: format!("{address}/index/parts"),
            digest: String::new(),
        };
        let context = self.scratch.subdir("index-context")?;
        for (number, platform) in PLATFORMS.iter().enumerate() {
            fs::write(
                context.join(format!("{platform}.bin")),
                noise(number as u64 + 1),
            )?;
        }
        let dockerfile = "FROM scratch\nARG TARGETARCH\nCOPY ${TARGETARCH}.bin /file.bin\nENV PART=$TARGETARCH\n";
        fs::write(context.join("Dockerfile"), dockerfile)?;
        let buildah = |words: &[&str]| self.buildah.cmd().args(words).quiet();
        buildah(&["manifest", "create", "index"])?;
        for platform in PLATFORMS {
            let part = format!("{}:{platform}", index.parts);
            self.rbuild
                .cmd()
                .args([
                    "build",
                    "--platform",
                    &format!("linux/{platform}"),
                    "-t",
                    &part,
                ])
                .arg(&context)
                .quiet()?;
            self.rbuild.cmd().args(["push", &part]).quiet()?;
            buildah(&[
                "manifest",
                "add",
                "--tls-verify=false",
                "index",
                &format!("docker://{part}"),
            ])?;
        }
        let target = format!("docker://{}", index.reference());
        buildah(&[
            "manifest",
            "push",
            "--all",
            "--tls-verify=false",
            "index",
            &target,
        ])?;

        let stored = Repository::new(&index.repository)?.manifest("1")?;
        same("media type", stored.json["mediaType"].as_str(), Some(INDEX))?;
        let platforms: Vec<&str> = stored.json["manifests"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|child| child["platform"]["architecture"].as_str())
            .collect();
        same("platforms", platforms.as_slice(), &PLATFORMS)?;
        Ok(Index {
            digest: stored.digest,
            ..index
        })
    }

    fn skopeo_copies_all(&self, index: &Index) -> Result<()> {
        let address = self.registry.address();
        let layout = self.scratch.subdir("index-layout")?;
        let places = [
            format!("docker://{}", index.reference()),
            format!("docker://{address}/skopeo/copied:1"),
            format!("oci:{}:one", layout.display()),
            format!("docker://{address}/skopeo/back:1"),
        ];
        for pair in places.windows(2) {
            skopeo(&[
                "copy",
                "-q",
                "--all",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            ])
            .args(pair)
            .quiet()?;
        }
        index.is_whole_in(&format!("{address}/skopeo/copied"))?;
        index.is_whole_in(&format!("{address}/skopeo/back"))?;

        let entry: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
        let digest = entry["manifests"][0]["digest"].as_str();
        same("digest in the layout", digest, Some(&*index.digest))?;
        let want = Repository::new(&index.repository)?.everything("1")?;
        same(
            "blobs in the layout",
            blobs_of(&layout)?,
            want.into_iter().collect(),
        )
    }

    fn skopeo_syncs(&self, index: &Index) -> Result<()> {
        let directory = self.scratch.subdir("sync")?;
        let target = format!("{}/synced", self.registry.address());
        for source in [&index.repository, &index.parts] {
            skopeo(&[
                "sync",
                "--all",
                "--src-tls-verify=false",
                "--src",
                "docker",
                "--dest",
                "dir",
                source,
            ])
            .arg(&directory)
            .quiet()?;
        }
        skopeo(&[
            "sync",
            "--all",
            "--preserve-digests",
            "--dest-tls-verify=false",
        ])
        .args(["--src", "dir", "--dest", "docker"])
        .arg(&directory)
        .arg(&target)
        .quiet()?;
        index.is_whole_in(&format!("{target}/made"))?;
        let (parts, synced) = (Repository::new(&index.parts)?, format!("{target}/parts"));
        let synced = Repository::new(&synced)?;
        same(
            "tags",
            synced.tags()?,
            PLATFORMS.map(str::to_owned).to_vec(),
        )?;
        for platform in PLATFORMS {
            same(
                platform,
                synced.everything(platform)?,
                parts.everything(platform)?,
            )?;
        }
        Ok(())
    }

    fn skopeo_deletes(&self, index: &Index) -> Result<()> {
        let target = format!("{}/skopeo/short-lived", self.registry.address());
        let (first, second) = (
            format!("docker://{target}:1"),
            format!("docker://{target}:2"),
        );
        for (platform, name) in PLATFORMS.iter().zip([&first, &second]) {
            skopeo(&[
                "copy",
                "-q",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            ])
            .args([&format!("docker://{}:{platform}", index.parts), name])
            .quiet()?;
        }
        let ask = |words: &[&str]| -> Result<Value> {
            let answer = skopeo(words).text()?;
            serde_json::from_str(&answer).with_context(|| answer)
        };
        let seen = ask(&["inspect", "--tls-verify=false", &second])?;
        let repository = Repository::new(&target)?;
        let stored = repository.manifest("2")?;
        same("digest", seen["Digest"].as_str(), Some(&*stored.digest))?;
        same(
            "layers",
            strings(&seen["Layers"]).first(),
            Some(&text(&stored.json["layers"][0]["digest"])?),
        )?;
        let config = ask(&["inspect", "--config", "--tls-verify=false", &second])?;
        same(
            "architecture",
            config["architecture"].as_str(),
            Some(PLATFORMS[1]),
        )?;
        let tags = ask(&[
            "list-tags",
            "--tls-verify=false",
            &format!("docker://{target}"),
        ])?;
        same(
            "tags",
            strings(&tags["Tags"]),
            vec!["1".to_owned(), "2".to_owned()],
        )?;

        skopeo(&["delete", "--tls-verify=false", &first]).quiet()?;
        repository.lacks("1")?;
        same(
            "tags that are left",
            repository.tags()?,
            vec!["2".to_owned()],
        )?;
        let Err(error) = skopeo(&["inspect", "--tls-verify=false", &first]).quiet() else {
            bail!("skopeo inspects what it deleted");
        };
        let said = format!("{error:#}");
        if !said.contains("manifest unknown") {
            bail!("the error should say `manifest unknown`: {said}");
        }
        repository.everything("2").map(drop)
    }

    fn ctr_copies(&self, index: &Index) -> Result<()> {
        let target = format!("{}/ctr/index", self.registry.address());
        let (source, tag) = (index.reference(), format!("{target}:1"));
        let ctr = |words: &[&str]| self.containerd.cmd().arg("images").args(words);
        ctr(&["pull", "--plain-http", "--all-platforms", &source]).quiet()?;
        let listed = ctr(&["list", &format!("name=={source}")]).text()?;
        if !listed.contains(&index.digest) || !listed.contains("linux/amd64,linux/arm64") {
            bail!("ctr lists something else:\n{listed}");
        }
        ctr(&["tag", &source, &tag]).quiet()?;
        ctr(&["push", "--plain-http", &tag]).quiet()?;
        index.is_whole_in(&target)
    }

    fn engines_pick(&self, index: &Index, platform: &str) -> Result<()> {
        let (reference, wanted) = (index.reference(), format!("linux/{platform}"));
        let docker = |words: &[&str]| self.dockerd.client_cmd().args(words);
        docker(&["pull", "-q", "--platform", &wanted, &reference]).quiet()?;
        let podman = |words: &[&str]| self.podman.cmd().args(words);
        podman(&[
            "pull",
            "-q",
            "--tls-verify=false",
            "--platform",
            &wanted,
            &reference,
        ])
        .quiet()?;
        for (engine, inspect) in [
            ("docker", docker(&["image"])),
            ("podman", podman(&["image"])),
        ] {
            let got = inspect
                .args([
                    "inspect",
                    "--format",
                    "{{.Architecture}} {{.Config.Env}}",
                    &reference,
                ])
                .text()?;
            if !got.starts_with(platform) || !got.contains(&format!("PART={platform}")) {
                bail!("{engine} has another image: {got}");
            }
        }
        Ok(())
    }

    /// umoci works on layouts; skopeo brings them there and back.
    pub(super) fn umoci_changes(&self, source: &str, target: &str) -> Result<()> {
        let home = self.scratch.subdir("umoci-change")?;
        let image = format!("{}:one", home.join("layout").display());
        skopeo(&["copy", "-q", "--src-tls-verify=false"])
            .args([format!("docker://{source}"), format!("oci:{image}")])
            .quiet()?;
        let umoci = |words: &[&str]| Cmd::new("umoci").args(words);
        let bundle = home.join("bundle");
        umoci(&["unpack", "--image", &image]).arg(&bundle).quiet()?;
        fs::write(bundle.join("rootfs/added"), "by umoci\n")?;
        umoci(&["repack", "--image", &image]).arg(&bundle).quiet()?;
        umoci(&["config", "--image", &image, "--config.env", "MADE_BY=umoci"]).quiet()?;
        skopeo(&["copy", "-q", "--dest-tls-verify=false"])
            .args([format!("oci:{image}"), format!("docker://{target}")])
            .quiet()?;
        self.rbuild.pull(target)?;
        let words = ["sh", "-c", "cat /added; echo $MADE_BY"].map(str::to_owned);
        let said = self
            .rbuild
            .run(
                &["--entrypoint".to_owned(), "busybox".to_owned()],
                target,
                &words,
            )
            .text()?;
        same(
            "the changed image says",
            lines(&said),
            vec!["by umoci", "umoci"],
        )
    }
}

/// A command of skopeo.
fn skopeo(words: &[&str]) -> Cmd {
    Cmd::new("skopeo").args(words)
}

/// The digests of the blobs of a layout, each computed from its bytes.
fn blobs_of(layout: &Path) -> Result<Vec<String>> {
    let mut digests = Vec::new();
    for entry in fs::read_dir(layout.join("blobs/sha256"))? {
        let path: PathBuf = entry?.path();
        let digest = sha256(&fs::read(&path)?);
        same(
            "the name of a blob",
            path.file_name(),
            Some(digest.as_ref()),
        )?;
        digests.push(format!("sha256:{digest}"));
    }
    digests.sort_unstable();
    Ok(digests)
}

/// Bytes that do not compress, the same every time.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut bytes = Vec::with_capacity(FILE);
    while bytes.len() < FILE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}
