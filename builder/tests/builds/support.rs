//! A store, a context and an executor that needs no privilege, for tests of the builder.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rbuild_builder::exec::{Command, ExecError, Executed, Executor};
use rbuild_builder::{
    BuildError, BuildEvent, BuildRequest, CancelToken, Dockerfile, Environment, Exported,
    IgnoreFile, NetworkMode, NoSource, Observer, Outcome, PullPolicy, Stream, build,
};
use rbuild_cache::{FsCacheIndex, LayerRecord};
use rbuild_image::layer::{Entry, Kind, LayerWriter, Rootfs, Time};
use rbuild_image::validate::{Absent, validate};
use rbuild_image::{Digest, ImageConfig, Platform};
use rbuild_store::local::{Area, LocalStore};
use rbuild_store::{BlobStore, Expected};

/// Runs commands of the form `write PATH TEXT`, `fail CODE`, `same`; counts them.
#[derive(Debug)]
pub(crate) struct FakeExecutor {
    store: LocalStore,
    ran: Mutex<Vec<String>>,
}

impl Executor for FakeExecutor {
    fn run(
        &self,
        command: &Command<'_>,
        output: &mut dyn FnMut(Stream, &[u8]),
        _: &CancelToken,
    ) -> Result<Executed, ExecError> {
        let text = command.spec.argv.last().cloned().unwrap_or_default();
        self.ran.lock().unwrap().push(text.clone());
        output(Stream::Stdout, text.as_bytes());
        let words: Vec<&str> = text.split(' ').collect();
        let (path, content) = match words[..] {
            ["write", path, content] => (path, content),
            ["fail", code] => {
                let outcome = Outcome::Exited(code.parse().unwrap());
                return Ok(Executed {
                    outcome,
                    layer: None,
                });
            }
            _ => {
                return Ok(Executed {
                    outcome: Outcome::Exited(0),
                    layer: None,
                });
            }
        };
        let mut writer = LayerWriter::new(self.store.blobs().ingest()?);
        let mut entry = Entry::new(
            path,
            Kind::File {
                size: content.len() as u64,
            },
        );
        // As a real command would: another time at each run.
        entry.mtime = Time::from_seconds(i64::try_from(self.ran.lock().unwrap().len()).unwrap());
        writer.file(&entry, &mut content.as_bytes(), None)?;
        let (ingest, summary) = writer.finish()?;
        ingest.commit(Expected::Digest(summary.diff_id.0)).unwrap();
        self.store
            .put_toc(summary.diff_id, &summary.toc, summary.content_id)?;
        let layer = LayerRecord {
            diff_id: summary.diff_id,
            content_id: summary.content_id.digest(),
            size: summary.size,
        };
        Ok(Executed {
            outcome: Outcome::Exited(0),
            layer: Some(layer),
        })
    }
}

/// One store and one context, for any number of builds.
pub(crate) struct Fixture {
    directory: Arc<tempfile::TempDir>,
    pub(crate) store: LocalStore,
    pub(crate) context: PathBuf,
    executor: Arc<FakeExecutor>,
    environment: Environment,
}

/// What a build did.
pub(crate) struct Built {
    pub(crate) result: Result<Exported, BuildError>,
    /// Commands that were executed.
    pub(crate) ran: Vec<String>,
    /// Names of the steps that were not found in the cache, with the reason.
    pub(crate) missed: Vec<(String, String)>,
    /// Notices and warnings.
    pub(crate) notices: Vec<String>,
    store: LocalStore,
    /// The store lives as long as somebody looks at what was built.
    _directory: Arc<tempfile::TempDir>,
}

#[derive(Default)]
struct Recorder {
    names: Mutex<BTreeMap<usize, String>>,
    missed: Mutex<Vec<(String, String)>>,
    notices: Mutex<Vec<String>>,
}

impl Observer for Recorder {
    fn on_event(&self, event: BuildEvent<'_>) {
        match event {
            BuildEvent::StepStarted { step, name } => {
                self.names.lock().unwrap().insert(step, name.to_owned());
            }
            BuildEvent::StepMissed { step, reason } => {
                let name = self.names.lock().unwrap()[&step].clone();
                self.missed.lock().unwrap().push((name, reason.to_string()));
            }
            BuildEvent::Notice(text) => self.notices.lock().unwrap().push(text.to_owned()),
            BuildEvent::Warning(warning) => self.notices.lock().unwrap().push(warning.to_string()),
            _ => {}
        }
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&directory.path().join("store")).unwrap();
        let context = directory.path().join("context");
        std::fs::create_dir(&context).unwrap();
        let executor = Arc::new(FakeExecutor {
            store: store.clone(),
            ran: Mutex::default(),
        });
        let environment = Environment {
            store: store.clone(),
            cache: Arc::new(FsCacheIndex::open(store.dir(Area::Cache))),
            source: Arc::new(NoSource),
            executor: Arc::<FakeExecutor>::clone(&executor),
            cancel: CancelToken::new().unwrap(),
        };
        Self {
            directory: Arc::new(directory),
            store,
            context,
            executor,
            environment,
        }
    }

    /// Writes files into the context.
    pub(crate) fn files(&self, files: &[(&str, &str)]) -> &Self {
        for (path, content) in files {
            let path = self.context.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        self
    }

    pub(crate) fn request(&self, dockerfile: &str) -> BuildRequest {
        let ignore = std::fs::read_to_string(self.context.join(".dockerignore")).ok();
        BuildRequest {
            dockerfile: Dockerfile {
                name: "Dockerfile".into(),
                text: dockerfile.into(),
            },
            context: Some(self.context.clone()),
            ignore: ignore.map(|text| IgnoreFile {
                name: ".dockerignore".into(),
                text,
            }),
            build_args: Vec::new(),
            target: None,
            labels: Vec::new(),
            no_cache: false,
            pull: PullPolicy::Missing,
            platform: Platform::host(),
            network: NetworkMode::Host,
            secrets: Vec::new(),
            names: Vec::new(),
            jobs: 2,
            epoch: None,
        }
    }

    pub(crate) fn build(&mut self, dockerfile: &str) -> Built {
        self.build_with(dockerfile, |_| {})
    }

    pub(crate) fn build_with(
        &mut self,
        dockerfile: &str,
        change: impl FnOnce(&mut BuildRequest),
    ) -> Built {
        let mut request = self.request(dockerfile);
        change(&mut request);
        self.environment.cancel = CancelToken::new().unwrap();
        self.executor.ran.lock().unwrap().clear();
        let recorder = Recorder::default();
        let result = build(&request, &self.environment, &recorder);
        Built {
            result,
            ran: self.executor.ran.lock().unwrap().clone(),
            missed: recorder.missed.into_inner().unwrap(),
            notices: recorder.notices.into_inner().unwrap(),
            store: self.store.clone(),
            _directory: Arc::clone(&self.directory),
        }
    }

    /// Builds an image and gives it a name that later Dockerfiles can start from.
    pub(crate) fn image(&mut self, name: &str, dockerfile: &str) -> Built {
        self.build_with(dockerfile, |request| {
            request.names = vec![name.parse().unwrap()];
        })
    }
}

impl Built {
    #[track_caller]
    pub(crate) fn exported(&self) -> &Exported {
        match &self.result {
            Ok(exported) => {
                self.validate(exported);
                exported
            }
            Err(error) => panic!("the build failed: {error:?}"),
        }
    }

    /// Every invariant of an image holds for what a build made.
    #[track_caller]
    fn validate(&self, exported: &Exported) {
        let open = |digest: &Digest| -> std::io::Result<Option<Box<dyn Read + Send>>> {
            let file = self.store.blobs().open_file(digest)?;
            Ok(file.map(|(file, _)| Box::new(file) as Box<dyn Read + Send>))
        };
        let problems = validate(&exported.manifest, &open, Absent::Nothing).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[track_caller]
    pub(crate) fn config(&self) -> ImageConfig {
        self.store
            .config(&self.exported().image_id)
            .unwrap()
            .unwrap()
            .into_parts()
            .1
    }

    /// The root file system.
    #[track_caller]
    pub(crate) fn rootfs(&self) -> Rootfs {
        let layers = self.config().rootfs.diff_ids;
        Rootfs::new(
            layers
                .iter()
                .map(|layer| self.store.toc(*layer).unwrap().unwrap())
                .collect(),
        )
    }

    /// One line for each file: mode, owner, path, and what it is when it is no file.
    #[track_caller]
    pub(crate) fn tree(&self) -> Vec<String> {
        let rootfs = self.rootfs();
        let lines = rootfs.walk(b"").filter(|node| !node.entry.path.is_empty());
        let line = |node: rbuild_image::layer::Node| {
            let entry = node.entry;
            let path = String::from_utf8_lossy(&entry.path).into_owned();
            let kind = match &entry.kind {
                Kind::Directory => "/".to_owned(),
                Kind::File { .. } => String::new(),
                Kind::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target)),
                other => format!(" {other:?}"),
            };
            format!("{:o} {}:{} {path}{kind}", entry.mode, entry.uid, entry.gid)
        };
        lines.map(line).collect()
    }

    /// Whether nothing was executed, copied or made.
    pub(crate) fn is_cached(&self) -> bool {
        self.missed.is_empty()
    }

    /// The message of the error.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        match &self.result {
            Ok(_) => panic!("the build did not fail"),
            Err(BuildError::Diagnostics(list)) => list
                .iter()
                .map(|d| {
                    format!(
                        "{}: {}{}",
                        d.code,
                        d.message,
                        d.help.as_ref().map_or(String::new(), |h| format!(" ({h})"))
                    )
                })
                .collect::<Vec<_>>()
                .join("\n"),
            Err(error) => error.to_string(),
        }
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
