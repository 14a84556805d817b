//! The API without a cluster.
pub(super) mod canned;
