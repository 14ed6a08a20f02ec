//! Showing what goes on: a live display on a terminal, lines elsewhere, nothing, or JSON.

mod json;
mod live;
mod plain;
mod text;
mod transfer;
mod tty;

use std::sync::{Mutex, PoisonError};

use rbuild_builder::{BuildEvent, Observer};
use rbuild_parser::Diagnostic;

use crate::args::Progress;
use crate::printer::Printer;

pub(crate) use text::clean_lines;
pub(crate) use transfer::Transfers;

/// Shows the progress of a build, and keeps its warnings for the end.
#[derive(Debug)]
pub(crate) struct Display {
    mode: Mode,
    warnings: Mutex<Vec<Diagnostic>>,
}

#[derive(Debug)]
enum Mode {
    /// Nothing.
    Quiet,
    /// Lines.
    Plain(plain::Plain),
    /// A live display.
    Tty(tty::Tty),
    /// A line of JSON for each event.
    Json(json::Json),
}

impl Display {
    /// Starts to show; `mode` is what the user asked for.
    pub(crate) fn start(printer: Printer, mode: Progress) -> Self {
        let tty = mode == Progress::Tty || (mode == Progress::Auto && printer.is_terminal());
        Self {
            mode: match mode {
                Progress::Auto | Progress::Tty if tty => Mode::Tty(tty::Tty::start(printer)),
                Progress::Auto | Progress::Tty | Progress::Plain => {
                    Mode::Plain(plain::Plain::new(printer))
                }
                Progress::Quiet => Mode::Quiet,
                Progress::Rawjson => Mode::Json(json::Json::new(printer)),
            },
            warnings: Mutex::default(),
        }
    }

    /// Ends; nothing of the live display stays but what is finished. Hands out the warnings for people.
    pub(crate) fn finish(&self) -> Vec<Diagnostic> {
        if let Mode::Tty(tty) = &self.mode {
            tty.finish();
        }
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *warnings)
    }

    /// Whether the output of steps has been on the screen.
    pub(crate) const fn shows_output(&self) -> bool {
        matches!(self.mode, Mode::Plain(_) | Mode::Json(_))
    }
}

impl Observer for Display {
    fn on_event(&self, event: BuildEvent<'_>) {
        if let (BuildEvent::Warning(warning), Mode::Plain(_) | Mode::Tty(_)) = (&event, &self.mode)
        {
            self.warnings
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((*warning).clone());
        }
        match &self.mode {
            Mode::Quiet => {}
            Mode::Plain(plain) => plain.on_event(event),
            Mode::Tty(tty) => tty.on_event(event),
            Mode::Json(json) => json.on_event(event),
        }
    }
}
