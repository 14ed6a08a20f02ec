//! Beginning and end of helper processes, and what they leave.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio as ChildStdio};

use rbuild_builder::sandbox::{
    CancelToken, Outcome, Request, Sandbox, SandboxConfig, SandboxError, Stdio, StepIo, Stream,
};
use serde_json::{Value, json};

use crate::sandbox_support::harness::{Case, Needs};
use crate::sandbox_support::parent;
use crate::sandbox_support::world::{Collect, World};

pub(crate) const CASES: &[Case] = &[
    (
        "background_processes_end_with_the_command",
        Needs::Any,
        background_processes_end_with_the_command,
    ),
    (
        "cancelling_ends_everything",
        Needs::Any,
        cancelling_ends_everything,
    ),
    (
        "killing_the_caller_leaves_nothing",
        Needs::Any,
        killing_the_caller_leaves_nothing,
    ),
    ("steps_run_side_by_side", Needs::Any, steps_run_side_by_side),
    ("the_handler_is_heard", Needs::Any, the_handler_is_heard),
    (
        "a_helper_that_is_none_is_an_error",
        Needs::Any,
        a_helper_that_is_none_is_an_error,
    ),
    (
        "a_panicking_caller_leaves_nothing",
        Needs::Any,
        a_panicking_caller_leaves_nothing,
    ),
    (
        "many_steps_follow_one_another",
        Needs::Any,
        many_steps_follow_one_another,
    ),
];

/// Command lines of all processes that hold `marker`.
fn processes_with(marker: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").expect("the processes").flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(marker))
        .collect()
}

/// A number of seconds to sleep that no other process uses.
fn marker(world: &World) -> String {
    let name = world.scratch();
    let number = name
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a number")
        .to_owned();
    format!("{}{number:0>5}", 1_000_000 + std::process::id())
}

fn background_processes_end_with_the_command(world: &World) {
    let marker = marker(world);
    let script = format!(
        "setsid sleep {marker} & nohup sleep {marker} > /dev/null & (sleep {marker} &); echo started; exit 4"
    );
    let ran = world.run(&world.script(&script));
    assert_eq!(
        (ran.outcome, ran.stdout.as_str()),
        (Outcome::Exited(4), "started\n")
    );
    assert_eq!(processes_with(&marker), Vec::<String>::new());
}

/// Cancels as soon as there is output.
struct CancelOnOutput(CancelToken);

impl StepIo for CancelOnOutput {
    fn on_output(&mut self, _: Stream, _: &[u8]) {
        self.0.cancel();
    }
}

fn cancelling_ends_everything(world: &World) {
    let marker = marker(world);
    let step = world.script(&format!(
        "trap '' TERM INT; sleep {marker} & echo started; sleep {marker}"
    ));
    let request = Request {
        step: Some(step.spec.clone()),
        stdio: Stdio::Piped,
        payload: Value::Null,
    };
    let cancel = CancelToken::new().expect("a token");
    let error = world
        .sandbox
        .run(&request, &mut CancelOnOutput(cancel.clone()), &cancel)
        .expect_err("it was cancelled");
    assert!(matches!(error, SandboxError::Cancelled), "{error}");
    assert_eq!(processes_with(&marker), Vec::<String>::new());
    let error = world
        .sandbox
        .run(&request, &mut Collect::default(), &cancel)
        .expect_err("the token stays cancelled");
    assert!(matches!(error, SandboxError::Cancelled), "{error}");
}

fn killing_the_caller_leaves_nothing(world: &World) {
    let step = world.script("setsid sleep 1000 & echo started; sleep 1000");
    let spec = serde_json::to_string(&step.spec).expect("a step is plain data");
    let mut caller = Command::new("/proc/self/exe")
        .args([parent::VERB, &spec])
        .stdin(ChildStdio::null())
        .stdout(ChildStdio::piped())
        .stderr(ChildStdio::piped())
        .spawn()
        .expect("this program can be started");
    let mut output = caller.stdout.take().expect("a pipe");
    let mut errors = caller.stderr.take().expect("a pipe");
    let mut started = [0; 8];
    output
        .read_exact(&mut started)
        .expect("the step says that it runs");
    assert_eq!(&started, b"started\n");
    caller.kill().expect("it can be killed");
    caller.wait().expect("it ends");
    // Every process of the step holds the one pipe, and the helper and the init process the other:
    // both end when the last of them does.
    output
        .read_to_end(&mut Vec::new())
        .expect("the end of the output");
    errors
        .read_to_end(&mut Vec::new())
        .expect("the end of the errors");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
    let ours = world.directory.display().to_string();
    assert!(!mounts.contains(&ours), "{mounts}");
}

fn steps_run_side_by_side(world: &World) {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                scope.spawn(move || {
                    let ran = world
                        .run(&world.script(&format!("echo {number} > /mine; cat /mine; ls /")));
                    assert!(ran.stdout.starts_with(&format!("{number}\n")), "{ran:#?}");
                    assert_eq!(ran.names(), ["mine"]);
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a step that runs");
        }
    });
}

fn the_handler_is_heard(world: &World) {
    let request = |payload| Request {
        step: None,
        stdio: Stdio::Piped,
        payload,
    };
    let (report, io) = world
        .request(&request(json!({ "events": 3 })))
        .expect("the request succeeds");
    assert_eq!(report.outcome, None);
    assert_eq!(
        io.events,
        [
            json!({ "event": 0 }),
            json!({ "event": 1 }),
            json!({ "event": 2 })
        ]
    );
    for (payload, message) in [
        (json!({ "fail": "no space" }), "no space"),
        (json!({ "panic": true }), "internal error: asked to panic"),
    ] {
        let error = world
            .request(&request(payload))
            .map(|_| ())
            .expect_err("the handler fails");
        assert!(matches!(error, SandboxError::Handler { .. }), "{error:?}");
        assert_eq!(error.to_string(), message);
    }
}

fn a_helper_that_is_none_is_an_error(world: &World) {
    let request = Request {
        step: None,
        stdio: Stdio::Piped,
        payload: Value::Null,
    };
    for (helper, want) in [
        ("/no/such/program", "cannot start"),
        ("/bin/true", "lost the sandbox process"),
    ] {
        let config = SandboxConfig {
            helper: helper.into(),
            identity: world.sandbox.identity().clone(),
        };
        let cancel = CancelToken::new().expect("a token");
        let error = Sandbox::new(config)
            .run(&request, &mut Collect::default(), &cancel)
            .map(|_| ())
            .expect_err("no helper");
        assert!(error.to_string().starts_with(want), "{error}");
    }
}

struct PanicOnOutput;

impl StepIo for PanicOnOutput {
    fn on_output(&mut self, _: Stream, _: &[u8]) {
        panic!("the test's panic");
    }
}

fn a_panicking_caller_leaves_nothing(world: &World) {
    let marker = marker(world);
    let step = world.script(&format!("echo started; exec sleep {marker} >&- 2>&-"));
    let request = Request {
        step: Some(step.spec),
        stdio: Stdio::Piped,
        payload: Value::Null,
    };
    let cancel = CancelToken::new().expect("a token");
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        world
            .sandbox
            .run(&request, &mut PanicOnOutput, &cancel)
            .map(|_| ())
    }));
    assert!(result.is_err());
    // Process 1 was told to end and does not need us for that; the next step comes after it.
    while !processes_with(&marker).is_empty() {
        std::thread::yield_now();
    }
}

/// Not a benchmark: catches a wait or a poll that somebody puts into the path.
fn many_steps_follow_one_another(world: &World) {
    for _ in 0..20 {
        assert_eq!(
            world.run(&world.command(&["true"])).outcome,
            Outcome::Exited(0)
        );
    }
}
