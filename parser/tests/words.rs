//! Words: what expansion makes of them. The outcomes are those of `BuildKit`'s own tests, and ours.

use rbuild_parser::{Span, Word};

#[track_caller]
fn word(text: &str) -> Word {
    Word::new(text, Span::default(), '\\')
}

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "PWD" => "/home",
        "SHELL" => "bash",
        "KOREAN" => "한국어",
        "NULL" => "",

        _ => return None,
    };
    Some(value.to_owned())
}

/// As in `BuildKit`'s table of words with variables.
const EXPANDED: &[(&str, &str)] = &[
    ("hello", "hello"),
    ("he'll'o", "hello"),
    (r"he\'llo", "he'llo"),
    (r"abc\tdef", "abctdef"),
    (r#""abc\tdef""#, r"abc\tdef"),
    (r#""abc\\tdef""#, r"abc\tdef"),
    (r"'abc\tdef'", r"abc\tdef"),
    (r"hello\", "hello"),
    (r"hello\\", r"hello\"),
    (r#""hel'lo""#, "hel'lo"),
    (r"'hello\'", r"hello\"),
    (r"'hello\there'", r"hello\there"),
    (r"'hello\\there'", r"hello\\there"),
    (r#""''""#, "''"),
    ("$.", "$."),
    ("he$1x", "hex"),
    ("he$.x", "he$.x"),
    ("he$pwd.", "he."),
    ("he$PWD", "he/home"),
    (r"he\$PWD", "he$PWD"),
    (r"he\\$PWD", r"he\/home"),
    (r#""he\$PWD""#, "he$PWD"),
    (r#""he\\$PWD""#, r"he\/home"),
    (r"\${}", "${}"),
    (r"\${}aaa", "${}aaa"),
    (r"he\${}", "he${}"),
    (r"he\${}xx", "he${}xx"),
    ("he${hi}", "he"),
    ("he${hi}xx", "hexx"),
    ("he${PWD}", "he/home"),
    ("he${XXX:-000}xx", "he000xx"),
    ("he${PWD:-000}xx", "he/homexx"),
    ("he${XXX:-$PWD}xx", "he/homexx"),
    ("he${XXX:-${PWD:-yyy}}xx", "he/homexx"),
    ("he${XXX:-${YYY:-yyy}}xx", "heyyyxx"),
    ("he${PWD?}", "he/home"),
    ("he${PWD:?}", "he/home"),
    ("he${NULL?}", "he"),
    ("he${XXX:+${PWD}}xx", "hexx"),
    ("he${PWD:+${XXX}}xx", "hexx"),
    ("he${PWD:+${SHELL}}xx", "hebashxx"),
    ("he${XXX:+000}xx", "hexx"),
    ("he${PWD:+000}xx", "he000xx"),
    ("'he${XX}'", "he${XX}"),
    (r#""he${PWD}""#, "he/home"),
    (r#""he'$PWD'""#, "he'/home'"),
    (r#""$PWD""#, "/home"),
    ("'$PWD'", "$PWD"),
    (r"'\$PWD'", r"\$PWD"),
    (r#"'"hello"'"#, r#""hello""#),
    (r"'he\$PWD'", r"he\$PWD"),
    ("he${PWD:+${PWD}:}xx", "he/home:xx"),
    (r"he${XXX:-\$PWD:}xx", "he$PWD:xx"),
    (r"he${XXX:-\${PWD}z}xx", "he${PWDz}xx"),
    ("안녕하세요", "안녕하세요"),
    ("안'녕'하세요", "안녕하세요"),
    (r"안녕\'하세요", "안녕'하세요"),
    (r"안녕\t하세요", "안녕t하세요"),
    (r#""안녕\t하세요""#, r"안녕\t하세요"),
    (r"안녕하세요\", "안녕하세요"),
    (r"안녕하세요\\", r"안녕하세요\"),
    (r#""안녕'하세요""#, "안녕'하세요"),
    (r"'안녕하세요\'", r"안녕하세요\"),
    ("안녕$1x", "안녕x"),
    ("안녕$.x", "안녕$.x"),
    ("안녕$pwd.", "안녕."),
    ("안녕$PWD", "안녕/home"),
    (r"안녕\$PWD", "안녕$PWD"),
    (r"안녕\\$PWD", r"안녕\/home"),
    (r"안녕\${}", "안녕${}"),
    (r"안녕\${}xx", "안녕${}xx"),
    ("안녕${hi}", "안녕"),
    ("안녕${hi}xx", "안녕xx"),
    ("안녕${PWD}", "안녕/home"),
    ("안녕${XXX:-000}xx", "안녕000xx"),
    ("안녕${PWD:-000}xx", "안녕/homexx"),
    ("안녕${XXX:-$PWD}xx", "안녕/homexx"),
    ("안녕${XXX:-${PWD:-yyy}}xx", "안녕/homexx"),
    ("안녕${XXX:-${YYY:-yyy}}xx", "안녕yyyxx"),
    ("안녕${XXX:+${PWD}}xx", "안녕xx"),
    ("안녕${PWD:+${XXX}}xx", "안녕xx"),
    ("안녕${PWD:+${SHELL}}xx", "안녕bashxx"),
    ("안녕${XXX:+000}xx", "안녕xx"),
    ("안녕${PWD:+000}xx", "안녕000xx"),
    ("'안녕${XX}'", "안녕${XX}"),
    (r#""안녕${PWD}""#, "안녕/home"),
    (r#""안녕'$PWD'""#, "안녕'/home'"),
    (r#"'"안녕"'"#, r#""안녕""#),
    (r#""안녕\$PWD""#, "안녕$PWD"),
    (r"'안녕\$PWD'", r"안녕\$PWD"),
    ("안녕${PWD:+${PWD}:}xx", "안녕/home:xx"),
    (r"안녕${XXX:-\$PWD:}xx", "안녕$PWD:xx"),
    (r"안녕${XXX:-\${PWD}z}xx", "안녕${PWDz}xx"),
    ("$KOREAN", "한국어"),
    ("안녕$KOREAN", "안녕한국어"),
    ("${aaa}}", "}"),
    ("${aaa:-bbb}}", "bbb}"),
    ("${aaa:-bbb}", "bbb"),
    ("${aaa:-${bbb:-ccc}}", "ccc"),
    ("${aaa:-bbb {foo}", "bbb {foo"),
    ("$1", ""),
    ("${1}", ""),
    ("${1:+bbb}", ""),
    ("${1:-bbb}", "bbb"),
    ("$2", ""),
    ("${2}", ""),
    ("${2:+bbb}", ""),
    ("${2:-bbb}", "bbb"),
    ("$3", ""),
    ("${3}", ""),
    ("${3:+bbb}", ""),
    ("${3:-bbb}", "bbb"),
    ("$4", ""),
    ("${4}", ""),
    ("${4:+bbb}", ""),
    ("${4:-bbb}", "bbb"),
    ("$5", ""),
    ("${5}", ""),
    ("${5:+bbb}", ""),
    ("${5:-bbb}", "bbb"),
    ("$6", ""),
    ("${6}", ""),
    ("${6:+bbb}", ""),
    ("${6:-bbb}", "bbb"),
    ("$7", ""),
    ("${7}", ""),
    ("${7:+bbb}", ""),
    ("${7:-bbb}", "bbb"),
    ("$8", ""),
    ("${8}", ""),
    ("${8:+bbb}", ""),
    ("${8:-bbb}", "bbb"),
    ("$9", ""),
    ("${9}", ""),
    ("${9:+bbb}", ""),
    ("${9:-bbb}", "bbb"),
    ("$999", ""),
    ("${999}", ""),
    ("${999:+bbb}", ""),
    ("${999:-bbb}", "bbb"),
    ("$999aaa", "aaa"),
    ("${999}aaa", "aaa"),
    ("${999:+bbb}aaa", "aaa"),
    ("${999:-bbb}aaa", "bbbaaa"),
    ("$001", ""),
    ("${001}", ""),
    ("${001:+bbb}", ""),
    ("${001:-bbb}", "bbb"),
    ("$001aaa", "aaa"),
    ("${001}aaa", "aaa"),
    ("${001:+bbb}aaa", "aaa"),
    ("${001:-bbb}aaa", "bbbaaa"),
    ("$@", ""),
    ("${@}", ""),
    ("${@:+bbb}", ""),
    ("${@:-bbb}", "bbb"),
    ("$@@@", "@@"),
    ("$@aaa", "aaa"),
    ("${@}aaa", "aaa"),
    ("${@:+bbb}aaa", "aaa"),
    ("${@:-bbb}aaa", "bbbaaa"),
    ("$*", ""),
    ("${*}", ""),
    ("${*:+bbb}", ""),
    ("${*:-bbb}", "bbb"),
    ("$#", ""),
    ("${#}", ""),
    ("${#:+bbb}", ""),
    ("${#:-bbb}", "bbb"),
    ("$?", ""),
    ("${?}", ""),
    ("${?:+bbb}", ""),
    ("${?:-bbb}", "bbb"),
    ("$-", ""),
    ("${-}", ""),
    ("${-:+bbb}", ""),
    ("${-:-bbb}", "bbb"),
    ("$$", ""),
    ("${$}", ""),
    ("${$:+bbb}", ""),
    ("${$:-bbb}", "bbb"),
    ("$!", ""),
    ("${!}", ""),
    ("${!:+bbb}", ""),
    ("${!:-bbb}", "bbb"),
    ("$0", ""),
    ("${0}", ""),
    ("${0:+bbb}", ""),
    ("${0:-bbb}", "bbb"),
];

/// Words that cannot be expanded.
const REFUSED: &[&str] = &[
    "he'llo",
    r"he\\'llo",
    r#""hello"#,
    r#""hello\""#,
    "'hello",
    "${}",
    "${}aaa",
    "he${}",
    "he${}xx",
    "he${.}",
    "he${XXX:YYY}",
    "he${XXX?}",
    "he${XXX:?}",
    "he${NULL:?}",
    "he${PWD",
    "he${PWD:=000}xx",
    "안'녕하세요",
    r"안\\'녕하세요",
    r"'안녕\t하세요",
    r#""안녕하세요"#,
    r#""안녕하세요\""#,
    "'안녕하세요",
    "안녕${}",
    "안녕${}xx",
    "안녕${.}",
    "안녕${XXX:YYY}",
    "안녕${PWD",
    "안녕${PWD:=000}xx",
    "${{aaa}",
    "${aaa",
    "${{aaa:-bbb}",
    "${aaa:-bbb",
    "${aaa:-bbb ${foo}",
    "${:}",
    "${:-bbb}",
    "${:+bbb}",
];

#[test]
fn words_expand_as_in_buildkit() {
    for (text, want) in EXPANDED {
        let got = word(text)
            .expand(&lookup)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(got.text, *want, "{text}");
    }
    for text in REFUSED {
        assert!(word(text).expand(&lookup).is_err(), "{text}");
    }
}

/// Text, variables, outcome (`None` for an error).
const MODIFIED: &[(&str, &str, Option<&str>)] = &[
    (
        "${FOO-aaa} ${BAR-bbb} ${BAZ-ccc}",
        "FOO=xxx BAR=",
        Some("xxx  ccc"),
    ),
    (
        "${FOO:-aaa} ${BAR:-bbb} ${BAZ:-ccc}",
        "FOO=xxx BAR=",
        Some("xxx bbb ccc"),
    ),
    ("${FOO:-}", "FOO=xxx", Some("xxx")),
    ("${FOO:-}", "", Some("")),
    (
        "${FOO+aaa} ${BAR+bbb} ${BAZ+ccc}",
        "FOO=xxx BAR=",
        Some("aaa bbb "),
    ),
    (
        "${FOO:+aaa} ${BAR:+bbb} ${BAZ:+ccc}",
        "FOO=xxx BAR=",
        Some("aaa  "),
    ),
    ("${FOO?aaa}", "FOO=xxx", Some("xxx")),
    ("${BAR?bbb}", "BAR=", Some("")),
    ("${BAZ?ccc}", "", None),
    ("${FOO:?aaa}", "FOO=xxx", Some("xxx")),
    ("${BAR:?bbb}", "BAR=", None),
    ("${BAZ:?}", "", None),
    ("${FOO=aaa}", "FOO=xxx", None),
    ("${FOO=}", "", None),
    (
        r"${FOO#()[]{\}^$.\*\?|\\}",
        r"FOO=()[]{}^$.*?|\x",
        Some("x"),
    ),
    (r"${FOO%%\**}", "FOO=xx**", Some("xx")),
    ("${FOO#*x*y}", "FOO=xxyy", Some("y")),
    ("${FOO#*}", "FOO=xxyy", Some("xxyy")),
    ("${FOO##*}", "FOO=xxyy", Some("")),
    ("${FOO#$BAR}", "FOO=xxyy BAR=x", Some("xyy")),
    ("${FOO#$BAR}", "FOO=xxyy BAR=", Some("xxyy")),
    ("${FOO#}", "FOO=xxyy", Some("xxyy")),
    ("${FOO##*x}", "FOO=xxyy", Some("yy")),
    (r"${FOO#?\?}", "FOO=???y", Some("?y")),
    (r#"${FOO#"a\b"}"#, r"FOO=a\bc", Some("c")),
    (r"${FOO#'a\b'}", r"FOO=a\bc", Some("c")),
    ("${ABC:-.}${FOO%x}${ABC:-.}", "FOO=xxyy", Some(".xxyy.")),
    (r"${FOO%%\**\*}", "FOO=a***yy*", Some("a")),
    ("${FOO%}", "FOO=xxyy", Some("xxyy")),
    ("${FOO%%$BAR}", "FOO=xxyy BAR=", Some("xxyy")),
    ("${FOO:#}", "", None),
    ("${FOO:##}", "", None),
    ("${FOO:%}", "", None),
    ("${FOO:%%}", "", None),
    (
        "${FOO/$N/.} - ${FOO//$N/.}",
        r"FOO=/foo*/*/*.txt N=\*/",
        Some("/foo.*/*.txt - /foo..*.txt"),
    ),
    (
        "${FOO/$N/} - ${FOO//$N/}",
        "FOO=/tmp/tmp/bar.txt N=/tmp",
        Some("/tmp/bar.txt - /bar.txt"),
    ),
    (
        "${FOO/$N/$R} - ${FOO//$N/$R}",
        "FOO=/a/foo/b/c.txt N=/?/ R=/",
        Some("/foo/b/c.txt - /foo/c.txt"),
    ),
    (
        "${FOO/$N/$R}",
        "FOO=http://google.de N=http:// R=https://",
        Some("https://google.de"),
    ),
    (
        r"${FOO//\//\/}",
        "FOO=/tmp/foo.txt",
        Some(r"\/tmp\/foo.txt"),
    ),
    ("${FOO/$BAR/ww}", "FOO=xxyy BAR=", Some("wwxxyy")),
    ("${FOO//ww}", "FOO=xxyy", None),
    ("${FOO//}", "FOO=xxyy", None),
    ("${FOO///}", "FOO=xxyy", Some("xxyy")),
    ("${FOO///}", "", Some("")),
];

#[test]
fn modifiers_do_as_in_buildkit() {
    for (text, variables, want) in MODIFIED {
        let lookup = |name: &str| {
            let entry = variables
                .split(' ')
                .filter_map(|entry| entry.split_once('='))
                .find(|(key, _)| *key == name);
            entry.map(|(_, value)| value.to_owned())
        };
        let got = word(text)
            .expand(&lookup)
            .ok()
            .map(|expansion| expansion.text);
        assert_eq!(got.as_deref(), *want, "{text} with {variables}");
    }
}

#[test]
fn names_used_and_missed_are_told() {
    let lookup = |name: &str| matches!(name, "A" | "B").then(|| "x".to_owned());
    for (text, used, missed) in [
        ("x", &[][..], &[][..]),
        ("$A $N ${A}", &["A"], &["N"]),
        ("${N:-$B}", &["B"], &["N"]),
        ("'$A' \\$B", &[], &[]),
        ("\"$A\"${B:+$N}", &["A", "B"], &["N"]),
        ("${A#$N} ${M/$B/$A}", &["A", "B"], &["N", "M"]),
    ] {
        let got = word(text).expand(&lookup).expect("it is well formed");
        let sorted = |mut list: Vec<String>| {
            list.sort();
            list
        };
        let list = |names: &[&str]| sorted(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(
            (sorted(got.used), sorted(got.missed)),
            (list(used), list(missed)),
            "{text}"
        );
    }
}

#[test]
fn words_split_as_in_buildkit() {
    let lookup = |name: &str| {
        let value = match name {
            "hi" => "hi",
            "space" => "abc  def",
            "leading" => "  ab c",
            "trailing" => "ab c   ",
            _ => return None,
        };
        Some(value.to_owned())
    };
    for (text, want) in [
        ("hello", &["hello"][..]),
        ("hello${none}bye", &["hellobye"]),
        ("hello${hi}bye", &["hellohibye"]),
        ("hello${space}bye", &["helloabc", "defbye"]),
        ("hello\"${space}\"bye", &["helloabc  defbye"]),
        ("hello \"${space}\"bye", &["hello", "abc  defbye"]),
        ("hello${leading}def", &["hello", "ab", "cdef"]),
        ("hello\"${leading}\" def", &["hello  ab c", "def"]),
        ("hello\"${leading}\"", &["hello  ab c"]),
        ("hello${leading}", &["hello", "ab", "c"]),
        ("hello${trailing}", &["helloab", "c"]),
        ("hello${trailing}d", &["helloab", "c", "d"]),
        ("hello\"${trailing}\"d", &["helloab c   d"]),
        ("hel\"lo${trailing}\"", &["helloab c   "]),
        ("hello\" there  \"", &["hello there  "]),
        ("hello there     ", &["hello", "there"]),
        (r"hello\ there", &["hello there"]),
        (r#"hello\" there"#, &["hello\"", "there"]),
        (r#"hello"\\there""#, &[r"hello\there"]),
        (r#"hello"\there""#, &[r"hello\there"]),
        (r"hello'\\there'", &[r"hello\\there"]),
        (r"hello'\there'", &[r"hello\there"]),
        ("hello'$there'", &["hello$there"]),
        ("", &[]),
    ] {
        assert_eq!(
            word(text).expand_words(&lookup).expect("it is well formed"),
            want,
            "{text}"
        );
    }
    assert!(word("hello\" there").expand_words(&lookup).is_err());
}

#[test]
fn errors_point_into_the_word() {
    let source = "ENV A=x${B:?gone}y";
    let word = Word::new("x${B:?gone}y", Span::new(6, 18), '\\');
    let error = word.expand(&|_| None).expect_err("B is not set");
    assert_eq!(
        (error.code, error.message.as_str()),
        ("variable-required", "`B`: gone")
    );
    assert_eq!(error.span.text(source), "${B:?gone}");
}

#[test]
fn deep_nesting_is_refused_not_fatal() {
    let text = format!("{}{}", "${a:-".repeat(100_000), "}".repeat(100_000));
    assert!(word(&text).expand(&|_| None).is_err());
    let text = format!("{}{}", "${a:-".repeat(20), "}".repeat(20));
    assert_eq!(
        word(&text)
            .expand(&|_| None)
            .expect("it is well formed")
            .text,
        ""
    );
}

#[test]
fn the_escape_character_is_the_files() {
    let word = Word::new("a`$b \\c `` \"`\"\"", Span::default(), '`');
    assert_eq!(
        word.expand(&|_| None).expect("it is well formed").text,
        "a$b \\c ` \""
    );
}
