//! What the model knows: what was promised until when, and what cannot be there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rbuild_image::Digest;

/// Which thing of which repository.
pub(crate) type Key = (u8, Digest);

/// A manifest as it was pushed.
#[derive(Clone)]
pub(crate) struct Manifest {
    pub(crate) content: Vec<u8>,
    /// Numbers of its blobs.
    pub(crate) blobs: BTreeSet<u8>,
    pub(crate) children: BTreeSet<Digest>,
    pub(crate) subject: Option<Digest>,
    /// Kept until then even if nothing refers to it.
    pub(crate) until: Duration,
}

/// A blob that a repository may hold.
#[derive(Clone, Copy, Default)]
pub(crate) struct Link {
    /// Kept until then even if nothing refers to it.
    pub(crate) until: Duration,
}

/// Everything that clients were told. Times are counted from the beginning of the model.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) now: Duration,
    /// Manifests that may be here. What is in no list cannot be.
    pub(crate) manifests: BTreeMap<Key, Manifest>,
    /// Blobs that may be here, by their number.
    pub(crate) links: BTreeMap<(u8, u8), Link>,
    /// Where tags are, exactly.
    pub(crate) tags: BTreeMap<(u8, u8), Digest>,
    /// Since when nothing promises that a thing stays.
    pub(crate) idle_manifests: BTreeMap<Key, Duration>,
    pub(crate) idle_links: BTreeMap<(u8, u8), Duration>,
}

impl State {
    /// Manifests that must be here: tagged or promised, and what these keep.
    pub(crate) fn kept_manifests(&self) -> BTreeSet<Key> {
        let mut kept = BTreeSet::new();
        let mut queue: Vec<Key> = self.tags.iter().map(|((r, _), d)| (*r, *d)).collect();
        let promised = self.manifests.iter().filter(|(_, m)| m.until > self.now);
        queue.extend(promised.map(|(key, _)| *key));
        while let Some(key) = queue.pop() {
            if !self.manifests.contains_key(&key) || !kept.insert(key) {
                continue;
            }
            let (repository, digest) = key;
            let children = self.manifests.get(&key).into_iter();
            queue.extend(children.flat_map(|m| m.children.iter().map(|d| (repository, *d))));
            queue.extend(self.referrers(repository, &digest));
        }
        kept
    }

    /// Manifests that may be here and have this subject.
    pub(crate) fn referrers(&self, repository: u8, subject: &Digest) -> Vec<Key> {
        let refers = |(key, manifest): &(&Key, &Manifest)| {
            key.0 == repository && manifest.subject.as_ref() == Some(subject)
        };
        let found = self.manifests.iter().filter(refers);
        found.map(|(key, _)| *key).collect()
    }

    /// Blobs that must be here, by repository and number.
    pub(crate) fn kept_links(&self, kept: &BTreeSet<Key>) -> BTreeSet<(u8, u8)> {
        let mut links: BTreeSet<(u8, u8)> = self
            .links
            .iter()
            .filter(|(_, link)| link.until > self.now)
            .map(|(key, _)| *key)
            .collect();
        for key in kept {
            let blobs = self.manifests.get(key).into_iter().flat_map(|m| &m.blobs);
            links.extend(blobs.map(|number| (key.0, *number)));
        }
        links
    }

    /// A push or a mount was answered: the blob is here, and stays for a while.
    pub(crate) fn linked(&mut self, repository: u8, number: u8, promise: Duration) {
        let until = self.now + promise;
        let link = self.links.entry((repository, number)).or_default();
        link.until = link.until.max(until);
    }

    /// Manifests of the repository that may be here and refer to the blob.
    pub(crate) fn may_use(&self, repository: u8, number: u8) -> bool {
        let mut manifests = self.manifests.iter();
        manifests.any(|((r, _), m)| *r == repository && m.blobs.contains(&number))
    }

    /// Counts since when things are kept by nothing.
    pub(crate) fn count_idle(&mut self) {
        let kept = self.kept_manifests();
        let links = self.kept_links(&kept);
        let now = self.now;
        self.idle_manifests
            .retain(|key, _| self.manifests.contains_key(key) && !kept.contains(key));
        for key in self.manifests.keys().filter(|key| !kept.contains(key)) {
            self.idle_manifests.entry(*key).or_insert(now);
        }
        self.idle_links
            .retain(|key, _| self.links.contains_key(key) && !links.contains(key));
        for key in self.links.keys().filter(|key| !links.contains(key)) {
            self.idle_links.entry(*key).or_insert(now);
        }
    }
}
