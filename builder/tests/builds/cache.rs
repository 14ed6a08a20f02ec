//! What is executed again, and what is not.

use std::time::{Duration, SystemTime};

use crate::support::{Fixture, set_mode};

const DOCKERFILE: &str =
    "FROM scratch\nCOPY a /a\nRUN write one 1\nCOPY b /b\nRUN write two 2\nENV X=1\nCMD [\"/a\"]\n";

fn fixture() -> Fixture {
    let fixture = Fixture::new();
    fixture.files(&[("a", "a"), ("b", "b"), ("unused", "u")]);
    fixture
}

#[test]
fn a_second_run_executes_nothing_and_gives_the_same_image() {
    let mut fixture = fixture();
    let first = fixture.build(DOCKERFILE);
    assert_eq!(first.ran, ["write one 1", "write two 2"]);
    let second = fixture.build(DOCKERFILE);
    assert!(second.is_cached(), "{:?}", second.missed);
    assert_eq!(second.exported(), first.exported());
}

#[test]
fn a_changed_file_reruns_only_what_depends_on_it() {
    let mut fixture = fixture();
    fixture.build(DOCKERFILE);
    fixture.files(&[("b", "changed")]);
    let second = fixture.build(DOCKERFILE);
    assert_eq!(second.ran, ["write two 2"]);
    assert_eq!(second.missed[0].1, "`/b` changed");
    assert_eq!(
        second.missed[1].1,
        "the base or an earlier step gave other files"
    );
}

#[test]
fn touch_changes_nothing() {
    let mut fixture = fixture();
    fixture.build(DOCKERFILE);
    let file = std::fs::File::options()
        .write(true)
        .open(fixture.context.join("a"))
        .unwrap();
    file.set_modified(SystemTime::now() + Duration::from_mins(1))
        .unwrap();
    assert!(fixture.build(DOCKERFILE).is_cached());
}

#[test]
fn a_file_that_no_step_uses_changes_nothing() {
    let mut fixture = fixture();
    fixture.build(DOCKERFILE);
    fixture.files(&[("unused", "changed"), ("new", "n")]);
    assert!(fixture.build(DOCKERFILE).is_cached());
}

#[test]
fn metadata_makes_no_miss() {
    let mut fixture = fixture();
    fixture.build(DOCKERFILE);
    let other = DOCKERFILE.replace(
        "COPY b",
        "# a comment\nLABEL a=b\nEXPOSE 80\nCMD [\"x\"]\nCOPY b",
    );
    assert!(fixture.build(&other).is_cached());
}

#[test]
fn a_mode_is_content_unless_chmod_replaces_it() {
    let mut fixture = fixture();
    let with = "FROM scratch\nCOPY --chmod=644 a /a\n";
    let without = "FROM scratch\nCOPY a /a\n";
    set_mode(&fixture.context.join("a"), 0o644);
    fixture.build(with);
    fixture.build(without);
    set_mode(&fixture.context.join("a"), 0o600);
    assert!(fixture.build(with).is_cached());
    let missed = fixture.build(without).missed;
    assert_eq!(missed[0].1, "`/a` changed its mode from 0644 to 0600");
}

/// The first law of the keys: an equal result lets everything after it hit.
#[test]
fn an_equal_result_lets_everything_after_it_hit() {
    let mut fixture = fixture();
    fixture.build("FROM scratch\nARG V=1\nRUN write one 1\nRUN write two 2\nRUN write three 3\n");
    // Another variable: the first command runs again, and writes the same file at another time.
    let second = fixture.build_with("FROM scratch\nARG V=1\nRUN write one 1\nENV Z=1\n", |_| {});
    assert!(second.is_cached());
    let before = "FROM scratch\nRUN write one 1\nENV A=1\nRUN write two 2\n";
    let after = "FROM scratch\nRUN  write one 1\nENV A=1\nRUN write two 2\n";
    fixture.build(before);
    let again = fixture.build_with(
        &after.replace("RUN  write one 1", "USER 7\nRUN write one 1\nUSER 0"),
        |_| {},
    );
    assert_eq!(
        again.ran.first().map(String::as_str),
        Some("write one 1"),
        "another user is another key"
    );
    let plain = fixture.build(before);
    assert!(plain.is_cached());
}

#[test]
fn a_rerun_with_equal_output_is_cut_off_at_once() {
    let mut fixture = fixture();
    let dockerfile = |mark: &str| {
        format!(
            "FROM scratch AS one\nRUN --network={mark} write one 1\nFROM one\nRUN write two 2\n"
        )
    };
    fixture.build(&dockerfile("host"));
    let second = fixture.build(&dockerfile("none"));
    assert_eq!(
        second.ran,
        ["write one 1"],
        "the step after an equal result hits"
    );
}

/// The second law: a changed base with the same facts does not copy again.
#[test]
fn a_changed_base_with_the_same_facts_does_not_copy_again() {
    let mut fixture = fixture();
    fixture.image("base", "FROM scratch\nRUN write os 1\n");
    let dockerfile = "FROM base\nWORKDIR /srv\nCOPY a b ./\nCOPY --chown=5:6 a /other/a\n";
    let first = fixture.build(dockerfile);
    fixture.image("base", "FROM scratch\nRUN write os 2\n");
    let second = fixture.build(dockerfile);
    assert!(second.is_cached(), "{:?}", second.missed);
    assert_ne!(second.exported(), first.exported());
    assert_eq!(
        second.config().rootfs.diff_ids[1..],
        first.config().rootfs.diff_ids[1..]
    );
}

#[test]
fn a_changed_base_with_other_facts_copies_again() {
    let mut fixture = fixture();
    fixture.image("base", "FROM scratch\nCOPY --chmod=700 a /srv/x\n");
    let dockerfile = "FROM base\nCOPY b /srv/\n";
    fixture.build(dockerfile);
    fixture.image("base", "FROM scratch\nCOPY --chmod=755 a /srv/x\n");
    let second = fixture.build(dockerfile);
    assert_eq!(
        second.missed.len(),
        1,
        "the directory that leads there has another mode"
    );
}

#[test]
fn a_copy_from_a_stage_that_ran_again_with_equal_files_hits() {
    let mut fixture = fixture();
    let dockerfile = |network: &str| {
        format!(
            "FROM scratch AS make\nRUN --network={network} write out 1\nFROM scratch\nCOPY --from=make /out /out\nRUN write end 1\n"
        )
    };
    fixture.build(&dockerfile("host"));
    let second = fixture.build(&dockerfile("none"));
    assert_eq!(second.ran, ["write out 1"]);
    assert_eq!(second.missed.len(), 1);
}

#[test]
fn no_cache_runs_everything_and_a_later_build_hits() {
    let mut fixture = fixture();
    fixture.build(DOCKERFILE);
    let second = fixture.build_with(DOCKERFILE, |request| request.no_cache = true);
    assert_eq!(second.ran.len(), 2);
    assert!(fixture.build(DOCKERFILE).is_cached());
}

#[test]
fn a_build_argument_is_in_the_key_only_where_it_is_declared() {
    let mut fixture = fixture();
    let dockerfile = "FROM scratch\nRUN write one 1\nARG V\nRUN write two 2\n";
    let with = |value: &str| {
        let value = value.to_owned();
        move |request: &mut rbuild_builder::BuildRequest| {
            request.build_args = vec![("V".into(), value)];
        }
    };
    fixture.build_with(dockerfile, with("1"));
    let second = fixture.build_with(dockerfile, with("2"));
    assert_eq!(second.ran, ["write two 2"]);
    assert_eq!(second.missed[0].1, "variable `V` changed from `1` to `2`");
}

#[test]
fn a_lost_layer_is_made_again() {
    let mut fixture = fixture();
    let first = fixture.build(DOCKERFILE);
    let layer = first.config().rootfs.diff_ids[1];
    std::fs::remove_file(fixture.store.blobs().path_of(&layer.0)).unwrap();
    let second = fixture.build(DOCKERFILE);
    assert_eq!(second.ran, ["write one 1"]);
    assert_eq!(second.missed[0].1, "its layer is no longer in the store");
}

#[test]
fn equal_steps_of_two_stages_run_once() {
    let mut fixture = fixture();
    let built = fixture.build("FROM scratch AS a\nRUN write x 1\nFROM scratch AS b\nRUN write x 1\nRUN write y 1\nFROM a\nCOPY --from=b /y /y\n");
    assert_eq!(
        built
            .ran
            .iter()
            .filter(|command| *command == "write x 1")
            .count(),
        1
    );
}

#[test]
fn stages_that_do_not_matter_are_not_built() {
    let mut fixture = fixture();
    let built = fixture.build("FROM scratch AS a\nRUN fail 1\nFROM scratch AS b\nRUN write x 1\n");
    assert_eq!(built.ran, ["write x 1"]);
    let built = fixture.build_with(
        "FROM scratch AS a\nRUN write a 1\nFROM scratch AS b\nRUN fail 1\n",
        |request| {
            request.target = Some("A".into());
        },
    );
    assert_eq!(built.ran, ["write a 1"]);
}

#[test]
fn mounts_bring_stages_and_files_of_the_context_and_count_by_content() {
    let mut fixture = fixture();
    let dockerfile = |network: &str| {
        format!(
            "FROM scratch AS tools\nRUN --network={network} write bin/tool 1\nFROM scratch\nRUN --mount=from=tools,source=/bin,target=/tools --mount=target=/src --mount=type=cache,target=/cache write out 1\n"
        )
    };
    let first = fixture.build(&dockerfile("host"));
    assert_eq!(first.ran, ["write bin/tool 1", "write out 1"]);
    let second = fixture.build(&dockerfile("none"));
    assert_eq!(
        second.ran,
        ["write bin/tool 1"],
        "an equal mount is no change"
    );
    fixture.files(&[("a", "changed")]);
    let third = fixture.build(&dockerfile("none"));
    assert_eq!(third.ran, ["write out 1"], "the context is mounted");
}

#[test]
fn secrets_and_names_of_caches_are_in_no_key() {
    let mut fixture = fixture();
    let dockerfile = |id: &str| {
        format!(
            "FROM scratch\nRUN --mount=type=secret,id=s --mount=type=cache,id={id},target=/c write out 1\n"
        )
    };
    fixture.build(&dockerfile("one"));
    let second = fixture.build_with(&dockerfile("two"), |request| {
        request.secrets = vec![rbuild_builder::Secret {
            id: "s".into(),
            content: b"x".to_vec(),
        }];
    });
    assert!(second.is_cached());
}
