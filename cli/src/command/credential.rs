//! `login` and `logout`

use std::io::{self, BufRead, IsTerminal, Read};

use rbuild_image::reference::DEFAULT_REGISTRY;
use rbuild_registry_client::Credential;
use rbuild_registry_client::docker_config::verify_login;

use crate::args::{LoginArgs, LogoutArgs};
use crate::exit::{Doing, Exit, Failure, Outcome};
use crate::registry::{failure, interruptible};
use crate::session::Session;

pub(crate) fn login(args: &LoginArgs, session: &Session) -> Outcome {
    let registry = registry_name(&args.registry)?;
    let username = match &args.username {
        Some(username) => username.clone(),
        None => ask(session, "Username: ")?,
    };
    if username.is_empty() {
        return Err(Failure::unable("the user name is empty"));
    }
    let password = password(args, session)?;
    if password.is_empty() {
        return Err(Failure::unable("the password is empty"));
    }
    let client = session.registry()?;
    let credential = Credential::basic(username, password);
    let verified = interruptible(
        &client,
        session,
        verify_login(client.client(), &registry, credential),
    )?
    .map_err(|error| failure(format!("cannot log in to `{registry}`"), &error))?;
    session
        .credentials()
        .store(&registry, &verified)
        .doing(|| "cannot store the credential")?;
    session.printer.line("Login Succeeded")?;
    Ok(Exit::Done)
}

pub(crate) fn logout(args: &LogoutArgs, session: &Session) -> Outcome {
    let registry = registry_name(&args.registry)?;
    let known = session
        .credentials()
        .erase(&registry)
        .doing(|| "cannot remove the credential")?;
    session.printer.line(&if known {
        format!("Removing login credentials for {registry}")
    } else {
        format!("Not logged in to {registry}")
    })?;
    Ok(Exit::Done)
}

/// The host of what people give: with or without scheme and path.
fn registry_name(text: &str) -> Outcome<String> {
    let host = text
        .trim_start_matches("https://")
        .trim_start_matches("http://")
        .split('/')
        .next()
        .unwrap_or_default();
    match host {
        "" => Err(Failure::unable(format!("`{text}` is no registry"))),
        "index.docker.io" | "registry-1.docker.io" => Ok(DEFAULT_REGISTRY.to_owned()),
        host => Ok(host.to_owned()),
    }
}

fn ask(session: &Session, prompt: &str) -> Outcome<String> {
    if !io::stdin().is_terminal() {
        return Err(Failure::unable("nobody is there to ask for the user name")
            .hint("give it with `--username`, and the password with `--password-stdin`"));
    }
    session.printer.raw(prompt);
    line()
}

fn password(args: &LoginArgs, session: &Session) -> Outcome<String> {
    if let Some(password) = &args.password {
        session.printer.warning(
            "other users can see a password on the command line; `--password-stdin` is safe",
        );
        return Ok(password.clone());
    }
    if args.password_stdin {
        let mut text = String::new();
        io::stdin()
            .lock()
            .take(64 << 10)
            .read_to_string(&mut text)
            .doing(|| "cannot read the password from standard input")?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    if !io::stdin().is_terminal() {
        return Err(Failure::unable("nobody is there to ask for the password")
            .hint("pass it to standard input, with `--password-stdin`"));
    }
    session.printer.raw("Password: ");
    let guard = session
        .interrupt
        .without_echo()
        .doing(|| "cannot switch off the terminal's echo")?;
    let password = line();
    drop(guard);
    session.printer.raw("\n");
    password
}

fn line() -> Outcome<String> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_line(&mut text)
        .doing(|| "cannot read standard input")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
