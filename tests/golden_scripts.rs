//! Stories about the domain: `tests/scripts/*.txt`. Each says what is done, `---`, and what is seen.
//!
//! Every step is also given to the second model, audited, folded by a reader of the stream and saved to a disk, and at
//! the end the log is played again: see `tests/domain/world.rs`. `UPDATE=1 cargo test --test golden_scripts` writes down
//! what is seen now; read it against the contract before it is committed.
//!
//! | act | |
//! |---|---|
//! | `at 12:00:05.000`, `+10s` | the leader's clock for what follows; nothing is decided by it alone |
//! | `tick` | time passes in the log |
//! | `define EVENT [seats A-1..A-4 [row R] [section S] [category C]]… [pools standing=10…] [name N] [off-sale] [ttl D] [max-ttl D] [limit N] [label K V]` | or `staged ID parts N` |
//! | `stage ID part N [seats …] [pools …]` | a part of a definition |
//! | `change EVENT [name N] [on-sale\|off-sale] [ttl D] [max-ttl D] [limit N\|no-limit] [label K V] [pools p=3 …]` | |
//! | `delete EVENT [force]` | |
//! | `reserve EVENT ITEM… \| best N [section S] [category C] [scattered]` `[customer C] [ttl D] [add-to T]` | ITEM is `A-1`, `A-1..A-3` or `standing*2` |
//! | `extend EVENT T ttl D` · `book EVENT T order O [items …] [rest release] [rebook]` · `buy EVENT ITEM… order O [customer C]` | |
//! | `release EVENT T [items …]` · `cancel EVENT O [items …]` · `block EVENT ITEM… [reason R]` · `unblock …` | |
//! | `atomic: A ; B`, `slice START/TOTAL: A ; own KEY: B ; refused CODE` | batches |
//! | `together: A \| B` | several requests in one log entry |
//! | `webhook set W URL [events E,…] [causes C,…] [paused] [description D] [disable-after D] [secret N]` · `webhook delete W` · `webhook rotate W [overlap D] [secret N]` | |
//! | `webhook pause W` · `webhook resume W [from N]` · `webhook test W [answered R]` · `webhook redeliver W [tried N:E:R]` | R is a status, `timeout` or `forbidden` |
//! | `report W cursor N [gap A-B] [late] [tried N:E:R]…` | what the leader says it delivered; `late`: of an earlier life |
//! | `hook W`, `deliveries W` | reads |
//! | `void KEY`, `configure NAME VALUE…` | |
//! | behind any of them: `key K`, `request N` (another fingerprint), `not-after T`, `if-match N`, `by-node`, `token T` | |
//! | `show EVENT`, `seats EVENT`, `seat EVENT S`, `hold EVENT T`, `order EVENT O`, `orders EVENT [customer C]`, `outcome K`, `due` | reads |
//! | `restart`, `without-model` | stop and start from disk; see above |

#![allow(
    clippy::result_large_err,
    clippy::large_enum_variant,
    clippy::type_complexity,
    clippy::unwrap_used,
    unreachable_pub,
    dead_code
)]

mod domain_model;
#[path = "domain/script_parse.rs"]
mod script_parse;
#[path = "domain/script_run.rs"]
mod script_run;
#[path = "domain/script_show.rs"]
mod script_show;
#[path = "domain/script_webhooks.rs"]
mod script_webhooks;
#[path = "domain/world.rs"]
mod world;

use std::path::{Path, PathBuf};

use script_run::Runner;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    files
}

/// The script with what is seen now. Blocks are parted by empty lines; what follows `---` in a block is seen.
fn played(script: &str) -> Result<String, String> {
    let mut runner = Runner::new();
    let mut out = String::new();
    for (at, block) in script.split("\n\n").enumerate() {
        let (acts, _) = block.split_once("\n---").unwrap_or((block, ""));
        let acts = acts.trim_matches('\n');
        if at > 0 {
            out.push('\n');
        }
        out.push_str(acts);
        out.push('\n');
        if acts.lines().all(|line| line.starts_with('#')) {
            continue;
        }
        out.push_str("---\n");
        for act in acts.lines().filter(|line| !line.starts_with('#')) {
            out.push_str(&runner.act(act).map_err(|why| format!("`{act}`: {why}"))?);
        }
    }
    runner.finish()?;
    Ok(out)
}

#[test]
fn scripts_show_what_they_say() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for path in scripts() {
        let script = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        match std::panic::catch_unwind(|| played(&script)).unwrap_or_else(|_| Err("panic".to_owned())) {
            Err(why) => wrong.push(format!("{name}: {why}")),
            Ok(now) if now == script => {}
            Ok(now) if update => std::fs::write(&path, now).unwrap(),
            Ok(now) => wrong.push(format!("{name}: {}", first_difference(&script, &now))),
        }
    }
    assert!(wrong.is_empty(), "{} scripts fail; if it should be so now: UPDATE=1\n{}", wrong.len(), wrong.join("\n"));
}

fn first_difference(script: &str, now: &str) -> String {
    let lines = script.lines().zip(now.lines()).enumerate();
    match lines.into_iter().find(|(_, (old, new))| old != new) {
        Some((at, (old, new))) => format!("line {}\n    wanted {old}\n    seen   {new}", at + 1),
        None => format!("{} lines wanted, {} seen", script.lines().count(), now.lines().count()),
    }
}

/// The runner itself: a wrong expectation is seen.
#[test]
fn a_wrong_expectation_is_noticed() {
    let script = "define e seats A-1\n---\nsomething else\n";
    let now = played(script).unwrap();
    assert_ne!(now, script);
    assert!(first_difference(script, &now).contains("something else"));
}
