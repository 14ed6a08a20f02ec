//! Programs written in Go, compiled from modules at pinned versions.
//!
//! Each module is pinned twice: by version, and by the checksum that Go calls `h1`.
//! What the module itself depends on is pinned by its own `go.sum`, which Go holds to.
//! So nothing depends on a checksum database, which not every proxy passes on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

mod toolchain;

use crate::process::{Cmd, tail};
use crate::workspace;

/// One program of a module.
pub(crate) struct Program {
    /// What the compiled file is called.
    pub(crate) name: &'static str,
    /// The path of the module.
    pub(crate) module: &'static str,
    /// The exact version, a tag or a pseudo-version: nothing is asked for that could move.
    pub(crate) version: &'static str,
    /// The checksum of the module, as in a `go.sum`: `h1:` and base64.
    pub(crate) sum: &'static str,
    /// The package inside the module: `.`, `./cmd/crane`.
    pub(crate) package: &'static str,
    /// What is compiled.
    pub(crate) kind: Kind,
    /// The oldest Go that compiles it: 1.19 is `(1, 19)`.
    pub(crate) needs: (u32, u32),
}

/// What kind of program a package makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its `main`.
    Main,
    /// Its tests: the package is a test suite and has no `main`.
    Tests,
}

/// Where Go puts itself when it is installed by hand; often not on `PATH`.
const USUAL: &str = "/usr/local/go/bin/go";

/// The Go command, if this machine has one.
pub(crate) fn go() -> Option<PathBuf> {
    let usual = PathBuf::from(USUAL);
    workspace::which("go").or_else(|| usual.is_file().then_some(usual))
}

/// The path of `program`, if it was compiled before.
pub(crate) fn compiled(program: &Program) -> Option<PathBuf> {
    let file = directory(program).join(program.name);
    file.is_file().then_some(file)
}

fn directory(program: &Program) -> PathBuf {
    workspace::target()
        .join("golang")
        .join(format!("{}-{}", program.name, program.version))
}

/// Compiles `program` into the target directory, unless that was done before, and returns its path.
///
/// # Errors
///
/// There is no Go, the module cannot be had or has another checksum, or it does not compile.
pub(crate) fn install(program: &Program) -> Result<PathBuf> {
    if let Some(file) = compiled(program) {
        return Ok(file);
    }
    let directory = directory(program);
    let file = directory.join(program.name);
    let Some(go) = go() else {
        bail!(
            "`{}` is written in Go and there is no `go` on PATH nor at `{USUAL}`: install Go, for example Debian's package golang-go",
            program.name
        );
    };
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create `{}`", directory.display()))?;
    let go = toolchain::at_least(program.needs, &go, &directory)?;
    let source = download(
        &go,
        program.module,
        program.version,
        program.sum,
        &directory,
    )?;
    println!(
        "compiling {} from {}@{}",
        program.name, program.module, program.version
    );
    // Compiled under another name: a file under its own is always whole.
    let unfinished = directory.join(format!("{}.{}", program.name, std::process::id()));
    let words: &[&str] = match program.kind {
        Kind::Main => &["build"],
        Kind::Tests => &["test", "-c"],
    };
    plain(&go)
        .args(words)
        .args(["-mod=readonly", "-trimpath", "-o"])
        .arg(&unfinished)
        .arg(program.package)
        .dir(&source)
        .quiet()?;
    fs::rename(&unfinished, &file)
        .with_context(|| format!("cannot create `{}`", file.display()))?;
    Ok(file)
}

/// Fetches the module and returns the directory of its source.
fn download(
    go: &Path,
    module: &str,
    version: &str,
    sum: &str,
    directory: &Path,
) -> Result<PathBuf> {
    let cmd = plain(go)
        .args(["mod", "download", "-json"])
        .arg(format!("{module}@{version}"))
        .dir(directory);
    let shown = cmd.shown().to_owned();
    let output = cmd.output()?;
    // A failure is told in the JSON as well; without JSON there is only standard error.
    let answer: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("`{shown}` failed:\n{}", tail(&output.stderr)))?;
    source(&answer, sum).with_context(|| format!("cannot have {module}@{version}"))
}

/// What `go mod download -json` says, held against the checksum that is pinned.
fn source(answer: &Value, pinned: &str) -> Result<PathBuf> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    if let Some(error) = text("Error") {
        bail!("cannot fetch it: {error}");
    }
    let sum = text("Sum").unwrap_or_default();
    if sum != pinned {
        bail!("it has the checksum `{sum}`, pinned is `{pinned}`");
    }
    let directory = text("Dir").context("Go does not say where it put the module")?;
    Ok(PathBuf::from(directory))
}

/// Go with settings that do not depend on who runs it.
fn plain(go: &Path) -> Cmd {
    Cmd::new(go)
        .env("GOFLAGS", "-buildvcs=false")
        .env("GOWORK", "off")
        .env("GOROOT", "")
        // No other Go than this one: a module that needs a newer one says so.
        .env("GOTOOLCHAIN", "local")
        .env("GONOSUMDB", "*")
        .env("CGO_ENABLED", "0")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::source;

    #[test]
    fn a_module_is_used_only_with_the_pinned_checksum() {
        let right = json!({"Sum": "h1:right=", "Dir": "/cache/tool"});
        assert_eq!(
            source(&right, "h1:right=").unwrap().to_str(),
            Some("/cache/tool")
        );
        for (answer, said) in [
            (
                json!({"Sum": "h1:wrong=", "Dir": "/cache/tool"}),
                "h1:wrong=",
            ),
            (json!({"Dir": "/cache/tool"}), "has the checksum ``"),
            (json!({"Error": "403 Forbidden"}), "403 Forbidden"),
            (json!({"Sum": "h1:right="}), "does not say where"),
        ] {
            let error = source(&answer, "h1:right=").unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
