//! Asks the cluster and the programs for the facts that are needed, all at once. Reads only.

use super::facts::{CannotAsk, Fact, Facts, Need, ReleaseFact, ServiceFact};
use super::judge::WATCHDOG;
use super::reach::{Reach, Way};
use crate::cluster::forward::message_of;
use crate::cluster::observe;
use crate::cluster::snapshot::snapshot;
use crate::config::Config;
use crate::error::{Kind, chain_of, failure_of};
use crate::plan::model::ObservedRelease;
use crate::ready::Snapshot;
use crate::render::Bundle;
use crate::stack;
use crate::telemetry::{Alertmanager, HttpError, Prometheus};
use futures::future::{join_all, try_join_all};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, ListParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::timeout;

/// How long the API server may take for one answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What is asked, and of whom.
pub(super) struct Questions<'a> {
    pub(super) client: Option<&'a Client>,
    pub(super) config: &'a Config,
    pub(super) bundle: &'a Bundle,
    pub(super) reach: &'a Reach,
}

/// Asks for the facts of `needs`; the others say that they were not asked.
pub(super) async fn gather(questions: &Questions<'_>, needs: &BTreeSet<Need>) -> Facts {
    let Questions { client, config, bundle, reach } = questions;
    let cluster = client.ok_or_else(|| CannotAsk::lasting("no cluster is given"));
    let monitoring = config.namespaces.monitoring.as_str();
    macro_rules! when {
        ($need:ident, $question:expr) => {
            async {
                match needs.contains(&Need::$need) {
                    true => $question.await,
                    false => Err(CannotAsk::lasting("not asked")),
                }
            }
        };
    }
    // Each question about the cluster fails by itself: a person may be allowed some of them only.
    let cluster_facts = async {
        tokio::join!(
            when!(ApiServer, async { api_server(cluster.clone()?).await }),
            when!(Releases, async { releases(cluster.clone()?, bundle).await }),
            when!(Snapshot, async { monitoring_namespace(cluster.clone()?, monitoring).await }),
            when!(Services, async { services(cluster.clone()?, bundle).await }),
            when!(Dashboards, async { dashboards(cluster.clone()?, bundle).await }),
            when!(DeployedRoutes, async { deployed_routes(cluster.clone()?, monitoring).await }),
        )
    };
    let program_facts = async {
        tokio::join!(
            when!(Targets, prometheus(reach, async |prometheus| prometheus.targets().await)),
            when!(Rules, prometheus(reach, async |prometheus| prometheus.rules().await)),
            // After the rules, so that no evaluation lies in the future of this clock by much.
            when!(Rules, prometheus(reach, async |prometheus| prometheus.now().await)),
            when!(
                KnownAlertmanagers,
                prometheus(reach, async |prometheus| {
                    let known = prometheus.alertmanagers().await?.active_alertmanagers;
                    Ok(known.into_iter().map(|known| known.url).collect())
                })
            ),
            when!(
                LoadedRoutes,
                alertmanager(reach, async |alertmanager| Ok(alertmanager.status().await?.config.original))
            ),
            when!(
                Watchdog,
                alertmanager(reach, async |alertmanager| {
                    alertmanager.alerts(&[&format!("alertname=\"{WATCHDOG}\"")]).await
                })
            ),
            programs(reach, config, needs),
        )
    };
    let (cluster_facts, program_facts) = tokio::join!(cluster_facts, program_facts);
    let (api_server, releases, snapshot, services, dashboards, deployed_routes) = cluster_facts;
    let (targets, rules, now, known_alertmanagers, loaded_routes, watchdog, programs) = program_facts;
    Facts {
        api_server,
        releases,
        snapshot,
        services,
        dashboards,
        programs,
        targets,
        rules,
        now,
        known_alertmanagers,
        deployed_routes,
        loaded_routes,
        watchdog,
    }
}

/// Waits for an answer of the API server.
async fn answer<T>(question: impl Future<Output = kube::Result<T>>) -> Fact<T> {
    match timeout(ANSWER_LIMIT, question).await {
        Ok(Ok(answer)) => Ok(answer),
        // It answered; asking again would not change its mind.
        Ok(Err(error @ kube::Error::Api(_))) => Err(CannotAsk::lasting(message_of(&error))),
        Ok(Err(error)) => Err(CannotAsk::passing(format!("the API server cannot be reached: {}", message_of(&error)))),
        Err(_) => Err(CannotAsk::passing(format!("the API server did not answer in {} s", ANSWER_LIMIT.as_secs()))),
    }
}

async fn list<K>(client: &Client, namespace: &str, parameters: &ListParams) -> Fact<Vec<K>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    Ok(answer(objects.list(parameters)).await?.items)
}

async fn get<K>(client: &Client, namespace: &str, name: &str) -> Fact<Option<K>>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let objects: Api<K> = Api::namespaced(client.clone(), namespace);
    answer(objects.get_opt(name)).await
}

async fn api_server(client: &Client) -> Fact<String> {
    Ok(answer(client.apiserver_version()).await?.git_version)
}

/// The newest revision of each release of the bundle's namespaces.
pub(super) async fn releases(client: &Client, bundle: &Bundle) -> Fact<Vec<ReleaseFact>> {
    let namespaces: BTreeSet<&str> = bundle.releases.iter().map(|release| release.namespace.as_str()).collect();
    let lists = namespaces.into_iter().map(|namespace| read(observe::releases(client, namespace)));
    let found = try_join_all(lists).await?.into_iter().flatten();
    let fact = |((namespace, name), release): ((String, String), ObservedRelease)| ReleaseFact {
        namespace,
        name,
        status: release.status,
        revision: release.revision,
        chart_digest: release.chart_digest,
    };
    Ok(found.map(fact).collect())
}

/// What the monitoring namespace holds.
pub(super) async fn monitoring_namespace(client: &Client, namespace: &str) -> Fact<Snapshot> {
    read(snapshot(client, namespace)).await
}

/// Waits for what a read of the cluster found.
async fn read<T>(found: impl Future<Output = anyhow::Result<T>>) -> Fact<T> {
    match timeout(ANSWER_LIMIT, found).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => {
            let reason = chain_of(&error).join(": ");
            // What is not allowed now will not be allowed in a minute.
            let refused = failure_of(&error).is_some_and(|failure| failure.kind == Kind::Refused);
            Err(if refused { CannotAsk::lasting(reason) } else { CannotAsk::passing(reason) })
        }
        Err(_) => Err(CannotAsk::passing(format!("the API server did not answer in {} s", ANSWER_LIMIT.as_secs()))),
    }
}

async fn services(client: &Client, bundle: &Bundle) -> Fact<BTreeMap<String, ServiceFact>> {
    let expected = &bundle.expected.targets;
    let namespaces: BTreeSet<&str> = expected.iter().map(|target| target.namespace.as_str()).collect();
    let everything = ListParams::default();
    let lists = namespaces.into_iter().map(async |namespace| {
        let services = list::<Service>(client, namespace, &everything).await?;
        let slices = list::<EndpointSlice>(client, namespace, &everything).await?;
        Ok((namespace, (services, slices)))
    });
    let found: BTreeMap<&str, (Vec<Service>, Vec<EndpointSlice>)> = try_join_all(lists).await?.into_iter().collect();
    let facts = expected.iter().filter_map(|target| {
        let (services, slices) = found.get(target.namespace.as_str())?;
        let exists = services.iter().any(|service| service.metadata.name.as_deref() == Some(&target.service));
        let fact = if exists {
            ServiceFact::Endpoints(ready_endpoints(slices, &target.service))
        } else {
            ServiceFact::Missing
        };
        Some((target.job.clone(), fact))
    });
    Ok(facts.collect())
}

/// How many pods (or addresses without a pod) of the Service are ready.
fn ready_endpoints(slices: &[EndpointSlice], service: &str) -> usize {
    let of_service = slices.iter().filter(|slice| {
        slice.metadata.labels.as_ref().and_then(|labels| labels.get("kubernetes.io/service-name")).map(String::as_str)
            == Some(service)
    });
    let ready = of_service
        .flat_map(|slice| &slice.endpoints)
        .filter(|endpoint| endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true));
    // A pod with two address families stands in two slices.
    let names: BTreeSet<&str> = ready
        .filter_map(|endpoint| {
            let pod = endpoint.target_ref.as_ref().and_then(|reference| reference.name.as_deref());
            pod.or_else(|| endpoint.addresses.first().map(String::as_str))
        })
        .collect();
    names.len()
}

async fn dashboards(client: &Client, bundle: &Bundle) -> Fact<BTreeMap<(String, String), Option<ConfigMap>>> {
    let all = bundle.expected.dashboards.iter().map(async |dashboard| {
        let found = get::<ConfigMap>(client, &dashboard.namespace, &dashboard.config_map).await?;
        Ok(((dashboard.namespace.clone(), dashboard.config_map.clone()), found))
    });
    Ok(try_join_all(all).await?.into_iter().collect())
}

/// The configuration file of the deployed Alertmanager, found by its workload's argument and volume.
async fn deployed_routes(client: &Client, namespace: &str) -> Fact<String> {
    let component =
        stack::component("alertmanager").ok_or_else(|| CannotAsk::lasting("the catalogue has no Alertmanager"))?;
    let missing = |what: String| CannotAsk::lasting(format!("{what} does not exist"));
    let found = get::<StatefulSet>(client, namespace, component.workload).await?;
    let found = found.ok_or_else(|| missing(format!("`{}`", component.workload)))?;
    let workload = serde_json::to_value(found).map_err(|error| CannotAsk::lasting(error.to_string()))?;
    let source = configuration_source(&workload).ok_or_else(|| {
        CannotAsk::lasting("the workload names no configuration file that comes from a ConfigMap or Secret")
    })?;
    let text = match &source {
        Source::ConfigMap { name, key } => {
            let found = get::<ConfigMap>(client, namespace, name).await?;
            found.and_then(|found| found.data?.remove(key))
        }
        Source::Secret { name, key } => {
            let found = get::<Secret>(client, namespace, name).await?;
            found.and_then(|found| String::from_utf8(found.data?.remove(key)?.0).ok())
        }
    };
    text.ok_or_else(|| {
        missing(match &source {
            Source::ConfigMap { name, key } => format!("key `{key}` of ConfigMap `{namespace}/{name}`"),
            Source::Secret { name, key } => format!("key `{key}` of Secret `{namespace}/{name}`"),
        })
    })
}

/// Where a file of a container comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    ConfigMap { name: String, key: String },
    Secret { name: String, key: String },
}

/// Follows `--config.file` of the first container that has it through its mount to the volume.
fn configuration_source(workload: &Value) -> Option<Source> {
    let pod = workload.pointer("/spec/template/spec")?;
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    for container in list(pod, "containers") {
        let arguments = list(&container, "args");
        let Some(file) =
            arguments.iter().filter_map(Value::as_str).find_map(|argument| argument.strip_prefix("--config.file="))
        else {
            continue;
        };
        let mount = list(&container, "volumeMounts").into_iter().find_map(|mount| {
            let path = text(&mount, "mountPath")?;
            let below = file.strip_prefix(path.trim_end_matches('/'))?;
            let key = match (below.strip_prefix('/'), text(&mount, "subPath")) {
                (Some(key), None) => key.to_owned(),
                (None, Some(key)) if below.is_empty() => key,
                _ => return None,
            };
            Some((text(&mount, "name")?, key))
        });
        let (volume, key) = mount?;
        let volume =
            list(pod, "volumes").into_iter().find(|candidate| text(candidate, "name").as_ref() == Some(&volume))?;
        if let Some(name) = volume.get("configMap").and_then(|source| text(source, "name")) {
            return Some(Source::ConfigMap { name, key });
        }
        return volume
            .get("secret")
            .and_then(|source| text(source, "secretName"))
            .map(|name| Source::Secret { name, key });
    }
    None
}

async fn programs(
    reach: &Reach,
    config: &Config,
    needs: &BTreeSet<Need>,
) -> BTreeMap<&'static str, Fact<crate::telemetry::Readiness>> {
    if !needs.contains(&Need::Programs) {
        return BTreeMap::new();
    }
    let all = config.enabled_components().map(async |component| (component.key, reach.ready(component).await));
    join_all(all).await.into_iter().collect()
}

/// Asks Prometheus one question.
pub(super) async fn prometheus<T>(
    reach: &Reach,
    question: impl AsyncFnOnce(Prometheus) -> Result<T, HttpError>,
) -> Fact<T> {
    let way: Way<'_> = reach.to("prometheus").await?;
    let client = way.prometheus()?;
    question(client).await.map_err(|error| way.explain(&error))
}

/// Asks Alertmanager one question.
pub(super) async fn alertmanager<T>(
    reach: &Reach,
    question: impl AsyncFnOnce(Alertmanager) -> Result<T, HttpError>,
) -> Fact<T> {
    let way: Way<'_> = reach.to("alertmanager").await?;
    let client = way.alertmanager()?;
    question(client).await.map_err(|error| way.explain(&error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::error::Failure;
    use serde_json::json;

    #[tokio::test]
    async fn what_is_forbidden_is_not_asked_again() {
        for (kind, passing) in [(Kind::Refused, false), (Kind::CouldNotAsk, true)] {
            let found = read(async { Err::<(), _>(Failure::new(kind, "no").into()) }).await;
            assert_eq!(found.unwrap_err().passing, passing);
        }
    }

    #[test]
    fn the_configuration_file_is_followed_to_its_source() {
        let workload = |mount: Value, volume: Value| {
            json!({"spec": {"template": {"spec": {
                "containers": [{"args": ["--listen"]}, {"args": ["--config.file=/etc/am/config/am.yml"], "volumeMounts": [
                    {"name": "other", "mountPath": "/etc/amx"}, mount]}],
                "volumes": [{"name": "other", "emptyDir": {}}, volume],
            }}}})
        };
        let config_map = json!({"name": "config", "configMap": {"name": "am"}});
        let folder = json!({"name": "config", "mountPath": "/etc/am/config/"});
        let found = |name: &str, key: &str| Some(Source::ConfigMap { name: name.to_owned(), key: key.to_owned() });
        assert_eq!(configuration_source(&workload(folder.clone(), config_map.clone())), found("am", "am.yml"));
        let one_file = json!({"name": "config", "mountPath": "/etc/am/config/am.yml", "subPath": "routes.yml"});
        assert_eq!(configuration_source(&workload(one_file, config_map)), found("am", "routes.yml"));
        let secret = json!({"name": "config", "secret": {"secretName": "am"}});
        let expected = Source::Secret { name: "am".to_owned(), key: "am.yml".to_owned() };
        assert_eq!(configuration_source(&workload(folder.clone(), secret)), Some(expected));
        assert_eq!(configuration_source(&workload(folder, json!({"name": "config", "emptyDir": {}}))), None);
        assert_eq!(configuration_source(&json!({})), None);
    }

    #[test]
    fn only_ready_pods_of_the_service_are_counted_and_each_once() {
        let slice = |service: &str, endpoints: Value| -> EndpointSlice {
            let labels = json!({"kubernetes.io/service-name": service});
            serde_json::from_value(
                json!({"addressType": "IPv4", "metadata": {"labels": labels}, "endpoints": endpoints}),
            )
            .unwrap()
        };
        let pod = |name: &str, ready: bool| json!({"addresses": ["10.0.0.1"], "conditions": {"ready": ready}, "targetRef": {"name": name}});
        let slices = [
            slice("a", json!([pod("one", true), pod("two", false)])),
            slice("a", json!([pod("one", true), {"addresses": ["192.0.2.1"]}])),
            slice("b", json!([pod("three", true)])),
        ];
        assert_eq!(ready_endpoints(&slices, "a"), 2);
        assert_eq!(ready_endpoints(&slices, "c"), 0);
    }
}
