//! Starts and stops the workers of this node while it leads, and tells the replicated state what they did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::client::Line;
use super::report::Report;
use super::worker::Worker;
use crate::domain::codec;
use crate::domain::command::ProposalBody;
use crate::domain::id::WebhookId;
use crate::domain::webhook::{LiveSecret, Webhook, WebhookConfig, WebhookProgress, WebhookState};
use crate::service::Service;
use crate::service::batcher::JobResult;
use crate::service::limits::{ENTRY_BYTES_MAX, REPORT_EVERY, TICK_EVERY};

/// What a worker was started with. Another plan needs another worker.
#[derive(PartialEq, Eq)]
struct Plan {
    config: WebhookConfig,
    secrets: Vec<LiveSecret>,
    epoch: u64,
    is_on: bool,
}

struct Running {
    plan: Plan,
    report: Arc<Mutex<Report>>,
    /// None: paused or disabled. Stopped when dropped.
    worker: Option<AbortOnDropHandle<()>>,
}

/// The workers of one term of leadership.
#[derive(Default)]
struct Workers {
    /// Counter of the registry when they were last compared with it.
    seen: Option<u64>,
    running: BTreeMap<WebhookId, Running>,
}

impl Service {
    /// Runs as long as the node: delivers while this node leads, and stops everything as soon as it does not.
    pub(in crate::service) async fn deliver_webhooks(self) {
        let mut every = interval(TICK_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut workers, mut term) = (Workers::default(), None);
        let mut measured = Instant::now();
        loop {
            every.tick().await;
            let view = self.raft.view();
            if !view.is_leader || self.admission.draining() {
                if term.take().is_some() {
                    workers.stop();
                    // A leader that stops tells the next one how far it was; one that was deposed cannot.
                    if view.is_leader {
                        self.report(&workers, Duration::ZERO).await;
                    }
                    workers = Workers::default();
                    self.measure(&workers, false);
                }
                continue;
            }
            if term != Some(view.term) {
                (workers, term) = (Workers::default(), Some(view.term));
            }
            workers.restart_the_dead();
            workers.compare(&self);
            self.report(&workers, REPORT_EVERY).await;
            if measured.elapsed() >= REPORT_EVERY {
                measured = Instant::now();
                self.measure(&workers, true);
            }
        }
    }

    /// Tells what is worth telling after this long, in entries of the usual size.
    async fn report(&self, workers: &Workers, every: Duration) {
        let mut list: Vec<WebhookProgress> = Vec::new();
        let mut bytes = 0;
        for (id, running) in &workers.running {
            let Some(progress) = running.due(id, every) else { continue };
            let size = codec::encoded_len(&progress);
            if !list.is_empty() && bytes + size > ENTRY_BYTES_MAX {
                self.tell(workers, std::mem::take(&mut list)).await;
                bytes = 0;
            }
            bytes += size;
            list.push(progress);
        }
        if !list.is_empty() {
            self.tell(workers, list).await;
        }
    }

    async fn tell(&self, workers: &Workers, list: Vec<WebhookProgress>) {
        let Ok(queued) = self.batcher.entry(ProposalBody::Webhooks(list.clone())) else { return };
        match timeout(super::super::DEFAULT_TIMEOUT, queued).await {
            Ok(Ok(JobResult::Applied)) => {
                for progress in &list {
                    if let Some(running) = workers.running.get(&progress.webhook) {
                        running.report.lock().told(progress);
                    }
                }
            }
            // Not led any more, or lost: the next leader goes on from what is known, or this one says it again.
            Ok(Ok(JobResult::Decided(_) | JobResult::NotLeader) | Err(_)) | Err(_) => {
                tracing::debug!("a report about webhooks was not applied");
            }
        }
    }

    /// Gauges of this node; all zero when it does not lead.
    fn measure(&self, workers: &Workers, leads: bool) {
        let (revision, webhooks) = self.raft.inspect(|inventory| (inventory.revision(), inventory.webhooks_stored()));
        let webhooks = if leads { webhooks } else { Vec::new() };
        for (state, name) in [
            (WebhookState::Active, "active"),
            (WebhookState::Paused, "paused"),
            (WebhookState::Failing, "failing"),
            (WebhookState::Disabled, "disabled"),
        ] {
            let these = webhooks.iter().filter(|webhook| webhook.state() == state);
            let lag = |webhook: &Arc<Webhook>| {
                let cursor = workers.running.get(&webhook.id).map(|running| running.report.lock().cursor());
                revision.0.saturating_sub(cursor.unwrap_or(webhook.cursor).0)
            };
            metrics::gauge!("lastseat_webhooks", "state" => name).set(these.clone().count() as f64);
            let longest = these.map(lag).max().unwrap_or(0);
            metrics::gauge!("lastseat_webhook_lag_revisions", "state" => name).set(longest as f64);
        }
        let unreported: usize = workers.running.values().map(|running| running.report.lock().unreported()).sum();
        metrics::gauge!("lastseat_webhook_unreported_attempts").set(unreported as f64);
    }
}

impl Running {
    fn due(&self, id: &WebhookId, every: Duration) -> Option<WebhookProgress> {
        let report = self.report.lock();
        report.is_due(every).then(|| report.progress(id))
    }
}

impl Workers {
    /// Stops all work; what it came to stays to be told.
    fn stop(&mut self) {
        self.running.values_mut().for_each(|running| running.worker = None);
    }

    /// A worker never ends by itself: one that did has a bug, which its panic has told. The others go on.
    fn restart_the_dead(&mut self) {
        let dead = |running: &Running| running.worker.as_ref().is_some_and(AbortOnDropHandle::is_finished);
        for (id, running) in &mut self.running {
            if dead(running) {
                tracing::error!(webhook = %id, "the work for a webhook ended by itself; it begins again");
                (running.worker, running.plan.is_on) = (None, false);
                self.seen = None;
            }
        }
    }

    /// Brings the workers in line with the registry, if that has changed.
    fn compare(&mut self, service: &Service) {
        let changes = service.raft.inspect(|inventory| inventory.webhooks_changes());
        if self.seen == Some(changes) {
            return;
        }
        let stored = service.raft.inspect(|inventory| inventory.webhooks_stored());
        self.seen = Some(changes);
        let mut before = std::mem::take(&mut self.running);
        for webhook in stored {
            let plan = Plan {
                config: webhook.config.clone(),
                secrets: webhook.secrets.clone(),
                epoch: webhook.epoch,
                is_on: webhook.is_on(),
            };
            let running = match before.remove(&webhook.id) {
                Some(running) if running.plan == plan => running,
                other => start(service, &webhook, plan, other),
            };
            self.running.insert(webhook.id.clone(), running);
        }
    }
}

/// Work for a webhook; the work before it is stopped first.
fn start(service: &Service, webhook: &Arc<Webhook>, plan: Plan, before: Option<Running>) -> Running {
    let before = before.map(|running| running.report);
    let report = Report::new(webhook, before.as_ref().map(|report| report.lock()).as_deref());
    let report = Arc::new(Mutex::new(report));
    let worker = plan.is_on.then(|| {
        let worker = Worker {
            service: service.clone(),
            webhook: Arc::clone(webhook),
            report: Arc::clone(&report),
            line: Line::default(),
            failures: webhook.trouble.map_or(0, |trouble| trouble.attempts),
        };
        AbortOnDropHandle::new(tokio::spawn(worker.run()))
    });
    Running { plan, report, worker }
}
