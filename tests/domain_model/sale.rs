//! The commands of a sale: reserve, extend, book, release, cancel, block, unblock.

use std::collections::BTreeSet;

use lastseat::domain::command::{OnExpired, Rest, SaleCommand, SaleOp, Want};
use lastseat::domain::id::{CustomerId, EventId, OrderId, Token};
use lastseat::domain::outcome::{Code, Conflict, Outcome, Rejection};
use lastseat::domain::value::{Item, Millis, SeatStatus};

use super::best::best;
use super::{Bundle, Event, Hold, Line, Model, Nos, Order, Thing, lines, reject};

pub type Touched = BTreeSet<(EventId, Thing)>;

/// Seats that one command may ask for.
const ITEMS_MAX: u64 = 1_000;
/// Units that one line may ask for.
const UNITS_MAX: u64 = 1_000_000_000_000;

/// What can be told without the state.
pub fn static_check(op: &SaleOp) -> Result<(), Code> {
    match op {
        SaleOp::Reserve { want, ttl_ms, add_to, .. } => {
            let mut found = match want {
                Want::Items(items) => static_items(items),
                Want::Best { quantity, .. } if !(1..=ITEMS_MAX).contains(quantity) => Err(Code::Invalid),
                Want::Best { .. } => Ok(()),
            };
            if (add_to.is_some() && ttl_ms.is_some()) || *ttl_ms == Some(0) {
                found = Err(Code::Invalid);
            }
            found
        }
        SaleOp::BookDirect { items, .. } | SaleOp::Block { items, .. } | SaleOp::Unblock { items, .. } => {
            static_items(items)
        }
        SaleOp::BookHold { items, .. } | SaleOp::Release { items, .. } | SaleOp::Cancel { items, .. } => {
            items.as_ref().map_or(Ok(()), |items| static_items(items))
        }
        SaleOp::Extend { ttl_ms: 0, .. } => Err(Code::Invalid),
        SaleOp::Extend { .. } => Ok(()),
    }
}

fn static_items(items: &[Item]) -> Result<(), Code> {
    let quantity = |item: &Item| if let Item::Pool { quantity, .. } = item { *quantity } else { 1 };
    if items.is_empty() || !items.iter().all(|item| (1..=UNITS_MAX).contains(&quantity(item))) {
        return Err(Code::Invalid);
    }
    let seats = items.iter().filter(|item| matches!(item, Item::Seat(_)));
    let distinct: BTreeSet<&Item> = seats.clone().collect();
    if distinct.len() < seats.count() { Err(Code::DuplicateItem) } else { Ok(()) }
}

impl Model {
    /// Decides one command and does it. On a refusal the state may be half changed: the caller puts the old one back.
    pub(super) fn sale(
        &mut self,
        command: &SaleCommand,
        tokens: &mut Vec<Token>,
        touched: &mut Touched,
    ) -> Result<Outcome, Rejection> {
        static_check(&command.op).map_err(Rejection::new)?;
        let id = &command.event;
        let clock = self.state.clock;
        let Some(event) = self.state.events.get_mut(id) else { return reject(Code::EventNotFound) };
        let mut touch = |bundle: &Bundle| touched.extend(bundle.things().map(|thing| (id.clone(), thing)));
        match &command.op {
            SaleOp::Reserve { want, customer, ttl_ms, add_to: None } => {
                let mut nos = Nos::default();
                let items = wanted(event, want, &mut nos);
                limit(event, customer.as_ref(), size(want), &mut nos);
                let ttl_ms = ttl_ms.unwrap_or(event.head.hold.ttl_ms);
                if ttl_ms > event.head.hold.max_ttl_ms {
                    nos.no(Code::Invalid);
                }
                nos.verdict()?;
                let token = tokens.remove(0);
                touch(&items);
                let customer = customer.clone();
                let hold = Hold { items, customer, created_at: clock, expires_at: clock.plus(ttl_ms) };
                event.holds.insert(token.clone(), hold);
                Ok(Outcome::Reserved(self.state.hold_view(id, &token).expect("just made")))
            }
            SaleOp::Reserve { want, customer, ttl_ms: _, add_to: Some(token) } => {
                let mut nos = Nos::default();
                let items = wanted(event, want, &mut nos);
                match live(event, token, clock) {
                    Err(code) => nos.no(code),
                    Ok(hold) => {
                        if customer.is_some() && *customer != hold.customer {
                            nos.no(Code::TokenMismatch);
                        }
                        limit(event, hold.customer.as_ref(), size(want), &mut nos);
                    }
                }
                nos.verdict()?;
                touch(&items);
                event.holds.get_mut(token).expect("it is live").items.add(&items);
                Ok(Outcome::Reserved(self.state.hold_view(id, token).expect("it is live")))
            }
            SaleOp::Extend { token, ttl_ms } => {
                let mut nos = Nos::default();
                let max_ttl_ms = event.head.hold.max_ttl_ms;
                if *ttl_ms > max_ttl_ms {
                    nos.no(Code::Invalid);
                }
                if let Err(code) = live(event, token, clock) {
                    nos.no(code);
                }
                nos.verdict()?;
                let hold = event.holds.get_mut(token).expect("it is live");
                hold.expires_at = clock.plus(*ttl_ms).min(hold.created_at.plus(max_ttl_ms));
                Ok(Outcome::Extended(self.state.hold_view(id, token).expect("it is live")))
            }
            SaleOp::BookHold { token, order, items, rest, on_expired } => {
                if let Some(known) = event.order(order)
                    && known.token.as_ref() == Some(token)
                    && items.as_ref().map_or(known.whole_hold, |items| Bundle::of(items) == known.first_items)
                {
                    return Ok(Outcome::BookedBefore(self.state.order_view(id, order).expect("just found")));
                }
                let lapsed = live(event, token, clock).err() == Some(Code::HoldExpired);
                if lapsed && *on_expired == OnExpired::Rebook {
                    rebook(event, token, order, items.as_deref(), *rest, clock, &mut touch)?;
                } else {
                    book(event, token, order, items.as_deref(), *rest, clock, &mut touch)?;
                }
                Ok(Outcome::Booked(self.state.order_view(id, order).expect("just made")))
            }
            SaleOp::BookDirect { items, order, customer } => {
                let mut nos = Nos::default();
                let bundle = wanted(event, &Want::Items(items.clone()), &mut nos);
                limit(event, customer.as_ref(), bundle.size(), &mut nos);
                if event.order(order).is_some() {
                    nos.no(Code::OrderExists);
                }
                nos.verdict()?;
                touch(&bundle);
                add_order(event, order, bundle, customer.clone(), None, false, clock);
                Ok(Outcome::Booked(self.state.order_view(id, order).expect("just made")))
            }
            SaleOp::Release { token, items } => {
                let mut nos = Nos::default();
                let named = items.as_deref();
                let hold = live(event, token, clock).inspect_err(|code| nos.no(*code)).ok();
                owned(event, named, hold.map(|hold| &hold.items), Code::TokenMismatch, &mut nos);
                nos.verdict()?;
                let hold = event.holds.get_mut(token).expect("it is live");
                let bundle = named.map_or_else(|| hold.items.clone(), Bundle::of);
                hold.items.remove(&bundle);
                if hold.items.is_empty() {
                    event.holds.remove(token);
                }
                touch(&bundle);
                Ok(Outcome::Released { items: bundle.items() })
            }
            SaleOp::Cancel { order, items } => {
                let mut nos = Nos::default();
                let named = items.as_deref();
                let known = event.order(order);
                if known.is_none() {
                    nos.no(Code::OrderNotFound);
                }
                owned(event, named, known.map(|known| &known.items), Code::OrderMismatch, &mut nos);
                nos.verdict()?;
                let known = event.orders.iter_mut().find(|known| known.id == *order).expect("just found");
                let bundle = named.map_or_else(|| known.items.clone(), Bundle::of);
                known.items.remove(&bundle);
                touch(&bundle);
                Ok(Outcome::Cancelled { items: bundle.items() })
            }
            SaleOp::Block { items, reason } => {
                let mut nos = Nos::default();
                free(event, items, &mut nos);
                nos.verdict()?;
                let bundle = Bundle::of(items);
                event.blocked.add(&bundle);
                touch(&bundle);
                Ok(Outcome::Blocked { items: bundle.items(), reason: reason.clone() })
            }
            SaleOp::Unblock { items, reason } => {
                let mut nos = Nos::default();
                blocked(event, items, &mut nos);
                nos.verdict()?;
                let bundle = Bundle::of(items);
                event.blocked.remove(&bundle);
                touch(&bundle);
                Ok(Outcome::Unblocked { items: bundle.items(), reason: reason.clone() })
            }
        }
    }
}

/// The hold of a token, while `clock < expires_at`.
fn live<'a>(event: &'a Event, token: &Token, clock: Millis) -> Result<&'a Hold, Code> {
    match event.holds.get(token) {
        Some(hold) if clock < hold.expires_at => Ok(hold),
        Some(_) => Err(Code::HoldExpired),
        None if event.lapsed.contains_key(token) => Err(Code::HoldExpired),
        None => Err(Code::HoldNotFound),
    }
}

fn size(want: &Want) -> u64 {
    match want {
        Want::Items(items) => Bundle::of(items).size(),
        Want::Best { quantity, .. } => *quantity,
    }
}

/// What a reserve or a direct book wants, if the event sells and it is free.
fn wanted(event: &Event, want: &Want, nos: &mut Nos) -> Bundle {
    if !event.head.on_sale {
        nos.no(Code::NotOnSale);
    }
    match want {
        Want::Items(items) => {
            free(event, items, nos);
            Bundle::of(items)
        }
        Want::Best { quantity, section, category, contiguous } => {
            match best(event, *quantity, section.as_ref(), category.as_ref(), *contiguous) {
                Ok(seats) => Bundle { seats: seats.into_iter().collect(), units: Default::default() },
                Err(more) => {
                    nos.codes.extend(more.codes);
                    nos.conflicts.extend(more.conflicts);
                    Bundle::default()
                }
            }
        }
    }
}

fn limit(event: &Event, customer: Option<&CustomerId>, asked: u64, nos: &mut Nos) {
    let Some(limit) = event.head.limits.per_customer else { return };
    let Some(customer) = customer else {
        nos.no(Code::Invalid);
        return;
    };
    let current = event.units_of_customer(customer);
    if current.saturating_add(asked) > limit {
        nos.limit(limit, current);
    }
}

/// Every seat free, every pool has room.
fn free(event: &Event, items: &[Item], nos: &mut Nos) {
    for line in lines(items) {
        match line {
            Line::Seat(seat) if event.seat_def(&seat).is_none() => {
                nos.conflict(Code::SeatNotFound, Conflict::NoSeat { seat });
            }
            Line::Seat(seat) => {
                let status = event.status(&seat);
                let code = match status {
                    SeatStatus::Free | SeatStatus::Removed => continue,
                    SeatStatus::Booked => Code::SeatBooked,
                    SeatStatus::Held => Code::SeatHeld,
                    SeatStatus::Blocked => Code::SeatBlocked,
                };
                nos.conflict(code, Conflict::Seat { seat, status });
            }
            Line::Pool(pool, requested) => match event.counts(&pool) {
                None => nos.conflict(Code::PoolNotFound, Conflict::NoPool { pool }),
                Some(counts) if counts.available() < requested => {
                    let available = counts.available();
                    nos.conflict(Code::Insufficient, Conflict::Pool { pool, available, requested });
                }
                Some(_) => {}
            },
        }
    }
}

/// Every item named is owned; nothing named is all of it.
fn owned(event: &Event, items: Option<&[Item]>, owner: Option<&Bundle>, mismatch: Code, nos: &mut Nos) {
    for line in items.map(lines).unwrap_or_default() {
        match line {
            Line::Seat(seat) if event.seat_def(&seat).is_none() => {
                nos.conflict(Code::SeatNotFound, Conflict::NoSeat { seat });
            }
            Line::Seat(seat) => {
                if owner.is_some_and(|owner| !owner.seats.contains(&seat)) {
                    nos.conflict(mismatch, Conflict::NoSeat { seat });
                }
            }
            Line::Pool(pool, _) if event.counts(&pool).is_none() => {
                nos.conflict(Code::PoolNotFound, Conflict::NoPool { pool });
            }
            Line::Pool(pool, requested) => match owner.map(|owner| owner.units_of(&pool)) {
                Some(0) => nos.conflict(mismatch, Conflict::NoPool { pool }),
                Some(available) if available < requested => {
                    nos.conflict(mismatch, Conflict::Pool { pool, available, requested });
                }
                Some(_) | None => {}
            },
        }
    }
}

fn blocked(event: &Event, items: &[Item], nos: &mut Nos) {
    for line in lines(items) {
        match line {
            Line::Seat(seat) if event.seat_def(&seat).is_none() => {
                nos.conflict(Code::SeatNotFound, Conflict::NoSeat { seat });
            }
            Line::Seat(seat) => {
                let status = event.status(&seat);
                if status != SeatStatus::Blocked {
                    nos.conflict(Code::NotBlocked, Conflict::Seat { seat, status });
                }
            }
            Line::Pool(pool, requested) => match event.counts(&pool) {
                None => nos.conflict(Code::PoolNotFound, Conflict::NoPool { pool }),
                Some(counts) if counts.blocked < requested => {
                    let available = counts.blocked;
                    nos.conflict(Code::NotBlocked, Conflict::Pool { pool, available, requested });
                }
                Some(_) => {}
            },
        }
    }
}

/// Held → booked.
fn book(
    event: &mut Event,
    token: &Token,
    order: &OrderId,
    items: Option<&[Item]>,
    rest: Rest,
    clock: Millis,
    touch: &mut impl FnMut(&Bundle),
) -> Result<(), Rejection> {
    let mut nos = Nos::default();
    let hold = live(event, token, clock).inspect_err(|code| nos.no(*code)).ok();
    owned(event, items, hold.map(|hold| &hold.items), Code::TokenMismatch, &mut nos);
    if event.order(order).is_some() {
        nos.no(Code::OrderExists);
    }
    nos.verdict()?;
    let hold = event.holds.get_mut(token).expect("it is live");
    let bundle = items.map_or_else(|| hold.items.clone(), Bundle::of);
    hold.items.remove(&bundle);
    touch(&bundle);
    let whole = hold.items.is_empty();
    let customer = hold.customer.clone();
    if rest == Rest::Release {
        touch(&hold.items);
    }
    if whole || rest == Rest::Release {
        event.holds.remove(token);
    }
    add_order(event, order, bundle, customer, Some(token.clone()), whole, clock);
    Ok(())
}

/// Lapsed → booked, if all of it is free again. Whatever else is in the way: the hold expired.
fn rebook(
    event: &mut Event,
    token: &Token,
    order: &OrderId,
    items: Option<&[Item]>,
    rest: Rest,
    clock: Millis,
    touch: &mut impl FnMut(&Bundle),
) -> Result<(), Rejection> {
    let Some(hold) = event.lapsed.get(token).cloned() else { return reject(Code::HoldExpired) };
    let mut nos = Nos::default();
    owned(event, items, Some(&hold.items), Code::TokenMismatch, &mut nos);
    let bundle = items.map_or_else(|| hold.items.clone(), Bundle::of);
    if nos.codes.is_empty() {
        free(event, &bundle.items(), &mut nos);
    }
    if let Some(limit) = event.head.limits.per_customer
        && let Some(customer) = &hold.customer
    {
        let current = event.units_of_customer(customer);
        if current + bundle.size() > limit {
            nos.limit(limit, current);
        }
    }
    if event.order(order).is_some() {
        nos.no(Code::OrderExists);
    }
    if !nos.codes.is_empty() {
        nos.no(Code::HoldExpired);
    }
    nos.verdict()?;
    touch(&bundle);
    let mut left = hold.clone();
    left.items.remove(&bundle);
    let whole = left.items.is_empty();
    event.lapsed.remove(token);
    if rest == Rest::Keep && !whole {
        event.lapsed.insert(token.clone(), left);
    }
    add_order(event, order, bundle, hold.customer, Some(token.clone()), whole, clock);
    Ok(())
}

fn add_order(
    event: &mut Event,
    order: &OrderId,
    items: Bundle,
    customer: Option<CustomerId>,
    token: Option<Token>,
    whole_hold: bool,
    clock: Millis,
) {
    let first_items = items.clone();
    let id = order.clone();
    event.orders.push(Order { id, items, customer, booked_at: clock, token, first_items, whole_hold });
}
