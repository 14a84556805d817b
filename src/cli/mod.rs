//! The command line: one binary for the server, the box office and the trial run.
//!
//! ```text
//! args ─▶ serve ──────────▶ node::run          (in this process)
//!      ├▶ dev ────────────▶ serve × n          (child processes, watched and restarted)
//!      ├▶ watch ──────────▶ lastseat-client ─▶ any node, and the next when that one goes
//!      ├▶ reserve, book … ▶ lastseat-client ─▶ any node
//!      ├▶ event import ───▶ import (pure) ─▶ lastseat-client
//!      └▶ rush ───────────▶ hundreds of buyers through lastseat-client, then the audit
//! ```
//!
//! Invariants: answers go to stdout, everything else to stderr; the exit code says what was promised, see `exit`; an
//! error says what to do; tokens and keys never reach a log.
//!
//! Lacks on purpose: any way around the HTTP API.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

mod args;
mod cluster;
mod config;
mod dev;
mod event;
mod exit;
mod import;
mod log;
mod output;
mod rush;
mod sale;
mod serve;
mod watch;
mod webhook;

use args::{Cli, Command, ConfigCommand, Global};
use exit::Failure;

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = cli.global.output;
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let (Some(problem), args::Format::Json | args::Format::Ndjson) = (&failure.problem, format) {
                // A stdout that is gone cannot be told; the exit code says it all the same.
                let _ = output::answer(problem, format);
            }
            output::complain(&failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Config(ConfigCommand::Show { origin, flags }) => serve::show(&flags, origin, global.output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "lastseat", &mut script);
            output::raw(&String::from_utf8_lossy(&script))
        }
        Command::Man { dir } => man(dir.as_deref()),
        Command::Openapi => output::raw(&crate::api::openapi_text()),
        other => block_on(client_command(global, other)),
    }
}

async fn client_command(global: Global, command: Command) -> Result<(), Failure> {
    match command {
        Command::Dev(args) => dev::run(args).await,
        Command::Cluster(command) => cluster::run(&global, command).await,
        Command::Event(command) => event::run(&global, command).await,
        Command::Webhook(command) => webhook::run(&global, command).await,
        Command::Reserve(args) => sale::reserve(&global, args).await,
        Command::Book(args) => sale::book(&global, args).await,
        Command::Release(args) => sale::release(&global, args).await,
        Command::Extend(args) => sale::extend(&global, args).await,
        Command::Cancel(args) => sale::cancel(&global, args).await,
        Command::Audit { event } => sale::audit(&global, &event).await,
        Command::Watch(args) => watch::run(&global, args).await,
        Command::Rush(args) => rush::run(&global, args).await,
        Command::Serve(_)
        | Command::Config(_)
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Openapi => unreachable!("answered without a runtime"),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::failed(format!("cannot start: {error}; too few threads allowed?")))?;
    runtime.block_on(work)
}

fn man(dir: Option<&std::path::Path>) -> Result<(), Failure> {
    let command = Cli::command();
    if let Some(dir) = dir {
        return std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir)).map_err(|error| {
            Failure::failed(format!("cannot write the manual into {}: {error}; choose another folder", dir.display()))
        });
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|error| Failure::failed(format!("cannot render the manual: {error}")))?;
    output::raw(&String::from_utf8_lossy(&page))
}
