//! Small files that appear whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::IngestId;

/// Reads a JSON file; `None` if it is not there or does not parse.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    Ok(read_bytes(path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Reads a file; `None` if it is not there.
pub(super) fn read_bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path)(error)),
    }
}

/// Writes a JSON file, unless it already holds the same.
pub(super) fn write<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(value).map_err(io::Error::from)?;
    if read_bytes(path)?.is_some_and(|old| old == bytes) {
        return Ok(());
    }
    write_parts(path, &[&bytes])
}

/// Writes a file from its parts.
pub(super) fn write_parts(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let id = IngestId::random()?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{id}{PENDING}"));
    let pending = path.with_file_name(name);
    let outcome = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&pending)?;
        for part in parts {
            file.write_all(part)?;
        }
        drop(file);
        fs::rename(&pending, path)
    })();
    if outcome.is_err() {
        // The first error is the one to tell; a leftover is swept later.
        let _ = fs::remove_file(&pending);
    }
    outcome.map_err(at(path))
}

/// How the name of a file ends while it is written.
pub(super) const PENDING: &str = ".pending";

/// Removes a file. `false`: it was not there.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(path)(error)),
    }
}

/// The names in a directory that are text, without those of files being written.
pub(super) fn list(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(at(directory))? {
        if let Ok(name) = entry.map_err(at(directory))?.file_name().into_string()
            && !name.ends_with(PENDING)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Adds the path to an error, and keeps its kind.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> io::Error + '_ {
    move |error| io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}
