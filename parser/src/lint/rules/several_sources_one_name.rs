//! `SeveralSourcesOneName`: several sources go into a directory.

use crate::instruction::Instruction;
use std::collections::HashSet;

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "SeveralSourcesOneName",
    summary: "several sources go into a directory",
    experimental: false,
    in_buildkit: false,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in &view.stages {
        let mut directories: HashSet<&str> = HashSet::from(["/"]);
        for step in &stage.steps {
            let sources = match step.instruction {
                Some(Instruction::Workdir(word)) => {
                    directories.insert(word.raw().trim_end_matches('/'));
                    continue;
                }
                Some(Instruction::Copy(copy)) if !copy.parents => &copy.sources,
                Some(Instruction::Add(add)) => &add.sources,
                _ => continue,
            };
            let count = sources.paths.len() + sources.heredocs.len();
            let destination = &sources.destination;
            let text = destination.raw();
            let is_directory = text.ends_with(['/', '$', '}'])
                || matches!(text, "." | "..")
                || text.ends_with("/.")
                || text.ends_with("/..")
                || directories.contains(text);
            if count > 1 && !is_directory && !destination.has_variables() {
                let message = format!(
                    "{count} sources go to `{text}`; unless that is a directory, only the last remains"
                );
                findings.add_with_help(destination.span, message, format!("write `{text}/`"));
            }
        }
    }
}
