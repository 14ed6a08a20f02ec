//! Makes output comparable: what differs from run to run becomes a label.

use std::collections::BTreeMap;

/// Replaces digests, times and sizes in texts of one test, with the same label for the same digest.
#[derive(Debug, Default)]
pub(crate) struct Normaliser {
    labels: BTreeMap<String, String>,
}

impl Normaliser {
    pub(crate) fn text(&mut self, text: &str) -> String {
        let mut out = String::new();
        let mut word = String::new();
        for c in text.chars() {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                word.push(c);
            } else {
                out.push_str(&self.word(&word));
                word.clear();
                out.push(c);
            }
        }
        out.push_str(&self.word(&word));
        let lines: Vec<String> = out.lines().map(line).collect();
        lines.join("\n")
    }

    fn word(&mut self, word: &str) -> String {
        let (core, end) = match word.strip_suffix('.') {
            Some(core) => (core, "."),
            None => (word, ""),
        };
        let hex = core.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let digits = core.bytes().any(|b| b.is_ascii_digit());
        let replaced = if hex && digits && (core.len() == 64 || core.len() == 12) {
            self.label(&core[..12])
        } else if core.len() > 6 && core.bytes().all(|b| b.is_ascii_digit()) {
            "[N]".to_owned()
        } else if core == rbuild_image::Platform::host().architecture {
            "[ARCH]".to_owned()
        } else if is_number(core, &["s"]) || is_milliseconds(core) {
            "[T]".to_owned()
        } else if is_number(core, &["B", "kB", "MB", "GB"]) {
            "[SIZE]".to_owned()
        } else {
            core.to_owned()
        };
        format!("{replaced}{end}")
    }

    fn label(&mut self, digest: &str) -> String {
        let next = format!("[D{}]", self.labels.len() + 1);
        self.labels.entry(digest.to_owned()).or_insert(next).clone()
    }
}

/// A number with one of these units.
fn is_number(word: &str, units: &[&str]) -> bool {
    units.iter().any(|unit| {
        word.strip_suffix(unit).is_some_and(|number| {
            number.starts_with(|c: char| c.is_ascii_digit())
                && number.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        })
    })
}

/// `0.123`, before each line of output.
fn is_milliseconds(word: &str) -> bool {
    word.split_once('.').is_some_and(|(whole, part)| {
        part.len() == 3
            && !whole.is_empty()
            && [whole, part]
                .iter()
                .all(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
    })
}

/// One line: ages replaced, columns brought together, nothing at its end.
fn line(text: &str) -> String {
    let mut text = text.to_owned();
    // Underlines stand below what they mark.
    if text.contains(" | ") {
        return text.trim_end().to_owned();
    }
    if let Some(at) = text.find(" ago")
        && !text.starts_with('{')
    {
        let start = text[..at].rfind("   ").map_or(0, |start| start + 3);
        text.replace_range(start..at + 4, "[AGO]");
    }
    let mut out = String::new();
    let indent = text.len() - text.trim_start().len();
    out.push_str(&text[..indent]);
    let mut spaces = 0;
    for c in text[indent..].chars() {
        spaces = if c == ' ' { spaces + 1 } else { 0 };
        if spaces <= 3 {
            out.push(c);
        }
    }
    out.trim_end().to_owned()
}

#[test]
fn what_differs_is_replaced() {
    let mut normal = Normaliser::default();
    let digest = "a4ef9745eda2f3acbe23c37a97842a4d3959bdf17f658676d4b158ba134f54f2";
    let text = format!(
        "x sha256:{digest} {}\n#4 0.062 1.2s 1.99MB.\napp      1   2 days ago   x",
        &digest[..12]
    );
    assert_eq!(
        normal.text(&text),
        "x sha256:[D1] [D1]\n#4 [T] [T] [SIZE].\napp   1   [AGO]   x"
    );
}
