//! Words of a script to proposals.

use std::collections::BTreeMap;

use lastseat::domain::command::{
    BatchCommand, BatchSlice, Command, Contents, Definition, Fingerprint, HoldPatch, KeyMaker, OnExpired, Patch,
    PoolPatch, Request, Rest, SaleCommand, SaleOp, Settings, StagePart, StagingId, Want,
};
use lastseat::domain::id::{CustomerId, EventId, Key, OrderId, PoolId, SeatId, Token};
use lastseat::domain::outcome::{Code, Rejection};
use lastseat::domain::value::{EventHead, HoldPolicy, Item, Limits, Millis, PoolDef, SeatDef, Text, Version};

/// Midnight of 1 January 2026.
pub const MIDNIGHT: u64 = 1_767_225_600_000;

/// Words that end a list of items.
const WORDS: [&str; 29] = [
    "customer",
    "ttl",
    "max-ttl",
    "key",
    "order",
    "add-to",
    "token",
    "not-after",
    "items",
    "reason",
    "rest",
    "rebook",
    "by-node",
    "request",
    "section",
    "category",
    "row",
    "pools",
    "seats",
    "name",
    "off-sale",
    "on-sale",
    "limit",
    "label",
    "staged",
    "if-match",
    "best",
    "scattered",
    "force",
];

/// The words of one act, taken from the front.
#[derive(Debug, Clone)]
pub struct Words(Vec<String>);

impl Words {
    pub fn of(text: &str) -> Self {
        let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        words.reverse();
        Self(words)
    }

    pub fn next(&mut self) -> String {
        self.0.pop().expect("the act goes on")
    }

    pub fn peek(&self) -> Option<&str> {
        self.0.last().map(String::as_str)
    }

    /// Takes this word if it comes next.
    pub fn take(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        if found {
            self.0.pop();
        }
        found
    }

    /// What follows `word`, wherever it stands. Underscores are spaces.
    pub fn after(&mut self, word: &str) -> Option<String> {
        let at = self.0.iter().rposition(|known| known == word)?;
        self.0.remove(at);
        Some(self.0.remove(at - 1).replace('_', " "))
    }

    /// Whether `word` stands somewhere.
    pub fn has(&mut self, word: &str) -> bool {
        let at = self.0.iter().rposition(|known| known == word);
        at.map(|at| self.0.remove(at)).is_some()
    }

    /// The words up to the next keyword.
    fn list(&mut self) -> Vec<String> {
        let mut list = Vec::new();
        while self.peek().is_some_and(|word| !WORDS.contains(&word)) {
            list.push(self.next());
        }
        list
    }

    pub fn end(&self) {
        assert!(self.0.is_empty(), "what means {:?}?", self.0);
    }
}

pub fn duration(text: &str) -> u64 {
    let digits = text.trim_end_matches(|c: char| c.is_alphabetic());
    let number: u64 = digits.parse().expect("a number and a unit");
    number
        * match &text[digits.len()..] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            unit => panic!("unit {unit}"),
        }
}

pub fn time(text: &str) -> u64 {
    let (hms, ms) = text.split_once('.').unwrap_or((text, "0"));
    let parts: Vec<u64> = hms.split(':').map(|part| part.parse().expect("HH:MM:SS.mmm")).collect();
    MIDNIGHT + ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1_000 + ms.parse::<u64>().expect("milliseconds")
}

pub fn event(text: &str) -> EventId {
    EventId::parse(text).unwrap()
}

pub fn token(text: &str) -> Token {
    Token::parse(text).unwrap()
}

/// `A-1` or `A-1..A-4`.
fn seats(word: &str) -> Vec<SeatId> {
    let Some((from, to)) = word.split_once("..") else { return vec![SeatId::parse(word).unwrap()] };
    let (row, first) = from.rsplit_once('-').expect("A-1..A-4");
    let (_, last) = to.rsplit_once('-').expect("A-1..A-4");
    let range = first.parse::<u32>().unwrap()..=last.parse::<u32>().unwrap();
    range.map(|number| SeatId::parse(&format!("{row}-{number}")).unwrap()).collect()
}

fn items(words: &mut Words) -> Vec<Item> {
    let mut items = Vec::new();
    for word in words.list() {
        if word == "nothing" {
            continue;
        }
        match word.split_once('*') {
            Some((pool, quantity)) => {
                items.push(Item::Pool { pool: PoolId::parse(pool).unwrap(), quantity: number(quantity) });
            }
            None => items.extend(seats(&word).into_iter().map(Item::Seat)),
        }
    }
    items
}

fn named_items(words: &mut Words) -> Option<Vec<Item>> {
    words.take("items").then(|| items(words))
}

fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { text.parse().unwrap() }
}

/// Groups of seats, each with its row, section and category, and pools.
fn contents(words: &mut Words) -> (Vec<SeatDef>, Vec<PoolDef>) {
    let (mut defs, mut pools) = (Vec::new(), Vec::new());
    loop {
        if words.take("seats") {
            let ids: Vec<SeatId> = words.list().iter().flat_map(|word| seats(word)).collect();
            let (mut row, mut section, mut category) = (None, None, None);
            loop {
                if words.take("row") {
                    row = Some(Text::from(words.next()));
                } else if words.take("section") {
                    section = Some(Text::from(words.next()));
                } else if words.take("category") {
                    category = Some(Text::from(words.next()));
                } else {
                    break;
                }
            }
            defs.extend(ids.into_iter().map(|id| {
                let (section, row, category) = (section.clone(), row.clone(), category.clone());
                SeatDef { id, section, row, number: None, category, x: None, y: None }
            }));
        } else if words.take("pools") {
            for word in words.list() {
                let (id, capacity) = word.split_once('=').expect("pool=capacity");
                let id = PoolId::parse(id).unwrap();
                pools.push(PoolDef { id, capacity: number(capacity), category: None, name: None });
            }
        } else {
            return (defs, pools);
        }
    }
}

fn labels(words: &mut Words) -> Option<BTreeMap<String, String>> {
    let label = words.after("label")?;
    let (name, value) = label.split_once('=').expect("label name=value");
    Some(BTreeMap::from([(name.to_owned(), value.to_owned())]))
}

fn define(words: &mut Words) -> Command {
    let event = event(&words.next());
    let ttl_ms = words.after("ttl").map(|text| duration(&text));
    let max_ttl_ms = words.after("max-ttl").map(|text| duration(&text));
    let head = EventHead {
        name: Text::from(words.after("name").unwrap_or_else(|| event.to_string())),
        on_sale: !words.has("off-sale"),
        hold: HoldPatch { ttl_ms, max_ttl_ms }.onto(HoldPolicy::default()),
        limits: Limits { per_customer: words.after("limit").map(|text| number(&text)) },
        labels: labels(words).unwrap_or_default(),
    };
    let contents = match words.after("staged") {
        Some(staging) => Contents::Staged {
            staging: StagingId(staging.parse().unwrap()),
            parts: words.after("parts").unwrap().parse().unwrap(),
        },
        None => {
            let (seats, pools) = contents(words);
            Contents::Inline { seats, pools }
        }
    };
    Command::Define { event, definition: Box::new(Definition { head, contents }) }
}

pub fn stage(words: &mut Words) -> StagePart {
    let staging = StagingId(words.next().parse().unwrap());
    let part = words.after("part").unwrap().parse().unwrap();
    let (seats, pools) = contents(words);
    StagePart { staging, part, seats, pools }
}

fn change(words: &mut Words) -> Command {
    let event = event(&words.next());
    let ttl_ms = words.after("ttl").map(|text| duration(&text));
    let max_ttl_ms = words.after("max-ttl").map(|text| duration(&text));
    let limit = words.after("limit").map(|text| Limits { per_customer: Some(number(&text)) });
    let patch = Patch {
        name: words.after("name").map(Text::from),
        on_sale: if words.has("on-sale") { Some(true) } else { words.has("off-sale").then_some(false) },
        hold: (ttl_ms.is_some() || max_ttl_ms.is_some()).then_some(HoldPatch { ttl_ms, max_ttl_ms }),
        limits: if words.has("no-limit") { Some(Limits::default()) } else { limit },
        labels: labels(words),
        pools: pool_patches(words),
    };
    Command::Change { event, patch: Box::new(patch) }
}

/// `standing=12`, or `standing=Floor` for its name.
fn pool_patches(words: &mut Words) -> Vec<PoolPatch> {
    if !words.take("pools") {
        return Vec::new();
    }
    let patch = |word: String| {
        let (id, value) = word.split_once('=').expect("pool=capacity or pool=name");
        let capacity: Option<u64> = value.parse().ok();
        let name = capacity.is_none().then(|| Text::from(value));
        PoolPatch { id: PoolId::parse(id).unwrap(), capacity, category: None, name }
    };
    words.list().into_iter().map(patch).collect()
}

/// `reserve …` and all the others that may stand in a batch; `None` for any other act.
pub fn sale(words: &mut Words) -> Option<SaleCommand> {
    let op = words.peek()?.to_owned();
    const OPS: [&str; 8] = ["reserve", "extend", "book", "buy", "release", "cancel", "block", "unblock"];
    if !OPS.contains(&op.as_str()) {
        return None;
    }
    words.next();
    let event = event(&words.next());
    let customer = words.after("customer").map(|text| CustomerId::parse(&text).unwrap());
    let order = words.after("order").map(|text| OrderId::parse(&text).unwrap());
    let ttl_ms = words.after("ttl").map(|text| duration(&text));
    let reason = words.after("reason");
    let op = match op.as_str() {
        "reserve" => {
            let add_to = words.after("add-to").map(|text| token(&text));
            SaleOp::Reserve { want: want(words), customer, ttl_ms, add_to }
        }
        "extend" => SaleOp::Extend { token: token(&words.next()), ttl_ms: ttl_ms.expect("ttl") },
        "book" => {
            let token = token(&words.next());
            let rest = if words.after("rest").as_deref() == Some("release") { Rest::Release } else { Rest::Keep };
            let on_expired = if words.has("rebook") { OnExpired::Rebook } else { OnExpired::Reject };
            SaleOp::BookHold { token, order: order.expect("order"), items: named_items(words), rest, on_expired }
        }
        "buy" => SaleOp::BookDirect { items: items(words), order: order.expect("order"), customer },
        "release" => SaleOp::Release { token: token(&words.next()), items: named_items(words) },
        "cancel" => SaleOp::Cancel { order: OrderId::parse(&words.next()).unwrap(), items: named_items(words) },
        "block" => SaleOp::Block { items: items(words), reason },
        "unblock" => SaleOp::Unblock { items: items(words), reason },
        other => unreachable!("{other} is not in the list"),
    };
    Some(SaleCommand { event, op })
}

fn want(words: &mut Words) -> Want {
    match words.after("best") {
        None => Want::Items(items(words)),
        Some(quantity) => Want::Best {
            quantity: number(&quantity),
            section: words.after("section").map(Text::from),
            category: words.after("category").map(Text::from),
            contiguous: !words.has("scattered"),
        },
    }
}

fn code(text: &str) -> Code {
    match text {
        "invalid" => Code::Invalid,
        "duplicate_item" => Code::DuplicateItem,
        other => panic!("{other} is not a code of the edge"),
    }
}

/// `A ; own KEY: B ; refused CODE`. What a command is, by its words, is its fingerprint.
fn slice(text: &str) -> BatchSlice {
    let (place, commands) = text.split_once(':').expect("slice START/TOTAL: commands");
    let (start, total) = place.trim().split_once('/').expect("START/TOTAL");
    let command = |text: &str| {
        let text = text.trim();
        let (own, text) = match text.strip_prefix("own ") {
            Some(rest) => {
                let (key, text) = rest.split_once(':').expect("own KEY: command");
                (Some((Key::parse(key.trim()).unwrap(), fingerprint(text.trim()))), text.trim())
            }
            None => (None, text),
        };
        let command = match text.strip_prefix("refused ") {
            Some(word) => Err(Rejection::new(code(word))),
            None => {
                let mut words = Words::of(text);
                let sale = sale(&mut words).expect("a command of a sale");
                words.end();
                Ok(sale)
            }
        };
        BatchCommand { own, command }
    };
    BatchSlice {
        start: start.parse().unwrap(),
        total: total.parse().unwrap(),
        commands: commands.split(" ; ").map(command).collect(),
    }
}

/// The same words, the same number (FNV-1a).
fn fingerprint(text: &str) -> Fingerprint {
    let mix = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(0x0100_0000_01b3);
    Fingerprint(text.bytes().fold(0xcbf2_9ce4_8422_2325, mix))
}

/// Names of things that the node makes.
#[derive(Debug, Default)]
pub struct Made {
    pub keys: u32,
    pub tokens: u32,
}

impl Made {
    fn token(&mut self) -> Token {
        self.tokens += 1;
        token(&format!("t{}", self.tokens))
    }
}

/// What may stand behind any act.
struct Around {
    key: Option<String>,
    request: Option<String>,
    not_after: Option<Millis>,
    if_match: Option<Version>,
    by_node: bool,
    token: Option<Token>,
}

fn around(words: &mut Words) -> Around {
    Around {
        key: words.after("key"),
        request: words.after("request"),
        not_after: words.after("not-after").map(|text| Millis(time(&text))),
        if_match: words.after("if-match").map(|text| Version(text.parse().unwrap())),
        by_node: words.has("by-node"),
        token: words.after("token").map(|text| token(&text)),
    }
}

/// A request in words; `None` when the act is something else.
pub fn request(text: &str, made: &mut Made) -> Option<Request> {
    let mut words = Words::of(text);
    let reserves = words.0.iter().filter(|word| *word == "reserve").count();
    let around = around(&mut words);
    let mut said: Vec<_> = words.0.iter().rev().cloned().collect();
    // All slices of a batch are one request.
    if said.first().is_some_and(|act| act == "slice") && around.request.is_some() {
        said.clear();
    }
    said.extend(around.request);
    let print = fingerprint(&said.join(" "));
    let command = command(&mut words)?;
    words.end();
    let mut fresh_tokens: Vec<Token> = around.token.into_iter().collect();
    while fresh_tokens.len() < reserves {
        fresh_tokens.push(made.token());
    }
    let key = around.key.unwrap_or_else(|| {
        made.keys += 1;
        format!("auto-{}", made.keys)
    });
    Some(Request {
        key: Key::parse(&key).unwrap(),
        key_made_by: if around.by_node { KeyMaker::Node } else { KeyMaker::Client },
        fingerprint: print,
        not_after: around.not_after,
        if_match: around.if_match,
        fresh_tokens,
        command,
    })
}

fn rest_of(words: &mut Words) -> String {
    let mut all = std::mem::take(&mut words.0);
    all.reverse();
    all.join(" ")
}

fn command(words: &mut Words) -> Option<Command> {
    if let Some(sale) = sale(words) {
        return Some(Command::Sale(sale));
    }
    let act = words.peek()?.to_owned();
    let command = match act.as_str() {
        "define" => {
            words.next();
            define(words)
        }
        "change" => {
            words.next();
            change(words)
        }
        "delete" => {
            words.next();
            Command::Delete { force: words.has("force"), event: event(&words.next()) }
        }
        "atomic:" => {
            words.next();
            let sales = rest_of(words);
            let sale = |text: &str| {
                let mut words = Words::of(text);
                let sale = sale(&mut words).expect("a command of a sale");
                words.end();
                sale
            };
            Command::AtomicBatch(sales.split(" ; ").map(sale).collect())
        }
        "slice" => {
            words.next();
            Command::BatchSlice(slice(&rest_of(words)))
        }
        "webhook" => {
            words.next();
            crate::script_webhooks::command(words)
        }
        "void" => {
            words.next();
            Command::Void { key: Key::parse(&words.next()).unwrap() }
        }
        "configure" => {
            words.next();
            Command::Configure(settings(words))
        }
        _ => return None,
    };
    Some(command)
}

fn settings(words: &mut Words) -> Settings {
    let mut settings = Settings::default();
    let mut ms = |name: &str, slot: &mut u64| {
        if let Some(text) = words.after(name) {
            *slot = duration(&text);
        }
    };
    ms("applied-keep", &mut settings.applied_keep_ms);
    ms("rejected-keep", &mut settings.rejected_keep_ms);
    ms("node-key-keep", &mut settings.node_key_keep_ms);
    ms("keep-max", &mut settings.results_keep_max_ms);
    ms("staging-keep", &mut settings.staging_keep_ms);
    let mut count = |name: &str, slot: &mut u64| {
        if let Some(text) = words.after(name) {
            *slot = number(&text);
        }
    };
    count("results-max", &mut settings.results_max);
    count("rejections-max", &mut settings.rejections_max);
    if let Some(text) = words.after("stagings-max") {
        settings.stagings_max = text.parse().unwrap();
    }
    settings
}
