//! The `rbuild-registry` program: arguments, what is printed, and exit status.
//!
//! Status 0: done. 1: what was looked at is damaged or wrongly set. 2: wrong usage, or it could not be done.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rbuild_image::{Digest, RepositoryName, Tag};
use rbuild_registry_client::docker_config::{ConfigPaths, DockerConfig};
use rbuild_registry_client::{
    Blocking, Client, ClientConfig, Credential, Credentials, HostRule, HostRules, RetryPolicy,
    Secret, StaticCredentials,
};
use rbuild_registry_server::admin::{self, Directory, Event, Imported, Origin, Pace, doctor};
use rbuild_registry_server::clock::{Clock, SystemClock};
use rbuild_registry_server::config::{Config, key};
use rbuild_registry_server::metadata::MetadataStore as _;
use rbuild_registry_server::serve::{self, StartError};
use rbuild_registry_server::service::Collected;

type Outcome = Result<ExitCode, Box<dyn Error>>;

/// An OCI registry: pushes and pulls by Docker, podman, containerd and every client of the distribution API.
#[derive(Debug, Parser)]
#[command(name = "rbuild-registry", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Configuration file (TOML), also by `RBUILD_REGISTRY_CONFIG`; none is needed.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory that everything is kept in; made if it is not there [default: rbuild-registry-data].
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is told to stop (SIGTERM or SIGINT).
    Serve {
        /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:5000].
        #[arg(long, value_name = "ADDR")]
        listen: Option<SocketAddr>,
    },
    /// Removes what nothing refers to. A server that runs does this by itself, all the time.
    Gc {
        /// Says what would go, and removes nothing; a server may be running.
        #[arg(long)]
        preview: bool,
        /// With --preview: what would be gone after this time, if nothing changed until then.
        #[arg(long, value_name = "TIME", default_value = "0s", requires = "preview", value_parser = humantime::parse_duration)]
        after: Duration,
    },
    /// Tells why content is kept.
    Why {
        /// Digest of a blob or a manifest.
        digest: Digest,
    },
    /// Prints what happened to manifests and tags, one line of JSON each; a server may be running.
    Events {
        /// Only what happened after the event with this number.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// Goes on with what happens from now on.
        #[arg(long)]
        follow: bool,
    },
    /// Reads everything and compares it with its digest; a server may be running.
    Verify {
        /// Bytes per second that are read at most; 0 sets no bound.
        #[arg(long, value_name = "BYTES", default_value_t = 0)]
        rate: u64,
    },
    /// Copies the registry of this moment; a server may be running. An older backup is brought up to date.
    Backup {
        /// Directory of the backup.
        target: PathBuf,
    },
    /// Makes a registry from a backup, in a new directory (--data).
    Restore {
        /// Directory of the backup.
        backup: PathBuf,
    },
    /// Takes over images of another registry or of an OCI image layout, without a server; goes on where it was broken off.
    Import {
        /// Directory of a layout, or `docker://HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]`; all tags if none is named.
        source: String,
        /// Repository, and a tag for an only image; those of the other registry if it is not given.
        #[arg(value_name = "REPOSITORY[:TAG]")]
        name: Option<String>,
        /// Takes over all repositories of `docker://HOST[:PORT]`, below REPOSITORY if that is given.
        #[arg(long)]
        all: bool,
        /// Whether to insist on TLS with a valid certificate (a registry on this machine never needs it).
        #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
        tls_verify: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Pushes and pulls through the address that clients use, and says which setting of a proxy is wrong.
    ///
    /// Status 0: all is well. 1: a check failed. 2: nobody answers there.
    Doctor {
        /// Address of the registry; without http:// or https:// it is HTTPS.
        url: String,
        /// Repository to push to; what was pushed is deleted at the end [default: doctor/RANDOM].
        #[arg(long, value_name = "NAME")]
        repository: Option<RepositoryName>,
        /// Size of the largest blob that is pushed to find a limit.
        #[arg(long, value_name = "BYTES", default_value = "128MiB", value_parser = key::parse_size)]
        largest: u64,
        /// Also tries an upload that takes this long.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        slow: Option<Duration>,
        #[command(flatten)]
        remote: Remote,
    },
    /// The configuration.
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
}

/// How to speak to another registry.
#[derive(Debug, Args)]
struct Remote {
    /// Name to log in with; the password is taken from `RBUILD_REGISTRY_PASSWORD` or standard input.
    #[arg(long, short, value_name = "NAME")]
    username: Option<String>,
    /// Reads the password from standard input.
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// File of PEM certificates to trust besides the system's.
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
}

impl Remote {
    /// Name and password, if there is a name.
    fn login(&self) -> Result<Option<(String, Secret)>, Box<dyn Error>> {
        let Some(username) = &self.username else {
            return Ok(None);
        };
        let password = if self.password_stdin {
            let mut text = io::read_to_string(io::stdin())?;
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
            text
        } else {
            std::env::var("RBUILD_REGISTRY_PASSWORD").map_err(|_| {
                "--username needs a password: set RBUILD_REGISTRY_PASSWORD or give --password-stdin"
            })?
        };
        Ok(Some((username.clone(), Secret::new(password))))
    }
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Checks file and environment, and prints the whole configuration that they make.
    Check,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(code) => code,
        Err(error) => {
            // Whoever read has seen enough (`| head`): that is no news to anybody.
            let io = error.downcast_ref::<io::Error>();
            if io.is_none_or(|error| error.kind() != io::ErrorKind::BrokenPipe) {
                report(&*error);
            }
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments) -> Outcome {
    let file = arguments.common.config.or_else(|| {
        let named = std::env::var_os("RBUILD_REGISTRY_CONFIG")?;
        (!named.is_empty()).then(|| PathBuf::from(named))
    });
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(file.as_deref(), variables)?;
    if let Some(data) = arguments.common.data {
        if matches!(arguments.command, Command::Doctor { .. }) {
            return Err("doctor looks at an address; it has no use for --data".into());
        }
        config.data = data;
    }
    match arguments.command {
        Command::Serve { listen } => {
            config.listen = listen.unwrap_or(config.listen);
            run_server(&config)
        }
        Command::Gc { preview, after } => gc(&config, preview.then_some(after)),
        Command::Why { digest } => why(&config, digest),
        Command::Events { after, follow } => {
            let directory = Directory::open(&config.data)?;
            admin::events(&directory, after, follow, |event| {
                say(&admin::event_line(event)?).map(drop)
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Verify { rate } => verify(&config, rate),
        Command::Backup { target } => {
            let copied = admin::backup(&config.data, &target)?;
            say(&format!(
                "copied {} blobs with {} bytes; {} were there already",
                copied.blobs, copied.bytes, copied.present
            ))
        }
        Command::Restore { backup } => {
            let copied = admin::restore(&backup, &config.data)?;
            say(&format!(
                "restored {} blobs with {} bytes, each verified",
                copied.blobs, copied.bytes
            ))
        }
        Command::Import {
            source,
            name,
            all,
            tls_verify,
            remote,
        } => {
            let name = name.as_deref().map(target).transpose()?;
            if source.starts_with("docker://") {
                import_remote(&config, &source, name, all, tls_verify, remote)
            } else {
                if all || !tls_verify || remote.username.is_some() || !remote.ca.is_empty() {
                    return Err("--all, --tls-verify, --username and --ca are for docker://HOST, not for a directory".into());
                }
                import_layout(&config, &source, name)
            }
        }
        Command::Doctor {
            url,
            repository,
            largest,
            slow,
            remote,
        } => doctor(&doctor::Options {
            url,
            repository,
            largest_bytes: largest,
            slow,
            login: remote.login()?,
            authorities: remote.ca,
        }),
        Command::Config {
            command: ConfigCommand::Check,
        } => say(key::render(&config).trim_end()),
    }
}

fn run_server(config: &Config) -> Outcome {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RBUILD_REGISTRY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would say so on the same stream, and end the program when nobody reads that any more.
        .log_internal_errors(false)
        .init();
    let access: Option<Box<dyn Write + Send>> =
        config.access_log.then(|| Box::new(io::stderr()) as _);
    if let Err(error) = serve::raise_file_limit() {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    // Before anybody can know that the server runs, and stop it.
    let stop = serve::StopSignal::catch()?;
    let running = serve::start_with(config, access)?;
    let scheme = if config.tls.is_some() {
        "https"
    } else {
        "http"
    };
    // A script that asked for a free port reads it here.
    let untold = |error| format!("could not tell where it listens: {error}");
    say(&format!("listening on {scheme}://{}", running.address())).map_err(untold)?;
    if let Some(address) = running.metrics_address() {
        say(&format!("metrics on http://{address}/metrics")).map_err(untold)?;
    }
    stop.wait();
    tracing::info!("stopping; requests under way are finished");
    running.shutdown();
    Ok(ExitCode::SUCCESS)
}

fn gc(config: &Config, preview: Option<Duration>) -> Outcome {
    let (words, collected) = if let Some(after) = preview {
        let when = SystemClock.now().plus(after);
        (
            "would remove",
            admin::preview(&config.data, when, &config.collect)?,
        )
    } else {
        let opened = serve::open(config).map_err(|error| match error {
            StartError::Locked(_) => {
                "a server runs on this directory, and collects by itself; `gc --preview` says what goes next".into()
            }
            other => Box::<dyn Error>::from(other),
        })?;
        let swept = opened.registry.sweep()?;
        let mut collected: Collected = opened.registry.collect()?;
        collected.blobs += swept.blobs;
        collected.bytes += swept.bytes;
        collected.uploads += swept.uploads;
        ("removed", collected)
    };
    say(&format!(
        "{words} {} manifests, {} blobs with {} bytes, {} uploads",
        collected.manifests, collected.blobs, collected.bytes, collected.uploads
    ))
}

fn why(config: &Config, digest: Digest) -> Outcome {
    let directory = Directory::open(&config.data)?;
    let holders = directory.metadata.holders(&digest, SystemClock.now())?;
    if holders.is_empty() {
        return say("nothing keeps it: it is not here, or it goes with the next collection");
    }
    for holder in holders {
        if let Some(until) = holder.protected_until {
            say(&format!(
                "{}: kept until {until} at least, as it was pushed or asked for lately",
                holder.repository
            ))?;
            continue;
        }
        let tags: Vec<&str> = holder.tags.iter().map(Tag::as_str).collect();
        let path: Vec<String> = holder.path.iter().rev().map(ToString::to_string).collect();
        say(&format!(
            "{}: {} -> {}",
            holder.repository,
            tags.join(", "),
            path.join(" -> ")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(config: &Config, rate: u64) -> Outcome {
    let directory = Directory::open(&config.data)?;
    let mut problems = directory.metadata.check()?;
    let mut pace = Pace::new(rate, |time| {
        std::thread::sleep(time);
        false
    });
    let verified = admin::verify(&directory.blobs, &directory.metadata, &mut pace)?;
    problems.extend(
        verified
            .damaged
            .iter()
            .map(|digest| format!("damaged: {digest}")),
    );
    problems.extend(
        verified
            .missing
            .iter()
            .map(|digest| format!("missing: {digest}")),
    );
    for problem in &problems {
        say(problem)?;
    }
    say(&format!(
        "verified {} objects with {} bytes: {} problems",
        verified.objects,
        verified.bytes,
        problems.len()
    ))?;
    Ok(ExitCode::from(u8::from(!problems.is_empty())))
}

type Target = (RepositoryName, Option<Tag>);

/// `REPOSITORY[:TAG]`
fn target(name: &str) -> Result<Target, Box<dyn Error>> {
    let (repository, tag) = match name.split_once(':') {
        Some((repository, tag)) => (repository, Some(tag.parse::<Tag>()?)),
        None => (name, None),
    };
    Ok((repository.parse()?, tag))
}

fn import_layout(config: &Config, source: &str, name: Option<Target>) -> Outcome {
    let (repository, tag) = name.ok_or("name the repository that the layout goes to")?;
    let path = Path::new(source.strip_prefix("oci:").unwrap_or(source));
    let opened = serve::open(config)?;
    let imported = admin::import(&opened.registry, path, &repository, tag.as_ref())?;
    report_import(&imported)
}

fn import_remote(
    config: &Config,
    source: &str,
    name: Option<Target>,
    all: bool,
    tls_verify: bool,
    remote: Remote,
) -> Outcome {
    let origin: Origin = source.parse()?;
    let (repository, tag) = name.map_or((None, None), |(name, tag)| (Some(name), tag));
    let host = match &origin {
        Origin::Registry(_) if !all => {
            return Err("the source names no repository; --all takes over all of them".into());
        }
        Origin::Image(_) | Origin::Repository(_) if all => {
            return Err("--all takes over a whole registry: name only docker://HOST[:PORT]".into());
        }
        Origin::Registry(_) | Origin::Repository(_) if tag.is_some() => {
            return Err("a tag is given to an only image; all tags keep their names".into());
        }
        Origin::Registry(host) => host.clone(),
        Origin::Image(reference) | Origin::Repository(reference) => reference.registry.to_string(),
    };
    let credentials: Arc<dyn Credentials> = match remote.login()? {
        Some((name, password)) => {
            let login = Credential::basic(name, password.expose());
            Arc::new(StaticCredentials([(host.clone(), login)].into()))
        }
        None => Arc::new(DockerConfig::new(ConfigPaths::from_env(|name| {
            std::env::var_os(name)
        }))),
    };
    let rule = HostRule {
        insecure: !tls_verify,
        ca: remote.ca,
        ..HostRule::default()
    };
    let client = Blocking::new(Client::new(ClientConfig {
        hosts: HostRules::default().with(host, rule),
        retry: RetryPolicy {
            // A long import should outlive the restart of a registry.
            attempts: 8,
            max_delay: Duration::from_secs(30),
            ..RetryPolicy::STANDARD
        },
        ..ClientConfig::new(credentials)
    }))?;
    let opened = serve::open(config)?;
    let imported = admin::import_remote(
        &opened.registry,
        &client,
        &origin,
        repository.as_ref(),
        tag.as_ref(),
        &|event| note(&progress(event)),
    );
    // It waits for parts of blobs to be recorded.
    drop(client);
    report_import(&imported?)
}

fn progress(event: &Event<'_>) -> String {
    match event {
        Event::Blob(blob) => format!("fetched {} with {} bytes", blob.digest, blob.size),
        Event::Retrying(error, delay) => {
            format!(
                "again in {} s: {}",
                delay.as_secs_f32().ceil(),
                chain(*error)
            )
        }
        Event::Image(name, digest) => format!("{name} is here as {digest}"),
        Event::Failed(name, error) => format!("error: {name}: {}", chain(*error)),
        _ => String::new(),
    }
}

fn report_import(imported: &Imported) -> Outcome {
    let tags: Vec<&str> = imported.tags.iter().map(Tag::as_str).collect();
    say(&format!(
        "imported {} manifests, {} blobs with {} bytes; tags: {}",
        imported.manifests,
        imported.blobs,
        imported.bytes,
        tags.join(", ")
    ))?;
    if imported.failed > 0 {
        return Err(format!(
            "{} names could not be imported; run it again for them",
            imported.failed
        )
        .into());
    }
    Ok(ExitCode::SUCCESS)
}

fn doctor(options: &doctor::Options) -> Outcome {
    let mut unsaid = Ok(());
    let failed = doctor::doctor(options, &mut |check| {
        if unsaid.is_ok() {
            unsaid = say(&check.to_string()).map(|_| ());
        }
    })?;
    unsaid?;
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Writes one line to standard output.
fn say(line: &str) -> Outcome {
    let mut stdout = io::stdout();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Writes an error and its causes, one line.
fn report(error: &dyn Error) {
    note(&format!("error: {}", chain(error)));
}

/// An error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Writes one line to standard error.
fn note(line: &str) {
    // Without standard error there is nowhere left to complain.
    let _ = writeln!(io::stderr(), "{line}");
}
