//! A place of its own for each test: directory, local store, registry, a base image.

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rbuild_registry_server::config::Config;
use rbuild_registry_server::metadata::{ManifestName, Precondition};
use rbuild_registry_server::serve::{self, Running};
use rbuild_registry_server::service::{DEPRECATED, PushManifest};

use crate::normal::Normaliser;

pub(crate) struct World {
    directory: tempfile::TempDir,
    registry: Option<Running>,
    normaliser: Normaliser,
    log: String,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        fs::create_dir(directory.path().join("home")).expect("home");
        Self {
            directory,
            registry: None,
            normaliser: Normaliser::default(),
            log: String::new(),
        }
    }

    /// A world with `busybox:latest` in its store; `None` where there is no static busybox.
    pub(crate) fn with_busybox() -> Option<Self> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"]
            .into_iter()
            .find_map(|path| fs::read(path).ok());
        let Some(busybox) = busybox else {
            missing("busybox", "there is no /bin/busybox");
            return None;
        };
        let world = Self::new();
        let archive = busybox_archive(&busybox);
        fs::write(world.path("busybox.tar"), archive).expect("write");
        let done = world.quietly(&["load", "-q", "-i", "busybox.tar"]);
        assert_eq!(done.stdout, "busybox:latest\n", "{done:?}");
        Some(world)
    }

    /// As [`Self::with_busybox`]; `None` also where no command can be run.
    pub(crate) fn with_sandbox() -> Option<Self> {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_rbuild"));
        if let Err(error) = rbuild_builder::sandbox::detect(&program) {
            missing("userns", &error.to_string());
            return None;
        }
        Self::with_busybox()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file, and the directories it needs.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("mkdir");
        fs::write(path, text).expect("write");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("read")
    }

    /// Starts a registry; commands call it `REGISTRY`.
    pub(crate) fn start_registry(&mut self) {
        let mut config = Config::new(self.path("registry"));
        config.listen = ([127, 0, 0, 1], 0).into();
        self.registry = Some(serve::start(&config).expect("start"));
    }

    /// Marks an image of the registry as deprecated.
    pub(crate) fn deprecate(&self, repository: &str, tag: &str, reason: &str) {
        let registry = self.registry.as_ref().expect("a registry").registry();
        let repository = repository.parse().expect("a repository");
        let name = ManifestName::Tag(tag.parse().expect("a tag"));
        let record = registry.manifest(&repository, &name).expect("a manifest");
        let mut manifest: serde_json::Value =
            serde_json::from_slice(&record.content).expect("JSON");
        manifest["annotations"] = serde_json::json!({ DEPRECATED: reason });
        let push = PushManifest {
            digest: None,
            tags: vec![tag.parse().expect("a tag")],
            precondition: Precondition::None,
            content_type: Some(record.media_type),
            content: manifest.to_string().into_bytes(),
        };
        registry.put_manifest(&repository, push).expect("pushed");
    }

    pub(crate) fn registry(&self) -> String {
        let registry = self.registry.as_ref().expect("a registry");
        registry.address().to_string()
    }

    /// The command that runs our program in this world.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rbuild"));
        self.surround(&mut command);
        for argument in arguments {
            let address = self
                .registry
                .as_ref()
                .map(|registry| registry.address().to_string());
            command.arg(argument.replace("REGISTRY", address.as_deref().unwrap_or("REGISTRY")));
        }
        command
    }

    /// Nothing of the caller's environment but what every program needs.
    pub(crate) fn surround(&self, command: &mut Command) {
        command
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("RBUILD_ROOT", self.path("root"))
            .stdin(Stdio::null());
    }

    /// Runs without noting it.
    pub(crate) fn quietly(&self, arguments: &[&str]) -> Done {
        let output = self.command(arguments).output().expect("run");
        done(&output)
    }

    /// Runs, and notes the command line and what came of it.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> Done {
        self.run_with(arguments, "", |_| {})
    }

    /// As [`Self::run`], with standard input.
    pub(crate) fn run_input(&mut self, arguments: &[&str], input: &str) -> Done {
        self.run_with(arguments, input, |_| {})
    }

    pub(crate) fn run_with(
        &mut self,
        arguments: &[&str],
        input: &str,
        change: impl FnOnce(&mut Command),
    ) -> Done {
        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().expect("spawn");
        let mut stdin = child.stdin.take().expect("stdin");
        // A program that does not read its input may be gone by now.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let done = done(&child.wait_with_output().expect("wait"));
        self.note(arguments, &done);
        done
    }

    fn note(&mut self, arguments: &[&str], done: &Done) {
        let shown: Vec<String> = arguments
            .iter()
            .map(|argument| {
                if argument.contains(' ') {
                    format!("'{argument}'")
                } else {
                    (*argument).to_owned()
                }
            })
            .collect();
        let code = done
            .code
            .map_or_else(|| "signal".to_owned(), |code| code.to_string());
        let mut entry = format!("$ rbuild {}\n=> {code}\n", shown.join(" "));
        for (title, text) in [("stdout", &done.stdout), ("stderr", &done.stderr)] {
            if !text.is_empty() {
                entry.extend(["--- ", title, "\n", &self.normal(text), "\n"]);
            }
        }
        self.log.push_str(&entry);
        self.log.push('\n');
    }

    pub(crate) fn normal(&mut self, text: &str) -> String {
        let mut text = text.replace(&self.directory.path().display().to_string(), "[DIR]");
        if let Some(registry) = &self.registry {
            text = text.replace(&registry.address().to_string(), "REGISTRY");
        }
        self.normaliser.text(&text)
    }

    /// Everything that was noted.
    pub(crate) fn log(self) -> String {
        self.log
    }

    /// Files below a directory of the store, for finding leftovers.
    pub(crate) fn files(&self, below: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut waiting = vec![self.path(below)];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                if entry.file_type().expect("type").is_dir() {
                    waiting.push(entry.path());
                } else {
                    found.push(entry.path().display().to_string());
                }
            }
        }
        found
    }
}

fn done(output: &Output) -> Done {
    Done {
        code: output
            .status
            .code()
            .or_else(|| output.status.signal().map(|signal| -signal)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Says that a test cannot run here, and fails where that is not accepted.
#[expect(clippy::print_stderr, reason = "it is for who reads the test's output")]
pub(crate) fn missing(capability: &str, why: &str) {
    let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|name| name.trim() == capability),
        "`{capability}` is required: {why}"
    );
    eprintln!("skipped, for want of {capability}: {why}");
}

/// What `docker save` of an image with nothing but busybox gives.
fn busybox_archive(busybox: &[u8]) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    for directory in ["bin/", "etc/", "root/", "tmp/"] {
        add(
            &mut layer,
            directory,
            tar::EntryType::Directory,
            0o755,
            b"",
            "",
        );
    }
    add(
        &mut layer,
        "bin/busybox",
        tar::EntryType::Regular,
        0o755,
        busybox,
        "",
    );
    for name in [
        "sh", "cat", "echo", "sleep", "ls", "id", "pwd", "env", "test", "true", "false", "yes",
    ] {
        let path = format!("bin/{name}");
        add(
            &mut layer,
            &path,
            tar::EntryType::Symlink,
            0o777,
            b"",
            "busybox",
        );
    }
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1000::/home/worker:/bin/sh\n";
    add(
        &mut layer,
        "etc/passwd",
        tar::EntryType::Regular,
        0o644,
        passwd,
        "",
    );
    let group = b"root:x:0:\nworker:x:1000:\n";
    add(
        &mut layer,
        "etc/group",
        tar::EntryType::Regular,
        0o644,
        group,
        "",
    );
    let layer = layer.into_inner().expect("tar");
    let diff_id = rbuild_image::Digest::sha256(&layer);
    let config = format!(
        r#"{{"architecture":"{}","os":"linux","created":"2026-01-01T00:00:00Z","config":{{"Env":["PATH=/bin"],"Cmd":["sh"]}},"rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}},"history":[{{"created":"2026-01-01T00:00:00Z","created_by":"ADD rootfs / # by hand"}},{{"created":"2026-01-01T00:00:00Z","created_by":"CMD [\"sh\"]","empty_layer":true}}]}}"#,
        rbuild_image::Platform::host().architecture
    );
    let manifest =
        r#"[{"Config":"config.json","RepoTags":["busybox:latest"],"Layers":["0/layer.tar"]}]"#;
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in [
        ("manifest.json", manifest.as_bytes()),
        ("config.json", config.as_bytes()),
        ("0/layer.tar", &layer),
    ] {
        add(
            &mut archive,
            name,
            tar::EntryType::Regular,
            0o644,
            bytes,
            "",
        );
    }
    archive.into_inner().expect("tar")
}

fn add(
    tar: &mut tar::Builder<Vec<u8>>,
    path: &str,
    kind: tar::EntryType,
    mode: u32,
    bytes: &[u8],
    link: &str,
) {
    let mut header = tar::Header::new_ustar();
    header.set_path(path).expect("path");
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(bytes.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    if !link.is_empty() {
        header.set_link_name(link).expect("link");
    }
    header.set_cksum();
    tar.append(&header, bytes).expect("append");
}

/// Whether a directory is empty or not there.
pub(crate) fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none())
}
