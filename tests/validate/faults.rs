//! What is planted in the shipped files, and what must be found.

pub(crate) const VALUES: &str = "templates/values/local/prometheus.yaml";
pub(crate) const ROUTES: &str = "templates/values/partials/alertmanager.yaml";
pub(crate) const PANELS: &str = "dashboards/application-overview.json";

/// A fault: file, what stands there, what is planted instead, and what must be found: the kind, the
/// underlined text, and kinds that follow from it.
pub(crate) type Fault = (&'static str, &'static str, &'static str, &'static str, &'static str, &'static [&'static str]);

pub(crate) const RULES: &[Fault] = &[
    ("alerts/application.yaml", "groups:\n", "group:\n", "rules/malformed", "group:", UNKNOWN),
    ("alerts/application.yaml", "        for: 30s", "        for: 30 s", "rules/bad-duration", "30 s", &[]),
    ("alerts/application.yaml", "        for: 30s", "        fro: 30s", "rules/unknown-key", "fro", &[]),
    (
        "alerts/redis.yaml",
        "  - name: drivemaster-redis\n    rules:\n",
        "  - name: drivemaster-redis\n    rules: []\n  - name: drivemaster-redis\n    rules:\n",
        "rules/duplicate-group",
        "drivemaster-redis",
        &[],
    ),
    (
        "alerts/kafka.yaml",
        "- record: kafka_consumer_lag_sum",
        "- record: kafka_server_brokertopicmetrics_messagesin_total",
        "rules/duplicate-rule",
        "kafka_server_brokertopicmetrics_messagesin_total",
        &["promql/unknown-metric", "promql/unknown-label", "alerts/unkept-label"],
    ),
    (
        "alerts/redis.yaml",
        "- alert: RedisHighConnections",
        "- name: RedisHighConnections",
        "rules/kind",
        "expr",
        &["rules/unknown-key", "rules/of-alerts-only"],
    ),
    (
        "alerts/redis.yaml",
        "          redis_connected_clients{job=\"@{ exporter.job }@\"} > 1000\n",
        "\n",
        "rules/no-expression",
        "expr",
        &[],
    ),
    (
        "alerts/kafka.yaml",
        "- record: kafka_consumer_lag_sum\n        expr: |\n",
        "- record: kafka_consumer_lag_sum\n        for: 1m\n        expr: |\n",
        "rules/of-alerts-only",
        "for",
        &[],
    ),
    (
        "alerts/kafka.yaml",
        "- record: kafka_consumer_lag_sum",
        "- record: kafka-consumer-lag",
        "rules/bad-name",
        "kafka-consumer-lag",
        UNKNOWN,
    ),
    ("alerts/redis.yaml", "severity: warning", "severity: warn", "alerts/unknown-severity", "warn", &[]),
    ("alerts/redis.yaml", "          component: redis\n", "", "alerts/missing-label", "labels", &[]),
    (
        "alerts/redis.yaml",
        "description: \"Redis {{ with",
        "descripton: \"Redis {{ with",
        "alerts/missing-annotation",
        "annotations",
        &[],
    ),
    ("alerts/redis.yaml", "RedisDown.md", "RedisDwn.md", "alerts/no-runbook", "RedisDwn.md", &[]),
    (
        "alerts/redis.yaml",
        "dashboard: \"@{ dashboard }@\"",
        "dashboard: \"http://x/d/nothing\"",
        "alerts/no-dashboard",
        "nothing",
        &[],
    ),
    (
        "alerts/redis.yaml",
        "alert: RedisHighConnections",
        "alert: RedisManyClients",
        "alerts/no-test",
        "RedisManyClients",
        &[],
    ),
    (
        "alerts/redis.yaml",
        "_clients{job=\"@{ exporter.job }@\"} > 1000",
        "_clients{job=\"@{ exporter.job }@\"}",
        "alerts/no-condition",
        "expr",
        &[],
    ),
    (
        "alerts/redis.yaml",
        "are connected to Redis behind {{ $labels.instance }}",
        "are connected to Redis behind {{ $labels.instnce }}",
        "alerts/unkept-label",
        "$labels.instnce",
        &[],
    ),
    (
        "alerts/redis.yaml",
        "{{ $value | humanize }} clients",
        "{{ $vale | humanize }} clients",
        "alerts/bad-template",
        "$vale",
        &[],
    ),
];

pub(crate) const UNKNOWN: &[&str] = &["promql/unknown-metric", "promql/impossible-matcher"];

pub(crate) const EXPRESSIONS: &[Fault] = &[
    ("alerts/application.yaml", "          > 0.05\n", "          >\n", "promql/syntax", "expr", &[]),
    (
        "alerts/redis.yaml",
        "redis_connected_clients{",
        "redis_conected_clients{",
        "promql/unknown-metric",
        "redis_conected_clients",
        &[],
    ),
    (
        "alerts/application.yaml",
        "sum by (service, le)",
        "sum by (servce, le)",
        "promql/unknown-label",
        "servce",
        &["alerts/unkept-label"],
    ),
    (
        "alerts/redis.yaml",
        "redis_connected_clients{job=\"@{ exporter.job }@\"} > 1000",
        "rate(redis_connected_clients{job=\"@{ exporter.job }@\"}[5m]) > 1000",
        "promql/rate-of-gauge",
        "redis_connected_clients",
        &[],
    ),
    (
        "alerts/application.yaml",
        "(rate(http_requests_total{job=~\"@{ jobs }@\", status=~\"5..\"}[2m]))",
        "(http_requests_total{job=~\"@{ jobs }@\", status=~\"5..\"})",
        "promql/missing-rate",
        "http_requests_total",
        &[],
    ),
    (
        "alerts/application.yaml",
        "max by (job) (up{job=~\"@{ jobs }@\"}) == 0",
        "max by (job) (up{job=~\"user-servce\"}) == 0",
        "promql/impossible-matcher",
        "user-servce",
        &[],
    ),
    (
        "alerts/application.yaml",
        "/ sum by (service) (rate(",
        "/ sum by (job) (rate(",
        "promql/mismatched-labels",
        "/",
        &["alerts/unkept-label"],
    ),
    (
        "alerts/application.yaml",
        "sum by (service, le)",
        "sum by (service)",
        "promql/quantile",
        "histogram_quantile",
        &[],
    ),
    ("alerts/application.yaml", "status=~\"5..\"}[2m]", "status=~\"5..\"}[10s]", "promql/short-range", "[10s]", &[]),
    (
        "alerts/redis.yaml",
        "/ (redis_memory_max_bytes{job=\"@{ exporter.job }@\"} > 0)",
        "/ redis_memory_max_bytes{job=\"@{ exporter.job }@\"}",
        "promql/zero-divisor",
        "redis_memory_max_bytes",
        &[],
    ),
    (
        "alerts/application.yaml",
        "avg_over_time(service:learning_effectiveness_score:avg[1h])",
        "avg_over_time(questions_answered_total[1h])",
        "promql/change-of-counter",
        "questions_answered_total",
        &[],
    ),
    (
        "alerts/application.yaml",
        "sum by (job, namespace, pod) (rate(process_cpu_seconds_total{job=~\"@{ jobs }@\"}[5m]))",
        "rate(sum by (job, namespace, pod) (process_cpu_seconds_total{job=~\"@{ jobs }@\"})[5m:1m])",
        "promql/rate-of-sum",
        "rate",
        &[],
    ),
];

pub(crate) const DASHBOARDS: &[Fault] = &[
    (
        PANELS,
        "  \"panels\": [",
        "  \"panes\": [",
        "dashboards/malformed",
        "{",
        &["dashboards/broken-link", "alerts/no-dashboard"],
    ),
    (
        PANELS,
        "\"uid\": \"drivemaster-application-overview\",",
        "",
        "dashboards/no-uid",
        "Application Overview",
        &["dashboards/broken-link", "alerts/no-dashboard"],
    ),
    (
        "dashboards/slo.json",
        "\"uid\": \"drivemaster-slo\"",
        "\"uid\": \"drivemaster-learning-analytics\"",
        "dashboards/duplicate-uid",
        "drivemaster-learning-analytics",
        &["dashboards/broken-link", "alerts/no-dashboard"],
    ),
    (PANELS, "id={2}", "id={1}", "dashboards/duplicate-id", "Request rate", &[]),
    (
        PANELS,
        "description=\"Requests a second over all selected services.\"",
        "description=\"\"",
        "dashboards/no-description",
        "Request rate",
        &[],
    ),
    (
        PANELS,
        ":avg{service=~\"$service\"})', \"legend\": \"effectiveness\"",
        ":avg{service=~\"$servce\"})', \"legend\": \"effectiveness\"",
        "dashboards/unknown-variable",
        "$servce",
        &[],
    ),
    (
        PANELS,
        "title=\"Memory by service\" unit=\"bytes\"",
        "title=\"Memory by service\" unit=\"s\"",
        "dashboards/wrong-unit",
        "unit=\"s\"",
        &[],
    ),
    (
        PANELS,
        "link=\"drivemaster-learning-analytics\"",
        "link=\"drivemaster-learning\"",
        "dashboards/broken-link",
        "drivemaster-learning",
        &[],
    ),
    (
        PANELS,
        "http_requests_in_flight",
        "http_requests_in_fligt",
        "promql/unknown-metric",
        "http_requests_in_fligt",
        &[],
    ),
    (
        PANELS,
        "sum by (service) (http_requests_in_flight",
        "sum by (servce) (http_requests_in_flight",
        "promql/unknown-label",
        "servce",
        &[],
    ),
    (
        PANELS,
        "sum(active_users_total{' ~ of ~ '})'} /> }@",
        "sum(rate(active_users_total{' ~ of ~ '}[5m]))'} /> }@",
        "promql/rate-of-gauge",
        "active_users_total",
        &[],
    ),
];

pub(crate) const ROUTING: &[Fault] = &[
    (
        ROUTES,
        "- receiver: critical",
        "- receiver: critcal",
        "routes/unknown-receiver",
        "receiver: critcal",
        &["routes/unused-receiver"],
    ),
    (ROUTES, "      receiver: info\n      group_by", "      group_by", "routes/no-default", "route:", &[]),
    (
        ROUTES,
        "- name: \"null\"",
        "- name: critical",
        "routes/duplicate-receiver",
        "name: critical",
        &["routes/unknown-receiver"],
    ),
    (
        ROUTES,
        "      - name: \"null\"\n",
        "      - name: \"null\"\n      - name: nobody\n",
        "routes/unused-receiver",
        "name: nobody",
        &[],
    ),
    (
        ROUTES,
        "- receiver: critical\n          matchers: ['severity = \"critical\"']",
        "- receiver: critical\n          matchers: ['severity =~ \"critical|warning\"']",
        "routes/unreachable",
        "severity = \"warning\"",
        &[],
    ),
    (
        ROUTES,
        "matchers: ['severity = \"info\"']",
        "matchers: ['severity = \"inform\"']",
        "routes/unknown-severity",
        "severity = \"inform\"",
        &[],
    ),
    (ROUTES, "repeat_interval: 30m", "repeat_interval: 30 m", "routes/bad-duration", "repeat_interval: 30 m", &[]),
    (
        ROUTES,
        "['severity = \"critical\"']\n          group",
        "['severity \"critical\"']\n          group",
        "routes/bad-matcher",
        "severity \"critical\"",
        &["routes/unreachable"],
    ),
    (
        ROUTES,
        "Watchdog|InfoInhibitor",
        "Watchdgo|InfoInhibitor",
        "routes/unknown-alert",
        "alertname =~ \"Watchdgo|InfoInhibitor\"",
        &[],
    ),
    (
        ROUTES,
        "- source_matchers: ['severity = \"warning\"', 'component = \"\"']\n        target_matchers: ['severity = \"info\"', 'component = \"\"']\n        equal: [cluster, namespace, alertname]",
        "- source_matchers: ['severity = \"warning\"', 'component = \"\"']\n        target_matchers: ['severity = \"info\"', 'component = \"\"']\n        equal: [cluster, severity]",
        "routes/impossible-inhibition",
        "severity = \"warning\"",
        &[],
    ),
];

pub(crate) const OBJECTIVES: &[Fault] = &[
    (AVAILABILITY, "target: @{ slo.target }@", "target: 99.9", "slo/target", "target:", MISSING_RECORDS),
    (
        AVAILABILITY,
        "timeWindow: @{ slo.timeWindow | json }@",
        "timeWindow: [{ duration: 5m, isRolling: true }]",
        "slo/window",
        "timeWindow:",
        MISSING_RECORDS,
    ),
    (LATENCY, "value: 0.1,", "value: 0.12,", "slo/off-bucket", "value:", MISSING_RECORDS),
    (AVAILABILITY, "op: gte, ", "", "slo/definition", "objectives:", MISSING_RECORDS),
    (AVAILABILITY, "max by (job) (up{", "max by (job) (upp{", "promql/unknown-metric", "upp", MISSING_RECORDS),
];

/// What the dashboards and the other rules then miss.
pub(crate) const MISSING_RECORDS: &[&str] = &["promql/unknown-metric", "promql/impossible-matcher"];
pub(crate) const AVAILABILITY: &str = "alerts/slo/availability.yaml";
pub(crate) const LATENCY: &str = "alerts/slo/latency.yaml";

pub(crate) const GIVEN: &[Fault] = &[
    (VALUES, "reloader:\n", "reloadr:\n", "values/unknown", "reloadr:", &["values/refused"]),
    (VALUES, "  enabled: @{ prometheus.enabled }@", "  enabled: \"always\"", "values/refused", "enabled:", &[]),
];
