//! How `SQLite` looks for what a statement asks: by an index over all that it names, however much there is.

use std::collections::BTreeSet;

use rusqlite::{Connection, params_from_iter};

use super::schema;

/// All statements of this store stand in these files.
const SOURCES: [&str; 7] = [
    include_str!("blob.rs"),
    include_str!("event.rs"),
    include_str!("holdings.rs"),
    include_str!("manifest.rs"),
    include_str!("query.rs"),
    include_str!("review.rs"),
    include_str!("upload.rs"),
];

/// Beginnings of statements that read a whole table or all rows of a repository, and may.
const THOROUGH: [&str; 5] = [
    // Metrics count everything.
    "SELECT count(*) FROM",
    "SELECT coalesce(sum(size), 0) FROM blobs",
    // Whether there is any; the first row tells.
    "SELECT name FROM repositories r WHERE name > ?1",
    // Sorted by the time of their push, which has no index: a push would pay for what is seldom asked.
    "SELECT name, moved_at FROM tags WHERE repository_id = ?1 AND (moved_at",
    "SELECT name, moved_at FROM tags WHERE repository_id = ?1 AND ?2 = ''",
];

fn statements() -> BTreeSet<String> {
    let literals = SOURCES.iter().flat_map(|source| source.split('"'));
    literals
        .map(|literal| literal.split_whitespace().collect::<Vec<_>>().join(" "))
        .map(|statement| statement.replace("{content}", "NULL"))
        .filter(|statement| {
            ["SELECT ", "DELETE ", "UPDATE ", "WITH "]
                .iter()
                .any(|verb| statement.starts_with(verb))
        })
        .collect()
}

#[test]
fn a_statement_reads_only_rows_that_it_names() {
    let mut connection = Connection::open_in_memory().expect("opens");
    schema::migrate(&mut connection).expect("tables");
    let statements = statements();
    assert!(statements.len() > 40, "{statements:#?}");
    for statement in statements {
        let mut explain = connection
            .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
            .expect(&statement);
        let values = vec![1; explain.parameter_count()];
        let plan: Vec<String> = explain
            .query_map(params_from_iter(values), |row| row.get(3))
            .expect("explains")
            .collect::<Result<_, _>>()
            .expect("explains");
        let is_thorough = plan.iter().any(|step| {
            let table = step.strip_prefix("SCAN ");
            // One row each: a value, and what the step before found.
            let whole = table.is_some_and(|table| !matches!(table, "CONSTANT ROW" | "above"));
            // Most of what a key has in front: too little of it to find a row.
            whole || step.ends_with("(repository_id=?)") || step.ends_with("(kind=?)")
        });
        let may = THOROUGH.iter().any(|begin| statement.starts_with(begin));
        assert_eq!(is_thorough, may, "{statement}\n{plan:#?}");
    }
}
