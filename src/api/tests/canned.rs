//! One inventory in memory where the service would be.
