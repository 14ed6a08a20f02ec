//! The plan of a build: stages, and steps with nothing left to look up.

use std::sync::Arc;

use rbuild_image::{ImageConfig, Reference};
use rbuild_parser::{Sharing, Span};

use crate::base::BaseImage;
use crate::request::NetworkMode;

/// Names a step; an index into [`Graph::steps`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StepId(pub(crate) usize);

/// Everything that a build will do. Inputs come before: the order of steps is a build order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Graph {
    /// The steps of the stages that matter.
    pub(crate) steps: Vec<Step>,
    /// The stage whose image is wanted.
    pub(crate) target: StagePlan,
    /// How many stages the steps belong to.
    pub(crate) stages: usize,
}

/// One step: it takes a root file system and gives another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// What is done.
    pub(crate) op: Op,
    /// The step whose root file system it starts from; none for a base.
    pub(crate) parent: Option<StepId>,
    /// Where it stands in the Dockerfile.
    pub(crate) span: Span,
    /// Number of its stage among those that matter.
    pub(crate) stage: usize,
    /// Name of its stage in messages.
    pub(crate) stage_name: String,
    /// Number of the step in its stage, from 1.
    pub(crate) number: usize,
    /// `[build 2/5] RUN make`.
    pub(crate) name: String,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
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
    /// What it sees besides its root file system.
    pub mounts: Vec<MountSpec>,
    /// A script that is shown to the command at a path, read-only: a heredoc with an interpreter line.
    pub script: Option<Script>,
}

/// Something that a command sees besides its root file system. Targets are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSpec {
    /// Files of another step.
    Bind {
        /// The step.
        from: StepId,
        /// Path in its root file system.
        source: String,
        /// Where it appears.
        target: String,
        /// Whether writing fails; otherwise what is written is thrown away.
        read_only: bool,
    },
    /// A directory that is kept from one build to the next.
    Cache {
        /// Its name.
        id: String,
        /// Where it appears.
        target: String,
        /// Who may use it at a time.
        sharing: Sharing,
        /// Whether writing fails.
        read_only: bool,
        /// Mode of a directory made anew.
        mode: u32,
        /// Owner of a directory made anew.
        uid: u32,
        /// Group of a directory made anew.
        gid: u32,
    },
    /// An empty file system in memory.
    Tmpfs {
        /// Where it appears.
        target: String,
        /// Upper bound in bytes.
        size: Option<u64>,
    },
    /// Something secret, as a file in memory, a variable, or both.
    Secret {
        /// The name by which the caller gave it.
        id: String,
        /// Where the file appears.
        target: Option<String>,
        /// The variable.
        env: Option<String>,
        /// Whether the step fails when it was not given.
        required: bool,
        /// Mode of the file.
        mode: u32,
        /// Owner of the file.
        uid: u32,
        /// Group of the file.
        gid: u32,
    },
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
pub(crate) struct CopySpec {
    /// Where from.
    pub(crate) from: CopySource,
    /// Paths or patterns, expanded.
    pub(crate) paths: Vec<Located>,
    /// Files written in the Dockerfile: name and text.
    pub(crate) inline: Vec<(String, String)>,
    /// Destination, expanded, as written.
    pub(crate) destination: Located,
    /// Working directory that a relative destination starts from.
    pub(crate) workdir: String,
    /// `--chown`, expanded.
    pub(crate) chown: Option<Located>,
    /// `--chmod`, read.
    pub(crate) chmod: Option<crate::copy::ModeChange>,
    /// `--exclude`, expanded.
    pub(crate) excludes: Vec<String>,
    /// Whether archives are unpacked (`ADD`).
    pub(crate) unpack: bool,
}

/// A text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    /// The text.
    pub(crate) text: String,
    /// Where it stands.
    pub(crate) span: Span,
}

/// Where files are copied from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CopySource {
    /// The build context.
    Context,
    /// The root file system after a step.
    Step(StepId),
}

/// The working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WorkdirSpec {
    /// Absolute path, cleaned.
    pub(crate) path: String,
    /// `USER` as written, who owns what is made; empty is root.
    pub(crate) user: String,
}

/// What the image of a stage will say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StagePlan {
    /// The last step.
    pub(crate) tip: StepId,
    /// The image it starts from, through stages; none for scratch.
    pub(crate) base: Option<Arc<BaseImage>>,
    /// The config, without layers, history and times.
    pub(crate) config: ImageConfig,
    /// One entry for each instruction that this Dockerfile added, oldest first.
    pub(crate) history: Vec<HistoryPlan>,
}

/// One entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HistoryPlan {
    /// The instruction.
    pub(crate) created_by: String,
    /// The step that may have made a layer.
    pub(crate) step: Option<StepId>,
}

/// A base image that the plan needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BaseName {
    /// Its name.
    pub(crate) reference: Reference,
    /// For what platform.
    pub(crate) platform: rbuild_image::Platform,
    /// Where it is asked for.
    pub(crate) span: Span,
    /// An earlier stage of nearly that name, which may be meant.
    pub(crate) near_stage: Option<String>,
}
