//! `RUN`: what is executed, and what it sees (builder-features rules 9 to 13 and table 1.3).

use rbuild_parser::{Network, Run, Security};

use super::lower::{State, refuse};
use super::scope::BuildArgs;
use crate::error::BuildError;
use crate::graph::{MountSpec, RunSpec, Script};
use crate::request::{BuildRequest, NetworkMode};

pub(crate) fn lower(
    run: &Run,
    mounts: Vec<MountSpec>,
    state: &State,
    request: &BuildRequest,
) -> Result<RunSpec, BuildError> {
    if let Some(device) = run.devices.first() {
        return Err(refuse(device.span, "`RUN --device`"));
    }
    if let Some(security) = &run.security
        && security.value == Security::Insecure
    {
        return Err(refuse(security.span, "`RUN --security=insecure`"));
    }
    let network = match run.network.as_ref().map(|network| network.value) {
        None | Some(Network::Default) => request.network,
        Some(Network::Host) => NetworkMode::Host,
        Some(Network::None) => NetworkMode::None,
    };
    let (argv, script) = argv(run, state);
    Ok(RunSpec {
        argv,
        env: state.scope.run_env(),
        uncounted_env: state.scope.uncounted_env(BuildArgs(&request.build_args)),
        workdir: state.workdir(),
        user: state.image.config.user.clone(),
        network,
        mounts,
        script,
    })
}

/// The argument vector, and the file that is run when a heredoc names its own interpreter.
fn argv(run: &Run, state: &State) -> (Vec<String>, Option<Script>) {
    match run.script() {
        rbuild_parser::Script::Exec(argv) => (argv, None),
        rbuild_parser::Script::Shell(text) => {
            let mut argv = state.shell();
            argv.push(text);
            (argv, None)
        }
        rbuild_parser::Script::File { name, content } => {
            let path = format!("/dev/pipes/{name}");
            (
                vec![path.clone()],
                Some(Script {
                    path,
                    text: content,
                }),
            )
        }
    }
}
