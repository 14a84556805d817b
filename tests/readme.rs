//! What the README prints works as printed, against the cluster that `dev` makes.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use support::dev::Dev;
use support::process::lastseat;
use support::turn;

const README: &str = include_str!("../README.md");

/// The shell commands of one section of the README, each as it would be pasted.
fn commands(section: &str) -> Vec<String> {
    let (_, rest) = README.split_once(&format!("## {section}\n")).expect("the section is there");
    let (_, rest) = rest.split_once("```sh\n").expect("it has commands");
    let (block, _) = rest.split_once("```").expect("they end");
    let lines = block.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    lines.split("\n\n").map(|command| command.trim().to_owned()).filter(|command| !command.is_empty()).collect()
}

fn run(command: &str) -> String {
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", command]).output().expect("bash is there");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{command}\n{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// Does a process with this id run (and is not a zombie)?
fn runs(pid: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_booking_by_curl_works_as_printed() {
    let _turn = turn().await;
    let mut dev = Dev::start().await;
    let here = |command: &str| {
        (1..=3).fold(command.to_owned(), |text, i| text.replace(&format!(":740{i}"), &format!(":{}", dev.base + i)))
    };
    let mut bodies = Vec::new();
    for command in commands("A booking by curl") {
        let said = run(&here(&command));
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or(("", &said));
        let json: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{command}\n{said}\n{e}"));
        assert!(json.get("code").is_none(), "{command}\n{said}");
        bodies.push((head.to_lowercase(), body.to_owned(), json));
    }
    assert_eq!(bodies.len(), 7, "a command came or went: look at what is checked here");
    assert!(bodies[1].2["token"].is_string(), "{}", bodies[1].1);
    assert_eq!(bodies[2].2["outcome"], "applied");
    assert_eq!(bodies[3].1, bodies[2].1, "the same again: the same answer");
    assert!(bodies[3].0.contains("idempotency-replayed: true"), "{}", bodies[3].0);
    assert_eq!(bodies[4].2["items"].as_array().map(Vec::len), Some(2), "{}", bodies[4].1);
    assert_eq!((&bodies[5].2["order"], &bodies[5].2["outcome"]), (&"order-2".into(), &"applied".into()));
    assert_eq!((&bodies[6].2["oversold"], &bodies[6].2["booked"]), (&Value::from(0), &Value::from(1)));

    let servers: Vec<_> = (1..=3).map(|i| format!("http://127.0.0.1:{}", dev.base + i)).collect();
    let rush = README.lines().find_map(|line| line.strip_prefix("cargo run --release -- rush ")).expect("it is there");
    // Buyers who pay at once: as printed it takes half a minute.
    let mut command = lastseat();
    command.args(["rush", "--server", &servers.join(","), "--pay-within", "100ms"]).args(rush.split_whitespace());
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("2 units are held by others"), "{said}");

    let pids = dev.pids();
    assert_eq!(pids.len(), 3);
    dev.process.terminate();
    let status = dev.process.wait(Duration::from_secs(20)).expect("`dev` ends when told to");
    assert!(status.success(), "{status}");
    assert!(!pids.iter().any(|pid| runs(*pid)), "a node outlived `dev`");
}
