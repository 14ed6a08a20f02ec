//! The tree of a Dockerfile, and diagnostics, as JSON for tools. The schema is in `docs/parse-json.md`.

mod ask;

pub use ask::ask;

use serde_json::{Map, Value, json};

use crate::diagnostic::Diagnostic;
use crate::instruction::Heredoc;
use crate::parse::Parsed;
use crate::source::LineIndex;
use crate::span::{Span, Spanned};
use crate::syntax::{Shape, Statement};

/// The tree of a Dockerfile as JSON.
///
/// With an error there is a key `error` with its text; what could be read is there as well. What
/// counts is what [`refusal`] says.
pub fn to_json(parsed: &Parsed, source: &str) -> Value {
    let index = LineIndex::new(source);
    let mut object = Map::new();
    if let Some(error) = refusal(parsed) {
        let place = index.line_column(error.span.start);
        object.insert(
            "error".to_owned(),
            json!(format!("line {}: {}", place.line, error.message)),
        );
    }
    let instructions: Vec<Value> = parsed
        .tree
        .statements
        .iter()
        .map(|statement| statement_json(statement, &index))
        .collect();
    object.insert("escape".to_owned(), json!(parsed.directives.escape));
    for (name, directive) in [
        ("syntax", &parsed.directives.syntax),
        ("check", &parsed.directives.check),
    ] {
        if let Some(directive) = directive {
            object.insert(name.to_owned(), json!(directive.value));
        }
    }
    object.insert("instructions".to_owned(), Value::Array(instructions));
    if !parsed.diagnostics.is_empty() {
        object.insert(
            "diagnostics".to_owned(),
            diagnostics_to_json(&parsed.diagnostics, source),
        );
    }
    Value::Object(object)
}

/// Errors about what a build would do with a well-formed file. A part of a Dockerfile may lack its
/// `FROM`; a bad value may stand in a stage that is never built.
const NOT_SYNTAX: [&str; 6] = [
    "no-stage",
    "bad-mount",
    "unknown-mount-key",
    "unknown-mount-type",
    "bad-port",
    "bad-signal",
];

/// The first error that makes `rbuild parse --json` refuse a file.
pub fn refusal(parsed: &Parsed) -> Option<&Diagnostic> {
    parsed
        .diagnostics
        .iter()
        .find(|diagnostic| diagnostic.is_error() && !NOT_SYNTAX.contains(&diagnostic.code))
}

/// Diagnostics as JSON, for `--format=json`.
pub fn diagnostics_to_json(diagnostics: &[Diagnostic], source: &str) -> Value {
    let index = LineIndex::new(source);
    let one = |diagnostic: &Diagnostic| {
        json!({
            "code": diagnostic.code,
            "severity": diagnostic.severity.to_string(),
            "message": diagnostic.message,
            "help": diagnostic.help,
            "span": span_json(diagnostic.span, &index),
        })
    };
    Value::Array(diagnostics.iter().map(one).collect())
}

fn statement_json(statement: &Statement, index: &LineIndex<'_>) -> Value {
    let mut object = Map::new();
    object.insert(
        "instruction".to_owned(),
        json!(statement.name().to_uppercase()),
    );
    object.insert("flags".to_owned(), texts(&statement.flags));
    let (arguments, is_json) = arguments(statement);
    object.insert("args".to_owned(), json!(arguments));
    if is_json {
        object.insert("json".to_owned(), json!(true));
    }
    let heredocs = statement
        .heredocs
        .iter()
        .map(|heredoc| heredoc_json(heredoc, index))
        .collect();
    object.insert("heredocs".to_owned(), Value::Array(heredocs));
    if let Some(child) = &statement.child {
        let mut child = statement_json(child, index);
        // The bodies follow the outer instruction, and are listed there.
        child["heredocs"] = json!([]);
        object.insert("child".to_owned(), child);
    }
    object.insert("span".to_owned(), span_json(statement.span, index));
    Value::Object(object)
}

/// The arguments as a flat list, and whether they were a JSON array.
fn arguments(statement: &Statement) -> (Vec<&str>, bool) {
    fn all(words: &[Spanned<String>]) -> Vec<&str> {
        words.iter().map(|word| word.value.as_str()).collect()
    }
    let some = |text: &'_ Spanned<String>| !text.value.is_empty();
    match &statement.arguments.shape {
        Shape::Text => (
            Some(&statement.arguments.text)
                .filter(|text| some(text))
                .map(|t| t.value.as_str())
                .into_iter()
                .collect(),
            false,
        ),
        Shape::Words(words) => (all(words), false),
        Shape::Json(words) => (all(words), true),
        Shape::Pairs { pairs, .. } => (
            pairs
                .iter()
                .flat_map(|(name, value)| [name.value.as_str(), value.value.as_str()])
                .collect(),
            false,
        ),
        Shape::Healthcheck {
            kind,
            json,
            command,
        } => {
            let mut list: Vec<&str> = kind.iter().map(|kind| kind.value.as_str()).collect();
            match json {
                Some(words) => list.extend(all(words)),
                None if some(command) => list.push(&command.value),
                None => {}
            }
            (list, json.is_some())
        }
        Shape::Child { .. } | Shape::Unknown => (Vec::new(), false),
    }
}

fn heredoc_json(heredoc: &Heredoc, index: &LineIndex<'_>) -> Value {
    let mut value = json!({
        "name": heredoc.name,
        "content": heredoc.content,
        "expand": heredoc.expand,
        "chomp": heredoc.strip_tabs,
        "span": span_json(heredoc.span, index),
        "content_span": span_json(heredoc.content_span, index),
    });
    if let (Some(fd), Some(object)) = (heredoc.fd, value.as_object_mut()) {
        object.insert("fd".to_owned(), json!(fd));
    }
    value
}

fn texts(words: &[Spanned<String>]) -> Value {
    words.iter().map(|word| word.value.clone()).collect()
}

fn span_json(span: Span, index: &LineIndex<'_>) -> Value {
    let (start, end) = (index.line_column(span.start), index.line_column(span.end));
    json!({
        "start": { "offset": span.start, "line": start.line, "column": start.column },
        "end": { "offset": span.end, "line": end.line, "column": end.column },
    })
}
