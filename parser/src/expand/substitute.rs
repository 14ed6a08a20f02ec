//! `$name` and `${name…}`.

use super::glob::{Glob, LONGEST};
use super::{DEPTH, Escapes, Failure, Lexer};

impl Lexer<'_> {
    /// `$name`, `${name}`, `${name<modifier>…}`, or a lone `$`.
    pub(super) fn dollar(&mut self) -> Result<String, Failure> {
        let start = self.position;
        self.next();
        if self.peek() != Some('{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.value(&name) {
                None if self.options.keep_unset => format!("${name}"),
                value => value.unwrap_or_default(),
            });
        }
        self.next();
        if self.depth >= DEPTH {
            return Err(self.failure("bad-substitution", "variables are nested too deeply", start));
        }
        match self.peek() {
            None => return Err(self.failure("bad-substitution", "`}` is missing", start)),
            Some('{' | '}' | ':') => {
                self.next();
                return Err(self.failure(
                    "bad-substitution",
                    "`${` is not followed by a name",
                    start,
                ));
            }
            Some(_) => {}
        }
        let name = self.name();
        self.depth += 1;
        let value = self.modified(start, &name);
        self.depth -= 1;
        value
    }

    /// What stands between the name and `}`.
    fn modified(&mut self, start: usize, name: &str) -> Result<String, Failure> {
        let Some(first) = self.next() else {
            return Err(self.failure("bad-substitution", "`}` is missing", start));
        };
        match first {
            '}' => Ok(match self.value(name) {
                None if self.options.keep_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            ':' => match self.next() {
                Some(modifier @ ('-' | '+' | '?')) => self.conditional(start, name, modifier, true),
                Some(other) => Err(self.unsupported(start, &format!(":{other}"))),
                None => Err(self.failure("bad-substitution", "`}` is missing", start)),
            },
            '-' | '+' | '?' => self.conditional(start, name, first, false),
            '#' | '%' => self.trimmed(start, name, first),
            '/' => self.replaced(start, name),
            other => Err(self.unsupported(start, &other.to_string())),
        }
    }

    fn unsupported(&self, start: usize, modifier: &str) -> Failure {
        self.failure(
            "bad-substitution",
            format!("modifier `{modifier}` is not supported in a substitution"),
            start,
        )
    }

    /// The text up to `stop`; its absence is an error of the whole substitution.
    fn argument(&mut self, start: usize, stop: char, escapes: Escapes) -> Result<String, Failure> {
        self.arguments += 1;
        match self.until(Some(stop), escapes) {
            Ok((text, _)) => Ok(text),
            Err(_) if self.peek().is_none() => {
                Err(self.failure("bad-substitution", format!("`{stop}` is missing"), start))
            }
            Err(failure) => Err(failure),
        }
    }

    /// `-`, `+` and `?`; with a colon an empty value counts as none.
    fn conditional(
        &mut self,
        start: usize,
        name: &str,
        modifier: char,
        colon: bool,
    ) -> Result<String, Failure> {
        let word = self.argument(start, '}', Escapes::Dropped)?;
        let value = self.optional_value(name);
        if value.is_none() && self.options.keep_unset {
            let colon = if colon { ":" } else { "" };
            return Ok(format!("${{{name}{colon}{modifier}{word}}}"));
        }
        let present = value
            .as_ref()
            .is_some_and(|value| !(colon && value.is_empty()));
        match modifier {
            '-' => Ok(value.filter(|_| present).unwrap_or(word)),
            '+' => Ok(if present { word } else { String::new() }),
            _ if present => Ok(value.unwrap_or_default()),
            _ => {
                let state = if value.is_none() {
                    "is not allowed to be unset"
                } else {
                    "is not allowed to be empty"
                };
                let reason = if word.is_empty() { state } else { &word };
                Err(self.failure("variable-required", format!("`{name}`: {reason}"), start))
            }
        }
    }

    /// `#`, `##`, `%` and `%%`.
    fn trimmed(&mut self, start: usize, name: &str, modifier: char) -> Result<String, Failure> {
        let word = self.argument(start, '}', Escapes::Pattern)?;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}{modifier}{word}}}"));
        }
        let value = value.unwrap_or_default();
        let (pattern, longest) = match word.strip_prefix(modifier) {
            Some(pattern) => (pattern, true),
            None => (word.as_str(), false),
        };
        let bad = |reason| self.failure("bad-pattern", reason, start);
        Ok(if modifier == '#' {
            Glob::parse(pattern)
                .map_err(bad)?
                .trim_start(&value, longest)
        } else {
            Glob::parse_reversed(pattern)
                .map_err(bad)?
                .trim_end(&value, longest)
        })
    }

    /// `/pattern/replacement` and `//pattern/replacement`.
    fn replaced(&mut self, start: usize, name: &str) -> Result<String, Failure> {
        let all = self.peek() == Some('/');
        if all {
            self.next();
        }
        let pattern = self.argument(start, '/', Escapes::Pattern)?;
        let replacement = self.argument(start, '}', Escapes::Kept)?;
        let value = self.value(name);
        if value.is_none() && self.options.keep_unset {
            return Ok(format!("${{{name}/{pattern}/{replacement}}}"));
        }
        let glob =
            Glob::parse(&pattern).map_err(|reason| self.failure("bad-pattern", reason, start))?;
        glob.replace(&value.unwrap_or_default(), &replacement, all)
            .ok_or_else(|| {
                let message = format!("the result is longer than {} MiB", LONGEST >> 20);
                self.failure("bad-substitution", message, start)
            })
    }

    /// Letters, digits and `_`; digits alone; or one special parameter.
    fn name(&mut self) -> String {
        let rest = &self.input[self.position..];
        let length = match rest.chars().next() {
            Some(first) if first.is_numeric() => {
                rest.find(|c: char| !c.is_numeric()).unwrap_or(rest.len())
            }
            Some('@' | '*' | '#' | '?' | '-' | '$' | '!') => 1,
            _ => rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len()),
        };
        self.position += length;
        rest[..length].to_owned()
    }

    /// The value of a name whose absence the text does not provide for.
    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.optional_value(name);
        if value.is_none() {
            note(&mut self.undefined, name);
        }
        value
    }

    fn optional_value(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        note(
            if value.is_some() {
                &mut self.used
            } else {
                &mut self.missed
            },
            name,
        );
        value
    }
}

fn note(names: &mut Vec<String>, name: &str) {
    if !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}
