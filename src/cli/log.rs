//! The log of a node: lines to stderr, which may be a full disk or a pipe that nobody reads any more.
//!
//! Invariant: a line that cannot be written is lost and counted. It never ends the node, and nothing is said about it on
//! the stderr that does not take it.

use std::io::{self, IsTerminal as _, Write};

use tracing_subscriber::EnvFilter;

use super::config::{LogConfig, LogFormat};
use super::exit::Failure;
use crate::api::metrics::LOG_LINES_LOST;

/// Logs to stderr from here on. Once per process.
pub(super) fn start(config: &LogConfig) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.level).map_err(|error| {
        Failure::usage(format!("log level {:?}: {error}; write error, warn, info, debug or trace", config.level))
    })?;
    // What the subscriber has to say of its own errors would go to stderr by `eprintln!`, which panics where we only
    // lose a line.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Lossy(io::stderr()))
        .log_internal_errors(false);
    let started = match config.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::failed(format!("cannot start logging: {error}")))
}

/// Takes every line whole, and loses those that cannot be written on.
struct Lossy<W>(W);

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.0.write_all(line).is_err() {
            metrics::counter!(LOG_LINES_LOST).increment(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // What could not be flushed was a line that could not be written.
        let _ = self.0.flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk without room.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_is_lost_without_an_error() {
        let mut log = Lossy(Full);
        log.write_all(b"a line\n").expect("taken");
        log.flush().expect("taken");
    }
}
