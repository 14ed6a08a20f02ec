//! R6: how soon a server with many images answers, and what it holds while nobody asks.

use std::time::Duration;

use anyhow::Result;

use super::pushes::{Progress, many, push_images};
use super::server::{Kind, Setup};
use super::table::{Goal, Part, Row, Sample, Samples, Who, float, number};
use super::{Bench, settle};

const OURS: Who = Who::Server(Kind::Ours);
const PEER: Who = Who::Server(Kind::Distribution);

/// R6.
pub(super) fn start(bench: &Bench) -> Result<Vec<Row>> {
    let mut samples = Samples::default();
    let images = if bench.quick { 640 } else { 10_000 };
    // distribution takes minutes for so many, and its start reads none of them.
    let fewer = if bench.quick { 64 } else { 640 };
    for (kind, images) in [(Kind::Ours, images), (Kind::Distribution, fewer)] {
        let data = bench.scratch.path().join(format!("start-{}", kind.name()));
        let setup = Setup::new(kind, &bench.registry, data)?;
        let server = setup.start()?;
        let progress = Progress::default();
        many(32, |client| {
            let own = images / 32 + usize::from(client < images % 32);
            push_images(&server.address, client, 1, own, &progress)
        })?;
        drop(server);
        settle()?;
        for _ in 0..bench.rounds.max(3) {
            let server = setup.start()?;
            // Idle means that what the start has set in motion is over.
            std::thread::sleep(Duration::from_millis(700));
            let sample = Sample {
                wall: server.started_in,
                memory: server.processes.memory(),
                ..Sample::default()
            };
            samples.add(Who::Server(kind), sample);
        }
        setup.remove();
    }
    let parts: &[Part] = &[
        (
            |sample| sample.wall.as_secs_f64(),
            |wall| format!("{} ms", number(wall * 1e3, 1)),
        ),
        (
            |sample| float(sample.memory.own),
            |own| format!("{} MB own memory", number(own / 1e6, 1)),
        ),
        (
            |sample| float(sample.memory.file),
            |file| format!("{} MB of files", number(file / 1e6, 1)),
        ),
    ];
    let wall = samples.median(OURS, |sample| sample.wall.as_secs_f64() * 1e3);
    let memory = samples.median(OURS, |sample| {
        float(sample.memory.own + sample.memory.file) / 1e6
    });
    Ok(vec![Row {
        load: format!(
            "R6 start to the first answer, idle memory; {} images",
            number(float(images as u64), 0)
        ),
        ours: samples.cell(OURS, parts),
        distribution: format!("{}; {fewer} images", samples.cell(PEER, parts)),
        limit: String::new(),
        goals: vec![
            Goal::at_most(wall, 25.0, "ms"),
            Goal::at_most(memory, 25.0, "MB"),
        ],
    }])
}
