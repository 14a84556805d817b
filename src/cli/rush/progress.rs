//! A bar on stderr while the sale goes on, only if someone looks.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::shop::Shop;

const TICK: Duration = Duration::from_millis(100);

/// Until the sale ends.
pub(super) async fn show(shop: Arc<Shop>, mut selling: watch::Receiver<bool>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let bar = ProgressBar::new(shop.capacity);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} sold, {per_sec}, {elapsed} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    loop {
        bar.set_position(shop.booked_before + shop.booked());
        bar.set_message(format!("{} orders", shop.orders()));
        tokio::select! {
            _ = selling.wait_for(|selling| !selling) => break,
            () = tokio::time::sleep(TICK) => {}
        }
    }
    bar.finish_and_clear();
}
