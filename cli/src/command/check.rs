//! `check`: errors and lint of a Dockerfile, without building.

use std::path::Path;

use rbuild_image::Platform;
use rbuild_parser::ignore::Ignore;
use rbuild_parser::lint::{Options, lint_with};
use rbuild_parser::{Diagnostic, Severity};
use serde_json::json;

use crate::args::{CheckArgs, CheckFormat};
use crate::dockerfile::{self, SourceFile};
use crate::exit::{Exit, Failure, Outcome};
use crate::session::Session;

pub(crate) fn run(args: &CheckArgs, session: &Session) -> Outcome {
    // `rbuild check Dockerfile` means what it looks like.
    let file = match &args.file {
        None if args.context.is_file() || args.context == Path::new("-") => {
            Some(args.context.as_path())
        }
        file => file.as_deref(),
    };
    if file.is_none() {
        dockerfile::check_context(&args.context)?;
    }
    let source = dockerfile::locate(file, &args.context)?;
    let parsed = rbuild_parser::parse(&source.text);
    let mut found = parsed.diagnostics.clone();
    if !parsed.has_errors() {
        let ignore = match dockerfile::ignore_file(&source, &args.context)? {
            Some(file) => Some(
                Ignore::parse(&file.text)
                    .map_err(|error| Failure::input(format!("`{}`, {error}", file.name)))?,
            ),
            None => None,
        };
        let platform = Platform::host().to_string();
        let options = Options {
            ignore: ignore.as_ref(),
            platform: Some(&platform),
            ..Options::default()
        };
        found.extend(lint_with(&parsed, &source.text, &options));
    }
    found.sort_by_key(|diagnostic| diagnostic.span.start);
    match args.format {
        CheckFormat::Json => session
            .printer
            .line(&as_json(&source, &found).to_string())?,
        CheckFormat::Text => {
            dockerfile::show(session.printer, &source, &found);
            session.printer.note(&summary(&source, &found));
        }
    }
    Ok(if found.iter().any(Diagnostic::is_error) {
        Exit::Failed
    } else {
        Exit::Done
    })
}

fn summary(source: &SourceFile, found: &[Diagnostic]) -> String {
    let count = |severity: Severity, noun: &str| match found
        .iter()
        .filter(|diagnostic| diagnostic.severity == severity)
        .count()
    {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    };
    format!(
        "{}: {}, {}",
        source.name,
        count(Severity::Error, "error"),
        count(Severity::Warning, "warning")
    )
}

/// Diagnostics for editors: one array.
pub(super) fn as_json(source: &SourceFile, found: &[Diagnostic]) -> serde_json::Value {
    let list: Vec<_> = found
        .iter()
        .map(|diagnostic| {
            let [start, end] = [diagnostic.span.start, diagnostic.span.end]
                .map(|offset| rbuild_parser::line_column(&source.text, offset));
            json!({
                "file": source.name,
                "code": diagnostic.code,
                "severity": diagnostic.severity.to_string(),
                "message": diagnostic.message,
                "hint": diagnostic.help,
                "start": { "line": start.line, "column": start.column, "offset": diagnostic.span.start },
                "end": { "line": end.line, "column": end.column, "offset": diagnostic.span.end },
            })
        })
        .collect();
    serde_json::Value::Array(list)
}
