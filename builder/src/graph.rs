//! The plan of a build: stages, and steps with nothing left to look up.

use std::sync::Arc;

use rbuild_image::{ImageConfig, Reference};
use rbuild_parser::Span;

use crate::base::BaseImage;
use crate::request::NetworkMode;

/// Names a step; an index into [`Graph::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub usize);

/// Everything that a build will do. Inputs come before: the order of steps is a build order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The steps of the stages that matter.
    pub steps: Vec<Step>,
    /// The stage whose image is wanted.
    pub target: StagePlan,
    /// How many stages the steps belong to.
    pub stages: usize,
}

/// One step: it takes a root file system and gives another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub op: Op,
    /// The step whose root file system it starts from; none for a base.
    pub parent: Option<StepId>,
    /// Where it stands in the Dockerfile.
    pub span: Span,
    /// Number of its stage among those that matter.
    pub stage: usize,
    /// Name of its stage in messages.
    pub stage_name: String,
    /// Number of the step in its stage, from 1.
    pub number: usize,
    /// `[build 2/5] RUN make`.
    pub name: String,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Starts from an image.
    Base(Arc<BaseImage>),
    /// Starts from nothing.
    Scratch,
    /// Runs a command.
    Run(RunSpec),
    /// Copies files.
    Copy(CopySpec),
    /// Makes the working directory.
    Workdir(WorkdirSpec),
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunSpec {
    /// Program and arguments, after `SHELL`.
    pub argv: Vec<String>,
    /// Variables that count for the key, in order.
    pub env: Vec<(String, String)>,
    /// Variables that do not count for the key: proxies that no `ARG` declares.
    pub uncounted_env: Vec<(String, String)>,
    /// Absolute working directory.
    pub workdir: String,
    /// `USER` as written; empty is root.
    pub user: String,
    /// Its network.
    pub network: NetworkMode,
    /// A script that is shown to the command at a path, read-only: a heredoc with an interpreter line.
    pub script: Option<Script>,
}

/// A file that only one command sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// Absolute path.
    pub path: String,
    /// Its text.
    pub text: String,
}

/// Files that are copied, for `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySpec {
    /// Where from.
    pub from: CopySource,
    /// Paths or patterns, expanded.
    pub paths: Vec<Located>,
    /// Files written in the Dockerfile: name and text.
    pub inline: Vec<(String, String)>,
    /// Destination, expanded, as written.
    pub destination: Located,
    /// Working directory that a relative destination starts from.
    pub workdir: String,
    /// `--chown`, expanded.
    pub chown: Option<Located>,
    /// `--chmod`, read.
    pub chmod: Option<crate::copy::ModeChange>,
    /// `--exclude`, expanded.
    pub excludes: Vec<String>,
    /// Whether archives are unpacked (`ADD`).
    pub unpack: bool,
}

/// A text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The text.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

/// Where files are copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopySource {
    /// The build context.
    Context,
    /// The root file system after a step.
    Step(StepId),
}

/// The working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkdirSpec {
    /// Absolute path, cleaned.
    pub path: String,
    /// `USER` as written, who owns what is made; empty is root.
    pub user: String,
}

/// What the image of a stage will say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagePlan {
    /// The last step.
    pub tip: StepId,
    /// The image it starts from, through stages; none for scratch.
    pub base: Option<Arc<BaseImage>>,
    /// The config, without layers, history and times.
    pub config: ImageConfig,
    /// One entry for each instruction that this Dockerfile added, oldest first.
    pub history: Vec<HistoryPlan>,
}

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPlan {
    /// The instruction.
    pub created_by: String,
    /// The step that may have made a layer.
    pub step: Option<StepId>,
}

/// A base image that the plan needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseName {
    /// Its name.
    pub reference: Reference,
    /// For what platform.
    pub platform: rbuild_image::Platform,
    /// Where it is asked for.
    pub span: Span,
}
