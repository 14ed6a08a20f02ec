//! `context ls`: what belongs to a build context, and which line of the ignore file decides.

use std::fs;
use std::path::Path;

use rbuild_parser::ignore::Ignore;

use crate::args::ContextLsArgs;
use crate::dockerfile::{self, SourceFile};
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::session::Session;

pub(crate) fn list(args: &ContextLsArgs, session: &Session) -> Outcome {
    dockerfile::check_context(&args.context)?;
    let dockerfile = match &args.file {
        Some(file) => dockerfile::read(file)?,
        // The ignore file does not depend on what the Dockerfile says, so it may be missing.
        None => SourceFile {
            name: "Dockerfile".to_owned(),
            path: Some(args.context.join("Dockerfile")),
            text: String::new(),
        },
    };
    let file = dockerfile::ignore_file(&dockerfile, &args.context)?;
    let rules = match &file {
        Some(file) => Ignore::parse(&file.text)
            .map_err(|error| Failure::input(format!("`{}`, {error}", file.name)))?,
        None => Ignore::default(),
    };
    if args.why.is_empty() {
        walk(&args.context, "", &rules, session)?;
        return Ok(Exit::Done);
    }
    for path in &args.why {
        let relative = path.trim_start_matches("./").trim_matches('/');
        let decision = rules.decide(relative);
        let verdict = if decision.ignored {
            "ignored"
        } else {
            "included"
        };
        let reason = match (&decision.line, &file) {
            (Some((line, text)), Some(file)) => format!("{}:{line}: {text}", file.name),
            _ => "no line of an ignore file speaks of it".to_owned(),
        };
        session
            .printer
            .line(&format!("{relative}: {verdict} ({reason})"))?;
    }
    Ok(Exit::Done)
}

fn walk(root: &Path, directory: &str, rules: &Ignore, session: &Session) -> Outcome<()> {
    let path = root.join(directory);
    let reading = || format!("cannot read `{}`", path.display());
    let mut entries = fs::read_dir(&path)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .doing(reading)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let relative = if directory.is_empty() {
            name.into_owned()
        } else {
            format!("{directory}/{name}")
        };
        let ignored = rules.decide(&relative).ignored;
        if entry.file_type().doing(reading)?.is_dir() {
            if !ignored || rules.may_contain_included(&relative) {
                walk(root, &relative, rules, session)?;
            }
        } else if !ignored {
            session.printer.line(&relative)?;
        }
    }
    Ok(())
}
