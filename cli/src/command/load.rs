//! `load`: images from an archive.

use std::fs::File;
use std::io::{self, IsTerminal};

use crate::archive;
use crate::args::LoadArgs;
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::interrupt::interrupted;
use crate::session::Session;

pub(crate) fn run(args: &LoadArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let _working = store.session().doing(|| "cannot lock the local store")?;
    let loaded = match &args.input {
        Some(path) => {
            let file = File::open(path).doing(|| format!("cannot open `{}`", path.display()))?;
            archive::read(&store, &session.interrupt, file)
        }
        None if io::stdin().is_terminal() => {
            return Err(
                Failure::unable("standard input is a terminal, not an archive")
                    .hint("name a file with `-i FILE`, or redirect standard input"),
            );
        }
        None => archive::read(&store, &session.interrupt, io::stdin()),
    };
    if session.interrupt.is_set() {
        return Err(interrupted());
    }
    for image in loaded? {
        if image.names.is_empty() {
            session.printer.line(&if args.quiet {
                image.id.to_string()
            } else {
                format!("Loaded image ID: {}", image.id)
            })?;
        }
        for name in &image.names {
            session.printer.line(&if args.quiet {
                name.familiar()
            } else {
                format!("Loaded image: {}", name.familiar())
            })?;
        }
    }
    Ok(Exit::Done)
}
