//! Credential helpers: programs `docker-credential-<name>` that keep secrets (docker-credential-helpers, "protocol").

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;
use serde_json::json;

use super::entry;
use crate::Credential;
use crate::error::printable;

/// One helper program.
#[derive(Debug)]
pub(super) struct Helper {
    name: String,
    path: Option<OsString>,
}

/// Why a helper gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum HelperError {
    #[error("credential helper `{0}` is not installed (config.json names it)")]
    Missing(String),
    #[error("credential helper `{program}` cannot be run: {source}")]
    Run { program: String, source: io::Error },
    #[error("credential helper `{program} {action}` failed: {reason}")]
    Failed {
        program: String,
        action: &'static str,
        reason: String,
    },
}

impl From<HelperError> for io::Error {
    fn from(error: HelperError) -> Self {
        Self::other(error)
    }
}

impl Helper {
    /// A helper by the name that the file gives it.
    pub(super) fn new(name: &str, path: Option<OsString>) -> io::Result<Self> {
        // With a slash it would be a path, and not the name of a helper.
        if name.contains('/') || name.contains('\0') {
            let reason = format!(
                "`{}` is no name of a credential helper",
                printable(name, 80)
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(Self {
            name: name.to_owned(),
            path,
        })
    }

    pub(super) fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Credential>, HelperError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            #[serde(default)]
            username: String,
            #[serde(default)]
            secret: String,
        }
        let output = self.run("get", key)?;
        if !output.status.success() {
            return if is_not_found(&output) {
                Ok(None)
            } else {
                Err(self.failed("get", &output))
            };
        }
        let answer: Answer =
            serde_json::from_slice(&output.stdout).map_err(|_| HelperError::Failed {
                program: self.program(),
                action: "get",
                reason: "its answer is not the JSON of a credential".to_owned(),
            })?;
        // Some helpers know secrets without a user name: those are identity tokens, too.
        let username = if answer.username.is_empty() {
            entry::TOKEN_USER.to_owned()
        } else {
            answer.username
        };
        Ok(entry::from_pair(username, answer.secret))
    }

    pub(super) fn store(&self, key: &str, credential: &Credential) -> Result<(), HelperError> {
        let (username, secret) = match credential {
            Credential::Basic { username, password } => (username.as_str(), password),
            Credential::IdentityToken(token) | Credential::Bearer(token) => {
                (entry::TOKEN_USER, token)
            }
        };
        let order = json!({ "ServerURL": key, "Username": username, "Secret": secret.expose() });
        let output = self.run("store", &order.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(self.failed("store", &output))
        }
    }

    /// False: the helper had none.
    pub(super) fn erase(&self, key: &str) -> Result<bool, HelperError> {
        let output = self.run("erase", key)?;
        if output.status.success() {
            Ok(true)
        } else if is_not_found(&output) {
            Ok(false)
        } else {
            Err(self.failed("erase", &output))
        }
    }

    fn run(&self, action: &'static str, input: &str) -> Result<Output, HelperError> {
        let program = self.program();
        let mut command = Command::new(&program);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let child = command
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(HelperError::Missing(program));
            }
            Err(source) => return Err(HelperError::Run { program, source }),
        };
        let failed = |source| HelperError::Run {
            program: program.clone(),
            source,
        };
        // The input is less than a pipe holds, so that this cannot block; a helper that does not read it may be right.
        if let Some(mut stdin) = child.stdin.take()
            && let Err(error) = stdin.write_all(input.as_bytes())
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            drop(child.kill());
            drop(child.wait());
            return Err(failed(error));
        }
        child.wait_with_output().map_err(failed)
    }

    fn failed(&self, action: &'static str, output: &Output) -> HelperError {
        // Helpers explain themselves on standard output; on success secrets stand there, on failure they do not.
        let text = [&output.stdout, &output.stderr]
            .into_iter()
            .map(|bytes| printable(&String::from_utf8_lossy(bytes), 300))
            .find(|text| !text.is_empty());
        HelperError::Failed {
            program: self.program(),
            action,
            reason: text.unwrap_or_else(|| output.status.to_string()),
        }
    }
}

/// The words that all helpers share for "I have none".
fn is_not_found(output: &Output) -> bool {
    [&output.stdout, &output.stderr].into_iter().any(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        text.contains("credentials not found") || text.contains("no credentials server URL")
    })
}
