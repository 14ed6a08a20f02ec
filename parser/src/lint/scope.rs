//! Which names are defined where, as far as the Dockerfile alone tells.

use std::collections::{BTreeMap, HashSet};

use super::view::{Stage, Step, View};
use crate::instruction::{Heredoc, Instruction, Sources};
use crate::suggest::suggest;
use crate::word::Word;

/// Arguments that every build defines, usable in `FROM` without a declaration.
pub(super) const PLATFORM_ARGUMENTS: [&str; 11] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDOSVERSION",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETOSVERSION",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// Names that need no declaration in a stage either.
const PREDEFINED: [&str; 14] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
    "PATH",
    "BUILDKIT_SBOM_SCAN_CONTEXT",
    "BUILDKIT_SBOM_SCAN_STAGE",
    "SOURCE_DATE_EPOCH",
];

/// Among more names than these none is suggested.
const MOST_NAMES: usize = 1_000;

/// The global arguments with their defaults.
#[derive(Debug, Default)]
pub(super) struct Globals {
    /// `None` for an argument without default.
    values: BTreeMap<String, Option<String>>,
}

impl Globals {
    pub(super) fn new(head: &[Step<'_>]) -> Self {
        let mut globals = Self::default();
        for step in head {
            let Some(Instruction::Arg(arg)) = step.instruction else {
                continue;
            };
            for item in &arg.items {
                let value = item
                    .default
                    .as_ref()
                    .and_then(|default| globals.expand(default));
                globals.values.insert(item.name.value.clone(), value);
            }
        }
        globals
    }

    /// Whether a name is declared.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// The declared names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// A word with the defaults put in; `None` when it depends on the platform or fails.
    pub(super) fn expand(&self, word: &Word) -> Option<String> {
        let expansion = word
            .expand(&|name| self.values.get(name).cloned().flatten())
            .ok()?;
        let unknown = |name: &String| PLATFORM_ARGUMENTS.contains(&name.as_str());
        (!expansion.missed.iter().any(unknown)).then_some(expansion.text)
    }
}

/// The names defined at some point of a stage.
#[derive(Debug, Default, Clone)]
pub(super) struct Scope {
    names: HashSet<String>,
    /// Whether a base image may define more than is known.
    pub(super) open: bool,
}

impl Scope {
    /// What is defined when a stage begins.
    pub(super) fn at_start(view: &View<'_>, stage: usize) -> Self {
        let mut scope = Self::default();
        let line = view.line_of(stage);
        if let Some(oldest) = line.first() {
            scope.open = oldest.base_name.as_deref() != Some("scratch") && oldest.base.is_none();
            if let Some(base) = &oldest.base {
                scope.names.extend(base.environment.iter().cloned());
            }
        }
        for ancestor in line.iter().rev().skip(1).rev() {
            for step in &ancestor.steps {
                scope.pass(step);
            }
        }
        scope
    }

    /// What an instruction defines for those after it.
    pub(super) fn pass(&mut self, step: &Step<'_>) {
        match step.instruction {
            Some(Instruction::Arg(arg)) => self
                .names
                .extend(arg.items.iter().map(|item| item.name.value.clone())),
            Some(Instruction::Env(env)) => {
                let defined = |name: &str| self.defines(name).then(String::new);
                let names: Vec<String> = env
                    .pairs
                    .iter()
                    .filter_map(|pair| Some(pair.key.expand(&defined).ok()?.text))
                    .collect();
                self.names.extend(names);
            }
            _ => {}
        }
    }

    /// Declares one name.
    pub(super) fn declare(&mut self, name: &str) {
        self.names.insert(name.to_owned());
    }

    pub(super) fn defines(&self, name: &str) -> bool {
        PREDEFINED.contains(&name) || self.names.contains(name)
    }

    /// The defined name that is nearest to one that is not; not looked for among very many.
    pub(super) fn nearest(&self, name: &str) -> Option<&str> {
        let mut names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        if names.len() > MOST_NAMES {
            return None;
        }
        names.sort_unstable();
        suggest(name, names)
    }
}

/// The words of an instruction that the builder expands; not those of `ARG`, which are in turn.
pub(super) fn expanded_words(instruction: &Instruction) -> Vec<&Word> {
    fn sources<'a>(sources: &'a Sources, words: &mut Vec<&'a Word>) {
        words.extend(&sources.paths);
        words.push(&sources.destination);
    }
    let mut words = Vec::new();
    match instruction {
        Instruction::Env(env) => {
            words.extend(env.pairs.iter().flat_map(|pair| [&pair.key, &pair.value]));
        }
        Instruction::Label(label) => {
            words.extend(label.pairs.iter().flat_map(|pair| [&pair.key, &pair.value]));
        }
        Instruction::Workdir(word) | Instruction::User(word) | Instruction::StopSignal(word) => {
            words.push(word);
        }
        Instruction::Expose(list) | Instruction::Volume(list) => words.extend(list),
        Instruction::Copy(copy) => {
            words.extend(
                [&copy.chown, &copy.chmod]
                    .into_iter()
                    .flatten()
                    .chain(&copy.excludes),
            );
            sources(&copy.sources, &mut words);
        }
        Instruction::Add(add) => {
            words.extend(
                [&add.chown, &add.chmod, &add.checksum]
                    .into_iter()
                    .flatten()
                    .chain(&add.excludes),
            );
            sources(&add.sources, &mut words);
        }
        Instruction::Run(run) => {
            let options = run.mounts.iter().flat_map(|mount| &mount.value.options);
            let expanded = options.filter(|option| option.key.value != "from");
            words.extend(expanded.filter_map(|option| option.value.as_ref()));
        }
        _ => {}
    }
    words
}

/// The heredocs of an instruction whose bodies the builder expands.
pub(super) fn expanded_heredocs(instruction: &Instruction) -> &[Heredoc] {
    match instruction {
        Instruction::Copy(copy) => &copy.sources.heredocs,
        Instruction::Add(add) => &add.sources.heredocs,
        _ => &[],
    }
}

/// The stages with their index.
pub(super) fn stages<'v, 'a>(view: &'v View<'a>) -> impl Iterator<Item = (usize, &'v Stage<'a>)> {
    view.stages.iter().enumerate()
}
