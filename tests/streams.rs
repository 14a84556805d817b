//! Change streams: every version once and in order, on every transport and node, whatever happens to the nodes.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::follow::{Fold, Follower, open, refused, sell, sell_many, state};
use support::settings::{self, READY};
use support::stream::KINDS;
use support::{Cluster, Kind, Request, Said, Stream, eventually, turn};

/// A node ends within this after SIGTERM.
const STOPPED: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn three_readers_miss_nothing_through_kills_restarts_and_compaction() {
    let _turn = turn().await;
    let mut cluster = Cluster::with_flags(3, &["--history-changes", "3000"]).await;
    let seats: Vec<Value> = (1..=50).map(|n| json!({ "id": format!("A-{n}"), "row": "A" })).collect();
    let body = json!({ "name": "show", "seats": seats, "pools": [{ "id": "floor", "capacity": 10_000_000 }] });
    cluster.put(1, "/v1/events/show", &body).await.expect(201);
    let addrs: Vec<_> = cluster.ids().into_iter().map(|id| cluster.api(id)).collect();
    let goal = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(u64::MAX));
    let followers: Vec<_> = KINDS
        .iter()
        .enumerate()
        .map(|(at, kind)| {
            let (path, addrs, goal) = ("/v1/events/show/changes".to_owned(), addrs.clone(), goal.clone());
            let fold = Fold::default();
            let mut follower = Follower { kind: *kind, path, addrs, at, position: 0, fold, streams: 0 };
            tokio::spawn(async move {
                follower.read_to(|| goal.load(std::sync::atomic::Ordering::Acquire)).await;
                follower
            })
        })
        .collect();
    for round in 0..settings::rounds() {
        let load = support::load::Load::start(&format!("r{round}"), "show", 8, &addrs);
        load.more(40, READY).await;
        let seat = format!("A-{}", round % 50 + 1);
        let hold = Request::post("/v1/events/show/reserve", &json!({ "items": [{ "seat": seat }] }));
        cluster.settle(&hold, &format!("seat-{round}")).await;
        match round % 3 {
            0 => {
                let leader = cluster.leader().await;
                cluster.kill(leader);
                load.more(40, READY).await;
                cluster.restart(leader).await;
            }
            1 => {
                cluster.kill_all();
                for id in cluster.ids() {
                    cluster.spawn(id);
                }
                for id in cluster.ids() {
                    cluster.ready(id).await;
                }
            }
            _ => {
                let follower = cluster.follower().await;
                cluster.kill(follower);
                load.more(40, READY).await;
                cluster.restart(follower).await;
            }
        }
        load.more(40, READY).await;
        load.finish().await;
        sell_many(&cluster, "show", &format!("many-{round}"), 1_000).await;
    }
    let (version, expected) = state(&cluster, "show").await;
    goal.store(version, std::sync::atomic::Ordering::Release);
    // One more change, so that who waits for the next message looks at the goal.
    sell(&cluster, 1, "show", "the last").await;
    let mut resumes = 0;
    for follower in followers {
        let mut follower = follower.await.unwrap();
        if follower.position > version {
            follower.fold.totals = Value::Null;
            assert_eq!(follower.position, version + 1);
            assert_eq!(follower.fold.seats, expected.seats);
        } else {
            follower.fold.totals = Value::Null;
            assert_eq!(follower.fold, expected);
        }
        resumes += follower.streams;
    }
    eprintln!("{version} versions, {resumes} streams");
    assert!(resumes > 3, "nobody ever had to come back");
    // What was compacted away is refused; the oldest that is told can be had.
    if version > 4_000 {
        let gone = refused(&cluster, Kind::Sse, "/v1/events/show/changes?after=1").await;
        assert_eq!((gone.status, gone.code().as_deref()), (410, Some("compacted")), "{gone}");
        let oldest = gone.number("/oldest");
        let mut stream = open(&cluster, 1, Kind::Lines, &format!("/v1/events/show/changes?after={oldest}")).await;
        assert_eq!(stream.news().await.position, Some(oldest + 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_on_every_transport_and_node() {
    let _turn = turn().await;
    let cluster = Cluster::of(3).await;
    cluster.define_row("row", 3).await;
    cluster.define_pool("pool", 10).await;
    let hold =
        cluster.post(1, "/v1/events/row/reserve", &json!({ "items": [{ "seat": "A-2" }], "customer": "ada" })).await;
    let token = hold.expect(201).text("/token");
    let swap = json!({ "atomic": true, "commands": [
        { "event": "row", "op": "book", "token": token, "order": "o-1" },
        { "event": "pool", "op": "book", "items": [{ "pool": "floor", "quantity": 2 }], "order": "o-2" },
    ] });
    cluster.post(2, "/v1/batch", &swap).await.expect(200);
    let mut rows: Vec<Vec<Said>> = Vec::new();
    let mut groups: Vec<Vec<Said>> = Vec::new();
    for (id, kind) in (1..=3).zip(KINDS) {
        let mut row = open(&cluster, id, kind, "/v1/events/row/changes?after=0").await;
        rows.push(vec![row.news().await, row.news().await, row.news().await]);
        let mut group = open(&cluster, id, kind, "/v1/changes?after=0").await;
        groups.push(vec![group.news().await, group.news().await, group.news().await, group.news().await]);
    }
    assert!(rows.iter().all(|row| *row == rows[0]), "{rows:#?}");
    assert!(groups.iter().all(|group| *group == groups[0]), "{groups:#?}");
    let causes: Vec<&Value> = rows[0].iter().map(|said| &said.data["cause"]).collect();
    assert_eq!(causes, ["define", "reserve", "batch"]);
    assert_eq!(rows[0][1].data["changes"], json!([{ "seat": "A-2", "status": "held" }]));
    assert_eq!(rows[0][2].data["changes"], json!([{ "seat": "A-2", "status": "booked" }]));
    assert_eq!(rows[0][2].data["totals"], json!({"capacity": 3, "held": 0, "booked": 1, "blocked": 0, "available": 2}));
    assert_eq!(rows[0][2].number("revision"), 4);
    support::millis(&rows[0][2].data["at"]);
    let both = &groups[0][3];
    assert_eq!((both.position, both.number("revision")), (Some(4), 4));
    let events: Vec<(&Value, &Value)> =
        both.data["events"].as_array().unwrap().iter().map(|event| (&event["event"], &event["version"])).collect();
    assert_eq!(events, [(&json!("row"), &json!(3)), (&json!("pool"), &json!(2))]);
    assert_eq!(both.data["events"][1]["changes"][0]["available"], 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_followed_by_what_came_after_it() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    let seats: Vec<Value> = (0..6_000).map(|n| json!({ "id": format!("S-{n}"), "section": "a section" })).collect();
    let body = json!({ "name": "hall", "seats": seats, "pools": [{ "id": "floor", "capacity": 1_000_000 }] });
    cluster.put(1, "/v1/events/hall", &body).await.expect(201);
    cluster.define_pool("other", 5).await;
    for kind in KINDS {
        let mut parts = open(&cluster, 1, kind, "/v1/events/hall/changes?after=0").await;
        let (mut fold, mut pieces) = (Fold::default(), Vec::new());
        while pieces.last().is_none_or(|last: &Said| !last.completes()) {
            let said = parts.news().await;
            assert_eq!(said.number("version"), 1);
            fold.change(&said.data["changes"], &said.data["totals"]);
            pieces.push(said);
        }
        let of: Vec<(u64, u64)> = pieces.iter().map(|said| (said.number("part"), said.number("parts"))).collect();
        assert_eq!(of, [(1, 4), (2, 4), (3, 4), (4, 4)]);
        if kind == Kind::Sse {
            // Only the last moves the position on to which a browser would come back.
            let ids: Vec<Option<u64>> = pieces.iter().map(|said| said.position).collect();
            assert_eq!(ids, [None, None, None, Some(1)]);
        }

        let load = support::load::Load::start(&format!("{kind:?}"), "hall", 4, &[cluster.api(1)]);
        load.more(5, READY).await;
        let mut stream = open(&cluster, 1, kind, "/v1/events/hall/changes?snapshot=true").await;
        load.more(20, READY).await;
        load.finish().await;
        let (version, expected) = state(&cluster, "hall").await;
        let (mut fold, mut pieces, mut position) = (Fold::default(), 0, 0);
        while position < version {
            let said = stream.news().await;
            match said.kind.as_str() {
                "snapshot" => {
                    assert_eq!(position, 0, "a piece after synced");
                    assert_eq!(said.position, None);
                    fold.snapshot(&said);
                    pieces += 1;
                }
                "synced" => {
                    position = said.number("version");
                    assert_eq!(said.position, Some(position));
                }
                "change" => {
                    position += 1;
                    assert_eq!(said.number("version"), position);
                    fold.change(&said.data["changes"], &said.data["totals"]);
                }
                other => panic!("{other} here"),
            }
        }
        fold.totals = Value::Null;
        assert_eq!(fold, expected);
        assert!(pieces > 1, "6,000 seats are more than one piece");
    }
    let mut group = open(&cluster, 1, Kind::Lines, "/v1/changes?snapshot=true").await;
    let mut events: BTreeMap<String, u64> = BTreeMap::new();
    let synced = loop {
        let said = group.news().await;
        if said.kind == "synced" {
            break said.number("revision");
        }
        events.insert(said.data["event"].as_str().unwrap().to_owned(), said.number("revision"));
    };
    assert_eq!(events, BTreeMap::from([("hall".to_owned(), synced), ("other".to_owned(), synced)]));
    sell(&cluster, 1, "other", "o").await;
    assert_eq!(group.news().await.number("revision"), synced + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_merges_and_ends_in_the_newest_state() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    cluster.define_pool("show", 100_000).await;
    sell_many(&cluster, "show", "before", 300).await;
    let mut resumed =
        open(&cluster, 1, Kind::Lines, "/v1/events/show/changes?mode=latest&interval_ms=200&after=5").await;
    let first = resumed.news().await;
    assert_eq!((first.position, first.data["changes"][0]["booked"].as_u64()), (Some(301), Some(300)), "{first:?}");

    let mut stream = open(&cluster, 1, Kind::Sse, "/v1/events/show/changes?mode=latest&interval_ms=200").await;
    let started = Instant::now();
    for n in 0..100 {
        sell(&cluster, 1, "show", &format!("single-{n}")).await;
    }
    let (mut position, mut messages) = (301, 0);
    while position < 401 {
        let said = stream.news().await;
        assert!(said.number("version") > position, "{said:?}");
        position = said.number("version");
        assert_eq!(said.data["changes"][0]["booked"], position - 1);
        assert_eq!(said.data["changes"].as_array().unwrap().len(), 1);
        messages += 1;
    }
    let most = started.elapsed().as_millis() as u64 / 200 + 2;
    assert!(messages <= most, "{messages} messages in {:?}", started.elapsed());

    let mut group = open(&cluster, 1, Kind::Socket, "/v1/changes?mode=latest&interval_ms=100&after=1").await;
    let said = group.news().await;
    assert_eq!(said.number("revision"), 401);
    assert_eq!(said.data["events"][0]["version"], 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_streamed_is_refused_before_it_begins() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    cluster.define_pool("show", 10).await;
    let changes = "/v1/events/show/changes";
    for (path, status, code) in [
        ("/v1/events/none/changes".to_owned(), 404, "event_not_found"),
        (format!("{changes}?after=2"), 422, "invalid"),
        ("/v1/changes?after=2".to_owned(), 422, "invalid"),
        (format!("{changes}?after=1&snapshot=true"), 422, "invalid"),
        (format!("{changes}?after=x"), 400, "malformed"),
        (format!("{changes}?mode=latest&interval_ms=49"), 422, "invalid"),
        (format!("{changes}?mode=latest&interval_ms=60001"), 422, "invalid"),
        (format!("{changes}?mode=some"), 400, "malformed"),
        (format!("{changes}?since=1"), 400, "malformed"),
    ] {
        for kind in KINDS {
            let answer = refused(&cluster, kind, &path).await;
            assert_eq!((answer.status, answer.code().as_deref()), (status, Some(code)), "{kind:?} {path}: {answer}");
        }
    }
    let with = |value: &str, path: &str| {
        Stream::open_with(cluster.api(1), Kind::Sse, Request::get(path).header("last-event-id", value))
    };
    assert_eq!(with("one", changes).await.err().unwrap().unwrap().status, 422);
    let mut resumed = with("0", changes).await.ok().unwrap();
    assert_eq!(resumed.news().await.position, Some(1));
    // A browser that reconnects says how far it has come since the address was made.
    let mut resumed = with("0", &format!("{changes}?after=1")).await.ok().unwrap();
    assert_eq!(resumed.news().await.position, Some(1));
    // A browser that was sent a snapshot and comes back with a position goes on from there.
    let mut resumed = with("0", &format!("{changes}?snapshot=true")).await.ok().unwrap();
    assert_eq!(resumed.news().await.kind, "change");
    // A position that is no longer there gets the snapshot instead.
    let mut anew = with("7", &format!("{changes}?snapshot=true")).await.ok().unwrap();
    assert_eq!(anew.news().await.kind, "snapshot");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_event_ends_its_streams_and_its_next_life_goes_on() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    cluster.define_row("show", 2).await;
    let mut streams = Vec::new();
    for kind in KINDS {
        streams.push(open(&cluster, 1, kind, "/v1/events/show/changes").await);
    }
    cluster.call(1, Request::new("DELETE", "/v1/events/show")).await.expect(200);
    for mut stream in streams {
        let said = stream.news().await;
        assert_eq!((said.position, &said.data["cause"]), (Some(2), &json!("delete")));
        assert_eq!(said.data["changes"][1], json!({ "seat": "A-2", "status": "removed" }));
        assert_eq!(stream.next().await, None);
        if let Some((code, reason)) = &stream.closed {
            assert_eq!((*code, reason.contains("deleted")), (1000, true), "{reason}");
        }
    }
    assert_eq!(refused(&cluster, Kind::Sse, "/v1/events/show/changes?after=2").await.status, 404);
    cluster.define_row("show", 1).await;
    let mut next = open(&cluster, 1, Kind::Lines, "/v1/events/show/changes?after=2").await;
    assert_eq!(next.news().await.position, Some(3));
    let mut before = open(&cluster, 1, Kind::Lines, "/v1/events/show/changes?after=0").await;
    assert_eq!((before.news().await.position, before.news().await.position), (Some(1), Some(2)));
    assert_eq!(before.next().await, None, "its first life ended");
}

/// Memory of a node, in MiB.
fn rss_mb(cluster: &Cluster, id: u64) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", cluster.running[&id].pid())).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() / 256
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_is_told_and_costs_nothing() {
    let _turn = turn().await;
    let cluster = Cluster::with_flags(1, &["--history-changes", "1000"]).await;
    cluster.define_pool("show", 10_000_000).await;
    for kind in KINDS {
        let mut slow = open(&cluster, 1, kind, "/v1/events/show/changes").await;
        assert_eq!(slow.soon().await.kind, "bookmark");
        let before = rss_mb(&cluster, 1);
        // More than the kernel holds for a reader that takes nothing, and more than the node keeps.
        for round in 0..6 {
            sell_many(&cluster, "show", &format!("{kind:?}-{round}"), 10_000).await;
        }
        let grown = rss_mb(&cluster, 1).saturating_sub(before);
        eprintln!("{kind:?}: {grown} MiB more");
        // 10,000 bookings take 3 MB in any case, and everybody pays for the ring.
        assert!(grown < 100, "{grown} MiB for one reader that does not read");
        let mut position = None;
        let lagged = loop {
            let said = slow.news().await;
            match said.kind.as_str() {
                "lagged" => break said,
                _ => {
                    assert!(position.is_none_or(|position| said.number("version") == position + 1), "{said:?}");
                    position = Some(said.number("version"));
                }
            }
        };
        assert_eq!((lagged.position, lagged.number("version")), (position, position.unwrap()));
        assert_eq!(slow.next().await, None, "it ends after lagged");
        assert!(slow.closed.is_none_or(|(code, _)| code == 1013));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_node() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_pool("show", 10).await;
    let mut streams = Vec::new();
    for kind in KINDS {
        streams.push(open(&cluster, 1, kind, "/v1/events/show/changes").await);
    }
    let ended = tokio::spawn(async move {
        for stream in &mut streams {
            while stream.next().await.is_some() {}
        }
        streams
    });
    assert!(cluster.stop(1, STOPPED).await.success());
    let streams = ended.await.unwrap();
    assert_eq!(streams[2].closed.as_ref().map(|(code, _)| *code), Some(1001));
    let retries = &streams[0].retries;
    assert_eq!(retries.len(), 2, "at the start and at the end");
    assert!(retries.iter().all(|ms| (500..3_000).contains(ms)), "{retries:?}");
    let log = std::fs::read_to_string(&cluster.plans[&1].log).unwrap();
    assert!(!log.contains("were cut"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_says_where_it_is() {
    let _turn = turn().await;
    let cluster = Cluster::of(1).await;
    cluster.define_pool("show", 10).await;
    sell(&cluster, 1, "show", "o").await;
    let mut streams = Vec::new();
    for kind in KINDS {
        streams.push((open(&cluster, 1, kind, "/v1/events/show/changes").await, 2));
        streams.push((open(&cluster, 1, kind, "/v1/changes").await, 2));
    }
    for (stream, position) in &mut streams {
        let said = stream.soon().await;
        assert_eq!((said.kind.as_str(), said.position), ("bookmark", Some(*position)));
    }
    let start = Instant::now();
    for (stream, position) in &mut streams {
        let said = stream.soon().await;
        assert_eq!((said.kind.as_str(), said.position), ("bookmark", Some(*position)));
    }
    assert!(start.elapsed() <= Duration::from_secs(5), "{:?}", start.elapsed());
    let text = String::from_utf8(cluster.get(1, "/metrics").await.expect(200).body).unwrap();
    for kind in ["sse", "ndjson", "websocket"] {
        assert!(text.contains(&format!("lastseat_streams_open{{kind=\"{kind}\"}} 2")), "{text}");
    }
    drop(streams);
    sell(&cluster, 1, "show", "p").await;
    eventually("the node sees that they are gone", Duration::from_secs(15), || async {
        let text = String::from_utf8(cluster.get(1, "/metrics").await.expect(200).body).unwrap();
        let open = text.lines().filter(|line| line.starts_with("lastseat_streams_open")).collect::<Vec<_>>();
        if open.iter().all(|line| line.ends_with(" 0")) { Ok(()) } else { Err(open.join("; ")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_made_from_a_snapshot_serves_the_same_positions() {
    let _turn = turn().await;
    let mut cluster = Cluster::of(3).await;
    cluster.define_pool("show", 10_000_000).await;
    sell_many(&cluster, "show", "early", 2_000).await;
    // A new node, after the log that it would need: it is seeded by whatever the leader has.
    cluster.add_plan(4);
    cluster.spawn(4);
    cluster.alive(4).await;
    let leader = cluster.leader().await;
    let join = Request::post("/v1/cluster/members", &cluster.member(4)).header("request-timeout-ms", "30000");
    cluster.call(leader, join).await.fine();
    cluster.ready(4).await;
    for after in [0, 1_000, 1_999] {
        let path = format!("/v1/events/show/changes?after={after}");
        let mut here = open(&cluster, 4, Kind::Lines, &path).await;
        let mut there = open(&cluster, leader, Kind::Sse, &path).await;
        for _ in after..2_001 {
            assert_eq!(here.news().await, there.news().await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_and_the_command_line_come_back_by_themselves() {
    let _turn = turn().await;
    let mut cluster = Cluster::with_flags(3, &["--history-changes", "500"]).await;
    cluster.define_pool("show", 10_000_000).await;
    let urls: Vec<String> = cluster.ids().into_iter().map(|id| format!("http://{}", cluster.api(id))).collect();
    let client = lastseat_client::Client::new(&urls).unwrap();
    let follow = |mut changes: lastseat_client::Changes, upto: u64| {
        tokio::spawn(async move {
            let mut positions = Vec::new();
            while changes.position() < Some(upto) {
                let message = changes.next().await.expect("not deleted").expect("not refused");
                if let lastseat_client::WatchBody::Change(_) = message.body {
                    positions.extend(message.position);
                }
            }
            (positions, changes)
        })
    };
    let event = follow(client.watch("show").after(0).open(), 81);
    let all = follow(client.watch_all().after(0).open(), 81);
    let mut command = support::process::lastseat();
    command.args(["watch", "--event", "show", "--after", "0", "-o", "ndjson", "--server", &urls.join(",")]);
    let out = cluster.plans[&1].log.with_extension("watch");
    let _watching = support::process::Process::spawn(command, &out);
    for n in 0..40 {
        sell(&cluster, cluster.up()[0], "show", &format!("a-{n}")).await;
    }
    let leader = cluster.leader().await;
    cluster.kill(leader);
    for n in 0..40 {
        let body = json!({ "items": [{ "pool": "floor" }], "order": format!("b-{n}") });
        cluster.settle(&Request::post("/v1/events/show/book", &body), &format!("b-{n}")).await.expect(201);
    }
    let expected: Vec<u64> = (1..=81).collect();
    let (positions, mut changes) = event.await.unwrap();
    assert_eq!(positions, expected);
    assert_eq!(all.await.unwrap().0, expected);
    eventually("the command line has seen everything", READY, || async {
        let text = std::fs::read_to_string(&out).unwrap();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let seen: Vec<u64> =
            lines.filter(|line| line["type"] == "change").filter_map(|line| line["position"].as_u64()).collect();
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    // Away for longer than history is kept: it begins anew, and says so.
    cluster.restart(leader).await;
    for round in 0..4 {
        sell_many(&cluster, "show", &format!("c-{round}"), 1_000).await;
    }
    let late = client.watch("show").after(3).open();
    drop(std::mem::replace(&mut changes, late));
    let mut bodies = Vec::new();
    while changes.position() < Some(4_081) {
        bodies.push(changes.next().await.unwrap().unwrap().body);
    }
    assert_eq!(bodies[0], lastseat_client::WatchBody::Reset, "{bodies:?}");
    assert!(matches!(&bodies[1], lastseat_client::WatchBody::Snapshot(piece) if piece.pools[0].booked == 4_080));
    cluster.call(1, Request::new("DELETE", "/v1/events/show?force=true")).await.expect(200);
    while let Some(message) = changes.next().await {
        assert!(!matches!(message.unwrap().body, lastseat_client::WatchBody::Snapshot(_)));
    }
}
