//! A newer Go for programs that need one, from the same place as the programs: Go itself is a module, too.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::{download, plain};

/// The version of the module that is Go 1.26 for this kind of machine, and its checksum.
const NEWER: (u32, u32) = (1, 26);
const MODULE: &str = "golang.org/toolchain";
const VERSION: &str = "v0.0.1-go1.26.8.linux-amd64";
const SUM: &str = "h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM=";

/// `go` if it is new enough; otherwise a newer one, fetched by it.
pub(super) fn at_least(needs: (u32, u32), go: &Path, directory: &Path) -> Result<PathBuf> {
    let text = plain(go).args(["env", "GOVERSION"]).text()?;
    let version =
        version(&text).with_context(|| format!("`{}` is no version of Go", text.trim()))?;
    if version >= needs {
        return Ok(go.to_owned());
    }
    if needs > NEWER || std::env::consts::ARCH != "x86_64" {
        bail!(
            "Go {}.{} is too old: {}.{} is needed",
            version.0,
            version.1,
            needs.0,
            needs.1
        );
    }
    println!(
        "fetching Go {}.{}: {} is too old",
        NEWER.0,
        NEWER.1,
        text.trim()
    );
    let root = download(go, MODULE, VERSION, SUM, directory)?;
    // A module's files are not executable; Go does the same to the ones it fetches for itself.
    for place in ["bin", "pkg/tool/linux_amd64"] {
        let entries = fs::read_dir(root.join(place))
            .with_context(|| format!("`{}` is not as expected", root.display()))?;
        for entry in entries {
            fs::set_permissions(entry?.path(), fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(root.join("bin/go"))
}

/// `go1.19.8` is 1.19.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix("go")?.split('.');
    let digits = |text: &str| -> Option<u32> {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        text[..end].parse().ok()
    };
    Some((digits(numbers.next()?)?, digits(numbers.next()?)?))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_of_go_are_read() {
        for (text, want) in [
            ("go1.19.8\n", Some((1, 19))),
            ("go1.26", Some((1, 26))),
            ("go1.27rc1", Some((1, 27))),
            ("devel", None),
        ] {
            assert_eq!(version(text), want, "{text}");
        }
    }
}
