//! Showing what goes on: a live display on a terminal, lines elsewhere, nothing, or JSON.

mod json;
mod live;
mod plain;
mod text;
mod transfer;
mod tty;

use rbuild_builder::{BuildEvent, Observer};

use crate::args::Progress;
use crate::printer::Printer;

pub(crate) use text::clean_lines;
pub(crate) use transfer::Transfers;

/// Shows the progress of a build.
#[derive(Debug)]
pub(crate) enum Display {
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
        match mode {
            Progress::Auto if printer.is_terminal() => Self::Tty(tty::Tty::start(printer)),
            Progress::Tty => Self::Tty(tty::Tty::start(printer)),
            Progress::Auto | Progress::Plain => Self::Plain(plain::Plain::new(printer)),
            Progress::Quiet => Self::Quiet,
            Progress::Rawjson => Self::Json(json::Json::new(printer)),
        }
    }

    /// Ends; nothing of the live display stays but what is finished.
    pub(crate) fn finish(&self) {
        if let Self::Tty(tty) = self {
            tty.finish();
        }
    }

    /// Whether the output of steps has been on the screen.
    pub(crate) const fn shows_output(&self) -> bool {
        matches!(self, Self::Plain(_) | Self::Json(_))
    }
}

impl Observer for Display {
    fn on_event(&self, event: BuildEvent<'_>) {
        match self {
            Self::Quiet => {}
            Self::Plain(plain) => plain.on_event(event),
            Self::Tty(tty) => tty.on_event(event),
            Self::Json(json) => json.on_event(event),
        }
    }
}
