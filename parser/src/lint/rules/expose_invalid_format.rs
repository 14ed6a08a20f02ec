//! `ExposeInvalidFormat`: `EXPOSE` names no address and no host port.

use super::expose_proto_casing::exposed;
use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "ExposeInvalidFormat",
    summary: "`EXPOSE` names no address and no host port",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for (word, ports) in exposed(view).filter(|(_, ports)| ports.has_host) {
        let message = format!("`{}` names more than a port of the container", word.raw());
        let range = if ports.first == ports.last {
            String::new()
        } else {
            format!("-{}", ports.last)
        };
        findings.add_with_help(
            word.span,
            message,
            format!("only `{}{range}/{}` counts", ports.first, ports.protocol),
        );
    }
}
