// SPDX-License-Identifier: MIT
// A mixin for Prometheus (monitoring.mixins.dev): the rules and the dashboard beside this file, for jsonnet 0.18 or later.
//
//   (import 'mixin.libsonnet') + { _config+:: { ksmSelector: 'job="collectd"', exposureHigh: 70 } }
//
// The alerts have the names of Netdata's: ksm_net_loss, ksm_wasted_scanning, ksm_exposure (warning and critical),
// ksm_stalled, ksm_empty_scanning, ksm_unmerging. Their descriptions give the values and the default thresholds.
local groups = std.parseYaml(importstr 'prometheus-rules.yml').groups;
local dashboard = import 'grafana-dashboard.json';
// Replaces a part of an expression, which must be there.
local replaced(text, from, to) =
  assert std.length(std.findSubstr(from, text)) > 0 : from + ' is not in ' + text;
  std.strReplace(text, from, to);
{
  _config+:: {
    ksmSelector: '',      // label matchers for all series of collectd, such as 'job="collectd",cluster="a"'
    netLoss: -0.1,        // percent of RAM: ksm_net_loss is below
    ksmdBusy: 20,         // percent of a core: ksm_wasted_scanning, ksm_stalled and ksm_empty_scanning compare with it
    ramLittle: 1,         // percent of RAM: ksm_wasted_scanning is below
    exposureHigh: 80,     // percent of the free memory and swap: ksm_exposure (warning) is above
    exposureFull: 100,    // the same for critical
    runbookBase: '',      // the alerts' runbook_url is this and the name of the alert; '': they have none
  },
  local c = self._config,
  local busy = ['/ 10 > 20', '/ 10 > %g' % c.ksmdBusy],
  local thresholds = {
    ksm_net_loss: [['< -0.1', '< %g' % c.netLoss]],
    ksm_wasted_scanning: [busy, ['ksm="ram"} < 1 ', 'ksm="ram"} < %g ' % c.ramLittle]],
    'ksm_exposure/warning': [['> 80', '> %g' % c.exposureHigh]],
    'ksm_exposure/critical': [['> 100', '> %g' % c.exposureFull]],
    ksm_stalled: [busy],
    ksm_empty_scanning: [busy],
  },
  local thresholds_of(rule) =
    std.get(thresholds, rule.alert, std.get(thresholds, rule.alert + '/' + rule.labels.severity, [])),
  // Every selector of a series begins with one of these labels.
  local selected(expr) =
    local add(text, label) = std.strReplace(text, '{' + label, '{' + c.ksmSelector + ',' + label);
    if c.ksmSelector == '' then expr else std.foldl(add, ['ksm', 'type='], expr),
  local configured(rule) = rule {
    expr: selected(
      if std.objectHas(rule, 'alert')
      then std.foldl(function(expr, swap) replaced(expr, swap[0], swap[1]), thresholds_of(rule), rule.expr)
      else rule.expr
    ),
  } + (
    if std.objectHas(rule, 'alert') && c.runbookBase != ''
    then { annotations+: { runbook_url: c.runbookBase + rule.alert } } else {}
  ),
  local only(kind) = [g { rules: [configured(r) for r in g.rules if std.objectHas(r, kind)] } for g in groups],
  local panels(value) =
    if std.isObject(value) then
      std.mapWithKey(
        function(key, member)
          if (key == 'expr' || key == 'query') && std.isString(member) then selected(member) else panels(member), value
      )
    else if std.isArray(value) then std.map(panels, value) else value,
  prometheusAlerts+:: { groups+: only('alert') },
  prometheusRules+:: { groups+: only('record') },
  grafanaDashboards+:: { 'collectd-ksm.json': panels(dashboard) },
}
