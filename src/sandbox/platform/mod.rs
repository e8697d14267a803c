//! The platform simulator: answers for the DriveMaster services and their exporters with
//! believable, deterministic traffic. Pure: no clock, no network; time is an argument.

pub(super) mod exposition;
pub mod forms;
mod kube_state;
mod pages;
pub mod scenario;
mod timeline;
mod traffic;
mod workloads;

pub use pages::Usage;
pub use scenario::Scenario;
pub use workloads::workloads;

use crate::config::model::PlatformService;
use crate::contract::Contract;
use crate::error::{Failure, Kind};
use crate::stack::Exporter;
use forms::Trouble;
use pages::Moment;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use timeline::Timeline;
use traffic::Traffic;
pub(super) use traffic::fraction;

/// Key of the exporter that tells about the pods.
const KUBE_STATE: &str = "kubeState";
/// A pod that nobody has asked for so many seconds is taken to be gone.
const POD_GONE_SECONDS: f64 = 60.0;

/// What a connection to a simulated pod gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// An HTTP answer.
    Response {
        /// HTTP status.
        status: u16,
        /// Its Content-Type.
        content_type: String,
        /// Its body.
        body: String,
    },
    /// The connection is refused.
    Refused,
}

impl Answer {
    fn new(status: u16, content_type: &str, body: impl Into<String>) -> Self {
        Answer::Response { status, content_type: content_type.to_owned(), body: body.into() }
    }
}

/// The simulated platform.
///
/// The same seed and the same questions and scenarios in the same order give the same bytes.
#[derive(Debug)]
pub struct Simulator {
    services: Vec<PlatformService>,
    exporters: Vec<&'static Exporter>,
    namespace: String,
    seed: u64,
    contract: Contract,
    traffic: Traffic,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    timeline: Timeline,
    /// Service and time of the last question, by pod.
    pods: BTreeMap<String, (String, f64)>,
}

impl State {
    /// Name of the first pod of `service`, of those that are still asked.
    fn first_pod(&self, service: &str) -> Option<String> {
        let latest = self.pods.values().map(|(_, asked)| *asked).fold(0.0, f64::max);
        let recent = |asked: f64| latest - asked < POD_GONE_SECONDS;
        let mut pods = self.pods.iter();
        pods.find(|(_, (of, asked))| of == service && recent(*asked)).map(|(name, _)| name.clone())
    }
}

impl Simulator {
    /// A simulator of `services` and `exporters` in `namespace`. Time begins with the first
    /// question.
    ///
    /// # Errors
    /// Only when an embedded file is broken, which its tests rule out.
    pub fn new(
        services: Vec<PlatformService>,
        exporters: Vec<&'static Exporter>,
        namespace: &str,
        seed: u64,
    ) -> anyhow::Result<Self> {
        Ok(Simulator {
            services,
            exporters,
            namespace: namespace.to_owned(),
            seed,
            contract: Contract::embedded()?,
            traffic: Traffic::embedded()?,
            state: Mutex::default(),
        })
    }

    /// What the pod `pod` behind `kubernetes_service` answers to `GET path` at the Unix time `now`
    /// (seconds).
    ///
    /// Services answer `/metrics` and `/health`, exporters `/metrics`; anything else is 404.
    pub fn respond(&self, kubernetes_service: &str, pod: &str, path: &str, now: f64) -> Answer {
        let not_found = || Answer::new(404, "text/plain; charset=utf-8", "not found\n");
        let service = self.services.iter().find(|service| service.name == kubernetes_service);
        let exporter = self.exporters.iter().find(|exporter| exporter.service == kubernetes_service);
        if service.is_none() && exporter.is_none() {
            return not_found();
        }
        let mut state = self.state();
        let now = state.timeline.ask(now);
        state.pods.insert(pod.to_owned(), (kubernetes_service.to_owned(), now));
        if state.timeline.effect(kubernetes_service, pod, now).refused() {
            return Answer::Refused;
        }
        let body = match (path, exporter) {
            ("/health", None) => {
                let (status, body) = self.health(&state, kubernetes_service, now);
                return Answer::new(status, "application/json", body);
            }
            ("/metrics", None) => {
                let moment = self.moment(&state, kubernetes_service, pod, now);
                pages::service_page(&self.contract, &self.traffic, &moment)
            }
            ("/metrics", Some(exporter)) if exporter.key == KUBE_STATE => self.kube_state(&state, now),
            ("/metrics", Some(exporter)) => {
                let database_down = state.timeline.effect(exporter.service, pod, now).database_down();
                let moment = self.moment(&state, kubernetes_service, pod, now);
                pages::exporter_page(&self.contract, &self.traffic, exporter.key, database_down, &moment)
            }
            _ => return not_found(),
        };
        Answer::new(200, exposition::CONTENT_TYPE, body)
    }

    /// What `pod` of a service uses at the Unix time `now` (seconds); `None` of anything else.
    pub fn usage(&self, service: &str, pod: &str, now: f64) -> Option<Usage> {
        let service = self.services.iter().find(|known| known.name == service)?;
        let mut state = self.state();
        let now = state.timeline.ask(now);
        Some(pages::usage(&self.traffic, &self.moment(&state, &service.name, pod, now)))
    }

    /// Turns `scenario` on from the latest time asked about, in place of one that says the same of
    /// the same target.
    ///
    /// # Errors
    /// [`Kind::Usage`] when its target is not simulated here.
    pub fn set_scenario(&self, scenario: Scenario) -> anyhow::Result<()> {
        let target = scenario.target();
        let simulated = self.services.iter().any(|service| service.name == target)
            || self.exporters.iter().any(|exporter| exporter.service == target);
        if !simulated {
            return Err(Failure::new(Kind::Usage, format!("`{target}` is not simulated on this sandbox"))
                .hint("only services of `platform:` are, and its exporters that are not `none`")
                .into());
        }
        let mut state = self.state();
        let scenario = if scenario.trouble() == Trouble::InstanceDown {
            let pod = state.first_pod(scenario.target()).ok_or_else(|| {
                let message = format!("nobody has asked a pod of `{target}` yet", target = scenario.target());
                Failure::new(Kind::Usage, message).hint("try again after its first scrape")
            })?;
            scenario.for_pod(&pod)
        } else {
            scenario
        };
        state.timeline.set(scenario);
        Ok(())
    }

    /// Turns off what says the same of the same target as `scenario`, whatever its amount.
    ///
    /// # Errors
    /// [`Kind::Usage`] when it is not on.
    pub fn clear_one(&self, scenario: &Scenario) -> anyhow::Result<()> {
        if self.state().timeline.clear_one(scenario) {
            return Ok(());
        }
        let on: Vec<String> = self.scenarios().iter().map(ToString::to_string).collect();
        let on = if on.is_empty() { "no scenario is on".to_owned() } else { format!("on: {}", on.join(", ")) };
        Err(Failure::new(Kind::Usage, format!("scenario `{scenario}` is not on")).hint(on).into())
    }

    /// Turns every scenario off.
    pub fn clear(&self) {
        self.state().timeline.clear();
    }

    /// The scenarios that are on, oldest first.
    pub fn scenarios(&self) -> Vec<Scenario> {
        self.state().timeline.active().to_vec()
    }

    /// Whether `pod` of `kubernetes_service` refuses connections at the Unix time `now` (seconds).
    pub fn refuses(&self, kubernetes_service: &str, pod: &str, now: f64) -> bool {
        self.state().timeline.effect(kubernetes_service, pod, now).refused()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; were it so, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moment<'a>(&self, state: &State, service: &'a str, pod: &'a str, now: f64) -> Moment<'a> {
        let is_service = self.services.iter().any(|known| known.name == service);
        let phase = fraction(self.seed, [service]);
        // While a service is down it serves nothing; what an exporter watches goes on without it.
        let idle = |effect: &timeline::Effect| effect.database_down() || (is_service && effect.refused());
        let weight = if is_service {
            let pods = f64::from(self.traffic.service(service).pods);
            (1.0 + 0.1 * (2.0 * fraction(self.seed, [service, pod]) - 1.0)) / pods
        } else {
            1.0
        };
        Moment {
            seed: self.seed,
            service,
            pod,
            now,
            started: state.timeline.started(now),
            phase,
            weight,
            effect: state.timeline.effect(service, pod, now),
            stretches: state.timeline.stretches((service, pod), now, phase, idle),
        }
    }

    fn health(&self, state: &State, service: &str, now: f64) -> (u16, String) {
        let healthy = |check: &str| {
            let key = match check {
                "database" => "postgresql",
                "cache" => "redis",
                "queue" => "kafka",
                _ => "elasticsearch",
            };
            let exporter = self.exporters.iter().find(|exporter| exporter.key == key);
            exporter.is_none_or(|exporter| !state.timeline.effect(exporter.service, "", now).database_down())
        };
        let checks = &self.traffic.service(service).checks;
        let checks: Vec<(&str, bool)> = checks.iter().map(|check| (check.as_str(), healthy(check))).collect();
        pages::health(service, &checks)
    }

    fn kube_state(&self, state: &State, now: f64) -> String {
        let refused = |service: &str, pod: &str| state.timeline.effect(service, pod, now).refused();
        let pods: Vec<_> = state
            .pods
            .iter()
            .filter(|(_, (_, asked))| now - asked < POD_GONE_SECONDS)
            .map(|(name, (service, _))| kube_state::PodState { name, service, ready: !refused(service, name) })
            .collect();
        let services =
            self.services.iter().map(|service| (service.name.as_str(), self.traffic.service(&service.name).pods));
        let exporters = self.exporters.iter().map(|exporter| (exporter.service, 1));
        let available = |name: &str, wanted: u32| {
            let struck =
                |scenario: &&Scenario| scenario.trouble() == Trouble::InstanceDown && scenario.target() == name;
            let one_down = u32::from(state.timeline.active().iter().any(|scenario| struck(&scenario)));
            // No pod has the empty name: what strikes it strikes all.
            if refused(name, "") { 0 } else { wanted.saturating_sub(one_down) }
        };
        let deployments: Vec<_> = services
            .chain(exporters)
            .map(|(name, wanted)| kube_state::DeploymentState { name, wanted, available: available(name, wanted) })
            .collect();
        kube_state::page(&self.contract, &self.namespace, &pods, &deployments)
    }
}

#[cfg(test)]
mod tests;
