//! The signals of `STOPSIGNAL`.

/// Names without `SIG`.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL",
    "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether an expanded `STOPSIGNAL` names a signal: a number other than zero, or a name with or
/// without `SIG`, in any case.
///
/// ```
/// use rbuild_parser::signal;
///
/// assert!(signal::is_signal("SIGTERM") && signal::is_signal("quit") && signal::is_signal("9"));
/// assert!(!signal::is_signal("SIGNOPE"));
/// ```
pub fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = name.strip_prefix("RTMIN+") {
        return offset
            .parse::<u8>()
            .is_ok_and(|offset| (1..=15).contains(&offset));
    }
    if let Some(offset) = name.strip_prefix("RTMAX-") {
        return offset
            .parse::<u8>()
            .is_ok_and(|offset| (1..=14).contains(&offset));
    }
    NAMES.contains(&name)
}

/// The names, for "did you mean".
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.into_iter()
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn signals_are_known() {
        for (text, want) in [
            ("SIGTERM", true),
            ("term", true),
            ("15", true),
            ("0", false),
            ("SIGRTMIN+3", true),
            ("RTMAX-14", true),
            ("RTMAX-15", false),
            ("SIGRTMIN+0", false),
            ("SIGFOO", false),
            ("", false),
            ("SIG", false),
        ] {
            assert_eq!(is_signal(text), want, "{text}");
        }
    }
}
