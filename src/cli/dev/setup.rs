//! From running processes to a cluster that sells: health, membership, demo events.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use lastseat_client::{Client, Cluster, NewNode, Outcome, ReadError};

use super::Place;
use super::file::node_log;
use crate::cli::exit::{self, Failure};
use crate::cli::import;

/// How long a fresh cluster may take for each step.
const STEP_DEADLINE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Lines of a node's log shown when it does not come up.
const LOG_TAIL_LINES: usize = 5;
/// Says that the cluster in this folder was formed; its nodes find each other again by themselves.
const FORMED: &str = "formed";

const DEMO: [(&str, &str); 2] =
    [("demo-theatre", include_str!("../demo/theatre.json")), ("demo-festival", include_str!("../demo/festival.json"))];

/// Waits until every process has opened its data folder: until then it answers nothing of the API.
pub(super) async fn healthy(places: &[Place], folder: &Path) -> Result<(), Failure> {
    let until = Instant::now() + STEP_DEADLINE;
    for place in places {
        let client = client(&[place.api()])?;
        while !matches!(client.probe("/v1/cluster", PROBE_TIMEOUT).await, Ok((200, _))) {
            if Instant::now() >= until {
                return Err(not_up(place, folder, "did not come up"));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// Forms the cluster unless it is formed, then waits until every node is ready.
pub(super) async fn form(places: &[Place], folder: &Path) -> Result<(), Failure> {
    let marker = folder.join(FORMED);
    let first = client(&[places[0].api()])?;
    if !marker.exists() {
        if !is_formed(&first).await {
            init(&first, places).await?;
        }
        fs::write(&marker, "").map_err(|error| {
            Failure::failed(format!("cannot write {}: {error}; check the folder", marker.display()))
        })?;
    }
    let until = Instant::now() + STEP_DEADLINE;
    for place in places {
        let client = client(&[place.api()])?;
        while !matches!(client.probe("/readyz", PROBE_TIMEOUT).await, Ok((200, _))) {
            if Instant::now() >= until {
                return Err(not_up(place, folder, "did not become ready"));
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}

/// A run before this one may have formed the cluster and ended before it could note so.
async fn is_formed(first: &Client) -> bool {
    let status: Result<Cluster, ReadError> = first.cluster().stale().deadline(PROBE_TIMEOUT).send().await;
    status.is_ok_and(|cluster| !cluster.nodes.is_empty() && cluster.cluster_id.is_some())
}

async fn init(first: &Client, places: &[Place]) -> Result<(), Failure> {
    let new_node = |place: &Place| NewNode { id: place.id, api: place.api(), peer: place.peer(), region: None };
    let nodes: Vec<NewNode> = places.iter().map(new_node).collect();
    match first.cluster_init(&nodes).deadline(STEP_DEADLINE).send().await {
        Outcome::Applied(_) => Ok(()),
        // The first attempt's answer was lost, and the second finds the work done.
        Outcome::Rejected(problem) | Outcome::NotApplied(problem) if problem.status == 409 => Ok(()),
        Outcome::Unknown { .. } if is_formed(first).await => Ok(()),
        other => exit::applied(other).map(drop),
    }
}

/// Loads the demo events that are not there.
pub(super) async fn demo(places: &[Place]) -> Result<(), Failure> {
    let client = client(&places.iter().map(Place::api).collect::<Vec<_>>())?;
    for (event, text) in DEMO {
        match client.event(event).deadline(STEP_DEADLINE).send().await {
            Ok(_) => continue,
            Err(ReadError::Refused(problem)) if problem.status == 404 => {}
            Err(error) => return exit::answered(Err(error)),
        }
        let definition = import::read(text.as_bytes(), event).expect("the demo events are tested").definition;
        exit::applied(client.define(event, &definition).deadline(STEP_DEADLINE).send().await)?;
    }
    Ok(())
}

fn client(urls: &[String]) -> Result<Client, Failure> {
    Client::new(urls).map_err(|error| Failure::failed(error.to_string()))
}

fn not_up(place: &Place, folder: &Path, what: &str) -> Failure {
    let log = node_log(folder, place.id);
    let text = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n  ");
    Failure::failed(format!(
        "node {} {what} within {} s; the end of its log {}:\n  {tail}",
        place.id,
        STEP_DEADLINE.as_secs(),
        log.display()
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_events_can_be_imported() {
        let [theatre, festival] = DEMO.map(|(event, text)| import::read(text.as_bytes(), event).unwrap().definition);
        assert!(theatre.seats.len() >= 190, "{}", theatre.seats.len());
        assert!(theatre.seats.iter().all(|seat| seat.x.is_some() && seat.y.is_some()));
        let sections: std::collections::BTreeSet<_> = theatre.seats.iter().map(|seat| seat.section.clone()).collect();
        assert_eq!(sections.len(), 3);
        assert!(festival.seats.is_empty() && festival.pools.len() == 5);
    }
}
