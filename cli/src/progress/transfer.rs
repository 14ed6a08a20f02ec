//! Showing the bytes of a pull or push.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rbuild_image::{Descriptor, Digest};
use rbuild_registry_client::{Observer, TransferEvent};

use super::live::{Line, Live};
use crate::human;
use crate::printer::Printer;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// Shows transfers: live on a terminal, else a line for each that is over.
#[derive(Debug)]
pub(crate) struct Transfers {
    printer: Printer,
    mode: Mode,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quiet,
    Lines,
    Live,
}

#[derive(Debug)]
struct State {
    live: Live,
    verb: &'static str,
    running: BTreeMap<Digest, (u64, u64)>,
    done: Vec<Line>,
    drawn: Instant,
}

impl Transfers {
    /// Starts to show; `verb` is `pull` or `push`.
    pub(crate) fn start(printer: Printer, quiet: bool, verb: &'static str) -> Self {
        Self {
            printer,
            mode: match (quiet, printer.is_terminal()) {
                (true, _) => Mode::Quiet,
                (false, true) => Mode::Live,
                (false, false) => Mode::Lines,
            },
            state: Mutex::new(State {
                live: Live::new(printer),
                verb,
                running: BTreeMap::new(),
                done: Vec::new(),
                drawn: Instant::now(),
            }),
        }
    }

    /// Ends; nothing of the live display stays but what is done.
    pub(crate) fn finish(&self) {
        if self.mode == Mode::Live {
            let mut state = self.lock();
            state.running.clear();
            state.draw();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Transfers {
    fn on_event(&self, event: &TransferEvent<'_>) {
        if self.mode == Mode::Quiet {
            return;
        }
        let mut state = self.lock();
        let over = match event {
            TransferEvent::Started { descriptor } => {
                state
                    .running
                    .insert(descriptor.digest, (0, descriptor.size));
                None
            }
            TransferEvent::Progress { descriptor, done } => {
                state
                    .running
                    .insert(descriptor.digest, (*done, descriptor.size));
                None
            }
            TransferEvent::Exists { descriptor } => Some((descriptor, "already exists".to_owned())),
            TransferEvent::Mounted { descriptor, from } => {
                Some((descriptor, format!("mounted from {from}")))
            }
            TransferEvent::Done { descriptor } => Some((
                descriptor,
                format!("{}ed {}", state.verb, human::size(descriptor.size)),
            )),
            TransferEvent::Retrying { what, error, delay } => {
                let text = format!(
                    "{what}: {error}; trying again in {}",
                    human::seconds(*delay)
                );
                self.say(&mut state, text);
                None
            }
            _ => None,
        };
        if let Some((descriptor, text)) = over {
            let descriptor: &Descriptor = descriptor;
            state.running.remove(&descriptor.digest);
            self.say(&mut state, format!("{}: {text}", descriptor.digest.short()));
        }
        if self.mode == Mode::Live && state.drawn.elapsed() >= FRAME {
            state.draw();
        }
    }
}

impl Transfers {
    fn say(&self, state: &mut State, text: String) {
        match self.mode {
            Mode::Live => state.done.push(Line::new(text, "")),
            Mode::Lines => self.printer.note(&text),
            Mode::Quiet => {}
        }
    }
}

impl State {
    fn draw(&mut self) {
        let (_, rows) = Live::size();
        let frame: Vec<Line> = self
            .running
            .iter()
            .take(rows.saturating_sub(2).max(1))
            .map(|(digest, (done, total))| {
                Line::new(
                    format!(
                        "{}: {}ing {}",
                        digest.short(),
                        self.verb,
                        bar(*done, *total)
                    ),
                    format!("{} / {}", human::size(*done), human::size(*total)),
                )
            })
            .collect();
        let done = std::mem::take(&mut self.done);
        self.live.draw(&done, &frame);
        self.drawn = Instant::now();
    }
}

const BAR: u8 = 30;

fn bar(done: u64, total: u64) -> String {
    let full = done.saturating_mul(u64::from(BAR)) / total.max(1);
    let full = u8::try_from(full).unwrap_or(BAR).min(BAR);
    let signs = |sign: &str, count: u8| sign.repeat(usize::from(count));
    format!("[{}{}]", signs("=", full), signs(" ", BAR - full))
}
