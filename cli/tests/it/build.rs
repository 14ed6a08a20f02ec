//! Builds: what is shown, what is written, what the cache does.

use insta::assert_snapshot;

use crate::world::World;

const DOCKERFILE: &str = r#"# syntax=docker/dockerfile:1
FROM busybox AS build
ARG GREETING=hello
WORKDIR /src
COPY greet.sh .
RUN sh greet.sh "$GREETING" > /greeting
FROM busybox
COPY --from=build /greeting /greeting
LABEL made.by=rbuild
CMD ["cat", "/greeting"]
"#;

fn write_context(world: &World) {
    world.write("ctx/Dockerfile", DOCKERFILE);
    world.write("ctx/greet.sh", "echo \"$1 from the build\"\n");
}

#[test]
fn a_build_shows_its_steps_and_the_next_one_is_cached() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nARG GREETING=hello\nWORKDIR /src\nCOPY greet.sh .\nRUN sh greet.sh \"$GREETING\"\nCMD [\"true\"]\n",
    );
    world.write(
        "ctx/greet.sh",
        "echo \"$1 from the build\"; echo x > made\n",
    );
    world.run(&["build", "-t", "app:1", "ctx"]);
    world.run(&["-t", "app:1", "ctx"]);
    world.run(&["build", "--build-arg", "GREETING=bye", "ctx"]);
    world.run(&["build", "--no-cache", "ctx"]);
    assert_snapshot!(world.log());
}

#[test]
fn stages_are_built_and_the_image_runs() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    write_context(&world);
    world.run(&["build", "-q", "-t", "app:1", "ctx"]);
    world.run(&["run", "app:1"]);
    world.run(&[
        "build",
        "-q",
        "--build-arg",
        "GREETING=bye",
        "--label",
        "more=1",
        "ctx",
    ]);
    world.run(&["build", "-q", "-t", "stage", "--target", "build", "ctx"]);
    world.run(&["run", "stage", "cat", "/greeting"]);
    world.run(&["images"]);
    world.run(&["history", "app:1"]);
    assert_snapshot!(world.log());
}

#[test]
fn the_results_are_written_to_files() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.write("ctx/Dockerfile", "FROM busybox\nENV A=b\n");
    let done = world.run(&[
        "build",
        "-q",
        "-t",
        "app:1",
        "--iidfile",
        "iid",
        "--metadata-file",
        "facts.json",
        "ctx",
    ]);
    assert_eq!(world.read("iid"), done.stdout.trim_end());
    world.write("bad/Dockerfile", "FROM busybox\nCOPY missing /\n");
    world.quietly(&["build", "-q", "--iidfile", "iid", "bad"]);
    assert!(!world.path("iid").exists(), "no image, no id");
    let facts = world.read("facts.json");
    let facts = world.normal(&facts);
    assert_snapshot!(format!("{}{facts}", world.log()));
}

#[test]
fn progress_is_shown_as_asked() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.write("ctx/Dockerfile", "FROM busybox\nENV A=b\n");
    for progress in ["auto", "plain", "quiet"] {
        world.run(&["build", "--progress", progress, "ctx"]);
    }
    world.run_with(&["build", "ctx"], "", |command| {
        command.env("BUILDKIT_PROGRESS", "quiet");
    });
    world.run_with(&["build", "ctx"], "", |command| {
        command.env("BUILDKIT_PROGRESS", "loud");
    });
    world.run_with(&["build", "-q", "ctx"], "", |command| {
        command
            .env("BUILDKIT_PROGRESS", "plain")
            .env("DOCKER_BUILDKIT", "0");
    });
    let json = world.quietly(&["build", "--progress", "rawjson", "ctx"]);
    let vertexes = json
        .stderr
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line.get("vertexes").is_some())
        .count();
    assert!(vertexes >= 2, "{}", json.stderr);
    assert_snapshot!(world.log());
}

#[test]
fn a_dockerfile_comes_from_standard_input_or_another_file() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.write("ctx/file", "x");
    world.write("other.Dockerfile", "FROM busybox\nCOPY file /\n");
    world.run(&["build", "-f", "other.Dockerfile", "ctx"]);
    world.run_input(
        &["build", "-f", "-", "ctx"],
        "FROM busybox\nCOPY file /there\n",
    );
    world.write("lower/dockerfile", "FROM busybox\n");
    world.run(&["lower"]);
    assert_snapshot!(world.log());
}

#[test]
fn an_ignore_file_beside_the_dockerfile_wins() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY a b /\n");
    world.write("ctx/.dockerignore", "a\n");
    world.write("ctx/Dockerfile.dockerignore", "# own\nb\n");
    world.write("ctx/a", "x");
    world.write("ctx/b", "x");
    let done = world.run(&["build", "ctx"]);
    assert_eq!(done.code, Some(1));
    assert_snapshot!(world.log());
}

#[test]
fn an_epoch_fixes_every_time() {
    let Some(world) = World::with_busybox() else {
        return;
    };
    world.write("ctx/Dockerfile", "FROM busybox\nCOPY file /\nENV A=b\n");
    world.write("ctx/file", "x");
    let mut command = world.command(&["build", "-q", "-t", "app", "ctx"]);
    let output = command
        .env("SOURCE_DATE_EPOCH", "1000000000")
        .output()
        .expect("run");
    assert!(output.status.success());
    let config = world.quietly(&["inspect", "app"]).stdout;
    assert!(
        config.contains(r#""Created": "2001-09-09T01:46:40Z""#),
        "{config}"
    );
    let refused = world
        .command(&["build", "ctx", "--build-arg", "SOURCE_DATE_EPOCH=now"])
        .output()
        .expect("run");
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn a_build_argument_without_a_value_is_the_callers_variable() {
    let Some(world) = World::with_busybox() else {
        return;
    };
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nARG WHO=nobody\nENV WHO=$WHO\n",
    );
    let who = |value: Option<&str>| {
        let mut command = world.command(&["build", "-q", "-t", "app", "--build-arg", "WHO", "ctx"]);
        command.envs(value.map(|value| ("WHO", value)));
        assert!(command.output().expect("run").status.success());
        world.quietly(&["inspect", "app"]).stdout
    };
    assert!(who(Some("me")).contains("\"WHO=me\""));
    assert!(who(None).contains("\"WHO=nobody\""));
}

#[test]
fn a_build_warns_and_goes_on() {
    let Some(mut world) = World::with_busybox() else {
        return;
    };
    world.write(
        "ctx/Dockerfile",
        "FROM busybox as base\nFROM base\nENV a b\n",
    );
    assert_eq!(world.run(&["build", "ctx"]).code, Some(0));
    assert_eq!(world.run(&["build", "-q", "ctx"]).code, Some(0));
    assert_eq!(world.run(&["check", "ctx"]).code, Some(0));
    world.write(
        "strict/Dockerfile",
        "# check=error=true\nFROM busybox as base\n",
    );
    assert_eq!(world.run(&["build", "strict"]).code, Some(1));
    assert_eq!(world.run(&["check", "strict"]).code, Some(1));
    assert_snapshot!(world.log());
}

#[test]
fn a_build_explains_what_it_runs() {
    let Some(mut world) = World::with_sandbox() else {
        return;
    };
    world.write(
        "ctx/Dockerfile",
        "FROM busybox\nCOPY file /\nRUN cat /file\n",
    );
    world.write("ctx/file", "one\n");
    world.run(&["build", "ctx"]);
    world.run(&["build", "ctx"]);
    world.write("ctx/file", "two\n");
    world.run(&["build", "ctx"]);
    assert_snapshot!(world.log());
}
