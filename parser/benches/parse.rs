//! How fast Dockerfiles are read: `cargo bench -p rbuild-parser`.
//!
//! Prints one line for each case: what, how long, and the rate on one core.
#![expect(
    clippy::print_stdout,
    reason = "a benchmark is there to print its result"
)]

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rbuild_parser::{lint, parse};

/// A Dockerfile of forty lines, as they are written.
fn ordinary() -> String {
    let mut text = String::from(
        "# syntax=docker/dockerfile:1\nARG VERSION=12\nFROM debian:$VERSION AS base\n",
    );
    for number in 0..6 {
        let _ = write!(
            text,
            "ENV KEY_{number}=\"some value\" OTHER=$KEY_{number}\nCOPY --chown=app:app src/{number} /app/{number}/\n\
             RUN --mount=type=cache,target=/var/cache/apt \\\n    apt-get update && \\\n    # a comment\n    apt-get install -y package-{number}\n"
        );
    }
    text.push_str("CMD [\"/app/run\", \"--port\", \"80\"]\n");
    text
}

/// The shortest of some runs.
fn best(runs: usize, mut run: impl FnMut()) -> Duration {
    let times = (0..runs).map(|_| {
        let begin = Instant::now();
        run();
        begin.elapsed()
    });
    times.min().unwrap_or_default()
}

fn report(what: &str, bytes: usize, time: Duration) {
    let rate = u128::try_from(bytes).unwrap_or_default() / time.as_micros().max(1);
    println!("{what}: {:.3} s, {rate} MB/s", time.as_secs_f64());
}

fn main() {
    let source = ordinary();
    assert_eq!(source.lines().count(), 40, "the example has forty lines");
    let time = best(3, || {
        for _ in 0..100_000 {
            black_box(parse(black_box(&source)));
        }
    });
    report(
        "100000 Dockerfiles of 40 lines",
        source.len() * 100_000,
        time,
    );
    for megabytes in [1, 10] {
        let many = source.repeat(megabytes * 1_000_000 / source.len());
        report(
            &format!("one of {megabytes} MB"),
            many.len(),
            best(3, || drop(black_box(parse(&many)))),
        );
        let long = format!(
            "FROM a\nRUN {}\n",
            "echo one && \\\n".repeat(megabytes * 1_000_000 / 14)
        );
        report(
            &format!("one RUN of {megabytes} MB"),
            long.len(),
            best(3, || drop(black_box(parse(&long)))),
        );
        let wide = format!(
            "FROM a\nENV {}\n",
            "A=\"b c\" ".repeat(megabytes * 1_000_000 / 8)
        );
        report(
            &format!("one ENV of {megabytes} MB"),
            wide.len(),
            best(3, || drop(black_box(parse(&wide)))),
        );
        let heredocs = format!(
            "FROM a\n{}",
            "RUN <<E cat\nbody $x\nE\n".repeat(megabytes * 1_000_000 / 22)
        );
        report(
            &format!("heredocs of {megabytes} MB"),
            heredocs.len(),
            best(3, || drop(black_box(parse(&heredocs)))),
        );
    }
    let parsed = parse(&source);
    let time = best(3, || {
        for _ in 0..1_000 {
            black_box(lint::lint(&parsed, &source));
        }
    });
    report("lint of 1000 Dockerfiles", source.len() * 1_000, time);
}
