//! What the tests do in the helper process: list what a step changed, and remove trees.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use rbuild_builder::sandbox::{Context, Handler, HandlerError, Outcome, Request};
use serde_json::{Value, json};

/// Does what the payload says: `{"remove": path}`, `{"panic": true}`, `{"fail": text}`,
/// `{"events": n}`; lists the upper directory of a step.
#[derive(Debug)]
pub(crate) struct TestHandler;

impl Handler for TestHandler {
    fn prepare(&self, request: &mut Request, ctx: &Context<'_>) -> Result<(), HandlerError> {
        if let Some(path) = request.payload["remove"].as_str() {
            remove(Path::new(path))?;
        }
        assert!(request.payload["panic"] != true, "asked to panic");
        if let Some(text) = request.payload["fail"].as_str() {
            return Err(HandlerError::from(io::Error::other(text)));
        }
        for number in 0..request.payload["events"].as_u64().unwrap_or(0) {
            ctx.emit(&json!({ "event": number }));
        }
        Ok(())
    }

    fn finish(
        &self,
        request: &Request,
        outcome: Option<Outcome>,
        ctx: &Context<'_>,
    ) -> Result<Value, HandlerError> {
        if outcome.is_some_and(|outcome| !outcome.success()) {
            return Ok(Value::Null);
        }
        let Some(step) = &request.step else {
            return Ok(Value::Null);
        };
        let mut entries = BTreeMap::new();
        list(
            &step.upper,
            &step.upper,
            ctx.overlay().xattr_prefix(),
            &mut entries,
        )?;
        Ok(serde_json::to_value(entries)?)
    }
}

/// Paths below the upper directory; directories end with `/`, whiteouts with ` whiteout`.
fn list(
    top: &Path,
    directory: &Path,
    prefix: &str,
    entries: &mut BTreeMap<String, Value>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path)?;
        let mut name = path
            .strip_prefix(top)
            .map_err(io::Error::other)?
            .display()
            .to_string();
        if metadata.is_dir() {
            name.push('/');
            list(top, &path, prefix, entries)?;
        } else if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            name.push_str(" whiteout");
        }
        let mut opaque = [0; 1];
        let opaque =
            rustix::fs::getxattr(&path, format!("{prefix}opaque"), &mut opaque[..]).is_ok();
        entries.insert(
            name,
            json!({
                "mode": metadata.mode() & 0o7777,
                "uid": metadata.uid(),
                "gid": metadata.gid(),
                "size": metadata.size(),
                "modified": [metadata.mtime(), metadata.mtime_nsec()],
                "opaque": opaque,
            }),
        );
    }
    Ok(())
}

/// Removes a tree whatever its modes are.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if !metadata.is_dir() {
        return fs::remove_file(path);
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        remove(&entry?.path())?;
    }
    fs::remove_dir(path)
}
