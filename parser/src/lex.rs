//! Words, flags, JSON arrays: the small grammars inside an instruction, with nom.
//!
//! Every lexeme keeps the slice it was cut from, so that its place can be found.

use std::borrow::Cow;

use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{anychar, char, satisfy};
use nom::combinator::{eof, opt, recognize, value};
use nom::error::ErrorKind;
use nom::multi::{fold_many0, fold_many1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};

/// A part of an instruction: its slice of the logical line, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lexeme<'a> {
    /// The bytes it was cut from.
    pub(crate) slice: &'a str,
    /// Its text; quotes may be resolved, see the function that made it.
    pub(crate) text: Cow<'a, str>,
}

impl<'a> Lexeme<'a> {
    fn plain(slice: &'a str) -> Self {
        Self {
            slice,
            text: Cow::Borrowed(slice),
        }
    }
}

/// The blanks that separate arguments. Other white space is part of a word here.
pub(crate) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Cuts at the first run of blanks.
pub(crate) fn split_blank(text: &str) -> (&str, Option<&str>) {
    match text.find(is_blank) {
        Some(at) => (&text[..at], Some(text[at..].trim_start_matches(is_blank))),
        None => (text, None),
    }
}

/// Arguments separated by blanks; quotes mean nothing.
pub(crate) fn blank_separated(text: &str) -> Vec<Lexeme<'_>> {
    text.split(is_blank)
        .filter(|part| !part.is_empty())
        .map(Lexeme::plain)
        .collect()
}

/// Words separated by white space outside quotes; quotes and escapes stay in the text.
///
/// An escape character at the very end is dropped.
pub(crate) fn words(mut text: &str, escape: char) -> Vec<Lexeme<'_>> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start();
        let Ok((rest, dangling)) =
            fold_many1(word_piece(escape), || false, |_, last| last).parse(text)
        else {
            return found;
        };
        let slice = &text[..text.len() - rest.len()];
        let kept = if dangling {
            &slice[..slice.len() - escape.len_utf8()]
        } else {
            slice
        };
        if !kept.is_empty() {
            found.push(Lexeme {
                slice,
                text: Cow::Borrowed(kept),
            });
        }
        text = rest;
    }
}

/// One piece of a word; `true` when it is an escape character that escapes nothing.
fn word_piece<'a>(
    escape: char,
) -> impl Parser<&'a str, Output = bool, Error = nom::error::Error<&'a str>> {
    alt((
        dangling(escape),
        value(false, (char(escape), anychar)),
        value(
            false,
            (char('\''), take_while(|c| c != '\''), opt(char('\''))),
        ),
        preceded(char('"'), double_quoted(escape)),
        value(
            false,
            take_while1(move |c: char| !c.is_whitespace() && c != '\'' && c != '"' && c != escape),
        ),
    ))
}

/// What follows an opening double quote, to its end or the end of the text.
fn double_quoted<'a>(
    escape: char,
) -> impl Parser<&'a str, Output = bool, Error = nom::error::Error<&'a str>> {
    let inside = alt((
        dangling(escape),
        value(false, (char(escape), anychar)),
        value(false, take_while1(move |c| c != '"' && c != escape)),
    ));
    terminated(fold_many0(inside, || false, |_, last| last), opt(char('"')))
}

fn dangling<'a>(
    escape: char,
) -> impl Parser<&'a str, Output = bool, Error = nom::error::Error<&'a str>> {
    value(true, (char(escape), eof))
}

/// The flags of an instruction, and what follows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flags<'a> {
    /// The flags, quotes resolved.
    pub(crate) list: Vec<Lexeme<'a>>,
    /// The `--` that ends them.
    pub(crate) end: Option<&'a str>,
    /// The arguments.
    pub(crate) rest: &'a str,
}

/// Reads the flags at the start of the arguments.
pub(crate) fn flags(text: &str, escape: char) -> Flags<'_> {
    let mut flags = Flags {
        list: Vec::new(),
        end: None,
        rest: text,
    };
    loop {
        let text = flags.rest.trim_start();
        flags.rest = text;
        if !text.starts_with("--") {
            return flags;
        }
        // Most flags have no quotes.
        let plain = text.find(|c: char| c.is_whitespace() || c == '\'' || c == '"' || c == escape);
        let length = plain.unwrap_or(text.len());
        if length > 2
            && text[length..]
                .chars()
                .next()
                .is_none_or(char::is_whitespace)
        {
            flags.list.push(Lexeme::plain(&text[..length]));
            flags.rest = &text[length..];
            continue;
        }
        let Ok((rest, cooked)) = fold_many1(flag_piece(escape), String::new, concat).parse(text)
        else {
            return flags;
        };
        let slice = &text[..text.len() - rest.len()];
        flags.rest = rest;
        if cooked == "--" {
            flags.end = Some(slice);
            return flags;
        }
        let text = if cooked == slice {
            Cow::Borrowed(slice)
        } else {
            Cow::Owned(cooked)
        };
        flags.list.push(Lexeme { slice, text });
    }
}

fn concat(all: String, piece: String) -> String {
    if all.is_empty() { piece } else { all + &piece }
}

/// One piece of a flag, without its quotes.
fn flag_piece<'a>(
    escape: char,
) -> impl Parser<&'a str, Output = String, Error = nom::error::Error<&'a str>> {
    let plain =
        take_while1(move |c: char| !c.is_whitespace() && c != '\'' && c != '"' && c != escape);
    alt((
        plain.map(str::to_owned),
        escaped(escape),
        preceded(char('\''), quoted_flag('\'', escape)),
        preceded(char('"'), quoted_flag('"', escape)),
    ))
}

/// What follows an opening quote in a flag; the escape character counts in both kinds.
fn quoted_flag<'a>(
    quote: char,
    escape: char,
) -> impl Parser<&'a str, Output = String, Error = nom::error::Error<&'a str>> {
    let plain = take_while1(move |c| c != quote && c != escape);
    let inside = alt((plain.map(str::to_owned), escaped(escape)));
    terminated(fold_many0(inside, String::new, concat), opt(char(quote)))
}

/// An escape character and what it escapes; at the end it is dropped.
fn escaped<'a>(
    escape: char,
) -> impl Parser<&'a str, Output = String, Error = nom::error::Error<&'a str>> {
    preceded(char(escape), opt(anychar)).map(|next| next.map(String::from).unwrap_or_default())
}

/// What a text that might be a JSON array turns out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JsonArray<'a> {
    /// An array of strings, decoded.
    Strings(Vec<Lexeme<'a>>),
    /// A valid array with something else in it: the slice of the first such element.
    Mixed(&'a str),
    /// Not a JSON array.
    No,
}

/// How deep arrays and objects may nest in an array that is refused anyway.
const JSON_DEPTH: usize = 64;

/// Reads a JSON array of strings.
pub(crate) fn json_array(text: &str) -> JsonArray<'_> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return JsonArray::No;
    }
    let Ok((_, elements)) = terminated(json_elements(JSON_DEPTH), (json_blank, eof)).parse(text)
    else {
        return JsonArray::No;
    };
    let mut strings = Vec::with_capacity(elements.len());
    for (slice, element) in elements {
        match element {
            Some(text) => strings.push(Lexeme {
                slice,
                text: Cow::Owned(text),
            }),
            None => return JsonArray::Mixed(slice),
        }
    }
    JsonArray::Strings(strings)
}

type Element<'a> = (&'a str, Option<String>);

fn json_blank(text: &str) -> IResult<&str, &str> {
    take_while(|c| matches!(c, ' ' | '\t' | '\r' | '\n')).parse(text)
}

/// `[ value , value … ]`.
fn json_elements<'a>(depth: usize) -> impl Fn(&'a str) -> IResult<&'a str, Vec<Element<'a>>> {
    move |text| {
        let (mut text, _) = (char('['), json_blank).parse(text)?;
        let mut elements = Vec::new();
        if let Ok((rest, _)) = char::<_, nom::error::Error<_>>(']').parse(text) {
            return Ok((rest, elements));
        }
        loop {
            let (rest, element) = json_value(depth)(text)?;
            elements.push((&text[..text.len() - rest.len()], element));
            let (rest, separator) =
                delimited(json_blank, alt((char(','), char(']'))), json_blank).parse(rest)?;
            if separator == ']' {
                return Ok((rest, elements));
            }
            text = rest;
        }
    }
}

/// One JSON value; the text of a string, `None` for anything else.
fn json_value<'a>(depth: usize) -> impl Fn(&'a str) -> IResult<&'a str, Option<String>> {
    move |text| match text.as_bytes().first() {
        Some(b'"') => json_string.map(Some).parse(text),
        Some(b'[') if depth > 0 => value(None, json_elements(depth - 1)).parse(text),
        Some(b'{') if depth > 0 => json_object(depth - 1)(text),
        _ => value(
            None,
            alt((json_number, tag("true"), tag("false"), tag("null"))),
        )
        .parse(text),
    }
}

fn json_object<'a>(depth: usize) -> impl Fn(&'a str) -> IResult<&'a str, Option<String>> {
    move |text| {
        let (mut text, _) = (char('{'), json_blank).parse(text)?;
        if let Ok((rest, _)) = char::<_, nom::error::Error<_>>('}').parse(text) {
            return Ok((rest, None));
        }
        loop {
            let (rest, _) = (json_string, json_blank, char(':'), json_blank).parse(text)?;
            let (rest, _) = json_value(depth)(rest)?;
            let (rest, separator) =
                preceded(json_blank, alt((char(','), char('}')))).parse(rest)?;
            if separator == '}' {
                return Ok((rest, None));
            }
            (text, _) = json_blank(rest)?;
        }
    }
}

fn json_number(text: &str) -> IResult<&str, &str> {
    let digits = || take_while1(|c: char| c.is_ascii_digit());
    let whole = alt((
        tag("0"),
        recognize((
            satisfy(|c| matches!(c, '1'..='9')),
            take_while(|c: char| c.is_ascii_digit()),
        )),
    ));
    let exponent = (
        alt((char('e'), char('E'))),
        opt(alt((char('+'), char('-')))),
        digits(),
    );
    recognize((
        opt(char('-')),
        whole,
        opt((char('.'), digits())),
        opt(exponent),
    ))
    .parse(text)
}

/// A JSON string, decoded; half of a surrogate pair becomes U+FFFD.
fn json_string(text: &str) -> IResult<&str, String> {
    let plain = take_while1(|c: char| c >= ' ' && c != '"' && c != '\\').map(str::to_owned);
    let inside = alt((plain, preceded(char('\\'), json_escape)));
    delimited(
        char('"'),
        fold_many0(inside, String::new, concat),
        char('"'),
    )
    .parse(text)
}

fn json_escape(text: &str) -> IResult<&str, String> {
    let (rest, letter) = anychar.parse(text)?;
    let decoded = match letter {
        '"' | '\\' | '/' => letter,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return json_unicode(rest),
        _ => {
            return Err(nom::Err::Error(nom::error::Error::new(
                text,
                ErrorKind::Escaped,
            )));
        }
    };
    Ok((rest, decoded.to_string()))
}

/// The four digits after `\u`, and the second half of a pair when there is one.
fn json_unicode(text: &str) -> IResult<&str, String> {
    let (rest, high) = hex4(text)?;
    if (0xD800..0xDC00).contains(&high)
        && let Ok((after, low)) = preceded(tag("\\u"), hex4).parse(rest)
        && (0xDC00..0xE000).contains(&low)
    {
        let code = 0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00);
        return Ok((
            after,
            String::from(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)),
        ));
    }
    Ok((
        rest,
        String::from(char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)),
    ))
}

fn hex4(text: &str) -> IResult<&str, u32> {
    let digit = || satisfy(|c| c.is_ascii_hexdigit());
    recognize((digit(), digit(), digit(), digit()))
        .map(|digits| u32::from_str_radix(digits, 16).unwrap_or_default())
        .parse(text)
}
