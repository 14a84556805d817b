//! The configuration of one node: flags > environment (`LASTSEAT_…`) > file (TOML) > defaults.
//!
//! The only module that knows how the layers are merged. What comes out is a [`NodeConfig`] that can be run, or a text
//! that says which value is wrong, where it comes from and what to do.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Serialize};

use crate::node::NodeConfig;
use crate::watch::Retention;
use crate::watch::limits::{DAY_MS, HISTORY_CHANGES_DEFAULT, HISTORY_DAYS_DEFAULT};

/// The consensus library tells its every step at `info`; a node's log is for its operator.
const LOG_LEVEL: &str = "info,openraft=warn";

const ENV_PREFIX: &str = "LASTSEAT_";
/// Variable that names the file, for when `--config` does not.
const ENV_FILE: &str = "LASTSEAT_CONFIG";

/// Variables of ours that are no settings of a node.
const ENV_OTHERS: [&str; 2] = [ENV_FILE, "LASTSEAT_SERVER"];

/// What `serve` takes on the command line. Each may as well stand in the environment or in the file.
#[derive(Debug, Clone, Default, Args, Serialize)]
pub(crate) struct ServeFlags {
    /// Number of this node, never used again for another
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) node_id: Option<u64>,
    /// Folder of this node's data
    #[arg(long, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<PathBuf>,
    /// Where clients connect [default: 127.0.0.1:7401]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<SocketAddr>,
    /// Where the other nodes connect [default: 127.0.0.1:7501]
    #[arg(long, value_name = "ADDR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer_listen: Option<SocketAddr>,
    /// Address the other nodes are told [default: that of --peer-listen]
    #[arg(long, value_name = "HOST:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer_advertise: Option<String>,
    /// URL clients are told [default: that of --listen]
    #[arg(long, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_advertise: Option<String>,
    /// Name of the region this node is in [default: default]
    #[arg(long, value_name = "R")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) region: Option<String>,
    /// Listen beyond loopback although nothing protects the node
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) insecure: Option<bool>,
    /// Slower timers, for nodes far from each other
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) wide_area: Option<bool>,
    /// Change sets kept for streams that come back [default: 1000000]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) history_changes: Option<u64>,
    /// Days they are kept [default: 7]
    #[arg(long, value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) history_days: Option<u64>,
    /// Let webhooks reach private networks and this machine
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) webhook_allow_private: Option<bool>,
    /// How log lines look [default: text]
    #[arg(long, value_enum)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<LogFormat>,
    /// What is logged: error, warn, info, debug, trace, or a filter such as info,lastseat=debug [default: info,openraft=warn]
    #[arg(long, value_name = "LEVEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_level: Option<String>,
    /// Configuration file (TOML), with the names of these flags, _ for -
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The merged values, before they are checked against each other. Its field names are those of the file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<PathBuf>,
    listen: SocketAddr,
    peer_listen: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_advertise: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_advertise: Option<String>,
    region: String,
    insecure: bool,
    wide_area: bool,
    history_changes: u64,
    history_days: u64,
    webhook_allow_private: bool,
    log_format: LogFormat,
    log_level: String,
}

/// Every name of a setting, in the order they are shown, with how the environment's text is read.
const NAMES: [(&str, Kind); 14] = [
    ("node_id", Kind::Number),
    ("data", Kind::Text),
    ("listen", Kind::Text),
    ("peer_listen", Kind::Text),
    ("peer_advertise", Kind::Text),
    ("api_advertise", Kind::Text),
    ("region", Kind::Text),
    ("insecure", Kind::Switch),
    ("wide_area", Kind::Switch),
    ("history_changes", Kind::Number),
    ("history_days", Kind::Number),
    ("webhook_allow_private", Kind::Switch),
    ("log_format", Kind::Text),
    ("log_level", Kind::Text),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    Switch,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node_id: None,
            data: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 7401)),
            peer_listen: SocketAddr::from(([127, 0, 0, 1], 7501)),
            peer_advertise: None,
            api_advertise: None,
            region: "default".into(),
            insecure: false,
            wide_area: false,
            history_changes: HISTORY_CHANGES_DEFAULT,
            history_days: HISTORY_DAYS_DEFAULT,
            webhook_allow_private: false,
            log_format: LogFormat::Text,
            log_level: LOG_LEVEL.into(),
        }
    }
}

/// How and what to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogConfig {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

/// The process's environment, as far as it concerns us.
pub(crate) fn environment() -> BTreeMap<String, String> {
    let ours = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
    std::env::vars_os().filter_map(ours).filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect()
}

/// Variables that begin like ours and mean nothing: most likely misspelt.
pub(crate) fn unknown_variables(env: &BTreeMap<String, String>) -> Vec<&str> {
    let known = |name: &str| {
        let setting = name.strip_prefix(ENV_PREFIX).unwrap_or_default();
        ENV_OTHERS.contains(&name) || NAMES.iter().any(|(known, _)| known.to_uppercase() == setting)
    };
    env.keys().map(String::as_str).filter(|name| !known(name)).collect()
}

/// All layers merged and checked.
pub(crate) struct Resolved {
    pub(crate) node: NodeConfig,
    pub(crate) log: LogConfig,
}

/// Merges the layers and checks the result. An error names the value, its origin, and what to do.
pub(crate) fn resolve(flags: &ServeFlags, env: &BTreeMap<String, String>) -> Result<Resolved, String> {
    let settings = extract(&layers(flags, env)?)?;
    let missing = |flag: &str, example: &str| {
        let variable = format!("{ENV_PREFIX}{}", flag.to_uppercase());
        format!(
            "--{} is missing; give it, or {variable}, or a line \"{flag} = …\" in the file, for example {example}",
            flag.replace('_', "-")
        )
    };
    let node = NodeConfig {
        node_id: match settings.node_id {
            Some(0) => return Err("the node id is 0; ids begin at 1, for example --node-id 1".to_owned()),
            Some(id) => id,
            None => return Err(missing("node_id", "--node-id 1")),
        },
        data: settings.data.clone().ok_or_else(|| missing("data", "--data /var/lib/lastseat"))?,
        listen: settings.listen,
        peer_listen: settings.peer_listen,
        peer_advertise: advertised("peer", settings.peer_advertise.as_deref(), settings.peer_listen)?,
        api_advertise: match &settings.api_advertise {
            Some(url) => api_url(url)?,
            None => format!("http://{}", advertised("api", None, settings.listen)?),
        },
        region: settings.region.clone(),
        insecure: settings.insecure,
        wide_area: settings.wide_area,
        dev_control: None,
        retention: retention(&settings)?,
        webhook_allow_private: settings.webhook_allow_private,
    };
    refuse_open_door(&node)?;
    Ok(Resolved { node, log: LogConfig { format: settings.log_format, level: settings.log_level } })
}

fn retention(settings: &Settings) -> Result<Retention, String> {
    for (flag, value) in [("--history-changes", settings.history_changes), ("--history-days", settings.history_days)] {
        if value == 0 {
            return Err(format!("{flag} 0 would keep nothing for streams that come back; give 1 or more"));
        }
    }
    Ok(Retention { changes: settings.history_changes, age_ms: settings.history_days.saturating_mul(DAY_MS) })
}

/// Every value with where it comes from: `(name, value, origin)`.
pub(crate) fn origins(
    flags: &ServeFlags,
    env: &BTreeMap<String, String>,
) -> Result<Vec<(&'static str, String, String)>, String> {
    let figment = layers(flags, env)?;
    extract(&figment)?;
    let row = |(name, _): &(&'static str, Kind)| {
        let Ok(value) = figment.find_value(name) else { return (*name, "-".into(), "not set".into()) };
        let origin = figment.find_metadata(name).map_or("default".into(), |from| origin_of(from, name));
        (*name, show(&value), origin)
    };
    Ok(NAMES.iter().map(row).collect())
}

fn layers(flags: &ServeFlags, env: &BTreeMap<String, String>) -> Result<Figment, String> {
    let mut figment = Figment::from(Serialized::defaults(Settings::default()));
    let file = flags.config.clone().or_else(|| env.get(ENV_FILE).map(PathBuf::from));
    if let Some(file) = file {
        if !file.is_file() {
            return Err(format!(
                "the configuration file {} is not there; check --config or {ENV_FILE}",
                file.display()
            ));
        }
        figment = figment.merge(Toml::file_exact(file));
    }
    Ok(figment.merge(EnvLayer(env)).merge(FlagLayer(flags)))
}

fn extract(figment: &Figment) -> Result<Settings, String> {
    figment.extract().map_err(|error| {
        let first = error.into_iter().next().expect("an error names at least one cause");
        let name = first.path.join(".");
        let origin = first.metadata.as_ref().map_or_else(String::new, |from| format!(" ({})", origin_of(from, &name)));
        let name = if name.is_empty() { "the configuration".to_owned() } else { name };
        // Its sentences quote names with backquotes; quoted once more they would nest.
        let wrong = first.kind.to_string().replace('`', "\"");
        format!("{name}{origin}: {wrong}; see lastseat serve --help for the names and values")
    })
}

/// The environment, each variable read as the kind of value its setting is.
struct EnvLayer<'a>(&'a BTreeMap<String, String>);

impl Provider for EnvLayer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("environment")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut dict = Dict::new();
        for (name, kind) in NAMES {
            let Some(text) = self.0.get(&format!("{ENV_PREFIX}{}", name.to_uppercase())) else { continue };
            dict.insert(name.to_owned(), kind.read(text));
        }
        Ok(Map::from([(Profile::Default, dict)]))
    }
}

impl Kind {
    /// A text that is not of the kind stays a text: the merge then says which setting is wrong.
    fn read(self, text: &str) -> Value {
        match (self, text) {
            (Kind::Number, _) => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
            (Kind::Switch, "1" | "true" | "yes" | "on") => Value::from(true),
            (Kind::Switch, "0" | "false" | "no" | "off" | "") => Value::from(false),
            (Kind::Switch | Kind::Text, _) => Value::from(text),
        }
    }
}

struct FlagLayer<'a>(&'a ServeFlags);

impl Provider for FlagLayer<'_> {
    fn metadata(&self) -> Metadata {
        Metadata::named("flag")
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Serialized::defaults(self.0).data()
    }
}

fn origin_of(from: &Metadata, name: &str) -> String {
    match (&*from.name, &from.source) {
        ("environment", _) => format!("environment {ENV_PREFIX}{}", name.to_uppercase()),
        ("flag", _) => format!("flag --{}", name.replace('_', "-")),
        (_, Some(figment::Source::File(path))) => format!("file {}", path.display()),
        (_, Some(_) | None) => "default".into(),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        other => serde_json::to_value(other).map_or_else(|_| "?".into(), |json| json.to_string()),
    }
}

/// The address to tell others: the one given, else the one listened on, unless that is no address to connect to.
fn advertised(which: &str, given: Option<&str>, listen: SocketAddr) -> Result<String, String> {
    if let Some(given) = given {
        let port = given.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
        return match port {
            Some(Ok(_)) => Ok(given.to_owned()),
            Some(Err(_)) | None => Err(format!("--{which}-advertise {given}: write HOST:PORT, for example node1:7501")),
        };
    }
    if listen.ip().is_unspecified() {
        return Err(format!(
            "listening on {listen}, the node cannot know how others reach it; give --{which}-advertise with its host name or address"
        ));
    }
    Ok(listen.to_string())
}

fn api_url(url: &str) -> Result<String, String> {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(format!("--api-advertise {url}: write a URL, for example http://node1:7401"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// There are no keys and no TLS yet: whoever reaches a port can sell, and can join the cluster.
fn refuse_open_door(node: &NodeConfig) -> Result<(), String> {
    if node.insecure {
        return Ok(());
    }
    for (flag, address) in [("--listen", node.listen), ("--peer-listen", node.peer_listen)] {
        if !address.ip().is_loopback() {
            return Err(format!(
                "{flag} {address} is reachable from other machines, and nothing protects the node yet: anyone who \
                 reaches it could sell and delete. Listen on 127.0.0.1, or, on a network you trust, add --insecure"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn flags() -> ServeFlags {
        ServeFlags { node_id: Some(1), data: Some("/tmp/x".into()), ..ServeFlags::default() }
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = file("region = 'file'\nwide_area = true\nlisten = '127.0.0.1:1'\nlog_level = 'warn'\n");
        let env = env(&[("LASTSEAT_REGION", "env"), ("LASTSEAT_LISTEN", "127.0.0.1:2"), ("LASTSEAT_SERVER", "x")]);
        let flags = ServeFlags {
            region: Some("flag".into()),
            config: Some(file.path().to_owned()),
            log_format: Some(LogFormat::Json),
            ..flags()
        };
        let resolved = resolve(&flags, &env).unwrap();
        assert_eq!(resolved.node.region, "flag");
        assert_eq!(resolved.node.listen.port(), 2);
        assert!(resolved.node.wide_area);
        assert_eq!(resolved.node.peer_listen.port(), 7501);
        assert_eq!(resolved.log, LogConfig { format: LogFormat::Json, level: "warn".into() });
        assert_eq!(resolved.node.api_advertise, "http://127.0.0.1:2");
        assert_eq!(resolved.node.peer_advertise, "127.0.0.1:7501");

        let rows = origins(&flags, &env).unwrap();
        let origin = |name: &str| rows.iter().find(|row| row.0 == name).unwrap().2.clone();
        assert_eq!(origin("region"), "flag --region");
        assert_eq!(origin("listen"), "environment LASTSEAT_LISTEN");
        assert!(origin("wide_area").starts_with("file "), "{}", origin("wide_area"));
        assert_eq!(origin("peer_listen"), "default");
        assert_eq!(origin("api_advertise"), "not set");
    }

    #[test]
    fn environment_reads_numbers_and_switches_by_the_setting() {
        let env = env(&[
            ("LASTSEAT_NODE_ID", "3"),
            ("LASTSEAT_DATA", "12"),
            ("LASTSEAT_REGION", "7"),
            ("LASTSEAT_INSECURE", "1"),
        ]);
        let node = resolve(&ServeFlags::default(), &env).unwrap().node;
        assert_eq!((node.node_id, node.region.as_str(), node.insecure), (3, "7", true));
        assert_eq!(node.data, PathBuf::from("12"));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_origin() {
        let wrong = env(&[("LASTSEAT_NODE_ID", "first")]);
        let error = resolve(&ServeFlags::default(), &wrong).err().unwrap();
        assert!(error.contains("node_id") && error.contains("LASTSEAT_NODE_ID"), "{error}");

        let file = file("regoin = 'eu'\n");
        let error = resolve(&ServeFlags { config: Some(file.path().to_owned()), ..flags() }, &env(&[])).err().unwrap();
        assert!(error.contains("regoin") && !error.contains('`'), "{error}");

        let gone = ServeFlags { config: Some("/nowhere/lastseat.toml".into()), ..flags() };
        assert!(resolve(&gone, &env(&[])).err().unwrap().contains("/nowhere/lastseat.toml"));
    }

    #[test]
    fn a_misspelt_variable_is_noticed() {
        let env = env(&[("LASTSEAT_REGOIN", "eu"), ("LASTSEAT_REGION", "eu"), ("LASTSEAT_SERVER", "x")]);
        assert_eq!(unknown_variables(&env), ["LASTSEAT_REGOIN"]);
    }

    #[test]
    fn node_zero_is_not_missing_but_wrong() {
        let error = resolve(&ServeFlags { node_id: Some(0), ..flags() }, &env(&[])).err().unwrap();
        assert!(error.contains("is 0") && !error.contains("missing"), "{error}");
    }

    #[test]
    fn what_has_no_default_is_asked_for() {
        let error = resolve(&ServeFlags::default(), &env(&[])).err().unwrap();
        assert!(error.contains("--node-id") && error.contains("LASTSEAT_NODE_ID"), "{error}");
    }

    #[test]
    fn an_open_door_needs_insecure() {
        let open = ServeFlags {
            listen: Some("0.0.0.0:7401".parse().unwrap()),
            api_advertise: Some("http://node1:7401/".into()),
            ..flags()
        };
        let error = resolve(&open, &env(&[])).err().unwrap();
        assert!(error.contains("--insecure"), "{error}");
        let node = resolve(&ServeFlags { insecure: Some(true), ..open.clone() }, &env(&[])).unwrap().node;
        assert_eq!(node.api_advertise, "http://node1:7401");

        let peers = ServeFlags { peer_listen: Some("192.168.0.7:7501".parse().unwrap()), ..flags() };
        assert!(resolve(&peers, &env(&[])).err().unwrap().contains("--peer-listen"));
        let unsaid = ServeFlags { insecure: Some(true), api_advertise: None, ..open };
        assert!(resolve(&unsaid, &env(&[])).err().unwrap().contains("--api-advertise"));
    }
}
