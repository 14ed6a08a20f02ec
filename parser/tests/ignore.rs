//! Ignore files and path patterns: the outcomes of Moby's and Go's own tests, and ours.

use rbuild_parser::ignore::Ignore;
use rbuild_parser::pattern::{PathPattern, clean, glob};

#[track_caller]
fn ignored(patterns: &[&str], path: &str) -> bool {
    Ignore::parse(&patterns.join("\n"))
        .expect("the patterns are well formed")
        .decide(path)
        .ignored
}

/// What a pattern does to a path: matches it, matches a directory above it, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    Exact,
    Parent,
    No,
}
use Want::{Exact, No, Parent};

const PATTERNS: &[(&str, &str, Want)] = &[
    ("**", "file", Exact),
    ("**/", "file", Exact),
    ("**", "dir/file", Exact),
    ("**/", "dir/file", Exact),
    ("**/**", "dir/file", Exact),
    ("dir/**", "dir/file", Exact),
    ("dir/**", "dir/dir2/file", Exact),
    ("**/dir", "dir", Exact),
    ("**/dir", "dir/file", Parent),
    ("**/dir2/*", "dir/dir2/file", Exact),
    ("**/dir2/*", "dir/dir2/file/deeper", Parent),
    ("**/dir2/**", "dir/dir2/dir3/file", Exact),
    ("**file", "file", Exact),
    ("**file", "dir/file", Exact),
    ("**/file", "dir/file", Exact),
    ("**file", "dir/dir/file", Exact),
    ("**/file", "dir/dir/file", Exact),
    ("**/file*", "dir/dir/file", Exact),
    ("**/file*", "dir/dir/file.txt", Exact),
    ("**/file*txt", "dir/dir/file.txt", Exact),
    ("**/file*.txt", "dir/dir/file.txt", Exact),
    ("**/file*.txt*", "dir/dir/file.txt", Exact),
    ("**/**/*.txt", "dir/dir/file.txt", Exact),
    ("**/**/*.txt2", "dir/dir/file.txt", No),
    ("**/*.txt", "file.txt", Exact),
    ("**/**/*.txt", "file.txt", Exact),
    ("a**/*.txt", "a/file.txt", Exact),
    ("a**/*.txt", "a/dir/file.txt", Exact),
    ("a**/*.txt", "a/dir/dir/file.txt", Exact),
    ("a/*.txt", "a/dir/file.txt", No),
    ("a/*.txt", "a/file.txt", Exact),
    ("a/*.txt**", "a/file.txt", Exact),
    ("a[b-d]e", "ae", No),
    ("a[b-d]e", "ace", Exact),
    ("a[b-d]e", "aae", No),
    ("a[^b-d]e", "aze", Exact),
    (".*", ".foo", Exact),
    (".*", "foo", No),
    ("abc.def", "abcdef", No),
    ("abc.def", "abc.def", Exact),
    ("abc.def", "abcZdef", No),
    ("abc?def", "abcZdef", Exact),
    ("abc?def", "abcdef", No),
    ("**/foo/bar", "foo/bar", Exact),
    ("**/foo/bar", "dir/foo/bar", Exact),
    ("**/foo/bar", "dir/dir2/foo/bar", Exact),
    ("abc/**", "abc", No),
    ("abc/**", "abc/def", Exact),
    ("abc/**", "abc/def/ghi", Exact),
    ("**/.foo", ".foo", Exact),
    ("**/.foo", "bar.foo", No),
    ("a(b)c/def", "a(b)c/def", Exact),
    ("a(b)c/def", "a(b)c/xyz", No),
    ("a.|)$(}+{bc", "a.|)$(}+{bc", Exact),
    (
        "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
        "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
        Exact,
    ),
    (
        "dist/*.whl",
        "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
        Exact,
    ),
    (r"a\\", r"a\", Exact),
    (r"a\*b", "a*b", Exact),
    // A leading `**` that is not followed by a slash means less once another wildcard follows.
    ("**file", "xfile", Exact),
    ("**file*", "xfile1", No),
    ("**file*", "x/file1", Exact),
];

#[test]
fn single_patterns_match_as_in_moby() {
    for (pattern, path, want) in PATTERNS {
        let got = PathPattern::new(&clean(pattern)).expect("the pattern is well formed");
        assert_eq!(got.matches(path), *want == Exact, "{pattern} {path}");
        assert_eq!(
            got.matches_with_parents(path),
            *want != No,
            "{pattern} {path}"
        );
        assert_eq!(ignored(&[pattern], path), *want != No, "{pattern} {path}");
    }
}

#[test]
fn the_last_rule_wins() {
    for (patterns, path, want) in [
        (&["!fileutils.go", "*.go"][..], "fileutils.go", true),
        (&["*.go", "!fileutils.go"], "fileutils.go", false),
        (&["docs", "!docs/README.md"], "docs/README.md", false),
        (&["docs/", "!docs/README.md"], "docs/README.md", false),
        (&["docs/*", "!docs/README.md"], "docs/README.md", false),
        (&["docs", "  !docs/README.md"], "docs/README.md", false),
        (&["docs", "!docs/README.md  "], "docs/README.md", false),
        (&["docs", "! docs/README.md"], "docs/README.md", false),
        (&["**", "!util/docker/web"], "util/docker/web/foo", false),
        (
            &["**", "!util/docker/web", "util/docker/web/foo"],
            "util/docker/web/foo",
            true,
        ),
        (&["**", "!dist/*.whl"], "dist/a-1.0+g.whl", false),
        (&["*", "!**/keep"], "a/b/keep", false),
        (&["*", "!**/keep"], "a/b/other", true),
        (&["/target/"], "target/debug", true),
        (&["target"], "sub/target", false),
        (&["a", "!a/b", "a/b/c"], "a/b/c/d", true),
        (&["#x"], "#x", false),
        (&[" #x"], "#x", true),
        (&[r"\#x"], "#x", true),
        (&[r"\!x"], "!x", true),
        (&["\u{feff}a"], "a", true),
        (&["a\r"], "a", true),
        (&["*"], ".", false),
        (&["../a"], "a", false),
        (&["./a/../b"], "b", true),
        (&["/"], "a", false),
        (&["*.go"], ".", false),
        (&[], "/any/path/there", false),
    ] {
        assert_eq!(ignored(patterns, path), want, "{patterns:?} {path}");
    }
}

#[test]
fn bad_lines_are_named() {
    for (text, line) in [
        ("!", 1),
        ("a\n# b\n[", 3),
        ("a\n!  \n", 2),
        ("x\\", 1),
        ("[]a]", 1),
        ("!a[", 1),
    ] {
        assert_eq!(Ignore::parse(text).expect_err(text).line, line, "{text:?}");
    }
}

#[test]
fn patterns_are_shown_cleaned() {
    let ignore =
        Ignore::parse("# c\n/a/b/\n\n!/c\n  d/./e \n/\n! f\n..\n").expect("it is well formed");
    assert_eq!(ignore.patterns(), ["a/b", "!c", "d/e", "/", "!f", ".."]);
}

#[test]
fn the_deciding_line_is_told() {
    let ignore = Ignore::parse("# c\n*\n!src\nsrc/*.o\n").expect("it is well formed");
    for (path, want) in [
        ("a", Some((2, "*"))),
        ("src/a.c", Some((3, "!src"))),
        ("src/a.o", Some((4, "src/*.o"))),
    ] {
        let got = ignore.decide(path).line;
        assert_eq!(
            got,
            want.map(|(line, text): (usize, &str)| (line, text.to_owned())),
            "{path}"
        );
    }
    assert_eq!(Ignore::default().decide("a").line, None);
}

#[test]
fn directories_that_hold_nothing_are_skipped() {
    for (patterns, directory, want) in [
        (&["d"][..], "d", false),
        (&["d", "!d/sub/keep"], "d", true),
        (&["d", "!d/sub/keep"], "d/sub", true),
        (&["d", "!d/sub/keep"], "d/other", false),
        (&["!d/sub/keep", "d"], "d", false),
        (&["*", "!**/keep"], "a/b", true),
        (&["*", "!a*/x"], "b", false),
        (&["*", "!a*/x"], "ab", true),
        (&["*", "!src/**"], "src2", false),
        (&["node_modules", "!*.js"], "node_modules", false),
        (&["*", "!src"], "src", true),
        (&["x"], "d", true),
    ] {
        let ignore = Ignore::parse(&patterns.join("\n")).expect("the patterns are well formed");
        assert_eq!(
            ignore.may_contain_included(directory),
            want,
            "{patterns:?} {directory}"
        );
    }
}

#[test]
fn globs_match_as_in_go() {
    let bad = None;
    for (pattern, path, want) in [
        ("abc", "abc", Some(true)),
        ("*", "abc", Some(true)),
        ("*c", "abc", Some(true)),
        ("a*", "a", Some(true)),
        ("a*", "abc", Some(true)),
        ("a*", "ab/c", Some(false)),
        ("a*/b", "abc/b", Some(true)),
        ("a*/b", "a/c/b", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxe/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/f", Some(true)),
        ("a*b*c*d*e*/f", "axbxcxdxe/xxx/f", Some(false)),
        ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", Some(false)),
        ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
        ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
        ("ab[c]", "abc", Some(true)),
        ("ab[b-d]", "abc", Some(true)),
        ("ab[e-g]", "abc", Some(false)),
        ("ab[^c]", "abc", Some(false)),
        ("ab[^b-d]", "abc", Some(false)),
        ("ab[^e-g]", "abc", Some(true)),
        (r"a\*b", "a*b", Some(true)),
        (r"a\*b", "ab", Some(false)),
        ("a?b", "a☺b", Some(true)),
        ("a[^a]b", "a☺b", Some(true)),
        ("a???b", "a☺b", Some(false)),
        ("a[^a][^a][^a]b", "a☺b", Some(false)),
        ("[a-ζ]*", "α", Some(true)),
        ("*[a-ζ]", "A", Some(false)),
        ("a?b", "a/b", Some(false)),
        ("a*b", "a/b", Some(false)),
        (r"[\]a]", "]", Some(true)),
        (r"[\-]", "-", Some(true)),
        (r"[x\-]", "x", Some(true)),
        (r"[x\-]", "-", Some(true)),
        (r"[x\-]", "z", Some(false)),
        (r"[\-x]", "x", Some(true)),
        (r"[\-x]", "-", Some(true)),
        (r"[\-x]", "a", Some(false)),
        ("[]a]", "]", bad),
        ("[-]", "-", bad),
        ("[x-]", "x", bad),
        ("[x-]", "-", bad),
        ("[-x]", "x", bad),
        ("\\", "a", bad),
        ("[a-b-c]", "a", bad),
        ("[", "a", bad),
        ("[^", "a", bad),
        ("[^bc", "a", bad),
        ("a[", "a", bad),
        ("a[", "ab", bad),
        ("*x", "xxx", Some(true)),
        ("[[]", "[", Some(true)),
    ] {
        assert_eq!(glob(pattern, path).ok(), want, "{pattern} {path}");
    }
}

#[test]
fn paths_are_cleaned() {
    for (path, want) in [
        ("", "."),
        ("a//b/", "a/b"),
        ("./a/./b", "a/b"),
        ("a/../b", "b"),
        ("../a", "../a"),
        ("a/../../b", "../b"),
        ("/../a", "/a"),
        ("/", "/"),
        ("//", "/"),
        ("../../a/..", "../.."),
    ] {
        assert_eq!(clean(path), want, "{path}");
    }
}

#[test]
fn long_patterns_and_paths_are_matched_in_one_pass() {
    let pattern = "**/".repeat(100) + &"a*".repeat(100) + "b";
    let path = "a/".repeat(100) + &"a".repeat(500);
    assert!(!ignored(&[&pattern], &path));
}
