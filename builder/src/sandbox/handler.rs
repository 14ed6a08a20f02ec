//! The seam between the sandbox and whoever makes layers.

use std::error::Error;

use serde_json::Value;

use super::spec::{Outcome, OverlayMode, Request};

/// An error of a handler; its chain of causes is sent to the parent as text.
pub type HandlerError = Box<dyn Error + Send + Sync>;

/// The part of a step that the sandbox does not know: making the directories below the root, and
/// making a layer of what the command changed.
///
/// Both run in the helper process, with the ids of the sandbox (as root of its user namespace if
/// there is one) and outside the step's root. No thread may be left running when `prepare` returns:
/// the helper forks afterwards.
pub trait Handler {
    /// Runs before the command. May change the request, for instance fill in `step.lower`.
    fn prepare(&self, request: &mut Request, ctx: &Context<'_>) -> Result<(), HandlerError>;

    /// Runs after every process of the step has ended. `step.upper` holds the changes and nothing
    /// the sandbox made for itself.
    fn finish(
        &self,
        request: &Request,
        outcome: Option<Outcome>,
        ctx: &Context<'_>,
    ) -> Result<Value, HandlerError>;
}

/// What a handler may know and do besides its request.
pub struct Context<'a> {
    pub(super) overlay: OverlayMode,
    pub(super) emit: &'a dyn Fn(&Value),
}

impl Context<'_> {
    /// How opaque directories are marked in `step.upper`.
    pub fn overlay(&self) -> OverlayMode {
        self.overlay
    }

    /// Sends an event to `StepIo::on_event` of the caller.
    pub fn emit(&self, event: &Value) {
        (self.emit)(event);
    }
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("overlay", &self.overlay)
            .finish_non_exhaustive()
    }
}
