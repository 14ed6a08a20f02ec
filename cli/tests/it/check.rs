//! `check`, `parse`, `debug ask`, `context ls`.

use insta::assert_snapshot;

use crate::world::World;

#[test]
fn a_dockerfile_is_checked_without_building() {
    let mut world = World::new();
    world.write("good/Dockerfile", "FROM scratch\nCOPY a /\n");
    world.write(
        "bad/Dockerfile",
        "FROM scratch\nCPOY a /\nRUN --mont=type=cache true\n",
    );
    assert_eq!(world.run(&["check", "good"]).code, Some(0));
    assert_eq!(world.run(&["check", "bad"]).code, Some(1));
    assert_eq!(
        world
            .run(&["check", "bad/Dockerfile", "--format", "json"])
            .code,
        Some(1)
    );
    assert_eq!(
        world.run_input(&["check", "-"], "FROM scratch\n").code,
        Some(0)
    );
    assert_eq!(world.run(&["check", "nowhere"]).code, Some(2));
    assert!(!world.path("root").exists(), "nothing is opened for it");
    assert_snapshot!(world.log());
}

#[test]
fn a_dockerfile_is_printed_for_tools() {
    let mut world = World::new();
    world.write("Dockerfile", "FROM scratch\nENV a=b\n");
    let done = world.quietly(&["parse", "--json"]);
    let tree: serde_json::Value = serde_json::from_str(&done.stdout).expect("JSON");
    assert_eq!(done.code, Some(0));
    assert_eq!(tree["instructions"][1]["instruction"], "ENV");
    assert_eq!(
        tree["instructions"][1]["args"],
        serde_json::json!(["a", "b"])
    );
    let refused = world.run_input(&["parse", "--json", "-"], "FORM scratch\n");
    let refusal: serde_json::Value = serde_json::from_str(&refused.stdout).expect("JSON");
    assert_eq!(refused.code, Some(1));
    assert!(
        refusal["error"]
            .as_str()
            .is_some_and(|text| text.contains("FORM"))
    );
    assert_eq!(world.run(&["parse", "Dockerfile"]).code, Some(2));
}

#[test]
fn questions_are_answered_line_by_line() {
    let world = World::new();
    let mut world = world;
    let questions = concat!(
        r#"{"mode": "word", "input": "a$b", "env": ["b=c"]}"#,
        "\n",
        r#"{"mode": "ignore", "input": "*.log\n!keep.log", "paths": ["a.log", "keep.log"]}"#,
        "\n",
        "rubbish\n"
    );
    let done = world.run_input(&["debug", "ask"], questions);
    assert_eq!(done.stdout.lines().count(), 3);
    assert_snapshot!(world.log());
}

#[test]
fn a_context_is_listed_with_reasons() {
    let mut world = World::new();
    for file in [
        "Dockerfile",
        "src/main.py",
        "src/main.pyc",
        "log/a.log",
        "log/keep.log",
        ".git/HEAD",
    ] {
        world.write(&format!("ctx/{file}"), "x");
    }
    world.write(
        "ctx/.dockerignore",
        "# comment\n.git\n**/*.pyc\nlog\n!log/keep.log\n",
    );
    world.run(&["context", "ls", "ctx"]);
    world.run(&[
        "context",
        "ls",
        "--why",
        "log/a.log",
        "--why",
        "log/keep.log",
        "--why",
        "src/main.py",
        "ctx",
    ]);
    world.write("bad/.dockerignore", "[\n");
    world.run(&["context", "ls", "bad"]);
    assert_snapshot!(world.log());
}

#[test]
fn a_dockerfile_tells_its_targets_and_what_they_take() {
    let mut world = World::new();
    world.write(
        "ctx/Dockerfile",
        "# VERSION version of the tool\nARG VERSION=1\nFROM scratch AS base\nARG COLOUR\n# build makes the tool\nFROM base AS build\n# FLAGS more flags\nARG FLAGS=\"-O2\"\nRUN --mount=type=secret,id=token,required=true make\n# tool holds nothing but the tool\nFROM scratch AS tool\nCOPY --from=build /tool /\n",
    );
    world.run(&["build", "--call=targets", "ctx"]);
    world.run(&[
        "build",
        "--call=outline",
        "--target=build",
        "--build-arg=COLOUR=red",
        "ctx",
    ]);
    world.run(&[
        "build",
        "--call=outline,format=json",
        "--target=build",
        "ctx",
    ]);
    world.run(&["build", "--call=targets,format=json", "ctx"]);
    world.run(&["build", "--call=outline", "--target=biuld", "ctx"]);
    world.run(&["build", "--check", "ctx"]);
    world.run(&["build", "--call=draw", "ctx"]);
    assert_snapshot!(world.log());
}

#[test]
fn a_build_tells_editors_what_is_wrong_as_json() {
    let mut world = World::new();
    world.write(
        "ctx/Dockerfile",
        "FROM scratch\nCPOY a /\nCOPY --chmd=1 a /\n",
    );
    world.write("missing/Dockerfile", "FROM scratch\nCOPY a /\n");
    assert_eq!(
        world.run(&["build", "--progress=rawjson", "ctx"]).code,
        Some(1)
    );
    let done = world.quietly(&["build", "--progress=rawjson", "missing"]);
    let last = done.stderr.lines().last().unwrap_or_default();
    let told: serde_json::Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(told["diagnostics"][0]["code"], "no-such-file");
    assert_eq!(told["diagnostics"][0]["start"]["line"], 2);
    assert_snapshot!(world.log());
}
