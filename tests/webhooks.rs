//! Receivers are told of every change, in order, signed, whoever dies; and one that is slow, gone or hostile harms nobody.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::load::Load;
use support::process::lastseat;
use support::receiver::{Got, Mode, Receiver};
use support::settings::{self, READY, patience};
use support::{Cluster, Request, eventually, turn};

const PRIVATE: &[&str] = &["--webhook-allow-private"];

/// A receiver that was away is asked again within this: back-off doubles while it is away.
fn catches_up() -> Duration {
    READY + settings::downtime() * 3
}

/// Makes a webhook; gives its secret.
async fn set(cluster: &Cluster, webhook: &str, body: &Value) -> String {
    let answer = cluster.put(cluster.up()[0], &format!("/v1/webhooks/{webhook}"), body).await.expect(201);
    assert_eq!(answer.outcome().as_deref(), Some("applied"));
    answer.text("/secret")
}

async fn show(cluster: &Cluster, webhook: &str) -> Value {
    cluster.get(cluster.up()[0], &format!("/v1/webhooks/{webhook}")).await.expect(200).json()
}

async fn op(cluster: &Cluster, webhook: &str, op: &str, body: &Value) -> support::Answer {
    cluster.post(cluster.up()[0], &format!("/v1/webhooks/{webhook}/{op}"), body).await
}

async fn book(cluster: &Cluster, order: &str) -> u64 {
    let body = json!({ "items": [{ "pool": "floor" }], "order": order });
    cluster.post(cluster.up()[0], "/v1/events/show/book", &body).await.expect(201).number("/revision")
}

async fn state(cluster: &Cluster, webhook: &str, wanted: &str) -> Value {
    eventually(&format!("{webhook} is {wanted}"), READY, || async {
        let view = show(cluster, webhook).await;
        if view["state"] == wanted { Ok(view) } else { Err(view.to_string()) }
    })
    .await
}

/// New messages come in order and without a gap from `first` on; repeats are the same to the byte.
#[track_caller]
fn in_order_and_complete(taken: &[Got], first: u64) -> (u64, usize) {
    let mut seen: BTreeMap<&str, &Got> = BTreeMap::new();
    let mut next = first;
    let mut repeats = 0;
    for got in taken {
        assert_eq!(got.header("content-type"), "application/cloudevents+json");
        assert!(got.header("user-agent").starts_with("lastseat/"));
        assert_eq!(got.body["id"], got.id(), "{got:?}");
        assert_eq!(got.body["specversion"], "1.0");
        assert_eq!(got.body["lastseatrevision"], got.revision().to_string());
        match seen.get(got.id()) {
            Some(before) => {
                assert_eq!(before.raw, got.raw, "a repeat says something else");
                repeats += 1;
            }
            None => {
                assert_eq!(got.revision(), next, "out of order, or a change is missing");
                seen.insert(got.id(), got);
                next += 1;
            }
        }
    }
    (next - 1, repeats)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_reaches_the_receiver_in_order_whoever_dies() {
    let _turn = turn().await;
    let mut cluster = Cluster::with_flags(3, PRIVATE).await;
    cluster.define_pool("show", 10_000_000).await;
    let mut receiver = Receiver::start().await;
    let mut secrets = vec![set(&cluster, "all", &json!({ "url": receiver.url() })).await];
    let first = show(&cluster, "all").await["cursor"].as_u64().unwrap() + 1;
    let addrs: Vec<_> = cluster.ids().into_iter().map(|id| cluster.api(id)).collect();
    for round in 0..settings::webhook_rounds() {
        let load = Load::start(&format!("r{round}"), "show", 4, &addrs);
        load.more(100, READY).await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        if round == 0 {
            receiver.down().await;
            tokio::time::sleep(settings::downtime()).await;
            receiver.up().await;
        }
        load.more(100, READY).await;
        cluster.restart(leader).await;
        if round == 1 {
            let rotated = cluster.settle(&Request::post("/v1/webhooks/all/rotate", &json!({})), "rotation").await;
            secrets.push(rotated.expect(200).text("/secret"));
            load.more(50, READY).await;
        }
        load.finish().await;
    }
    let last = cluster.get(1, "/v1/events/show").await.number("/revision");
    let taken =
        receiver.until("everything", catches_up(), |taken| taken.iter().any(|got| got.revision() == last)).await;
    let (end, repeats) = in_order_and_complete(&taken, first);
    assert_eq!(end, last);
    eprintln!("{} changes, {repeats} repeats, {} kills", end + 1 - first, settings::webhook_rounds());
    assert!(repeats as u64 <= settings::webhook_rounds() * 250, "{repeats} repeats");

    let signed: BTreeSet<Vec<usize>> = taken.iter().map(|got| got.signed_by(&secrets)).collect();
    assert_eq!(signed, BTreeSet::from([vec![0], vec![1, 0]]), "the new secret first, the old one beside it");
    assert_eq!(taken.last().unwrap().signed_by(&secrets), [1, 0]);
    eventually("the cursor is told", READY, || async {
        let view = show(&cluster, "all").await;
        if view["cursor"] == json!(last) && view["lag"] == 0 { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
    let view = show(&cluster, "all").await;
    assert_eq!((view["state"].as_str(), view["gap"].is_null()), (Some("active"), true), "{view}");
    assert_eq!(view["secrets"].as_array().unwrap().len(), 2);
    cluster.agree().await;
    nobody_tells(&cluster, &secrets).await;
}

/// Secrets are in no log and in no read.
async fn nobody_tells(cluster: &Cluster, secrets: &[String]) {
    let tells = |text: &str| secrets.iter().any(|secret| text.contains(secret.trim_start_matches("whsec_")));
    for plan in cluster.plans.values() {
        let log = std::fs::read_to_string(&plan.log).unwrap();
        assert!(!log.is_empty() && !tells(&log) && !log.contains("whsec_"), "a secret is in the log of {}", plan.id);
    }
    for path in ["/v1/webhooks", "/v1/webhooks/all", "/v1/webhooks/all/deliveries", "/v1/outcomes/rotation", "/metrics"]
    {
        let answer = cluster.get(cluster.up()[0], path).await.expect(200);
        assert!(!tells(&String::from_utf8_lossy(&answer.body)), "{path}: {answer}");
    }
    // Who sends the command itself again hears the secret again.
    let again = cluster.settle(&Request::post("/v1/webhooks/all/rotate", &json!({})), "rotation").await;
    assert!(again.replayed());
    assert_eq!(&again.text("/secret"), secrets.last().unwrap());
    let void = Request::new("POST", "/v1/outcomes/rotation/void");
    let void = cluster.call(cluster.up()[0], void).await.expect(200);
    assert!(void.at("/body/secret").is_null(), "{void}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_paused_resumed_and_played_again() {
    let _turn = turn().await;
    let cluster = Cluster::with_flags(1, PRIVATE).await;
    cluster.define_pool("show", 1_000).await;
    let receiver = Receiver::start().await;
    let secret = set(&cluster, "all", &json!({ "url": receiver.url(), "causes": ["book"] })).await;
    book(&cluster, "o-1").await;
    let got = receiver.until("the first", READY, |taken| taken.len() == 1).await.remove(0);
    assert_eq!(got.path, "/hook");
    assert_eq!(got.signed_by(std::slice::from_ref(&secret)), [0]);
    assert_eq!(got.body["type"], "com.lastseat.change.book");
    assert_eq!(got.body["source"], "/v1/groups/0");
    assert_eq!(got.body["subject"], "show");
    let data = &got.body["data"];
    assert_eq!(
        data["changes"][0],
        json!({ "pool": "floor", "capacity": 1000, "held": 0, "booked": 1, "blocked": 0, "available": 999 })
    );
    assert_eq!((&data["event"], &data["version"], &data["cause"]), (&json!("show"), &json!(2), &json!("book")));

    op(&cluster, "all", "pause", &json!({})).await.expect(200);
    state(&cluster, "all", "paused").await;
    // The worker of a webhook that is off is gone within a tick of the leader.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let revision = book(&cluster, "o-2").await;
    // Of another cause: passed over.
    cluster.post(1, "/v1/events/show/cancel", &json!({ "order": "o-1" })).await.expect(200);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(receiver.got().len(), 1, "paused is paused");
    op(&cluster, "all", "resume", &json!({})).await.expect(200);
    let taken = receiver.until("the second", READY, |taken| taken.len() == 2).await;
    assert_eq!(taken[1].revision(), revision);

    op(&cluster, "all", "resume", &json!({ "from": got.revision() })).await.expect(200);
    let taken = receiver.until("both again", READY, |taken| taken.len() == 4).await;
    let ids: Vec<&str> = taken.iter().map(Got::id).collect();
    assert_eq!(ids[..2], ids[2..], "a replay has the ids of the first time");
    op(&cluster, "all", "resume", &json!({ "from": revision + 50 })).await.problem(422, "invalid", "rejected");
    op(&cluster, "nobody", "resume", &json!({})).await.problem(404, "webhook_not_found", "rejected");

    // Rotation that ends the old secret at once.
    let new = op(&cluster, "all", "rotate", &json!({ "overlap_ms": 0 })).await.expect(200).text("/secret");
    tokio::time::sleep(Duration::from_millis(500)).await;
    book(&cluster, "o-3").await;
    let taken = receiver.until("the third", READY, |taken| taken.len() == 5).await;
    assert_eq!(taken[4].signed_by(&[secret, new]), [1]);
    cluster.call(1, Request::new("DELETE", "/v1/webhooks/all")).await.expect(200);
    cluster.get(1, "/v1/webhooks/all").await.problem(404, "webhook_not_found", "not_applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_fails_is_asked_again_and_given_up_in_the_end() {
    let _turn = turn().await;
    let cluster = Cluster::with_flags(1, PRIVATE).await;
    cluster.define_pool("show", 1_000).await;
    let (receiver, elsewhere) = (Receiver::start().await, Receiver::start().await);
    let secret = set(&cluster, "all", &json!({ "url": receiver.url(), "disable_after_ms": 86_400_000 })).await;

    // Asked for: what the receiver says is the answer, and the same again under the same key.
    receiver.answer(Mode::Header(302, format!("location: {}", elsewhere.url())));
    let test = Request::new("POST", "/v1/webhooks/all/test").key("t-1");
    let tried = cluster.call(1, test.clone()).await.expect(200);
    assert_eq!(tried.at("/delivery/status"), 302);
    assert_eq!(tried.at("/delivery/delivered"), false);
    let again = cluster.call(1, test).await;
    assert!(again.replayed() && again.body == tried.body, "{again}");
    assert_eq!((receiver.got().len(), elsewhere.connections()), (1, 0), "sent once, and redirects are not followed");

    receiver.answer(Mode::Status(500));
    book(&cluster, "o-1").await;
    let view = state(&cluster, "all", "failing").await;
    assert_eq!(view["why"]["status"], 500);
    receiver.answer(Mode::Status(204));
    receiver.until("it was tried again", READY, |taken| taken.len() == 1).await;
    state(&cluster, "all", "active").await;

    let log = cluster.get(1, "/v1/webhooks/all/deliveries").await.expect(200).json();
    let rows = log["deliveries"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["delivered"], &rows[0]["status"], &rows[0]["event"]),
        (&json!(true), &json!(204), &json!("show"))
    );
    assert_eq!((&rows[1]["delivered"], &rows[1]["status"]), (&json!(false), &json!(500)));
    assert_eq!(rows.last().unwrap()["kind"], "test");
    let message = rows[0]["message"].as_str().unwrap();
    let path = format!("deliveries/{message}/redeliver");
    let redelivered = op(&cluster, "all", &path, &json!({})).await.expect(200);
    assert_eq!(redelivered.at("/delivery/kind"), "redelivery");
    let taken = receiver.taken();
    assert_eq!((taken.len(), &taken[0].raw), (2, &taken[1].raw));
    assert_eq!(taken[1].signed_by(&[secret]), [0]);
    op(&cluster, "all", &format!("deliveries/msg_{:032x}/redeliver", 1), &json!({})).await.problem(
        404,
        "delivery_not_found",
        "rejected",
    );

    receiver.answer(Mode::Status(410));
    book(&cluster, "o-2").await;
    let view = state(&cluster, "all", "disabled").await;
    assert_eq!(view["why"]["status"], 410);
    receiver.answer(Mode::Status(200));
    op(&cluster, "all", "resume", &json!({})).await.expect(200);
    receiver.until("what it missed", READY, |taken| taken.len() == 3).await;

    // Failing for too long.
    let body = json!({ "url": receiver.url(), "disable_after_ms": 1_000 });
    cluster.put(1, "/v1/webhooks/all", &body).await.expect(200);
    receiver.answer(Mode::Status(503));
    book(&cluster, "o-3").await;
    let view = state(&cluster, "all", "disabled").await;
    assert_eq!((&view["why"]["status"], view["since"].is_string()), (&json!(503), true), "{view}");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_networks_are_out_of_reach_by_number_and_by_name() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    cluster.define_pool("show", 10).await;
    let receiver = Receiver::start().await;
    let port = receiver.addr.port();
    for (webhook, host) in
        [("number", "127.0.0.1"), ("name", "localhost"), ("six", "[::1]"), ("mapped", "[::ffff:127.0.0.1]")]
    {
        set(&cluster, webhook, &json!({ "url": format!("http://{host}:{port}/hook") })).await;
        let tried = op(&cluster, webhook, "test", &json!({})).await.expect(200);
        assert_eq!(tried.at("/delivery/error"), "forbidden_address", "{host}: {tried}");
        assert!(tried.at("/delivery/status").is_null());
    }
    book(&cluster, "o-1").await;
    assert_eq!(state(&cluster, "name", "failing").await["why"]["error"], "forbidden_address");
    assert_eq!(receiver.connections(), 0, "not even a connection");
    let with_user = json!({ "url": "https://user:pass@hooks.example/" });
    cluster.put(1, "/v1/webhooks/user", &with_user).await.problem(422, "invalid", "not_applied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_receiver_holds_up_neither_sales_nor_another_webhook() {
    let _turn = turn().await;
    let cluster = Cluster::with_flags(1, PRIVATE).await;
    cluster.define_pool("show", 100_000).await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.answer(Mode::Slow(Duration::from_secs(10)));
    set(&cluster, "slow", &json!({ "url": slow.url() })).await;
    set(&cluster, "quick", &json!({ "url": quick.url() })).await;
    let first = show(&cluster, "quick").await["cursor"].as_u64().unwrap() + 1;
    let start = Instant::now();
    let load = Load::start("s", "show", 4, &[cluster.api(1)]);
    load.more(200, READY).await;
    let tally = load.finish().await;
    assert!(tally.percentile(0.99) < patience(Duration::from_millis(500)), "{:?}", tally.percentile(0.99));
    let last = cluster.get(1, "/v1/events/show").await.number("/revision");
    let taken = quick.until("all of it", READY, |taken| taken.last().is_some_and(|got| got.revision() == last)).await;
    assert_eq!(in_order_and_complete(&taken, first), (last, 0));
    let told = slow.taken().len();
    assert!(told as u64 <= start.elapsed().as_secs() / 10, "{told}: one at a time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_definition_is_told_in_parts() {
    let _turn = turn().await;
    let cluster = Cluster::with_flags(1, PRIVATE).await;
    let receiver = Receiver::start().await;
    let secret = set(&cluster, "all", &json!({ "url": receiver.url(), "events": ["show"] })).await;
    cluster.define_pool("other", 1).await;
    cluster.define_row("show", 20_000).await;
    let taken = receiver
        .until("all parts", READY, |taken| {
            taken.last().is_some_and(|got| got.body["data"]["part"] == got.body["data"]["parts"])
        })
        .await;
    assert!(taken.len() > 1);
    let mut seats = BTreeSet::new();
    for (part, got) in (1..).zip(&taken) {
        assert!(got.raw.len() <= 256 << 10, "{} bytes", got.raw.len());
        assert_eq!(got.signed_by(std::slice::from_ref(&secret)), [0]);
        let data = &got.body["data"];
        assert_eq!(
            (&data["event"], &data["part"], &data["parts"]),
            (&json!("show"), &json!(part), &json!(taken.len()))
        );
        seats.extend(
            data["changes"].as_array().unwrap().iter().map(|change| change["seat"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(seats.len(), 20_000);
    assert_eq!(taken.iter().map(Got::id).collect::<BTreeSet<_>>().len(), taken.len(), "each part is a message");
}

/// Runs `lastseat webhook …`; gives its exit code and what it printed as JSON.
fn run(cluster: &Cluster, args: &[&str]) -> (i32, Value, String) {
    let server = format!("http://{}", cluster.api(1));
    let out = lastseat().arg("webhook").args(args).args(["--server", &server, "-o", "json"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    (out.status.code().unwrap(), json, text + &String::from_utf8_lossy(&out.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_sets_tests_and_shows_webhooks() {
    let _turn = turn().await;
    let cluster = Cluster::with_flags(1, PRIVATE).await;
    cluster.define_pool("show", 10).await;
    let receiver = Receiver::start().await;
    let url = receiver.url();
    let set = ["set", "mail", "--url", &url, "--event", "show", "--cause", "book", "--disable-after", "1d"];
    let (code, made, said) = run(&cluster, &set);
    assert_eq!(code, 0, "{said}");
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
    assert_eq!((&made["events"], &made["disable_after_ms"]), (&json!(["show"]), &json!(86_400_000)));
    let (code, tried, said) = run(&cluster, &["test", "mail"]);
    assert_eq!((code, &tried["delivery"]["delivered"]), (0, &json!(true)), "{said}");
    receiver.answer(Mode::Status(500));
    assert_eq!(run(&cluster, &["test", "mail"]).0, 1, "a script sees that the receiver said no");
    let (_, log, _) = run(&cluster, &["deliveries", "mail", "--limit", "1"]);
    assert_eq!(log["deliveries"][0]["status"], 500);
    receiver.answer(Mode::Status(200));
    let message = log["deliveries"][0]["message"].as_str().unwrap().to_owned();
    assert_eq!(run(&cluster, &["redeliver", "mail", &message]).0, 0);
    assert_eq!(run(&cluster, &["pause", "mail"]).1["state"], "paused");
    assert_eq!(run(&cluster, &["resume", "mail", "--from", "1"]).1["state"], "active");
    assert!(run(&cluster, &["rotate", "mail", "--overlap", "0s"]).1["secret"].is_string());
    assert_eq!(run(&cluster, &["list"]).1["webhooks"][0]["webhook"], "mail");
    let server = format!("http://{}", cluster.api(1));
    let table = lastseat().args(["webhook", "show", "mail", "--server", &server]).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("events") && table.contains("show") && table.contains(&url), "{table}");
    assert_eq!(run(&cluster, &["delete", "mail"]).0, 0);
    assert_eq!(run(&cluster, &["show", "mail"]).0, 3);
}

/// The example of the guide takes what we send and refuses everything else.
#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_the_guide_verifies_a_signature() {
    let _turn = turn().await;
    let guide = include_str!("../src/docs/operations.md");
    let example = guide.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let cluster = Cluster::with_flags(1, PRIVATE).await;
    let receiver = Receiver::start().await;
    let secret = set(&cluster, "mail", &json!({ "url": receiver.url() })).await;
    op(&cluster, "mail", "test", &json!({})).await.expect(200);
    let got = receiver.taken().remove(0);
    let verify = |secret: &str, id: &str, timestamp: &str, body: &[u8]| {
        let headers = json!({ "webhook-id": id, "webhook-timestamp": timestamp,
                              "webhook-signature": got.header("webhook-signature") });
        let call =
            "\nimport json, sys\nprint(verify(sys.argv[1], json.loads(sys.argv[2]), bytes.fromhex(sys.argv[3])))\n";
        let body: String = body.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut python = Command::new("python3");
        let out =
            python.args(["-c", &format!("{example}{call}"), secret, &headers.to_string(), &body]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let (id, timestamp) = (got.id().to_owned(), got.header("webhook-timestamp").to_owned());
    assert_eq!(verify(&secret, &id, &timestamp, &got.raw), "True");
    assert_eq!(verify(&secret, &id, &timestamp, b"{}"), "False");
    assert_eq!(verify(&secret, "msg_other", &timestamp, &got.raw), "False");
    let old = (timestamp.parse::<u64>().unwrap() - 3_600).to_string();
    assert_eq!(verify(&secret, &id, &old, &got.raw), "False");
    assert_eq!(verify("whsec_AAAA", &id, &timestamp, &got.raw), "False");
}
