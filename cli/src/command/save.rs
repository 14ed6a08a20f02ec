//! `save`: images as an archive.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use crate::archive::{Saved, write};
use crate::args::SaveArgs;
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::interrupt::{Watched, interrupted};
use crate::session::Session;

pub(crate) fn run(args: &SaveArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let _working = store.session().doing(|| "cannot lock the local store")?;
    let mut images: Vec<Saved> = Vec::new();
    for text in &args.images {
        let found = Session::find(&store, text)?;
        let name = found.reference.filter(|name| name.digest.is_none());
        match images
            .iter_mut()
            .find(|image| image.descriptor == found.image.descriptor)
        {
            Some(image) => image.names.extend(name),
            None => images.push(Saved {
                descriptor: found.image.descriptor,
                names: name.into_iter().collect(),
            }),
        }
    }
    let Some(path) = &args.output else {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            return Err(Failure::unable("an archive is nothing for a terminal")
                .hint("name a file with `-o FILE`, or redirect standard output"));
        }
        write(&store, &images, args.format, &mut out)?;
        out.flush().doing(|| "cannot write the archive")?;
        return Ok(Exit::Done);
    };
    let writing = || format!("cannot write `{}`", path.display());
    // A device (`/dev/stdout`, `/dev/null`) or pipe cannot be replaced.
    let special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
    let target = if special { path.clone() } else { pending(path) };
    let outcome = fs::File::create(&target).doing(writing).and_then(|file| {
        let mut file = Watched::new(file, &session.interrupt);
        write(&store, &images, args.format, &mut file)
    });
    if special {
        return outcome.map(|()| Exit::Done);
    }
    let outcome = outcome.and_then(|()| fs::rename(&target, path).doing(writing));
    if outcome.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&target);
        if session.interrupt.is_set() {
            return Err(interrupted());
        }
    }
    outcome.map(|()| Exit::Done)
}

/// Where the archive is until it is whole.
fn pending(path: &Path) -> std::path::PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}
