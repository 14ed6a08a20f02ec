//! `parse` and `debug ask`: the language, for tools.

use std::io::{self, BufRead};

use serde_json::json;

use crate::args::ParseArgs;
use crate::dockerfile;
use crate::exit::{Doing, Exit, Outcome};
use crate::session::Session;

pub(crate) fn parse(args: &ParseArgs, session: &Session) -> Outcome {
    let file = dockerfile::read(&args.file)?;
    let parsed = rbuild_parser::parse(&file.text);
    let first = parsed.diagnostics.iter().find(|found| found.is_error());
    let Some(error) = first else {
        let tree = rbuild_parser::to_json(&parsed, &file.text);
        session.printer.line(&tree.to_string())?;
        return Ok(Exit::Done);
    };
    let place = rbuild_parser::line_column(&file.text, error.span.start);
    let refusal = json!({
        "error": error.message,
        "code": error.code,
        "line": place.line,
        "column": place.column,
        "hint": error.help,
    });
    session.printer.line(&refusal.to_string())?;
    Ok(Exit::Failed)
}

pub(crate) fn ask(session: &Session) -> Outcome {
    for line in io::stdin().lock().lines() {
        let line = line.doing(|| "cannot read standard input")?;
        session.printer.line(&rbuild_parser::ask(&line))?;
    }
    Ok(Exit::Done)
}
