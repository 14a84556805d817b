//! One buyer: reserves 1 to a few units, books them, and ends with them, or with a definite "sold out".

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lastseat_client::{Book, Call, Hold, Item, Order, Outcome, Problem, Reserve};
use serde::de::DeserializeOwned;

use super::shop::{Left, Shop, Target};
use crate::service::stamp::fresh_uuid;

/// How long one request is pursued before its buyer looks around again, with the same key.
const PATIENCE: Duration = Duration::from_secs(20);
/// A buyer gives up when nobody has bought anything for this long.
const STANDSTILL: Duration = Duration::from_secs(120);
/// Between two looks of a buyer who waits for what others hold.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How it ended for a buyer in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    Bought {
        units: u64,
    },
    ToldSoldOut,
    /// The answer stayed unknown, however often it was asked for.
    Unknown(String),
    /// Refused for a reason that has nothing to do with what is left, or not served at all.
    Failed(String),
}

/// One purchase that did not come about.
enum Refused {
    /// These units are not to be had; fewer may be.
    TooFew {
        available: Option<u64>,
    },
    /// The hold was lost before it was booked; try anew.
    Lost,
    /// This request certainly never takes effect; try it anew.
    Voided,
    End(Ending),
}

pub(super) struct Buyer {
    shop: Arc<Shop>,
    number: u32,
    round: u32,
    /// Purchases tried, for names of their own.
    attempt: u32,
}

impl Buyer {
    pub(super) fn new(shop: Arc<Shop>, number: u32, round: u32) -> Self {
        Self { shop, number, round, attempt: 0 }
    }

    pub(super) async fn run(mut self) -> Ending {
        let shop = self.shop.clone();
        let mut told = false;
        // Every target in turn until one sells, or all are sold out. One who comes when all is known to be gone asks
        // once all the same: to be told.
        while let Some(target) = shop.open_target() {
            match self.buy(target).await {
                Some(ending) => return ending,
                None => told = true,
            }
        }
        if told { Ending::ToldSoldOut } else { self.ask_once().await }
    }

    /// Buys of one target. `None`: told that it is sold out.
    async fn buy(&mut self, target: &Target) -> Option<Ending> {
        let mut quantity = 1 + u64::from(self.random()) % self.shop.most;
        loop {
            match self.purchase(target, quantity).await {
                Ok(units) => return Some(Ending::Bought { units }),
                Err(Refused::End(ending)) => return Some(ending),
                Err(Refused::Lost | Refused::Voided) => {}
                Err(Refused::TooFew { available }) if quantity > 1 => {
                    quantity = available.unwrap_or(u64::MAX).clamp(1, quantity - 1);
                }
                Err(Refused::TooFew { .. }) => match self.wait_for_units(target).await {
                    Ok(Left::Nothing) => return None,
                    Ok(Left::Free | Left::OnlyHeld) => {}
                    Err(failed) => return Some(failed),
                },
            }
            if self.shop.idle() > STANDSTILL {
                return Some(standstill());
            }
        }
    }

    /// Not even one unit was to be had: waits until one is, or until it is certain that there never will be.
    async fn wait_for_units(&self, target: &Target) -> Result<Left, Ending> {
        loop {
            match self.shop.look(target).await {
                Ok(Left::OnlyHeld) | Err(_) if self.shop.idle() > STANDSTILL => return Err(standstill()),
                Ok(Left::OnlyHeld) | Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
                Ok(left @ (Left::Nothing | Left::Free)) => return Ok(left),
            }
        }
    }

    /// All is known to be sold; the server has to say so to this buyer as well.
    async fn ask_once(&mut self) -> Ending {
        let shop = self.shop.clone();
        let Some(target) = shop.any_target() else { return Ending::ToldSoldOut };
        loop {
            match self.purchase(target, 1).await {
                Ok(units) => return Ending::Bought { units },
                Err(Refused::TooFew { .. }) => return Ending::ToldSoldOut,
                Err(Refused::End(ending)) => return ending,
                Err(Refused::Lost | Refused::Voided) => {}
            }
        }
    }

    /// Reserve, then book. Each under one key until its answer is definite.
    async fn purchase(&mut self, target: &Target, quantity: u64) -> Result<u64, Refused> {
        self.attempt += 1;
        let shop = self.shop.clone();
        let _under_way = shop.under_way();
        let name = format!("rush-{}-{}-{}-{}", self.shop.run, self.number, self.round, self.attempt);
        let wish = match &target.pool {
            Some(pool) => Reserve::pool(pool, quantity),
            // A single seat needs no neighbour: take any.
            None if quantity == 1 => Reserve::best(1).scattered(),
            None => Reserve::best(quantity),
        };
        let client = self.shop.client().clone();
        let reserve = client.reserve(&self.shop.event, wish.customer(&name));
        let hold: Hold = self.definite(reserve).await?;
        tokio::time::sleep(self.shop.paying.mul_f64(f64::from(self.random()) / f64::from(u32::MAX >> 1))).await;
        let order: Order = loop {
            match self.definite(client.book(&self.shop.event, Book::hold(&hold.token, &name))).await {
                // Certainly not booked, and the hold still lives: left alone it would keep its units from everyone.
                Err(Refused::Voided) => {}
                other => break other?,
            }
        };
        let units = order.items.iter().map(Item::units).sum();
        self.shop.note_booked(units);
        Ok(units)
    }

    /// Pursues a command under its key until it is definite, or nothing moves any more.
    async fn definite<T: DeserializeOwned>(&self, call: Call<T>) -> Result<T, Refused> {
        let mut call = call.deadline(PATIENCE);
        loop {
            let outcome = {
                let _turn = self.shop.requests.acquire().await.expect("the semaphore is never closed");
                call.resolve().await
            };
            let stuck = self.shop.idle() > STANDSTILL;
            match outcome {
                Outcome::Applied(value) => return Ok(value),
                Outcome::Rejected(problem) => return Err(judge(&problem)),
                Outcome::NotApplied(problem) if !matches!(problem.status, 0 | 429 | 503) => {
                    return Err(judge(&problem));
                }
                Outcome::NotApplied(problem) if stuck => {
                    return Err(Refused::End(Ending::Failed(format!("not served: {problem}"))));
                }
                Outcome::Unknown { key, detail } if stuck => {
                    return Err(Refused::End(Ending::Unknown(format!("key {key}: {detail}"))));
                }
                Outcome::NotApplied(_) | Outcome::Unknown { .. } => {
                    self.shop.retries.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    fn random(&self) -> u32 {
        u32::try_from(fresh_uuid().as_u128() & 0x7fff_ffff).expect("31 bits fit")
    }
}

fn standstill() -> Ending {
    let waited = STANDSTILL.as_secs();
    Ending::Failed(format!("nobody bought anything for {waited} s, but units are left"))
}

/// What a definite refusal means to a buyer.
fn judge(problem: &Problem) -> Refused {
    match problem.code.as_str() {
        "insufficient" | "not_contiguous" | "seat_held" | "seat_booked" => {
            Refused::TooFew { available: problem.conflicts.iter().filter_map(|conflict| conflict.available).min() }
        }
        "hold_expired" | "hold_not_found" => Refused::Lost,
        "voided" | "deadline_passed" => Refused::Voided,
        _ => Refused::End(Ending::Failed(format!("refused: {problem}"))),
    }
}

#[cfg(test)]
mod tests {
    use lastseat_client::Conflict;

    use super::*;

    fn problem(code: &str, available: Option<u64>) -> Problem {
        let conflicts = available.map(|_| Conflict { available, ..Conflict::default() }).into_iter().collect();
        Problem { code: code.into(), conflicts, status: 409, ..Problem::default() }
    }

    #[test]
    fn only_what_is_left_decides_whether_fewer_are_tried() {
        assert!(matches!(judge(&problem("insufficient", Some(2))), Refused::TooFew { available: Some(2) }));
        assert!(matches!(judge(&problem("not_contiguous", None)), Refused::TooFew { available: None }));
        assert!(matches!(judge(&problem("voided", None)), Refused::Voided));
        assert!(matches!(judge(&problem("not_on_sale", None)), Refused::End(Ending::Failed(_))));
    }
}
