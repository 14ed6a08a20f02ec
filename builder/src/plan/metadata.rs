//! Instructions that change only what the image says, never its files.

use std::time::Duration;

use rbuild_image::Healthcheck;
use rbuild_parser::{Diagnostic, Form, HealthcheckTest, Instruction, Word};
use serde_json::{Map, Value};

use super::history;
use super::lower::State;
use crate::error::BuildError;

pub(crate) fn lower(instruction: &Instruction, state: &mut State) -> Result<(), BuildError> {
    match instruction {
        Instruction::Label(label) => {
            let mut text = Vec::new();
            for pair in &label.pairs {
                let (key, value) = (state.expand(&pair.key)?, state.expand(&pair.value)?);
                text.push(format!("{key}={value}"));
                state.config().labels.insert(key, value);
            }
            state.note(format!("LABEL {}", text.join(" ")));
        }
        Instruction::Maintainer(word) => {
            let author = word.raw().to_owned();
            state.note(format!("MAINTAINER {author}"));
            state.image.author = Some(author);
        }
        Instruction::User(word) => {
            let user = state.expand(word)?;
            if user.is_empty() {
                return Err(Diagnostic::error(
                    "empty-user",
                    word.span,
                    "`USER` is empty after expansion",
                )
                .into());
            }
            state.note(format!("USER {user}"));
            state.config().user = user;
        }
        Instruction::Shell(argv) => {
            state.note(format!("SHELL [{}]", argv.value.join(" ")));
            state.config().shell.clone_from(&argv.value);
        }
        Instruction::Expose(words) => expose(words, state)?,
        Instruction::Volume(words) => {
            let mut paths = Vec::new();
            for word in words {
                let path = state.expand(word)?.trim().to_owned();
                if path.is_empty() {
                    return Err(Diagnostic::error(
                        "empty-volume",
                        word.span,
                        "a `VOLUME` is empty after expansion",
                    )
                    .into());
                }
                state.config().volumes.insert(path.clone(), empty_object());
                paths.push(path);
            }
            state.note(format!("VOLUME [{}]", paths.join(" ")));
        }
        Instruction::StopSignal(word) => {
            let signal = state.expand(word)?;
            if !is_signal(&signal) {
                return Err(Diagnostic::error(
                    "bad-signal",
                    word.span,
                    format!("`{signal}` is no signal"),
                )
                .with_help("use a name as in `SIGTERM`, or a number from 1 to 64")
                .into());
            }
            state.note(format!("STOPSIGNAL {signal}"));
            state.config().stop_signal = signal;
        }
        Instruction::Healthcheck(check) => {
            let nanoseconds = |time: Option<Duration>| {
                time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
            };
            let test = match &check.test {
                HealthcheckTest::None => vec!["NONE".to_owned()],
                HealthcheckTest::Command(command) => match &command.form {
                    Form::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
                    Form::Exec(argv) => std::iter::once("CMD".to_owned())
                        .chain(argv.iter().cloned())
                        .collect(),
                },
            };
            state.note(format!("HEALTHCHECK {}", history::quoted(&test)));
            state.config().healthcheck = Some(Healthcheck {
                test,
                interval: nanoseconds(check.interval),
                timeout: nanoseconds(check.timeout),
                start_period: nanoseconds(check.start_period),
                start_interval: nanoseconds(check.start_interval),
                retries: check.retries.map_or(0, i64::from),
            });
        }
        Instruction::Onbuild(trigger) => {
            state.note(format!("ONBUILD {}", trigger.text));
            state.config().on_build.push(trigger.text.clone());
        }
        Instruction::From(_)
        | Instruction::Arg(_)
        | Instruction::Env(_)
        | Instruction::Workdir(_)
        | Instruction::Copy(_)
        | Instruction::Add(_)
        | Instruction::Run(_)
        | Instruction::Cmd(_)
        | Instruction::Entrypoint(_) => {}
    }
    Ok(())
}

fn empty_object() -> Value {
    Value::Object(Map::new())
}

/// `[ip:][host:]port[-last][/protocol]`: only the container's ports are kept (rule 20).
fn expose(words: &[Word], state: &mut State) -> Result<(), BuildError> {
    let mut ports = Vec::new();
    for word in words {
        for part in word.expand_words(&|name| state.scope.get(name))? {
            let bad = || -> BuildError {
                Diagnostic::error("bad-port", word.span, format!("`{part}` is no port"))
                    .with_help("write `8080`, `8080/udp` or `8000-8010`")
                    .into()
            };
            let (range, protocol) = part.split_once('/').unwrap_or((&part, "tcp"));
            let protocol = protocol.to_ascii_lowercase();
            if !["tcp", "udp", "sctp"].contains(&protocol.as_str()) {
                return Err(bad());
            }
            let range = range.rsplit(':').next().unwrap_or(range);
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u16, u16) = (
                first.parse().map_err(|_| bad())?,
                last.parse().map_err(|_| bad())?,
            );
            if first > last {
                return Err(bad());
            }
            ports.extend((first..=last).map(|port| format!("{port}/{protocol}")));
        }
    }
    for port in &ports {
        state
            .config()
            .exposed_ports
            .insert(port.clone(), empty_object());
    }
    ports.sort();
    state.note(format!("EXPOSE [{}]", ports.join(" ")));
    Ok(())
}

/// Names with or without `SIG`, numbers 1 to 64, and `RTMIN+n`, `RTMAX-n` (Moby's signal table).
fn is_signal(text: &str) -> bool {
    const NAMES: [&str; 35] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
        "UNUSED",
    ];
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |sign: char, max: u8| {
        name.split_once(sign)
            .is_some_and(|(_, number)| number.parse::<u8>().is_ok_and(|n| (1..=max).contains(&n)))
    };
    NAMES.contains(&name)
        || name == "RTMIN"
        || name == "RTMAX"
        || name.starts_with("RTMIN+") && real_time('+', 15)
        || name.starts_with("RTMAX-") && real_time('-', 14)
}
