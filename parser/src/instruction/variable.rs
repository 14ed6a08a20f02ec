//! `ARG`, `ENV` and `LABEL`: names and values.

use super::read::Reader;
use super::{Arg, ArgItem, Instruction, Pair};
use crate::span::Spanned;
use crate::syntax::Shape;
use crate::word::Word;

impl Reader<'_> {
    pub(super) fn arg(&mut self) -> Option<Instruction> {
        self.skipped_flags();
        let words = self.words();
        if words.is_empty() {
            self.missing("at least one name");
            return None;
        }
        let mut items = Vec::with_capacity(words.len());
        for word in &words {
            let (name, default) = match word.raw().split_once('=') {
                Some((name, default)) => (name, Some(default)),
                None => (word.raw(), None),
            };
            if name.is_empty() {
                self.error(
                    "blank-name",
                    word.span,
                    "`ARG` needs a name before `=`",
                    None,
                );
                continue;
            }
            let default_at = name.len() + 1;
            items.push(ArgItem {
                name: Spanned::new(name.to_owned(), word.part(0, name.len())),
                default: default.map(|text| {
                    Word::new(
                        text,
                        word.part(default_at, default_at + text.len()),
                        self.escape,
                    )
                }),
            });
        }
        Some(Instruction::Arg(Arg { items }))
    }

    pub(super) fn pairs(&mut self) -> Option<(Vec<Pair>, bool)> {
        self.flags(&[]);
        let Shape::Pairs { pairs, legacy } = &self.statement.arguments.shape else {
            return None;
        };
        if pairs.is_empty() {
            self.missing("at least one name and value");
            return None;
        }
        let mut typed = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            if key.value.is_empty() {
                let message = format!("`{}` needs a name before `=`", self.statement.name());
                self.error("blank-name", key.span.join(value.span), message, None);
                continue;
            }
            typed.push(Pair {
                key: self.word(key),
                value: self.word(value),
            });
        }
        Some((typed, *legacy))
    }
}
