//! Questions and answers in JSON, one line each, for editors and tests.

use serde::Deserialize;
use serde_json::{Value, json};

use super::to_json;
use crate::ignore::Ignore;
use crate::parse::parse;
use crate::span::Span;
use crate::word::Word;

/// A question.
#[derive(Debug, Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
enum Question {
    /// What a word expands to.
    Word(Expand),
    /// What a word expands to, split.
    Words(Expand),
    /// What an ignore file does to some paths.
    Ignore {
        /// The text of the file.
        input: String,
        #[serde(default)]
        paths: Vec<String>,
    },
    /// The tree of a Dockerfile.
    Parse {
        /// Its text.
        input: String,
    },
}

#[derive(Debug, Deserialize)]
struct Expand {
    input: String,
    /// `NAME=VALUE` each; a later one wins; without `=` the value is empty.
    #[serde(default)]
    env: Vec<String>,
    /// The escape character.
    #[serde(default = "backslash")]
    escape: char,
}

fn backslash() -> char {
    '\\'
}

/// Answers one line of `rbuild debug ask`: JSON in, JSON out, without a line end.
///
/// ```
/// let answer = rbuild_parser::ask(r#"{"mode": "word", "input": "a$b", "env": ["b=c"]}"#);
/// assert_eq!(answer, r#"{"word":"ac"}"#);
/// ```
pub fn ask(line: &str) -> String {
    let answer = match serde_json::from_str(line) {
        Ok(question) => answer(&question),
        Err(error) => json!({ "error": format!("the question is not understood: {error}") }),
    };
    answer.to_string()
}

fn answer(question: &Question) -> Value {
    let refused = |error: &dyn std::fmt::Display| json!({ "error": error.to_string() });
    match question {
        Question::Word(expand) => match expand.word().expand(&|name| expand.value(name)) {
            Ok(expansion) => json!({ "word": expansion.text }),
            Err(diagnostic) => refused(&diagnostic.message),
        },
        Question::Words(expand) => match expand.word().expand_words(&|name| expand.value(name)) {
            Ok(words) => json!({ "words": words }),
            Err(diagnostic) => refused(&diagnostic.message),
        },
        Question::Ignore { input, paths } => match Ignore::parse(input) {
            Ok(ignore) => {
                let ignored: Vec<bool> = paths.iter().map(|path| ignore.is_ignored(path)).collect();
                json!({ "patterns": ignore.patterns(), "ignored": ignored })
            }
            Err(bad) => refused(&bad),
        },
        Question::Parse { input } => to_json(&parse(input), input),
    }
}

impl Expand {
    fn word(&self) -> Word {
        Word::new(self.input.clone(), Span::default(), self.escape)
    }

    fn value(&self, name: &str) -> Option<String> {
        self.env.iter().rev().find_map(|entry| {
            let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
            (key == name).then(|| value.to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ask;

    #[test]
    fn questions_are_answered() {
        for (question, want) in [
            (
                r#"{"mode":"word","input":"${a}-$b","env":["a=1","b"]}"#,
                r#"{"word":"1-"}"#,
            ),
            (
                r#"{"mode":"word","input":"$a","env":["a=1","a=2"]}"#,
                r#"{"word":"2"}"#,
            ),
            (
                r#"{"mode":"word","input":"${a:?no}"}"#,
                r#"{"error":"`a`: no"}"#,
            ),
            (
                r#"{"mode":"words","input":"a $b 'c d'","env":["b=x y"]}"#,
                r#"{"words":["a","x","y","c d"]}"#,
            ),
            (
                r#"{"mode":"ignore","input":"*.o\n!b.o\n","paths":["a.o","b.o"]}"#,
                r#"{"ignored":[true,false],"patterns":["*.o","!b.o"]}"#,
            ),
            (
                r#"{"mode":"ignore","input":"!"}"#,
                r#"{"error":"line 1: nothing after `!` in pattern `!`"}"#,
            ),
        ] {
            assert_eq!(ask(question), want, "{question}");
        }
        assert!(ask("{").starts_with(r#"{"error":"#));
        assert!(ask(r#"{"mode":"what"}"#).starts_with(r#"{"error":"#));
        assert!(ask(r#"{"mode":"parse","input":"FROM a"}"#).contains(r#""instruction":"FROM""#));
    }
}
