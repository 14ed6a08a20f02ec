//! `MaintainerDeprecated`: a label names the author, not `MAINTAINER`.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "MaintainerDeprecated",
    summary: "a label names the author, not `MAINTAINER`",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for statement in view.staged() {
        if statement.is("MAINTAINER") {
            let help = "write `LABEL org.opencontainers.image.authors=\"…\"`";
            findings.add_with_help(statement.keyword.span, "`MAINTAINER` is deprecated", help);
        }
    }
}
