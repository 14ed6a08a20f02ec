//! The random steps, each on the registry and on the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rbuild_image::{Algorithm, Digest};
use rbuild_registry_server::metadata::UploadId;
use rbuild_registry_server::service::Error;
use rbuild_store::BlobStore as _;

use super::random::Random;
use super::state::{Manifest, State};
use super::world::{HOUR, UNTAGGED, UPLOAD, World, content, digest, name, tag};

const REPOSITORIES: u8 = 3;
const BLOBS: u8 = 7;
const TAGS: u8 = 3;
/// What nothing keeps is gone by then: index, child, its referrer and their blobs go one after the other, each 5 hours and a wait of at most 8 after what kept it.
const GONE: Duration = Duration::from_hours(40);

/// An upload that a client has not ended.
struct Upload {
    repository: u8,
    number: u8,
    /// Bytes that were acknowledged.
    offset: usize,
    touched: Duration,
}

pub(crate) struct Life {
    random: Random,
    world: World,
    state: State,
    uploads: BTreeMap<UploadId, Upload>,
}

impl Life {
    pub(crate) fn new(random: Random) -> Self {
        Self {
            random,
            world: World::new(),
            state: State::default(),
            uploads: BTreeMap::new(),
        }
    }

    pub(crate) fn step(&mut self) {
        let repository = self.random.below(REPOSITORIES);
        let number = self.random.below(BLOBS);
        match self.random.below(40) {
            0..=3 => self.push_blob(repository, number),
            4..=10 => self.push_image(repository),
            11..=13 => self.push_index(repository),
            14..=15 => self.push_referrer(repository),
            16..=18 => self.mount(repository, number),
            19..=21 => self.head(repository, number),
            22..=23 => self.delete_tag(repository),
            24..=25 => self.delete_manifest(),
            26..=27 => self.delete_blob(repository, number),
            28..=29 => self.start_upload(repository, number),
            30..=32 => self.go_on_with_an_upload(),
            33 => self.restart(),
            34 => self.crash(),
            _ => {
                let hours = 1 + self.random.below(8);
                self.wait(u32::from(hours));
            }
        }
        self.state.count_idle();
    }

    fn push_blob(&mut self, repository: u8, number: u8) {
        eprintln!("push blob {number} to {repository}");
        World::push_blob(self.world.registry(), &repo(repository), number);
        self.state.linked(repository, number, HOUR);
    }

    fn push_image(&mut self, repository: u8) {
        let layers: Vec<u8> = (0..self.random.below(3))
            .map(|_| self.random.below(BLOBS))
            .collect();
        // A client in a hurry relies on what may be there.
        if self.random.below(3) > 0 {
            for number in layers.iter().chain([&0]) {
                self.push_blob(repository, *number);
            }
        }
        let manifest = World::image(&layers, None);
        let tag = (self.random.below(2) == 0).then(|| self.random.below(TAGS));
        self.push(repository, &manifest, &layers, BTreeSet::new(), None, tag);
    }

    fn push_index(&mut self, repository: u8) {
        let mut children = BTreeMap::new();
        for _ in 0..=self.random.below(2) {
            let layer = self.random.below(BLOBS);
            let child = World::image(&[layer], None);
            if self.random.below(2) == 0 {
                self.push_blob(repository, layer);
                self.push_blob(repository, 0);
                self.push(repository, &child, &[layer], BTreeSet::new(), None, None);
            }
            children.insert(Digest::sha256(&child), child);
        }
        let contents: Vec<Vec<u8>> = children.values().cloned().collect();
        let tag = (self.random.below(3) > 0).then(|| self.random.below(TAGS));
        let index = World::index(&contents);
        let digests = children.into_keys().collect();
        self.push_with(repository, &index, &[], digests, None, tag);
    }

    fn push_referrer(&mut self, repository: u8) {
        let here: Vec<Vec<u8>> = self
            .state
            .manifests
            .iter()
            .filter(|((r, _), m)| *r == repository && m.subject.is_none())
            .map(|(_, manifest)| manifest.content.clone())
            .collect();
        let Some(subject) = self.random.pick(&here).cloned() else {
            return;
        };
        let layer = self.random.below(BLOBS);
        self.push_blob(repository, layer);
        self.push_blob(repository, 0);
        let manifest = World::image(&[layer], Some(&subject));
        let subject = Some(Digest::sha256(&subject));
        self.push(
            repository,
            &manifest,
            &[layer],
            BTreeSet::new(),
            subject,
            None,
        );
    }

    /// Pushes an image, whose config is content 0.
    fn push(
        &mut self,
        repository: u8,
        bytes: &[u8],
        layers: &[u8],
        children: BTreeSet<Digest>,
        subject: Option<Digest>,
        tag: Option<u8>,
    ) {
        let blobs: Vec<u8> = layers.iter().copied().chain([0]).collect();
        self.push_with(repository, bytes, &blobs, children, subject, tag);
    }

    fn push_with(
        &mut self,
        repository: u8,
        bytes: &[u8],
        blobs: &[u8],
        children: BTreeSet<Digest>,
        subject: Option<Digest>,
        at: Option<u8>,
    ) {
        eprintln!(
            "push manifest {} to {repository}, tag {at:?}",
            Digest::sha256(bytes)
        );
        let kept = self.state.kept_manifests();
        let links = self.state.kept_links(&kept);
        let surely = blobs.iter().all(|n| links.contains(&(repository, *n)))
            && children.iter().all(|d| kept.contains(&(repository, *d)));
        let possibly = blobs
            .iter()
            .all(|n| self.state.links.contains_key(&(repository, *n)))
            && children
                .iter()
                .all(|d| self.state.manifests.contains_key(&(repository, *d)));
        let name = at.map(tag_name);
        let names: Vec<_> = name.iter().collect();
        let pushed = World::push_manifest(self.world.registry(), &repo(repository), bytes, &names);
        let digest = match pushed {
            Ok(digest) => digest,
            Err(Error::ReferencesUnknown(missing)) => {
                assert!(!surely, "refused for {missing:?}, which are promised");
                return;
            }
            Err(error) => panic!("{error:?}"),
        };
        assert!(possibly, "taken without what it refers to");
        let now = self.state.now;
        let until = if at.is_none() {
            now + HOUR * UNTAGGED
        } else {
            now
        };
        let before = self.state.manifests.get(&(repository, digest));
        let manifest = Manifest {
            content: bytes.to_vec(),
            blobs: blobs.iter().copied().collect(),
            children,
            subject,
            until: before.map_or(until, |before| before.until.max(until)),
        };
        self.state.manifests.insert((repository, digest), manifest);
        if let Some(at) = at {
            let left = self.state.tags.insert((repository, at), digest);
            if left != Some(digest) {
                self.untagged(repository, left);
            }
        }
    }

    /// A tag has left a manifest, which stays for the time that is set.
    fn untagged(&mut self, repository: u8, digest: Option<Digest>) {
        let until = self.state.now + HOUR * UNTAGGED;
        if let Some(manifest) = digest.and_then(|d| self.state.manifests.get_mut(&(repository, d)))
        {
            manifest.until = manifest.until.max(until);
        }
    }

    fn mount(&mut self, to: u8, number: u8) {
        let from = (to + 1) % REPOSITORIES;
        eprintln!("mount blob {number} from {from} to {to}");
        let links = self.state.kept_links(&self.state.kept_manifests());
        let source = repo(from);
        let mounted = self
            .world
            .registry()
            .mount_blob(&repo(to), Some(&source), &digest(number))
            .expect("mount");
        if mounted.is_some() {
            assert!(
                self.state.links.contains_key(&(from, number)),
                "from nowhere"
            );
            self.state.linked(to, number, HOUR);
        } else {
            assert!(!links.contains(&(from, number)), "not mounted");
        }
    }

    /// Who is told that a blob is here can rely on it for half of the time of protection at least.
    fn head(&mut self, repository: u8, number: u8) {
        let found = self
            .world
            .registry()
            .stat_blob(&repo(repository), &digest(number));
        eprintln!("head {number} of {repository}: {}", found.is_ok());
        match found {
            Ok(blob) => {
                assert_eq!(blob.size, content(number).len() as u64);
                self.state.linked(repository, number, HOUR / 2);
            }
            Err(Error::BlobUnknown(_)) => self.blob_is_gone(repository, number),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn delete_tag(&mut self, repository: u8) {
        let at = self.random.below(TAGS);
        eprintln!("delete tag {at} of {repository}");
        let deleted = self
            .world
            .registry()
            .delete_tag(&repo(repository), &tag_name(at));
        let was = self.state.tags.remove(&(repository, at));
        assert_eq!(deleted.is_ok(), was.is_some());
        self.untagged(repository, was);
    }

    fn delete_manifest(&mut self) {
        let all: Vec<_> = self.state.manifests.keys().copied().collect();
        let Some((repository, digest)) = self.random.pick(&all).copied() else {
            return;
        };
        eprintln!("delete manifest {digest} of {repository}");
        let kept = self.state.kept_manifests();
        let lists = |key: &(u8, Digest)| {
            key.0 == repository
                && self
                    .state
                    .manifests
                    .get(key)
                    .is_some_and(|m| m.children.contains(&digest))
        };
        let listed = kept.iter().any(lists);
        let maybe_listed = self.state.manifests.keys().any(lists);
        let deleted = self
            .world
            .registry()
            .delete_manifest(&repo(repository), &digest);
        match deleted {
            Ok(_) => {
                assert!(!listed, "an index lists it");
                self.manifest_is_gone(repository, digest);
            }
            Err(Error::InUse { .. }) => assert!(maybe_listed, "nothing lists it"),
            Err(Error::ManifestUnknown(_)) => {
                assert!(!kept.contains(&(repository, digest)), "it is lost");
                self.manifest_is_gone(repository, digest);
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn manifest_is_gone(&mut self, repository: u8, digest: Digest) {
        self.state.manifests.remove(&(repository, digest));
        self.state
            .tags
            .retain(|(r, _), at| *r != repository || *at != digest);
    }

    fn blob_is_gone(&mut self, repository: u8, number: u8) {
        let links = self.state.kept_links(&self.state.kept_manifests());
        assert!(
            !links.contains(&(repository, number)),
            "blob {number} of {repository} is lost"
        );
        self.state.links.remove(&(repository, number));
    }

    fn delete_blob(&mut self, repository: u8, number: u8) {
        eprintln!("delete blob {number} of {repository}");
        let kept = self.state.kept_manifests();
        let used = kept
            .iter()
            .any(|key| key.0 == repository && self.state.manifests[key].blobs.contains(&number));
        let deleted = self
            .world
            .registry()
            .delete_blob(&repo(repository), &digest(number));
        match deleted {
            Ok(_) => {
                assert!(!used, "a manifest refers to it");
                assert!(self.state.links.remove(&(repository, number)).is_some());
            }
            Err(Error::InUse { .. }) => assert!(self.state.may_use(repository, number)),
            Err(Error::BlobUnknown(_)) => self.blob_is_gone(repository, number),
            Err(error) => panic!("{error:?}"),
        }
    }

    fn start_upload(&mut self, repository: u8, number: u8) {
        eprintln!("start an upload of {number} to {repository}");
        let id = self
            .world
            .registry()
            .start_upload(&repo(repository), Algorithm::Sha256)
            .expect("started");
        let upload = Upload {
            repository,
            number,
            offset: 0,
            touched: self.state.now,
        };
        self.uploads.insert(id, upload);
    }

    fn go_on_with_an_upload(&mut self) {
        let ids: Vec<_> = self.uploads.keys().cloned().collect();
        let Some(id) = self.random.pick(&ids).cloned() else {
            return;
        };
        let registry = self.world.registry();
        let upload = self.uploads.get_mut(&id).expect("known");
        let target = repo(upload.repository);
        let bytes = content(upload.number);
        let choice = self.random.below(5);
        eprintln!(
            "upload of {} from {}: {choice}",
            upload.number, upload.offset
        );
        if choice == 0 {
            registry.cancel_upload(&target, &id).expect("cancelled");
            self.uploads.remove(&id);
            return;
        }
        let mut writer = registry.write_upload(&target, &id).expect("writer");
        assert_eq!(writer.offset(), upload.offset as u64);
        let more = (bytes.len() - upload.offset).min(1 + usize::from(self.random.below(255)) * 200);
        writer
            .write(&bytes[upload.offset..upload.offset + more])
            .expect("write");
        match choice {
            // Broken off: nobody was told of these bytes.
            1 => drop(writer),
            2 | 3 => {
                upload.offset += more;
                upload.touched = self.state.now;
                let offset = writer.suspend().expect("suspended");
                assert_eq!(offset, upload.offset as u64);
            }
            _ => {
                upload.offset += more;
                writer.write(&bytes[upload.offset..]).expect("write");
                let (repository, number) = (upload.repository, upload.number);
                let wrong = self.random.below(4) == 0;
                let promised = if wrong {
                    Digest::sha256(b"something else")
                } else {
                    digest(number)
                };
                let committed = writer.commit(promised);
                assert_eq!(committed.is_err(), wrong, "{committed:?}");
                self.uploads.remove(&id);
                if !wrong {
                    self.state.linked(repository, number, HOUR);
                }
            }
        }
    }

    fn restart(&mut self) {
        eprintln!("restart");
        self.world.restart();
        self.uploads.retain(|_, upload| upload.offset > 0);
    }

    fn crash(&mut self) {
        eprintln!("crash");
        self.world.crash();
        self.uploads.retain(|_, upload| upload.offset > 0);
    }

    fn wait(&mut self, hours: u32) {
        eprintln!("wait {hours} h");
        self.world.advance(HOUR * hours);
        self.state.now += HOUR * hours;
        for _ in 0..2 {
            self.world.registry().collect().expect("collect");
        }
        let now = self.state.now;
        self.uploads
            .retain(|_, upload| upload.touched + HOUR * UPLOAD >= now);
    }

    /// Reads everything that is promised, and looks for everything that cannot be there.
    pub(crate) fn check(&mut self) {
        let kept = self.state.kept_manifests();
        let links = self.state.kept_links(&kept);
        let registry = self.world.registry();
        for repository in 0..REPOSITORIES {
            let target = repo(repository);
            for number in 0..BLOBS {
                let key = (repository, number);
                let found = World::read_blob(registry, &target, &digest(number));
                if let Some(bytes) = &found {
                    assert!(*bytes == content(number), "wrong bytes of {key:?}");
                    assert!(
                        self.state.links.contains_key(&key),
                        "{key:?} is from nowhere"
                    );
                } else {
                    assert!(!links.contains(&key), "{key:?} is lost");
                }
                if let Some(since) = self.state.idle_links.get(&key) {
                    let overdue = self.state.now > *since + GONE;
                    assert!(!overdue || found.is_none(), "{key:?} does not go");
                }
            }
            for at in 0..TAGS {
                let expected = self
                    .state
                    .tags
                    .get(&(repository, at))
                    .map(|digest| self.state.manifests[&(repository, *digest)].content.clone());
                let found = World::read_tag(registry, &target, &tag_name(at));
                assert!(found == expected, "tag {at} of {repository}");
            }
        }
        for (key @ (repository, digest), manifest) in &self.state.manifests {
            let found = World::read_manifest(registry, &repo(*repository), *digest);
            match found {
                Some(bytes) => assert!(bytes == manifest.content, "wrong bytes of {key:?}"),
                None => assert!(!kept.contains(key), "{key:?} is lost"),
            }
            self.check_referrers(*repository, digest, &kept);
        }
        for (id, upload) in &self.uploads {
            let offset = registry.upload_offset(&repo(upload.repository), id);
            assert_eq!(offset.expect("an upload"), upload.offset as u64);
        }
        self.forget_what_went();
    }

    fn check_referrers(&self, repository: u8, subject: &Digest, kept: &BTreeSet<(u8, Digest)>) {
        let listed: BTreeSet<Digest> = self
            .world
            .registry()
            .referrers(&repo(repository), subject, None, None)
            .expect("referrers")
            .entries
            .into_iter()
            .map(|entry| entry.digest)
            .collect();
        let possible = self.state.referrers(repository, subject);
        for (_, digest) in possible.iter().filter(|key| kept.contains(key)) {
            assert!(listed.contains(digest), "a referrer is not listed");
        }
        for digest in listed {
            assert!(
                possible.contains(&(repository, digest)),
                "a foreign referrer"
            );
        }
    }

    /// What was collected cannot come back by itself.
    fn forget_what_went(&mut self) {
        let registry = self.world.registry();
        let manifests: Vec<_> = self.state.manifests.keys().copied().collect();
        for (repository, digest) in manifests {
            let key = (repository, digest);
            if World::read_manifest(registry, &repo(repository), digest).is_none() {
                self.state.manifests.remove(&key);
            } else if let Some(since) = self.state.idle_manifests.get(&key) {
                assert!(self.state.now <= *since + GONE, "{key:?} does not go");
            }
        }
        self.state.links.retain(|(repository, number), _| {
            World::read_blob(registry, &repo(*repository), &digest(*number)).is_some()
        });
    }

    /// Without tags, everything goes: records, files, leftovers.
    pub(crate) fn end(mut self) {
        for ((repository, at), _) in std::mem::take(&mut self.state.tags) {
            self.world
                .registry()
                .delete_tag(&repo(repository), &tag_name(at))
                .expect("deleted");
        }
        for _ in 0..14 {
            self.wait(8);
        }
        let registry = self.world.registry();
        registry.sweep().expect("sweep");
        let totals = registry.metadata().totals().expect("totals");
        assert_eq!(
            (totals.manifests, totals.blobs, totals.tags, totals.reviews),
            (0, 0, 0, 0)
        );
        let mut files = 0;
        let visit = &mut |_| {
            files += 1;
            std::ops::ControlFlow::Continue(())
        };
        registry.blobs().walk(visit).expect("walk");
        let mut leftovers = 0;
        registry
            .blobs()
            .walk_ingests(&mut |_, _, _| leftovers += 1)
            .expect("walk");
        assert_eq!((files, leftovers), (0, 0));
    }
}

fn repo(number: u8) -> rbuild_image::RepositoryName {
    name(&format!("r{number}"))
}

fn tag_name(number: u8) -> rbuild_image::Tag {
    tag(&format!("t{number}"))
}
