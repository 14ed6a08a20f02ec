//! Which names have which values at a point of the Dockerfile (builder-features rules 1 to 8).
//!
//! ENV and ARG of one name: whichever comes later wins. ENV goes into the image, ARG does not.

use rbuild_image::Platform;

/// The names a `RUN` sees and a proxy needs, without any `ARG` (Docker's predefined arguments).
const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What Docker gives a process when nobody sets `PATH`.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the caller gave with `--build-arg`; a later one wins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuildArgs<'a>(pub(crate) &'a [(String, String)]);

impl<'a> BuildArgs<'a> {
    pub(crate) fn get(self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .rev()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The scope before the first `FROM`: automatic platform arguments and global `ARG`s.
#[derive(Debug, Clone, Default)]
pub(crate) struct GlobalScope(Vec<(String, String)>);

impl GlobalScope {
    /// The scope with the automatic arguments of a build (table 1.5), which build arguments may override.
    pub(crate) fn new(platform: &Platform, target_stage: &str, args: BuildArgs<'_>) -> Self {
        let mut scope = Self::default();
        let host = Platform::host();
        for (prefix, platform) in [("BUILD", &host), ("TARGET", platform)] {
            for (suffix, value) in [
                ("PLATFORM", platform.to_string()),
                ("OS", platform.os.clone()),
                ("OSVERSION", platform.os_version.clone().unwrap_or_default()),
                ("ARCH", platform.architecture.clone()),
                ("VARIANT", platform.variant.clone().unwrap_or_default()),
            ] {
                scope.declare(&format!("{prefix}{suffix}"), Some(value), args);
            }
        }
        scope.declare("TARGETSTAGE", Some(target_stage.to_owned()), args);
        scope
    }

    /// `ARG name[=default]`.
    pub(crate) fn declare(&mut self, name: &str, default: Option<String>, args: BuildArgs<'_>) {
        if let Some(value) = args.get(name).map(str::to_owned).or(default) {
            self.0.push((name.to_owned(), value));
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0
            .iter()
            .rev()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
    }
}

/// The scope of a stage at one point.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// Image environment, in order of first appearance.
    env: Vec<(String, String)>,
    /// Declared arguments in order, with their value and whether an ENV came later and hides it.
    args: Vec<Declared>,
}

#[derive(Debug, Clone)]
struct Declared {
    name: String,
    value: Option<String>,
    hidden: bool,
}

impl Scope {
    /// The scope right after `FROM`: the environment of the base.
    pub(crate) fn new(env: &[String]) -> Self {
        let mut scope = Self::default();
        for pair in env {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            scope.set_env(name, value);
        }
        if scope.get("PATH").is_none() {
            scope.set_env("PATH", DEFAULT_PATH);
        }
        scope
    }

    /// The value that an expansion sees.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let arg = self.args.iter().find(|arg| arg.name == name && !arg.hidden);
        if let Some(value) = arg.and_then(|arg| arg.value.clone()) {
            return Some(value);
        }
        self.env
            .iter()
            .find(|(own, _)| own == name)
            .map(|(_, value)| value.clone())
    }

    /// `ENV name=value`.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        match self.env.iter_mut().find(|(own, _)| own == name) {
            Some(pair) => value.clone_into(&mut pair.1),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
        for arg in self.args.iter_mut().filter(|arg| arg.name == name) {
            arg.hidden = true;
        }
    }

    /// `ARG name[=default]`: the build argument, or else the default, or else the global value.
    pub(crate) fn declare(
        &mut self,
        name: &str,
        default: Option<String>,
        args: BuildArgs<'_>,
        global: &GlobalScope,
    ) -> Option<String> {
        let value = args
            .get(name)
            .map(str::to_owned)
            .or(default)
            .or_else(|| global.get(name));
        self.args.retain(|arg| arg.name != name);
        self.args.push(Declared {
            name: name.to_owned(),
            value: value.clone(),
            hidden: false,
        });
        value
    }

    /// The environment of the image: `NAME=value`.
    pub(crate) fn image_env(&self) -> Vec<String> {
        self.env
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    /// What a `RUN` sees: the image's environment and the arguments, the later winning.
    pub(crate) fn run_env(&self) -> Vec<(String, String)> {
        let mut env = self.env.clone();
        for (name, value) in self.visible_args() {
            match env.iter_mut().find(|(own, _)| *own == name) {
                Some(pair) => pair.1 = value,
                None => env.push((name, value)),
            }
        }
        env
    }

    /// The arguments that have a value and are not hidden by an ENV, in order; for the history.
    pub(crate) fn visible_args(&self) -> Vec<(String, String)> {
        let visible = self.args.iter().filter(|arg| !arg.hidden);
        visible
            .filter_map(|arg| Some((arg.name.clone(), arg.value.clone()?)))
            .collect()
    }

    /// Proxy build arguments that no `ARG` declares: the command sees them, the key and the history do not.
    pub(crate) fn uncounted_env(&self, args: BuildArgs<'_>) -> Vec<(String, String)> {
        let undeclared = PROXIES
            .iter()
            .filter(|name| self.args.iter().all(|arg| arg.name != **name));
        undeclared
            .filter_map(|name| Some(((*name).to_owned(), args.get(name)?.to_owned())))
            .collect()
    }
}

/// Whether a build argument needs no `ARG`.
pub(crate) fn is_predefined(name: &str) -> bool {
    PROXIES.contains(&name) || name == "SOURCE_DATE_EPOCH" || name.starts_with("BUILDKIT_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::new(&["PATH=/bin".to_owned()])
    }

    fn cli() -> [(String, String); 1] {
        [("V".to_owned(), "cli".to_owned())]
    }

    #[test]
    fn of_env_and_arg_the_later_wins() {
        let global = GlobalScope::default();
        let args = cli();
        let mut scope = scope();
        scope.set_env("V", "env");
        scope.declare("V", None, BuildArgs(&[]), &global);
        assert_eq!(scope.get("V").as_deref(), Some("env"));
        scope.declare("V", None, BuildArgs(&args), &global);
        assert_eq!(scope.get("V").as_deref(), Some("cli"));
        scope.declare("V", Some("def".to_owned()), BuildArgs(&[]), &global);
        assert_eq!(scope.get("V").as_deref(), Some("def"));
        assert!(
            scope
                .run_env()
                .contains(&("V".to_owned(), "def".to_owned()))
        );
        scope.set_env("V", "x");
        assert_eq!(scope.get("V").as_deref(), Some("x"));
        assert!(scope.run_env().contains(&("V".to_owned(), "x".to_owned())));
        assert!(scope.visible_args().is_empty());
    }

    #[test]
    fn global_arguments_are_seen_only_when_declared() {
        let mut global = GlobalScope::default();
        global.declare("G", Some("1".to_owned()), BuildArgs(&[]));
        let mut scope = scope();
        assert_eq!(scope.get("G"), None);
        scope.declare("G", None, BuildArgs(&[]), &global);
        assert_eq!(scope.get("G").as_deref(), Some("1"));
        scope.declare("G", Some("2".to_owned()), BuildArgs(&[]), &global);
        assert_eq!(scope.get("G").as_deref(), Some("2"));
    }

    #[test]
    fn a_base_without_path_gets_the_default() {
        assert_eq!(
            Scope::new(&[]).image_env(),
            [format!("PATH={DEFAULT_PATH}")]
        );
        assert_eq!(scope().image_env(), ["PATH=/bin"]);
    }

    #[test]
    fn undeclared_proxies_reach_commands_only() {
        let args = [("http_proxy".to_owned(), "p".to_owned())];
        let mut scope = scope();
        assert_eq!(scope.uncounted_env(BuildArgs(&args)), args);
        scope.declare(
            "http_proxy",
            None,
            BuildArgs(&args),
            &GlobalScope::default(),
        );
        assert!(scope.uncounted_env(BuildArgs(&args)).is_empty());
        assert!(scope.run_env().contains(&args[0]));
    }
}
