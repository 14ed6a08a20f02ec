//! What our registry holds, asked for without any of the clients under test.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::archive::sha256;
use crate::faults::wire::{Answer, send};

/// The media type of an index.
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A manifest of the registry.
pub(super) struct Stored {
    /// `sha256:` and hex, computed here.
    pub(super) digest: String,
    /// As it was pushed.
    pub(super) bytes: Vec<u8>,
    /// The same, parsed.
    pub(super) json: Value,
}

/// One repository of the registry at an address.
pub(super) struct Repository<'a> {
    address: &'a str,
    name: &'a str,
}

impl<'a> Repository<'a> {
    /// Of the reference `ADDRESS/NAME`.
    pub(super) fn new(reference: &'a str) -> Result<Self> {
        let (address, name) = reference
            .split_once('/')
            .context("a name without a registry")?;
        Ok(Self { address, name })
    }

    fn get(&self, path: &str) -> Result<Answer> {
        let path = format!("/v2/{}/{path}", self.name);
        Ok(send(self.address, "GET", &path, &[], b"")?)
    }

    /// The manifest of this tag or digest; the digest that the registry says must be right.
    pub(super) fn manifest(&self, reference: &str) -> Result<Stored> {
        let answer = self
            .get(&format!("manifests/{reference}"))?
            .expect(200)
            .with_context(|| format!("manifest `{reference}` of `{}`", self.name))?;
        let digest = format!("sha256:{}", sha256(&answer.body));
        same(
            "Docker-Content-Digest",
            answer.header("docker-content-digest"),
            Some(&digest),
        )?;
        let json: Value = serde_json::from_slice(&answer.body)?;
        Ok(Stored {
            digest,
            json,
            bytes: answer.body,
        })
    }

    /// Pushes a manifest of another repository under several tags at once.
    pub(super) fn put(&self, manifest: &Stored, tags: &[String]) -> Result<()> {
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let path = format!(
            "/v2/{}/manifests/{}?{}",
            self.name,
            manifest.digest,
            query.join("&")
        );
        let media_type = text(&manifest.json["mediaType"])?;
        let headers = [("Content-Type", media_type.as_str())];
        send(self.address, "PUT", &path, &headers, &manifest.bytes)?.expect(201)?;
        Ok(())
    }

    /// Fails if there is such a manifest.
    pub(super) fn lacks(&self, reference: &str) -> Result<()> {
        self.get(&format!("manifests/{reference}"))?
            .expect(404)
            .map(drop)
            .with_context(|| format!("manifest `{reference}` of `{}` should be gone", self.name))
    }

    /// The tags, as listed.
    pub(super) fn tags(&self) -> Result<Vec<String>> {
        let answer = self.get("tags/list")?.expect(200)?;
        let list: Value = serde_json::from_slice(&answer.body)?;
        Ok(strings(&list["tags"]))
    }

    /// The bytes of a blob, which must have its digest.
    pub(super) fn blob(&self, digest: &str) -> Result<Vec<u8>> {
        let answer = self
            .get(&format!("blobs/{digest}"))?
            .expect(200)
            .with_context(|| format!("blob `{digest}` of `{}`", self.name))?;
        same(
            "digest of a blob",
            format!("sha256:{}", sha256(&answer.body)).as_str(),
            digest,
        )?;
        Ok(answer.body)
    }

    /// Reads everything that the manifest refers to; the digests of all of it.
    pub(super) fn everything(&self, reference: &str) -> Result<BTreeSet<String>> {
        let mut seen = BTreeSet::new();
        let mut open = vec![reference.to_owned()];
        while let Some(reference) = open.pop() {
            let stored = self.manifest(&reference)?;
            let parts = |name: &str| stored.json[name].as_array().cloned().unwrap_or_default();
            for child in parts("manifests") {
                open.push(text(&child["digest"])?);
            }
            let blobs = stored.json.get("config").cloned().into_iter();
            for blob in blobs.chain(parts("layers")) {
                let digest = text(&blob["digest"])?;
                let size = self.blob(&digest)?.len();
                same("size of a blob", Some(size as u64), blob["size"].as_u64())?;
                seen.insert(digest);
            }
            seen.insert(stored.digest);
        }
        Ok(seen)
    }
}

/// Fails unless both are the same.
#[expect(
    clippy::needless_pass_by_value,
    reason = "most values are made for the call"
)]
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Result<()> {
    if got != want {
        bail!("{what}: got {got:?}, want {want:?}");
    }
    Ok(())
}

/// The texts of a list.
pub(super) fn strings(list: &Value) -> Vec<String> {
    let entries = list.as_array().into_iter().flatten();
    entries
        .filter_map(|entry| Some(entry.as_str()?.to_owned()))
        .collect()
}

/// The text of a value.
pub(super) fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().context("not a text")?.to_owned())
}

/// The lines of an output.
pub(super) fn lines(output: &str) -> Vec<&str> {
    output.lines().collect()
}
