//! Names: which manifest a reference means.

use std::io;

use rbuild_image::{Descriptor, Digest, Reference};
use serde::{Deserialize, Serialize};

use super::{LocalStore, file};

#[derive(Debug, Serialize, Deserialize)]
struct NameFile {
    reference: String,
    descriptor: Descriptor,
}

impl LocalStore {
    /// What a reference means here.
    ///
    /// A reference with a digest also finds an image of that manifest digest under any other name: the content is the same.
    pub fn resolve(&self, reference: &Reference) -> io::Result<Option<Descriptor>> {
        let reference = &canonical(reference);
        let text = reference.to_string();
        if let Some(found) = file::read::<NameFile>(&self.name_path(&text))?
            && found.reference == text
        {
            return Ok(Some(found.descriptor));
        }
        match reference.digest {
            Some(digest) => Ok(self.image(&digest)?.map(|record| record.descriptor)),
            None => Ok(None),
        }
    }

    /// Gives a name to a manifest that is stored with its config, and records it as an image.
    ///
    /// A name with a digest says under which digest a registry has the image (a *repo digest*).
    pub fn tag(&self, reference: &Reference, descriptor: &Descriptor) -> io::Result<()> {
        self.record_image(descriptor)?;
        let reference = canonical(reference).to_string();
        file::write(
            &self.name_path(&reference),
            &NameFile {
                descriptor: descriptor.clone(),
                reference,
            },
        )
    }

    /// Takes a name away; the image stays. `false`: there was no such name.
    pub fn untag(&self, reference: &Reference) -> io::Result<bool> {
        file::remove(&self.name_path(&canonical(reference).to_string()))
    }

    /// All names, repo digests included, sorted.
    pub fn names(&self) -> io::Result<Vec<(Reference, Descriptor)>> {
        let mut names = Vec::new();
        for key in file::list(&self.path(&["names"]))? {
            // A name may go meanwhile, and a torn file is no name.
            if let Some(found) = file::read::<NameFile>(&self.path(&["names", &key]))?
                && let Ok(reference) = found.reference.parse::<Reference>()
            {
                names.push((reference, found.descriptor));
            }
        }
        names.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(names)
    }

    fn name_path(&self, reference: &str) -> std::path::PathBuf {
        self.path(&["names", &Digest::sha256(reference).hex()])
    }
}

/// One spelling for each meaning: a digest wins over a tag.
fn canonical(reference: &Reference) -> Reference {
    match reference.digest {
        Some(digest) => reference.with_digest(digest),
        None => reference.clone(),
    }
}
