// SPDX-License-Identifier: MIT
// A mixin for Prometheus (monitoring.mixins.dev): the rules and the dashboard beside this file, for jsonnet 0.18 or later.
local groups = std.parseYaml(importstr 'prometheus-rules.yml').groups;
local only(kind) = [g { rules: [r for r in g.rules if std.objectHas(r, kind)] } for g in groups];
{
  prometheusAlerts+:: { groups+: only('alert') },
  prometheusRules+:: { groups+: only('record') },
  grafanaDashboards+:: { 'collectd-ksm.json': import 'grafana-dashboard.json' },
}
