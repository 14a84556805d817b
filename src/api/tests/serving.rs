//! Over real connections.

use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::canned::{unreached, voiding};
use crate::api::{Front, serve};

struct Served {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    ended: JoinHandle<usize>,
}

async fn start(router: Router, drain: Duration) -> Served {
    start_front(router.into(), drain).await
}

async fn start_front(front: Front, drain: Duration) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, front, shutdown.clone(), drain));
    Served { address, shutdown, ended }
}

async fn connect(served: &Served, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(served.address).await.expect("it listens");
    stream.write_all(bytes.as_bytes()).await.expect("it reads");
    stream
}

async fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("it answers and closes");
    text
}

#[tokio::test]
async fn a_client_that_stops_in_the_middle_of_a_body_is_told() {
    let served = start(unreached(), Duration::from_secs(5)).await;
    let head = "POST /v1/events/e/reserve HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let mut stream = connect(&served, head).await;
    stream.shutdown().await.expect("one side closes");
    let answer = rest(stream).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"malformed\""), "{answer}");
}

#[tokio::test]
async fn a_kept_connection_answers_again_and_ends_with_the_node() {
    let served = start(voiding(), Duration::from_secs(5)).await;
    let request = "POST /v1/outcomes/k/void HTTP/1.1\r\nhost: a\r\n\r\n";
    let stream = connect(&served, &request.repeat(2)).await;
    let mut stream = stream;
    let mut text = String::new();
    while text.matches("\"voided\":true").count() < 2 {
        let mut some = [0; 4096];
        let read = stream.read(&mut some).await.expect("it answers");
        assert!(read > 0, "closed early: {text}");
        text.push_str(&String::from_utf8_lossy(&some[..read]));
    }
    served.shutdown.cancel();
    assert_eq!(rest(stream).await, "");
    assert_eq!(served.ended.await.expect("it ends"), 0);
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_is_cut_off() {
    let served = start(unreached(), Duration::from_millis(50)).await;
    let head = "POST /v1/events/e/reserve HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\nexpect: 100-continue\r\n\r\n";
    let mut stream = connect(&served, head).await;
    let mut some = [0; 64];
    let read = stream.read(&mut some).await.expect("it wants the body");
    assert!(String::from_utf8_lossy(&some[..read]).starts_with("HTTP/1.1 100"));
    served.shutdown.cancel();
    assert_eq!(served.ended.await.expect("it ends"), 1);
}

#[tokio::test]
async fn http2_is_spoken_too() {
    let served = start(unreached(), Duration::from_millis(50)).await;
    let mut stream = connect(&served, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("empty SETTINGS");
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.expect("a frame");
    assert_eq!(head[3], 4, "the first frame of a server is SETTINGS");
}

/// The answer at the end of what came, taken apart: a problem like any other, after which the connection is closed.
fn last_problem(answers: &str) -> (u16, serde_json::Value) {
    let at = answers.rfind("HTTP/1.1 ").unwrap_or_else(|| panic!("no answer in {answers:?}"));
    let (head, body) = answers[at..].split_once("\r\n\r\n").expect("a head");
    let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answers:?}"));
    let request_id = body["request_id"].as_str().expect("a problem has it");
    for line in [
        "content-type: application/problem+json",
        "connection: close",
        "lastseat-revision: 7",
        "lastseat-node: 2",
        "lastseat-leader: http://leader:7400",
        "date: ",
        &format!("request-id: {request_id}"),
    ] {
        assert!(head.contains(&format!("\r\n{line}")), "no {line:?} in {head:?}");
    }
    let status = head[9..12].parse().expect("a status");
    assert_eq!(body["status"], status, "{body}");
    assert_eq!(body["outcome"], "not_applied", "{body}");
    (status, body)
}

#[tokio::test]
async fn what_cannot_be_read_as_http_is_a_problem_too() {
    let many_headers = format!("GET /livez HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(200));
    let cases = [
        ("\u{1}\u{2}nonsense\r\n\r\n", 400, "malformed"),
        ("GET\r\n\r\n", 400, "malformed"),
        ("GET /livez HTTP/1.7\r\n\r\n", 400, "malformed"),
        ("GET /li vez HTTP/1.1\r\n\r\n", 400, "malformed"),
        ("GET /livez HTTP/1.1\r\nno colon\r\n\r\n", 400, "malformed"),
        ("POST /v1/batch HTTP/1.1\r\ncontent-length: many\r\n\r\n", 400, "malformed"),
        ("POST /v1/batch HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400, "malformed"),
        (&format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(70_000)), 413, "too_large"),
        (&many_headers, 413, "too_large"),
    ];
    let served = start(unreached(), Duration::from_secs(5)).await;
    for (bytes, status, code) in cases {
        let answer = rest(connect(&served, bytes).await).await;
        let short: String = bytes.chars().take(60).collect();
        let (got, body) = last_problem(&answer);
        assert_eq!((got, body["code"].as_str()), (status, Some(code)), "{short:?}: {answer}");
    }
}

#[tokio::test]
async fn an_answer_before_what_cannot_be_read_arrives_whole() {
    let served = start(voiding(), Duration::from_secs(5)).await;
    let good = "POST /v1/outcomes/k/void HTTP/1.1\r\nhost: a\r\n\r\n";
    let answers = rest(connect(&served, &format!("{good}{good}GARBAGE\r\n\r\n")).await).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("\"voided\":true").count(), 2, "{answers}");
    assert_eq!(last_problem(&answers).0, 400);
}

#[tokio::test]
async fn a_request_over_http_1_1_names_its_host_once() {
    let served = start(unreached(), Duration::from_secs(5)).await;
    for hosts in ["", "host: a\r\nhost: b\r\n"] {
        let bytes = format!("GET /livez HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let (status, body) = last_problem(&rest(connect(&served, &bytes).await).await);
        assert_eq!((status, body["code"].as_str()), (400, Some("malformed")), "{body}");
        assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("Host")), "{body}");
    }
    for bytes in ["GET /livez HTTP/1.0\r\n\r\n", "GET /livez HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n"] {
        let answer = rest(connect(&served, bytes).await).await;
        assert!(answer.contains(" 200 OK\r\n"), "{answer}");
    }
}

/// The next answer on a connection that is kept: its head and its body.
async fn next(stream: &mut TcpStream, request: &str) -> (String, String) {
    stream.write_all(request.as_bytes()).await.expect("it reads");
    let mut text = String::new();
    loop {
        let mut some = [0; 4096];
        let read = stream.read(&mut some).await.expect("it answers");
        assert!(read > 0, "closed early: {text}");
        text.push_str(std::str::from_utf8(&some[..read]).expect("text"));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("it has a length");
        if body.len() == length.parse::<usize>().expect("a number") {
            return (head.to_owned(), body.to_owned());
        }
    }
}

#[tokio::test]
async fn a_node_that_opens_its_folder_says_so_until_the_api_takes_over() {
    let front = Front::opening(2);
    let served = start_front(front.clone(), Duration::from_secs(5)).await;
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut kept = connect(&served, "").await;
    let (head, body) = next(&mut kept, &get("/livez")).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == "ok\n", "{head} {body}");
    let (head, body) = next(&mut kept, &get("/readyz")).await;
    assert!(head.starts_with("HTTP/1.1 503 ") && body.contains("data folder"), "{head} {body}");
    for path in ["/v1/events", "/metrics", "/nowhere"] {
        let (head, body) = next(&mut kept, &get(path)).await;
        assert!(head.starts_with("HTTP/1.1 503 ") && head.contains("\r\nretry-after: 1"), "{head}");
        assert!(head.contains("\r\nlastseat-node: 2") && body.contains("\"no_leader\""), "{head} {body}");
        assert!(body.contains("\"not_applied\"") && body.contains("\"retryable\":true"), "{body}");
    }
    let answer = rest(connect(&served, "nonsense\r\n\r\n").await).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"malformed\""), "{answer}");

    front.take_over(voiding());
    let void = "POST /v1/outcomes/k/void HTTP/1.1\r\nhost: a\r\n\r\n";
    let (head, body) = next(&mut kept, void).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.contains("\"voided\":true"), "{head} {body}");
}
