//! A bar on stderr while the sale goes on; a line now and then if that is no terminal.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

use super::shop::Shop;
use crate::cli::output;

const TICK: Duration = Duration::from_millis(100);
/// Between two lines in a log.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Until the sale ends.
pub(super) async fn show(shop: Arc<Shop>, mut selling: watch::Receiver<bool>) {
    if !std::io::stderr().is_terminal() {
        return show_lines(&shop, selling).await;
    }
    let bar = ProgressBar::new(shop.before.capacity);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} sold, {per_sec}, {elapsed} {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    loop {
        bar.set_position(shop.before.booked + shop.booked());
        bar.set_message(format!("{} orders", shop.orders()));
        tokio::select! {
            _ = selling.wait_for(|selling| !selling) => break,
            () = tokio::time::sleep(TICK) => {}
        }
    }
    bar.finish_and_clear();
}

async fn show_lines(shop: &Shop, mut selling: watch::Receiver<bool>) {
    let started = Instant::now();
    loop {
        tokio::select! {
            _ = selling.wait_for(|selling| !selling) => return,
            () = tokio::time::sleep(LINE_EVERY) => {}
        }
        let sold = shop.before.booked + shop.booked();
        let (capacity, orders) = (shop.before.capacity, shop.orders());
        output::complain(&format!("{sold}/{capacity} sold, {orders} orders, {} s", started.elapsed().as_secs()));
    }
}
