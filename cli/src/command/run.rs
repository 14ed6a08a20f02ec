//! `run`: a command in a throw-away container of an image.

use std::io::{self, IsTerminal};

use rbuild_builder::exec::{Container, ExecError};
use rbuild_builder::sandbox::{Outcome as Ended, SandboxError};
use rbuild_builder::{ImageRoot, NetworkMode};
use rbuild_image::{ContainerConfig, Platform};
use rbuild_store::local::{Found, LocalStore, Lookup};

use crate::args::{NetworkChoice, RunArgs};
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::interrupt::interrupted;
use crate::progress::Transfers;
use crate::sandbox;
use crate::session::{Session, documents};

/// Docker's `PATH` for images that set none.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub(crate) fn run(args: &RunArgs, session: &Session) -> Outcome {
    // Before the command runs, every failure is ours; after that the exit status is the command's.
    start(args, session).map_err(|failure| match failure.exit {
        Exit::Interrupted => failure,
        _ => failure.exit(Exit::NotStarted),
    })
}

fn start(args: &RunArgs, session: &Session) -> Outcome {
    if args.tty && !io::stdin().is_terminal() {
        return Err(Failure::unable("standard input is not a terminal")
            .hint("leave out `--tty`: the command still has standard output and error"));
    }
    let store = session.store()?;
    let _working = store.session().doing(|| "cannot lock the local store")?;
    let image = image(&store, session, &args.image)?.image;
    let documents = documents(&store, &image)?;
    let config = documents.config.value();
    let opening = || format!("cannot open image `{}`", args.image);
    store.touch_image(&image.descriptor.digest).doing(opening)?;
    let root = ImageRoot::open(&store, &config.rootfs.diff_ids).doing(opening)?;
    let container = container(args, &config.config, &root)?;
    if !args.interactive && !args.tty {
        close_stdin()?;
    }
    if args.tty {
        session.interrupt.leave_terminal_to_command();
    }
    let cancel = session.interrupt.watch();
    match sandbox::executor(&store).run_container(&container, cancel) {
        Ok(Ended::Exited(code)) => Ok(Exit::Command(code)),
        Ok(Ended::Signaled(signal)) => Ok(Exit::Command(
            128_u8.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX)),
        )),
        Err(ExecError::Sandbox(SandboxError::Cancelled)) => Err(interrupted()),
        Err(ExecError::Sandbox(error)) => {
            let hint = error.hint().map(str::to_owned);
            Err(Failure::unable("cannot start the container")
                .caused_by(&error)
                .hint_if(hint))
        }
        Err(ExecError::Io(error)) => Err(Failure::io("cannot start the container", &error)),
    }
}

/// The image, pulled if it is not here.
fn image(store: &LocalStore, session: &Session, text: &str) -> Outcome<Found> {
    let looking = || format!("cannot look up `{text}`");
    if let (Lookup::Missing, Ok(reference)) = (store.find(text).doing(looking)?, text.parse()) {
        let client = session.registry()?;
        session.printer.note(&format!(
            "Image `{text}` is not in the local store: pulling it"
        ));
        let transfers = Transfers::start(session.printer, false, "pull");
        let platform = Platform::host();
        let pulled =
            crate::registry::pull(&client, session, store, &reference, &platform, &transfers);
        transfers.finish();
        session.show_warnings(&client);
        pulled?;
    }
    Session::find(store, text)
}

fn container(args: &RunArgs, config: &ContainerConfig, root: &ImageRoot) -> Outcome<Container> {
    let user = args.user.as_deref().unwrap_or(&config.user);
    let (user, home) = root.user(user).map_err(|error| {
        Failure::input(error.to_string()).hint("give a user's number with `--user`")
    })?;
    Ok(Container {
        layers: root.layers().to_vec(),
        argv: argv(args, config)?,
        env: environment(&args.env, &config.env, &home, args.tty),
        workdir: workdir(args.workdir.as_deref(), &config.working_dir)?,
        user,
        network: match args.network {
            NetworkChoice::Default | NetworkChoice::Host => NetworkMode::Host,
            NetworkChoice::None => NetworkMode::None,
        },
        hostname: hostname(),
    })
}

/// Entry point and arguments: a new entry point takes away the image's arguments as well, as in docker.
fn argv(args: &RunArgs, config: &ContainerConfig) -> Outcome<Vec<String>> {
    let mut argv = match args.entrypoint.as_deref() {
        None => config.entrypoint.clone(),
        Some("") => Vec::new(),
        Some(program) => vec![program.to_owned()],
    };
    if !args.command.is_empty() {
        argv.extend(args.command.iter().cloned());
    } else if args.entrypoint.is_none() {
        argv.extend(config.cmd.iter().cloned());
    }
    if argv.is_empty() {
        return Err(
            Failure::input(format!("image `{}` has no command", args.image))
                .hint(format!("give one: `rbuild run {} COMMAND`", args.image)),
        );
    }
    Ok(argv)
}

/// The image's variables, over docker's defaults, under the user's.
fn environment(
    chosen: &[String],
    image: &[String],
    home: &str,
    terminal: bool,
) -> Vec<(String, String)> {
    let mut env = vec![
        ("PATH".to_owned(), DEFAULT_PATH.to_owned()),
        ("HOSTNAME".to_owned(), hostname()),
    ];
    if terminal {
        env.push(("TERM".to_owned(), "xterm".to_owned()));
    }
    let mut set = |name: &str, value: Option<String>| {
        let at = env.iter().position(|(known, _)| known == name);
        match (at, value) {
            (Some(at), Some(value)) => env[at].1 = value,
            (Some(at), None) => {
                env.remove(at);
            }
            (None, Some(value)) => env.push((name.to_owned(), value)),
            (None, None) => {}
        }
    };
    for entry in image {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(name, Some(value.to_owned()));
    }
    for entry in chosen {
        match entry.split_once('=') {
            Some((name, value)) => set(name, Some(value.to_owned())),
            // A name alone takes the caller's variable, or takes the image's away.
            None => set(entry, std::env::var(entry).ok()),
        }
    }
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), home.to_owned()));
    }
    env
}

fn workdir(chosen: Option<&str>, image: &str) -> Outcome<String> {
    match chosen.unwrap_or(image) {
        "" => Ok("/".to_owned()),
        path if path.starts_with('/') => Ok(path.to_owned()),
        path => Err(Failure::unable(format!(
            "working directory `{path}` is not absolute"
        ))),
    }
}

/// Twelve hexadecimal digits, as docker's containers have: the process tells containers apart.
fn hostname() -> String {
    format!("{:012x}", std::process::id())
}

/// Without `--interactive` a command reads nothing.
fn close_stdin() -> Outcome<()> {
    let opening = || "cannot open `/dev/null`";
    let null = std::fs::File::open("/dev/null").doing(opening)?;
    rustix::stdio::dup2_stdin(&null)
        .map_err(io::Error::from)
        .doing(opening)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_argv(entrypoint: Option<&str>, command: &[&str], want: &[&str]) {
        let config = ContainerConfig {
            entrypoint: vec!["/entry".to_owned()],
            cmd: vec!["default".to_owned()],
            ..ContainerConfig::default()
        };
        let args = RunArgs {
            rm: true,
            env: Vec::new(),
            user: None,
            workdir: None,
            interactive: false,
            tty: false,
            entrypoint: entrypoint.map(str::to_owned),
            network: NetworkChoice::Default,
            image: "x".to_owned(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
        };
        assert_eq!(argv(&args, &config).unwrap_or_default(), want);
    }

    #[test]
    fn entrypoint_and_command_meet_as_in_docker() {
        check_argv(None, &[], &["/entry", "default"]);
        check_argv(None, &["a", "b"], &["/entry", "a", "b"]);
        check_argv(Some("/other"), &[], &["/other"]);
        check_argv(Some("/other"), &["a"], &["/other", "a"]);
        check_argv(Some(""), &["a"], &["a"]);
        check_argv(Some(""), &[], &[]);
    }

    #[test]
    fn the_users_variables_win_over_the_images() {
        let owned = |list: &[&str]| -> Vec<String> {
            list.iter().map(|entry| (*entry).to_owned()).collect()
        };
        let env = environment(
            &owned(&["A=mine", "B="]),
            &owned(&["PATH=/bin", "A=image", "C=image"]),
            "/home/me",
            false,
        );
        let value = |name: &str| {
            let found = env.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("PATH"), Some("/bin"));
        assert_eq!(value("A"), Some("mine"));
        assert_eq!(value("B"), Some(""));
        assert_eq!(value("C"), Some("image"));
        assert_eq!(value("HOME"), Some("/home/me"));
        assert_eq!(value("TERM"), None);
    }

    #[test]
    fn a_relative_working_directory_is_refused() {
        assert_eq!(workdir(None, "").unwrap_or_default(), "/");
        assert_eq!(workdir(Some("/a"), "/b").unwrap_or_default(), "/a");
        assert!(workdir(Some("a"), "/b").is_err());
    }
}
