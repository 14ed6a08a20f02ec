//! `--call`: what is done with a Dockerfile.

/// What is done with a Dockerfile, and how the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Call {
    pub(crate) method: CallMethod,
    pub(crate) as_json: bool,
}

/// What is done with a Dockerfile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum CallMethod {
    /// It is built.
    #[default]
    Build,
    /// It is checked.
    Check,
    /// What its target takes is printed.
    Outline,
    /// Its stages are printed.
    Targets,
}

/// `METHOD[,format=text|json]`, as docker reads it.
pub(crate) fn parse(text: &str) -> Result<Call, String> {
    let mut parts = text.split(',');
    let method = match parts.next().unwrap_or_default() {
        "build" => CallMethod::Build,
        "check" | "lint" => CallMethod::Check,
        "outline" => CallMethod::Outline,
        "targets" => CallMethod::Targets,
        other => {
            return Err(format!(
                "`{other}` is none of `build`, `check`, `outline` and `targets`"
            ));
        }
    };
    let mut as_json = false;
    for part in parts {
        as_json = match part {
            "format=json" => true,
            "format=text" => false,
            other => {
                return Err(format!(
                    "`{other}` is neither `format=text` nor `format=json`"
                ));
            }
        };
    }
    Ok(Call { method, as_json })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_and_formats() {
        let call = |method, as_json| Ok(Call { method, as_json });
        assert_eq!(parse("build"), call(CallMethod::Build, false));
        assert_eq!(parse("lint"), call(CallMethod::Check, false));
        assert_eq!(
            parse("outline,format=json"),
            call(CallMethod::Outline, true)
        );
        assert_eq!(
            parse("targets,format=text"),
            call(CallMethod::Targets, false)
        );
        for text in ["", "x", "targets,format=x", "targets,x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
