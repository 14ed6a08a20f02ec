//! Flags of `build`, `check` and `context`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use rbuild_image::{Platform, Reference};

use super::call::Call;
use super::secret::SecretArg;

/// `build`
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct BuildArgs {
    /// Name of the image (can be repeated)
    #[arg(long, short, value_name = "NAME[:TAG]", value_parser = name)]
    pub(crate) tag: Vec<Reference>,
    /// Where the Dockerfile is
    #[command(flatten)]
    pub(crate) dockerfile: DockerfileArgs,
    /// Set a variable that the Dockerfile declares with ARG; without a value, take the environment's
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = assignment)]
    pub(crate) build_arg: Vec<(String, Option<String>)>,
    /// Build this stage instead of the last one
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Add a label to the image
    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment)]
    pub(crate) label: Vec<(String, Option<String>)>,
    /// Run every step, whatever the cache has
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Ask the registry for newer base images
    #[arg(long)]
    pub(crate) pull: bool,
    /// Platform to build for
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = platform)]
    pub(crate) platform: Option<Platform>,
    /// Print nothing but the image id
    #[arg(long, short, conflicts_with = "progress")]
    pub(crate) quiet: bool,
    /// Write the image id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what was built to a file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Network of RUN
    #[arg(long, value_name = "NETWORK", value_enum, default_value_t)]
    pub(crate) network: NetworkChoice,
    /// Give something secret to RUN --mount=type=secret (can be repeated)
    #[arg(long, value_name = "id=ID[,src=FILE|env=NAME]", value_parser = super::secret::parse)]
    pub(crate) secret: Vec<SecretArg>,
    /// How to show progress [default: `$BUILDKIT_PROGRESS` or `auto`]
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) progress: Option<Progress>,
    /// Check the Dockerfile instead of building it; the same as `--call=check`
    #[arg(long, conflicts_with = "call")]
    pub(crate) check: bool,
    /// What to do with the Dockerfile: build, check, outline or targets
    #[arg(long, value_name = "METHOD[,format=json]", value_parser = super::call::parse)]
    pub(crate) call: Option<Call>,
    /// Push the image under all its names when it is built
    #[arg(long, requires = "tag")]
    pub(crate) push: bool,
    /// Put the image into the local store (it always goes there)
    #[arg(long)]
    pub(crate) load: bool,
    /// Steps that may run at once [default: number of processors]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
}

/// Which Dockerfile, which context.
#[derive(Debug, Args)]
pub(crate) struct DockerfileArgs {
    /// The Dockerfile; `-` is standard input [default: CONTEXT/Dockerfile]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Directory that COPY and ADD take files from
    #[arg(value_name = "CONTEXT")]
    pub(crate) context: PathBuf,
}

/// `check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The Dockerfile; `-` is standard input [default: CONTEXT/Dockerfile]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How to print
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: CheckFormat,
    /// The build context, or a Dockerfile
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: PathBuf,
}

/// How `check` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum CheckFormat {
    /// Source excerpts.
    #[default]
    Text,
    /// One JSON array.
    Json,
}

/// `context`
#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: ContextCommand,
}

/// `context …`
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the files that a build may copy
    Ls(ContextLsArgs),
}

/// `context ls`
#[derive(Debug, Args)]
pub(crate) struct ContextLsArgs {
    /// The Dockerfile, for an ignore file that belongs to it
    #[arg(long, short, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Tell which line of the ignore file decides about a path, instead of listing
    #[arg(long, value_name = "PATH")]
    pub(crate) why: Vec<String>,
    /// The build context
    #[arg(value_name = "CONTEXT", default_value = ".")]
    pub(crate) context: PathBuf,
}

/// `--network`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum NetworkChoice {
    /// What is usual: the host's network.
    #[default]
    Default,
    /// The network of the host.
    Host,
    /// Nothing but loopback.
    None,
}

/// `--progress`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Progress {
    /// `tty` on a terminal, else `plain`.
    #[default]
    Auto,
    /// Live display.
    Tty,
    /// Lines.
    Plain,
    /// Nothing.
    Quiet,
    /// A line of JSON for each event.
    Rawjson,
}

/// `NAME[=VALUE]`
fn assignment(text: &str) -> Result<(String, Option<String>), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.trim().is_empty() {
        return Err("the name is missing".to_owned());
    }
    Ok((name.to_owned(), value))
}

/// A name for an image: no digest.
pub(crate) fn name(text: &str) -> Result<Reference, String> {
    let reference: Reference = text
        .parse()
        .map_err(|error: rbuild_image::ParseReferenceError| error.to_string())?;
    if reference.digest.is_some() {
        return Err("a name to give cannot have a digest".to_owned());
    }
    Ok(reference)
}

/// One platform.
fn platform(text: &str) -> Result<Platform, String> {
    if text.contains(',') {
        return Err("several platforms at once are not supported yet".to_owned());
    }
    text.parse()
        .map_err(|error: rbuild_image::platform::ParsePlatformError| error.to_string())
}
