//! The checks of the fuzz targets over the test data and random changes of it, a bounded number of
//! times. The changes come from a fixed seed; `RBUILD_FUZZ_ROUNDS` asks for more of them.

use std::fs;
use std::path::PathBuf;

use rbuild_parser::fuzz;

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

fn seeds() -> Vec<Vec<u8>> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles");
    let mut paths: Vec<PathBuf> = ["valid", "invalid"]
        .iter()
        .flat_map(|directory| fs::read_dir(root.join(directory)).expect("the directory is there"))
        .map(|entry| entry.expect("it can be listed").path())
        .collect();
    paths.sort();
    let texts = paths
        .iter()
        .map(|path| fs::read(path).expect("it can be read"));
    texts.filter(|text| text.len() < 10_000).collect()
}

/// Cuts, doubles, swaps and replaces pieces.
fn change(numbers: &mut Numbers, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut text = seeds[numbers.below(seeds.len())].clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(text.len() + 1);
        let end = (at + numbers.below(20)).min(text.len());
        match numbers.below(5) {
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
                let pieces: [&[u8]; 12] = [
                    b"\\\n",
                    b"<<E",
                    b"\"",
                    b"'",
                    b"${",
                    b"}",
                    b"\n",
                    b"[\"",
                    b"--",
                    b"\xff",
                    b"ONBUILD ",
                    b"\r\n",
                ];
                text.splice(at..at, pieces[numbers.below(pieces.len())].iter().copied());
            }
            _ => text.truncate(end.max(1)),
        }
    }
    text
}

#[test]
fn the_checks_hold_for_changed_files() {
    let rounds = std::env::var("RBUILD_FUZZ_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3_000);
    let seeds = seeds();
    for seed in &seeds {
        fuzz::parse(seed);
    }
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for _ in 0..rounds {
        let text = change(&mut numbers, &seeds);
        fuzz::parse(&text);
        fuzz::expand(&text);
        fuzz::ignore(&text);
    }
}

#[test]
fn the_checks_hold_for_random_rules_and_words() {
    let pieces = [
        "a", "b", "*", "**", "/", "!", "\n", "\n\n", "?", "[ab]", "\\", "..", ".", "${a", ":-",
        "#", "}", "$b", "\"", "'",
    ];
    let mut numbers = Numbers(7);
    for _ in 0..20_000 {
        let text: String = (0..numbers.below(14))
            .map(|_| pieces[numbers.below(pieces.len())])
            .collect();
        fuzz::expand(text.as_bytes());
        fuzz::ignore(text.as_bytes());
    }
}
