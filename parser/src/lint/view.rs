//! A Dockerfile as the rules look at it: stages with their instructions.

use std::collections::HashMap;

use super::scope::Globals;
use super::{Base, Options};
use crate::instruction::{From, Instruction};
use crate::parse::Parsed;
use crate::source::LineIndex;
use crate::syntax::Statement;

/// How many stages below a stage are looked at.
const DEPTH: usize = 100;

/// A Dockerfile, its instructions sorted into stages.
pub(super) struct View<'a> {
    pub(super) parsed: &'a Parsed,
    pub(super) source: &'a str,
    pub(super) options: &'a Options<'a>,
    /// What stands before the first `FROM`.
    pub(super) head: Vec<Step<'a>>,
    pub(super) stages: Vec<Stage<'a>>,
    pub(super) globals: Globals,
    pub(super) lines: LineIndex<'a>,
    /// The latest stage of each name.
    names: HashMap<String, usize>,
}

/// An instruction in both forms; typed only when it could be.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) statement: &'a Statement,
    pub(super) instruction: Option<&'a Instruction>,
}

/// A stage.
pub(super) struct Stage<'a> {
    pub(super) statement: &'a Statement,
    pub(super) from: &'a From,
    pub(super) steps: Vec<Step<'a>>,
    /// The earlier stage it is built from.
    pub(super) parent: Option<usize>,
    /// The base with default arguments put in; `None` when it cannot be told.
    pub(super) base_name: Option<String>,
    /// What is known of the base image, when it is one.
    pub(super) base: Option<Base>,
}

impl<'a> View<'a> {
    pub(super) fn new(parsed: &'a Parsed, source: &'a str, options: &'a Options<'a>) -> Self {
        let mut typed = parsed.instructions.iter().peekable();
        let mut steps = parsed.tree.statements.iter().map(|statement| {
            let instruction = typed
                .next_if(|next| next.span == statement.span)
                .map(|next| &next.value);
            Step {
                statement,
                instruction,
            }
        });
        let mut head = Vec::new();
        let mut begun = None;
        for step in steps.by_ref() {
            if let Some(Instruction::From(from)) = step.instruction {
                begun = Some((step, from));
                break;
            }
            head.push(step);
        }
        let globals = Globals::new(&head);
        let mut view = Self {
            parsed,
            source,
            options,
            head,
            stages: Vec::new(),
            globals,
            lines: LineIndex::new(source),
            names: HashMap::new(),
        };
        if let Some((step, from)) = begun {
            view.begin(step, from);
        }
        for step in steps {
            match (step.instruction, view.stages.last_mut()) {
                (Some(Instruction::From(from)), _) => view.begin(step, from),
                (_, Some(stage)) => stage.steps.push(step),
                (_, None) => {}
            }
        }
        view
    }

    fn begin(&mut self, step: Step<'a>, from: &'a From) {
        let base_name = self.globals.expand(&from.image);
        let parent = base_name
            .as_deref()
            .and_then(|name| self.names.get(&name.to_lowercase()).copied());
        let is_image = parent.is_none() && base_name.as_deref() != Some("scratch");
        let base = match (&base_name, self.options.base) {
            (Some(name), Some(look_up)) if is_image => look_up(name),
            _ => None,
        };
        if let Some(alias) = &from.alias {
            self.names.insert(alias.value.clone(), self.stages.len());
        }
        self.stages.push(Stage {
            statement: step.statement,
            from,
            steps: Vec::new(),
            parent,
            base_name,
            base,
        });
    }

    /// The stage and those it is built from, the oldest first.
    pub(super) fn line_of(&self, stage: usize) -> Vec<&Stage<'a>> {
        let mut line = Vec::new();
        let mut next = Some(stage);
        while let Some(stage) = next
            .and_then(|index| self.stages.get(index))
            .filter(|_| line.len() < DEPTH)
        {
            line.push(stage);
            next = stage.parent;
        }
        line.reverse();
        line
    }

    /// Every statement of a kind that `BuildKit` counts as one of a stage, with those of `FROM`.
    pub(super) fn staged(&self) -> impl Iterator<Item = &'a Statement> + '_ {
        self.stages.iter().flat_map(|stage| {
            std::iter::once(stage.statement).chain(stage.steps.iter().map(|step| step.statement))
        })
    }
}
