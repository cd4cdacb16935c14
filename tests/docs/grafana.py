# SPDX-License-Identifier: MIT
"""Parts of the JSON of a Grafana dashboard over Prometheus; the caller decides what they show.

A query is a target(); a panel of one of the four kinds is made by stat(), graph(), table() or bars(), its size given
in Grafana's grid, of which a page is 24 wide; laid_out() gives panels their places and numbers. Tables and bars show
the values of now, each query a column.
"""

WIDTH = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}     # the variable of source_variable()


def target(expression, legend="", instant=False, columns=False):
    """Return a query: over time or of an INSTANT, its labels in a LEGEND or as COLUMNS of a table."""
    return {"datasource": SOURCE, "editorMode": "code", "expr": expression, "legendFormat": legend,
            "instant": instant, "range": not instant, "format": "table" if columns else "time_series"}


def panel(kind, title, description, size, targets, defaults, options):
    """Return a panel of KIND."""
    for letter, query in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", targets, strict=False):
        query["refId"] = letter
    return {"type": kind, "title": title, "description": description, "datasource": SOURCE, "targets": targets,
            "gridPos": {"w": size[0], "h": size[1]}, "fieldConfig": {"defaults": defaults, "overrides": []},
            "options": options}


def thresholds(*steps):
    """Return the colours of a number: STEPS are (from, colour), the first from None."""
    return {"color": {"mode": "thresholds"},
            "thresholds": {"mode": "absolute", "steps": [{"value": value, "color": color} for value, color in steps]}}


def words(names):
    """Return the mapping of the numbers 0, 1, … to NAMES."""
    return [{"type": "value", "options": {str(i): {"index": i, "text": name} for i, name in enumerate(names)}}]


LEGEND = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}


def stat(title, description, size, query, unit, colors, named=False):
    """Return a panel with the present number that the target QUERY finds, or with several, NAMED by its legend."""
    options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "graphMode": "none",
               "colorMode": "value", "justifyMode": "auto", "orientation": "auto",
               "textMode": "value_and_name" if named else "auto"}
    return panel("stat", title, description, size, [query], {"unit": unit, **colors}, options)


def graph(title, description, size, targets, unit, axis="", stacked=False, negative=False):
    """Return a panel with lines over time, or with areas that add up; AXIS completes the unit."""
    custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 60 if stacked else 10, "showPoints": "auto",
              "spanNulls": False, "axisLabel": axis,
              "stacking": {"mode": "normal" if stacked else "none", "group": "A"}}
    defaults = {"unit": unit, "color": {"mode": "palette-classic"}, "custom": custom}
    if not negative:
        defaults["min"] = 0
    options = {"legend": LEGEND, "tooltip": {"mode": "multi", "sort": "none" if stacked else "desc"}}
    return panel("timeseries", title, description, size, targets, defaults, options)


def joined(headings):
    """Return what makes one table of several queries' answers, with the columns HEADINGS, {name: heading}, in order."""
    return [{"id": "merge", "options": {}},
            {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": headings,
                                           "indexByName": {name: i for i, name in enumerate(headings)}}}]


def table(title, description, size, labels, columns, sort=None):
    """Return a table: a column each of LABELS, {label: heading}, then of COLUMNS, [(heading, query, unit, words)].

    WORDS stand for the numbers 0, 1, …, or are None. The table begins with the highest of the column SORT.
    """
    targets = [target(query, instant=True, columns=True) for _heading, query, _unit, _words in columns]
    defaults = {**thresholds((None, "text")), "custom": {"align": "auto"}}
    options = {"showHeader": True, "sortBy": [{"displayName": sort, "desc": True}] if sort else []}
    made = panel("table", title, description, size, targets, defaults, options)
    named = {f"Value #{query['refId']}": column[0] for query, column in zip(targets, columns)}
    made["transformations"] = joined({**labels, **named})
    for heading, _query, unit, names in columns:
        properties = [{"id": "unit", "value": unit}]
        if names:
            properties.append({"id": "mappings", "value": words(names)})
        made["fieldConfig"]["overrides"].append(
            {"matcher": {"id": "byName", "options": heading}, "properties": properties})
    return made


def bars(title, description, size, label, parts, unit):
    """Return lying bars, one a value of LABEL, (label, heading), each made of PARTS, [(heading, query)]."""
    targets = [target(query, instant=True, columns=True) for _heading, query in parts]
    defaults = {"unit": unit, "min": 0, "color": {"mode": "palette-classic"},
                "custom": {"fillOpacity": 80, "lineWidth": 0}}
    options = {"orientation": "horizontal", "stacking": "normal", "xField": label[1], "showValue": "auto",
               "barWidth": 0.8, "groupWidth": 0.8, "xTickLabelRotation": 0, "legend": LEGEND,
               "tooltip": {"mode": "multi", "sort": "none"}}
    made = panel("barchart", title, description, size, targets, defaults, options)
    named = {f"Value #{query['refId']}": heading for query, (heading, _expression) in zip(targets, parts)}
    made["transformations"] = joined({label[0]: label[1], **named})
    return made


def laid_out(rows):
    """Return the panels of ROWS, [(title, panels)], with headings, places and numbers.

    Panels stand side by side as long as there is room; neighbours are of one height.
    """
    panels, y = [], 0
    for title, row in rows:
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        x, y, height = 0, y + 1, 0
        for panel in row:
            place = panel["gridPos"]
            if x + place["w"] > WIDTH:
                x, y = 0, y + height
            place.update(x=x, y=y)
            x, height = x + place["w"], place["h"]
            panels.append(panel)
        y += height
    for number, panel in enumerate(panels, 1):
        panel["id"] = number
    return panels


# Variables, which are chosen above the panels.

INPUT = "DS_PROMETHEUS"


def source_input(description):
    """Return the input that Grafana asks for at the import: the Prometheus data source."""
    return {"name": INPUT, "label": "Prometheus", "description": description, "type": "datasource",
            "pluginId": "prometheus", "pluginName": "Prometheus"}


def source_variable():
    """Return the variable of the Prometheus data source, initially that of the import."""
    chosen = f"${{{INPUT}}}"
    return {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "regex": "",
            "hide": 0, "refresh": 1, "multi": False, "includeAll": False, "options": [],
            "current": {"selected": False, "text": chosen, "value": chosen}}


def label_variable(name, title, label, selector):
    """Return the variable NAME: the values of LABEL in the series of SELECTOR; several or all can be chosen."""
    query = f"label_values({selector}, {label})"
    return {"type": "query", "name": name, "label": title, "datasource": SOURCE, "definition": query,
            "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1, "regex": "", "hide": 0, "multi": True,
            "includeAll": True, "allValue": ".*", "options": [],
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}
