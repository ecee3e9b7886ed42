//! The `pingora-live` command.

mod sign_command;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pingora::prelude::background_service;
use pingora::server::configuration::Opt;
use pingora_live::config::{self, Config, LogFormat};
use pingora_live::demo::Demo;
use pingora_live::open_files;
use pingora_live::service::{self, Listening, StartError};
use tracing::warn;
use tracing_subscriber::EnvFilter;

/// The configuration cannot be used.
const EXIT_CONFIGURATION: u8 = 1;
/// An address cannot be bound.
const EXIT_BIND: u8 = 2;

/// Live streaming on pingora: RTMP in, HTTP-FLV out.
#[derive(Parser)]
#[command(name = "pingora-live", version, about)]
struct Arguments {
    /// Configuration file [default: config/live.yaml if it is there, else built-in defaults]
    #[arg(short, long, value_name = "FILE", global = true)]
    conf: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(short, long)]
    test: bool,
    /// Run in the background
    #[arg(short, long)]
    daemon: bool,
    /// Take the listening sockets over from a running server (which is then sent SIGQUIT)
    #[arg(short, long)]
    upgrade: bool,
    /// Print the effective configuration, file and environment together, and exit
    #[arg(long)]
    print_config: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve with a built-in test stream at live/demo
    Demo,
    Sign(Box<sign_command::Sign>),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Command::Sign(sign)) = &arguments.command {
        return match sign.run(arguments.conf.as_deref()) {
            Ok(url) => {
                println!("{url}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(EXIT_CONFIGURATION)
            }
        };
    }
    let config = match load(&arguments) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    if arguments.print_config {
        print!("{}", config::print_config(&config));
        return ExitCode::SUCCESS;
    }
    if arguments.test {
        return match service::check(&config) {
            Ok(()) => {
                println!("the configuration is good");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(EXIT_CONFIGURATION)
            }
        };
    }
    start_log(&config.live.log);
    raise_open_files(config.live.limits.connections);
    let opt = Opt {
        upgrade: arguments.upgrade,
        daemon: arguments.daemon,
        ..Opt::default()
    };
    let mut assembled = match service::assemble(&config, opt) {
        Ok(assembled) => assembled,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(match error {
                StartError::Bind { .. } => EXIT_BIND,
                _ => EXIT_CONFIGURATION,
            });
        }
    };
    if matches!(arguments.command, Some(Command::Demo)) {
        let demo = background_service("demo", Demo::new(assembled.live.clone()));
        assembled.server.add_service(demo);
    }
    let listening = assembled.listening.clone();
    if arguments.daemon {
        // Afterwards nobody sees it.
        announce(&listening);
        assembled.run(|| {});
    } else {
        assembled.run(move || announce(&listening));
    }
    ExitCode::SUCCESS
}

fn load(arguments: &Arguments) -> Result<Config, config::ConfigErrors> {
    let config = Config::load(arguments.conf.as_deref(), config::environment())?;
    config.check_files()?;
    Ok(config)
}

/// One line for each listener, and one with the URL to open.
fn announce(listening: &[Listening]) {
    for Listening { protocol, address } in listening {
        println!("listening {protocol} {address}");
    }
    let page = listening
        .iter()
        .find(|l| l.protocol == "http")
        .or_else(|| listening.iter().find(|l| l.protocol == "https"));
    if let Some(Listening { protocol, address }) = page {
        let mut address = *address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        println!("open {protocol}://{address}/");
    }
}

fn start_log(log: &config::Log) {
    // pingora tells of every client that goes away in the middle of a handshake: that is for debugging.
    let filter = EnvFilter::new(format!(
        "warn,pingora=error,pingora_core=off,pingora_proxy=off,pingora_live={}",
        log.level.as_str()
    ));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Raises the soft limit of open files to the hard one, and warns when that is too low for the configured connections.
fn raise_open_files(connections: u32) {
    let hard = match open_files::raise() {
        Ok(hard) => hard,
        Err(error) => {
            warn!(%error, "the limit of open files could not be raised");
            return;
        }
    };
    if hard < u64::from(connections) {
        warn!(
            "the hard limit of open files is {hard}, below limits.connections ({connections}): raise it (ulimit -Hn, LimitNOFILE) or lower the key"
        );
    }
}
