//! The typed instructions.

mod copy;
mod expose;
mod flag;
mod from;
mod healthcheck;
mod mount;
mod onbuild;
mod read;
mod run;
mod variable;

pub use copy::{Add, Copy, Sources};
pub use mount::{
    BindMount, CacheMount, Mount, MountOption, ResolvedMount, SecretMount, Sharing, SshMount,
    TmpfsMount,
};
pub(crate) use read::{NAMES, read};
pub use run::{Command, Device, Form, Heredoc, Network, Run, Script, Security};

use std::time::Duration;

use crate::span::Spanned;
use crate::word::Word;

/// One instruction of a Dockerfile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instruction {
    /// `FROM`: begins a stage.
    From(From),
    /// `ARG`: declares build arguments.
    Arg(Arg),
    /// `ENV`: sets environment variables.
    Env(Env),
    /// `LABEL`: sets image labels.
    Label(Label),
    /// `MAINTAINER`: sets the author of the image.
    Maintainer(Word),
    /// `WORKDIR`: sets and makes the working directory.
    Workdir(Word),
    /// `USER`: sets the user, and the group after a colon.
    User(Word),
    /// `COPY`.
    Copy(Box<Copy>),
    /// `ADD`.
    Add(Box<Add>),
    /// `RUN`.
    Run(Box<Run>),
    /// `CMD`.
    Cmd(Command),
    /// `ENTRYPOINT`.
    Entrypoint(Command),
    /// `SHELL`: the argument vector that shell forms are appended to.
    Shell(Spanned<Vec<String>>),
    /// `EXPOSE`: ports, ranges, protocols.
    Expose(Vec<Word>),
    /// `VOLUME`: mount points.
    Volume(Vec<Word>),
    /// `STOPSIGNAL`: a name or a number.
    StopSignal(Word),
    /// `HEALTHCHECK`.
    Healthcheck(Healthcheck),
    /// `ONBUILD`.
    Onbuild(Onbuild),
}

/// `FROM [--platform=P] IMAGE [AS NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct From {
    /// The image, the name of an earlier stage, or `scratch`.
    pub image: Word,
    /// The name of the stage, lower-cased.
    pub alias: Option<Spanned<String>>,
    /// `--platform`.
    pub platform: Option<Word>,
}

/// `ARG NAME[=DEFAULT] …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arg {
    /// The declarations, in order; a later one sees the values of the earlier ones.
    pub items: Vec<ArgItem>,
}

/// One declaration of an `ARG`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArgItem {
    /// The name.
    pub name: Spanned<String>,
    /// The default after `=`.
    pub default: Option<Word>,
}

/// `ENV NAME=VALUE …` or `ENV NAME VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Env {
    /// The pairs, in order; all see the values from before the line.
    pub pairs: Vec<Pair>,
    /// Whether the form without `=` was used.
    pub legacy: bool,
}

/// `LABEL NAME=VALUE …` or `LABEL NAME VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The pairs, in order.
    pub pairs: Vec<Pair>,
    /// Whether the form without `=` was used.
    pub legacy: bool,
}

/// A name and its value; both may hold variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Left of `=`.
    pub key: Word,
    /// Right of `=`.
    pub value: Word,
}

/// `HEALTHCHECK [OPTIONS] CMD …` or `HEALTHCHECK NONE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is run.
    pub test: HealthcheckTest,
    /// `--interval`; absent or zero leaves the base's.
    pub interval: Option<Duration>,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--start-period`.
    pub start_period: Option<Duration>,
    /// `--start-interval`.
    pub start_interval: Option<Duration>,
    /// `--retries`.
    pub retries: Option<u32>,
}

/// What a health check runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthcheckTest {
    /// `NONE`: switches off the base's check.
    None,
    /// `CMD`: the shell form is stored as `CMD-SHELL`, the exec form as `CMD`.
    Command(Command),
}

/// `ONBUILD INSTRUCTION`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Onbuild {
    /// The trigger as it is stored in the image config.
    pub text: String,
    /// The trigger, read; absent when it cannot be, which is only a warning here.
    pub instruction: Option<Box<Spanned<Instruction>>>,
}
