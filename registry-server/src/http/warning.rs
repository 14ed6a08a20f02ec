//! `Warning` headers (distribution-spec, "Warnings"; RFC 7234, 5.5): `299 - "text"`.

use axum::response::Response;
use http::{HeaderValue, header};

use crate::service::Warning;

/// All that the warnings of one answer may take, in bytes.
const TOTAL: usize = 4096;

/// Adds as many warnings as may be sent.
pub(super) fn add(response: &mut Response, warnings: impl IntoIterator<Item = Warning>) {
    let mut left = TOTAL;
    for warning in warnings {
        let Some(value) = render(&warning.to_string(), left) else {
            return;
        };
        left -= value.len();
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

/// The header of a text, cut to so many bytes; `None` if not even the frame fits.
///
/// A quoted string of printable characters: other ones are replaced, as their encoding is not defined.
fn render(text: &str, room: usize) -> Option<String> {
    const FRAME: usize = "299 - \"\"".len();
    let room = room.checked_sub(FRAME)?;
    let mut quoted = String::with_capacity(text.len().min(room));
    for character in text.chars() {
        let safe = match character {
            ' '..='~' => character,
            _ if character.is_whitespace() => ' ',
            _ => '?',
        };
        let escaped = matches!(safe, '"' | '\\');
        if quoted.len() + usize::from(escaped) + 1 > room {
            break;
        }
        if escaped {
            quoted.push('\\');
        }
        quoted.push(safe);
    }
    Some(format!("299 - \"{quoted}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_a_quoted_string_within_its_room() {
        for (text, room, want) in [
            ("use app:2", 100, Some("299 - \"use app:2\"")),
            (
                "say \"no\" \\ yes",
                100,
                Some("299 - \"say \\\"no\\\" \\\\ yes\""),
            ),
            (
                "a\r\nX: y\tz\u{e9}\u{0}",
                100,
                Some("299 - \"a  X: y z??\""),
            ),
            ("abcdef", 11, Some("299 - \"abc\"")),
            // What is escaped is not cut in two.
            ("ab\"", 11, Some("299 - \"ab\"")),
            ("", 8, Some("299 - \"\"")),
            ("", 7, None),
        ] {
            assert_eq!(render(text, room).as_deref(), want, "{text:?} {room}");
        }
    }
}
