//! `FromPlatformFlagConstDisallowed`: `--platform` of `FROM` is not a constant.

use crate::lint::view::View;
use crate::lint::{Findings, Rule};

/// The rule.
pub(super) const RULE: Rule = Rule {
    name: "FromPlatformFlagConstDisallowed",
    summary: "`--platform` of `FROM` is not a constant",
    experimental: false,
    in_buildkit: true,
    check,
};

fn check(view: &View<'_>, findings: &mut Findings) {
    for stage in &view.stages {
        let Some(platform) = stage
            .from
            .platform
            .as_ref()
            .filter(|word| !word.has_variables())
        else {
            continue;
        };
        let Ok(expansion) = platform.expand(&|_| None) else {
            continue;
        };
        let parts: Vec<&str> = expansion.text.split('/').collect();
        // A stage that says the platform in its name means it.
        let said = stage.from.alias.as_ref().is_some_and(|alias| {
            parts
                .iter()
                .take(2)
                .any(|part| alias.value.contains(normal(part)))
        });
        if !said && parts.iter().all(|part| !part.is_empty()) {
            let message = format!(
                "platform `{}` is fixed, whatever platform is built for",
                expansion.text
            );
            let help = "remove the flag, or write `--platform=$BUILDPLATFORM` for tools that run during the build";
            findings.add_with_help(platform.span, message, help);
        }
    }
}

/// The name that Go has for an architecture.
fn normal(part: &str) -> &str {
    match part {
        "x86_64" | "x86-64" => "amd64",
        "aarch64" => "arm64",
        "armhf" | "armel" => "arm",
        "i386" => "386",
        other => other,
    }
}
