//! `tag` and `rmi`

use std::collections::BTreeSet;

use rbuild_image::{Digest, Reference};
use rbuild_store::local::{LocalStore, PruneScope};

use crate::args::{RmiArgs, TagArgs};
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::session::{BuildCache, Session};

pub(crate) fn tag(args: &TagArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let _working = store.session().doing(|| "cannot lock the local store")?;
    let found = Session::find(&store, &args.source)?;
    store
        .tag(&args.target, &found.image.descriptor)
        .doing(|| format!("cannot give the name `{}`", args.target.familiar()))?;
    Ok(Exit::Done)
}

pub(crate) fn remove(args: &RmiArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let mut outcome = Ok(Exit::Done);
    let mut deleted = false;
    for image in &args.images {
        // As docker: what can be removed is, and the command fails if something could not.
        match remove_one(&store, session, image, args.force) {
            Ok(gone) => deleted |= gone,
            Err(failure) => {
                session.printer.failure(&failure);
                outcome = Err(Failure::silent(failure.exit));
            }
        }
    }
    if deleted {
        let tenant = session.tenant(&store, BuildCache::Keep);
        // If somebody works in the store, the bytes stay until the next removal or prune.
        store
            .prune(PruneScope::Garbage, &[&tenant])
            .doing(|| "cannot remove the image's layers")?;
    }
    outcome
}

/// `true`: an image is gone, not only a name.
fn remove_one(store: &LocalStore, session: &Session, text: &str, force: bool) -> Outcome<bool> {
    let writing = || format!("cannot remove `{text}`");
    let found = Session::find(store, text)?;
    let id = found.image.image_id;
    let names = names_of(store, id)?;
    let tags: Vec<&Reference> = names.iter().filter(|name| name.digest.is_none()).collect();
    if let Some(reference) = &found.reference
        && names.contains(reference)
        && (tags.len() > 1 || (tags.len() == 1 && !tags.contains(&reference)))
    {
        store.untag(reference).doing(writing)?;
        session
            .printer
            .line(&format!("Untagged: {}", reference.familiar()))?;
        untag_digests(store, session, reference, id)?;
        return Ok(false);
    }
    let repositories: BTreeSet<String> = tags.iter().map(|name| name.familiar_name()).collect();
    if found.reference.is_none() && repositories.len() > 1 && !force {
        return Err(Failure::input(format!(
            "image `{}` has names in several repositories",
            id.short()
        ))
        .hint("remove it name by name, or all at once with `--force`"));
    }
    // Names go before the image: a crash in between leaves an image without names.
    for reference in &names {
        store.untag(reference).doing(writing)?;
        session
            .printer
            .line(&format!("Untagged: {}", reference.familiar()))?;
    }
    for image in store.images().doing(writing)? {
        if image.image_id == id {
            store
                .remove_image(&image.descriptor.digest)
                .doing(writing)?;
        }
    }
    session.printer.line(&format!("Deleted: {id}"))?;
    Ok(true)
}

/// All names of an image, whichever manifest of it they mean; tags first.
fn names_of(store: &LocalStore, id: Digest) -> Outcome<Vec<Reference>> {
    let mut names = Vec::new();
    for (reference, descriptor) in store.names().doing(|| "cannot read the local store")? {
        let image = store
            .image(&descriptor.digest)
            .doing(|| "cannot read the local store")?;
        if image.is_some_and(|image| image.image_id == id) {
            names.push(reference);
        }
    }
    names.sort_by_key(|name| name.digest.is_some());
    Ok(names)
}

/// The repo digests of a repository go with its last tag.
fn untag_digests(
    store: &LocalStore,
    session: &Session,
    gone: &Reference,
    id: Digest,
) -> Outcome<()> {
    let rest = names_of(store, id)?;
    let repository = gone.familiar_name();
    let of_repository = |name: &&Reference| name.familiar_name() == repository;
    if rest
        .iter()
        .filter(of_repository)
        .any(|name| name.digest.is_none())
    {
        return Ok(());
    }
    for name in rest.iter().filter(of_repository) {
        store
            .untag(name)
            .doing(|| format!("cannot remove `{}`", name.familiar()))?;
        session
            .printer
            .line(&format!("Untagged: {}", name.familiar()))?;
    }
    Ok(())
}
