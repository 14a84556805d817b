//! The binary as a script sees it: exit codes, what it prints where, and that a refused file sends nothing.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

const HOLD: &str = r#"{"outcome":"applied","revision":7,"version":3,"token":"t-1","event":"e","items":[{"seat":"A-1"}],
    "customer":null,"expires_at":"2027-01-01T00:00:00.000Z","expires_in_ms":1,"created_at":"2027-01-01T00:00:00.000Z"}"#;

/// Answers every request with the same status and body; what was asked can be read from the channel.
fn node(status: u16, body: &str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (asked, questions) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = [0; 65536];
            let count = stream.read(&mut buffer).unwrap_or(0);
            let _ = asked.send(String::from_utf8_lossy(&buffer[..count]).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, questions)
}

fn problem(status: u16, code: &str, outcome: &str) -> String {
    format!(
        r#"{{"status":{status},"code":"{code}","outcome":"{outcome}","detail":"so it is","conflicts":[{{"seat":"A-1","status":"held"}}]}}"#
    )
}

fn lastseat(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lastseat"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LASTSEAT_")) {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).output().unwrap()
}

fn reserve(url: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let mut args = vec!["--server", url, "--timeout", "1s", "reserve", "e", "--seat", "A-1"];
    args.extend(more);
    let output = lastseat(&args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn exit_codes_say_what_was_promised() {
    let (url, questions) = node(201, HOLD);
    let (code, out, err) = reserve(&url, &["--key", "my-key", "-o", "ndjson"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&out).unwrap()["token"], "t-1");
    let question = questions.recv().unwrap();
    assert!(question.starts_with("POST /v1/events/e/reserve HTTP/1.1"), "{question}");
    assert!(question.contains("idempotency-key: my-key"), "{question}");

    for (status, code, outcome, exit) in [
        (409, "seat_held", "rejected", 3),
        (409, "seat_held", "not_applied", 4),
        (503, "no_leader", "not_applied", 4),
        (504, "unknown", "unknown", 5),
    ] {
        let (url, _questions) = node(status, &problem(status, code, outcome));
        let (got, out, err) = reserve(&url, &[]);
        assert_eq!(got, Some(exit), "{err}");
        assert_eq!(out, "");
        assert!(err.contains("do: "), "{err}");
        assert!(exit != 5 || err.contains("--key "), "{err}");
    }
    let (code, _, err) = reserve("http://127.0.0.1:9", &[]);
    assert_eq!(code, Some(4), "{err}");
    assert_eq!(lastseat(&["reserve", "e"]).status.code(), Some(2));
    assert_eq!(lastseat(&["--server", "nonsense", "event", "list"]).status.code(), Some(2));
}

#[test]
fn a_file_that_is_refused_sends_nothing() {
    let (url, questions) = node(201, "{}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("arena.csv");
    std::fs::write(&file, "seat,section,row,number,category,x,y\nA-1,,,,,1,1\nA-1,,,,,1,2\n").unwrap();
    let output = lastseat(&["--server", &url, "event", "import", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("line 3") && err.contains("nothing was sent"), "{err}");
    assert!(questions.try_recv().is_err());
}

#[test]
fn an_import_takes_its_id_from_the_file_and_counts() {
    let event = r#"{"outcome":"applied","event":"arena","name":"arena","on_sale":true,"version":1,"revision":1,"definition_version":1}"#;
    let (url, questions) = node(201, event);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("arena.csv");
    std::fs::write(&file, "seat,section,row,number,category,x,y\nB-1,low,,1,,1,1\nA-1,up,,2,,1,2\n").unwrap();
    let output = lastseat(&["--server", &url, "event", "import", file.to_str().unwrap(), "--name", "The arena"]);
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("2 seats in 2 sections"), "{out}");
    // The node answered as if the event had been there.
    assert!(out.starts_with("replaced arena (was: arena, 0 seats, 0 pools of 0 units) from CSV"), "{out}");
    assert!(questions.recv().unwrap().starts_with("GET /v1/events/arena"));
    let question = questions.recv().unwrap();
    assert!(
        question.starts_with("PUT /v1/events/arena HTTP/1.1") && question.contains("idempotency-key"),
        "{question}"
    );
}

#[test]
fn serve_refuses_an_open_door_and_shows_origins() {
    let output = lastseat(&["serve", "--node-id", "1", "--data", "/nowhere", "--listen", "192.0.2.1:7401"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--insecure"));
    let output = lastseat(&["config", "show", "--origin", "--region", "eu"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("flag --region"));
}

#[test]
fn help_pages_are_there() {
    for args in [&["completions", "bash"][..], &["man"], &["openapi"], &["--help"]] {
        let output = lastseat(args);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(0), false), "{args:?}");
    }
}
