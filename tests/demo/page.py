# SPDX-License-Identifier: MIT
"""Netdata's dashboard in a headless Chromium, driven by Selenium: what a person sees of the charts ksm.*

    with Page(tmp / "browser", netdata.url, 60, (1280, 1600)) as page:
        page.wait(lambda: page.charts()["ksm.savings"].legend, "the savings")
        page.picture("ksm.png", last="ksm.consumers")

Debian has all that it needs: packages chromium, chromium-driver and python3-selenium.
"""

import time
from pathlib import Path
from typing import NamedTuple

from daemons import until

try:
    from selenium import webdriver
    from selenium.common.exceptions import JavascriptException
    from selenium.webdriver.chrome.service import Service
except ImportError:
    webdriver = None

CHROMIUM = Path("/usr/bin/chromium")
DRIVER = Path("/usr/bin/chromedriver")
WAIT_S = 120            # for the page to show something, on a busy machine
SETTLED_S = 2           # a window that was made larger or smaller is drawn anew within this time
POLL_S = 0.5

# No window, no network but the page's own, nothing of another run.
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
             "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--hide-scrollbars"]

# The charts of our section from above: [id, family's heading, title, [[dimension, text of its value], …], drawn].
CHARTS = """
    const text = (node, kind) => { const found = node.querySelector(kind); return found ? found.textContent : ''; };
    const section = document.getElementById('menu_ksm').closest('.dashboard-section');
    return [...section.querySelectorAll('.dashboard-section-container')].flatMap(family =>
        [...family.querySelectorAll('[data-netdata]')].map(chart => [
            chart.dataset.netdata, text(family, 'h2'), text(chart, '.dygraph-title'),
            [...chart.querySelectorAll('[class*=DimensionItem]')].map(
                item => [text(item, '[class*=DimensionLabel]'), text(item, '[class*=DimensionValue]')]),
            chart.querySelector('canvas') !== null]));
"""
MENU = "return [...document.querySelectorAll('#sidebar_ul > li > a[href^=\"#menu_\"]')].map(a => a.textContent.trim());"
SUBMENU = "return [...document.querySelectorAll('a[href^=\"#menu_ksm_submenu_\"]')].map(a => a.textContent);"
# How high the window must be for the chart to be the last one in it.
HEIGHT = """
    const chart = document.querySelector(`[data-netdata="${arguments[0]}"]`);
    return Math.ceil(chart.getBoundingClientRect().bottom + window.scrollY + window.outerHeight - window.innerHeight);
"""


class PageError(Exception):
    """The page does not show the expected content in time."""


class Chart(NamedTuple):
    """A chart as it is shown."""

    family: str
    title: str
    legend: dict        # {dimension: its value as text}
    drawn: bool         # with axes and lines


def why_not():
    """Return why there is no browser to be driven, or None if there is one."""
    if webdriver is None:
        return "Python's selenium is missing (Debian: python3-selenium)"
    missing = [str(path) for path in (CHROMIUM, DRIVER) if not path.exists()]
    return f"{' and '.join(missing)} missing (Debian: chromium, chromium-driver)" if missing else None


class Page:
    """The section of KSM on the dashboard of one agent, in a browser."""

    def __init__(self, profile, url, seconds, size, live=True):
        """Show the last SECONDS of the agent at URL in a window of SIZE; the browser's files are in PROFILE.

        A page that is LIVE is drawn anew every second, and has the latest values below its charts. Charts out of
        sight are not drawn.
        """
        after, before = (-seconds, 0) if live else (int((time.time() - seconds) * 1000), int(time.time() * 1000))
        self.profile = Path(profile)
        self.address = f"{url}/#menu_ksm;after={after};before={before};theme=white;help=false"
        self.size = size
        self.browser = None

    def __enter__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in ARGUMENTS + [f"--user-data-dir={self.profile}", "--window-size={},{}".format(*self.size)]:
            options.add_argument(argument)
        self.browser = webdriver.Chrome(service=Service(str(DRIVER)), options=options)
        try:
            self.browser.set_page_load_timeout(WAIT_S)
            self.browser.set_script_timeout(WAIT_S)
            self.load()
        except BaseException:
            self.browser.quit()
            raise
        return self

    def __exit__(self, *_exception):
        self.browser.quit()

    def load(self):
        """Load the page, and with it the charts that there are now."""
        self.browser.get("about:blank")
        self.browser.get(self.address)
        self.wait(self.charts, "the section of KSM")

    def charts(self):
        """Return {chart id: Chart} of the section from above; nothing while the page is not there."""
        try:
            rows = self.browser.execute_script(CHARTS)
        except JavascriptException:
            return {}
        return {row[0]: Chart(row[1], row[2], dict(row[3]), row[4]) for row in rows}

    def menu(self):
        """Return the sections in the menu at the side, from above."""
        return self.browser.execute_script(MENU)

    def submenu(self):
        """Return what the menu has below our section, from above."""
        return self.browser.execute_script(SUBMENU)

    def wait(self, condition, what):
        """Wait until CONDITION() is true and return its value, else raise PageError."""
        return until(condition, WAIT_S, f"{what} on {self.address}", PageError, POLL_S)

    def draw(self, last):
        """Make the window so high that all charts down to LAST are in sight."""
        self.browser.set_window_size(self.size[0], self.browser.execute_script(HEIGHT, last))

    def picture(self, path, last):
        """Write a PNG of the page, from above to the chart LAST, to PATH."""
        self.draw(last)
        self.browser.execute_script("window.scrollTo(0, 1);")       # the menu unfolds
        time.sleep(SETTLED_S)
        if not self.browser.save_screenshot(str(path)):
            raise PageError(f"cannot write {path}")
