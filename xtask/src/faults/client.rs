//! A client that pushes, mounts, refers, moves tags and deletes at random, and remembers what it was told.

use anyhow::{Result, bail};
use serde_json::json;

use super::content::{Content, Random, digest};
use super::ledger::{Image, Ledger, Pair, Upload};
use super::wire::{self, Answer};

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was acknowledged.
    Done,
    /// The server refused it with a status of 500 or more.
    Refused(u16),
    /// There was no answer.
    Gone,
}

/// One client, with a repository of its own.
#[derive(Debug)]
pub(super) struct Client {
    /// What it was told.
    pub(super) ledger: Ledger,
    random: Random,
}

/// Ends a step that was not acknowledged.
macro_rules! acknowledged {
    ($answer:expr, $status:literal) => {
        match judge($answer, $status)? {
            Ok(answer) => answer,
            Err(outcome) => return Ok(outcome),
        }
    };
}

fn judge(answer: std::io::Result<Answer>, wanted: u16) -> Result<Result<Answer, Outcome>> {
    match answer {
        Err(_) => Ok(Err(Outcome::Gone)),
        Ok(answer) if answer.status == wanted => Ok(Ok(answer)),
        Ok(answer) if answer.status >= 500 => {
            let status = answer.status;
            answer.expect_error(status)?;
            Ok(Err(Outcome::Refused(status)))
        }
        Ok(answer) => answer.expect(wanted).map(Ok),
    }
}

impl Client {
    /// A client of this number.
    pub(super) fn new(repository: String, seed: u64, number: u64) -> Self {
        Self {
            ledger: Ledger {
                repository,
                ..Ledger::default()
            },
            random: Random::new(seed, number),
        }
    }

    /// Does one random thing.
    pub(super) fn step(&mut self, address: &str) -> Result<Outcome> {
        match self.random.below(16) {
            0..=2 => self.push_whole(address),
            3..=5 => self.push_chunks(address),
            6..=8 => self.push_image(address),
            9 | 10 => self.mount(address),
            11 | 12 => self.push_and_delete(address),
            13 | 14 => self.refer(address),
            _ => self.delete_tag(address),
        }
    }

    /// Does each kind of thing once, always with the same lengths.
    pub(super) fn everything(&mut self, address: &str) -> Result<Outcome> {
        for step in [
            Self::push_whole,
            Self::push_chunks,
            Self::push_image,
            Self::mount,
            Self::push_and_delete,
            Self::refer,
            Self::delete_tag,
        ] {
            let outcome = step(self, address)?;
            if outcome == Outcome::Gone {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Done)
    }

    /// Mostly some hundred KB, sometimes so little that it is kept in the database.
    fn content(&mut self) -> Content {
        let length = match self.random.below(8) {
            0 | 1 => 2 + self.random.below(3000),
            2 => 65_530 + self.random.below(12),
            3 => 1 << 20,
            _ => 70_000 + self.random.below(200_000),
        };
        Content::new(&mut self.random, length)
    }

    fn push_whole(&mut self, address: &str) -> Result<Outcome> {
        let content = self.content();
        self.push(address, content)
    }

    fn push(&mut self, address: &str, content: Content) -> Result<Outcome> {
        self.ledger.open.push(content);
        let answer = wire::push_blob(address, &self.ledger.repository, &content.bytes());
        acknowledged!(answer, 201);
        self.ledger.open.pop();
        self.ledger.blobs.push(content);
        Ok(Outcome::Done)
    }

    fn push_chunks(&mut self, address: &str) -> Result<Outcome> {
        let content = Content::new(&mut self.random, 300_000);
        let bytes = content.bytes();
        let path = format!("/v2/{}/blobs/uploads/", self.ledger.repository);
        let location =
            acknowledged!(wire::send(address, "POST", &path, &[], b""), 202).location()?;
        let mut known = 0;
        for chunk in bytes.chunks(40_000 + self.random.below(100_000)) {
            let answer = wire::patch(address, &location, known, chunk);
            acknowledged!(answer, 202);
            if known > 0 {
                self.ledger.uploads.pop();
            }
            known += chunk.len();
            self.ledger.uploads.push(Upload {
                location: location.clone(),
                known,
                content,
            });
        }
        // Once its end is asked for, the upload is a blob, an upload, or (after an error) neither.
        self.ledger.uploads.pop();
        self.ledger.open.push(content);
        acknowledged!(wire::finish(address, &location, &digest(&bytes)), 201);
        self.ledger.open.pop();
        self.ledger.blobs.push(content);
        Ok(Outcome::Done)
    }

    fn push_image(&mut self, address: &str) -> Result<Outcome> {
        let config = Content::new(&mut self.random, 200);
        let mut blobs = vec![config];
        for _ in 0..=self.random.below(2) {
            blobs.push(self.content());
        }
        for blob in &blobs {
            match self.push(address, *blob)? {
                Outcome::Done => {}
                other => return Ok(other),
            }
        }
        let manifest = manifest(&blobs, None);
        let image = Image { manifest, blobs };
        let tag = format!("t{}", self.random.below(4));
        let path = format!("/v2/{}/manifests/{tag}", self.ledger.repository);
        let place = self.ledger.tags.entry(tag).or_default();
        place.open.push(Some(image.clone()));
        acknowledged!(put(address, &path, &image), 201);
        place.open.clear();
        place.known = Some(image.clone());
        self.ledger.images.push(image);
        Ok(Outcome::Done)
    }

    /// Mounts the blob that was acknowledged last in a second repository.
    fn mount(&mut self, address: &str) -> Result<Outcome> {
        let Some(content) = self.ledger.blobs.last().copied() else {
            return Ok(Outcome::Done);
        };
        let path = format!(
            "/v2/{}/blobs/uploads/?mount={}&from={}",
            self.ledger.second(),
            digest(&content.bytes()),
            self.ledger.repository
        );
        acknowledged!(wire::send(address, "POST", &path, &[], b""), 201);
        self.ledger.mounted.push(content);
        Ok(Outcome::Done)
    }

    /// A small image of its own; `Err`: what became of its push instead.
    fn small_image(
        &mut self,
        address: &str,
        subject: Option<&Image>,
    ) -> Result<Result<Image, Outcome>> {
        let config = Content::new(&mut self.random, 150);
        let outcome = self.push(address, config)?;
        let blobs = vec![config];
        let manifest = manifest(&blobs, subject);
        Ok(match outcome {
            Outcome::Done => Ok(Image { manifest, blobs }),
            other => Err(other),
        })
    }

    /// Pushes a manifest with two tags at once, and mostly deletes it again: all of it, or nothing.
    fn push_and_delete(&mut self, address: &str) -> Result<Outcome> {
        let image = match self.small_image(address, None)? {
            Ok(image) => image,
            Err(outcome) => return Ok(outcome),
        };
        let number = self.ledger.pairs.len();
        let tags = [format!("a{number}"), format!("b{number}")];
        let path = format!(
            "/v2/{}/manifests/{}",
            self.ledger.repository,
            digest(&image.manifest)
        );
        let with_tags = format!("{path}?tag={}&tag={}", tags[0], tags[1]);
        let answer = put(address, &with_tags, &image);
        self.ledger.pairs.push(Pair {
            image,
            tags,
            here: None,
        });
        acknowledged!(answer, 201);
        self.pair_is(Some(true));
        if self.random.below(4) == 0 {
            return Ok(Outcome::Done);
        }
        self.pair_is(None);
        acknowledged!(wire::send(address, "DELETE", &path, &[], b""), 202);
        self.pair_is(Some(false));
        Ok(Outcome::Done)
    }

    fn pair_is(&mut self, here: Option<bool>) {
        if let Some(pair) = self.ledger.pairs.last_mut() {
            pair.here = here;
        }
    }

    /// Pushes a manifest that refers to the one that was acknowledged last.
    fn refer(&mut self, address: &str) -> Result<Outcome> {
        let Some(subject) = self.ledger.images.last().cloned() else {
            return Ok(Outcome::Done);
        };
        let image = match self.small_image(address, Some(&subject))? {
            Ok(image) => image,
            Err(outcome) => return Ok(outcome),
        };
        let name = digest(&image.manifest);
        let path = format!("/v2/{}/manifests/{name}", self.ledger.repository);
        acknowledged!(put(address, &path, &image), 201);
        self.ledger
            .referrers
            .push((digest(&subject.manifest), image));
        Ok(Outcome::Done)
    }

    /// Deletes the tag that was acknowledged first by name; the manifest stays.
    fn delete_tag(&mut self, address: &str) -> Result<Outcome> {
        let here = |place: &super::ledger::Place| place.known.is_some() && place.open.is_empty();
        let Some((tag, place)) = self.ledger.tags.iter_mut().find(|(_, place)| here(place)) else {
            return Ok(Outcome::Done);
        };
        let path = format!("/v2/{}/manifests/{tag}", self.ledger.repository);
        place.open.push(None);
        acknowledged!(wire::send(address, "DELETE", &path, &[], b""), 202);
        *place = super::ledger::Place::default();
        Ok(Outcome::Done)
    }
}

/// Pushes the manifest to this path.
fn put(address: &str, path: &str, image: &Image) -> std::io::Result<Answer> {
    let headers = [("Content-Type", "application/vnd.oci.image.manifest.v1+json")];
    wire::send(address, "PUT", path, &headers, &image.manifest)
}

/// A manifest of an image; the first blob is the config.
pub(super) fn manifest(blobs: &[Content], subject: Option<&Image>) -> Vec<u8> {
    let descriptor = |blob: &Content, kind: &str| {
        let bytes = blob.bytes();
        json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": digest(&bytes),
            "size": bytes.len(),
        })
    };
    let layers: Vec<_> = blobs
        .iter()
        .skip(1)
        .map(|blob| descriptor(blob, "layer.v1.tar"))
        .collect();
    let config = blobs.first().map(|blob| descriptor(blob, "config.v1+json"));
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config,
        "layers": layers,
    });
    if let Some(subject) = subject {
        manifest["subject"] = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest(&subject.manifest),
            "size": subject.manifest.len(),
        });
    }
    manifest.to_string().into_bytes()
}

/// Fails unless every step was acknowledged.
pub(super) fn all_done(outcome: Outcome) -> Result<()> {
    if outcome != Outcome::Done {
        bail!("a healthy server answered {outcome:?}");
    }
    Ok(())
}
