//! `--chmod`: octal or symbolic.

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// These bits, whatever was there.
    Octal(u32),
    /// `u=rwX,go=rX`: clauses that change the bits that are there.
    Symbolic(Vec<Clause>),
}

/// One clause of a symbolic mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// Bits of user, group and others that it is about: a mask out of 0700, 0070, 0007.
    who: u32,
    /// `+`, `-` or `=`.
    operator: char,
    /// Permissions: `r`, `w`, `x`, `X`, `s`, `t`.
    permissions: String,
}

impl ModeChange {
    /// Reads a mode; none when it is neither form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok()?;
            return (mode <= 0o7777).then_some(Self::Octal(mode));
        }
        text.split(',')
            .map(clauses)
            .collect::<Option<Vec<_>>>()
            .map(|lists| Self::Symbolic(lists.concat()))
    }

    /// The bits after the change.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses
                .iter()
                .fold(mode, |mode, clause| clause.apply(mode, is_directory)),
        }
    }
}

/// `ugo+rw-x`: one "who", then operators with their permissions.
fn clauses(text: &str) -> Option<Vec<Clause>> {
    let operator_at = text.find(['+', '-', '='])?;
    let (who, mut rest) = text.split_at(operator_at);
    let who = who.chars().try_fold(0, |mask, letter| match letter {
        'u' => Some(mask | 0o700),
        'g' => Some(mask | 0o070),
        'o' => Some(mask | 0o007),
        'a' => Some(0o777),
        _ => None,
    })?;
    let who = if who == 0 { 0o777 } else { who };
    let mut found = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let end = rest[1..]
            .find(['+', '-', '='])
            .map_or(rest.len(), |next| next + 1);
        let permissions = &rest[1..end];
        if !permissions.chars().all(|letter| "rwxXst".contains(letter)) {
            return None;
        }
        found.push(Clause {
            who,
            operator,
            permissions: permissions.to_owned(),
        });
        rest = &rest[end..];
    }
    Some(found)
}

impl Clause {
    fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let mut bits = 0;
        let mut special = 0;
        for letter in self.permissions.chars() {
            match letter {
                'r' => bits |= 0o444,
                'w' => bits |= 0o222,
                'x' => bits |= 0o111,
                'X' if is_directory || mode & 0o111 != 0 => bits |= 0o111,
                's' => special |= self.set_id_bits(),
                't' => special |= 0o1000,
                _ => {}
            }
        }
        let change = bits & self.who | special;
        match self.operator {
            '+' => mode | change,
            '-' => mode & !change,
            _ => mode & !(self.who | self.set_id_bits()) | change,
        }
    }

    const fn set_id_bits(&self) -> u32 {
        (if self.who & 0o700 == 0 { 0 } else { 0o4000 })
            | (if self.who & 0o070 == 0 { 0 } else { 0o2000 })
    }
}

#[cfg(test)]
mod tests {
    use super::ModeChange;

    #[track_caller]
    fn check(text: &str, mode: u32, is_directory: bool, want: u32) {
        let change = ModeChange::parse(text).unwrap();
        assert_eq!(change.apply(mode, is_directory), want, "{text} on {mode:o}");
    }

    #[test]
    fn octal_replaces() {
        check("755", 0o600, false, 0o755);
        check("0644", 0o4755, false, 0o644);
        check("4755", 0, true, 0o4755);
    }

    #[test]
    fn symbolic_changes() {
        check("u=rwX,go=rX", 0o600, false, 0o644);
        check("u=rwX,go=rX", 0o700, false, 0o755);
        check("u=rwX,go=rX", 0o700, true, 0o755);
        check("+x", 0o644, false, 0o755);
        check("a-w", 0o666, false, 0o444);
        check("g+w-r", 0o640, false, 0o620);
        check("u+s", 0o755, false, 0o4755);
        check("+t", 0o777, true, 0o1777);
        check("o=", 0o777, false, 0o770);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "", "99", "rwx", "u", "u=q", "z+x", "77777", "0o755", "u=r,,g=r",
        ] {
            assert_eq!(ModeChange::parse(text), None, "{text}");
        }
    }
}
