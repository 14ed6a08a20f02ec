//! A word whose variables are not yet expanded.

use crate::diagnostic::Diagnostic;
use crate::expand::{Failure, Options, expand};
use crate::span::{Span, offset};

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
    ///
    /// ```
    /// use rbuild_parser::{Span, Word};
    ///
    /// let word = Word::new("/opt/${NAME:-app}", Span::default(), '\\');
    /// let expansion = word.expand(&|_| None).expect("it is well formed");
    /// assert_eq!(expansion.text, "/opt/app");
    /// assert_eq!(expansion.missed, ["NAME"]);
    /// ```
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

    /// Whether expansion could depend on a variable.
    pub fn has_variables(&self) -> bool {
        self.text.contains('$')
    }

    /// The word with quotes removed and variables replaced.
    ///
    /// `lookup` gives the value of a name, or `None` when it is not set.
    /// The rules are those of table 1.2: `$x`, `${x}`, `${x:-w}`, `${x-w}`, `${x:+w}`, `${x+w}`,
    /// `${x:?m}`, `${x?m}`, `${x#p}`, `${x##p}`, `${x%p}`, `${x%%p}`, `${x/p/r}`, `${x//p/r}`.
    pub fn expand(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Expansion, Diagnostic> {
        let outcome = expand(&self.text, Options::word(self.escape), lookup)
            .map_err(|failure| self.diagnostic(failure))?;
        Ok(Expansion {
            text: outcome.text,
            used: outcome.used,
            missed: outcome.missed,
        })
    }

    /// Like [`Self::expand`], split at white space that no quote protects; the split comes after
    /// the expansion, so a variable can give several words.
    pub fn expand_words(
        &self,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Vec<String>, Diagnostic> {
        let outcome = expand(&self.text, Options::word(self.escape), lookup)
            .map_err(|failure| self.diagnostic(failure))?;
        Ok(outcome.words.into_iter().map(|piece| piece.text).collect())
    }

    /// The names that expansion replaces with nothing although the word says no default for them.
    pub(crate) fn undefined(&self, is_defined: &dyn Fn(&str) -> bool) -> Vec<String> {
        let lookup = |name: &str| is_defined(name).then(String::new);
        expand(&self.text, Options::word(self.escape), &lookup)
            .map(|outcome| outcome.undefined)
            .unwrap_or_default()
    }

    /// A failure with its place in the source, as exactly as the word knows it.
    fn diagnostic(&self, failure: Failure) -> Diagnostic {
        Diagnostic::error(
            failure.code,
            self.part(failure.start, failure.end),
            failure.message,
        )
    }

    /// The place of the bytes `start..end` of the text; of the whole word when lines were joined in it.
    pub(crate) fn part(&self, start: usize, end: usize) -> Span {
        if self.span.len() as usize != self.text.len() || end > self.text.len() {
            return self.span;
        }
        Span::new(
            self.span.start + offset(start),
            self.span.start + offset(end),
        )
    }
}
