//! `push`

use rbuild_image::{Digest, Reference};
use rbuild_store::local::LocalStore;

use crate::args::PushArgs;
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::progress::Transfers;
use crate::send::{self, Sent};
use crate::session::Session;

pub(crate) fn run(args: &PushArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let _working = store.session().doing(|| "cannot lock the local store")?;
    let names = if args.all_tags {
        all_tags(&store, &args.name)?
    } else {
        vec![args.name.clone()]
    };
    push_names(&store, session, &names, args.quiet)?;
    Ok(Exit::Done)
}

/// Pushes images under these names, and prints what a registry calls each now.
pub(crate) fn push_names(
    store: &LocalStore,
    session: &Session,
    names: &[Reference],
    quiet: bool,
) -> Outcome<Vec<Digest>> {
    let client = session.registry()?;
    let mut digests = Vec::new();
    for name in names {
        let descriptor = store
            .resolve(name)
            .doing(|| format!("cannot look up `{}`", name.familiar()))?;
        let descriptor = match descriptor {
            Some(descriptor) => descriptor,
            None => Session::find(store, &name.familiar())?.image.descriptor,
        };
        if !quiet {
            session.printer.note(&format!(
                "The push refers to repository [{}]",
                name.familiar_name()
            ));
        }
        let transfers = Transfers::start(session.printer, quiet, "push");
        let sent = send::push(&client, session, store, name, &descriptor, &transfers);
        transfers.finish();
        session.show_warnings(&client);
        let Sent { manifest } = sent?;
        digests.push(manifest.digest);
        let tag = name.tag.as_ref().map_or("latest", |tag| tag.as_str());
        session.printer.line(&if quiet {
            name.familiar()
        } else {
            format!("{tag}: digest: {} size: {}", manifest.digest, manifest.size)
        })?;
    }
    Ok(digests)
}

fn all_tags(store: &LocalStore, name: &Reference) -> Outcome<Vec<Reference>> {
    let repository = name.familiar_name();
    let names: Vec<Reference> = store
        .names()
        .doing(|| "cannot read the local store")?
        .into_iter()
        .map(|(reference, _)| reference)
        .filter(|other| other.digest.is_none() && other.familiar_name() == repository)
        .collect();
    if names.is_empty() {
        return Err(Failure::input(format!(
            "there is no image of repository `{repository}` in the local store"
        )));
    }
    Ok(names)
}
