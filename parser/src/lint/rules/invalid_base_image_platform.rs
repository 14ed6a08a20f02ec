//! `InvalidBaseImagePlatform`: a base image is of the platform that is built for.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "InvalidBaseImagePlatform",
    summary: "a base image is of the platform that is built for",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in &view.stages {
        let actual = stage
            .base
            .as_ref()
            .and_then(|base| base.platform.as_deref());
        let asked = stage
            .from
            .platform
            .as_ref()
            .map(|word| word.expand(&|_| view.options.platform.map(str::to_owned)));
        let asked = asked.and_then(Result::ok).map(|expansion| expansion.text);
        let expected = asked.as_deref().or(view.options.platform);
        let (Some(actual), Some(expected)) = (actual, expected) else {
            continue;
        };
        if os_and_architecture(actual) != os_and_architecture(expected) {
            let message = format!(
                "base image `{}` is for `{actual}`, not `{expected}`",
                stage.from.image.raw()
            );
            findings.add(stage.from.image.span, message);
        }
    }
}

/// The first two parts; a variant does not count.
fn os_and_architecture(platform: &str) -> (&str, &str) {
    let mut parts = platform.split('/');
    (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    )
}
