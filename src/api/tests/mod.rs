//! The API without a cluster: requests go through the real router, and a canned service answers.

pub(super) mod canned;
mod definitions;
mod headers;
mod problem_table;
mod refusals;
mod rendering;
mod routing;
mod serving;
mod stories;
