//! One stage: each instruction changes the config, the scope, or adds a step.

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_image::{ContainerConfig, ImageConfig, Platform};
use rbuild_parser::{
    Add, Command, Copy, Diagnostic, Form, Instruction, Sources, Span, Spanned, Word, parse_trigger,
};

use super::scope::{BuildArgs, Scope};
use super::stage::{Stages, Start};
use super::{AskBase, NewStep, history, metadata, run};
use crate::base::BaseImage;
use crate::copy::{ModeChange, clean_path};
use crate::error::BuildError;
use crate::graph::{
    CopySource, CopySpec, HistoryPlan, Located, Op, StagePlan, Step, StepId, WorkdirSpec,
};
use crate::request::BuildRequest;

/// What a stage is when it is done; other stages start from it.
#[derive(Debug, Clone)]
pub(crate) struct Tip {
    pub(crate) scope: Scope,
    pub(crate) plan: StagePlan,
}

/// Lowers the instructions of one stage.
pub(crate) struct Lowering<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) stages: &'a Stages<'a>,
    pub(crate) ask: &'a AskBase<'a>,
    pub(crate) tips: &'a BTreeMap<usize, Tip>,
    /// Number of the stage in the Dockerfile.
    pub(crate) index: usize,
    /// Number of the stage among those that matter.
    pub(crate) order: usize,
    pub(crate) steps: &'a mut Vec<Step>,
    /// Images that this stage copies from.
    pub(crate) images: BTreeMap<String, StepId>,
}

/// The stage as it grows.
pub(crate) struct State {
    pub(crate) tip: StepId,
    pub(crate) scope: Scope,
    pub(crate) base: Option<Arc<BaseImage>>,
    pub(crate) image: ImageConfig,
    pub(crate) history: Vec<HistoryPlan>,
    cmd_set: bool,
}

impl State {
    pub(crate) fn config(&mut self) -> &mut ContainerConfig {
        &mut self.image.config
    }

    pub(crate) fn expand(&self, word: &Word) -> Result<String, BuildError> {
        Ok(word.expand(&|name| self.scope.get(name))?.text)
    }

    pub(crate) fn workdir(&self) -> String {
        let workdir = &self.image.config.working_dir;
        if workdir.is_empty() {
            "/".to_owned()
        } else {
            workdir.clone()
        }
    }

    pub(crate) fn note(&mut self, created_by: String) {
        self.history.push(HistoryPlan {
            created_by,
            step: None,
        });
    }

    pub(crate) fn shell(&self) -> Vec<String> {
        if self.image.config.shell.is_empty() {
            vec!["/bin/sh".to_owned(), "-c".to_owned()]
        } else {
            self.image.config.shell.clone()
        }
    }

    /// The argument vector of a command: the shell form is one argument of the shell.
    fn argv(&self, command: &Command) -> Vec<String> {
        match &command.form {
            Form::Exec(argv) => argv.clone(),
            Form::Shell(text) => {
                let mut argv = self.shell();
                argv.push(text.clone());
                argv
            }
        }
    }
}

impl Lowering<'_> {
    /// The whole stage.
    pub(crate) fn stage(&mut self) -> Result<Tip, BuildError> {
        let stages = self.stages;
        let stage = &stages.list[self.index];
        let mut state = self.start(stage.start.clone(), stage.span)?;
        for trigger in std::mem::take(&mut state.config().on_build) {
            self.trigger(&mut state, &trigger, stage.span)?;
        }
        for instruction in stage.body {
            let source = instruction.span.text(&self.request.dockerfile.text);
            self.instruction(&mut state, instruction, source)?;
        }
        let mut image = state.image;
        image.config.env = state.scope.image_env();
        if image.config.working_dir.is_empty() {
            "/".clone_into(&mut image.config.working_dir);
        }
        let plan = StagePlan {
            tip: state.tip,
            base: state.base,
            config: image,
            history: state.history,
        };
        Ok(Tip {
            scope: state.scope,
            plan,
        })
    }

    fn start(&mut self, start: Start, span: Span) -> Result<State, BuildError> {
        match start {
            Start::Scratch => {
                let tip = self.push(NewStep {
                    op: Op::Scratch,
                    parent: None,
                    span,
                    text: "FROM scratch",
                });
                let image = empty_image(&self.stages.platform);
                Ok(State {
                    tip,
                    scope: Scope::new(&[]),
                    base: None,
                    image,
                    history: Vec::new(),
                    cmd_set: false,
                })
            }
            Start::Image(name) => {
                let base = (self.ask)(&name)?;
                let text = format!("FROM {}", base.reference.familiar());
                let tip = self.push(NewStep {
                    op: Op::Base(Arc::clone(&base)),
                    parent: None,
                    span,
                    text: &text,
                });
                let mut image = base.config.clone();
                image.created = None;
                image.rootfs = rbuild_image::RootFs::default();
                image.history = Vec::new();
                image.other.clear();
                image.config.other.clear();
                Ok(State {
                    tip,
                    scope: Scope::new(&image.config.env),
                    base: Some(base),
                    image,
                    history: Vec::new(),
                    cmd_set: false,
                })
            }
            Start::Stage(below) => {
                let tip = self.tips.get(&below).ok_or_else(|| {
                    Diagnostic::error(
                        "no-such-stage",
                        span,
                        "the stage is built from one that comes later",
                    )
                })?;
                Ok(State {
                    tip: tip.plan.tip,
                    scope: tip.scope.clone(),
                    base: tip.plan.base.clone(),
                    image: tip.plan.config.clone(),
                    history: tip.plan.history.clone(),
                    cmd_set: false,
                })
            }
        }
    }

    fn trigger(&mut self, state: &mut State, text: &str, span: Span) -> Result<(), BuildError> {
        let at_from = |diagnostic: Diagnostic| Diagnostic {
            span,
            message: format!(
                "in the `ONBUILD` trigger `{text}` of the base: {}",
                diagnostic.message
            ),
            ..diagnostic
        };
        let parsed = parse_trigger(text);
        if parsed.has_errors() {
            let errors = parsed
                .diagnostics
                .into_iter()
                .filter(Diagnostic::is_error)
                .map(at_from);
            return Err(BuildError::Diagnostics(errors.collect()));
        }
        for instruction in &parsed.instructions {
            let first_new = self.steps.len();
            self.instruction(state, instruction, text)
                .map_err(|error| match error {
                    BuildError::Diagnostics(list) => {
                        BuildError::Diagnostics(list.into_iter().map(at_from).collect())
                    }
                    other => other,
                })?;
            for step in &mut self.steps[first_new..] {
                step.span = span;
                if let Op::Copy(copy) = &mut step.op {
                    copy.destination.span = span;
                    copy.paths
                        .iter_mut()
                        .chain(&mut copy.chown)
                        .for_each(|located| located.span = span);
                }
            }
        }
        Ok(())
    }

    fn instruction(
        &mut self,
        state: &mut State,
        instruction: &Spanned<Instruction>,
        source: &str,
    ) -> Result<(), BuildError> {
        let span = instruction.span;
        match &instruction.value {
            Instruction::From(_) => Err(refuse(span, "`FROM` in an `ONBUILD` trigger")),
            Instruction::Arg(arg) => {
                let args = BuildArgs(&self.request.build_args);
                for item in &arg.items {
                    let default = item
                        .default
                        .as_ref()
                        .map(|word| state.expand(word))
                        .transpose()?;
                    let value =
                        state
                            .scope
                            .declare(&item.name.value, default, args, &self.stages.global);
                    let name = &item.name.value;
                    state.note(value.map_or_else(
                        || format!("ARG {name}"),
                        |value| format!("ARG {name}={value}"),
                    ));
                }
                Ok(())
            }
            Instruction::Env(env) => {
                let mut pairs = Vec::new();
                for pair in &env.pairs {
                    pairs.push((state.expand(&pair.key)?, state.expand(&pair.value)?));
                }
                let text: Vec<String> = pairs
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                for (name, value) in &pairs {
                    state.scope.set_env(name, value);
                }
                state.note(format!("ENV {}", text.join(" ")));
                Ok(())
            }
            Instruction::Workdir(word) => self.workdir(state, word, span, source),
            Instruction::Copy(copy) => self.copy(state, copy, span, source),
            Instruction::Add(add) => self.add(state, add, span, source),
            Instruction::Run(run) => {
                let mounts = self.mounts(state, run)?;
                let spec = run::lower(run, mounts, state, self.request)?;
                let created_by = history::run(&state.scope.visible_args(), &spec.argv);
                self.step(state, Op::Run(spec), span, source, created_by);
                Ok(())
            }
            Instruction::Cmd(command) => {
                let argv = state.argv(command);
                state.note(format!("CMD {}", history::quoted(&argv)));
                state.config().cmd = argv;
                state.config().args_escaped = true;
                state.cmd_set = true;
                Ok(())
            }
            Instruction::Entrypoint(command) => {
                let argv = state.argv(command);
                state.note(format!("ENTRYPOINT {}", history::quoted(&argv)));
                state.config().entrypoint = argv;
                if !state.cmd_set {
                    state.config().cmd = Vec::new();
                }
                Ok(())
            }
            other => metadata::lower(other, state),
        }
    }

    fn workdir(
        &mut self,
        state: &mut State,
        word: &Word,
        span: Span,
        source: &str,
    ) -> Result<(), BuildError> {
        let text = state.expand(word)?;
        if text.is_empty() {
            return Err(Diagnostic::error(
                "empty-workdir",
                word.span,
                "`WORKDIR` is empty after expansion",
            )
            .into());
        }
        let path = clean_path(&state.workdir(), &text);
        path.clone_into(&mut state.config().working_dir);
        let user = state.image.config.user.clone();
        let created_by = format!("WORKDIR {path}");
        self.step(
            state,
            Op::Workdir(WorkdirSpec { path, user }),
            span,
            source,
            created_by,
        );
        Ok(())
    }

    fn copy(
        &mut self,
        state: &mut State,
        copy: &Copy,
        span: Span,
        source: &str,
    ) -> Result<(), BuildError> {
        for (given, what) in [
            (copy.link, "`COPY --link`"),
            (copy.parents, "`COPY --parents`"),
        ] {
            if given {
                return Err(refuse(span, what));
            }
        }
        let from = match &copy.from {
            None => CopySource::Context,
            Some(word) => CopySource::Step(self.copy_source(word)?),
        };
        let mut spec = sources(state, &copy.sources, from)?;
        spec.chown = located(state, copy.chown.as_ref())?;
        spec.chmod = chmod(state, copy.chmod.as_ref())?;
        spec.excludes = expand_all(state, &copy.excludes)?
            .into_iter()
            .map(|located| located.text)
            .collect();
        let created_by = format!("{} # buildkit", history::joined(source));
        self.step(state, Op::Copy(spec), span, source, created_by);
        Ok(())
    }

    fn add(
        &mut self,
        state: &mut State,
        add: &Add,
        span: Span,
        source: &str,
    ) -> Result<(), BuildError> {
        for (given, what) in [
            (add.link, "`ADD --link`"),
            (add.checksum.is_some(), "`ADD --checksum`"),
            (add.keep_git_dir.is_some(), "`ADD --keep-git-dir`"),
        ] {
            if given {
                return Err(refuse(span, what));
            }
        }
        let mut spec = sources(state, &add.sources, CopySource::Context)?;
        for path in &spec.paths {
            if is_remote(&path.text) {
                return Err(Diagnostic::error(
                    "not-supported",
                    path.span,
                    "`ADD` from a URL or a Git repository is not supported yet",
                )
                .with_help("fetch it in a `RUN`, or put it into the build context")
                .into());
            }
        }
        spec.unpack = add.unpack.unwrap_or(true);
        spec.chown = located(state, add.chown.as_ref())?;
        spec.chmod = chmod(state, add.chmod.as_ref())?;
        spec.excludes = expand_all(state, &add.excludes)?
            .into_iter()
            .map(|located| located.text)
            .collect();
        let created_by = format!("{} # buildkit", history::joined(source));
        self.step(state, Op::Copy(spec), span, source, created_by);
        Ok(())
    }

    /// The step whose root file system `--from` names.
    pub(crate) fn copy_source(&mut self, word: &Word) -> Result<StepId, BuildError> {
        match self.stages.copy_start(word, self.index)? {
            Start::Stage(stage) => self
                .tips
                .get(&stage)
                .map(|tip| tip.plan.tip)
                .ok_or_else(|| {
                    Diagnostic::error(
                        "no-such-stage",
                        word.span,
                        "`--from` names a stage that comes later",
                    )
                    .into()
                }),
            Start::Scratch => Err(Diagnostic::error(
                "bad-from",
                word.span,
                "`--from=scratch` has nothing to copy",
            )
            .into()),
            Start::Image(name) => {
                let known = name.reference.to_string();
                if let Some(step) = self.images.get(&known) {
                    return Ok(*step);
                }
                let base = (self.ask)(&name)?;
                let text = format!("FROM {}", base.reference.familiar());
                let step = self.push(NewStep {
                    op: Op::Base(base),
                    parent: None,
                    span: word.span,
                    text: &text,
                });
                self.images.insert(known, step);
                Ok(step)
            }
        }
    }

    fn step(&mut self, state: &mut State, op: Op, span: Span, source: &str, created_by: String) {
        let text = history::one_line(source);
        state.tip = self.push(NewStep {
            op,
            parent: Some(state.tip),
            span,
            text: &text,
        });
        state.history.push(HistoryPlan {
            created_by,
            step: Some(state.tip),
        });
    }

    pub(crate) fn push(&mut self, new: NewStep<'_>) -> StepId {
        let id = StepId(self.steps.len());
        let number = self
            .steps
            .iter()
            .filter(|step| step.stage == self.order)
            .count()
            + 1;
        self.steps.push(Step {
            op: new.op,
            parent: new.parent,
            span: new.span,
            stage: self.order,
            stage_name: self.stages.name(self.index),
            number,
            name: new.text.to_owned(),
        });
        id
    }
}

fn expand_all(state: &State, words: &[Word]) -> Result<Vec<Located>, BuildError> {
    words
        .iter()
        .map(|word| {
            Ok(Located {
                text: state.expand(word)?,
                span: word.span,
            })
        })
        .collect()
}

fn located(state: &State, word: Option<&Word>) -> Result<Option<Located>, BuildError> {
    word.map(|word| {
        Ok(Located {
            text: state.expand(word)?,
            span: word.span,
        })
    })
    .transpose()
}

/// What BuildKit would fetch: URLs, and names of Git repositories.
fn is_remote(path: &str) -> bool {
    ["http://", "https://", "git://", "ssh://", "git@"]
        .iter()
        .any(|prefix| path.starts_with(prefix))
        || path.starts_with("github.com/")
}

/// What a later version will do is refused, never ignored.
pub(crate) fn refuse(span: Span, what: &str) -> BuildError {
    Diagnostic::error(
        "not-supported",
        span,
        format!("{what} is not supported yet"),
    )
    .into()
}

fn empty_image(platform: &Platform) -> ImageConfig {
    ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        ..ImageConfig::default()
    }
}

fn sources(state: &State, sources: &Sources, from: CopySource) -> Result<CopySpec, BuildError> {
    let mut inline = Vec::new();
    for heredoc in &sources.heredocs {
        let text = heredoc.expanded(&|name| state.scope.get(name))?.text;
        inline.push((heredoc.name.clone(), text));
    }
    let destination = state.expand(&sources.destination)?;
    if destination.is_empty() {
        return Err(Diagnostic::error(
            "empty-destination",
            sources.destination.span,
            "the destination is empty after expansion",
        )
        .into());
    }
    Ok(CopySpec {
        from,
        paths: expand_all(state, &sources.paths)?,
        inline,
        destination: Located {
            text: destination,
            span: sources.destination.span,
        },
        workdir: state.workdir(),
        chown: None,
        chmod: None,
        excludes: Vec::new(),
        unpack: false,
    })
}

fn chmod(state: &State, word: Option<&Word>) -> Result<Option<ModeChange>, BuildError> {
    let Some(word) = word else { return Ok(None) };
    let text = state.expand(word)?;
    ModeChange::parse(&text).map(Some).ok_or_else(|| {
        Diagnostic::error("bad-chmod", word.span, format!("`{text}` is no file mode"))
            .with_help("write it in octal (`0755`) or symbolically (`u=rwX,go=rX`)")
            .into()
    })
}
