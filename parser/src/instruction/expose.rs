//! `EXPOSE` and `STOPSIGNAL`: values that are checked here when no variable hides them.

use super::Instruction;
use super::read::Reader;
use crate::port;
use crate::signal;
use crate::suggest::suggest;
use crate::word::Word;

impl Reader<'_> {
    pub(super) fn stop_signal(&mut self) -> Option<Instruction> {
        self.skipped_flags();
        let word = self.text_word()?;
        if let Some(text) = constant(&word)
            && !signal::is_signal(&text)
        {
            let bare = text.to_ascii_uppercase();
            let near = suggest(bare.strip_prefix("SIG").unwrap_or(&bare), signal::names());
            let help = near.map(|near| format!("did you mean `SIG{near}`?"));
            self.error(
                "bad-signal",
                word.span,
                format!("`{text}` is no signal"),
                help,
            );
            return None;
        }
        Some(Instruction::StopSignal(word))
    }

    /// Ports without a variable are checked here; the others can be only when they are expanded.
    pub(super) fn expose(&mut self) -> Option<Instruction> {
        let words = self.some_words()?;
        for word in &words {
            let Some(text) = constant(word) else { continue };
            if let Err(reason) = port::parse(&text) {
                let help = if text.ends_with(',') {
                    Some("ports are separated by blanks".to_owned())
                } else if text.starts_with('#') {
                    Some("a comment needs a line of its own".to_owned())
                } else {
                    None
                };
                self.error("bad-port", word.span, reason, help);
            }
        }
        Some(Instruction::Expose(words))
    }
}

/// The text of a word that has no variable; `None` when only the build can know it.
fn constant(word: &Word) -> Option<String> {
    if word.has_variables() {
        return None;
    }
    word.expand(&|_| None).ok().map(|expansion| expansion.text)
}
