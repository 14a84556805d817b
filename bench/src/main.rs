//! Load generator: how many bookings a deployment takes, how long each waits, and what its streams cost.
//!
//! `bench load` is a closed loop: each client has one connection and sends the next request when the last is answered.
//! It counts only definite answers, checks at the end that the server counted the same, and says so.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line program talks on its standard streams")]

mod connection;
mod load;
mod streams;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Load generator for lastseat")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Books single units of one pool from many clients at once, as quickly as they are answered.
    Load(load::LoadOptions),
    /// Reads one event's stream many times over while it is sold.
    Streams(streams::StreamOptions),
}

fn main() -> std::process::ExitCode {
    let Arguments { command } = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(failed) => {
            eprintln!("cannot start: {failed}");
            return std::process::ExitCode::from(2);
        }
    };
    let report = match command {
        Command::Load(options) => runtime.block_on(load::run(options)).map(|report| report.to_string()),
        Command::Streams(options) => runtime.block_on(streams::run(options)),
    };
    match report {
        Ok(report) => {
            println!("{report}");
            std::process::ExitCode::SUCCESS
        }
        Err(failed) => {
            eprintln!("{failed}");
            std::process::ExitCode::FAILURE
        }
    }
}
