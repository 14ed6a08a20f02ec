//! A root file system to run commands in, and short ways to do so.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rbuild_builder::sandbox::{
    CancelToken, DEFAULT_SHM_SIZE, Identity, Network, Outcome, Report, Request, ResolvedUser,
    Sandbox, SandboxConfig, SandboxError, Stdio, StepIo, StepSpec, Stream,
};
use serde_json::{Value, json};

const APPLETS: &str = "sh ls cat id true false sleep kill mount umount echo ps env pwd stat mkdir rmdir touch rm mv ln \
    chmod chown head tail wc sort grep find dd mknod unshare chroot hostname readlink ifconfig ip od tr cut printf \
    sync sed test date nohup setsid seq yes du df tty ulimit awk timeout";

/// Everything the tests share.
pub(crate) struct World {
    pub(crate) directory: PathBuf,
    pub(crate) rootfs: PathBuf,
    pub(crate) sandbox: Sandbox,
    counter: AtomicU32,
}

/// A step that was not run yet.
pub(crate) struct Step {
    pub(crate) spec: StepSpec,
}

/// What a step left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outcome: Outcome,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The listing of the upper directory.
    pub(crate) changes: Value,
}

impl Ran {
    /// Names of what the upper directory holds.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.changes
            .as_object()
            .map(|map| map.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }
}

/// Collects output.
#[derive(Default)]
pub(crate) struct Collect {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) events: Vec<Value>,
}

impl StepIo for Collect {
    fn on_output(&mut self, stream: Stream, bytes: &[u8]) {
        match stream {
            Stream::Stdout => self.stdout.extend_from_slice(bytes),
            Stream::Stderr => self.stderr.extend_from_slice(bytes),
        }
    }

    fn on_event(&mut self, event: Value) {
        self.events.push(event);
    }
}

impl World {
    pub(crate) fn new(identity: Identity) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("sandbox")
            .tempdir()
            .expect("a temporary directory")
            .keep();
        let rootfs = directory.join("rootfs");
        make_rootfs(&rootfs);
        let sandbox = Sandbox::new(SandboxConfig {
            helper: "/proc/self/exe".into(),
            identity,
        });
        Self {
            directory,
            rootfs,
            sandbox,
            counter: AtomicU32::new(0),
        }
    }

    pub(crate) fn remove(self) {
        let request = Request {
            step: None,
            stdio: Stdio::Piped,
            payload: json!({ "remove": self.directory }),
        };
        self.request(&request).expect("the tree can be removed");
        assert!(!self.directory.exists());
    }

    /// A new directory for a test.
    pub(crate) fn scratch(&self) -> PathBuf {
        let path = self
            .directory
            .join(self.counter.fetch_add(1, Ordering::Relaxed).to_string());
        fs::create_dir(&path).expect("a new directory");
        path
    }

    /// A step that runs a shell script in the world's root.
    pub(crate) fn script(&self, script: &str) -> Step {
        self.command(&["sh", "-c", script])
    }

    pub(crate) fn command(&self, argv: &[&str]) -> Step {
        let directory = self.scratch();
        for name in ["upper", "work"] {
            fs::create_dir(directory.join(name)).expect("a new directory");
        }
        let spec = StepSpec {
            lower: vec![self.rootfs.clone()],
            upper: directory.join("upper"),
            work: directory.join("work"),
            argv: argv.iter().map(|&argument| argument.to_owned()).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            workdir: "/".into(),
            user: ResolvedUser::default(),
            network: Network::Host,
            hostname: "step".into(),
            extra_hosts: Vec::new(),
            mounts: Vec::new(),
            limits: Vec::new(),
            shm_size: DEFAULT_SHM_SIZE,
            read_only_root: false,
            insecure: false,
        };
        Step { spec }
    }

    pub(crate) fn request(&self, request: &Request) -> Result<(Report, Collect), SandboxError> {
        let mut io = Collect::default();
        let report = self.sandbox.run(
            request,
            &mut io,
            &CancelToken::new().expect("an event descriptor"),
        )?;
        Ok((report, io))
    }

    pub(crate) fn try_run(&self, step: &Step) -> Result<Ran, SandboxError> {
        let request = Request {
            step: Some(step.spec.clone()),
            stdio: Stdio::Piped,
            payload: Value::Null,
        };
        let (report, io) = self.request(&request)?;
        Ok(Ran {
            outcome: report.outcome.expect("a step has an outcome"),
            stdout: String::from_utf8_lossy(&io.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&io.stderr).into_owned(),
            changes: report.value,
        })
    }

    #[track_caller]
    pub(crate) fn run(&self, step: &Step) -> Ran {
        match self.try_run(step) {
            Ok(ran) => ran,
            Err(error) => panic!("the step cannot run: {error}"),
        }
    }

    /// Runs a script that must succeed; its standard output.
    #[track_caller]
    pub(crate) fn output(&self, script: &str) -> String {
        let ran = self.run(&self.script(script));
        assert_eq!(ran.outcome, Outcome::Exited(0), "{script}: {ran:#?}");
        ran.stdout
    }
}

/// Busybox with links, and the directories that images have.
pub(crate) fn make_rootfs(root: &Path) {
    for directory in [
        "bin", "dev", "etc", "proc", "sys", "tmp", "usr/bin", "root", "data",
    ] {
        fs::create_dir_all(root.join(directory)).expect("a directory of the root");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox");
    for applet in APPLETS.split_whitespace() {
        symlink("busybox", root.join("bin").join(applet)).expect("a link");
    }
    for (name, content) in [
        (
            "etc/passwd",
            "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\n",
        ),
        ("etc/group", "root:x:0:\nuser:x:1000:\n"),
        ("etc/hosts", ""),
        ("etc/resolv.conf", ""),
        ("data/file", "lower\n"),
        ("data/other", "other\n"),
    ] {
        fs::write(root.join(name), content).expect("a file of the root");
    }
}
