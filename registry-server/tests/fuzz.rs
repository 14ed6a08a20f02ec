//! The checks of the fuzz targets over the requests in `testdata/requests` and random changes of them, a bounded
//! number of times. The changes come from a fixed seed; `RBUILD_FUZZ_ROUNDS` asks for more of them.

use std::fs;
use std::path::PathBuf;

use rbuild_registry_server::fuzz;

/// A small generator of numbers (xorshift), so that every run does the same.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }
}

/// What a mutation may put in.
const PIECES: [&[u8]; 22] = [
    b"/",
    b"%2F",
    b"%",
    b"%00",
    b"..",
    b"-",
    b"_",
    b"__",
    b":",
    b"sha256:",
    b"&",
    b"=",
    b"+",
    b"\n",
    b"\"",
    b"{",
    b"[",
    b"}",
    b",",
    b"18446744073709551616",
    b"\xff",
    b"\\u0041",
];

/// The requests of a file, one in each line, or with lines `%%` between them.
fn seeds(name: &str, separator: &str) -> Vec<Vec<u8>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/requests")
        .join(name);
    let text = fs::read_to_string(path).expect("the requests are there");
    let seeds = text.trim_end_matches('\n').split(separator);
    seeds.map(|seed| seed.as_bytes().to_vec()).collect()
}

/// Cuts, doubles, swaps and replaces pieces.
fn change(numbers: &mut Numbers, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut text = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(3) {
        let at = numbers.below(text.len() + 1);
        let end = (at + numbers.below(12)).min(text.len());
        match numbers.below(6) {
            0 => drop(text.drain(at..end)),
            1 => {
                let piece = text[at..end].to_vec();
                text.splice(at..at, piece);
            }
            2 => {
                let other = &seeds[numbers.below(seeds.len())];
                let from = numbers.below(other.len() + 1);
                let to = (from + numbers.below(40)).min(other.len());
                text.splice(at..end, other[from..to].iter().copied());
            }
            3 => {
                text.splice(at..at, PIECES[numbers.below(PIECES.len())].iter().copied());
            }
            4 if at < text.len() => text[at] = u8::try_from(numbers.below(128)).unwrap_or_default(),
            _ => text.truncate(end.max(1)),
        }
    }
    text
}

fn check(name: &str, separator: &str, target: fn(&[u8])) {
    let rounds = std::env::var("RBUILD_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000);
    let seeds = seeds(name, separator);
    assert!(seeds.len() > 10, "{name} has requests");
    for seed in &seeds {
        target(seed);
    }
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for _ in 0..rounds {
        target(&change(&mut numbers, &seeds));
    }
}

#[test]
fn the_checks_hold_for_changed_paths() {
    check("paths", "\n", fuzz::path);
}

#[test]
fn the_checks_hold_for_changed_ranges() {
    check("ranges", "\n", fuzz::range);
}

#[test]
fn the_checks_hold_for_changed_headers() {
    check("headers", "\n%%\n", fuzz::header);
}

#[test]
fn the_checks_hold_for_changed_manifests() {
    check("manifests", "\n%%\n", fuzz::manifest);
}
