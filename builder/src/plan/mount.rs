//! `RUN --mount`: what a command sees besides its root file system (table 1.4).

use rbuild_parser::{Diagnostic, Mount, ResolvedMount, Run, Span, Word};

use super::NewStep;
use super::lower::{Lowering, State, refuse};
use crate::copy::clean_path;
use crate::error::BuildError;
use crate::graph::{CopySource, CopySpec, Located, MountSpec, Op, StepId};

/// Where the files of the context stand in the step that is made for a mount of them.
const SHOWN: &str = "/context";

/// What `from=` of a mount says, not yet expanded.
pub(crate) fn from(mount: &Mount) -> Option<&Word> {
    mount
        .options
        .iter()
        .find(|option| option.key.value == "from")?
        .value
        .as_ref()
}

impl Lowering<'_> {
    pub(crate) fn mounts(
        &mut self,
        state: &State,
        run: &Run,
    ) -> Result<Vec<MountSpec>, BuildError> {
        run.mounts
            .iter()
            .map(|mount| self.mount(state, &mount.value, mount.span))
            .collect()
    }

    fn mount(&mut self, state: &State, mount: &Mount, span: Span) -> Result<MountSpec, BuildError> {
        let target = |text: &str| -> Result<String, BuildError> {
            match clean_path(&state.workdir(), text).as_str() {
                "/" => {
                    Err(
                        Diagnostic::error("mount-target", span, "a mount cannot replace the root")
                            .into(),
                    )
                }
                path => Ok(path.to_owned()),
            }
        };
        Ok(match mount.resolve(&|name| state.scope.get(name))? {
            ResolvedMount::Bind(bind) => {
                let target = target(&bind.target)?;
                let source = clean_path("/", bind.source.as_deref().unwrap_or("/"));
                let (from, source) = match from(mount) {
                    Some(word) => (self.copy_source(word)?, source),
                    None => (self.context_files(&source, span), SHOWN.to_owned()),
                };
                MountSpec::Bind {
                    from,
                    source,
                    target,
                    read_only: bind.read_only,
                }
            }
            ResolvedMount::Cache(cache) => {
                if cache.from.is_some() || cache.source.is_some() {
                    return Err(refuse(span, "`from` and `source` of a cache mount"));
                }
                let target = target(&cache.target)?;
                MountSpec::Cache {
                    id: cache.id.unwrap_or_else(|| target.clone()),
                    target,
                    sharing: cache.sharing,
                    read_only: cache.read_only,
                    mode: cache.mode.unwrap_or(0o755),
                    uid: cache.uid.unwrap_or_default(),
                    gid: cache.gid.unwrap_or_default(),
                }
            }
            ResolvedMount::Tmpfs(tmpfs) => {
                if tmpfs.read_only {
                    return Err(refuse(span, "a read-only tmpfs mount"));
                }
                MountSpec::Tmpfs {
                    target: target(&tmpfs.target)?,
                    size: tmpfs.size,
                }
            }
            ResolvedMount::Secret(secret) => MountSpec::Secret {
                target: secret.target.as_deref().map(target).transpose()?,
                id: secret.id,
                env: secret.env,
                required: secret.required,
                mode: secret.mode.unwrap_or(0o400),
                uid: secret.uid.unwrap_or_default(),
                gid: secret.gid.unwrap_or_default(),
            },
            ResolvedMount::Ssh(_) => return Err(refuse(span, "`RUN --mount=type=ssh`")),
        })
    }

    /// A step of its own that holds files of the context, so that a command sees only what the ignore file lets
    /// through, owned by root, and the cache knows them by content.
    fn context_files(&mut self, source: &str, span: Span) -> StepId {
        let empty = self.push(NewStep {
            op: Op::Scratch,
            parent: None,
            span,
            text: "FROM scratch",
        });
        let located = |text: &str| Located {
            text: text.to_owned(),
            span,
        };
        let spec = CopySpec {
            from: CopySource::Context,
            paths: vec![located(source)],
            inline: Vec::new(),
            destination: located(SHOWN),
            workdir: "/".to_owned(),
            chown: None,
            chmod: None,
            excludes: Vec::new(),
            unpack: false,
        };
        let text = format!("mount {source} of the build context");
        self.push(NewStep {
            op: Op::Copy(spec),
            parent: Some(empty),
            span,
            text: &text,
        })
    }
}
