//! Rules of the house that no compiler checks.

mod dependencies;
mod markdown;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::workspace::root;

/// What a rule found.
#[derive(Default)]
pub(crate) struct Findings {
    errors: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn error(&mut self, place: &str, what: impl AsRef<str>) {
        self.errors.push(format!("{place}: {}", what.as_ref()));
    }

    fn warning(&mut self, place: &str, what: impl AsRef<str>) {
        self.warnings.push(format!("{place}: {}", what.as_ref()));
    }
}

/// A file of the checkout.
struct SourceFile {
    /// Path from the root, with forward slashes.
    path: String,
    text: String,
}

/// Checks everything; an error if a rule is broken.
pub(crate) fn run() -> Result<()> {
    let mut findings = Findings::default();
    let files = tracked_files()?;
    dependencies::check(&mut findings)?;
    for file in &files {
        match extension(&file.path) {
            Some("rs") => source::check(file, &mut findings),
            _ => markdown::check(file, &root(), &mut findings),
        }
    }
    changelog(&files, &mut findings);

    for warning in &findings.warnings {
        println!("warning: {warning}");
    }
    for error in &findings.errors {
        println!("error: {error}");
    }
    println!(
        "tidy: {} files, {} warnings, {} errors",
        files.len(),
        findings.warnings.len(),
        findings.errors.len()
    );
    if !findings.errors.is_empty() {
        bail!("the checkout is not tidy");
    }
    Ok(())
}

/// Rust and Markdown files of the checkout, build output and hidden directories left out.
fn tracked_files() -> Result<Vec<SourceFile>> {
    let root = root();
    let mut files = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory)
            .with_context(|| format!("cannot read `{}`", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            if path.is_dir() && !path.is_symlink() {
                if !name.starts_with('.') && !name.starts_with("target") && name != "testdata" {
                    directories.push(path);
                }
            } else if matches!(extension(&name), Some("rs" | "md")) {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                files.push(SourceFile {
                    path: relative(&root, &path),
                    text,
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn extension(path: &str) -> Option<&str> {
    Path::new(path)
        .extension()
        .and_then(|extension| extension.to_str())
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root)
        .map_or_else(|_| PathBuf::from(path), Path::to_owned)
        .to_string_lossy()
        .into_owned()
}

/// The changelog speaks of the version in the manifest, or of what is not released yet.
fn changelog(files: &[SourceFile], findings: &mut Findings) {
    let Some(changelog) = files.iter().find(|file| file.path == "CHANGELOG.md") else {
        findings.error("CHANGELOG.md", "is missing");
        return;
    };
    let version = format!("## {}", env!("CARGO_PKG_VERSION"));
    let heading = changelog.text.lines().position(|line| {
        line.starts_with(&version)
            || line.starts_with("## Unreleased")
            || line.starts_with("## [Unreleased]")
    });
    let entries = heading.map(|line| {
        changelog
            .text
            .lines()
            .skip(line + 1)
            .take_while(|line| !line.starts_with("## "))
            .any(|line| !line.trim().is_empty())
    });
    if entries != Some(true) {
        findings.error(
            "CHANGELOG.md",
            format!("no entry under `{version}` or `## Unreleased`"),
        );
    }
}
