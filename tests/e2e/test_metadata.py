# SPDX-License-Identifier: MIT
"""Netdata's page of the plugin: it is as ksm.plugin is, and as the rules of the agent's repository have it."""

import re

import pytest
import yaml

import metadata

# The rules, of integrations/schemas in the agent's repository: keys, of which those with a ? may be missing, and types.
FOLDING = {"title": str, "enabled": bool}
PROBLEMS = {"problems": {"list": [{"name": str, "description": str}]}}
METADATA = {"plugin_name": str, "modules": [{
    "meta": {
        "plugin_name": str, "module_name": str, "keywords": [str],
        "monitored_instance": {"name": str, "link": str, "description?": str, "categories": [str], "icon_filename": str},
        "related_resources": {"integrations": {"list": [{"plugin_name": str, "module_name?": str}]}},
        "info_provided_to_referring_integrations": {"description": str}},
    "overview": {
        "data_collection": {"metrics_description": str, "method_description": str},
        "supported_platforms": {"include": [str], "exclude": [str]},
        "multi_instance": bool,
        "additional_permissions": {"description": str},
        "default_behavior": {name: {"description": str} for name in ("auto_detection", "limits", "performance_impact")}},
    "setup": {
        "prerequisites": {"list": [{"title": str, "description": str}]},
        "configuration": {
            "file": {"name": str, "section_name?": str},
            "options": {"description": str, "folding": FOLDING, "list": [
                {"name": str, "description": str, "default_value": str, "required": bool}]},
            "examples": {"folding": FOLDING, "list": [{"name": str, "description": str, "config": str}]}}},
    "troubleshooting": PROBLEMS,
    "alerts": [{"name": str, "link": str, "metric": str, "info": str, "os?": str}],
    "metrics": {"folding": FOLDING, "description": str, "availability": [str], "scopes": [
        {"name": str, "description": str, "labels": [{"name": str, "description": str}], "metrics": [
            {"name": str, "description": str, "unit": str, "chart_type": str, "dimensions": [{"name": str}]}]}]},
    "functions?": {"description": str, "list": [
        {"id": str, "name": str, "description": str, "parameters": [str], "performance": str, "security": str,
         "availability": str, "require_cloud?": bool, "returns": {"description": str, "columns": [
             {"name": str, "type": str, "unit": str, "visibility?": str}]}}]}}]}
TAXONOMY = {"taxonomy_version": int, "plugin_name": str, "module_name": str,
            "placements": [{"id": str, "section_id": str, "title": str, "items": [str]}]}
DESCRIPTION = r'(?![-+\s])(?!.*(://|www\.))[^"\\*_\[\]<>#`~\n]{50,160}(?<![\s:])'


def against(rules, found, where=""):
    """Check what was FOUND somewhere against the RULES."""
    if isinstance(rules, dict):
        names = {name.removesuffix("?") for name in rules}
        assert isinstance(found, dict) and {name for name in rules if name[-1] != "?"} <= found.keys() <= names, where
        for name, value in found.items():
            against(rules.get(name, rules.get(f"{name}?")), value, f"{where}/{name}")
    elif isinstance(rules, list):
        assert isinstance(found, list), where
        for i, value in enumerate(found):
            against(rules[0], value, f"{where}/{i}")
    else:
        assert type(found) is rules, where


def read(name):
    """Return the file NAME of netdata/."""
    return yaml.safe_load((metadata.REPOSITORY / "netdata" / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name, rules", [("metadata.yaml", METADATA), ("taxonomy.yaml", TAXONOMY)])
def test_metadata_follows_schema(name, rules):
    against(rules, read(name))


def test_files_are_up_to_date(build):
    for path, text in metadata.texts(build).items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run make readme"


def test_integration_page_contents():
    [module] = read("metadata.yaml")["modules"]
    assert re.fullmatch(DESCRIPTION, module["meta"]["monitored_instance"]["description"])
    metrics = {metric["name"]: metric for scope in module["metrics"]["scopes"] for metric in scope["metrics"]}
    assert all(metric["chart_type"] in ("line", "area", "stacked") and metric["dimensions"] for metric in metrics.values())
    assert len(module["alerts"]) == 6 and {alert["metric"] for alert in module["alerts"]} <= metrics.keys()
    assert read("taxonomy.yaml")["placements"][0]["items"] == list(metrics)
    charts = re.findall(r"^CHART\((\w+),", (metadata.REPOSITORY / "netdata/charts.def").read_text(), re.MULTILINE)
    assert {f"ksm.{name}" for name in (*charts, "consumers", "consumer_memory", "owners")} == metrics.keys()
