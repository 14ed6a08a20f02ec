//! The real executor: commands run in the sandbox, layers are unpacked for them and made of what they change.
//!
//! Everything that touches unpacked layers happens in the helper process, because only there are the ids right:
//! as an ordinary user those directories belong to subordinate ids.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_cache::LayerRecord;
use rbuild_image::Digest;
use serde_json::Value;

use super::work::{Work, Worker};
use super::{Command, ExecError, Executed, Executor};
use crate::graph::RunSpec;
use crate::request::NetworkMode;
use crate::sandbox::{
    CancelToken, DEFAULT_SHM_SIZE, Identity, Network, Outcome, Report, Request, ResolvedUser,
    Sandbox, SandboxConfig, SandboxError, SandboxMount, Stdio, StepIo, StepSpec, Stream, detect,
};
use rbuild_store::local::LocalStore;

/// The host name that commands of a build see.
const HOSTNAME: &str = "buildkitsandbox";

/// Runs commands in the sandbox; finds out how at the first one.
#[derive(Debug)]
pub struct SandboxedExecutor {
    store: LocalStore,
    helper: PathBuf,
    sandbox: Mutex<Option<Arc<Sandbox>>>,
}

/// A command in the foreground, on the layers of an image: `rbuild run`. Its changes are thrown away.
#[derive(Debug, Clone)]
pub struct Container {
    /// The layers, lowest first.
    pub layers: Vec<LayerRecord>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Absolute working directory; made when it is missing.
    pub workdir: String,
    /// Who runs it.
    pub user: ResolvedUser,
    /// Its network.
    pub network: NetworkMode,
    /// Its host name.
    pub hostname: String,
}

impl SandboxedExecutor {
    /// An executor over `store` that starts `helper` (normally `/proc/self/exe`) with the hidden verb.
    pub fn new(store: LocalStore, helper: PathBuf) -> Self {
        Self {
            store,
            helper,
            sandbox: Mutex::new(None),
        }
    }

    /// Runs a container with the caller's own standard streams, and hands on how it ended.
    pub fn run_container(
        &self,
        container: &Container,
        cancel: &CancelToken,
    ) -> Result<Outcome, ExecError> {
        let spec = RunSpec {
            argv: container.argv.clone(),
            env: container.env.clone(),
            uncounted_env: Vec::new(),
            workdir: container.workdir.clone(),
            user: String::new(),
            network: container.network,
            mounts: Vec::new(),
            script: None,
        };
        let mut step = step(&spec, container.env.clone(), container.user.clone());
        step.hostname.clone_from(&container.hostname);
        let work = Work::discard(&self.store, &container.layers);
        let report = self.send(Some(step), Stdio::Inherited, &work, &mut |_, _| {}, cancel)?;
        report.outcome.ok_or_else(|| lost("it reported no outcome"))
    }

    /// Removes unpacked layers and what killed builds left behind; as an ordinary user this needs the sandbox's ids.
    ///
    /// `keep` are the diff ids and chain ids whose snapshots stay. No build may run. Returns how many went.
    pub fn sweep_snapshots(
        &self,
        keep: Vec<Digest>,
        cancel: &CancelToken,
    ) -> Result<u64, ExecError> {
        let work = Work::sweep(&self.store, keep);
        let report = self.send(None, Stdio::Piped, &work, &mut |_, _| {}, cancel)?;
        report
            .value
            .as_u64()
            .ok_or_else(|| lost("it did not say what it removed"))
    }

    fn sandbox(&self) -> Result<Arc<Sandbox>, SandboxError> {
        let mut sandbox = self.sandbox.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sandbox) = &*sandbox {
            return Ok(Arc::clone(sandbox));
        }
        let identity: Identity = detect(&self.helper)?;
        let found = Arc::new(Sandbox::new(SandboxConfig {
            helper: self.helper.clone(),
            identity,
        }));
        *sandbox = Some(Arc::clone(&found));
        Ok(found)
    }

    fn send(
        &self,
        step: Option<StepSpec>,
        stdio: Stdio,
        work: &Work,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelToken,
    ) -> Result<Report, ExecError> {
        let payload = serde_json::to_value(work).map_err(io::Error::other)?;
        let request = Request {
            step,
            stdio,
            payload,
        };
        Ok(self.sandbox()?.run(&request, &mut Output(output), cancel)?)
    }
}

impl Executor for SandboxedExecutor {
    fn run(
        &self,
        command: &Command<'_>,
        output: &mut dyn FnMut(Stream, &[u8]),
        cancel: &CancelToken,
    ) -> Result<Executed, ExecError> {
        let step = step(command.spec, command.env.clone(), command.user.clone());
        let work = Work::step(&self.store, command.layers, command.mounts.clone());
        let report = self.send(Some(step), Stdio::Piped, &work, output, cancel)?;
        let outcome = report
            .outcome
            .ok_or_else(|| lost("it reported no outcome"))?;
        let layer = match report.value {
            Value::Null => None,
            value => Some(serde_json::from_value(value).map_err(io::Error::other)?),
        };
        Ok(Executed { outcome, layer })
    }
}

/// The whole life of a helper process: the program hands control here when its first argument is
/// [`HELPER_VERB`](crate::sandbox::HELPER_VERB), before it starts any thread.
pub fn helper_main() -> ExitCode {
    crate::sandbox::helper_main(&Worker::default())
}

/// The request for a command. Where its layers are unpacked the helper finds out itself.
fn step(spec: &RunSpec, env: Vec<(String, String)>, user: ResolvedUser) -> StepSpec {
    let script = spec.script.as_ref().map(|script| SandboxMount::File {
        target: script.path.clone(),
        content: script.text.clone().into_bytes(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    });
    StepSpec {
        lower: Vec::new(),
        upper: PathBuf::new(),
        work: PathBuf::new(),
        argv: spec.argv.clone(),
        env,
        workdir: spec.workdir.clone(),
        user,
        network: match spec.network {
            NetworkMode::Host => Network::Host,
            NetworkMode::None => Network::None,
        },
        hostname: HOSTNAME.to_owned(),
        extra_hosts: Vec::new(),
        mounts: script.into_iter().collect(),
        limits: Vec::new(),
        shm_size: DEFAULT_SHM_SIZE,
        read_only_root: false,
        insecure: false,
    }
}

fn lost(reason: &str) -> ExecError {
    ExecError::Sandbox(SandboxError::Lost {
        reason: reason.to_owned(),
    })
}

struct Output<'a>(&'a mut dyn FnMut(Stream, &[u8]));

impl StepIo for Output<'_> {
    fn on_output(&mut self, stream: Stream, bytes: &[u8]) {
        (self.0)(stream, bytes);
    }
}
