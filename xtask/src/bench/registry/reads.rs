//! R1, R2 and R5: manifests, blobs and whole images that many clients read.

use std::time::Duration;

use anyhow::{Result, bail};

use super::content::{Content, digest, random};
use super::engine::{Until, read};
use super::server::{Kind, MANIFEST, REPOSITORY, Server, Setup, manifest};
use super::table::{Goal, Part, Row, Sample, Samples, Who, float, number};
use super::wire::Link;
use super::{Bench, settle};

const GB: f64 = 1e9;
const OURS: Who = Who::Server(Kind::Ours);
const PEER: Who = Who::Server(Kind::Distribution);
const NGINX: Who = Who::Server(Kind::Nginx);

/// What is read, on every server.
pub(super) struct Readable {
    servers: Vec<Server>,
    small: Content,
    /// 1 GiB.
    huge: Content,
    /// 64 MiB.
    large: Content,
    /// 300 MB.
    layer: Content,
}

impl Readable {
    /// Starts all servers and fills them with the same content.
    pub(super) fn new(bench: &Bench) -> Result<Self> {
        let scale = |bytes: u64| if bench.quick { bytes / 8 } else { bytes };
        let mut readable = Self {
            servers: Vec::new(),
            small: Content::new(1, 2000),
            huge: Content::new(2, scale(1 << 30)),
            large: Content::new(3, scale(64 << 20)),
            layer: Content::new(4, scale(300_000_000)),
        };
        for kind in [Kind::Ours, Kind::Distribution, Kind::Nginx] {
            let data = bench.scratch.path().join(format!("read-{}", kind.name()));
            let server = Setup::new(kind, &bench.registry, data)?.start()?;
            let blobs = [
                &readable.small,
                &readable.huge,
                &readable.large,
                &readable.layer,
            ];
            for blob in blobs {
                server.put_blob(blob)?;
            }
            let image = manifest(&readable.small, &readable.layer);
            server.put_manifest("latest", &image)?;
            readable.check(&server, &image)?;
            readable.servers.push(server);
        }
        settle()?;
        Ok(readable)
    }

    /// What is measured must be right: what comes is compared once.
    fn check(&self, server: &Server, image: &[u8]) -> Result<()> {
        let mut link = Link::new(&server.address)?;
        let accept = format!("Accept: {MANIFEST}\r\n");
        let got = link.request("GET", &manifest_path("latest"), &accept, b"")?;
        let mut right = got.expect(200)?.body == image;
        // All of them, so that none is read from the disk later.
        for blob in [&self.small, &self.huge, &self.large, &self.layer] {
            let got = link.request("GET", &blob_path(blob), "", b"")?;
            right &= digest(&got.expect(200)?.body) == blob.digest();
        }
        if !right {
            bail!("{} serves other bytes", server.setup.kind.name());
        }
        Ok(())
    }

    /// Runs a load on each server, round by round.
    fn rounds(
        &self,
        bench: &Bench,
        load: impl Fn(&Server) -> Result<super::engine::Got>,
        units: impl Fn(&super::engine::Got) -> f64,
    ) -> Result<Samples> {
        let mut samples = Samples::default();
        for _ in 0..bench.rounds {
            for server in &self.servers {
                let (got, cpu, memory) = server.processes.during(|| load(server))?;
                let sample = Sample {
                    units: units(&got),
                    wall: got.wall,
                    cpu,
                    memory,
                    p99: got.p99(),
                };
                samples.add(Who::Server(server.setup.kind), sample);
            }
        }
        Ok(samples)
    }

    /// R1: a manifest by its tag.
    pub(super) fn manifests(&self, bench: &Bench) -> Result<Vec<Row>> {
        let parts: &[Part] = &[
            (Sample::rate, |rate| format!("{} per s", number(rate, 0))),
            (Sample::cost, |cost| {
                format!("{} µs CPU each", number(cost * 1e6, 0))
            }),
            (
                |sample| sample.p99.as_secs_f64(),
                |p99| format!("p99 {} ms", number(p99 * 1e3, 1)),
            ),
        ];
        let mut rows = Vec::new();
        for connections in [1, 32, 256] {
            let samples = self.rounds(
                bench,
                |server| {
                    let accept = format!("Accept: {MANIFEST}\r\n");
                    let list = [get(server, &manifest_path("latest"), &accept)];
                    read(&server.address, connections, &list, bench.time(1500))
                },
                |got| float(got.requests),
            )?;
            let ratio = samples.ratio(NGINX, Sample::rate);
            let mut goals = vec![Goal::at_least(ratio, 0.6, "× nginx")];
            if connections == 32 {
                let p99 = samples.median(OURS, |sample| sample.p99.as_secs_f64() * 1e3);
                goals.push(Goal::at_most(p99, 8.0, "ms"));
            }
            let cost = samples.median(OURS, |sample| sample.cost() * 1e6);
            goals.push(Goal::at_most(cost, 40.0, "µs"));
            rows.push(row(
                format!("R1 manifest by tag, {}", connections_text(connections)),
                &samples,
                parts,
                goals,
            ));
        }
        Ok(rows)
    }

    /// R2: large blobs and short ranges.
    pub(super) fn blobs(&self, bench: &Bench) -> Result<Vec<Row>> {
        let parts: &[Part] = &[
            (Sample::rate, |rate| {
                format!("{} GB/s", number(rate / GB, 2))
            }),
            (Sample::cost, |cost| {
                format!("{} s CPU per GB", number(cost * GB, 2))
            }),
        ];
        let mut rows = Vec::new();
        for (connections, blob, name) in [(1, &self.huge, "1 GiB"), (32, &self.large, "64 MiB")] {
            let samples = self.rounds(
                bench,
                |server| {
                    // Several times, for the clock of processor time ticks slowly.
                    let list = vec![get(server, &blob_path(blob), ""); 4];
                    read(&server.address, connections, &list, Until::Once)
                },
                |got| float(got.bytes),
            )?;
            let ratio = samples.ratio(NGINX, Sample::cost);
            rows.push(row(
                format!("R2 blob of {name}, {}", connections_text(connections)),
                &samples,
                parts,
                vec![Goal::at_most(ratio, 1.2, "× nginx's CPU")],
            ));
        }
        let samples = self.rounds(
            bench,
            |server| {
                let list = self.ranges(server);
                read(&server.address, 8, &list, bench.time(1500))
            },
            |got| float(got.bytes),
        )?;
        let parts: &[Part] = &[
            (Sample::rate, |rate| {
                format!("{} MB/s", number(rate / 1e6, 0))
            }),
            (Sample::cost, |cost| {
                format!("{} s CPU per GB", number(cost * GB, 2))
            }),
        ];
        let ratio = samples.ratio(NGINX, Sample::rate);
        rows.push(row(
            "R2 ranges of 64 KiB, 8 connections".to_owned(),
            &samples,
            parts,
            vec![Goal::at_least(ratio, 0.5, "× nginx")],
        ));
        Ok(rows)
    }

    /// Requests for ranges anywhere in the huge blob.
    fn ranges(&self, server: &Server) -> Vec<Vec<u8>> {
        const RANGE: u64 = 64 << 10;
        let path = blob_path(&self.huge);
        let places = random(5, 512 * 8);
        let places = places.chunks_exact(8).map(|bytes| {
            let number = bytes
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            number % (self.huge.length() - RANGE)
        });
        places
            .map(|at| {
                get(
                    server,
                    &path,
                    &format!("Range: bytes={at}-{}\r\n", at + RANGE - 1),
                )
            })
            .collect()
    }

    /// R5: one image, pulled by many clients at once.
    pub(super) fn pulls(&self, bench: &Bench) -> Result<Vec<Row>> {
        let clients = if bench.quick { 10 } else { 100 };
        let samples = self.rounds(
            bench,
            |server| {
                let list = [
                    get(
                        server,
                        &manifest_path("latest"),
                        &format!("Accept: {MANIFEST}\r\n"),
                    ),
                    get(server, &blob_path(&self.small), ""),
                    get(server, &blob_path(&self.layer), ""),
                ];
                read(&server.address, clients, &list, Until::Once)
            },
            |got| float(got.bytes),
        )?;
        let parts: &[Part] = &[
            (
                |sample| sample.wall.as_secs_f64(),
                |wall| format!("{} s", number(wall, 1)),
            ),
            (Sample::cost, |cost| {
                format!("{} s CPU per GB", number(cost * GB, 2))
            }),
            (
                |sample| float(sample.memory.own),
                |own| format!("{} MB own memory", number(own / 1e6, 0)),
            ),
            (
                |sample| float(sample.memory.file),
                |file| format!("{} MB of files", number(file / 1e6, 0)),
            ),
        ];
        let ratio = samples.ratio(NGINX, |sample| sample.wall.as_secs_f64());
        let memory = samples.median(OURS, |sample| {
            float(sample.memory.own + sample.memory.file) / 1e6
        });
        Ok(vec![row(
            format!("R5 {clients} clients pull an image of 300 MB"),
            &samples,
            parts,
            vec![
                Goal::at_most(ratio, 1.2, "× nginx's time"),
                Goal::at_most(memory, 60.0, "MB"),
            ],
        )])
    }
}

fn row(load: String, samples: &Samples, parts: &[Part], goals: Vec<Option<Goal>>) -> Row {
    Row {
        load,
        ours: samples.cell(OURS, parts),
        distribution: samples.cell(PEER, parts),
        limit: format!("nginx: {}", samples.cell(NGINX, parts)),
        goals,
    }
}

fn connections_text(connections: usize) -> String {
    match connections {
        1 => "1 connection".to_owned(),
        more => format!("{more} connections"),
    }
}

/// The bytes of a GET.
fn get(server: &Server, path: &str, headers: &str) -> Vec<u8> {
    let host = &server.address;
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").into_bytes()
}

fn blob_path(content: &Content) -> String {
    format!("/v2/{REPOSITORY}/blobs/{}", content.digest())
}

fn manifest_path(tag: &str) -> String {
    format!("/v2/{REPOSITORY}/manifests/{tag}")
}

impl Bench {
    /// So many milliseconds, or a third of them when it must be quick.
    fn time(&self, milliseconds: u64) -> Until {
        let milliseconds = if self.quick {
            milliseconds / 3
        } else {
            milliseconds
        };
        Until::Time(Duration::from_millis(milliseconds))
    }
}
