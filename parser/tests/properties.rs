//! What holds for every text.

use proptest::collection::vec;
use proptest::prelude::*;
use rbuild_parser::ignore::Ignore;
use rbuild_parser::pattern::PathPattern;
use rbuild_parser::syntax::{PartKind, Shape, Statement, Tree};
use rbuild_parser::{
    LintOptions, Span, Spanned, Word, lint_with, parse, parse_trigger, render, to_json,
};

/// Pieces of which Dockerfiles are made, so that random ones get far into the grammar.
const PIECES: &[&str] = &[
    "FROM a\n",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "LABEL ",
    "ARG ",
    "CMD ",
    "ENTRYPOINT ",
    "ONBUILD ",
    "HEALTHCHECK ",
    "EXPOSE ",
    "VOLUME ",
    "USER ",
    "WORKDIR ",
    "SHELL ",
    "STOPSIGNAL ",
    "MAINTAINER ",
    "FOO ",
    "a",
    "b=c",
    "\"x y\"",
    "'q r'",
    "\\",
    "\\\n",
    "`\n",
    " ",
    "\t",
    "\n",
    "\r\n",
    "#c",
    "\n# c\n",
    "--flag=1",
    "--a=\"b c\"",
    "--",
    "<<E",
    "<<-E",
    "<< E",
    "3<<E",
    "\nE\n",
    "<<'E'",
    "[\"a\",\"b\"]",
    "[1]",
    "[",
    "]",
    "$x",
    "${x:-a b}",
    "${x#*/}",
    "é",
    "漢",
    "\u{a0}",
    "\u{feff}",
    "# escape=`\n",
    "# syntax=x\n",
    "# check=skip=all\n",
    "--mount=type=cache,target=/x",
    "--mount=\"a\"\"",
    "--from=b",
    "--interval=5s",
    "CMD ",
    "NONE",
    "as b",
    "\"",
    "'",
    "{",
    "}",
    "80/tcp",
    "\0",
];

fn dockerfile() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => vec(prop::sample::select(PIECES), 0..40).prop_map(|pieces| pieces.concat()),
        1 => any::<String>(),
    ]
}

/// Every span of a tree.
fn spans(tree: &Tree) -> Vec<Span> {
    fn words(list: &[Spanned<String>], into: &mut Vec<Span>) {
        into.extend(list.iter().map(|word| word.span));
    }
    fn statement(statement: &Statement, into: &mut Vec<Span>) {
        into.extend([
            statement.span,
            statement.line_span,
            statement.keyword.span,
            statement.arguments.text.span,
        ]);
        words(&statement.flags, into);
        match &statement.arguments.shape {
            Shape::Words(list) | Shape::Json(list) => words(list, into),
            Shape::Pairs { pairs, .. } => into.extend(
                pairs
                    .iter()
                    .flat_map(|(name, value)| [name.span, value.span]),
            ),
            Shape::Healthcheck {
                kind,
                json,
                command,
            } => {
                into.extend(kind.iter().map(|kind| kind.span));
                words(json.as_deref().unwrap_or_default(), into);
                into.push(command.span);
            }
            Shape::Text | Shape::Child { .. } | Shape::Unknown => {}
        }
        into.extend(
            statement
                .heredocs
                .iter()
                .flat_map(|heredoc| [heredoc.span, heredoc.content_span]),
        );
        words(&statement.comments, into);
        if let Some(child) = &statement.child {
            spans_of_child(child, into);
        }
    }
    let mut all: Vec<Span> = tree.parts.iter().map(|part| part.span).collect();
    for each in &tree.statements {
        statement(each, &mut all);
    }
    all
}

fn spans_of_child(child: &Statement, into: &mut Vec<Span>) {
    into.extend([child.span, child.keyword.span, child.arguments.text.span]);
}

/// What must hold of the tree of any source.
fn check_tree(source: &str) {
    let parsed = parse(source);
    let mut end = 0;
    for part in &parsed.tree.parts {
        assert_eq!(part.span.start, end, "the parts have no gaps");
        assert!(!part.span.is_empty(), "no part is empty");
        end = part.span.end;
    }
    assert_eq!(end as usize, source.len(), "the parts cover the source");
    assert_eq!(parsed.tree.print(source), source);
    for part in parsed
        .tree
        .parts
        .iter()
        .filter(|part| part.kind == PartKind::Blank)
    {
        assert_eq!(
            part.span
                .text(source)
                .trim_matches(['\u{feff}', '-'])
                .trim(),
            "",
            "blanks are blank"
        );
    }
    for span in spans(&parsed.tree)
        .into_iter()
        .chain(parsed.diagnostics.iter().map(|found| found.span))
    {
        assert!(
            source.get(span.range()).is_some(),
            "{span:?} lies inside, on character boundaries"
        );
    }
    for statement in &parsed.tree.statements {
        let inside = [
            statement.line_span,
            statement.keyword.span,
            statement.arguments.text.span,
        ];
        for span in inside
            .into_iter()
            .chain(statement.flags.iter().map(|flag| flag.span))
        {
            assert!(
                statement.span.contains(span),
                "{span:?} nests in {:?}",
                statement.span
            );
        }
    }
    let lints = lint_with(&parsed, source, &LintOptions::default());
    for found in parsed.diagnostics.iter().chain(&lints) {
        assert!(
            source.get(found.span.range()).is_some(),
            "{found:?} lies inside"
        );
        assert!(!render("Dockerfile", source, found).is_empty());
    }
    to_json(&parsed, source);
    parse_trigger(source);
}

#[test]
fn what_failed_once_stays_mended() {
    check_tree("RUN -- ");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn parse_never_panics_and_spans_nest(source in dockerfile()) {
        check_tree(&source);
    }

    #[test]
    fn expansion_never_panics(text in dockerfile(), value in any::<String>(), escape in prop::sample::select(&['\\', '`'][..])) {
        let word = Word::new(text, Span::default(), escape);
        let lookup = |name: &str| (name.len() < 3).then(|| value.clone());
        if let Ok(expansion) = word.expand(&lookup) {
            let names = |list: &[String]| list.iter().all(|name| !name.contains('$') || name == "$");
            prop_assert!(names(&expansion.used) && names(&expansion.missed));
        }
        let _ = word.expand_words(&lookup);
    }

    #[test]
    fn a_word_without_special_characters_is_itself(text in "[a-zA-Z0-9/._:=-]{0,20}") {
        let word = Word::new(text.clone(), Span::default(), '\\');
        prop_assert_eq!(word.expand(&|_| None).expect("it is well formed").text, text);
    }

    #[test]
    fn a_path_matches_with_its_parents_as_each_of_them_by_itself(
        pattern in "(/?)(\\*\\*/|\\*|[ab/]|\\?|\\[\\^a\\]|\\*\\*){1,6}",
        path in "[ab/]{1,10}",
    ) {
        let pattern = PathPattern::new(&pattern).expect("it is well formed");
        let ends = path.match_indices('/').map(|(at, _)| at).filter(|at| *at > 0);
        let by_itself = ends.chain([path.len()]).any(|end| pattern.matches(&path[..end]));
        prop_assert_eq!(pattern.matches_with_parents(&path), by_itself);
    }

    #[test]
    fn ignore_never_panics_and_pruning_is_safe(
        rules in vec("(!?)(/?)(\\*\\*|\\*|[abc]|[abc]\\*|\\?|\\[ab\\])(/(\\*\\*|\\*|[abc]|[abc]\\*)){0,3}", 0..6),
        directory in "[abc](/[abc]){0,2}",
        below in "[abc](/[abc]){0,2}",
    ) {
        let ignore = Ignore::parse(&rules.join("\n")).expect("the rules are well formed");
        let path = format!("{directory}/{below}");
        prop_assert_eq!(ignore.decide(&path).ignored, ignore.is_ignored(&path));
        if ignore.is_ignored(&directory) && !ignore.may_contain_included(&directory) {
            prop_assert!(ignore.is_ignored(&path), "{rules:?} {directory} {below}");
        }
    }

    #[test]
    fn any_ignore_file_can_be_asked(text in any::<String>(), path in any::<String>()) {
        if let Ok(ignore) = Ignore::parse(&text) {
            ignore.decide(&path);
            ignore.may_contain_included(&path);
        }
    }
}
