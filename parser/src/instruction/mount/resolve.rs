//! The values of a mount, expanded, by the rules of its type.

use super::{
    BindMount, CacheMount, Mount, MountOption, ResolvedMount, SecretMount, Sharing, SshMount,
    TmpfsMount, boolean,
};
use crate::diagnostic::Diagnostic;
use crate::span::{Span, Spanned};
use crate::suggest::suggest;

const TYPES: [&str; 5] = ["bind", "cache", "secret", "ssh", "tmpfs"];

/// The keys of any type, before it is known which are allowed.
#[derive(Debug, Default)]
struct Values {
    kind: Option<Spanned<String>>,
    from: Option<Spanned<String>>,
    source: Option<Spanned<String>>,
    target: Option<Spanned<String>>,
    id: Option<Spanned<String>>,
    sharing: Option<Spanned<String>>,
    mode: Option<Spanned<u32>>,
    uid: Option<Spanned<u32>>,
    gid: Option<Spanned<u32>>,
    size: Option<Spanned<u64>>,
    env: Option<Spanned<String>>,
    required: Option<Spanned<bool>>,
    read_only: Option<bool>,
}

/// Reads a mount.
pub(super) fn resolve(
    mount: &Mount,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<ResolvedMount, Diagnostic> {
    let mut values = Values::default();
    for option in &mount.options {
        values.option(option, lookup)?;
    }
    let kind = values
        .kind
        .as_ref()
        .map_or("bind", |kind| kind.value.as_str())
        .to_owned();
    values.check(&kind)?;
    match kind.as_str() {
        "bind" => Ok(ResolvedMount::Bind(BindMount {
            target: values.target()?,
            read_only: values.read_only.unwrap_or(true),
            from: text(values.from),
            source: text(values.source),
        })),
        "cache" => Ok(ResolvedMount::Cache(CacheMount {
            target: values.target()?,
            sharing: values.sharing()?,
            read_only: values.read_only.unwrap_or(false),
            id: text(values.id),
            from: text(values.from),
            source: text(values.source),
            mode: number(values.mode),
            uid: number(values.uid),
            gid: number(values.gid),
        })),
        "tmpfs" => Ok(ResolvedMount::Tmpfs(TmpfsMount {
            target: values.target()?,
            size: number(values.size),
            read_only: values.read_only.unwrap_or(false),
        })),
        "ssh" => Ok(ResolvedMount::Ssh(SshMount {
            id: text(values.id),
            target: text(values.target),
            required: values.required.is_some_and(|required| required.value),
            mode: number(values.mode),
            uid: number(values.uid),
            gid: number(values.gid),
        })),
        _ => values.secret(mount.span).map(ResolvedMount::Secret),
    }
}

/// An empty value counts as not given.
fn text(value: Option<Spanned<String>>) -> Option<String> {
    value
        .map(|value| value.value)
        .filter(|value| !value.is_empty())
}

fn number<T>(value: Option<Spanned<T>>) -> Option<T> {
    value.map(|value| value.value)
}

fn bad(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error("bad-mount", span, message)
}

impl Values {
    /// Takes one option.
    fn option(
        &mut self,
        option: &MountOption,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), Diagnostic> {
        let key = option.key.value.as_str();
        let Some(word) = &option.value else {
            match key {
                "readonly" | "ro" => self.read_only = Some(true),
                "readwrite" | "rw" => self.read_only = Some(false),
                "required" => self.required = Some(Spanned::new(true, option.key.span)),
                _ => {
                    let message = format!("key `{key}` of a mount needs a value");
                    return Err(
                        bad(option.key.span, message).with_help(format!("write `{key}=VALUE`"))
                    );
                }
            }
            return Ok(());
        };
        let value = Spanned::new(word.expand(lookup)?.text, word.span);
        let not_a = |what: &str| {
            bad(
                value.span,
                format!("value `{}` of mount key `{key}` is not {what}", value.value),
            )
        };
        let switch = || boolean(&value.value).ok_or_else(|| not_a("true or false"));
        let integer = |radix: u32, what: &str| {
            let digits = !value.value.is_empty() && value.value.chars().all(|c| c.is_digit(radix));
            let parsed = u32::from_str_radix(&value.value, radix)
                .ok()
                .filter(|_| digits);
            parsed
                .map(|parsed| Spanned::new(parsed, value.span))
                .ok_or_else(|| not_a(what))
        };
        match key {
            "type" => {
                let kind = value.value.to_ascii_lowercase();
                if !TYPES.contains(&kind.as_str()) {
                    let message = format!("unknown mount type `{}`", value.value);
                    let diagnostic = Diagnostic::error("unknown-mount-type", value.span, message);
                    return Err(match suggest(&kind, TYPES) {
                        Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
                        None => diagnostic
                            .with_help("it is `bind`, `cache`, `secret`, `ssh` or `tmpfs`"),
                    });
                }
                self.kind = Some(Spanned::new(kind, value.span));
            }
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "readonly" | "ro" => self.read_only = Some(switch()?),
            "readwrite" | "rw" => self.read_only = Some(!switch()?),
            "required" => self.required = Some(Spanned::new(switch()?, value.span)),
            "id" => self.id = Some(value),
            "sharing" => self.sharing = Some(value),
            "mode" => self.mode = Some(integer(8, "an octal mode")?),
            "uid" => self.uid = Some(integer(10, "a user id")?),
            "gid" => self.gid = Some(integer(10, "a group id")?),
            "env" => self.env = Some(value),
            "size" => {
                let size = bytes(&value.value).ok_or_else(|| not_a("a size such as `64m`"))?;
                self.size = Some(Spanned::new(size, value.span));
            }
            _ => {
                return Err(Diagnostic::error(
                    "unknown-mount-key",
                    option.key.span,
                    format!("unknown key `{key}` of `--mount`"),
                ));
            }
        }
        Ok(())
    }

    /// Refuses keys that the type does not have.
    fn check(&self, kind: &str) -> Result<(), Diagnostic> {
        let owner = matches!(kind, "secret" | "ssh" | "cache");
        let at = |span: Option<Span>, allowed: bool, key: &str| match span {
            Some(span) if !allowed => Err(bad(
                span,
                format!("a mount of type `{kind}` has no `{key}`"),
            )),
            _ => Ok(()),
        };
        at(self.mode.as_ref().map(|value| value.span), owner, "mode")?;
        at(self.uid.as_ref().map(|value| value.span), owner, "uid")?;
        at(self.gid.as_ref().map(|value| value.span), owner, "gid")?;
        at(
            self.size.as_ref().map(|value| value.span),
            kind == "tmpfs",
            "size",
        )?;
        at(
            self.env.as_ref().map(|value| value.span),
            kind == "secret",
            "env",
        )?;
        at(
            self.required.as_ref().map(|value| value.span),
            matches!(kind, "secret" | "ssh"),
            "required",
        )?;
        at(present(self.sharing.as_ref()), kind == "cache", "sharing")?;
        at(present(self.from.as_ref()), kind != "secret", "from")
    }

    /// The target as written; none is the working directory, which only the builder knows.
    fn target(&self) -> Result<String, Diagnostic> {
        let Some(target) = &self.target else {
            return Ok(String::new());
        };
        let root = target
            .value
            .split('/')
            .all(|part| part.is_empty() || part == ".");
        if root && target.value.starts_with('/') {
            return Err(bad(
                target.span,
                "the root directory cannot be the target of a mount",
            ));
        }
        Ok(target.value.clone())
    }

    fn sharing(&self) -> Result<Sharing, Diagnostic> {
        const NAMES: [&str; 3] = ["shared", "private", "locked"];
        let Some(sharing) = &self.sharing else {
            return Ok(Sharing::default());
        };
        match sharing.value.to_ascii_lowercase().as_str() {
            "shared" => Ok(Sharing::Shared),
            "private" => Ok(Sharing::Private),
            "locked" => Ok(Sharing::Locked),
            other => {
                let diagnostic = bad(
                    sharing.span,
                    format!("unknown sharing `{}` of a cache mount", sharing.value),
                );
                Err(match suggest(other, NAMES) {
                    Some(near) => diagnostic.with_help(format!("did you mean `{near}`?")),
                    None => diagnostic.with_help("it is `shared`, `private` or `locked`"),
                })
            }
        }
    }

    /// A secret is named by `id`, by `source`, or by the last component of the target.
    fn secret(self, mount: Span) -> Result<SecretMount, Diagnostic> {
        let source = text(self.source);
        let id = text(self.id);
        let target = text(self.target);
        if source.is_some() && id.is_some() {
            return Err(bad(
                mount,
                "a secret mount takes `id` or `source`, not both",
            ));
        }
        let base = |path: &str| {
            path.trim_end_matches('/')
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let Some(id) = source.or(id).or_else(|| target.as_deref().map(base)) else {
            return Err(bad(mount, "a secret mount needs an `id` or a `target`"));
        };
        // `env=` with nothing behind asks for a variable that is called like the secret.
        let env = self.env.map(|env| {
            if env.value.is_empty() {
                id.clone()
            } else {
                env.value
            }
        });
        let target = match (target, &env) {
            (None, None) => Some(format!("/run/secrets/{}", base(&id))),
            (target, _) => target,
        };
        Ok(SecretMount {
            id,
            target,
            env,
            required: self.required.is_some_and(|required| required.value),
            mode: number(self.mode),
            uid: number(self.uid),
            gid: number(self.gid),
        })
    }
}

fn present(value: Option<&Spanned<String>>) -> Option<Span> {
    value
        .filter(|value| !value.value.is_empty())
        .map(|value| value.span)
}

/// A size with a binary unit: `64m`, `1.5GiB`, `1024`.
fn bytes(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let shift = match unit.strip_suffix('i').unwrap_or(unit) {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction_digits = u32::try_from(fraction.len())
        .ok()
        .filter(|digits| *digits <= 9)?;
    let scale = 10u64.pow(fraction_digits);
    let fraction: u64 = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    let whole = whole.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    whole.checked_add(u64::try_from((u128::from(fraction) << shift) / u128::from(scale)).ok()?)
}
