//! `FROM`.

use super::flag::Kind;
use super::read::Reader;
use super::{From, Instruction};
use crate::span::{Span, Spanned};
use crate::word::Word;

impl Reader<'_> {
    pub(super) fn from(&mut self) -> Option<Instruction> {
        let platform = self.flags(&[("platform", Kind::Value)]).word("platform");
        let words = self.words();
        let (image, alias) = match &words[..] {
            [image] => (image, None),
            [image, keyword, name] if keyword.raw().eq_ignore_ascii_case("as") => {
                (image, Some(name))
            }
            [] => {
                self.missing("an image");
                return None;
            }
            [_, second, ..] => {
                let rest = self.statement.arguments.text.span;
                let span = Span::new(second.span.start, rest.end);
                let help = if second.raw().starts_with('#') {
                    "a comment needs a line of its own"
                } else {
                    "it takes `IMAGE`, or `IMAGE AS NAME`"
                };
                self.error(
                    "from-arguments",
                    span,
                    "`FROM` takes one or three arguments",
                    Some(help.to_owned()),
                );
                return None;
            }
        };
        let alias = match alias {
            None => None,
            Some(name) => Some(self.stage_name(name)?),
        };
        Some(Instruction::From(From {
            image: image.clone(),
            alias,
            platform,
        }))
    }

    /// A stage name: a letter, then letters, digits, `-`, `_` and `.`; kept in lower case.
    fn stage_name(&mut self, name: &Word) -> Option<Spanned<String>> {
        let lower = name.raw().to_lowercase();
        let valid = lower.starts_with(|c: char| c.is_ascii_lowercase())
            && lower.chars().all(|c| {
                c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
            });
        if !valid {
            let help = "it begins with a letter and goes on with letters, digits, `-`, `_` and `.`"
                .to_owned();
            self.error(
                "bad-stage-name",
                name.span,
                format!("`{}` cannot name a stage", name.raw()),
                Some(help),
            );
            return None;
        }
        Some(Spanned::new(lower, name.span))
    }
}
