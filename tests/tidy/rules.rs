//! The rules. Each takes the text of one file and says what breaks it: `(line, what)`.

use super::source::{Token, closing, reads, tokens, without_tests};

/// The rooms of src/, each of which may use only the rooms before it.
pub(crate) const ROOMS: [&str; 8] = ["domain", "storage", "watch", "raft", "service", "api", "node", "cli"];

pub(crate) type Findings = Vec<(usize, String)>;

/// Path of a file inside src/, without `.rs`, as modules: `domain/seat.rs` → `[domain, seat]`, `domain/mod.rs` → `[domain]`.
pub(crate) fn module_path(file: &str) -> Vec<String> {
    let mut path: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if path.last().is_some_and(|last| last == "mod") {
        path.pop();
    }
    path
}

/// An import arrow to the right. `lib.rs` and `main.rs` stand above the rooms.
pub(crate) fn arrows(file: &str, source: &str) -> Findings {
    let home = module_path(file);
    let room = home[0].as_str();
    if matches!(room, "lib" | "main" | "docs") {
        return Vec::new();
    }
    let Some(own) = ROOMS.iter().position(|known| *known == room) else {
        return vec![(1, format!("`{room}` is not a room; the rooms are {}", ROOMS.join(", ")))];
    };
    let mut findings = Vec::new();
    for (line, target) in rooms_used(&home, &tokens(source)) {
        match ROOMS.iter().position(|known| *known == target) {
            Some(other) if other > own => findings.push((line, format!("{room}/ must not use {target}/"))),
            _ => {}
        }
    }
    findings
}

/// First segments of all paths that start at the crate's root, with `super` resolved.
fn rooms_used(home: &[String], tokens: &[Token]) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    // Inline modules that surround the token, with the index where each ends.
    let mut inline: Vec<(usize, String)> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        inline.retain(|(end, _)| *end > at);
        if tokens[at].text == "mod" && reads(tokens, at + 2, &["{"]) {
            inline.push((closing(tokens, at + 2), tokens[at + 1].text.clone()));
        }
        let starts = at == 0 || tokens[at - 1].text != "::";
        if starts && matches!(tokens[at].text.as_str(), "crate" | "lastseat") && reads(tokens, at + 1, &["::"]) {
            first_segments(tokens, at + 2, &mut used);
        } else if starts && tokens[at].text == "super" {
            let mut next = at;
            let mut depth = home.len() + inline.len();
            while reads(tokens, next, &["super", "::"]) {
                depth = depth.saturating_sub(1);
                next += 2;
            }
            if depth == 0 {
                first_segments(tokens, next, &mut used);
            }
            at = next.max(at + 1);
            continue;
        }
        at += 1;
    }
    used
}

/// `x::…` → x; `{x::…, y, {…}}` → x, y.
fn first_segments(tokens: &[Token], at: usize, used: &mut Vec<(usize, String)>) {
    let Some(token) = tokens.get(at) else { return };
    if token.text != "{" {
        used.push((token.line, token.text.clone()));
        return;
    }
    let end = closing(tokens, at);
    let mut depth = 0;
    for i in at..end {
        match tokens[i].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(tokens[i - 1].text.as_str(), "{" | ",") => {
                used.push((tokens[i].line, tokens[i].text.clone()));
            }
            _ => {}
        }
    }
}

/// A crate that only one place may name, and a path that nothing may say elsewhere.
struct Only {
    /// Tokens that give it away.
    what: &'static [&'static str],
    /// Files and folders of src/ that may.
    places: &'static [&'static str],
    why: &'static str,
}

const fn only(what: &'static [&'static str], places: &'static [&'static str], why: &'static str) -> Only {
    Only { what, places, why }
}

const CRATES: &[Only] = &[
    only(&["openraft", "::"], &["raft"], "its alphas break the API: one room pays"),
    only(&["sled", "::"], &["storage"], "it must be replaceable"),
    only(&["bincode", "::"], &["domain/codec.rs"], "it is unmaintained: one file pays"),
    only(&["axum", "::"], &["api"], "HTTP is the api room's"),
    only(&["tower_http", "::"], &["api"], "HTTP is the api room's"),
    only(&["hyper", "::", "server"], &["api"], "HTTP is the api room's"),
    only(&["hyper_util", "::", "server"], &["api"], "HTTP is the api room's"),
];

/// The one file that may read the wall clock and make random things.
const STAMP: &[&str] = &["service/stamp.rs"];

const CLOCK: &[Only] = &[
    only(&["SystemTime"], STAMP, "the wall clock"),
    only(&["UNIX_EPOCH"], STAMP, "the wall clock"),
    only(&["Utc", "::", "now"], STAMP, "the wall clock"),
    only(&["Timestamp", "::", "now"], STAMP, "the wall clock"),
    only(&["Zoned", "::", "now"], STAMP, "the wall clock"),
    only(&["getrandom", "::"], STAMP, "randomness"),
    only(&["rand", "::"], STAMP, "randomness"),
    only(&["fastrand", "::"], STAMP, "randomness"),
    only(&["RandomState"], STAMP, "randomness"),
    only(&["Uuid", "::", "new_v4"], STAMP, "randomness"),
    only(&["Uuid", "::", "now_v6"], STAMP, "the wall clock and randomness"),
    only(&["Uuid", "::", "now_v7"], STAMP, "the wall clock and randomness"),
];

/// What the pure room must not know.
const NOT_IN_DOMAIN: &[(&[&str], &str)] = &[
    (&["Instant"], "a clock"),
    (&["HashMap"], "an order that differs between nodes; use BTreeMap"),
    (&["HashSet"], "an order that differs between nodes; use BTreeSet"),
    (&["f32"], "a float"),
    (&["f64"], "a float"),
    (&["tokio", "::"], "async"),
    (&["futures_util", "::"], "async"),
    (&["async"], "async"),
    (&["std", "::", "fs"], "I/O"),
    (&["std", "::", "io"], "I/O"),
    (&["std", "::", "net"], "I/O"),
    (&["std", "::", "env"], "I/O"),
    (&["std", "::", "thread"], "threads"),
    (&["std", "::", "process"], "processes"),
];

fn inside(file: &str, places: &[&str]) -> bool {
    places.iter().any(|place| {
        file == *place || file.strip_prefix(place).is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
    })
}

/// Crates, clocks and randomness where they do not belong. A file that is compiled `for_tests` only may use clocks, floats
/// and the like.
pub(crate) fn only_here(file: &str, source: &str, for_tests: bool) -> Findings {
    let all = tokens(source);
    let production = if for_tests { Vec::new() } else { without_tests(&all).0 };
    let mut findings = Vec::new();
    for rule in CRATES.iter().filter(|rule| !inside(file, rule.places)) {
        for line in lines_with(&all, rule.what) {
            findings.push((line, format!("`{}` only in src/{}: {}", rule.what.concat(), rule.places[0], rule.why)));
        }
    }
    for rule in CLOCK.iter().filter(|rule| !inside(file, rule.places)) {
        for line in lines_with(&production, rule.what) {
            findings.push((line, format!("`{}` ({}) only in src/{}", rule.what.concat(), rule.why, rule.places[0])));
        }
    }
    if inside(file, &["domain"]) {
        for (what, is) in NOT_IN_DOMAIN {
            for line in lines_with(&production, what) {
                findings.push((line, format!("`{}` in domain/ is {is}", what.concat())));
            }
        }
    }
    findings
}

/// Lines where a path starts with these tokens, or, for a crate (`name ::`), where a `use` names it.
fn lines_with(tokens: &[Token], what: &[&str]) -> Vec<usize> {
    let is_crate = what.len() > 1;
    (0..tokens.len())
        .filter(|at| {
            let before = at.checked_sub(1).map_or("", |i| tokens[i].text.as_str());
            let deeper = is_crate && what[1] == "::" && what.len() == 2 && matches!(before, "::" | ".");
            let used = what.len() == 2 && before == "use" && tokens[*at].text == what[0];
            !deeper && (reads(tokens, *at, what) || used)
        })
        .map(|at| tokens[at].line)
        .collect()
}

/// Longest file and function, in lines.
pub(crate) const FILE_LINES_MAX: usize = 500;
pub(crate) const FUNCTION_LINES_MAX: usize = 120;

pub(crate) fn sizes(source: &str) -> Findings {
    let mut findings = Vec::new();
    let lines = source.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push((lines, format!("the file has {lines} lines; at most {FILE_LINES_MAX}")));
    }
    let tokens = tokens(source);
    for at in 0..tokens.len() {
        if tokens[at].text != "fn" || reads(&tokens, at + 1, &["("]) {
            continue;
        }
        let mut open = at + 1;
        while open < tokens.len() && !matches!(tokens[open].text.as_str(), "{" | ";") {
            let bracket = matches!(tokens[open].text.as_str(), "(" | "[");
            open = if bracket { closing(&tokens, open) + 1 } else { open + 1 };
        }
        if open < tokens.len() && tokens[open].text == "{" {
            let length = tokens[closing(&tokens, open)].line - tokens[at].line + 1;
            if length > FUNCTION_LINES_MAX {
                let name = &tokens[at + 1].text;
                let what = format!("function `{name}` has {length} lines; at most {FUNCTION_LINES_MAX}");
                findings.push((tokens[at].line, what));
            }
        }
    }
    findings
}

/// Notes to oneself, tests that are switched off. The words are put together here so that this file does not trip itself.
pub(crate) fn leftovers(source: &str) -> Findings {
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];
    let mut findings = Vec::new();
    for (number, line) in source.lines().enumerate() {
        for note in notes.iter().filter(|note| line.contains(**note)) {
            findings.push((number + 1, format!("`{note}`: do it, or write down in a guide what is missing")));
        }
    }
    let tokens = tokens(source);
    for at in 0..tokens.len() {
        if reads(&tokens, at, &["#", "[", "ignore"]) {
            findings.push((tokens[at].line, "an ignored test proves nothing".to_owned()));
        }
        if reads(&tokens, at, &[concat!("to", "do"), "!"]) {
            findings.push((tokens[at].line, "an unfinished function".to_owned()));
        }
    }
    findings
}

/// Paths that exist on the writer's machine only.
pub(crate) fn private_paths(source: &str) -> Findings {
    let folders = [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/ro", "ot/")];
    let mut findings = Vec::new();
    for (number, line) in source.lines().enumerate() {
        for folder in folders {
            let found = line.match_indices(folder).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !"._-~}".contains(c))
            });
            if found {
                findings.push((number + 1, format!("`{folder}`: a folder of one machine")));
            }
        }
    }
    findings
}

/// Links of a guide to files that are not there. `exists` answers for a path as the link gives it.
pub(crate) fn dead_links(source: &str, exists: impl Fn(&str) -> bool) -> Findings {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (number, line) in source.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        let inline = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let defined = line.strip_prefix('[').and_then(|rest| rest.split_once(']')?.1.strip_prefix(": "));
        for target in inline.chain(defined) {
            let file = target.split('#').next().unwrap_or_default();
            if !file.is_empty() && !target.contains("://") && !target.contains("::") && !exists(file) {
                findings.push((number + 1, format!("there is no `{file}`")));
            }
        }
    }
    findings
}
