//! A service that answers what a test tells it to, and a way to ask the router.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::Value;
use tower::ServiceExt;

use crate::api::backend::Backend;
use crate::api::{ApiOptions, routes};
use crate::domain::change::ChangeSet;
use crate::domain::command::{Command, Fingerprint, KeyMaker, Proposal, ProposalBody};
use crate::domain::id::{Key, Token};
use crate::domain::inventory::Inventory;
use crate::domain::outcome::{Answer, Decision, Outcome, Verdict};
use crate::domain::value::{Millis, Revision, Version};
use crate::raft::{MembershipError, NewMember};
use crate::service::{
    BatchLine, ClusterStatus, Context, NodeFacts, NotDecided, ReadError, ReadOptions, ReadPermit, Readiness,
    ServiceError, Submitted, SubmittedBatch, check,
};
use crate::storage::state::StateError;
use crate::watch::{History, Hub, Retention};

type AnswerCommand =
    dyn Fn(&Context, &Command, &Mutex<Inventory>) -> Result<(Answer, bool), ServiceError> + Send + Sync;

pub(crate) struct Canned {
    inventory: Mutex<Inventory>,
    answer: Box<AnswerCommand>,
    hub: Arc<Hub>,
}

/// Nothing was ever persisted.
struct NoHistory;

impl History for NoHistory {
    fn oldest(&self) -> u64 {
        1
    }

    fn read(&self, _: u64, _: usize) -> Result<Vec<ChangeSet>, StateError> {
        Ok(Vec::new())
    }

    fn may_forget_before(&self, _: u64) {}
}

impl Canned {
    pub(in crate::api) fn submit(&self, context: Context, command: Command) -> Result<Submitted, NotDecided> {
        if let Err(rejection) = check(&command) {
            return Err(NotDecided { key: context.key, why: ServiceError::Refused(rejection) });
        }
        let key = context.key.clone().unwrap_or_else(|| Key::parse("made-here").expect("a valid key"));
        match (self.answer)(&context, &command, &self.inventory) {
            Ok((answer, replayed)) => Ok(Submitted { key, answer, replayed }),
            Err(why) => Err(NotDecided { key: Some(key), why }),
        }
    }

    pub(in crate::api) fn submit_batch(
        &self,
        context: Context,
        _: Vec<BatchLine>,
    ) -> Result<SubmittedBatch, NotDecided> {
        let key = context.key.unwrap_or_else(|| Key::parse("made-here").expect("a valid key"));
        Ok(SubmittedBatch { key, answers: Vec::new(), replayed: false })
    }

    pub(in crate::api) fn read(&self, options: ReadOptions) -> Result<ReadPermit, ReadError> {
        match options.min_revision {
            Some(1..) => Err(ReadError::Timeout),
            _ => Ok(ReadPermit { staleness_ms: Some(-1) }),
        }
    }

    pub(in crate::api) fn inspect<R>(&self, look: impl FnOnce(&Inventory) -> R) -> R {
        look(&self.inventory.lock())
    }

    pub(in crate::api) fn facts(&self) -> NodeFacts {
        NodeFacts { revision: 7, node_id: 2, leader_api: Some("http://leader:7400".into()) }
    }

    pub(in crate::api) fn cluster(&self, _: Instant) -> ClusterStatus {
        ClusterStatus { cluster_id: None, leader: Some(1), term: 3, revision: 7, nodes: Vec::new() }
    }

    pub(in crate::api) fn readiness(&self) -> Readiness {
        Readiness { checks: vec![("joined", Ok("yes".into())), ("leader", Err("none is known".into()))] }
    }

    pub(in crate::api) fn init_cluster(&self, _: Vec<NewMember>) -> Result<uuid::Uuid, MembershipError> {
        Ok(uuid::Uuid::nil())
    }

    pub(in crate::api) fn add_member(&self, _: NewMember, _: Instant) -> Result<(), MembershipError> {
        Err(MembershipError::Refused("Node 4 is a member already; take another id.".into()))
    }

    pub(in crate::api) fn remove_member(&self, _: u64, _: Instant) -> Result<(), MembershipError> {
        Err(MembershipError::Failed("No answer from the leader".into()))
    }

    pub(in crate::api) fn transfer_leader(&self, _: Option<u64>, _: Instant) -> Result<(), MembershipError> {
        Ok(())
    }

    pub(in crate::api) fn refresh_metrics(&self) {}

    pub(in crate::api) fn hub(&self) -> Arc<Hub> {
        Arc::clone(&self.hub)
    }
}

/// An answer at revision 5 and version 3.
pub(super) fn answer(verdict: Verdict) -> Answer {
    Answer { revision: Revision(5), version: Some(Version(3)), decided_at: Millis(1_700_000_000_123), verdict }
}

/// A router whose service must not be asked to do anything.
pub(in crate::api) fn unreached() -> Router {
    router(|_, command| panic!("the service was asked for {command:?}"))
}

/// A router whose service voids every key.
pub(super) fn voiding() -> Router {
    router(|_, _| Ok((answer(Verdict::Applied(Outcome::Voided)), false)))
}

pub(super) fn router(
    answer: impl Fn(&Context, &Command) -> Result<(Answer, bool), ServiceError> + Send + Sync + 'static,
) -> Router {
    build(Box::new(move |context, command, _| answer(context, command)))
}

/// A router over one inventory in memory: what it is told is applied, at the second that the number of the command says.
pub(super) fn applying() -> Router {
    let count = std::sync::atomic::AtomicU64::new(0);
    build(Box::new(move |context, command, inventory| {
        let n = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let name = |what: &str| format!("{what}-{n}");
        let request = crate::domain::command::Request {
            key: context.key.clone().unwrap_or_else(|| Key::parse(&name("auto")).expect("a valid key")),
            key_made_by: KeyMaker::Client,
            fingerprint: Fingerprint(u128::from(blake3::hash(format!("{command:?}").as_bytes()).as_bytes()[0])),
            not_after: context.not_after,
            if_match: context.if_match,
            fresh_tokens: vec![Token::parse(&name("t")).expect("a valid token")],
            command: command.clone(),
        };
        let stamp = Millis(1_700_000_000_000 + n * 1_000);
        let mut applied = inventory.lock().apply(&Proposal { stamp, body: ProposalBody::Requests(vec![request]) });
        match applied.decisions.pop().expect("one request has one decision") {
            Decision::Fresh(answer) => Ok((answer, false)),
            Decision::Replayed(answer) => Ok((answer, true)),
            Decision::KeyReused => Err(ServiceError::KeyReused),
            Decision::StagingLost => panic!("nothing is staged here"),
        }
    }))
}

fn build(answer: Box<AnswerCommand>) -> Router {
    let hub = Hub::new(Arc::new(NoHistory), 0, Retention::default());
    hub.index().expect("there is nothing to read");
    let canned = Canned { inventory: Mutex::new(Inventory::new()), answer, hub };
    let options = ApiOptions { own_api: Some("http://me:7400".into()), ..ApiOptions::default() };
    routes::build(Backend::Canned(Box::new(canned)), options)
}

/// What came back.
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Got {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {:?}", self.text))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("headers here are ASCII"))
    }

    /// `(status, code)`, after a look at everything else a problem must have.
    pub(super) fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        let body = self.json();
        assert_eq!(body["status"], self.status, "{body}");
        assert_eq!(body["request_id"].as_str(), self.header("request-id"), "{body}");
        for field in ["type", "title", "detail", "code", "outcome", "retryable", "conflicts"] {
            assert!(body.get(field).is_some(), "no {field} in {body}");
        }
        let detail = body["detail"].as_str().expect("detail is a text");
        assert!(detail.ends_with('.') && detail.contains(' '), "no sentence: {detail}");
        (self.status, body["code"].as_str().expect("code is a text").to_owned())
    }

    pub(super) fn detail(&self) -> String {
        self.json()["detail"].as_str().expect("detail is a text").to_owned()
    }
}

pub(super) async fn ask(router: &Router, request: Request<Body>) -> Got {
    let response = router.clone().oneshot(request).await.expect("a router cannot fail");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body in memory").to_bytes();
    Got { status: parts.status.as_u16(), headers: parts.headers, text: String::from_utf8_lossy(&bytes).into_owned() }
}

pub(super) async fn send(router: &Router, method: &str, path: &str, body: impl Into<Body>) -> Got {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    ask(router, request.body(body.into()).expect("a valid request")).await
}

pub(super) async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Got {
    send(router, "POST", path, body).await
}

pub(super) async fn get(router: &Router, path: &str) -> Got {
    ask(router, Request::get(path).body(Body::empty()).expect("a valid request")).await
}

/// Asks with one header.
pub(super) async fn with(router: &Router, method: &str, path: &str, name: &str, value: &str) -> Got {
    let request = Request::builder().method(method).uri(path).header(name, value);
    ask(router, request.body(Body::empty()).expect("a valid request")).await
}
