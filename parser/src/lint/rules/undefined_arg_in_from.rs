//! `UndefinedArgInFrom`: `FROM` uses only arguments declared before the first stage.

use crate::lint::scope::PLATFORM_ARGUMENTS;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};
use crate::suggest::suggest;

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "UndefinedArgInFrom",
    summary: "`FROM` uses only arguments declared before the first stage",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    let known = |name: &str| view.globals.declares(name) || PLATFORM_ARGUMENTS.contains(&name);
    for stage in &view.stages {
        for word in std::iter::once(&stage.from.image).chain(&stage.from.platform) {
            for name in word.undefined(&known) {
                let near = suggest(&name, view.globals.names().chain(PLATFORM_ARGUMENTS));
                let help = match near {
                    Some(near) => format!("did you mean `${near}`?"),
                    None => format!("write `ARG {name}` above the first `FROM`"),
                };
                findings.add_with_help(
                    word.span,
                    format!("argument `{name}` of `FROM` is not declared"),
                    help,
                );
            }
        }
    }
}
