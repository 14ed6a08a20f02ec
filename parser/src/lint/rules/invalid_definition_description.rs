//! `InvalidDefinitionDescription`: a comment right above `FROM` or `ARG` describes what it names.

use crate::instruction::Instruction;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "InvalidDefinitionDescription",
    summary: "a comment right above `FROM` or `ARG` describes what it names",
    experimental: true,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    let stages = view.stages.iter().map(|stage| {
        let names: Vec<&str> = stage
            .from
            .alias
            .iter()
            .map(|alias| alias.value.as_str())
            .collect();
        (stage.statement, names)
    });
    let steps = view
        .head
        .iter()
        .chain(view.stages.iter().flat_map(|stage| &stage.steps));
    let arguments = steps.filter_map(|step| match step.instruction {
        Some(Instruction::Arg(arg)) => Some((
            step.statement,
            arg.items
                .iter()
                .map(|item| item.name.value.as_str())
                .collect(),
        )),
        _ => None,
    });
    for (statement, names) in stages.chain(arguments) {
        let Some(comment) = statement.comments.last() else {
            continue;
        };
        let between = view
            .source
            .get(comment.span.end as usize..statement.span.start as usize)
            .unwrap_or_default();
        let first = comment.value.split(' ').next().unwrap_or_default();
        // An empty line between them says that the comment is about something else.
        if names.is_empty() || between.matches('\n').count() > 1 || names.contains(&first) {
            continue;
        }
        let message = format!(
            "comment right above `{}` does not describe what it names",
            statement.name()
        );
        let help = match &names[..] {
            [name] => {
                format!("write `# {name} DESCRIPTION`, or leave an empty line below the comment")
            }
            _ => "begin it with one of the names, or leave an empty line below it".to_owned(),
        };
        findings.add_with_help(comment.span, message, help);
    }
}
