//! Links between our own pages lead somewhere.

use std::path::Path;

use super::{Findings, SourceFile};

/// Checks every relative link of a page.
pub(super) fn check(file: &SourceFile, root: &Path, findings: &mut Findings) {
    let directory = root.join(&file.path);
    let Some(directory) = directory.parent() else {
        return;
    };
    for (number, target) in links(&file.text) {
        let path = target.split('#').next().unwrap_or_default();
        let elsewhere = target.contains("://") || target.starts_with("mailto:");
        if !elsewhere && !path.is_empty() && !directory.join(path).exists() {
            findings.error(
                &format!("{}:{number}", file.path),
                format!("link to `{target}`, which is not there"),
            );
        }
    }
}

/// Targets of inline links with their line numbers; code is left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second part lies between backticks.
        for prose in line.split('`').step_by(2) {
            let mut rest = prose;
            while let Some(start) = rest.find("](") {
                rest = &rest[start + 2..];
                let Some(end) = rest.find(')') else { break };
                found.push((
                    number + 1,
                    rest[..end].split(' ').next().unwrap_or_default(),
                ));
                rest = &rest[end..];
            }
        }
    }
    // A link whose text is code is cut at its backticks: look for those in whole lines.
    for (number, line) in text.lines().enumerate() {
        let mut rest = line;
        while let Some(start) = rest.find("`](") {
            rest = &rest[start + 3..];
            let Some(end) = rest.find(')') else { break };
            let target = (number + 1, &rest[..end]);
            if !found.contains(&target) {
                found.push(target);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::links;

    #[test]
    fn links_are_found_outside_code_only() {
        let text = "See [a](docs/a.md), [b](b.md#part \"title\").\n`[no](code.md)` and [`c`](c.md)\n```\n[d](d.md)\n```\n";
        let mut targets: Vec<&str> = links(text).into_iter().map(|(_, target)| target).collect();
        targets.sort_unstable();
        targets.dedup();
        assert_eq!(targets, ["b.md#part", "c.md", "docs/a.md"]);
    }
}
