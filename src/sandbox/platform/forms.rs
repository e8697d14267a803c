//! The scenarios: what can go wrong on the simulated platform, where, and by how much. One table;
//! what a row does to the metrics stands beside the series in `traffic.yaml`, under its name.

use serde::Deserialize;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// A share of the requests fails with a 5xx status.
    Errors,
    /// Every request takes longer.
    Latency,
    /// Connections are refused.
    Down,
    /// One pod refuses connections.
    InstanceDown,
    /// The program behind an exporter is down; the exporter itself answers and says so.
    DatabaseDown,
    /// Memory fills up.
    Memory,
    /// The processor is busy.
    Cpu,
    /// The node has more to do than it can.
    Load,
    /// A file system fills up.
    Disk,
    /// Connections come close to the most that are taken.
    Connections,
    /// A cache misses.
    CacheMisses,
    /// The replica is behind.
    ReplicationLag,
    /// Consumers do not keep up.
    KafkaLag,
    /// A primary shard is missing.
    ElasticsearchRed,
    /// Learners learn little.
    EffectivenessLow,
    /// Learners stay only a short time.
    EngagementLow,
}

/// One scenario that can be set.
#[derive(Debug, PartialEq)]
pub struct Form {
    /// What goes wrong.
    pub trouble: Trouble,
    /// First word of the scenario.
    pub name: &'static str,
    /// The services that it can strike.
    pub services: Services,
    /// Keys of the exporters that it can strike.
    pub exporters: &'static [&'static str],
    /// Which of both is meant where none is written.
    pub usual_target: Option<&'static str>,
    /// How bad it is; `None` where there is nothing to say.
    pub amount: Option<Amount>,
    /// What happens, for people.
    pub meaning: &'static str,
}

/// Services that a scenario can strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Services {
    /// None.
    None,
    /// Every one.
    All,
    /// The one that exposes what is struck.
    One(&'static str),
}

/// How bad a scenario is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Amount {
    /// How it is written.
    pub unit: Unit,
    /// What holds where none is written: enough to make the alert fire.
    pub usual: f64,
    /// The most that makes sense.
    pub most: f64,
}

/// Unit of an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Written as `8%`, held as a share between 0 and 1.
    Percent,
    /// Written as `300ms`.
    Milliseconds,
    /// Written as `90s`.
    Seconds,
    /// A bare number of messages.
    Messages,
    /// A bare number between 0 and 1.
    Score,
    /// A bare load average.
    Load,
}

impl Unit {
    /// Its place in a form.
    pub(super) fn word(self) -> &'static str {
        match self {
            Unit::Percent => "PERCENT%",
            Unit::Milliseconds => "MILLISECONDSms",
            Unit::Seconds => "SECONDSs",
            Unit::Messages => "MESSAGES",
            Unit::Score => "SCORE",
            Unit::Load => "LOAD",
        }
    }

    /// What follows the number.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            Unit::Percent => "%",
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::Messages | Unit::Score | Unit::Load => "",
        }
    }

    /// How much of the amount one written unit is.
    pub(super) fn scale(self) -> f64 {
        if self == Unit::Percent { 0.01 } else { 1.0 }
    }
}

const fn amount(unit: Unit, usual: f64, most: f64) -> Option<Amount> {
    Some(Amount { unit, usual, most })
}

const fn percent(usual: f64) -> Option<Amount> {
    amount(Unit::Percent, usual, 1.0)
}

/// Seconds in a day.
const DAY: f64 = 86_400.0;

/// Every scenario, in the order people see them.
pub const FORMS: &[Form] = &[
    Form {
        trouble: Trouble::Errors,
        name: "errors",
        services: Services::All,
        exporters: &[],
        usual_target: None,
        amount: percent(0.08),
        meaning: "that share of the requests fails with a 5xx status",
    },
    Form {
        trouble: Trouble::Latency,
        name: "latency",
        services: Services::All,
        exporters: &[],
        usual_target: None,
        // Prometheus itself gives up a scrape after 10 s.
        amount: amount(Unit::Milliseconds, 300.0, 60_000.0),
        meaning: "every request takes so much longer",
    },
    Form {
        trouble: Trouble::Down,
        name: "down",
        services: Services::All,
        exporters: &["postgresql", "redis", "kafka", "elasticsearch", "node", "kubeState"],
        usual_target: None,
        amount: None,
        meaning: "connections are refused",
    },
    Form {
        trouble: Trouble::InstanceDown,
        name: "instance-down",
        services: Services::All,
        exporters: &[],
        usual_target: None,
        amount: None,
        meaning: "the first pod of the service refuses connections; the others serve",
    },
    Form {
        trouble: Trouble::DatabaseDown,
        name: "database-down",
        services: Services::None,
        exporters: &["postgresql", "redis", "kafka", "elasticsearch"],
        usual_target: None,
        amount: None,
        meaning: "the program behind the exporter is down; the exporter answers and says so",
    },
    Form {
        trouble: Trouble::Memory,
        name: "memory",
        services: Services::All,
        exporters: &["redis", "node"],
        usual_target: None,
        amount: percent(0.92),
        meaning: "so much memory is used: of the limit of each pod, of Redis' maximum, of the node",
    },
    Form {
        trouble: Trouble::Cpu,
        name: "cpu",
        services: Services::All,
        exporters: &["node"],
        usual_target: None,
        amount: percent(0.95),
        meaning: "the processor is so busy: one core for each pod, or all cores of the node",
    },
    Form {
        trouble: Trouble::Load,
        name: "load",
        services: Services::None,
        exporters: &["node"],
        usual_target: Some("node"),
        amount: amount(Unit::Load, 12.0, 1000.0),
        meaning: "load average of the node, which has 4 cores",
    },
    Form {
        trouble: Trouble::Disk,
        name: "disk",
        services: Services::None,
        exporters: &["node", "elasticsearch"],
        usual_target: Some("node"),
        amount: percent(0.92),
        meaning: "so much of the file system is used",
    },
    Form {
        trouble: Trouble::Connections,
        name: "connections",
        services: Services::None,
        exporters: &["postgresql", "redis"],
        usual_target: None,
        amount: percent(0.92),
        meaning: "so many of the connections that the server takes are in use",
    },
    Form {
        trouble: Trouble::CacheMisses,
        name: "cache-misses",
        services: Services::None,
        exporters: &["postgresql", "redis"],
        usual_target: None,
        amount: percent(0.2),
        meaning: "that share of the lookups is not found in the cache",
    },
    Form {
        trouble: Trouble::ReplicationLag,
        name: "replication-lag",
        services: Services::None,
        exporters: &["postgresql"],
        usual_target: Some("postgresql"),
        amount: amount(Unit::Seconds, 90.0, DAY),
        meaning: "the replica is so far behind",
    },
    Form {
        trouble: Trouble::KafkaLag,
        name: "kafka-lag",
        services: Services::None,
        exporters: &["kafka"],
        usual_target: Some("kafka"),
        amount: amount(Unit::Messages, 5000.0, 1e9),
        meaning: "each consumer group has so many messages left to read",
    },
    Form {
        trouble: Trouble::ElasticsearchRed,
        name: "elasticsearch-red",
        services: Services::None,
        exporters: &["elasticsearch"],
        usual_target: Some("elasticsearch"),
        amount: None,
        meaning: "a primary shard is missing",
    },
    Form {
        trouble: Trouble::EffectivenessLow,
        name: "effectiveness-low",
        services: Services::One("adaptive-service"),
        exporters: &[],
        usual_target: Some("adaptive-service"),
        amount: amount(Unit::Score, 0.6, 1.0),
        meaning: "learning effectiveness, between 0 and 1",
    },
    Form {
        trouble: Trouble::EngagementLow,
        name: "engagement-low",
        services: Services::One("user-service"),
        exporters: &[],
        usual_target: Some("user-service"),
        amount: amount(Unit::Seconds, 180.0, DAY),
        meaning: "sessions last so long on average",
    },
];

/// How many exporters a form lists by their keys; more are the word EXPORTER.
const LISTED: usize = 3;

impl Form {
    /// Whether a target can be written: not where there is only one.
    pub(super) fn names_target(&self) -> bool {
        self.usual_target.is_none() || self.exporters.len() > 1
    }

    /// How it is written; what stands in brackets may be left out.
    pub fn usage(&self) -> String {
        let service = (self.services == Services::All).then_some("SERVICE");
        let exporters: &[&str] = if self.exporters.len() > LISTED { &["EXPORTER"] } else { self.exporters };
        let target = service.into_iter().chain(exporters.iter().copied()).collect::<Vec<_>>().join("|");
        let target = match (self.names_target(), self.usual_target) {
            (false, _) => String::new(),
            (true, None) => format!(" {target}"),
            (true, Some(_)) => format!(" [{target}]"),
        };
        let amount = self.amount.map_or_else(String::new, |amount| format!(" [{}]", amount.unit.word()));
        format!("{}{target}{amount}", self.name)
    }
}
