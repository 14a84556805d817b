//! What can be typed. Only shapes and help here; what happens is in the module of each command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lastseat_client::Item;

use super::config::ServeFlags;
use super::webhook::WebhookCommand;

pub(crate) const DEFAULT_SERVERS: &str = "http://127.0.0.1:7401,http://127.0.0.1:7402,http://127.0.0.1:7403";

/// The inventory store that never sells the last seat twice.
#[derive(Debug, Parser)]
#[command(
    name = "lastseat",
    version,
    after_help = "Exit codes: 0 applied, 1 failed, 2 usage, 3 rejected, 4 not applied, 5 unknown."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Nodes to ask, tried one after the other
    #[arg(long, global = true, env = "LASTSEAT_SERVER", value_name = "URL[,URL…]", value_delimiter = ',',
          default_value = DEFAULT_SERVERS, help_heading = "Client")]
    pub(crate) server: Vec<String>,
    /// How answers are printed
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table, help_heading = "Client")]
    pub(crate) output: Format,
    /// Idempotency key of a command: repeat it to ask again after an unknown [default: a new one]
    #[arg(long, global = true, value_name = "KEY", help_heading = "Client")]
    pub(crate) key: Option<String>,
    /// How long to try [default: 15s; event import 60s]
    #[arg(long, global = true, value_name = "DURATION", value_parser = duration, help_heading = "Client")]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// The server's answer
    Json,
    /// One JSON document a line
    Ndjson,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a real cluster on this machine, to try things out
    Dev(DevArgs),
    /// Run one node
    Serve(ServeArgs),
    /// Show the configuration `serve` would run with
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Form and change a cluster
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Make, import and look at events
    #[command(subcommand)]
    Event(EventCommand),
    /// Have changes told to a receiver of yours
    #[command(subcommand)]
    Webhook(WebhookCommand),
    /// Hold items for a while: free → held
    Reserve(ReserveArgs),
    /// Sell: held, or free, → booked
    Book(BookArgs),
    /// Give up a hold, or part of it: held → free
    Release(ReleaseArgs),
    /// Prolong a hold
    Extend(ExtendArgs),
    /// Undo a sale, or part of it: booked → free
    Cancel(CancelArgs),
    /// Recount an event from its records
    Audit { event: String },
    /// Follow changes as they happen
    Watch(WatchArgs),
    /// A flash sale: many buyers at once until sold out, then the exact audit
    Rush(RushArgs),
    /// Print a completion script for a shell
    Completions { shell: clap_complete::Shell },
    /// Print the manual page, or write one for each command into a folder
    Man {
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the OpenAPI document of the HTTP API
    Openapi,
}

#[derive(Debug, Args)]
#[group(id = "subject", required = true, args = ["event", "all"])]
pub(crate) struct WatchArgs {
    /// The changes of this event
    #[arg(long, value_name = "ID")]
    pub(crate) event: Option<String>,
    /// The changes of all events
    #[arg(long)]
    pub(crate) all: bool,
    /// Go on after this position [default: from now on]
    #[arg(long, value_name = "N", conflicts_with = "snapshot")]
    pub(crate) after: Option<u64>,
    /// First the whole state
    #[arg(long)]
    pub(crate) snapshot: bool,
    /// The newest state at most once in this time, instead of every change
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) latest: Option<Duration>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) flags: ServeFlags,
    /// Stop when stdin closes: the parent that held it open is gone
    #[arg(long, hide = true)]
    pub(crate) exit_with_parent: bool,
    /// Where the `dev` that started this node takes orders from the console
    #[arg(long, hide = true, value_name = "ADDR")]
    pub(crate) dev_control: Option<std::net::SocketAddr>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print every value
    Show {
        /// And where it comes from
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        flags: ServeFlags,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(crate) nodes: u16,
    /// Node i has its API at this port + i, its peer port at this port + 100 + i
    #[arg(long, default_value_t = 7400, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_000))]
    pub(crate) port_base: u16,
    /// Folder to keep the data in, and to resume from [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Do not load the demo events
    #[arg(long)]
    pub(crate) no_demo: bool,
    /// Restart a node process that died after this long, or never
    #[arg(long, default_value = "1s", value_name = "DURATION|never", value_parser = restart_after)]
    pub(crate) restart_after: RestartAfter,
}

/// What happens to a node process that died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RestartAfter {
    Never,
    After(Duration),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Form a cluster of nodes that wait on empty folders
    Init {
        /// One of the nodes; give it once for each
        #[arg(long = "node", required = true, value_name = "id=1,api=URL,peer=HOST:PORT[,region=R]",
              value_parser = new_node)]
        nodes: Vec<lastseat_client::NewNode>,
    },
    /// Add a node that waits on an empty folder
    Join {
        #[arg(long)]
        id: u64,
        /// URL that clients reach it at
        #[arg(long, value_name = "URL")]
        api: String,
        /// Address that the other nodes reach it at
        #[arg(long, value_name = "HOST:PORT")]
        peer: String,
        #[arg(long)]
        region: Option<String>,
    },
    /// Remove a node for ever
    Leave { id: u64 },
    /// Show the nodes
    Status,
    /// Hand leadership to another node
    TransferLeader {
        /// To this node [default: the best one]
        #[arg(long, value_name = "ID")]
        to: Option<u64>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Make a new event of pools; for seats see `import`
    Create(CreateArgs),
    /// Make an event from a file: lastseat JSON, CSV, or a pretix seating plan
    Import(ImportArgs),
    /// All events
    List,
    /// One event with its numbers
    Show { event: String },
    /// Delete an event of which nothing is held or booked
    Delete {
        event: String,
        /// Even if something is held or booked
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    pub(crate) event: String,
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// A pool and its capacity; may be repeated
    #[arg(long = "pool", value_name = "POOL=CAPACITY", value_parser = pool_capacity)]
    pub(crate) pools: Vec<(String, u64)>,
    /// Make it without putting it on sale
    #[arg(long)]
    pub(crate) off_sale: bool,
    /// Most units of one customer
    #[arg(long, value_name = "N")]
    pub(crate) per_customer: Option<u64>,
    /// How long a hold lives
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) hold_ttl: Option<Duration>,
    /// Replace the definition of an event that is there
    #[arg(long)]
    pub(crate) replace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    pub(crate) file: PathBuf,
    /// Id of the event [default: the file's name without its extension]
    #[arg(long, value_name = "ID")]
    pub(crate) event: Option<String>,
    /// Name of the event [default: the one in the file, else its id]
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// Seats and pool units named on the command line.
#[derive(Debug, Clone, Args)]
pub(crate) struct ItemArgs {
    /// A seat; may be repeated
    #[arg(long = "seat", value_name = "SEAT")]
    pub(crate) seats: Vec<String>,
    /// Units of a pool; may be repeated
    #[arg(long = "pool", value_name = "POOL[=N]", value_parser = pool_units)]
    pub(crate) pools: Vec<(String, u64)>,
}

impl ItemArgs {
    /// The items, `None` if none is named.
    pub(crate) fn items(&self) -> Option<Vec<Item>> {
        let seats = self.seats.iter().map(Item::seat);
        let pools = self.pools.iter().map(|(pool, quantity)| Item::pool(pool, *quantity));
        let items: Vec<Item> = seats.chain(pools).collect();
        (!items.is_empty()).then_some(items)
    }
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["seats", "pools", "best"]))]
pub(crate) struct ReserveArgs {
    pub(crate) event: String,
    #[command(flatten)]
    pub(crate) items: ItemArgs,
    /// The best N seats that are free, side by side
    #[arg(long, value_name = "N", conflicts_with_all = ["seats", "pools"])]
    pub(crate) best: Option<u64>,
    /// Best seats of this section
    #[arg(long, requires = "best")]
    pub(crate) section: Option<String>,
    /// Best seats of this category
    #[arg(long, requires = "best")]
    pub(crate) category: Option<String>,
    /// Best seats need not be side by side
    #[arg(long, requires = "best")]
    pub(crate) scattered: bool,
    #[arg(long)]
    pub(crate) customer: Option<String>,
    /// How long the hold lives [default: the event's]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Option<Duration>,
    /// Add to this hold
    #[arg(long)]
    pub(crate) token: Option<String>,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["seats", "pools", "token"]))]
pub(crate) struct BookArgs {
    pub(crate) event: String,
    /// Your id of this sale
    #[arg(long)]
    pub(crate) order: String,
    /// Book this hold, or the named items of it
    #[arg(long)]
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) items: ItemArgs,
    /// For items booked without a hold
    #[arg(long, conflicts_with = "token")]
    pub(crate) customer: Option<String>,
    /// What becomes of the rest of the hold
    #[arg(long, value_parser = ["keep", "release"], requires = "token")]
    pub(crate) rest: Option<String>,
    /// If the hold lapsed but its items are still free: book them all the same
    #[arg(long, value_parser = ["reject", "rebook"], requires = "token")]
    pub(crate) on_expired: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    pub(crate) event: String,
    #[arg(long)]
    pub(crate) token: String,
    #[command(flatten)]
    pub(crate) items: ItemArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ExtendArgs {
    pub(crate) event: String,
    #[arg(long)]
    pub(crate) token: String,
    /// From now on
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    pub(crate) event: String,
    #[arg(long)]
    pub(crate) order: String,
    #[command(flatten)]
    pub(crate) items: ItemArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RushArgs {
    /// Sell this event
    #[arg(long)]
    pub(crate) event: String,
    #[arg(long, default_value_t = 500, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub(crate) buyers: u32,
    /// A buyer takes 1 to this many at a time
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=100))]
    pub(crate) max_per_buyer: u64,
    /// While selling, kill -9 the leader this often (only a `dev` cluster); first when a fifth is sold, if that is sooner
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) kill_leader_every: Option<Duration>,
    /// A buyer takes up to this long, at random, to pay between reserve and book [default: no time; with
    /// --kill-leader-every four times that, so that the leader dies more than once while they pay]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) pay_within: Option<Duration>,
    /// Folder of the `dev` cluster [default: the one that runs at --server]
    #[arg(long, value_name = "DIR", requires = "kill_leader_every")]
    pub(crate) dev: Option<PathBuf>,
}

impl RushArgs {
    /// The longest a buyer takes to pay.
    pub(crate) fn paying(&self) -> Duration {
        self.pay_within.unwrap_or_else(|| self.kill_leader_every.map_or(Duration::ZERO, |every| every * 4))
    }
}

/// `500ms`, `1s`, `2m`, `1h`, `1.5s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration; write one such as 500ms, 10s, 5m or 1h");
    let split = text.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * unit_s).ok().filter(|d| !d.is_zero()).ok_or_else(wrong)
}

fn restart_after(text: &str) -> Result<RestartAfter, String> {
    match text {
        "never" => Ok(RestartAfter::Never),
        "0" | "0s" | "0ms" => Ok(RestartAfter::After(Duration::ZERO)),
        other => duration(other).map(RestartAfter::After),
    }
}

fn pool_capacity(text: &str) -> Result<(String, u64), String> {
    let wrong = || format!("{text:?} is not POOL=CAPACITY; write for example standing=500");
    let (pool, capacity) = text.split_once('=').ok_or_else(wrong)?;
    Ok((pool.to_owned(), capacity.parse().map_err(|_| wrong())?))
}

fn pool_units(text: &str) -> Result<(String, u64), String> {
    match text.split_once('=') {
        None => Ok((text.to_owned(), 1)),
        Some((pool, units)) => {
            let units = units.parse().map_err(|_| format!("{units:?} is not a number of units; write {pool}=2"))?;
            Ok((pool.to_owned(), units))
        }
    }
}

fn new_node(text: &str) -> Result<lastseat_client::NewNode, String> {
    let (mut id, mut api, mut peer, mut region) = (None, None, None, None);
    for part in text.split(',') {
        let (name, value) = part.split_once('=').ok_or_else(|| format!("{part:?} is not NAME=VALUE"))?;
        match name.trim() {
            "id" => id = Some(value.parse().map_err(|_| format!("id={value}: an id is a number"))?),
            "api" => api = Some(value.to_owned()),
            "peer" => peer = Some(value.to_owned()),
            "region" => region = Some(value.to_owned()),
            other => return Err(format!("{other:?} is not one of id, api, peer, region")),
        }
    }
    Ok(lastseat_client::NewNode {
        id: id.ok_or("id= is missing")?,
        api: api.ok_or("api= is missing: the URL that clients reach the node at")?,
        peer: peer.ok_or("peer= is missing: the HOST:PORT that the other nodes reach it at")?,
        region,
    })
}
