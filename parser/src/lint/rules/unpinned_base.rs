//! `UnpinnedBase`: a base image has a tag other than `latest`, or a digest.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "UnpinnedBase",
    summary: "a base image has a tag other than `latest`, or a digest",
    experimental: false,
    in_buildkit: false,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in view.stages.iter().filter(|stage| stage.parent.is_none()) {
        let image = &stage.from.image;
        let Some(name) = stage
            .base_name
            .as_deref()
            .filter(|name| !name.is_empty() && *name != "scratch")
        else {
            continue;
        };
        if name.contains('@') {
            continue;
        }
        let last = name.rsplit('/').next().unwrap_or(name);
        let message = match last.split_once(':') {
            None => format!("base image `{name}` has no tag, so it is `latest`"),
            Some((_, "latest")) => format!("base image `{name}` is whatever is the latest today"),
            Some(_) => continue,
        };
        findings.add_with_help(
            image.span,
            message,
            "name a version, or a digest: `IMAGE:TAG@sha256:…`",
        );
    }
}
