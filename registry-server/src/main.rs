//! The `rbuild-registry` program: arguments and exit status.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use rbuild_registry_server::config::Config;
use rbuild_registry_server::serve;

/// An OCI registry: pushes and pulls by Docker, podman, containerd and every client of the distribution API.
#[derive(Debug, Parser)]
#[command(name = "rbuild-registry", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is told to stop (SIGTERM or SIGINT).
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Directory that everything is kept in; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "rbuild-registry-data")]
    data: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Command::Serve(serve) => run_server(&serve),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&*error);
            ExitCode::from(2)
        }
    }
}

fn run_server(arguments: &Serve) -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_env("RBUILD_REGISTRY_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let mut config = Config::new(&arguments.data);
    config.listen = arguments.listen;
    let running = serve::start(&config)?;
    // A script that asked for a free port reads it here.
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening on http://{}", running.address())?;
    stdout.flush()?;
    serve::wait_for_signal()?;
    tracing::info!("stopping; requests under way are finished");
    running.shutdown();
    Ok(())
}

/// Writes an error and its causes, one line.
fn report(error: &dyn Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    // Without standard error there is nowhere left to complain.
    let _ = writeln!(std::io::stderr(), "error: {text}");
}
