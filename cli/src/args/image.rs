//! Flags of the verbs about images and registries.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use rbuild_image::{Platform, Reference};

use super::build::name;

/// How lists are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Columns for people.
    #[default]
    Table,
    /// A line of JSON for each entry.
    Json,
}

/// `images`
#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub(crate) struct ImagesArgs {
    /// Print image ids only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Print ids whole
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print digests of registries
    #[arg(long)]
    pub(crate) digests: bool,
    /// Accepted for docker's sake: rbuild keeps no intermediate images
    #[arg(long, short, hide = true)]
    pub(crate) all: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
    /// Only images of this repository, or this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) repository: Option<String>,
}

/// `tag`
#[derive(Debug, Args)]
pub(crate) struct TagArgs {
    /// Name or id of an image
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// The name to give
    #[arg(value_name = "NAME[:TAG]", value_parser = name)]
    pub(crate) target: Reference,
}

/// `rmi`
#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Remove an image by id even if it has several names
    #[arg(long, short)]
    pub(crate) force: bool,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// `inspect`
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// How to print
    #[arg(long, value_name = "FORMAT", value_parser = ["json"], default_value = "json")]
    pub(crate) format: String,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// `history`
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Print image ids only
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Print everything whole
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Print sizes and dates for people
    #[arg(
        long,
        short = 'H',
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub(crate) human: bool,
    /// How to print
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: OutputFormat,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
}

/// `pull`
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Print nothing but the name
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Platform to choose of an image for several
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    pub(crate) platform: Option<Platform>,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) name: Reference,
}

/// `push`
#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// Print nothing but the name
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Push all tags of the repository
    #[arg(long, short)]
    pub(crate) all_tags: bool,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]", value_parser = name)]
    pub(crate) name: Reference,
}

/// `login`
#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// Name of the account
    #[arg(long, short, value_name = "NAME")]
    pub(crate) username: Option<String>,
    /// Password; other users of the machine can see it here: better use --password-stdin
    #[arg(
        long,
        short,
        value_name = "PASSWORD",
        conflicts_with = "password_stdin"
    )]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
    /// The registry
    #[arg(value_name = "REGISTRY", default_value = rbuild_image::reference::DEFAULT_REGISTRY)]
    pub(crate) registry: String,
}

/// `logout`
#[derive(Debug, Args)]
pub(crate) struct LogoutArgs {
    /// The registry
    #[arg(value_name = "REGISTRY", default_value = rbuild_image::reference::DEFAULT_REGISTRY)]
    pub(crate) registry: String,
}

/// `save`
#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// Write to a file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Format of the archive
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) format: SaveFormat,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
}

/// Formats of archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum SaveFormat {
    /// What `docker load` reads, also an OCI layout.
    #[default]
    Docker,
    /// An OCI layout in a tar.
    Oci,
}

/// `load`
#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Read from a file instead of standard input
    #[arg(long, short, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Print nothing but names
    #[arg(long, short)]
    pub(crate) quiet: bool,
}
