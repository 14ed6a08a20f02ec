//! Progress as lines, in the form of BuildKit's plain progress.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rbuild_builder::{BuildEvent, Miss};

use super::text::Lines;
use crate::human;
use crate::printer::Printer;

/// Prints events as they come; output of parallel steps comes in blocks with a header each.
#[derive(Debug)]
pub(crate) struct Plain {
    printer: Printer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    steps: BTreeMap<usize, Step>,
    /// The step whose block is open.
    current: Option<usize>,
}

#[derive(Debug)]
struct Step {
    name: String,
    started: Instant,
    lines: Lines,
    /// Transfers that were told of.
    moved: BTreeSet<String>,
}

impl Plain {
    pub(super) fn new(printer: Printer) -> Self {
        Self {
            printer,
            state: Mutex::default(),
        }
    }

    pub(super) fn on_event(&self, event: BuildEvent<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        match event {
            BuildEvent::StepStarted { step, name } => {
                let started = Step {
                    name: name.to_owned(),
                    started: Instant::now(),
                    lines: Lines::default(),
                    moved: BTreeSet::new(),
                };
                state.steps.insert(step, started);
            }
            BuildEvent::StepMissed { step, reason } => {
                state.open(step, &mut out);
                if let Miss::Changed(reason) = reason {
                    let _ = writeln!(out, "#{} runs: {reason}", step + 1);
                }
            }
            BuildEvent::StepOutput { step, bytes, .. } => state.output(step, bytes, &mut out),
            BuildEvent::Transfer {
                step,
                label,
                done,
                total,
            } if total > 0 && done >= total => {
                let known = state.steps.get_mut(&step);
                if known.is_some_and(|known| known.moved.insert(label.to_owned())) {
                    state.open(step, &mut out);
                    let size = human::size(total);
                    let _ = writeln!(out, "#{} {label} {size} done", step + 1);
                }
            }
            BuildEvent::StepFinished {
                step,
                cached,
                duration,
            } => {
                let end = if cached {
                    "CACHED".to_owned()
                } else {
                    format!("DONE {}", human::seconds(duration))
                };
                state.close(step, &end, &mut out);
            }
            BuildEvent::StepFailed { step, duration } => {
                state.close(step, &failed(duration), &mut out);
            }
            BuildEvent::StepCancelled { step } => state.close(step, "CANCELED", &mut out),
            BuildEvent::Notice(text) => out.extend([text, "\n"]),
            _ => {}
        }
        if !out.is_empty() {
            self.printer.raw(&out);
        }
    }
}

fn failed(duration: Duration) -> String {
    format!("ERROR {}", human::seconds(duration))
}

impl State {
    /// Prints the header of a step, unless its block is open.
    fn open(&mut self, step: usize, out: &mut String) {
        if self.current == Some(step) {
            return;
        }
        if let Some(other) = self.current.replace(step) {
            let _ = write!(out, "#{} ...\n\n", other + 1);
        }
        let name = self.steps.get(&step).map_or("", |step| step.name.as_str());
        let _ = writeln!(out, "#{} {name}", step + 1);
    }

    fn output(&mut self, step: usize, bytes: &[u8], out: &mut String) {
        let mut lines = Vec::new();
        if let Some(step) = self.steps.get_mut(&step) {
            step.lines.push(bytes, |line| lines.push(line.to_owned()));
        }
        self.print(step, &lines, out);
    }

    fn print(&mut self, step: usize, lines: &[String], out: &mut String) {
        if lines.is_empty() {
            return;
        }
        self.open(step, out);
        let since = self.steps.get(&step).map(|step| step.started.elapsed());
        let since = since.unwrap_or_default().as_secs_f64();
        for line in lines {
            let _ = writeln!(out, "#{} {since:.3} {line}", step + 1);
        }
    }

    fn close(&mut self, step: usize, end: &str, out: &mut String) {
        let mut rest = Vec::new();
        if let Some(step) = self.steps.get_mut(&step) {
            step.lines.finish(|line| rest.push(line.to_owned()));
        }
        self.print(step, &rest, out);
        self.open(step, out);
        let _ = write!(out, "#{} {end}\n\n", step + 1);
        self.current = None;
        self.steps.remove(&step);
    }
}
