//! Pushing to and pulling from a registry through its outside address, to find what a proxy before it gets wrong.
//!
//! Every check tells what was seen, what that means for clients, and which setting of which proxy is the cause.
//! What was pushed is deleted at the end, whatever the outcome.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rbuild_image::RepositoryName;
use rbuild_registry_client::Secret;

mod advice;
mod answers;
mod outside;
mod reach;
mod uploads;
mod volume;

pub use advice::Advice;
use outside::{Failure, Outside};

/// What is looked at, and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Address of the registry, as `https://registry.example:5000`; without a scheme it is HTTPS.
    pub url: String,
    /// Where to push; a name of its own in `doctor/` if it is not given.
    pub repository: Option<RepositoryName>,
    /// Files of PEM certificates to trust besides the system's.
    pub authorities: Vec<PathBuf>,
    /// Name and password for Basic authentication.
    pub login: Option<(String, Secret)>,
    /// The largest blob that is pushed to find a limit of size, in bytes.
    pub largest_bytes: u64,
    /// How long a slow upload takes; it is not tried without.
    pub slow: Option<Duration>,
}

/// The default of [`Options::largest_bytes`].
pub const LARGEST_BYTES: u64 = 128 << 20;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Short name, stable for scripts.
    pub name: &'static str,
    /// What came out.
    pub verdict: Verdict,
}

/// What came out of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is as clients need it; what was seen.
    Good(String),
    /// It is not.
    Failed {
        /// What was seen.
        symptom: String,
        /// What it means and what to do.
        advice: Advice,
    },
    /// It was not looked at, and why.
    Skipped(String),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, text) = match &self.verdict {
            Verdict::Good(seen) => ("ok", seen),
            Verdict::Failed { symptom, .. } => ("FAILED", symptom),
            Verdict::Skipped(reason) => ("skipped", reason),
        };
        write!(f, "{word:<8}{:<15}{text}", self.name)?;
        if let Verdict::Failed { advice, .. } = &self.verdict {
            write!(f, "\n        {}", advice.meaning)?;
            for (program, setting) in advice.settings {
                write!(f, "\n          {program}: {setting}")?;
            }
        }
        Ok(())
    }
}

/// Why nothing could be looked at.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The address is none.
    #[error("`{url}` is no address of a registry: {reason}")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file of certificates cannot be used.
    #[error("cannot use the certificates in `{}`: {reason}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Nobody answers there.
    #[error("cannot reach `{url}`: {reason}")]
    Unreachable {
        /// The address.
        url: String,
        /// What failed, to the last cause.
        reason: String,
    },
    /// The registry wants to know who asks.
    #[error("`{url}` wants a login: {reason}")]
    Login {
        /// The address.
        url: String,
        /// Which, and how to give it.
        reason: &'static str,
    },
    /// It was stopped from outside; what was pushed is deleted.
    #[error("interrupted")]
    Interrupted,
    /// This machine failed.
    #[error("could not start")]
    Local(#[source] std::io::Error),
}

/// Where the checks go, one by one.
pub type Listener<'a> = &'a mut dyn FnMut(&Check);

/// Looks at everything, and returns how many checks failed.
///
/// Blocks; must not be called from async code.
pub fn doctor(options: &Options, listener: Listener<'_>) -> Result<usize, DoctorError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(DoctorError::Local)?;
    let outcome = runtime.block_on(examine(options, listener));
    // Requests that hang need not be waited for.
    runtime.shutdown_background();
    outcome
}

async fn examine(options: &Options, listener: Listener<'_>) -> Result<usize, DoctorError> {
    let report = Report {
        listener,
        failed: 0,
    };
    let mut examination = Examination {
        outside: Outside::new(options)?,
        repository: repository(options)?,
        options,
        report,
        left: Left::default(),
        is_ours: false,
    };
    let outcome = tokio::select! {
        outcome = examination.run() => outcome,
        stop = super::asked_to_stop() => Err(match stop {
            Ok(()) => DoctorError::Interrupted,
            Err(error) => DoctorError::Local(error),
        }),
    };
    examination.clean_up().await;
    outcome?;
    Ok(examination.report.failed)
}

fn repository(options: &Options) -> Result<String, DoctorError> {
    if let Some(name) = &options.repository {
        return Ok(name.to_string());
    }
    let id = rbuild_store::IngestId::random().map_err(DoctorError::Local)?;
    let id = id.as_str().to_ascii_lowercase();
    Ok(format!("doctor/{id}"))
}

struct Report<'a> {
    listener: Listener<'a>,
    failed: usize,
}

impl Report<'_> {
    fn add(&mut self, name: &'static str, verdict: Verdict) {
        self.failed += usize::from(matches!(verdict, Verdict::Failed { .. }));
        (self.listener)(&Check { name, verdict });
    }

    fn good(&mut self, name: &'static str, seen: impl Into<String>) {
        self.add(name, Verdict::Good(seen.into()));
    }

    fn failed(&mut self, name: &'static str, symptom: impl Into<String>, advice: Advice) {
        let symptom = symptom.into();
        self.add(name, Verdict::Failed { symptom, advice });
    }

    fn skipped(&mut self, name: &'static str, reason: impl Into<String>) {
        self.add(name, Verdict::Skipped(reason.into()));
    }
}

/// What has to be deleted at the end: paths, manifests before the blobs they hold.
#[derive(Debug, Default)]
struct Left {
    uploads: Vec<String>,
    manifests: Vec<String>,
    blobs: Vec<String>,
}

struct Examination<'a> {
    outside: Outside,
    repository: String,
    options: &'a Options,
    report: Report<'a>,
    left: Left,
    /// Whether the registry behind it all is ours, which promises more than the specification.
    is_ours: bool,
}

impl Examination<'_> {
    async fn run(&mut self) -> Result<(), DoctorError> {
        if !self.reach().await? {
            return Ok(());
        }
        if !self.location().await {
            return Ok(());
        }
        self.percent().await;
        self.sizes().await;
        self.chunked().await;
        self.buffering().await;
        self.parallel().await;
        self.http2().await;
        self.answers().await;
        self.slow().await;
        Ok(())
    }

    /// `/v2/<repository>/<rest>`.
    fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository)
    }

    async fn clean_up(&mut self) {
        let left = std::mem::take(&mut self.left);
        let mut deleted = 0;
        let mut refused = None;
        for path in left.uploads {
            // Most of them have ended; nobody else knows their names.
            drop(self.outside.delete(&path).await);
        }
        for path in left.manifests.into_iter().chain(left.blobs) {
            match self.outside.delete(&path).await {
                // What had another name before is gone already.
                Ok(answer) if matches!(answer.status, 200..300 | 404) => deleted += 1,
                Ok(answer) => refused = Some(answer.status.to_string()),
                Err(failure) => refused = Some(failure.to_string()),
            }
        }
        let repository = &self.repository;
        match refused {
            None if deleted == 0 => {}
            None => self.report.good(
                "delete",
                format!("everything that was pushed to `{repository}` is deleted"),
            ),
            Some(answer) if self.is_ours => self.report.failed(
                "delete",
                format!("DELETE was answered with {answer}; something stays in `{repository}`"),
                advice::METHODS,
            ),
            Some(answer) => self.report.skipped(
                "delete",
                format!("DELETE was answered with {answer}: this registry may not allow it, and something stays in `{repository}`"),
            ),
        }
    }
}

/// What a failed request looks like from outside.
fn symptom(failure: &Failure) -> String {
    format!("no answer: {failure}")
}
