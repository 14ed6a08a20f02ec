//! A sound image, and one broken thing at a time.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::num::NonZeroUsize;

use super::{Absent, validate};
use crate::layer::{Entry, Kind, LayerWriter, compress};
use crate::{
    Descriptor, DiffId, Digest, History, ImageConfig, Index, Manifest, MediaType, Platform, Raw,
    RootFs,
};

#[derive(Default)]
struct Image {
    blobs: BTreeMap<Digest, Vec<u8>>,
    layers: Vec<Descriptor>,
    config: ImageConfig,
    manifest_type: Option<MediaType>,
    schema_version: u32,
}

impl Image {
    /// Two layers, one compressed.
    fn sound() -> Self {
        let mut image = Self {
            manifest_type: Some(MediaType::MANIFEST),
            schema_version: 2,
            ..Self::default()
        };
        let mut diff_ids = Vec::new();
        for (name, media_type) in [("a", MediaType::LAYER), ("b", MediaType::LAYER_GZIP)] {
            let mut writer = LayerWriter::new(Vec::new());
            writer.entry(&Entry::new(name, Kind::Directory)).unwrap();
            let (tar, summary) = writer.finish().unwrap();
            diff_ids.push(summary.diff_id);
            let options = compress::Options {
                level: 6,
                threads: NonZeroUsize::MIN,
            };
            let blob = if media_type == MediaType::LAYER_GZIP {
                compress::gzip(&tar[..], Vec::new(), options).unwrap()
            } else {
                tar
            };
            let layer = image.add(media_type, blob);
            image.layers.push(layer);
        }
        let history = |empty_layer| History {
            empty_layer,
            ..History::default()
        };
        image.config = ImageConfig {
            architecture: "amd64".to_owned(),
            os: "linux".to_owned(),
            rootfs: RootFs {
                diff_ids,
                ..RootFs::default()
            },
            history: vec![history(false), history(true), history(false)],
            ..ImageConfig::default()
        };
        image
    }

    fn add(&mut self, media_type: MediaType, blob: Vec<u8>) -> Descriptor {
        let descriptor = Descriptor::of(media_type, &blob);
        self.blobs.insert(descriptor.digest, blob);
        descriptor
    }

    fn manifest(&mut self) -> Descriptor {
        let config = Raw::write(self.config.clone()).unwrap();
        let config = self.add(MediaType::CONFIG, config.bytes().to_vec());
        let manifest = Manifest {
            media_type: self.manifest_type.clone(),
            schema_version: self.schema_version,
            ..Manifest::oci(config, self.layers.clone())
        };
        let manifest = Raw::write(manifest).unwrap();
        self.add(MediaType::MANIFEST, manifest.bytes().to_vec())
    }

    fn problems(&self, root: &Descriptor, absent: Absent) -> Vec<String> {
        let open = |digest: &Digest| {
            let blob = self.blobs.get(digest).cloned();
            Ok(blob.map(|blob| Box::new(io::Cursor::new(blob)) as Box<dyn Read + Send>))
        };
        let problems = validate(root, &open, absent).unwrap();
        problems.iter().map(ToString::to_string).collect()
    }
}

/// The one problem of an image that was changed, in which all of `parts` stand.
#[track_caller]
fn check(change: impl FnOnce(&mut Image), parts: &[&str]) {
    let mut image = Image::sound();
    change(&mut image);
    let manifest = image.manifest();
    let problems = image.problems(&manifest, Absent::Nothing);
    let [problem] = &problems[..] else {
        panic!("want one problem: {problems:#?}")
    };
    for part in parts {
        assert!(problem.contains(part), "`{part}` is not in: {problem}");
    }
}

#[test]
fn a_sound_image_has_no_problem() {
    let mut image = Image::sound();
    let manifest = image.manifest();
    assert_eq!(image.problems(&manifest, Absent::Nothing), [""; 0]);
}

#[test]
fn each_broken_thing_is_named_with_both_sides() {
    check(
        |image| image.layers[0].size += 1,
        &["layer 1", "1536 bytes", "says 1537"],
    );
    check(|image| image.schema_version = 1, &["manifest", "version 1"]);
    check(
        |image| image.manifest_type = Some(MediaType::DOCKER_MANIFEST),
        &[
            "calls itself `application/vnd.docker",
            "calls it `application/vnd.oci",
        ],
    );
    let wrong = Digest::sha256(b"wrong");
    check(
        |image| image.config.rootfs.diff_ids[1] = DiffId(wrong),
        &["layer 2", &wrong.to_string(), "the config says"],
    );
    check(
        |image| {
            image.config.rootfs.diff_ids.pop();
        },
        &["1 diff ids", "2 layers"],
    );
    check(
        |image| image.config.history[1].empty_layer = false,
        &["history", "tells of 3 layers", "there are 2"],
    );
    check(
        |image| image.config.rootfs.kind = "files".to_owned(),
        &["type `files`", "`layers`"],
    );
    check(
        |image| image.layers[1].media_type = MediaType::new("application/x-thing"),
        &["layer 2", "application/x-thing"],
    );
    check(
        |image| {
            image.blobs.remove(&image.layers[0].digest);
        },
        &["layer 1", "is missing"],
    );
}

#[test]
fn changed_bytes_are_noticed_wherever_they_are() {
    let mut image = Image::sound();
    let root = image.manifest();
    let digests: Vec<Digest> = image.blobs.keys().copied().collect();
    for digest in digests {
        let sound = image.blobs[&digest].clone();
        let last = sound.len() - 1;
        image.blobs.get_mut(&digest).unwrap()[last] ^= 1;
        let problems = image.problems(&root, Absent::Nothing);
        let named = problems
            .iter()
            .any(|problem| problem.contains(&digest.to_string()));
        assert!(named, "{problems:?}");
        image.blobs.insert(digest, sound);
    }
    assert!(image.problems(&root, Absent::Nothing).is_empty());
}

#[test]
fn an_index_may_have_platforms_that_are_not_here() {
    let mut image = Image::sound();
    let mut manifest = image.manifest();
    manifest.platform = Some(Platform::new("linux", "amd64", None));
    let absent = Descriptor::of(MediaType::MANIFEST, b"of another platform");
    let index = Raw::write(Index::oci(vec![manifest.clone(), absent])).unwrap();
    let index = image.add(MediaType::INDEX, index.bytes().to_vec());
    assert!(image.problems(&index, Absent::Platforms).is_empty());
    let [missing] = &image.problems(&index, Absent::Nothing)[..] else {
        panic!("one problem")
    };
    assert!(missing.contains("is missing"), "{missing}");

    manifest.platform = Some(Platform::new("linux", "arm64", None));
    let index = Raw::write(Index::oci(vec![manifest])).unwrap();
    let index = image.add(MediaType::INDEX, index.bytes().to_vec());
    let [platform] = &image.problems(&index, Absent::Nothing)[..] else {
        panic!("one problem")
    };
    assert!(
        platform.contains("linux/amd64") && platform.contains("linux/arm64"),
        "{platform}"
    );
}

#[test]
fn artifacts_are_checked_by_their_digests() {
    let mut image = Image::sound();
    let config = image.add(MediaType::EMPTY, b"{}".to_vec());
    let layer = image.add(MediaType::new("text/plain"), b"hello".to_vec());
    let manifest = Raw::write(Manifest::oci(config, vec![layer.clone()])).unwrap();
    let root = image.add(MediaType::MANIFEST, manifest.bytes().to_vec());
    assert!(image.problems(&root, Absent::Nothing).is_empty());
    image.blobs.insert(layer.digest, b"hallo".to_vec());
    assert_eq!(image.problems(&root, Absent::Nothing).len(), 1);
}
