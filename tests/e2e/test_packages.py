# SPDX-License-Identifier: MIT
"""The packages: contents of Debian packages and RPMs, and installing, upgrading and removing Debian's on a machine with
collectd and Netdata.

The tests on the machine run in order: each is named after its action, and passes the machine on to the
next.  Both daemons run with Debian's configuration; the only addition is collectd's csv plugin, which
shows the delivered values.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from conftest import REPOSITORY
from daemons import until
from machine import ALLOW, CONF, DENY, Machine, NoMirror, newer, why_not
from test_docs import dead_links
from test_install import EXAMPLES, HEALTH, OF_DOC, OF_EXPLAIN, UNITS

pytestmark = [pytest.mark.long, pytest.mark.shipped]

PACKAGES = {"collectd": "collectd-plugin-ksm", "netdata": "netdata-plugin-ksm", "explain": "ksm-explain"}
PLUGIN = "/usr/lib/netdata/plugins.d/ksm.plugin"
INSTALLED = ["collectd", "netdata", "man-db", "procps"]     # ps: for /etc/init.d/netdata status
CSV = "var/lib/collectd/csv"
INTERVAL_S = 10     # Debian's collectd's
START_S = 20        # limit for a daemon's start, without its first interval
SPEC = REPOSITORY / "common/ksm-plugins.spec"
GRANTED = f"{PLUGIN} cap_dac_read_search=ep"


# Contents.

def made(build, target, pattern, *tools):
    """Make TARGET, which requires TOOLS; return {daemon: path of its package}, found by name and PATTERN."""
    missing = [name for name in tools if not shutil.which(name)]
    if missing:
        pytest.skip(f"not installed: {' '.join(missing)} (tests/deps.sh package)")
    env = {name: value for name, value in os.environ.items() if not re.match(r"MAKE|MFLAGS", name)}
    done = subprocess.run(["make", "-C", REPOSITORY, target, f"BUILD={build}"], env=env,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout
    found = {host: list(build.glob(f"{package}{pattern}")) for host, package in PACKAGES.items()}
    assert [len(paths) for paths in found.values()] == [1, 1, 1], found
    return {host: paths[0] for host, paths in found.items()}


@pytest.fixture(scope="module")
def debs(build):
    """{daemon: path of its package}, freshly built."""
    return made(build, "deb", "_*.deb", "dpkg-buildpackage", "dh", "dpkg-deb")


@pytest.fixture(scope="module")
def rpms(build):
    """The same for RPM."""
    return made(build, "rpm", "-[0-9]*.rpm", "rpmbuild", "rpm")


def field(deb, name):
    """Return the field NAME of the package DEB."""
    return subprocess.run(["dpkg-deb", "-f", deb, name], capture_output=True, text=True, check=True).stdout.strip()


def contents(deb):
    """Return {path: "mode owner"} of the files in DEB that are not directories."""
    listing = subprocess.run(["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True).stdout
    found = {}
    for line in listing.splitlines():
        mode, owner, _size, _day, _time, path = line.split(maxsplit=5)
        if not mode.startswith("d"):
            found[path.removeprefix("./")] = f"{mode} {owner}"
    return found


PLAIN, PROGRAM = "-rw-r--r-- root/root", "-rwxr-xr-x root/root"


@pytest.mark.parametrize("host, expected, depends, recommends", [
    ("collectd", {"usr/lib/collectd/ksm.so": PLAIN, CONF: PLAIN, "usr/share/man/man5/collectd-ksm.5.gz": PLAIN},
     r"collectd-core \(>= 5[.\d]+\), collectd-core \(<< 6\), libc6 \(>= [.\d]+\)", "collectd, ksm-explain"),
    ("netdata", {PLUGIN[1:]: PROGRAM, "usr/share/man/man1/ksm.plugin.1.gz": PLAIN,
                 **{f"usr/lib/netdata/conf.d/health.d/{name}": PLAIN for name in HEALTH}},
     r"libcap2-bin, netdata-core \(>= 1.37\), libc6 \(>= [.\d]+\)", "netdata-web, ksm-explain"),
    ("explain", {"usr/bin/ksm-explain": PROGRAM, "usr/share/man/man1/ksm-explain.1.gz": PLAIN,
                 **{f"lib/systemd/system/{name}": PLAIN for name in UNITS}},
     r"libc6 \(>= [.\d]+\)", ""),
])
def test_package_fields_and_contents(host, expected, depends, recommends, debs):
    doc = f"usr/share/doc/{PACKAGES[host]}/"
    found = contents(debs[host])
    assert {path: how for path, how in found.items() if not path.startswith(doc)} == expected
    names = {path.removeprefix(doc).removesuffix(".gz") for path in found if path.startswith(doc)}
    assert names == {"changelog", "copyright", *OF_DOC, *(f"examples/{name}" for name in {"collectd": EXAMPLES, "explain": OF_EXPLAIN}.get(host, []))}
    assert re.fullmatch(depends, field(debs[host], "Depends"))
    assert field(debs[host], "Recommends") == recommends
    version = re.search(r"^VERSION = (.*)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)[1]
    assert field(debs[host], "Version") == version, f"{host}/debian/changelog and Makefile differ"
    changes = SPEC.read_text().partition("%changelog\n")[2]
    assert re.match(rf"\* \w+ \w+ \d+ \d+ {re.escape(field(debs[host], 'Maintainer'))} - {version}-1\n", changes)


def dead_links_of_packages(root):
    """Return the links that lead nowhere in the README files of all packages, which are installed below ROOT."""
    installed = [root / "usr/share/doc" / package / name for package in PACKAGES.values() for name in OF_DOC]
    return [link for readme in installed for link in dead_links(readme, root)]


def test_link_targets_of_readmes_are_installed(debs, tmp_path):
    for deb in debs.values():
        subprocess.run(["dpkg-deb", "-x", deb, tmp_path], check=True)
    assert dead_links_of_packages(tmp_path) == []


def test_maintainer_address_matches_commits(debs):
    if not (REPOSITORY / ".git").exists():
        pytest.skip("no git clone")
    log = subprocess.run(["git", "-C", REPOSITORY, "log", "-1", "--format=%ae"], capture_output=True, text=True, check=True)
    assert {field(deb, "Maintainer") for deb in debs.values()} == {f"ksm-plugins maintainers <{log.stdout.strip()}>"}


@pytest.mark.parametrize("host", PACKAGES)
def test_lintian_finds_nothing(host, debs):
    if not shutil.which("lintian"):
        pytest.skip("lintian is not installed")
    done = subprocess.run(["lintian", "--allow-root", "--fail-on=error,warning", debs[host]],
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def query_rpm(rpm, fields):
    """Return the lines that rpm makes of FIELDS for the package RPM."""
    return subprocess.run(["rpm", "-qp", "--qf", fields, rpm], capture_output=True, text=True, check=True).stdout.splitlines()


# Where Fedora has what Debian has elsewhere.
FEDORA = {"/etc/collectd.d/": "etc/collectd/collectd.conf.d/", "/usr/lib/systemd/": "lib/systemd/", "/usr/lib64/": "usr/lib/", "/usr/libexec/": "usr/lib/", "/": ""}
# What an RPM says by itself, and Debian's package does in its postinst; and who strips a plugin wants it executable.
BY_RPM = {PLUGIN[1:]: "-rwxr-x--- root/netdata cap_dac_read_search=ep", "usr/lib/collectd/ksm.so": PROGRAM}


@pytest.mark.parametrize("host", PACKAGES)
def test_rpm_contents_match_deb(host, debs, rpms):
    expected = {path.removesuffix(".gz"): BY_RPM.get(path, how) for path, how in contents(debs[host]).items()
                if Path(path).name not in ("changelog.gz", "copyright")}
    found = {}
    for line in query_rpm(rpms[host], "[%{FILENAMES} %{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILECAPS}\n]"):
        path, how = line.split(maxsplit=1)
        if not how.startswith("d") and "/.build-id/" not in path and "/licenses/" not in path:
            theirs = next(theirs for theirs in FEDORA if path.startswith(theirs))
            found[FEDORA[theirs] + path.removeprefix(theirs).removesuffix(".gz")] = how.removesuffix("(none)").strip()
    assert found == expected
    assert query_rpm(rpms[host], "%{VERSION} %{LICENSE} [%{RECOMMENDS}]") == \
        [f"{field(debs[host], 'Version')} MIT {'' if host == 'explain' else PACKAGES['explain']}"]
    [summary, description] = field(debs[host], "Description").split("\n", 1)
    assert query_rpm(rpms[host], "%{DESCRIPTION}") == [line.strip(" ").removeprefix(".") for line in description.splitlines()], summary


def test_rpmlint_finds_nothing(rpms):
    if not shutil.which("rpmlint"):
        pytest.skip("rpmlint is not installed")
    done = subprocess.run(["rpmlint", "-r", SPEC.with_suffix(".rpmlintrc"), SPEC, *rpms.values()],
                          capture_output=True, text=True, check=False)
    assert " 0 errors, 0 warnings, " in done.stdout, done.stdout


def test_rpm_install_upgrade_remove(rpms, tmp_path):
    """In a root with a shell, and a systemctl that records its arguments: the daemons are restarted when a plugin
    comes, is renewed or goes; an edited configuration is kept where collectd does not read it."""
    if os.geteuid() != 0 or not shutil.which("busybox"):
        pytest.skip("takes root and busybox")
    for name in ("bin", "dev", "etc"):
        (tmp_path / name).mkdir()
    shutil.copy(shutil.which("busybox"), tmp_path / "bin/busybox")
    for name in ("sh", "mv"):
        (tmp_path / "bin" / name).symlink_to("busybox")
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text('#!/bin/sh\necho "$*" >>/told\n')
    systemctl.chmod(0o755)
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")
    (tmp_path / "etc/group").write_text("root:x:0:\nnetdata:x:4321:\n")
    restarts = ["try-restart collectd.service", "try-restart netdata.service"]

    def rpm(*words):
        done = subprocess.run(["rpm", "--root", tmp_path, "--nodeps", *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "failed" not in done.stderr, done.stderr
        commands = sorted((tmp_path / "told").read_text().splitlines())
        (tmp_path / "told").unlink()
        return commands

    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert rpm("-i", *rpms.values()) == restarts
    assert dead_links_of_packages(tmp_path) == []
    plugin = tmp_path / "usr/libexec/netdata/plugins.d/ksm.plugin"
    assert (plugin.stat().st_uid, plugin.stat().st_gid, plugin.stat().st_mode & 0o7777) == (0, 4321, 0o750)
    getcap = subprocess.run(["/sbin/getcap", plugin], capture_output=True, text=True, check=True)
    assert getcap.stdout == f"{plugin} cap_dac_read_search=ep\n"
    conf = tmp_path / "etc/collectd.d/ksm.conf"
    edited = conf.read_text() + "# mine\n"
    conf.write_text(edited)
    assert rpm("-U", "--replacepkgs", *rpms.values()) == restarts
    assert conf.read_text() == edited
    assert rpm("-e", *PACKAGES.values()) == [
        "--no-reload disable --now ksm-openmetrics.timer ksm-openmetrics-sharing.timer", *restarts]
    left = {path for path in tmp_path.rglob("*") if path.is_file() and path.relative_to(tmp_path).parts[0] not in ("dev", "root", "var")}
    assert left - before == {conf.with_name(".ksm.conf.rpmsave")}
    assert conf.with_name(".ksm.conf.rpmsave").read_text() == edited


# Installing, upgrading, removing.

@pytest.fixture(scope="module")
def machine(build, debs):
    """A machine with Debian's collectd and Netdata, both running, and the packages in /debs, not installed."""
    if why_not():
        pytest.skip(why_not())
    with tempfile.TemporaryDirectory(prefix="ksm-test-") as directory:
        try:
            made = Machine(directory, build / f"machine-{'-'.join(INSTALLED)}.tar", INSTALLED)
        except NoMirror as reason:
            pytest.skip(str(reason))
        with made:
            for deb in debs.values():
                (made.root / "debs").mkdir(exist_ok=True)
                shutil.copy(deb, made.root / "debs")
                shutil.copy(newer(deb, directory), made.root / "debs")
            (made.root / "etc/collectd/collectd.conf.d/csv.conf").write_text(
                f'LoadPlugin csv\n<Plugin csv>\n  DataDir "/{CSV}"\n</Plugin>\n')
            made.policy(ALLOW)
            made.run("/etc/init.d/collectd start; /etc/init.d/netdata start")
            made.before = ksm_paths(made)
            yield made


def ksm_paths(machine):
    """Return all paths of the machine with our names, except data recorded by its daemons."""
    return machine.run("find / -xdev \\( -name '*ksm*' -o -name '*plugin-ksm*' \\) ! -path '/var/lib/collectd/*' "
                       "! -path '/var/cache/*' ! -path '/debs/*' ! -path '/sys/*' ! -path '/proc/*'").split()


def apt(machine, *words):
    """Run apt-get like an admin; return its output."""
    return machine.run(f"apt-get -q -y {' '.join(words)}")


def pid(machine, host):
    """Return the pid of the first process of HOST, a daemon; 0 if it does not run."""
    return min(int(pid) for pid in machine.run(f"pidof {host} || echo 0").split())


def in_collectd(machine):
    """Return the newest value of each of the host's metrics in collectd's csv files, {name: (time, value)}."""
    newest = {}
    for path in (machine.root / CSV).glob("*/ksm/*"):
        when, value = path.read_text().splitlines()[-1].split(",")
        if when != "epoch":
            newest[re.sub(r"-\d{4}-\d\d-\d\d$", "", path.name)] = float(when), value
    return newest


def asked(machine, path):
    """Return the agent's answer to a GET of PATH below /api/v1; None if that does not exist or the agent is not ready."""
    answer = machine.run(f"bash -c 'exec 3<>/dev/tcp/127.0.0.1/19999 && printf \"GET /api/v1/{path} HTTP/1.0"
                         "\\r\\n\\r\\n\" >&3 && cat <&3' || true")
    head, _empty, body = answer.partition("\n\n")       # of the text the \r are gone
    return json.loads(body) if " 200 " in head.partition("\n")[0] else None


def in_netdata(machine, chart):
    """Return the agent's latest {dimension: value} of CHART; {} if it has none."""
    table = asked(machine, f"data?chart={chart}&after=-1&points=1&format=json")
    if not table:
        return {}
    return dict(zip(table["labels"][1:], table["data"][0][1:])) if table["data"] else {}


def delivering(machine, since):
    """Wait until both daemons have metrics later than SINCE; return the duration in seconds."""
    start = time.monotonic()
    until(lambda: any(when >= since for when, _value in in_collectd(machine).values()),
                 START_S + INTERVAL_S, "metrics in collectd")
    dimensions = until(lambda: in_netdata(machine, "ksm.memory"), START_S, "metrics in Netdata")
    assert set(dimensions) == {"shared", "sharing", "unshared", "volatile"}
    return time.monotonic() - start


def test_install(machine):
    """As a newcomer does it.  Both hosts are restarted, and deliver within an interval."""
    before = pid(machine, "collectd"), pid(machine, "netdata")
    assert 0 not in before
    since = time.time()
    apt(machine, "install", *(f"/debs/{package}_*[0-9]_*.deb" for package in PACKAGES.values()))
    after = pid(machine, "collectd"), pid(machine, "netdata")
    assert 0 not in after and not set(before) & set(after), "a host that runs is restarted"
    took = delivering(machine, since)
    print(f"metrics in both hosts {took:.1f} s after apt-get install")
    assert took < INTERVAL_S
    metrics = in_collectd(machine)
    for name in ("vmpage_number-shared", "vmpage_number-sharing", "bytes-saved", "gauge-run"):
        assert re.fullmatch(r"-?[\d.e+]+", metrics[name][1]), metrics


def test_plugin_runs_as_agent_user_with_one_capability(machine):
    owner, status = machine.run(f"stat -c '%U:%G %a' {PLUGIN}; grep -h CapEff /proc/$(pidof ksm.plugin)/status"
                                ).splitlines()
    assert owner == "root:netdata 750"
    assert int(status.split()[1], 16) == 1 << 2, status


def test_agent_has_alerts(machine):
    def alerts():
        return [name for name in (asked(machine, "alarms?all") or {"alarms": {}})["alarms"] if name.startswith("ksm.")]
    assert until(alerts, 30, "alerts of our charts")


def timer(machine, action, name="ksm-openmetrics.timer"):
    """Return what a package's script gets of deb-systemd-helper ACTION for a timer."""
    helper = "DPKG_MAINTSCRIPT_PACKAGE=ksm-explain deb-systemd-helper"
    return machine.run(f"{helper} {action} {name} && echo yes || echo no").split()[-1]


@pytest.mark.parametrize("name", ["ksm-openmetrics.timer", "ksm-openmetrics-sharing.timer"])
def test_timer_is_installed_disabled(name, machine):
    """It is only enabled by an admin's command."""
    machine.run(f"ls /lib/systemd/system/{name}")
    assert timer(machine, "is-enabled", name) == "no"
    assert timer(machine, "enable", name) == "yes" and timer(machine, "is-enabled", name) == "yes"


@pytest.mark.parametrize("page, words", [("ksm.plugin", "KSM.PLUGIN(1)"), ("collectd-ksm", "COLLECTD-KSM(5)"),
                                          ("ksm-explain", "KSM-EXPLAIN(1)")])
def test_man_shows_manual_page(page, words, machine):
    assert words in machine.run(f"man -P cat {page}")


def test_ksm_explain_runs(machine):
    """With KSM in any state: there is a report, and the exit status of a verdict."""
    page, status = machine.run("set +e; ksm-explain; echo $?").rstrip().rsplit("\n", 1)
    assert "Verdict" in page and status.isdigit() and status != "1"


def test_daemons_files_are_unchanged(machine):
    """Neither their own files nor their configuration."""
    changed = machine.run("dpkg -V collectd collectd-core netdata-core netdata-web || true")
    assert not re.search(r"^..5", changed, flags=re.MULTILINE), changed


def test_permissions_are_restored_after_agent_upgrade(machine):
    """Its postinst changes the owner of all plugins, which removes file capabilities."""
    since = time.time()
    machine.run("dpkg -i /var/cache/apt/archives/netdata-core_*.deb")
    assert machine.run(f"getcap {PLUGIN}").strip() == GRANTED
    delivering(machine, since)
    plugin = until(lambda: pid(machine, "ksm.plugin"), START_S, "ksm.plugin, while the agent starts again")
    status = machine.run(f"grep CapEff /proc/{plugin}/status")
    assert int(status.split()[1], 16) == 1 << 2, "the agent runs a plugin that was started before"


def test_upgrade(machine):
    """The admin's configuration is kept, the daemons run the new version, permissions are set."""
    (machine.root / CONF).write_text("LoadPlugin ksm\n<Plugin ksm>\n\tSettings no\n</Plugin>\n")
    before = pid(machine, "collectd"), pid(machine, "netdata")
    since = time.time()
    apt(machine, "-o Dpkg::Options::=--force-confdef", "install", "/debs/*+new.deb")
    assert not set(before) & {pid(machine, "collectd"), pid(machine, "netdata")}
    assert machine.run("dpkg-query -W -f '${Version}\\n' '*-plugin-ksm'").count("+new") == 2
    assert machine.run(f"getcap {PLUGIN}").strip() == GRANTED
    assert "Settings no" in (machine.root / CONF).read_text()
    delivering(machine, since)


def test_policy_against_restarts_is_respected(machine):
    before = pid(machine, "collectd"), pid(machine, "netdata")
    machine.policy(DENY)
    machine.run("dpkg --force-confold -i /debs/*+new.deb")
    machine.policy(ALLOW)
    assert (pid(machine, "collectd"), pid(machine, "netdata")) == before


def test_stopped_daemon_is_not_started(machine):
    machine.run("/etc/init.d/collectd stop; /etc/init.d/netdata stop")
    machine.run("dpkg --force-confold -i /debs/*+new.deb")
    assert (pid(machine, "collectd"), pid(machine, "netdata")) == (0, 0)
    machine.run("/etc/init.d/collectd start; /etc/init.d/netdata start")


@pytest.mark.parametrize("lacking, said", [
    ("setfcap", "has no cap_dac_read_search"),
    ("dac_read_search", "does not grant cap_dac_read_search"),
])
def test_plugin_works_without_capability(lacking, said, machine):
    output = machine.run(f"setpriv --bounding-set=-{lacking} --inh-caps=-{lacking} "
                         "dpkg -i /debs/netdata-plugin-ksm_*+new.deb 2>&1")
    assert said in output, output
    assert machine.run(f"getcap {PLUGIN}") == ""
    until(lambda: in_netdata(machine, "ksm.memory"), START_S, "metrics in Netdata")


def test_permissions_set_by_admin_are_kept(machine):
    machine.run(f"dpkg-statoverride --update --add root root 0755 {PLUGIN}")
    machine.run("dpkg -i /debs/netdata-plugin-ksm_*+new.deb")
    assert machine.run(f"stat -c '%U:%G %a' {PLUGIN}; getcap {PLUGIN}") == "root:root 755\n"
    machine.run(f"dpkg-statoverride --remove {PLUGIN}")
    machine.run("dpkg -i /debs/netdata-plugin-ksm_*+new.deb")
    assert machine.run(f"getcap {PLUGIN}").strip() == GRANTED


def test_remove(machine):
    """collectd, which ends when it is to load what is not there, goes on; so does the agent, without our charts."""
    apt(machine, "remove", *PACKAGES.values())
    assert 0 not in (pid(machine, "collectd"), pid(machine, "netdata"))
    until(lambda: machine.run("pidof ksm.plugin || true") == "", START_S, "the plugin's end")
    assert not (machine.root / CONF).exists()
    assert "Settings no" in (machine.root / f"{CONF}.removed").read_text()
    machine.run("/etc/init.d/collectd restart")
    time.sleep(1)
    assert pid(machine, "collectd") != 0


def test_install_after_remove(machine):
    """The admin's configuration is used again."""
    since = time.time()
    apt(machine, "install", "/debs/*+new.deb")
    assert "Settings no" in (machine.root / CONF).read_text()
    assert not (machine.root / f"{CONF}.removed").exists()
    delivering(machine, since)


def test_purge(machine):
    """By README.md's command.  What collectd and an enabled timer recorded stays, as it says; nothing else is left."""
    [names] = re.findall(r"apt-get purge (.*)", (REPOSITORY / "README.md").read_text())
    assert set(names.split()) == set(PACKAGES.values())
    prom, state = "/var/lib/prometheus/node-exporter/ksm.prom", "/var/lib/ksm-openmetrics"
    assert timer(machine, "enable") == "yes"
    machine.run(f"mkdir -p {state} {state}-sharing {Path(prom).parent}; ksm-explain --openmetrics --output {prom} --state {state}/state")
    apt(machine, "purge", names)
    assert sorted(ksm_paths(machine)) == sorted([*machine.before, prom])
    assert in_collectd(machine)
    machine.run(f"rm {prom}")
    assert machine.run("dpkg-query -W '*-plugin-ksm' 2>/dev/null || true") == ""
    assert 0 not in (pid(machine, "collectd"), pid(machine, "netdata"))


def test_purge_after_remove(machine):
    """Nothing is left in this case either."""
    apt(machine, "install", "/debs/*+new.deb")
    apt(machine, "remove", *PACKAGES.values())
    assert ksm_paths(machine) != machine.before
    apt(machine, "purge", *PACKAGES.values())
    assert ksm_paths(machine) == machine.before
