//! What `oras` does with our registry: artifacts that are no images, and what refers to them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use serde_json::Value;

use super::Bench;
use super::index::{Index, PLATFORMS};
use super::stored::{INDEX, Repository, lines, same, text};
use crate::archive::sha256;
use crate::process::Cmd;
use crate::report::Report;

/// The type of the artifact.
const THING: &str = "application/vnd.example.thing";
/// Types of what refers to it.
const REFERRERS: [&str; 2] = [
    "application/vnd.example.sbom",
    "application/vnd.example.signature",
];

/// oras, and an index to work on.
struct Oras<'a> {
    program: PathBuf,
    bench: &'a Bench,
    index: &'a Index,
    /// A directory of its own, with files to push.
    home: PathBuf,
}

/// One thing that it does.
type Check<'a> = fn(&Oras<'a>) -> Result<()>;

/// Lets oras push, attach, copy, list and delete.
pub(super) fn checks(
    bench: &Bench,
    program: PathBuf,
    index: &Index,
    report: &mut Report,
) -> Result<()> {
    let home = bench.scratch.subdir("oras")?;
    fs::write(home.join("one.txt"), "one\n")?;
    fs::write(home.join("two.json"), "{\"two\":2}\n")?;
    fs::write(home.join("large.bin"), vec![7; 200_000])?;
    let oras = Oras {
        program,
        bench,
        index,
        home,
    };
    // The others work on what it pushes.
    let first = "oras pushes and pulls an artifact of several files";
    report.always(first, || oras.pushes_and_pulls());
    let checks: [(&str, Check<'_>); 5] = [
        ("oras attaches and discovers", Oras::attaches),
        (
            "oras copies with referrers, also over a layout",
            Oras::copies,
        ),
        ("oras tags, lists and resolves", Oras::tags),
        ("oras pushes, fetches and deletes blobs", Oras::blobs),
        (
            "oras pushes, fetches and deletes manifests and indexes",
            Oras::manifests,
        ),
    ];
    for (name, check) in checks {
        report.check(name, || check(&oras));
    }
    Ok(())
}

impl Oras<'_> {
    fn cmd(&self, words: &[&str]) -> Cmd {
        Cmd::new(&self.program)
            .env("DOCKER_CONFIG", &self.home)
            .dir(&self.home)
            .args(words)
    }

    fn text(&self, words: &[&str]) -> Result<String> {
        self.cmd(words).text()
    }

    fn json(&self, words: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.text(words)?)?)
    }

    fn at(&self, name: &str) -> String {
        format!("{}/oras/{name}", self.bench.registry.address())
    }

    fn pushes_and_pulls(&self) -> Result<()> {
        let target = self.at("thing");
        let tags = format!("{target}:1,stable");
        self.text(&[
            "push",
            "--plain-http",
            &tags,
            "--artifact-type",
            THING,
            "--annotation",
            "org.example.made=here",
            "one.txt:text/plain",
            "two.json:application/json",
            "large.bin",
        ])?;
        let repository = Repository::new(&target)?;
        let stored = repository.manifest("1")?;
        same(
            "both tags",
            &repository.manifest("stable")?.digest,
            &stored.digest,
        )?;
        same(
            "artifact type",
            stored.json["artifactType"].as_str(),
            Some(THING),
        )?;
        same(
            "annotation",
            stored.json["annotations"]["org.example.made"].as_str(),
            Some("here"),
        )?;
        for (layer, (name, media_type)) in
            stored.json["layers"].as_array().into_iter().flatten().zip([
                ("one.txt", "text/plain"),
                ("two.json", "application/json"),
                ("large.bin", "application/vnd.oci.image.layer.v1.tar"),
            ])
        {
            same(
                "title",
                layer["annotations"]["org.opencontainers.image.title"].as_str(),
                Some(name),
            )?;
            same("media type", layer["mediaType"].as_str(), Some(media_type))?;
            let blob = repository.blob(&text(&layer["digest"])?)?;
            same("bytes", blob == fs::read(self.home.join(name))?, true)?;
        }
        self.text(&[
            "pull",
            "--plain-http",
            &format!("{target}:1"),
            "-o",
            "pulled",
        ])?;
        for name in ["one.txt", "two.json", "large.bin"] {
            let pulled = fs::read(self.home.join("pulled").join(name))?;
            same(name, pulled == fs::read(self.home.join(name))?, true)?;
        }
        Ok(())
    }

    fn attaches(&self) -> Result<()> {
        let subject = format!("{}:1", self.at("thing"));
        fs::write(self.home.join("sbom.json"), "{}\n")?;
        let with_file = [
            "attach",
            "--plain-http",
            &subject,
            "--artifact-type",
            REFERRERS[0],
            "sbom.json:application/json",
        ];
        self.text(&with_file)?;
        self.text(&[
            "attach",
            "--plain-http",
            &subject,
            "--artifact-type",
            REFERRERS[1],
            "--annotation",
            "by=test",
        ])?;
        self.refer_to(&subject)?;
        let filtered = [
            "discover",
            "--plain-http",
            "--format",
            "json",
            "--artifact-type",
            REFERRERS[1],
            &subject,
        ];
        let found = self.json(&filtered)?;
        same(
            "with a filter",
            types(&found),
            vec![REFERRERS[1].to_owned()],
        )?;
        same(
            "its annotation",
            found["referrers"][0]["annotations"]["by"].as_str(),
            Some("test"),
        )
    }

    /// Fails unless both kinds refer to the subject, which can all be read.
    fn refer_to(&self, subject: &str) -> Result<()> {
        let found = self.json(&["discover", "--plain-http", "--format", "json", subject])?;
        let mut got = types(&found);
        got.sort_unstable();
        same("referrers", got, REFERRERS.map(str::to_owned).to_vec())?;
        let (name, _) = subject.rsplit_once(':').unwrap_or((subject, ""));
        let repository = Repository::new(name)?;
        for referrer in found["referrers"].as_array().into_iter().flatten() {
            let digest = text(&referrer["digest"])?;
            let stored = repository.manifest(&digest)?;
            same(
                "subject",
                &stored.json["subject"]["digest"],
                &found["digest"],
            )?;
            repository.everything(&digest)?;
        }
        Ok(())
    }

    fn copies(&self) -> Result<()> {
        let source = format!("{}:1", self.at("thing"));
        let copied = format!("{}:1", self.at("copied"));
        self.text(&[
            "cp",
            "-r",
            "--from-plain-http",
            "--to-plain-http",
            &source,
            &copied,
        ])?;
        self.refer_to(&copied)?;
        let back = format!("{}:1", self.at("back"));
        self.text(&[
            "cp",
            "-r",
            "--from-plain-http",
            "--to-oci-layout",
            &source,
            "layout:1",
        ])?;
        self.text(&[
            "cp",
            "-r",
            "--from-oci-layout",
            "--to-plain-http",
            "layout:1",
            &back,
        ])?;
        self.refer_to(&back)?;
        let original = Repository::new(&self.at("thing"))?.everything("1")?;
        for copy in ["copied", "back"] {
            same(
                copy,
                Repository::new(&self.at(copy))?.everything("1")?,
                original.clone(),
            )?;
        }
        // An index with everything in it, by tag and then by digest.
        let target = self.at("index");
        self.text(&[
            "cp",
            "-r",
            "--from-plain-http",
            "--to-plain-http",
            &self.index.reference(),
            &format!("{target}:1"),
        ])?;
        self.index.is_whole_in(&target)
    }

    fn tags(&self) -> Result<()> {
        let target = self.at("thing");
        let source = format!("{target}:1");
        self.text(&["tag", "--plain-http", &source, "2", "3"])?;
        let said = self.text(&["repo", "tags", "--plain-http", &target])?;
        same("tags", lines(&said), vec!["1", "2", "3", "stable"])?;
        let said = self.text(&["repo", "tags", "--plain-http", "--last", "2", &target])?;
        same("tags behind 2", lines(&said), vec!["3", "stable"])?;
        let digest = self.text(&["resolve", "--plain-http", &format!("{target}:3")])?;
        same(
            "digest",
            digest.trim(),
            &*Repository::new(&target)?.manifest("1")?.digest,
        )?;
        let listed = self.text(&["repo", "ls", "--plain-http", self.bench.registry.address()])?;
        same(
            "the repository is listed",
            lines(&listed).contains(&"oras/thing"),
            true,
        )?;
        let below = format!("{}/oras", self.bench.registry.address());
        let said = self.text(&["repo", "ls", "--plain-http", &below])?;
        let found = lines(&said);
        same("the repository is below", found.contains(&"thing"), true)?;
        same(
            "others are not",
            found.iter().any(|name| name.contains('/')),
            false,
        )
    }

    fn blobs(&self) -> Result<()> {
        let target = self.at("blobs");
        for name in ["one.txt", "large.bin"] {
            let bytes = fs::read(self.home.join(name))?;
            let digest = format!("sha256:{}", sha256(&bytes));
            let at = format!("{target}@{digest}");
            let pushed = self.json(&[
                "blob",
                "push",
                "--plain-http",
                "--descriptor",
                &target,
                name,
            ])?;
            same("digest", pushed["digest"].as_str(), Some(&*digest))?;
            same("size", pushed["size"].as_u64(), Some(bytes.len() as u64))?;
            self.text(&["blob", "fetch", "--plain-http", "-o", "fetched", &at])?;
            same(name, fs::read(self.home.join("fetched"))? == bytes, true)?;
            self.text(&["blob", "delete", "--plain-http", "-f", &at])?;
            let Err(error) = self.text(&["blob", "fetch", "--plain-http", "-o", "again", &at])
            else {
                bail!("oras fetches what it deleted");
            };
            let said = format!("{error:#}");
            same(
                "the error says `not found`",
                said.contains("not found"),
                true,
            )?;
        }
        Ok(())
    }

    fn manifests(&self) -> Result<()> {
        let target = self.at("thing");
        let repository = Repository::new(&target)?;
        let stored = repository.manifest("1")?;
        self.text(&[
            "manifest",
            "fetch",
            "--plain-http",
            "-o",
            "manifest.json",
            &format!("{target}:1"),
        ])?;
        same(
            "bytes",
            fs::read(self.home.join("manifest.json"))?,
            stored.bytes,
        )?;
        let again = self.at("again");
        let copy = ["cp", "--from-plain-http", "--to-plain-http"];
        self.cmd(&copy)
            .args([format!("{target}:1"), format!("{again}:1")])
            .quiet()?;
        self.text(&[
            "manifest",
            "push",
            "--plain-http",
            &format!("{again}:again"),
            "manifest.json",
        ])?;
        same(
            "digest",
            &Repository::new(&again)?.manifest("again")?.digest,
            &stored.digest,
        )?;
        self.text(&[
            "manifest",
            "delete",
            "--plain-http",
            "-f",
            &format!("{again}@{}", stored.digest),
        ])?;
        Repository::new(&again)?.lacks("again")?;

        let parts = Repository::new(&self.index.parts)?;
        let made = format!("{}:both", self.index.parts);
        self.text(&[
            "manifest",
            "index",
            "create",
            "--plain-http",
            &made,
            PLATFORMS[0],
            PLATFORMS[1],
        ])?;
        let both = parts.manifest("both")?;
        same("media type", both.json["mediaType"].as_str(), Some(INDEX))?;
        let wanted = format!("linux/{}", PLATFORMS[1]);
        let picked = self.json(&[
            "manifest",
            "fetch",
            "--plain-http",
            "--descriptor",
            "--platform",
            &wanted,
            &made,
        ])?;
        let child = parts.manifest(PLATFORMS[1])?.digest;
        same(
            "the part of a platform",
            picked["digest"].as_str(),
            Some(&*child),
        )?;
        let deleted = self.text(&[
            "manifest",
            "delete",
            "--plain-http",
            "-f",
            &format!("{}@{child}", self.index.parts),
        ]);
        same(
            "a part of an index cannot be deleted",
            deleted.is_err(),
            true,
        )?;
        self.text(&["manifest", "delete", "--plain-http", "-f", &made])?;
        parts.lacks("both")
    }
}

/// The artifact types of what was discovered.
fn types(found: &Value) -> Vec<String> {
    let referrers = found["referrers"].as_array().into_iter().flatten();
    referrers
        .filter_map(|referrer| Some(referrer["artifactType"].as_str()?.to_owned()))
        .collect()
}
