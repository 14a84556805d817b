//! `serve` and `config show`.

use std::io::Read as _;

use super::args::{Format, ServeArgs};
use super::config::{self, ServeFlags};
use super::exit::Failure;
use super::{log, output};
use serde_json::json;

/// Time a node has to stop by itself once its parent is gone.
const ORPHAN_GRACE: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let environment = config::environment();
    let mut resolved = config::resolve(&args.flags, &environment).map_err(Failure::usage)?;
    resolved.node.dev_control = args.dev_control;
    log::start(&resolved.log)?;
    for variable in config::unknown_variables(&environment) {
        tracing::warn!(variable, "this variable is no setting of a node and is ignored; is it misspelt?");
    }
    if args.exit_with_parent {
        stop_with_parent()?;
    }
    crate::node::run(resolved.node).map_err(Failure::failed)
}

pub(super) fn show(flags: &ServeFlags, origin: bool, format: Format) -> Result<(), Failure> {
    let rows = config::origins(flags, &config::environment()).map_err(Failure::usage)?;
    if format != Format::Table {
        let rows = rows.into_iter().map(|(name, value, from)| {
            if origin {
                json!({"name": name, "value": value, "origin": from})
            } else {
                json!({"name": name, "value": value})
            }
        });
        return output::answer(&json!({"settings": rows.collect::<Vec<_>>()}), format);
    }
    let mut columns = vec!["name".to_owned(), "value".to_owned()];
    columns.extend(origin.then(|| "origin".to_owned()));
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value, from)| {
            let mut row = vec![name.to_owned(), value];
            row.extend(origin.then_some(from));
            row
        })
        .collect();
    output::raw(&output::columns_text(&columns, &rows))
}

/// The parent holds our stdin open and writes nothing. When it dies, however it dies, the kernel closes its end; this
/// process then stops like after SIGTERM, and without mercy if that takes too long. The thread lives as long as the
/// process.
fn stop_with_parent() -> Result<(), Failure> {
    let watch = || {
        let mut sink = [0; 64];
        while !matches!(std::io::stdin().read(&mut sink), Ok(0) | Err(_)) {}
        tracing::warn!("the parent process is gone, stopping");
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
        std::thread::sleep(ORPHAN_GRACE);
        std::process::exit(i32::from(super::exit::FAILED));
    };
    let started = std::thread::Builder::new().name("parent-watch".into()).spawn(watch);
    started.map(drop).map_err(|error| Failure::failed(format!("cannot watch the parent process: {error}")))
}
