//! `port-forward`: interfaces on local ports, until Ctrl-C.

use super::session::Session;
use crate::cli::PortForwardArgs;
use crate::cluster::forward::{Forward, LocalPort, PortOf, ServicePort, open};
use crate::config::Config;
use crate::config::schema::nearest;
use crate::error::{Failure, Kind};
use crate::stack::Component;
use serde_json::json;

pub(super) async fn run(session: &Session<'_>, arguments: &PortForwardArgs) -> anyhow::Result<()> {
    let config = session.config()?;
    let wanted = choose(&config, arguments)?;
    let target = session.unless_interrupted(session.target(&config)).await?;
    let mut forwards: Vec<(&Component, Forward)> = Vec::new();
    for (component, local) in wanted {
        let service = ServicePort {
            namespace: config.namespace_of(component.place()).to_owned(),
            service: component.service.to_owned(),
            port: PortOf::Service(component.ports[0].service),
        };
        let opened = session
            .unless_interrupted(open(&target.cluster.client, service, LocalPort::Fixed(local), session.events.clone()))
            .await;
        match opened {
            Ok(forward) => forwards.push((component, forward)),
            Err(error) => {
                close(forwards).await;
                return Err(error);
            }
        }
    }
    let rows: Vec<_> = forwards
        .iter()
        .map(|(component, forward)| json!({"component": component.key, "address": forward.address().to_string()}))
        .collect();
    let mut text = String::new();
    for (component, forward) in &forwards {
        text.push_str(&format!("{:<14} http://{}\n", component.title, forward.address()));
    }
    text.push_str("Ctrl-C ends.\n");
    session.terminal.result("port-forward", json!({ "forwards": rows }), &text);
    session.cancel.cancelled().await;
    close(forwards).await;
    Ok(())
}

async fn close(forwards: Vec<(&Component, Forward)>) {
    for (_, forward) in forwards {
        forward.close().await;
    }
}

/// The components asked for, with their local ports.
fn choose(config: &Config, arguments: &PortForwardArgs) -> anyhow::Result<Vec<(&'static Component, u16)>> {
    let possible: Vec<(&'static Component, u16)> = config
        .enabled_components()
        .filter_map(|component| component.local_port.map(|port| (component, port)))
        .collect();
    let names: Vec<String> = possible.iter().map(|(component, _)| component.key.to_owned()).collect();
    let unknown = |name: &str| {
        let near = nearest(name, &names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        Failure::new(Kind::Usage, format!("no interface is called `{name}`{near}"))
            .hint(format!("one of: {}", names.join(", ")))
    };
    let mut chosen = possible.clone();
    if !arguments.services.is_empty() {
        for name in &arguments.services {
            if !names.contains(name) {
                return Err(unknown(name).into());
            }
        }
        chosen.retain(|(component, _)| arguments.services.iter().any(|name| name == component.key));
    }
    for word in &arguments.ports {
        let parsed = word.split_once('=').and_then(|(name, port)| Some((name, port.parse::<u16>().ok()?)));
        let Some((name, port)) = parsed.filter(|(_, port)| *port > 0) else {
            return Err(Failure::new(
                Kind::Usage,
                format!("`--port {word}`: expected SERVICE=PORT, a port from 1 to 65535"),
            )
            .hint("`--port grafana=8300`")
            .into());
        };
        match chosen.iter_mut().find(|(component, _)| component.key == name) {
            Some(entry) => entry.1 = port,
            None => return Err(unknown(name).into()),
        }
    }
    Ok(chosen)
}
