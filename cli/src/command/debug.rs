//! `parse` and `debug ask`: the language, for tools.

use std::io::{self, BufRead};

use crate::args::ParseArgs;
use crate::dockerfile;
use crate::exit::{Doing, Exit, Outcome};
use crate::session::Session;

pub(crate) fn parse(args: &ParseArgs, session: &Session) -> Outcome {
    let file = dockerfile::read(&args.file)?;
    let parsed = rbuild_parser::parse(&file.text);
    let tree = rbuild_parser::to_json(&parsed, &file.text);
    session.printer.line(&tree.to_string())?;
    // The tree holds the reason, and what could be read nevertheless.
    Ok(match rbuild_parser::refusal(&parsed) {
        Some(_) => Exit::Failed,
        None => Exit::Done,
    })
}

pub(crate) fn ask(session: &Session) -> Outcome {
    for line in io::stdin().lock().lines() {
        let line = line.doing(|| "cannot read standard input")?;
        session.printer.line(&rbuild_parser::ask(&line))?;
    }
    Ok(Exit::Done)
}
