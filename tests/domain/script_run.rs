//! Plays the acts of a script.

use lastseat::domain::command::{Proposal, ProposalBody, Request};
use lastseat::domain::id::{CustomerId, Key, OrderId, SeatId, WebhookId};
use lastseat::domain::value::Millis;

use crate::script_parse::{self as parse, Made, Words};
use crate::script_show as show;
use crate::script_webhooks as webhooks;
use crate::world::World;

pub struct Runner {
    world: World,
    now: u64,
    made: Made,
    log: Vec<Proposal>,
}

type Result<T = String> = std::result::Result<T, String>;

impl Runner {
    pub fn new() -> Self {
        Self { world: World::new(), now: parse::time("12:00:00.000"), made: Made::default(), log: Vec::new() }
    }

    /// What is seen after the act: lines, each with its end.
    pub fn act(&mut self, act: &str) -> Result {
        if let Some(later) = act.strip_prefix('+') {
            self.now += parse::duration(later);
            return Ok(String::new());
        }
        if let Some(both) = act.strip_prefix("together: ") {
            let made = &mut self.made;
            let request = |text: &str| parse::request(text, made).ok_or(format!("{text} is no request"));
            let requests: Vec<Request> = both.split(" | ").map(request).collect::<Result<_>>()?;
            return self.propose(ProposalBody::Requests(requests));
        }
        if let Some(request) = parse::request(act, &mut self.made) {
            return self.propose(ProposalBody::Requests(vec![request]));
        }
        let mut words = Words::of(act);
        let seen = match words.next().as_str() {
            "at" => {
                self.now = parse::time(&words.next());
                String::new()
            }
            "tick" => self.propose(ProposalBody::Tick)?,
            "report" => {
                let inventory = &self.world.inventory;
                let epoch_of = |id: &WebhookId| inventory.webhook_stored(id).map(|webhook| webhook.epoch);
                let report = webhooks::report(&mut words, self.now, epoch_of);
                self.propose(ProposalBody::Webhooks(vec![report]))?
            }
            "stage" => self.propose(ProposalBody::Stage(parse::stage(&mut words)))?,
            "restart" => {
                self.world.restart()?;
                String::new()
            }
            "without-model" => {
                self.world.without_model = true;
                String::new()
            }
            read => self.read(read, &mut words)?,
        };
        words.end();
        Ok(seen)
    }

    fn propose(&mut self, body: ProposalBody) -> Result {
        let proposal = Proposal { stamp: Millis(self.now), body };
        self.log.push(proposal.clone());
        let applied = self.world.step(&proposal)?;
        Ok(show::applied(&applied))
    }

    fn read(&mut self, what: &str, words: &mut Words) -> Result {
        let inventory = &self.world.inventory;
        if what == "due" {
            return Ok(inventory
                .next_due()
                .map_or("nothing is due\n".to_owned(), |due| format!("due {}\n", show::time(due))));
        }
        let name = words.next();
        if what == "outcome" {
            let key = Key::parse(&name).unwrap();
            return Ok(inventory.recorded(&key).map_or("not decided\n".to_owned(), |answer| show::answer(&answer)));
        }
        if what == "hook" {
            let found = inventory.webhook(&webhooks::id(&name));
            return Ok(found.map_or("no such webhook\n".to_owned(), |view| {
                format!("webhook {}\n", webhooks::view(&view, show::time))
            }));
        }
        if what == "deliveries" {
            let found = inventory.webhook_stored(&webhooks::id(&name));
            let attempts = found.iter().flat_map(|webhook| webhook.attempts.iter().rev());
            return Ok(attempts.map(|attempt| format!("{}\n", webhooks::tried(attempt))).collect());
        }
        let event = parse::event(&name);
        let none = || match what {
            "show" | "seats" | "orders" => "no such event\n".to_owned(),
            _ => format!("no such {what}\n"),
        };
        Ok(match what {
            "show" => inventory.event(&event).map_or_else(none, |view| show::event(&view)),
            "seats" => inventory.freeze_event(&event).map_or_else(none, |frozen| show::seats(&frozen)),
            "seat" => {
                let seat = SeatId::parse(&words.next()).unwrap();
                inventory.seat(&event, &seat).map_or_else(none, |view| show::seat(&view))
            }
            "hold" => {
                let token = parse::token(&words.next());
                inventory.hold(&event, &token).map_or_else(none, |view| format!("hold {}\n", show::hold(&view)))
            }
            "order" => {
                let order = OrderId::parse(&words.next()).unwrap();
                inventory.order(&event, &order).map_or_else(none, |view| format!("order {}\n", show::order(&view)))
            }
            "orders" => {
                let customer = words.after("customer").map(|text| CustomerId::parse(&text).unwrap());
                let orders = inventory.orders(&event, customer.as_ref(), None, 100);
                orders.map_or_else(none, |orders| {
                    orders.iter().map(|view| format!("order {}\n", show::order(view))).collect()
                })
            }
            other => return Err(format!("what means {other:?}?")),
        })
    }

    pub fn finish(self) -> Result<()> {
        self.world.finish(&self.log)
    }
}
