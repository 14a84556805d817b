//! The black-box harness itself: it must tell half an answer from none, or the stories prove nothing.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use support::process::free_port;
use support::{Connection, Lost, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A server that answers the n-th connection with the n-th script: pieces written one by one, one request read before the
/// first, then closed.
async fn scripted(scripts: Vec<Vec<&'static str>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for script in scripts {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
            for piece in script {
                stream.write_all(piece.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    addr
}

#[tokio::test]
async fn whole_answers_are_read_however_they_are_cut() {
    let addr = scripted(vec![
        vec!["HTTP/1.1 201 Cre", "ated\r\nContent-Le", "ngth: 11\r\nX-A: b\r\n\r\n{\"a\":", "\"b\"}\r\n"],
        vec![
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n",
            "3\r\n:1}\r\n0\r\n\r\n",
        ],
        vec!["HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\n\r\n"],
    ])
    .await;
    let mut connection = Connection::to(addr);
    let answer = connection.send(&Request::get("/")).await.unwrap();
    assert_eq!((answer.status, answer.header("x-a")), (201, Some("b")));
    assert_eq!(answer.text("/a"), "b");
    // The server closed the connection in between: a new one is made, nothing is lost.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(connection.send(&Request::get("/")).await.unwrap().number("/a"), 1);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(connection.send(&Request::get("/")).await.unwrap().status, 304);
}

#[tokio::test]
async fn half_answers_are_broken_and_no_answer_is_none() {
    for (script, wanted) in [
        (vec![], "none"),
        (vec!["HTTP/1.1 20"], "broken"),
        (vec!["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n"], "broken"),
        (vec!["HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n{}"], "broken"),
        (vec!["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{}"], "broken"),
        (vec!["HTTP/1.1 200 OK\r\n\r\n"], "broken"),
        (vec!["ready\r\n"], "broken"),
    ] {
        let addr = scripted(vec![script.clone()]).await;
        let lost = Connection::to(addr).send(&Request::get("/")).await.unwrap_err();
        let got = match lost {
            Lost::NoAnswer(_) => "none",
            Lost::Broken(_) => "broken",
            other => panic!("{script:?}: {other:?}"),
        };
        assert_eq!(got, wanted, "{script:?}");
    }
}

#[tokio::test]
async fn a_refused_connection_is_certainly_not_sent_and_silence_times_out() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    assert!(matches!(Connection::to(nobody).send(&Request::get("/")).await, Err(Lost::NotSent(_))));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut connection = Connection::to(silent.local_addr().unwrap()).timeout(Duration::from_millis(50));
    assert_eq!(connection.send(&Request::get("/")).await.unwrap_err(), Lost::TimedOut);
}

#[test]
fn problems_are_compared_without_their_request_id() {
    let problem = |id: &str, code: &str| support::Answer {
        status: 409,
        headers: Vec::new(),
        body: format!("{{\"code\":\"{code}\",\"request_id\":\"{id}\"}}").into_bytes(),
    };
    assert_eq!(problem("a1", "x").lasting_body(), problem("b22", "x").lasting_body());
    assert_ne!(problem("a1", "x").lasting_body(), problem("a1", "y").lasting_body());
}
