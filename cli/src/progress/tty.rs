//! The live display of a build.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rbuild_builder::{BuildEvent, Miss};

use super::live::{Line, Live};
use super::text::Lines;
use crate::human;
use crate::printer::{Printer, Style};

/// Lines of output shown of each running step.
const TAIL: usize = 6;
/// Time between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// Draws frames from a thread of its own, so that clocks go on when nothing happens.
#[derive(Debug)]
pub(crate) struct Tty {
    shared: Arc<Shared>,
    drawer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    live: Live,
    started: Instant,
    planned: usize,
    finished: usize,
    steps: BTreeMap<usize, Step>,
    /// Lines that stay, not yet drawn.
    done: Vec<Line>,
    over: bool,
}

#[derive(Debug)]
struct Step {
    name: String,
    started: Instant,
    lines: Lines,
    tail: VecDeque<String>,
    transfers: BTreeMap<String, (u64, u64)>,
    /// Why it runs, where that is asked for.
    reason: Option<String>,
}

impl Tty {
    pub(super) fn start(printer: Printer) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                live: Live::new(printer),
                started: Instant::now(),
                planned: 0,
                finished: 0,
                steps: BTreeMap::new(),
                done: Vec::new(),
                over: false,
            }),
            changed: Condvar::new(),
        });
        let drawer = Arc::clone(&shared);
        let drawer = std::thread::Builder::new()
            .name("display".to_owned())
            .spawn(move || drawer.draw_until_over());
        Self {
            shared,
            // Without a thread there are no frames; what is finished is still shown at the end.
            drawer: Mutex::new(drawer.ok()),
        }
    }

    pub(super) fn finish(&self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_all();
        let drawer = self
            .drawer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(drawer) = drawer {
            // A display that failed is no reason for the build to fail.
            let _ = drawer.join();
        }
        let mut state = self.shared.lock();
        let done = std::mem::take(&mut state.done);
        state.live.draw(&done, &[]);
    }

    pub(super) fn on_event(&self, event: BuildEvent<'_>) {
        let mut state = self.shared.lock();
        match event {
            BuildEvent::Planned { steps } => state.planned = steps,
            BuildEvent::StepStarted { step, name } => {
                let step_state = Step {
                    name: name.to_owned(),
                    started: Instant::now(),
                    lines: Lines::default(),
                    tail: VecDeque::new(),
                    transfers: BTreeMap::new(),
                    reason: None,
                };
                state.steps.insert(step, step_state);
            }
            BuildEvent::StepMissed {
                step,
                reason: Miss::Changed(reason),
            } => {
                if let Some(step) = state.steps.get_mut(&step) {
                    step.reason = Some(reason.to_owned());
                }
            }
            BuildEvent::StepOutput { step, bytes, .. } => {
                if let Some(Step { lines, tail, .. }) = state.steps.get_mut(&step) {
                    lines.push(bytes, |line| {
                        if tail.len() == TAIL {
                            tail.pop_front();
                        }
                        tail.push_back(line.to_owned());
                    });
                }
            }
            BuildEvent::Transfer {
                step,
                label,
                done,
                total,
            } => {
                if let Some(step) = state.steps.get_mut(&step) {
                    step.transfers.insert(label.to_owned(), (done, total));
                }
            }
            BuildEvent::StepFinished {
                step,
                cached,
                duration,
            } => state.end(
                step,
                if cached { "CACHED " } else { "" },
                duration,
                Some(Style::Good),
            ),
            BuildEvent::StepFailed { step, duration } => {
                state.end(step, "ERROR ", duration, Some(Style::Error));
            }
            BuildEvent::StepCancelled { step } => {
                let since = state.steps.get(&step).map(|step| step.started.elapsed());
                state.end(
                    step,
                    "CANCELED ",
                    since.unwrap_or_default(),
                    Some(Style::Warning),
                );
            }
            BuildEvent::Notice(text) => state.done.push(Line::new(format!(" => {text}"), "")),
            // Warnings are shown whole when the build is over; a missing record is for the plain display.
            _ => {}
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw_until_over(&self) {
        let mut state = self.lock();
        // A build that is over in a moment shows its result and no frame.
        loop {
            let waited = self.changed.wait_timeout(state, FRAME);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.over {
                state.live.clear();
                return;
            }
            let frame = state.frame();
            let done = std::mem::take(&mut state.done);
            state.live.draw(&done, &frame);
        }
    }
}

impl State {
    fn end(&mut self, step: usize, mark: &str, duration: Duration, style: Option<Style>) {
        let Some(step) = self.steps.remove(&step) else {
            return;
        };
        self.finished += 1;
        let mut line = Line::new(format!(" => {mark}{}", step.name), human::seconds(duration));
        line.style = style;
        self.done.push(line);
        if let Some(reason) = step.reason {
            self.done
                .push(Line::new(format!("    it ran: {reason}"), "").styled(Style::Dim));
        }
    }

    fn frame(&self) -> Vec<Line> {
        let (_, rows) = Live::size();
        // The first line, and one that stays free for what the user types.
        let mut room = rows.saturating_sub(2).max(1);
        let mut lines = vec![
            Line::new(
                format!(
                    "[+] Building ({}/{})",
                    self.finished,
                    self.planned.max(self.finished)
                ),
                human::seconds(self.started.elapsed()),
            )
            .styled(Style::Bold),
        ];
        for step in self.steps.values() {
            if room == 0 {
                break;
            }
            room -= 1;
            lines.push(Line::new(
                format!(" => {}", step.name),
                human::seconds(step.started.elapsed()),
            ));
            let details = step.details();
            // Each step that waits below needs a line as well.
            let shown = details.len().min(room.saturating_sub(self.steps.len() - 1));
            lines.extend(details[details.len() - shown..].iter().cloned());
            room -= shown;
        }
        lines
    }
}

impl Step {
    fn details(&self) -> Vec<Line> {
        let mut details: Vec<Line> = self
            .transfers
            .iter()
            .filter(|(_, (done, total))| *total == 0 || done < total)
            .map(|(label, (done, total))| {
                let amount = if *total == 0 {
                    human::size(*done)
                } else {
                    format!("{} / {}", human::size(*done), human::size(*total))
                };
                Line::new(format!(" => => {label}"), amount)
            })
            .collect();
        let partial = self.lines.partial();
        details.extend(
            self.tail
                .iter()
                .chain(partial.iter())
                .map(|line| Line::new(format!(" => => # {line}"), "").styled(Style::Dim)),
        );
        details
    }
}
