//! How it ended for everyone, and whether it adds up.

use std::time::Duration;

use lastseat_client::Audit;
use serde_json::{Value, json};

use super::buyer::Ending;
use super::shop::{Shop, held_by_others};

/// Reasons shown; the rest are counted.
const REASONS_SHOWN_MAX: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Report {
    buyers: Vec<Standing>,
    unknown: u64,
    failed: u64,
    reasons: Vec<String>,
    pub(super) kills: u64,
    pub(super) elapsed: Duration,
}

/// One buyer over all rounds.
#[derive(Debug, Clone, Copy, Default)]
struct Standing {
    units: u64,
    told_sold_out: bool,
}

impl Report {
    pub(super) fn new(buyers: u32) -> Self {
        let buyers = vec![Standing::default(); usize::try_from(buyers).expect("a u32 fits")];
        Self { buyers, ..Self::default() }
    }

    pub(super) fn note(&mut self, buyer: u32, ending: Ending) {
        let standing = &mut self.buyers[usize::try_from(buyer).expect("a u32 fits")];
        match ending {
            Ending::Bought { units } => standing.units += units,
            Ending::ToldSoldOut => standing.told_sold_out = true,
            Ending::Unknown(why) => {
                self.unknown += 1;
                self.reason(why);
            }
            Ending::Failed(why) => self.broken(why),
        }
    }

    pub(super) fn broken(&mut self, why: String) {
        self.failed += 1;
        self.reason(why);
    }

    pub(super) fn has_failures(&self) -> bool {
        self.unknown + self.failed > 0
    }

    fn reason(&mut self, why: String) {
        if self.reasons.len() < REASONS_SHOWN_MAX && !self.reasons.contains(&why) {
            self.reasons.push(why);
        }
    }

    fn with_seats(&self) -> usize {
        self.buyers.iter().filter(|buyer| buyer.units > 0).count()
    }

    /// Those who got nothing and know why.
    fn told_sold_out(&self) -> usize {
        self.buyers.iter().filter(|buyer| buyer.units == 0 && buyer.told_sold_out).count()
    }

    fn receipts(&self) -> u64 {
        self.buyers.iter().map(|buyer| buyer.units).sum()
    }

    /// Everything that does not add up; empty: the promise holds.
    pub(super) fn complaints(&self, shop: &Shop, audit: &Audit) -> Vec<String> {
        self.judge(&shop.before, shop.orders(), audit)
    }

    /// What others held before may have ended meanwhile: booked by them, sold by this rush, or free at the very end.
    fn judge(&self, before: &Audit, orders: u64, audit: &Audit) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut expect = |fine: bool, text: String| {
            if !fine {
                wrong.push(text);
            }
        };
        let not_for_sale = before.held + before.blocked;
        let unsold = audit.capacity.saturating_sub(audit.booked);
        let others = if not_for_sale > 0 { format!(", {not_for_sale} not for sale") } else { String::new() };
        expect(unsold <= not_for_sale, format!("sold {} of a capacity of {}{others}", audit.booked, audit.capacity));
        expect(audit.oversold == 0, format!("oversold {}", audit.oversold));
        for violation in &audit.violations {
            expect(false, format!("violation: {violation}"));
        }
        let receipts = before.booked + self.receipts();
        let theirs = audit.booked.checked_sub(receipts);
        let fine = theirs.is_some_and(|units| units <= before.held);
        expect(fine, format!("receipts for {receipts} units, the audit counts {}", audit.booked));
        let orders = before.orders + orders;
        let fine = orders == audit.orders || (theirs.is_some_and(|units| units > 0) && orders < audit.orders);
        expect(fine, format!("receipts for {orders} orders, the audit counts {}", audit.orders));
        expect(self.unknown == 0, format!("{} buyers without a definite answer", self.unknown));
        expect(self.failed == 0, format!("{} buyers failed", self.failed));
        let definite = self.with_seats() + self.told_sold_out();
        let all = self.buyers.len();
        expect(definite == all || self.has_failures(), format!("{definite} of {all} buyers with a definite end"));
        for reason in &self.reasons {
            expect(false, reason.clone());
        }
        wrong
    }

    fn per_second(&self, bookings: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let bookings = bookings as f64;
        bookings / self.elapsed.as_secs_f64().max(0.001)
    }

    pub(super) fn text(&self, shop: &Shop, audit: &Audit) -> String {
        let mut rows = vec![
            ("sold", audit.booked.to_string()),
            ("capacity", audit.capacity.to_string()),
            ("oversold", audit.oversold.to_string()),
            ("violations", audit.violations.len().to_string()),
            ("buyers with seats", self.with_seats().to_string()),
            ("buyers told sold out", self.told_sold_out().to_string()),
            ("unknown left", self.unknown.to_string()),
            ("leaders killed", self.kills.to_string()),
            ("time", format!("{:.2} s", self.elapsed.as_secs_f64())),
            ("bookings", format!("{} ({:.0}/s)", shop.orders(), self.per_second(shop.orders()))),
        ];
        for (name, units) in
            [("blocked", audit.blocked), ("held by others", audit.held), ("sold before", shop.before.booked)]
        {
            if units > 0 {
                rows.insert(1, (name, units.to_string()));
            }
        }
        let mut text: String = rows.into_iter().map(|(name, value)| format!("{name:<21} {value}\n")).collect();
        if audit.held > 0 {
            text.push_str(&format!("{}: not for sale\n", held_by_others(audit.held)));
        }
        text
    }

    pub(super) fn json(&self, shop: &Shop, audit: &Audit, complaints: &[String]) -> Value {
        json!({
            "event": shop.event,
            "sold": audit.booked,
            "sold_before": shop.before.booked,
            "held_by_others": audit.held,
            "blocked": audit.blocked,
            "capacity": audit.capacity,
            "oversold": audit.oversold,
            "violations": audit.violations,
            "buyers": self.buyers.len(),
            "buyers_with_seats": self.with_seats(),
            "buyers_told_sold_out": self.told_sold_out(),
            "unknown_left": self.unknown,
            "failed": self.failed,
            "leaders_killed": self.kills,
            "elapsed_ms": u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX),
            "bookings": shop.orders(),
            "bookings_per_s": self.per_second(shop.orders()),
            "complaints": complaints,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(booked: u64) -> Audit {
        Audit {
            version: 9,
            capacity: 5,
            held: 0,
            booked,
            blocked: 0,
            available: 5 - booked,
            orders: 2,
            oversold: 0,
            violations: Vec::new(),
            pools: Value::Null,
        }
    }

    fn sold() -> Report {
        let mut report = Report::new(3);
        report.note(0, Ending::Bought { units: 3 });
        report.note(1, Ending::Bought { units: 2 });
        report.note(2, Ending::ToldSoldOut);
        report
    }

    #[test]
    fn a_sale_that_adds_up_has_no_complaint() {
        assert_eq!(sold().judge(&before(0), 2, &audit(5)), Vec::<String>::new());
    }

    /// Five units, so many of them held by others.
    fn before(held: u64) -> Audit {
        Audit { orders: 0, held, available: 5 - held, ..audit(0) }
    }

    #[test]
    fn what_others_hold_is_not_for_sale() {
        let mut report = Report::new(1);
        report.note(0, Ending::Bought { units: 3 });
        let end = |booked, held, orders| Audit { held, orders, available: 5 - booked - held, ..audit(booked) };
        // Still held; booked by its owner; just ended.
        for fine in [end(3, 2, 1), end(5, 0, 2), end(3, 0, 1)] {
            assert_eq!(report.judge(&before(2), 1, &fine), Vec::<String>::new());
        }
        assert_ne!(report.judge(&before(1), 1, &end(3, 2, 1)), Vec::<String>::new());
        assert_ne!(report.judge(&before(2), 1, &end(2, 2, 1)), Vec::<String>::new());
        assert_ne!(report.judge(&before(2), 1, &end(3, 2, 2)), Vec::<String>::new());
    }

    #[test]
    fn everything_that_does_not_add_up_is_said() {
        let one = |report: &Report, orders, audit: &Audit, expected: &str| {
            let wrong = report.judge(&before(0), orders, audit);
            assert!(wrong.iter().any(|text| text.contains(expected)), "{expected}: {wrong:?}");
        };
        one(&sold(), 2, &audit(4), "sold 4 of a capacity of 5");
        one(&sold(), 2, &audit(4), "receipts for 5 units");
        one(&sold(), 3, &audit(5), "receipts for 3 orders");
        one(&sold(), 2, &Audit { oversold: 1, ..audit(5) }, "oversold 1");
        one(&sold(), 2, &Audit { violations: vec!["x".into()], ..audit(5) }, "violation");
        let mut report = sold();
        report.note(2, Ending::Unknown("key k".into()));
        one(&report, 2, &audit(5), "without a definite answer");
        let mut report = Report::new(4);
        report.note(0, Ending::Bought { units: 5 });
        one(&report, 2, &audit(5), "1 of 4 buyers");
    }
}
