//! What the caller asks for.

use std::path::PathBuf;

use rbuild_image::{Platform, Reference};

/// One build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The Dockerfile.
    pub dockerfile: Dockerfile,
    /// Directory of the build context; none when there is no context.
    pub context: Option<PathBuf>,
    /// The ignore file that holds for the context.
    pub ignore: Option<IgnoreFile>,
    /// `--build-arg`: names and values; a later one wins.
    pub build_args: Vec<(String, String)>,
    /// `--target`: name or number of a stage; the last one when absent.
    pub target: Option<String>,
    /// `--label`: added to the image last.
    pub labels: Vec<(String, String)>,
    /// Runs every step; results are still recorded.
    pub no_cache: bool,
    /// When a registry is asked for base images.
    pub pull: PullPolicy,
    /// What the image is for.
    pub platform: Platform,
    /// Network of steps that do not say otherwise.
    pub network: NetworkMode,
    /// What `RUN --mount=type=secret` can ask for: names and contents. They are in no key and in no layer.
    pub secrets: Vec<Secret>,
    /// Names that the image gets.
    pub names: Vec<Reference>,
    /// How many steps may run at once; at least one.
    pub jobs: usize,
    /// `SOURCE_DATE_EPOCH`: seconds since the Unix epoch that image times show instead of the clock.
    pub epoch: Option<i64>,
}

/// Something that a command may see and nothing keeps.
#[derive(Clone)]
pub struct Secret {
    /// The name by which mounts ask for it.
    pub id: String,
    /// What it is.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A Dockerfile and the name that messages give it.
#[derive(Debug, Clone)]
pub struct Dockerfile {
    /// As the user would name it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// An ignore file and the name that messages give it.
#[derive(Debug, Clone)]
pub struct IgnoreFile {
    /// As the user would name it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// When a registry is asked for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// When the local store does not have it.
    #[default]
    Missing,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Network of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkMode {
    /// The host's.
    #[default]
    Host,
    /// Loopback only.
    None,
}
