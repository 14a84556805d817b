//! Work that must not hold up what is urgent: answers to clients, appends, heartbeats.

use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Handle, RuntimeFlavor};

/// How much nicer than the rest of the process a thread in the background is: it gets a third of the processor time
/// that an urgent thread gets while both want it, and all there is while nobody else does. More would starve the
/// persister on a saturated machine.
const NICER: i32 = 5;

/// Lowers the priority of the calling thread, and of the threads it starts from now on, for good.
pub fn step_back() {
    // Refused by some sandboxes: then it is just not nicer.
    let lowered = getpriority_process(None).and_then(|now| setpriority_process(None, (now + NICER).min(19)));
    if let Err(error) = lowered {
        tracing::debug!(%error, "a thread in the background keeps its priority");
    }
}

/// Runs what may take long, or wait long, without holding up the other tasks of this async worker.
pub fn taking_long<R>(work: impl FnOnce() -> R) -> R {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if flavor.is_ok_and(|flavor| flavor == RuntimeFlavor::MultiThread) {
        return tokio::task::block_in_place(work);
    }
    work()
}
