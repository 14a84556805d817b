//! Reads the repository and fails on what no compiler checks: an import arrow to the right, a crate or a clock outside its
//! one place, files and functions that outgrew a reader, notes to oneself, dead links.
//!
//! Each rule has an alarm test below that feeds it a bad snippet.

#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A rule that one file may break, and why.
struct Exception {
    file: &'static str,
    /// Part of the finding's text.
    finding: &'static str,
    reason: &'static str,
}

const EXCEPTIONS: &[Exception] = &[
    Exception {
        file: "src/domain/codec.rs",
        finding: "std::io",
        reason: "counting an encoding's bytes is a writer that writes nothing; no I/O happens",
    },
    Exception {
        file: "src/storage/wal/writer.rs",
        finding: "getrandom",
        reason: "a segment's generation only tells old bytes from new ones; it decides nothing and is read back from disk",
    },
    Exception {
        file: "src/cli/rush/tests.rs",
        finding: "axum::",
        reason: "a shop that loses answers, for tests of the buyers; nothing of it is in the product",
    },
    Exception {
        file: "src/cli/rush/tests.rs",
        finding: "hyper::server",
        reason: "a shop that loses answers, for tests of the buyers; nothing of it is in the product",
    },
    Exception {
        file: "tests/domain/generate.rs",
        finding: "the file has",
        reason: "one table of random commands, read from top to bottom; it would not be clearer in pieces",
    },
    Exception {
        file: "tests/domain/script_parse.rs",
        finding: "the file has",
        reason: "the grammar of the scripts in one place, one function for each word",
    },
    Exception {
        file: "tests/domain_model/sale.rs",
        finding: "function `sale`",
        reason: "the second model is naive on purpose: one match over all commands, in the order of the contract",
    },
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `dir` whose names end like one of `endings`, by their path from the root, in order.
fn files(dir: &str, endings: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![root().join(dir)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let path: PathBuf = entry.expect("an entry can be read").path();
            let name = path.strip_prefix(root()).expect("it is below the root").to_string_lossy().into_owned();
            let skipped = ["target", ".git", "node_modules"];
            if path.is_dir() {
                if !name.split('/').any(|part| skipped.contains(&part)) {
                    open.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.insert(name);
            }
        }
    }
    found
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Fails with every finding that has no exception, one a line.
fn verdict(findings: Vec<(String, usize, String)>) {
    let lines: Vec<String> = findings
        .into_iter()
        .filter(|(file, _, what)| !EXCEPTIONS.iter().any(|e| e.file == file && what.contains(e.finding)))
        .map(|(file, line, what)| format!("{file}:{line}: {what}"))
        .collect();
    assert!(lines.is_empty(), "{} findings:\n{}", lines.len(), lines.join("\n"));
}

fn check(files: BTreeSet<String>, rule: impl Fn(&str, &str) -> rules::Findings) {
    assert!(!files.is_empty(), "a rule that reads nothing proves nothing");
    let mut findings = Vec::new();
    for file in files {
        findings.extend(rule(&file, &read(&file)).into_iter().map(|(line, what)| (file.clone(), line, what)));
    }
    verdict(findings);
}

fn in_src(file: &str) -> &str {
    file.strip_prefix("src/").expect("only src/ was listed")
}

/// Files of src/ that are compiled for tests only: `#[cfg(test)] mod x;` names them.
fn test_files() -> Vec<String> {
    let mut names = Vec::new();
    for file in files("src", &[".rs"]) {
        let (_, modules) = source::without_tests(&source::tokens(&read(&file)));
        let mut home = rules::module_path(in_src(&file));
        if matches!(home[0].as_str(), "lib" | "main") {
            home.clear();
        }
        names.extend(modules.into_iter().map(|module| [home.clone(), vec![module]].concat().join("/")));
    }
    names
}

#[test]
fn rooms_use_only_the_rooms_left_of_them() {
    check(files("src", &[".rs"]), |file, text| rules::arrows(in_src(file), text));
}

#[test]
fn crates_clocks_and_randomness_stay_in_their_place() {
    let for_tests = test_files();
    check(files("src", &[".rs"]), |file, text| {
        let path = rules::module_path(in_src(file)).join("/");
        let only_tests = for_tests.iter().any(|t| path == *t || path.starts_with(&format!("{t}/")));
        rules::only_here(in_src(file), text, only_tests)
    });
}

#[test]
fn files_and_functions_fit_a_reader() {
    check(files("", &[".rs"]), |_, text| rules::sizes(text));
}

#[test]
fn nothing_is_left_over() {
    check(files("", &[".rs", ".sh", ".md", ".toml", ".js", ".css", ".html"]), |_, text| rules::leftovers(text));
}

#[test]
fn nothing_tells_where_it_was_written() {
    let texts = [".rs", ".sh", ".md", ".toml", ".js", ".css", ".html", ".yml", ".yaml", ".json", ".lock", ".ci/run"];
    check(files("", &texts), |_, text| rules::private_paths(text));
}

#[test]
fn links_between_guides_lead_somewhere() {
    check(files("", &[".md"]), |file, text| {
        let folder = root().join(file).parent().expect("a file is in a folder").to_owned();
        rules::dead_links(text, |target| folder.join(target).exists())
    });
}

#[test]
fn every_dependency_comes_from_crates_io() {
    let lock = read("Cargo.lock");
    let sources: BTreeSet<&str> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert_eq!(sources.into_iter().collect::<Vec<_>>(), ["\"registry+https://github.com/rust-lang/crates.io-index\""]);
}

#[test]
fn every_exception_is_still_needed() {
    for exception in EXCEPTIONS {
        assert!(root().join(exception.file).exists(), "{} is gone; drop its exception", exception.file);
        assert!(exception.reason.len() > 20, "{}: say why", exception.file);
    }
}

// --- the alarm rings --------------------------------------------------------------------------------------------------

/// The one finding of a bad snippet.
#[track_caller]
fn rings(findings: rules::Findings, line: usize, part: &str) {
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].0, line, "{findings:?}");
    assert!(findings[0].1.contains(part), "{findings:?}");
}

#[test]
fn alarm_arrow_by_crate_path() {
    rings(rules::arrows("domain/seat.rs", "use std::fmt;\nuse crate::storage::Wal;"), 2, "must not use storage/");
    rings(rules::arrows("raft/log.rs", "fn f() { crate::service::g() }"), 1, "must not use service/");
    rings(rules::arrows("raft/log.rs", "use crate::{domain::Seat, storage::{a, b}, node};"), 1, "must not use node/");
    rings(rules::arrows("node.rs", "use lastseat::cli::Output;"), 1, "must not use cli/");
}

#[test]
fn alarm_arrow_by_super_path() {
    rings(rules::arrows("domain/seat.rs", "use super::super::raft::RaftNode;"), 1, "must not use raft/");
    rings(rules::arrows("watch/mod.rs", "use super::api;"), 1, "must not use api/");
    rings(rules::arrows("watch.rs", "mod inner { use super::super::{domain, cli}; }"), 1, "must not use cli/");
}

#[test]
fn alarm_arrow_from_an_unknown_room() {
    rings(rules::arrows("helpers.rs", ""), 1, "is not a room");
}

#[test]
fn arrows_to_the_left_are_quiet() {
    let source = "use crate::domain::{api, cli}; use super::Wal; mod tests { use super::super::cli; } // crate::api::x\n\
                  pub(crate) fn api() -> &'static str { \"crate::cli\" }";
    assert_eq!(rules::arrows("storage/wal/mod.rs", source), []);
}

#[test]
fn alarm_crate_outside_its_room() {
    for (file, source) in [
        ("service/mod.rs", "use openraft::Raft;"),
        ("raft/mod.rs", "fn f(db: sled::Db) {}"),
        ("storage/codec.rs", "use bincode;"),
        ("node.rs", "axum::serve(listener, app)"),
        ("cli/dev.rs", "use hyper_util::server::conn::auto::Builder;"),
        ("raft/net.rs", "use hyper::server::conn::http1;"),
        ("service/mod.rs", "#[cfg(test)] mod tests { use openraft::Raft; }"),
    ] {
        rings(rules::only_here(file, source, false), 1, "only in src/");
    }
}

#[test]
fn alarm_clock_and_randomness() {
    for source in [
        "let t = std::time::SystemTime::now();",
        "let t = jiff::Timestamp::now();",
        "let t = Utc::now();",
        "getrandom::fill(&mut bytes)",
        "let id = Uuid::new_v4();",
        "let id = uuid::Uuid::now_v7();",
    ] {
        rings(rules::only_here("service/batcher.rs", source, false), 1, "only in src/service/stamp.rs");
        assert_eq!(rules::only_here("service/stamp.rs", source, false), []);
    }
}

#[test]
fn alarm_impure_domain() {
    for source in [
        "let t = Instant::now();",
        "seats: HashMap<SeatId, Seat>,",
        "let seen = HashSet::new();",
        "x: f64,",
        "y as f32",
        "tokio::spawn(g())",
        "async fn f() {}",
        "std::fs::read(path)",
    ] {
        rings(rules::only_here("domain/seat.rs", source, false), 1, "in domain/ is");
        assert_eq!(
            rules::only_here("domain/seat.rs", &format!("#[cfg(test)] mod t {{ fn a() {{ {source} }} }}"), false),
            []
        );
        assert_eq!(rules::only_here("domain/tests.rs", source, true), []);
    }
    assert_eq!(rules::only_here("watch/mod.rs", "let t = Instant::now(); let m = HashMap::new();", false), []);
}

#[test]
fn names_that_look_alike_are_quiet() {
    let source = "let n = options.sled; let s = Source::sled; self.openraft(); // sled::open\n let t = \"SystemTime\";";
    assert_eq!(rules::only_here("service/mod.rs", source, false), []);
}

#[test]
fn alarm_long_file_and_long_function() {
    let long = format!("fn short() {{}}\nfn long(a: [u8; 4]) {{\n{}}}\n", "a();\n".repeat(rules::FUNCTION_LINES_MAX));
    rings(rules::sizes(&long), 2, "function `long`");
    let many = "const A: u8 = 1;\n".repeat(rules::FILE_LINES_MAX + 1);
    rings(rules::sizes(&many), rules::FILE_LINES_MAX + 1, "the file has");
}

#[test]
fn alarm_leftovers() {
    rings(rules::leftovers(concat!("a\n// TO", "DO later")), 2, "do it");
    rings(rules::leftovers(concat!("// FIX", "ME")), 1, "do it");
    rings(rules::leftovers(concat!("#[ign", "ore = \"slow\"]\n#[test] fn t() {}")), 1, "proves nothing");
    rings(rules::leftovers(concat!("fn f() { to", "do!() }")), 1, "unfinished");
}

#[test]
fn alarm_private_paths() {
    rings(rules::private_paths(concat!("\nsee /ro", "ot/notes.md")), 2, "a folder of one machine");
    rings(rules::private_paths(concat!("cp x /ho", "me/me/x")), 1, "a folder of one machine");
    assert_eq!(rules::private_paths("dir}/root/x and rooms/home/y"), []);
}

#[test]
fn alarm_dead_links() {
    rings(rules::dead_links("see [a](b.md#c) and [x](https://x/y)", |_| false), 1, "no `b.md`");
    rings(rules::dead_links("text\n\n[a]: ../c.rs", |_| false), 3, "no `../c.rs`");
    assert_eq!(rules::dead_links("[a][b]: and so on", |_| false), []);
    assert_eq!(rules::dead_links("[a](b.md) [c](#d) [e](crate::f)\n```\n[x](y)\n```", |file| file == "b.md"), []);
}
