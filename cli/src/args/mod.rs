//! What can be typed: every verb and flag, parsed into types.

mod build;
mod call;
mod dialect;
mod image;
mod run;
mod secret;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use build::{
    BuildArgs, CheckArgs, CheckFormat, ContextArgs, ContextCommand, ContextLsArgs, NetworkChoice,
    Progress,
};
pub(crate) use call::CallMethod;
pub(crate) use dialect::{explain, remote_context, verbs, with_verb};
pub(crate) use image::{
    HistoryArgs, ImagesArgs, InspectArgs, LoadArgs, LoginArgs, LogoutArgs, OutputFormat, PullArgs,
    PushArgs, RmiArgs, SaveArgs, SaveFormat, TagArgs,
};
pub(crate) use run::RunArgs;

/// Builds images from Dockerfiles: no daemon, no root needed.
#[derive(Debug, Parser)]
#[command(
    name = "rbuild",
    version,
    propagate_version = false,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "`rbuild -t NAME .` is short for `rbuild build -t NAME .`"
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Flags of every verb.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
}

/// Flags of every verb.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// Directory of images and cache [default: `$RBUILD_ROOT`, `$XDG_DATA_HOME/rbuild` or `~/.local/share/rbuild`]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Whether to insist on TLS with valid certificates (registries on this machine never need them)
    #[arg(
        long,
        global = true,
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub(crate) tls_verify: bool,
    /// Directory of `config.json` with credentials [default: `$DOCKER_CONFIG` or `~/.docker`]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build an image from a Dockerfile
    #[command(visible_alias = "b")]
    Build(Box<BuildArgs>),
    /// List images
    #[command(visible_alias = "ls", alias = "list")]
    Images(ImagesArgs),
    /// Give an image one more name
    Tag(TagArgs),
    /// Remove images
    Rmi(RmiArgs),
    /// Show everything about images, as JSON
    Inspect(InspectArgs),
    /// Show the instructions an image was made by
    History(HistoryArgs),
    /// Fetch an image from a registry
    Pull(PullArgs),
    /// Send an image to a registry
    Push(PushArgs),
    /// Store credentials for a registry
    Login(LoginArgs),
    /// Forget the credentials for a registry
    Logout(LogoutArgs),
    /// Write images into an archive
    Save(SaveArgs),
    /// Read images from an archive
    Load(LoadArgs),
    /// Run a command in a throw-away container of an image
    Run(Box<RunArgs>),
    /// Remove what nothing needs
    Prune(PruneArgs),
    /// Show what images and cache take on disk
    Df(DfArgs),
    /// Check a Dockerfile without building
    #[command(visible_alias = "lint")]
    Check(CheckArgs),
    /// Print what a Dockerfile says, for tools
    Parse(ParseArgs),
    /// Show what belongs to a build context
    Context(ContextArgs),
    /// Answer questions about the language, for tools
    #[command(hide = true)]
    Debug(DebugArgs),
    /// Show the version
    Version,
}

/// `prune`
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Remove the build cache too, and everything that can be made again from what stays
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) force: bool,
}

/// `df`
#[derive(Debug, Args)]
pub(crate) struct DfArgs {
    /// How to print
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
}

/// `parse`
#[derive(Debug, Args)]
pub(crate) struct ParseArgs {
    /// Print JSON (the only form there is)
    #[arg(long, required = true)]
    pub(crate) json: bool,
    /// The Dockerfile; `-` is standard input
    #[arg(value_name = "FILE", default_value = "Dockerfile")]
    pub(crate) file: PathBuf,
}

/// `debug`
#[derive(Debug, Args)]
pub(crate) struct DebugArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: DebugCommand,
}

/// `debug …`
#[derive(Debug, Subcommand)]
pub(crate) enum DebugCommand {
    /// Read questions as lines of JSON, answer each with a line of JSON
    Ask,
}

impl Cli {
    /// Parses the arguments of the process. The error carries what clap wants to show.
    pub(crate) fn read(arguments: Vec<OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(with_verb(arguments))
    }
}

#[cfg(test)]
mod tests;
