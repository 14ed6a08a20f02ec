//! The verbs, one file for each or for a family.

mod build;
mod call;
mod check;
mod context;
mod credential;
mod debug;
mod disk;
mod history;
mod images;
mod inspect;
mod load;
mod name;
mod pull;
mod push;
mod run;
mod save;

use crate::args::{Command, ContextCommand, DebugCommand};
use crate::exit::{Exit, Outcome};
use crate::session::Session;

/// Runs one verb.
pub(crate) fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Build(args) => build::run(&args, session),
        Command::Images(args) => images::run(&args, session),
        Command::Tag(args) => name::tag(&args, session),
        Command::Rmi(args) => name::remove(&args, session),
        Command::Inspect(args) => inspect::run(&args, session),
        Command::History(args) => history::run(&args, session),
        Command::Pull(args) => pull::run(&args, session),
        Command::Push(args) => push::run(&args, session),
        Command::Login(args) => credential::login(&args, session),
        Command::Logout(args) => credential::logout(&args, session),
        Command::Save(args) => save::run(&args, session),
        Command::Load(args) => load::run(&args, session),
        Command::Run(args) => run::run(&args, session),
        Command::Prune(args) => disk::prune(&args, session),
        Command::Df(args) => disk::usage(&args, session),
        Command::Check(args) => check::run(&args, session),
        Command::Parse(args) => debug::parse(&args, session),
        Command::Context(args) => match args.command {
            ContextCommand::Ls(args) => context::list(&args, session),
        },
        Command::Debug(args) => match args.command {
            DebugCommand::Ask => debug::ask(session),
        },
        Command::Version => {
            session
                .printer
                .line(&format!("rbuild {}", env!("CARGO_PKG_VERSION")))?;
            Ok(Exit::Done)
        }
    }
}
