//! Progress for programs: a line of JSON for each event, in the form of BuildKit's raw progress.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rbuild_builder::BuildEvent;
use rbuild_builder::sandbox::Stream;
use rbuild_image::Digest;
use serde_json::{Value, json};

use crate::printer::Printer;

/// Prints to standard error, as BuildKit's client does.
#[derive(Debug)]
pub(crate) struct Json {
    printer: Printer,
    steps: Mutex<BTreeMap<usize, (String, String)>>,
}

impl Json {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            printer,
            steps: Mutex::default(),
        }
    }

    pub(super) fn on_event(&self, event: BuildEvent<'_>) {
        let now = now();
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let line = match event {
            BuildEvent::StepStarted { step, name } => {
                steps.insert(step, (name.to_owned(), now.clone()));
                vertex(step, &steps, json!({}))
            }
            BuildEvent::StepOutput {
                step,
                stream,
                bytes,
            } => json!({ "logs": [{
                "vertex": digest(step, &steps),
                "stream": match stream { Stream::Stdout => 1, Stream::Stderr => 2 },
                "data": STANDARD.encode(bytes),
                "timestamp": now,
            }] }),
            BuildEvent::Transfer {
                step,
                label,
                done,
                total,
            } => json!({ "statuses": [{
                "id": label,
                "vertex": digest(step, &steps),
                "current": done,
                "total": total,
                "timestamp": now,
            }] }),
            BuildEvent::StepFinished { step, cached, .. } => {
                vertex(step, &steps, json!({ "completed": now, "cached": cached }))
            }
            BuildEvent::StepFailed { step, .. } => {
                vertex(step, &steps, json!({ "completed": now, "error": "failed" }))
            }
            BuildEvent::StepCancelled { step } => vertex(
                step,
                &steps,
                json!({ "completed": now, "error": "canceled" }),
            ),
            BuildEvent::Warning(diagnostic) => json!({ "warnings": [{
                "level": 1,
                "short": STANDARD.encode(&diagnostic.message),
                "code": diagnostic.code,
            }] }),
            _ => return,
        };
        self.printer.note(&line.to_string());
    }
}

fn vertex(step: usize, steps: &BTreeMap<usize, (String, String)>, more: Value) -> Value {
    let (name, started) = steps.get(&step).cloned().unwrap_or_default();
    let mut vertex = json!({
        "digest": digest(step, steps),
        "name": name,
        "started": started,
    });
    if let (Some(vertex), Value::Object(more)) = (vertex.as_object_mut(), more) {
        vertex.extend(more);
    }
    json!({ "vertexes": [vertex] })
}

/// A name for the step that is as unique as the step.
fn digest(step: usize, steps: &BTreeMap<usize, (String, String)>) -> Digest {
    let name = steps.get(&step).map_or("", |(name, _)| name.as_str());
    Digest::sha256(format!("{step} {name}"))
}

fn now() -> String {
    humantime::format_rfc3339_nanos(SystemTime::now()).to_string()
}
