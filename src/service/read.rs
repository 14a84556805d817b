//! When a read may look at the state.

use std::time::Instant;

use tokio::time::timeout_at;

use super::limits::RETRY_AFTER_NO_LEADER;
use super::{Consistency, NoLeader, ReadError, ReadOptions, ReadPermit, Service};
use crate::raft::BarrierError;

impl Service {
    /// Waits until a read with these options may look at the state.
    pub async fn read(&self, options: ReadOptions) -> Result<ReadPermit, ReadError> {
        let staleness_ms = match options.consistency {
            Consistency::Linearizable => {
                self.raft.read_barrier(options.deadline).await.map_err(|failed| match failed {
                    BarrierError::NoLeader => no_leader(self.why_no_leader()),
                    BarrierError::Recovering => no_leader(NoLeader::Recovering),
                    BarrierError::Removed => no_leader(NoLeader::Removed),
                    BarrierError::Timeout => ReadError::Timeout,
                })?;
                None
            }
            Consistency::Stale => {
                let view = self.raft.view();
                if view.removed {
                    return Err(no_leader(NoLeader::Removed));
                }
                if !view.recovered {
                    return Err(no_leader(NoLeader::Recovering));
                }
                let age = self.raft.staleness_ms().and_then(|ms| i64::try_from(ms).ok());
                Some(age.unwrap_or(-1))
            }
        };
        if let Some(revision) = options.min_revision {
            self.wait_for_revision(revision, options.deadline).await?;
        }
        Ok(ReadPermit { staleness_ms })
    }

    async fn wait_for_revision(&self, revision: u64, deadline: Instant) -> Result<(), ReadError> {
        let mut revisions = self.raft.revisions();
        let reached = revisions.wait_for(|applied| *applied >= revision);
        match timeout_at(deadline.into(), reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(no_leader(NoLeader::NoneKnown)),
            Err(_) if self.raft.view().leader.is_none() => Err(no_leader(NoLeader::NoneKnown)),
            Err(_) => Err(ReadError::Timeout),
        }
    }
}

fn no_leader(why: NoLeader) -> ReadError {
    ReadError::NoLeader { retry_after_ms: RETRY_AFTER_NO_LEADER.as_millis().try_into().expect("half a second"), why }
}
