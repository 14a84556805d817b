//! The API without a cluster: requests go through the real router, and a canned service answers.

#![allow(clippy::result_large_err, reason = "closures here give the service's own errors, as they are")]

pub(super) mod canned;
mod definitions;
mod headers;
mod problem_table;
mod refusals;
mod rendering;
mod rooms;
mod routing;
mod serving;
mod stories;
