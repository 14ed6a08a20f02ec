//! Why a build ended without an image.

use std::io;

use rbuild_parser::Diagnostic;

use crate::sandbox::Outcome;

/// Why a build ended without an image.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile, or what it asks for, is wrong. Spans are places in the Dockerfile.
    #[error("{}", first(.0))]
    Diagnostics(Vec<Diagnostic>),
    /// A command of the Dockerfile failed.
    #[error("{}", .0.diagnostic)]
    Step(Box<StepFailure>),
    /// Something of the machine failed: disk, kernel, a process.
    #[error("{what}")]
    System {
        /// What failed, with the name of the thing.
        what: String,
        /// What the user can do.
        hint: Option<String>,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The caller cancelled the build.
    #[error("cancelled")]
    Cancelled,
}

/// A command that failed.
#[derive(Debug)]
pub struct StepFailure {
    /// `[build 2/5] RUN make`.
    pub name: String,
    /// What failed and where.
    pub diagnostic: Diagnostic,
    /// How the command ended.
    pub outcome: Outcome,
    /// The last output, whole lines.
    pub tail: Vec<u8>,
}

fn first(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .first()
        .map_or_else(|| "the build failed".to_owned(), ToString::to_string)
}

impl From<Diagnostic> for BuildError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Diagnostics(vec![diagnostic])
    }
}

/// Adds what was being done to an I/O error.
pub(crate) trait Doing<T> {
    /// Names what failed.
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, BuildError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, BuildError> {
        self.map_err(|source| {
            let hint = (source.kind() == io::ErrorKind::StorageFull).then(|| {
                "free some space (`rbuild prune` removes what no image needs), then build again"
                    .to_owned()
            });
            BuildError::System {
                what: what(),
                hint,
                source,
            }
        })
    }
}
