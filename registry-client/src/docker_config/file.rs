//! The file itself: what we do not know in it stays, and it is replaced whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Map, Value};

use super::entry;
use crate::Credential;

/// The content of a `config.json` or `auth.json`.
#[derive(Debug)]
pub(super) struct ConfigFile {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl ConfigFile {
    /// Reads a file; one that is not there, or is empty, has no fields.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                String::new()
            }
            Err(error) => return Err(at(path, error.kind(), &error.to_string())),
        };
        let fields = if text.trim().is_empty() {
            Map::new()
        } else {
            // The reader's own message would quote the text, and with it secrets; its place suffices.
            serde_json::from_str(&text).map_err(|error| {
                let place = format!(
                    "it is not the JSON of a configuration (line {}, column {})",
                    error.line(),
                    error.column()
                );
                at(path, io::ErrorKind::InvalidData, &place)
            })?
        };
        Ok(Self {
            path: path.to_owned(),
            fields,
        })
    }

    /// The helper that `credHelpers` names for a registry.
    pub(super) fn helper_of(&self, registry: &str) -> Option<&str> {
        let helpers = self.fields.get("credHelpers")?.as_object()?;
        let (_, name) = helpers
            .iter()
            .find(|(key, _)| entry::is_key_of(key, registry))?;
        name.as_str().filter(|name| !name.is_empty())
    }

    /// The helper for all other registries, `credsStore`.
    pub(super) fn default_helper(&self) -> Option<&str> {
        let name = self.fields.get("credsStore")?.as_str()?;
        (!name.is_empty()).then_some(name)
    }

    /// The credential that stands in the file itself.
    pub(super) fn credential(&self, registry: &str) -> io::Result<Option<Credential>> {
        let Some(auths) = self.fields.get("auths").and_then(Value::as_object) else {
            return Ok(None);
        };
        // The key that we write ourselves wins over other spellings.
        let exact = auths.get_key_value(entry::key(registry)).into_iter();
        let spellings = auths
            .iter()
            .filter(|(key, _)| entry::is_key_of(key, registry));
        for (key, value) in exact.chain(spellings) {
            let Some(fields) = value.as_object() else {
                continue;
            };
            let found = entry::read(fields).map_err(|reason| {
                let reason = format!("the entry `{key}` is broken: {reason}");
                at(&self.path, io::ErrorKind::InvalidData, &reason)
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Sets the entry of a registry, and removes other spellings of it, which would be stale.
    pub(super) fn put(&mut self, registry: &str, value: Value) -> io::Result<()> {
        self.remove(registry);
        let auths = self
            .fields
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        let Some(auths) = auths.as_object_mut() else {
            return Err(at(
                &self.path,
                io::ErrorKind::InvalidData,
                "`auths` is no object",
            ));
        };
        auths.insert(entry::key(registry).to_owned(), value);
        Ok(())
    }

    /// Removes all entries of a registry; false if there was none.
    pub(super) fn remove(&mut self, registry: &str) -> bool {
        let Some(auths) = self.fields.get_mut("auths").and_then(Value::as_object_mut) else {
            return false;
        };
        let before = auths.len();
        auths.retain(|key, _| !entry::is_key_of(key, registry));
        auths.len() < before
    }

    /// Replaces the file, readable by its owner alone. A symbolic link stays one; its target is replaced.
    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        let target = match fs::canonicalize(path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(at(path, error.kind(), &error.to_string())),
        };
        let mut text = Vec::new();
        let formatter = PrettyFormatter::with_indent(b"\t");
        self.fields
            .serialize(&mut Serializer::with_formatter(&mut text, formatter))?;
        text.push(b'\n');
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let temporary = target.with_file_name(format!(".{name}.{}.new", std::process::id()));
        let replace = || -> io::Result<()> {
            // What an earlier process of the same number left behind is nobody's.
            drop(fs::remove_file(&temporary));
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &target)
        };
        replace().map_err(|error| {
            drop(fs::remove_file(&temporary));
            at(
                path,
                error.kind(),
                &format!("it cannot be written: {error}"),
            )
        })
    }
}

/// Keeps other `login`s and `logout`s out until the returned file is dropped; makes the directory if need be.
pub(super) fn lock_directory(path: &Path) -> io::Result<File> {
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let lock = || {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let handle = File::open(directory)?;
        handle.lock()?;
        Ok(handle)
    };
    lock().map_err(|error: io::Error| at(directory, error.kind(), &error.to_string()))
}

fn at(path: &Path, kind: io::ErrorKind, reason: &str) -> io::Error {
    io::Error::new(kind, format!("`{}`: {reason}", path.display()))
}
