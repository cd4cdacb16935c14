# SPDX-License-Identifier: MIT
"""make install and make uninstall, the man pages, and the tarball of make dist."""

import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

import pytest

import readme
from conftest import REPOSITORY
from test_docs import dead_links, links

pytestmark = pytest.mark.shipped

PAGES = ["collectd/collectd-ksm.5", "common/explain/ksm-explain.1", "netdata/ksm.plugin.1"]
DOC = "usr/share/doc/ksm-plugins"
# Installed files, listed from the repository so that added and removed ones are covered.
HEALTH = sorted(path.name for path in REPOSITORY.glob("netdata/health.d/*.conf"))
EXAMPLES = sorted(path.name for pattern in ("*.conf", "*.yml", "*.json", "*.libsonnet")
                  for path in REPOSITORY.glob(f"collectd/{pattern}"))
OF_EXPLAIN = ["ksm-explain.schema.json", "ksm-explain_example.txt", "ksm-sharing.schema.json", "prometheus-openmetrics.yml"]
TIMERS = ["ksm-openmetrics.timer", "ksm-openmetrics-sharing.timer"]
UNITS = [*TIMERS, *(name.replace(".timer", ".service") for name in TIMERS)]
OF_DOC = ["README.md", "collectd/README.md", "common/README.md", "netdata/README.md"]
FOR_ALL = [*(f"{DOC}/{name}" for name in (*OF_DOC, "LICENSE")), *(f"usr/lib/systemd/system/{name}" for name in UNITS),
           "usr/bin/ksm-explain", "usr/share/man/man1/ksm-explain.1",
           "usr/share/man/man1/ksm.plugin.1", "usr/share/man/man5/collectd-ksm.5", *(f"{DOC}/examples/{name}" for name in [*EXAMPLES, *OF_EXPLAIN])]


AS_NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
NOT_GRANTED = ["setpriv", "--bounding-set=-dac_read_search", "--inh-caps=-dac_read_search"]


def make(build, *words, by=()):
    """Run make, started BY a program if given, without rebuilding the plugins of BUILD; return its output."""
    # An outer make's variables are not for this one.
    env = {name: value for name, value in os.environ.items() if not re.match(r"MAKE|MFLAGS|DESTDIR", name)}
    done = subprocess.run([*by, "make", "-C", REPOSITORY, "--no-print-directory", f"BUILD={build}", *words],
                          env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def everything(directory):
    """Return the set of all paths below DIRECTORY."""
    return {str(path.relative_to(directory)) for path in directory.rglob("*")}


def files(directory):
    """Return the set of all files below DIRECTORY."""
    return {path for path in everything(directory) if not (directory / path).is_dir()}


class Layout(NamedTuple):
    """Where our files go below a tree, and what is there before: without more words, these directories."""

    collectd: str = "usr/lib/collectd"
    netdata: str = "usr/lib/netdata/plugins.d"
    stock: str = "usr/lib/netdata/conf.d"
    there: list = None
    words: list = []


DEBIAN = [*Layout()[:3]]
MULTIARCH = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=False).stdout.strip()
LAYOUTS = {
    "Debian": Layout(),
    "native Netdata 2.x": Layout(netdata="usr/libexec/netdata/plugins.d"),
    "static Netdata": Layout(netdata="opt/netdata/usr/libexec/netdata/plugins.d", stock="opt/netdata/usr/lib/netdata/conf.d"),
    "static Netdata without its configuration": Layout(
        netdata="opt/netdata/usr/libexec/netdata/plugins.d", stock="opt/netdata/usr/lib/netdata/conf.d",
        there=["usr/lib/collectd", "opt/netdata/usr/libexec/netdata/plugins.d"]),
    "Fedora": Layout("usr/lib64/collectd", "usr/libexec/netdata/plugins.d", "usr/lib64/netdata/conf.d"),
    "multiarch": Layout(f"usr/lib/{MULTIARCH}/collectd"),
    "builds of one's own": Layout(
        "usr/local/lib/collectd", "usr/local/libexec/netdata/plugins.d", "usr/local/lib/netdata/conf.d"),
    "two of each: the one below LIBDIR": Layout(
        "srv/lib/collectd", "srv/lib/netdata/plugins.d", "srv/lib/netdata/conf.d",
        [*DEBIAN, "srv/lib/collectd", "srv/lib/netdata/plugins.d"], ["LIBDIR=/srv/lib"]),
    "said by hand": Layout("a/b", "c/d", "e/f", DEBIAN,
                           ["COLLECTD_PLUGINDIR=/a/b", "NETDATA_PLUGINSDIR=/c/d", "NETDATA_STOCKDIR=/e/f"]),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_install_finds_daemons_and_uninstall_restores_tree(layout, build, tmp_path):
    if "//" in layout.collectd:
        pytest.skip("this compiler knows no multiarch directory")
    for directory in layout.there or layout[:3]:
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "another").touch()
    before, other_files = everything(tmp_path), files(tmp_path)
    make(build, "install", f"DESTDIR={tmp_path}", *layout.words)
    assert files(tmp_path) - other_files == {
        f"{layout.collectd}/ksm.so", f"{layout.netdata}/ksm.plugin",
        *(f"{layout.stock}/health.d/{name}" for name in HEALTH), *FOR_ALL}
    make(build, "uninstall", f"DESTDIR={tmp_path}", *layout.words)
    assert everything(tmp_path) == before


def test_uninstall_empties_tree(build, tmp_path):
    make(build, "install", f"DESTDIR={tmp_path}")
    assert files(tmp_path)
    assert 'collectd: remove "LoadPlugin ksm"' in make(build, "uninstall", f"DESTDIR={tmp_path}")
    assert everything(tmp_path) == set()


def test_uninstall_empties_own_prefix(build, tmp_path):
    """Plugins go where the daemons look for them; the rest is below PREFIX, the program that the service starts too."""
    prefix, plugins = tmp_path / "ours", tmp_path / "theirs"
    words = [f"PREFIX={prefix}", f"COLLECTD_PLUGINDIR={plugins}/collectd", f"NETDATA_PLUGINSDIR={plugins}/plugins.d",
             f"NETDATA_STOCKDIR={plugins}/conf.d", "SETCAP=true"]
    for name in ("collectd", "plugins.d", "conf.d"):
        (plugins / name).mkdir(parents=True)
        (plugins / name / "another").touch()
    before = everything(tmp_path)
    said = make(build, "install", *words)
    assert f"is in {plugins}/collectd (not below PREFIX" in said and f"is in {plugins}/plugins.d (not below" in said
    for service in (prefix / "lib/systemd/system" / name for name in UNITS if name.endswith(".service")):
        assert f"ExecStart={prefix}/bin/ksm-explain " in service.read_text()
    make(build, "uninstall", *words)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("timer", TIMERS)
def test_timer_is_installed_disabled(timer, build, tmp_path):
    """Enabling it is the only remaining step."""
    if not shutil.which("systemctl"):
        pytest.skip("systemctl is not installed")

    def systemctl(*words):
        done = subprocess.run(["systemctl", f"--root={tmp_path}", *words], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    make(build, "install-explain", f"DESTDIR={tmp_path}")
    assert systemctl("is-enabled", timer) == (1, "disabled\n")
    assert systemctl("enable", timer)[0] == 0
    assert systemctl("is-enabled", timer) == (0, "enabled\n")


def test_install_without_permission_gives_advice(build):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("becoming another user takes root and setpriv")
    if subprocess.run([*AS_NOBODY, "test", "-r", build / "ksm.so"], check=False).returncode != 0:
        pytest.skip("user nobody may not read the build")
    for target in ("install-collectd", "install-netdata", "install-explain"):
        done = subprocess.run([*AS_NOBODY, "make", "-C", REPOSITORY, f"BUILD={build}", target], capture_output=True,
                              text=True, check=False)
        assert done.returncode != 0 and "Permission denied" not in done.stderr
        assert re.search(rf"cannot write to /.*\(sudo make {target}\)", done.stderr), done.stderr


@pytest.mark.parametrize("host, mine, not_mine", [
    ("collectd", "usr/lib/collectd/ksm.so", "usr/lib/netdata/plugins.d/ksm.plugin"),
    ("netdata", "usr/lib/netdata/plugins.d/ksm.plugin", "usr/lib/collectd/ksm.so"),
    ("explain", "usr/bin/ksm-explain", "usr/lib/collectd/ksm.so"),
])
def test_install_for_one_daemon_only(host, mine, not_mine, build, tmp_path):
    for directory in DEBIAN:
        (tmp_path / directory).mkdir(parents=True)
    make(build, f"install-{host}", f"DESTDIR={tmp_path}")
    assert mine in files(tmp_path) and not_mine not in files(tmp_path)
    make(build, f"uninstall-{host}", f"DESTDIR={tmp_path}")
    assert files(tmp_path) == set()


def test_link_targets_of_installed_readmes_are_installed(build, tmp_path):
    make(build, "install", f"DESTDIR={tmp_path}")
    installed = [tmp_path / DOC / name for name in OF_DOC]
    assert [link for readme in installed for link in dead_links(readme, tmp_path)] == []
    to_files = {Path(path).name for readme in installed for path, _anchor in links(readme) if path.startswith("/")}
    assert {"grafana-dashboard.json", "prometheus-openmetrics.yml", "ksm.conf"} <= to_files
    assert not any("![" in readme.read_text() for readme in installed), "a picture that is not installed"


# Messages, owners and permissions.

def test_install_reports_actions_and_next_steps(build, tmp_path):
    said = make(build, "install", f"DESTDIR={tmp_path}")
    for words in (f"{tmp_path}/usr/lib/collectd", "LoadPlugin ksm", "restart the agent", "below DESTDIR",
                  f"chown root:netdata {tmp_path}/", "setcap cap_dac_read_search+ep", "man 1 ksm.plugin",
                  "man 5 collectd-ksm", "in /usr/bin; see man 1 ksm-explain", "in /usr/lib/systemd/system\n",
                  "The man pages are in /usr/share/man,", f"sudo make uninstall DESTDIR={tmp_path}"):
        assert words in said, said


def test_install_below_a_prefix_reports_what_is_not_found_there(build, tmp_path):
    words = [f"DESTDIR={tmp_path}", "PREFIX=/opt/ksm"]
    said = make(build, "install", *words)
    for text in ("in /opt/ksm/bin, which must be in PATH", "systemctl link /opt/ksm/lib/systemd/system/ksm-openmetrics*",
                 "use the same variables: sudo make uninstall PREFIX=/opt/ksm DESTDIR="):
        assert text in said, said


def test_install_and_uninstall_print_files_and_with_V_commands(build, tmp_path):
    for target, word, commands in (("install", "INSTALL", ["install -m 0644", "sed -Ezi", "while"]),
                                   ("uninstall", "REMOVE", ["rm -f", "while"])):
        before = {str(tmp_path / path) for path in files(tmp_path)}
        said = make(build, target, f"DESTDIR={tmp_path}")
        after = {str(tmp_path / path) for path in files(tmp_path)}
        assert set(re.findall(rf"^  {word} +(.*)$", said, flags=re.MULTILINE)) == before ^ after
        assert [line for line in said.splitlines() if not line.startswith("  ")] == []
        said = make(build, target, f"DESTDIR={tmp_path}", "V=1")
        assert f"  {word}" not in said and [words for words in commands if words not in said] == []


def test_prefix_that_was_not_set_is_not_mentioned(build, tmp_path):
    said = make(build, "install-collectd", f"COLLECTD_PLUGINDIR={tmp_path}", f"MANDIR={tmp_path}", f"DOCDIR={tmp_path}")
    assert f"collectd: the plugin is in {tmp_path}\n" in said


@pytest.mark.parametrize("tool, answer", [("dpkg", "ksm-explain: {}"), ("rpm", "ksm-explain")])
def test_file_of_a_package_is_neither_replaced_nor_removed(tool, answer, build, tmp_path):
    """Of these two, only one TOOL is installed."""
    program, tools = tmp_path / "bin/ksm-explain", tmp_path / "tools"
    for path in (program, tools / tool):
        path.parent.mkdir()
    program.write_text("the package's")
    for other in Path("/usr/bin").iterdir():
        if other.name not in ("dpkg", "rpm"):
            (tools / other.name).symlink_to(other)
    (tools / tool).write_text(f"#!/bin/sh\n[ $2 = {program} ] && echo '{answer.format(program)}'\n")
    (tools / tool).chmod(0o755)
    for target in ("install-explain", "uninstall-explain"):
        done = subprocess.run(["make", "-C", REPOSITORY, f"BUILD={build}", f"PREFIX={tmp_path}", target],
                              env={**os.environ, "PATH": str(tools)}, capture_output=True, text=True, check=False)
        assert done.returncode != 0 and program.read_text() == "the package's"
        assert (f"make {target}: {program} belongs to the package ksm-explain. Remove the package: "
                "sudo apt-get purge ksm-explain, or sudo rpm -e ksm-explain\n") in done.stderr


@pytest.mark.parametrize("target, variable, daemon", [("install-collectd", "COLLECTD_PLUGINDIR", "collectd"),
                                                      ("install-netdata", "NETDATA_PLUGINSDIR", "Netdata")])
def test_install_into_a_directory_that_is_new(target, variable, daemon, build, tmp_path):
    """It is created where the daemon's own directory exists, with a remark; elsewhere it is a typing error."""
    words = [f"PREFIX={tmp_path}", f"NETDATA_STOCKDIR={tmp_path}/conf.d", "SETCAP=true", "NETDATA_GROUP=root", target]
    done = subprocess.run(["make", "-C", REPOSITORY, f"BUILD={build}", f"{variable}={tmp_path}/none/plugins", *words],
                          capture_output=True, text=True, check=False)
    assert done.returncode != 0 and everything(tmp_path) == set()
    assert f"make {target}: {variable}={tmp_path}/none/plugins: there is no directory {tmp_path}/none\n" in done.stderr
    said = make(build, f"{variable}={tmp_path}/plugins", *words)
    assert (f"{daemon}: the plugin is in {tmp_path}/plugins, a new directory; "
            f"if {daemon} looks for plugins elsewhere, set {variable}\n") in said
    assert "a new directory" not in make(build, f"{variable}={tmp_path}/plugins", *words)


def mode(path):
    """Return the permission bits of PATH."""
    return stat.S_IMODE(path.stat().st_mode)


def test_any_user_can_install_below_own_destdir(build):
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("becoming another user takes root and setpriv")
    with tempfile.TemporaryDirectory(prefix="ksm-test-") as directory:
        shutil.chown(directory, "nobody")
        if subprocess.run([*AS_NOBODY, "test", "-r", build / "ksm.so"], check=False).returncode != 0:
            pytest.skip("user nobody may not read the build")
        make(build, "install", f"DESTDIR={directory}", by=AS_NOBODY)
        plugin = Path(directory, "usr/lib/netdata/plugins.d/ksm.plugin")
        assert (plugin.owner(), mode(plugin)) == ("nobody", 0o755)


def capability(path):
    """Return the output of getcap for PATH."""
    getcap = shutil.which("getcap", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    return subprocess.run([getcap, path], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def install_as_root(build, tmp_path):
    """A function that installs Netdata's plugin without DESTDIR, below one directory; returns its path and make's output."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("giving files away takes root and setpriv")

    def install(*words, by=()):
        said = make(build, "install-netdata", f"PREFIX={tmp_path}", f"NETDATA_PLUGINSDIR={tmp_path}/plugins.d",
                    f"NETDATA_STOCKDIR={tmp_path}/conf.d", *words, by=by)
        return tmp_path / "plugins.d/ksm.plugin", said
    return install


@pytest.fixture
def with_capabilities(install_as_root):
    """Skipped if the file system of the tests does not support capabilities."""
    plugin, said = install_as_root("NETDATA_GROUP=root")
    if "refused" in said:
        pytest.skip(f"capabilities of files do not work here: {said}")
    plugin.unlink()


@pytest.mark.usefixtures("with_capabilities")
def test_only_agent_group_may_execute_plugin(install_as_root):
    plugin, said = install_as_root("NETDATA_GROUP=nogroup")
    assert (plugin.owner(), plugin.group(), mode(plugin)) == ("root", "nogroup", 0o750)
    assert capability(plugin).endswith("ksm.plugin cap_dac_read_search=ep")
    assert "root:nogroup 0750 cap_dac_read_search+ep" in said


@pytest.mark.parametrize("words, why, advice", [
    pytest.param(["NETDATA_GROUP=no-such-group"], "there is no group no-such-group",
                 ": install Netdata, or set NETDATA_GROUP, and run make install-netdata again\n", id="no group"),
    pytest.param(["NETDATA_GROUP=root", "SETCAP=false"], "the capability was refused", "To change this", id="refused"),
    pytest.param(["NETDATA_GROUP=root", "SETCAP=no-such-program"], "there is no no-such-program", "To change this",
                 id="no setcap"),
])
def test_install_without_capability_gives_reason_and_continues(words, why, advice, install_as_root):
    plugin, said = install_as_root(*words)
    assert why in said and advice in said and "chown:" not in said, said
    assert os.access(plugin, os.X_OK) and capability(plugin) == ""


@pytest.mark.usefixtures("with_capabilities")
def test_capability_that_is_not_effective_is_removed(install_as_root):
    """A file with such a capability cannot be executed at all."""
    plugin, said = install_as_root("NETDATA_GROUP=root", by=NOT_GRANTED)
    assert "does not grant the capability" in said, said
    assert capability(plugin) == ""


# Man pages.

@pytest.mark.parametrize("page", PAGES)
def test_man_page_can_be_read(page):
    if not shutil.which("mandoc"):
        pytest.skip("mandoc is not installed")
    lint, shown = (subprocess.run(["mandoc", word, REPOSITORY / page], capture_output=True, text=True, check=False).stdout
                   for word in ("-Tlint", "-Tutf8"))
    # Which other pages are installed is no fault of these.
    assert [line for line in lint.splitlines() if "referenced manual not found" not in line] == []
    shown = " ".join(re.sub(r".\x08", "", shown).split())
    metrics = ("METRICS", "CONSUMERS", "(sharing + zero) × page size", "ksmd's schedstat")
    for words in ("NAME", "OPTIONS", *(() if "explain" in page else metrics)):
        assert words in shown, f"{words} is not in it"


def test_tables_of_readme_and_man_pages_are_up_to_date(build):
    assert readme.stale(build) == [], "run make readme"


# make help, make deb and make rpm, and make run with sudo.

def test_help_fits_80_columns_and_lists_users_targets_first(build):
    shown = make(build, "help")
    users, _, developers = shown.partition("\nFor developers:\n")
    assert re.search(r"^  install  +\w", users, flags=re.MULTILINE)
    assert re.search(r"^  check-long +\w", developers, flags=re.MULTILINE)
    assert [line for line in shown.splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("target", ["deb", "rpm"])
def test_building_packages_installs_only_what_that_takes(target, build):
    """Not what `make run` and the tests require, which is nearly 1 GB."""
    assert re.findall(r"tests/deps\.sh (.*)", make(build, "-n", target)) == [target]


def test_run_in_a_built_tree_does_not_mention_make(build):
    """Running is replaced."""
    said = make(build, "run", "RUN=echo runs")
    assert said.splitlines()[-1] == "runs" and "make" not in said


@pytest.mark.skipif(os.geteuid() != 0, reason="sudo runs make as root")
@pytest.mark.parametrize("run, status", [("touch", 0), ("false", 2)])
def test_sudo_leaves_no_root_owned_build(run, status, tmp_path):
    """Building and running are replaced by touching a file each."""
    built = tmp_path / "build"
    built.mkdir()
    done = subprocess.run(["make", "-C", REPOSITORY, f"BUILD={built}", f"BUILD_ALL=touch {built}/object; true",
                           f"RUN={run} {built}/made", "run"], check=False, capture_output=True, text=True,
                          env={**os.environ, "SUDO_UID": "65534", "SUDO_GID": "65534"})
    assert done.returncode == status, done.stdout + done.stderr
    assert {path.name: path.stat().st_uid for path in [built, *built.iterdir()]} == {
        "build": 65534, "object": 65534, **({"made": 65534} if status == 0 else {})}


# make dist.

@pytest.mark.long
def test_the_tarball_builds_and_passes_tests(build, tmp_path):
    if not shutil.which("git") or not (REPOSITORY / ".git").exists():
        pytest.skip("make dist takes a git clone")
    make(build, "dist")
    version = re.search(r"^VERSION = (.*)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)[1]
    with tarfile.open(build / f"ksm-plugins-{version}.tar.gz") as tar:
        tar.extractall(tmp_path)
    source = tmp_path / f"ksm-plugins-{version}"
    assert [path.name for path in tmp_path.iterdir()] == [source.name]
    env = {name: value for name, value in os.environ.items() if not re.match(r"MAKE|MFLAGS|KSM_", name)}
    for argv in (["make", "all", "tools", "build/tests/unit/system/test_parse", "build/tests/unit/netdata/test_charts"],
                 ["build/tests/unit/system/test_parse"], ["build/tests/unit/netdata/test_charts"],
                 ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not long",
                  "tests/e2e/test_build.py", "tests/e2e/test_golden.py", "tests/e2e/test_install.py"]):
        done = subprocess.run(argv, cwd=source, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
