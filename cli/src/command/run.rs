//! `run`
use crate::args::RunArgs;
use crate::exit::{Failure, Outcome};
use crate::session::Session;

pub(crate) fn run(_args: &RunArgs, _session: &Session) -> Outcome {
    Err(Failure::unable("not yet"))
}
