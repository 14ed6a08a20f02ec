//! Flags of `run`.

use clap::Args;

use super::build::NetworkChoice;

/// `run`
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Remove the container when it ends (always so)
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true,
          action = clap::ArgAction::Set, value_parser = only_true, value_name = "true")]
    pub(crate) rm: bool,
    /// Set an environment variable; without a value, take the caller's
    #[arg(long, short, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// User and group, by name or number
    #[arg(long, short, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(long, short, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Keep standard input open
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// Use the terminal
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Program to run instead of the image's; an empty one takes the image's away
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Network of the container
    #[arg(
        long,
        visible_alias = "net",
        value_name = "NETWORK",
        value_enum,
        default_value_t
    )]
    pub(crate) network: NetworkChoice,
    /// Name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// Arguments for the image's program
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub(crate) command: Vec<String>,
}

fn only_true(text: &str) -> Result<bool, String> {
    match text {
        "true" => Ok(true),
        _ => Err("containers are always removed when they end".to_owned()),
    }
}
