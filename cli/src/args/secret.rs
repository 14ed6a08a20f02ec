//! `--secret`: where a secret comes from.

use std::fs;
use std::io;
use std::path::PathBuf;

use rbuild_builder::Secret;

/// One `--secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretArg {
    id: String,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Variable(String),
    /// Neither was said: the variable of that name, or else the file.
    Named,
}

/// `id=ID[,src=FILE][,env=NAME][,type=file|env]`, or `ID` alone, as docker reads it.
pub(crate) fn parse(text: &str) -> Result<SecretArg, String> {
    let (mut id, mut file, mut variable, mut kind) = (None, None, None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            None if id.is_none() => id = Some(part.to_owned()),
            Some(("id", value)) => id = Some(value.to_owned()),
            Some(("src" | "source", value)) => file = Some(value.to_owned()),
            Some(("env", value)) => variable = Some(value.to_owned()),
            Some(("type", value @ ("file" | "env"))) => kind = Some(value),
            Some(("type", value)) => {
                return Err(format!("`{value}` is no type of a secret: `file` or `env`"));
            }
            _ => {
                return Err(format!(
                    "`{part}` is not understood: give `id`, `src`, `env` or `type`"
                ));
            }
        }
    }
    let id = id
        .filter(|id| !id.is_empty())
        .ok_or("the `id` is missing")?;
    let source = match (file, variable, kind) {
        (Some(_), Some(_), _) => return Err("give either `src` or `env`".to_owned()),
        (Some(name), None, Some("env")) | (None, Some(name), _) => Source::Variable(name),
        (Some(path), None, _) => Source::File(path.into()),
        (None, None, Some("env")) => Source::Variable(id.clone()),
        (None, None, Some(_)) => Source::File(id.clone().into()),
        (None, None, None) => Source::Named,
    };
    Ok(SecretArg { id, source })
}

impl SecretArg {
    /// Reads the secret.
    pub(crate) fn read(&self) -> io::Result<Secret> {
        let variable =
            |name: &str| std::env::var_os(name).map(std::ffi::OsString::into_encoded_bytes);
        let file = |path: &PathBuf| {
            fs::read(path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })
        };
        let content = match &self.source {
            Source::File(path) => file(path)?,
            Source::Variable(name) => variable(name).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("the variable `{name}` is not set"),
                )
            })?,
            Source::Named => match variable(&self.id) {
                Some(content) => content,
                None => file(&PathBuf::from(&self.id))?,
            },
        };
        Ok(Secret {
            id: self.id.clone(),
            content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, id: &str, source: Source) {
        assert_eq!(
            parse(text),
            Ok(SecretArg {
                id: id.to_owned(),
                source
            }),
            "{text}"
        );
    }

    #[test]
    fn sources_of_secrets() {
        check("id=a,src=/f", "a", Source::File("/f".into()));
        check("id=a,source=/f,type=file", "a", Source::File("/f".into()));
        check("id=a,env=V", "a", Source::Variable("V".into()));
        check("type=env,id=a", "a", Source::Variable("a".into()));
        check("id=a", "a", Source::Named);
        check("a", "a", Source::Named);
    }

    #[test]
    fn other_forms_are_refused() {
        for text in [
            "",
            "src=/f",
            "id=a,src=f,env=e",
            "id=a,type=x",
            "id=a,what=x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
