//! `ONBUILD`.

use super::read::{Reader, as_warning, read};
use super::{Instruction, Onbuild};
use crate::span::Spanned;
use crate::syntax::{Shape, Statement};

impl Reader<'_> {
    /// The trigger is read as well. What is wrong with it is a warning only: it matters where the
    /// image is used, and other builders may know more instructions.
    pub(super) fn onbuild(&mut self) -> Option<Instruction> {
        self.flags(&[]);
        let Some(child) = &self.statement.child else {
            self.missing("an instruction");
            return None;
        };
        let name = child.name();
        if matches!(name, "ONBUILD" | "FROM" | "MAINTAINER") {
            self.error(
                "bad-trigger",
                child.keyword.span,
                format!("`{name}` cannot be a trigger of `ONBUILD`"),
                None,
            );
            return None;
        }
        let mut found = Vec::new();
        let instruction = read(child, self.escape, &mut found);
        self.diagnostics.extend(found.into_iter().map(as_warning));
        let instruction =
            instruction.map(|instruction| Box::new(Spanned::new(instruction, child.span)));
        Some(Instruction::Onbuild(Onbuild {
            text: trigger_text(self.statement),
            instruction,
        }))
    }
}

/// The trigger as the image config stores it: without `ONBUILD`, the heredocs put back below.
fn trigger_text(statement: &Statement) -> String {
    let Shape::Child { text } = &statement.arguments.shape else {
        return String::new();
    };
    let mut text = text.clone();
    for heredoc in &statement.heredocs {
        text.push('\n');
        text.push_str(&heredoc.content);
        text.push_str(&heredoc.name);
    }
    text
}
