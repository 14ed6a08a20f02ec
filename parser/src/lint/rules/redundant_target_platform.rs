//! `RedundantTargetPlatform`: `--platform=$TARGETPLATFORM` says nothing.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "RedundantTargetPlatform",
    summary: "`--platform=$TARGETPLATFORM` says nothing",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    const MARK: &str = "\u{1}";
    for platform in view
        .stages
        .iter()
        .filter_map(|stage| stage.from.platform.as_ref())
    {
        let lookup = |name: &str| (name == "TARGETPLATFORM").then(|| MARK.to_owned());
        if platform
            .expand(&lookup)
            .is_ok_and(|expansion| expansion.text == MARK && expansion.missed.is_empty())
        {
            let message = format!("platform `{}` is what a stage has anyway", platform.raw());
            findings.add_with_help(platform.span, message, "remove the flag");
        }
    }
}
