//! What `crane` does with our registry.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Bench;
use super::index::{Index, PLATFORMS};
use super::stored::{INDEX, Repository, lines, same};
use crate::archive::sha256;
use crate::engine::Runner as _;
use crate::process::Cmd;
use crate::report::Report;

/// crane, an index to work on, and where to.
struct Crane<'a> {
    program: PathBuf,
    bench: &'a Bench,
    index: &'a Index,
    /// A directory of its own.
    home: PathBuf,
}

/// One thing that it does.
type Check<'a> = fn(&Crane<'a>) -> Result<()>;

/// Lets crane do everything it can with an index.
pub(super) fn checks(
    bench: &Bench,
    program: PathBuf,
    index: &Index,
    report: &mut Report,
) -> Result<()> {
    let crane = Crane {
        program,
        bench,
        index,
        home: bench.scratch.subdir("crane")?,
    };
    let checks: [(&str, Check<'_>); 7] = [
        (
            "crane reads digests, manifests, configs, blobs and lists",
            Crane::reads,
        ),
        (
            "crane pulls and pushes archives and layouts",
            Crane::pulls_and_pushes,
        ),
        (
            "crane copies an index and a whole repository",
            Crane::copies,
        ),
        (
            "crane appends, mutates, exports and flattens",
            Crane::appends,
        ),
        ("crane makes and filters an index", Crane::makes_an_index),
        ("crane tags and deletes", Crane::tags_and_deletes),
        (
            "crane lists more tags than fit on a page",
            Crane::lists_pages,
        ),
    ];
    for (name, check) in checks {
        report.check(name, || check(&crane));
    }
    Ok(())
}

impl Crane<'_> {
    fn cmd(&self, words: &[&str]) -> Cmd {
        // A configuration of its own: no credentials of whoever runs the tests.
        Cmd::new(&self.program)
            .env("DOCKER_CONFIG", &self.home)
            .args(words)
    }

    fn text(&self, words: &[&str]) -> Result<String> {
        self.cmd(words).text()
    }

    /// The name of a repository of ours.
    fn at(&self, name: &str) -> String {
        format!("{}/crane/{name}", self.bench.registry.address())
    }

    fn part(&self, platform: &str) -> String {
        format!("{}:{platform}", self.index.parts)
    }

    fn reads(&self) -> Result<()> {
        let reference = self.index.reference();
        same(
            "digest",
            self.text(&["digest", &reference])?.trim(),
            &*self.index.digest,
        )?;
        let stored = Repository::new(&self.index.repository)?.manifest("1")?;
        let manifest = self.cmd(&["manifest", &reference]).output()?.stdout;
        same("bytes of the manifest", manifest, stored.bytes)?;
        let parts = Repository::new(&self.index.parts)?;
        for platform in PLATFORMS {
            let wanted = parts.manifest(platform)?;
            let by_platform = [
                "digest",
                "--platform",
                &format!("linux/{platform}"),
                &reference,
            ];
            same(platform, self.text(&by_platform)?.trim(), &*wanted.digest)?;
            let config = self.cmd(&["config", &self.part(platform)]).output()?.stdout;
            let name = format!("sha256:{}", sha256(&config));
            same(
                "config",
                Some(name.as_str()),
                wanted.json["config"]["digest"].as_str(),
            )?;
            let layer = wanted.json["layers"][0]["digest"]
                .as_str()
                .context("a layer")?;
            let blob = self
                .cmd(&["blob", &format!("{}@{layer}", self.index.parts)])
                .output()?
                .stdout;
            same("blob", format!("sha256:{}", sha256(&blob)).as_str(), layer)?;
        }
        same(
            "tags",
            lines(&self.text(&["ls", &self.index.parts])?),
            PLATFORMS.to_vec(),
        )?;
        let catalog = self.text(&["catalog", self.bench.registry.address()])?;
        if !["index/made", "index/parts"]
            .iter()
            .all(|name| lines(&catalog).contains(name))
        {
            bail!("the catalogue lacks repositories:\n{catalog}");
        }
        let said = self.text(&["validate", "--remote", &reference])?;
        same("validate", said.trim(), &*format!("PASS: {reference}"))
    }

    fn pulls_and_pushes(&self) -> Result<()> {
        let archive = path_text(&self.home.join("image.tar"))?;
        let part = self.part(PLATFORMS[0]);
        self.text(&["pull", &part, &archive])?;
        same(
            "validate",
            self.text(&["validate", "--tarball", &archive])?.trim(),
            &*format!("PASS: {archive}"),
        )?;
        let target = self.at("archive");
        let pushed = self.text(&["push", &archive, &format!("{target}:1")])?;
        let repository = Repository::new(&target)?;
        let stored = repository.manifest("1")?;
        same(
            "name of the pushed",
            pushed.trim(),
            &*format!("{target}@{}", stored.digest),
        )?;
        let original = Repository::new(&self.index.parts)?.manifest(PLATFORMS[0])?;
        same(
            "config",
            &stored.json["config"]["digest"],
            &original.json["config"]["digest"],
        )?;
        repository.everything("1")?;

        let layout = path_text(&self.home.join("layout"))?;
        self.text(&["pull", "--format=oci", &self.index.reference(), &layout])?;
        let target = self.at("layout");
        self.text(&["push", "--index", &layout, &format!("{target}:1")])?;
        // What is pushed is the index of the layout, and in it the index that was pulled.
        let outer = Repository::new(&target)?.manifest("1")?;
        same(
            "the index inside",
            outer.json["manifests"][0]["digest"].as_str(),
            Some(&*self.index.digest),
        )?;
        let inner = Repository::new(&target)?.everything(&self.index.digest)?;
        same(
            "what is in it",
            inner,
            Repository::new(&self.index.repository)?.everything("1")?,
        )
    }

    fn copies(&self) -> Result<()> {
        let target = self.at("copied");
        self.cmd(&["copy", &self.index.reference(), &format!("{target}:1")])
            .quiet()?;
        self.index.is_whole_in(&target)?;
        let target = self.at("all-tags");
        self.cmd(&["copy", "--all-tags", &self.index.parts, &target])
            .quiet()?;
        let (copy, original) = (
            Repository::new(&target)?,
            Repository::new(&self.index.parts)?,
        );
        for platform in PLATFORMS {
            same(
                platform,
                copy.everything(platform)?,
                original.everything(platform)?,
            )?;
        }
        Ok(())
    }

    fn appends(&self) -> Result<()> {
        let layer = path_text(&self.home.join("layer.tar"))?;
        fs::write(self.home.join("added.txt"), "appended\n")?;
        Cmd::new("tar")
            .args(["-cf", &layer, "-C"])
            .arg(&self.home)
            .arg("added.txt")
            .quiet()?;
        let (base, target) = (self.part(PLATFORMS[0]), self.at("appended"));
        self.text(&[
            "append",
            "-b",
            &base,
            "-f",
            &layer,
            "-t",
            &format!("{target}:1"),
        ])?;
        let changed = format!("{target}:2");
        self.text(&[
            "mutate",
            &format!("{target}:1"),
            "--label",
            "by=crane",
            "--env",
            "MORE=yes",
            "-t",
            &changed,
        ])?;
        let config: Value = serde_json::from_str(&self.text(&["config", &changed])?)?;
        same(
            "label",
            config["config"]["Labels"]["by"].as_str(),
            Some("crane"),
        )?;
        let layers = config["rootfs"]["diff_ids"].as_array().map(Vec::len);
        same("layers", layers, Some(2))?;
        for (tag, layers) in [("2", 2), ("flat", 1)] {
            let reference = format!("{target}:{tag}");
            if tag == "flat" {
                self.text(&["flatten", &changed, "-t", &reference])?;
            }
            let stored = Repository::new(&target)?;
            same(
                "layers",
                stored.manifest(tag)?.json["layers"]
                    .as_array()
                    .map(Vec::len),
                Some(layers),
            )?;
            stored.everything(tag)?;
            let tree = path_text(&self.home.join(format!("{tag}.tar")))?;
            self.text(&["export", &reference, &tree])?;
            let said = Cmd::new("tar").args(["-xOf", &tree, "added.txt"]).text()?;
            same("the appended file", said.as_str(), "appended\n")?;
            self.bench.rbuild.pull(&reference)?;
        }
        Ok(())
    }

    fn makes_an_index(&self) -> Result<()> {
        let (made, filtered) = (self.at("index"), self.at("filtered"));
        let [first, second] = PLATFORMS.map(|platform| self.part(platform));
        self.text(&[
            "index",
            "append",
            "-m",
            &first,
            "-m",
            &second,
            "-t",
            &format!("{made}:1"),
        ])?;
        let stored = Repository::new(&made)?.manifest("1")?;
        same("media type", stored.json["mediaType"].as_str(), Some(INDEX))?;
        let own = Repository::new(&made)?.everything("1")?;
        for platform in PLATFORMS {
            let part = Repository::new(&self.index.parts)?.everything(platform)?;
            same("a part is in the index", part.is_subset(&own), true)?;
        }
        let wanted = format!("linux/{}", PLATFORMS[1]);
        self.text(&[
            "index",
            "filter",
            &format!("{made}:1"),
            "--platform",
            &wanted,
            "-t",
            &format!("{filtered}:1"),
        ])?;
        let left = Repository::new(&filtered)?.manifest("1")?;
        let children = left.json["manifests"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        same("children that are left", children.len(), 1)?;
        same(
            "its platform",
            children[0]["platform"]["architecture"].as_str(),
            Some(PLATFORMS[1]),
        )?;
        Repository::new(&filtered)?.everything("1").map(drop)
    }

    fn tags_and_deletes(&self) -> Result<()> {
        let target = self.at("tags");
        let (one, two) = (format!("{target}:one"), "two");
        self.cmd(&["copy", &self.part(PLATFORMS[0]), &one])
            .quiet()?;
        self.cmd(&["tag", &one, two]).quiet()?;
        same(
            "tags",
            lines(&self.text(&["ls", &target])?),
            vec!["one", "two"],
        )?;
        let repository = Repository::new(&target)?;
        let digest = repository.manifest("two")?.digest;
        self.text(&["delete", &one])?;
        repository.lacks("one")?;
        same("tags", repository.tags()?, vec!["two".to_owned()])?;
        self.text(&["delete", &format!("{target}@{digest}")])?;
        repository.lacks("two")?;
        repository.lacks(&digest)?;
        let Err(error) = self.text(&["manifest", &format!("{target}:two")]) else {
            bail!("crane reads what it deleted");
        };
        let said = format!("{error:#}");
        if !said.contains("MANIFEST_UNKNOWN") {
            bail!("the error should say `MANIFEST_UNKNOWN`: {said}");
        }
        Ok(())
    }

    fn lists_pages(&self) -> Result<()> {
        // crane asks for 1,000 at once and follows the links to the rest.
        let target = self.at("many");
        let part = Repository::new(&self.index.parts)?.manifest(PLATFORMS[0])?;
        self.cmd(&["copy", &self.part(PLATFORMS[0]), &format!("{target}:base")])
            .quiet()?;
        let tags: Vec<String> = (0..1100).map(|number| format!("t{number:04}")).collect();
        let repository = Repository::new(&target)?;
        for some in tags.chunks(100) {
            repository.put(&part, some)?;
        }
        let said = self.text(&["ls", &target])?;
        let want: Vec<&str> = ["base"]
            .into_iter()
            .chain(tags.iter().map(String::as_str))
            .collect();
        same("tags", lines(&said), want)
    }
}

fn path_text(path: &Path) -> Result<String> {
    Ok(path.to_str().context("a path that is no text")?.to_owned())
}
