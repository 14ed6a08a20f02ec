//! `HEALTHCHECK`.

use std::time::Duration;

use super::flag::{Flags, Kind, Known};
use super::read::Reader;
use super::{Command, Form, Healthcheck, HealthcheckTest, Instruction};
use crate::diagnostic::Diagnostic;
use crate::duration;
use crate::span::Spanned;
use crate::syntax::Shape;

impl Reader<'_> {
    pub(super) fn healthcheck(&mut self) -> Option<Instruction> {
        const FLAGS: Known = &[
            ("interval", Kind::Value),
            ("timeout", Kind::Value),
            ("start-period", Kind::Value),
            ("start-interval", Kind::Value),
            ("retries", Kind::Value),
        ];
        let Shape::Healthcheck {
            kind,
            json,
            command,
        } = &self.statement.arguments.shape
        else {
            return None;
        };
        if kind
            .as_ref()
            .is_some_and(|kind| kind.value.eq_ignore_ascii_case("none"))
        {
            return self.no_healthcheck(command);
        }
        let flags = self.flags(FLAGS);
        let Some(kind) = kind else {
            self.missing("`CMD` or `NONE`");
            return None;
        };
        let test = match kind.value.to_ascii_uppercase().as_str() {
            "CMD" if command.value.is_empty() || json.as_ref().is_some_and(Vec::is_empty) => {
                self.error(
                    "missing-argument",
                    kind.span,
                    "a command is missing after `HEALTHCHECK CMD`",
                    None,
                );
                return None;
            }
            "CMD" => HealthcheckTest::Command(Command {
                form: match json {
                    Some(strings) => {
                        Form::Exec(strings.iter().map(|string| string.value.clone()).collect())
                    }
                    None => Form::Shell(command.value.clone()),
                },
                span: command.span,
            }),
            _ => {
                let message = format!("unknown kind of health check `{}`", kind.value);
                self.error(
                    "unknown-healthcheck",
                    kind.span,
                    message,
                    Some("it is `CMD` or `NONE`".to_owned()),
                );
                return None;
            }
        };
        Some(Instruction::Healthcheck(Healthcheck {
            test,
            interval: self.interval(&flags, "interval"),
            timeout: self.interval(&flags, "timeout"),
            start_period: self.interval(&flags, "start-period"),
            start_interval: self.interval(&flags, "start-interval"),
            retries: self.retries(&flags),
        }))
    }

    /// `HEALTHCHECK NONE`.
    fn no_healthcheck(&mut self, command: &Spanned<String>) -> Option<Instruction> {
        for flag in &self.statement.flags {
            let message = format!(
                "flag `{}` has no effect with `HEALTHCHECK NONE`",
                flag.value
            );
            self.diagnostics.push(Diagnostic::warning(
                "flag-without-effect",
                flag.span,
                message,
            ));
        }
        if !command.value.is_empty() {
            self.error(
                "healthcheck-none",
                command.span,
                "`HEALTHCHECK NONE` takes no arguments",
                None,
            );
            return None;
        }
        Some(Instruction::Healthcheck(Healthcheck {
            test: HealthcheckTest::None,
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        }))
    }

    /// A duration of at least a millisecond, or zero.
    fn interval(&mut self, flags: &Flags, name: &str) -> Option<Duration> {
        let text = flags.text(name)?;
        match duration::parse(&text.value) {
            Ok(duration) if duration.is_zero() || duration >= Duration::from_millis(1) => {
                Some(duration)
            }
            Ok(_) => {
                self.error(
                    "short-interval",
                    text.span,
                    format!("`--{name}` is shorter than 1ms"),
                    None,
                );
                None
            }
            Err(reason) => {
                let help = Some("write it like `30s`, `1m30s` or `500ms`".to_owned());
                self.error(
                    "bad-duration",
                    text.span,
                    format!("`{}` is not a duration: {reason}", text.value),
                    help,
                );
                None
            }
        }
    }

    fn retries(&mut self, flags: &Flags) -> Option<u32> {
        let text = flags.text("retries")?;
        match text.value.parse::<i32>().map(u32::try_from) {
            Ok(Ok(count)) => Some(count),
            Ok(Err(_)) => {
                self.error(
                    "bad-retries",
                    text.span,
                    "`--retries` cannot be negative",
                    None,
                );
                None
            }
            Err(_) => {
                self.error(
                    "bad-retries",
                    text.span,
                    format!("`{}` is not a number", text.value),
                    None,
                );
                None
            }
        }
    }
}
