//! A caller that can be killed.

use std::process::ExitCode;

use rbuild_builder::sandbox::{
    CancelToken, Outcome, Request, Sandbox, SandboxConfig, Stdio, StepSpec, detect,
};
use serde_json::Value;

use super::world::Collect;

/// First argument of this program when it is to run a step, which is the second argument.
pub(crate) const VERB: &str = "__parent";

/// Runs the step with its own standard streams.
pub(crate) fn main(step: &str) -> ExitCode {
    let step: StepSpec = serde_json::from_str(step).expect("a step");
    let identity = detect("/proc/self/exe".as_ref()).expect("the identity that the test has");
    let sandbox = Sandbox::new(SandboxConfig {
        helper: "/proc/self/exe".into(),
        identity,
    });
    let request = Request {
        step: Some(step),
        stdio: Stdio::Inherited,
        payload: Value::Null,
    };
    let report = sandbox.run(
        &request,
        &mut Collect::default(),
        &CancelToken::new().expect("a token"),
    );
    let code = report
        .ok()
        .and_then(|report| report.outcome)
        .map_or(1, Outcome::code);
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
