//! The clients that no Debian package has: compiled from Go modules at pinned versions.

use std::path::PathBuf;

use anyhow::Result;

use crate::golang::{self, Kind, Program};

/// The client of Google's container tools.
pub(super) const CRANE: Program = Program {
    name: "crane",
    module: "github.com/google/go-containerregistry",
    version: "v0.22.1",
    sum: "h1:RZuuSYhTvlDvtsK+NkutoCZ//C0X2ebLK8X8l3ULs84=",
    package: "./cmd/crane",
    kind: Kind::Main,
    needs: (1, 26),
};

/// The client for artifacts that are no images.
pub(super) const ORAS: Program = Program {
    name: "oras",
    module: "oras.land/oras",
    version: "v1.3.1",
    sum: "h1:dFM8XHqsy4CyDblYek5VnxqfankYgRmhX1vzS2HvKrM=",
    package: "./cmd/oras",
    kind: Kind::Main,
    needs: (1, 26),
};

/// Compiles them.
pub(crate) fn install() -> Result<()> {
    for program in [CRANE, ORAS] {
        let path = golang::install(&program)?;
        println!("setup: {} is at `{}`", program.name, path.display());
    }
    Ok(())
}

/// Where the program is. `None`, said on standard error: it was never compiled, and need not be there.
pub(super) fn find(program: &Program) -> Result<Option<PathBuf>> {
    if let Some(path) = golang::compiled(program) {
        return Ok(Some(path));
    }
    let required = std::env::var("RBUILD_REQUIRE").unwrap_or_default();
    if required.split(',').any(|name| name == program.name) {
        return golang::install(program).map(Some);
    }
    eprintln!(
        "skipped, for want of `{0}`: what {0} does; `cargo xtask setup --for clients` compiles it, which needs Go",
        program.name
    );
    Ok(None)
}
