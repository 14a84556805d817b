//! The console, in a real browser, against the cluster that `lastseat dev` makes.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use support::browser::Browser;
use support::dev::Dev;
use support::settings::READY;
use support::{Connection, Request, eventually, turn};

fn api(dev: &Dev, id: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], dev.base + id))
}

fn page(dev: &Dev, id: u16, file: &str) -> String {
    format!("http://{}/console/{file}", api(dev, id))
}

async fn get(addr: SocketAddr, path: &str) -> Value {
    Connection::to(addr).send(&Request::get(path)).await.unwrap().expect(200).json()
}

/// Chooses this seat in the page's list of seats, as a keyboard or a screen reader would find it.
async fn choose(browser: &Browser, section: &str, row: &str, seat: &str) {
    let open = |test: &str, text: &str| {
        format!(
            "const item = [...document.querySelectorAll('[data-test={test}]')].find(one => one.firstElementChild.textContent.trim().endsWith({text:?}));
             if (item && item.getAttribute('aria-expanded') === 'false') item.firstElementChild.click();
             return !!item;"
        )
    };
    browser.until("document.querySelector('[data-test=list-section]')").await;
    assert_eq!(browser.eval(&open("list-section", section)).await, true, "{}", browser.text("[data-test=list]").await);
    browser.until("document.querySelector('[data-test=list-row]')").await;
    assert_eq!(browser.eval(&open("list-row", row)).await, true, "{}", browser.text("[data-test=list]").await);
    browser.click_css(&format!("[data-test=list-seat][data-id='{seat}']")).await;
}

const LIVE: &str = "document.querySelector('connection-state').dataset.state === 'live'";
const NO_ALARM: &str = "document.querySelector('[data-test=alarm]').hidden";

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_want_the_same_two_seats_and_one_wins() {
    let _turn = turn().await;
    let dev = Dev::start().await;
    let seats = get(api(&dev, 1), "/v1/events/demo-theatre/seats").await;
    let first = &seats["seats"][0];
    let text = |name: &str| first[name].as_str().unwrap().to_owned();
    let (section, row) = (text("section"), text("row"));
    let wanted = [seats["seats"][0]["id"].as_str().unwrap(), seats["seats"][1]["id"].as_str().unwrap()];
    let tabs = [Browser::start().await, Browser::start().await];
    for (tab, id) in tabs.iter().zip([1, 2]) {
        tab.open(&page(&dev, id, "buy.html?event=demo-theatre")).await;
        tab.until(LIVE).await;
        for seat in wanted {
            choose(tab, &section, &row, seat).await;
        }
        tab.until("!document.querySelector('[data-test=reserve]').disabled").await;
    }
    // At once, as far as two browsers go.
    tokio::join!(tabs[0].click("reserve"), tabs[1].click("reserve"));
    for tab in &tabs {
        tab.until(
            "document.querySelector('[data-test=buyer]').dataset.stage === 'held' \
             || document.querySelectorAll('[data-test=message-line]').length > 0",
        )
        .await;
    }
    let mut stages = Vec::new();
    for tab in &tabs {
        stages.push(tab.eval("return document.querySelector('[data-test=buyer]').dataset.stage").await);
    }
    let winner = stages.iter().position(|stage| stage == "held").expect("one of them has the seats");
    let loser = &tabs[1 - winner];
    assert_eq!(stages[1 - winner], "choosing", "only one can have them: {stages:?}");
    let why = loser.text("[data-test=message]").await;
    assert!(wanted.iter().all(|seat| why.contains(seat)), "the other is told which seats are gone: {why}");

    // Both maps show the same, and what the server says.
    for tab in &tabs {
        tab.until("document.querySelector('[data-test=count-held]').textContent.trim() === '2'").await;
        tab.until(NO_ALARM).await;
    }
    tabs[winner].click("book").await;
    tabs[winner].until("document.querySelector('[data-test=buyer]').dataset.stage === 'booked'").await;
    for tab in &tabs {
        tab.until("document.querySelector('[data-test=count-booked]').textContent.trim() === '2'").await;
    }
    let audit = get(api(&dev, 3), "/v1/events/demo-theatre/audit").await;
    assert_eq!((&audit["booked"], &audit["held"], &audit["oversold"]), (&json!(2), &json!(0), &json!(0)));
    for tab in tabs {
        tab.close().await;
    }
}

/// Sells units of the demo festival until told to stop; gives how many.
async fn sell(addrs: Vec<SocketAddr>, stop: Arc<AtomicBool>) -> u64 {
    let mut sold = 0;
    while !stop.load(Ordering::Relaxed) {
        let body =
            json!({ "items": [{ "pool": "saturday" }], "order": format!("o-{sold}"), "customer": format!("c-{sold}") });
        let request = Request::post("/v1/events/demo-festival/book", &body).key(&format!("k-{sold}"));
        let mut turn = 0;
        eventually("the booking becomes definite", READY, || {
            let addr = addrs[turn % addrs.len()];
            turn += 1;
            let request = &request;
            async move {
                match Connection::to(addr).timeout(Duration::from_secs(2)).send(request).await {
                    Ok(answer) if answer.status == 201 => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        sold += 1;
    }
    sold
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_killed_from_the_page_costs_the_page_nothing() {
    let _turn = turn().await;
    let dev = Dev::start().await;
    let leader = get(api(&dev, 1), "/v1/cluster").await["leader"].as_u64().unwrap();
    let leader = u16::try_from(leader).unwrap();
    // Both pages come from the node that is going to be killed: the worst case.
    let (cluster, event) = (Browser::start().await, Browser::start().await);
    cluster.open(&page(&dev, leader, "")).await;
    event.open(&page(&dev, leader, "event.html?event=demo-festival")).await;
    for tab in [&cluster, &event] {
        tab.until(LIVE).await;
        tab.eval("window.stillTheSamePage = true").await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let selling = tokio::spawn(sell((1..=3).map(|id| api(&dev, id)).collect(), stop.clone()));
    event.until("Number(document.querySelector('[data-test=version]').textContent.replace(/\\D/g, '')) > 3").await;
    let killed = dev.pids();
    cluster.click_css(&format!("[data-test=node][data-id='{leader}'] [data-test=node-kill]")).await;
    eventually("the leader was killed and is back", READY, || async {
        let now = dev.pids_if_all_run();
        match now {
            Some(pids) if pids != killed => Ok(()),
            other => Err(format!("{killed:?} → {other:?}")),
        }
    })
    .await;
    for tab in [&cluster, &event] {
        tab.until(LIVE).await;
    }
    stop.store(true, Ordering::Relaxed);
    let sold = selling.await.unwrap();
    let state = get(api(&dev, 1), "/v1/events/demo-festival").await;
    let version = state["version"].as_u64().unwrap();
    event
        .until(&format!(
            "Number(document.querySelector('[data-test=version]').textContent.replace(/\\D/g, '')) === {version}"
        ))
        .await;
    event
        .until(&format!(
            "Number(document.querySelector('[data-test=total-booked]').textContent.replace(/\\D/g, '')) === {sold}"
        ))
        .await;
    for tab in [&cluster, &event] {
        assert_eq!(tab.eval("return window.stillTheSamePage").await, true, "the page was loaded anew");
        tab.until(NO_ALARM).await;
    }
    cluster.until("document.querySelector('[data-test=meter]').dataset.state === 'good'").await;
    cluster.close().await;
    event.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_fit_any_width_and_ask_nobody_else() {
    let _turn = turn().await;
    let dev = Dev::start().await;
    let browser = Browser::start().await;
    let files = [
        ("cluster", ""),
        ("event-seats", "event.html?event=demo-theatre"),
        ("event-pools", "event.html?event=demo-festival"),
        ("buy-seats", "buy.html?event=demo-theatre"),
        ("buy-pools", "buy.html?event=demo-festival"),
    ];
    let shots = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&shots).unwrap();
    for (name, file) in files {
        for (width, height) in [(1280, 800), (360, 740)] {
            browser.client.set_window_size(width, height).await.unwrap();
            browser.open(&page(&dev, 1, file)).await;
            browser.until(LIVE).await;
            let wide = browser.eval("return [document.documentElement.scrollWidth, window.innerWidth]").await;
            assert!(wide[0].as_u64() <= wide[1].as_u64(), "{name} scrolls sideways at {width}: {wide}");
            let png = browser.client.screenshot().await.unwrap();
            std::fs::write(shots.join(format!("{name}-{width}.png")), png).unwrap();
        }
        let own = format!("http://{}/", api(&dev, 1));
        let asked = browser.eval("return performance.getEntriesByType('resource').map(one => one.name)").await;
        let foreign: Vec<&Value> =
            asked.as_array().unwrap().iter().filter(|url| !url.as_str().unwrap().starts_with(&own)).collect();
        assert!(foreign.is_empty(), "{name} asked {foreign:?}");
        // Another node of the same cluster is foreign too: the policy must stop the request before it leaves.
        let script = format!(
            "const done = arguments[arguments.length - 1];
             document.addEventListener('securitypolicyviolation', event => done(event.effectiveDirective), {{ once: true }});
             fetch('http://{}/livez').then(() => done('it went through'), () => {{}});",
            api(&dev, 2)
        );
        let stopped = browser.client.execute_async(&script, Vec::new()).await.unwrap();
        assert_eq!(stopped, "connect-src", "{name}");
    }
    browser.close().await;
}
