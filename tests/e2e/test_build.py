# SPDX-License-Identifier: MIT
"""What was built, and what the sources and the README promise of it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY
from expected import places

pytestmark = pytest.mark.shipped

PLUGINS = ["ksm.plugin", "ksm.so"]
PROGRAMS = [*PLUGINS, "ksm-explain"]

# Where metrics and groups are named on purpose: tables of what is drawn and sent how.
TABLES = {"charts.def", "types.def"}
# Metrics whose names mean something else as well, and the lines where they do.
OTHER_MEANINGS = {
    "run": re.compile(r"\brun\("),
    "saved": re.compile(r""),           # what a consumer saves is called so too
    "merge_rate": re.compile(r""),      # and how fast it merges
    "zero": re.compile(r"[.>]zero\b"),  # and its zero pages
}


def output(*argv):
    """Return what the program ARGV prints; skip the test where it is not installed."""
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


# Supported targets.

WORDS_OF_32_BITS = "The KSM plugins need a 64-bit architecture"


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_32_bit_compiler_is_refused_with_reason(cc):
    if not shutil.which(cc):
        pytest.skip(f"{cc} is not installed")
    argv = [cc, "-m32", "-fsyntax-only", "-xc", "-Icommon", "-"]
    if subprocess.run(argv, input="", text=True, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{cc} does not compile for 32 bits here")
    done = subprocess.run(argv, input='#include "metrics/metrics.h"\n', text=True, capture_output=True, cwd=REPOSITORY,
                          check=False)
    assert done.returncode != 0 and WORDS_OF_32_BITS in done.stderr
    native = subprocess.run([word for word in argv if word != "-m32"], input='#include "metrics/metrics.h"\n', text=True,
                            capture_output=True, cwd=REPOSITORY, check=False)
    assert (native.returncode, native.stderr) == (0, "")


@pytest.mark.parametrize("machine, looks", [("x86_64", True), ("aarch64", True), ("s390x", False)])
def test_seccomp_filter_loads_arguments_by_byte_order(machine, looks):
    """Of mmap they are in registers, but on s390x in memory, where a filter sees none."""
    text = re.sub("(?m)^#include.*", "", (REPOSITORY / "common/system/sandbox.c").read_text())
    defines = [f"-U__{name}__" for name in ("x86_64", "aarch64", "s390x", "riscv", "powerpc64")]
    done = subprocess.run(["cc", "-E", "-P", *defines, f"-D__{machine}__", "-"], input=text, capture_output=True,
                          text=True, check=True)
    jumps = dict(re.findall(r"SYS_(\w+),\s*0,\s*(\d)", done.stdout))
    assert (jumps["mmap"] == "4") is looks and jumps["mprotect"] == "4" and jumps["munmap"] == "1"


@pytest.mark.parametrize("host", ["collectd", "netdata"])
def test_packages_list_only_64_bit_architectures(host):
    control = (REPOSITORY / host / "debian/control").read_text()
    architectures = re.findall("^Architecture: (.*)$", control, re.MULTILINE)
    assert len(architectures) == 1
    for name in architectures[0].split():
        assert output("dpkg-architecture", "-f", f"-a{name}", "-qDEB_HOST_ARCH_BITS") == "64\n", name


def test_module_register_is_the_only_export(build):
    symbols = [line.split()[-1] for line in output("nm", "-D", "--defined-only", build / "ksm.so").splitlines()]
    assert symbols == ["module_register"]


def test_ksm_so_stays_mapped_after_dlclose(build):
    """A thread that is stuck in a read() returns to its code."""
    assert re.search(r"\(FLAGS_1\).*\bNODELETE\b", output("readelf", "-dW", build / "ksm.so"))


@pytest.mark.parametrize("name", PLUGINS)
def test_needs_no_library_but_libc(name, build):
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-dW", build / name))
    assert needed == ["libc.so.6"]


@pytest.mark.parametrize("name", PLUGINS)
def test_plugin_contains_no_text_of_ksm_explain(name, build):
    assert "explain" not in output("nm", build / name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_hardening(name, build):
    header, dynamic, segments, symbols = (output("readelf", *words, "-W", build / name)
                                          for words in (["-h"], ["-d"], ["-l"], ["--dyn-syms"]))
    assert re.search(r"Type: +DYN", header), "not position-independent"
    assert name == "ksm.so" or re.search(r"\(FLAGS_1\).*\bPIE\b", dynamic)
    assert re.search(r"BIND_NOW|\(FLAGS_1\).*\bNOW\b", dynamic) and "GNU_RELRO" in segments, "relocations can be written"
    assert "__stack_chk_fail" in symbols, "the stack is not guarded"
    assert re.search(r"GNU_STACK.* RW +0x", segments), "the stack holds code"
    assert "TEXTREL" not in dynamic


# Against a source tree of collectd.

MARK = "the headers of the source tree"


@pytest.fixture(scope="module")
def collectd_tree(tmp_path_factory):
    """A source tree of collectd, made of the installed headers; what includes its plugin.h holds MARK."""
    headers = Path("/usr/include/collectd")
    if not headers.is_dir():
        pytest.skip("collectd-dev is not installed")
    tree = tmp_path_factory.mktemp("collectd")
    shutil.copytree(headers / "core", tree / "src")
    shutil.copytree(headers / "liboconfig", tree / "src/liboconfig")
    for path in (tree / "src").rglob("*.h"):
        path.write_text(re.sub('(#include ")collectd/(core/)?', r"\1", path.read_text()))
    with open(tree / "src/daemon/plugin.h", "a", encoding="utf-8") as file:
        file.write(f'#ifndef MARK\n#define MARK "{MARK}"\nstatic const char mark[] __attribute__((used)) = MARK;\n#endif\n')
    return tree


def make_ksm_o(tmp_path, headers):
    """Return (status, stderr, object) of a build of collectd/ksm.c with HEADERS as COLLECTD_INCLUDEDIR."""
    made = tmp_path / "collectd/ksm.o"
    env = {name: value for name, value in os.environ.items() if not re.match("MAKE|MFLAGS", name)}
    done = subprocess.run(["make", "-C", REPOSITORY, f"BUILD={tmp_path}", f"COLLECTD_INCLUDEDIR={headers}", made],
                          env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr, made


@pytest.mark.parametrize("directory", ["src", "."])
def test_collectd_headers_can_be_those_of_a_source_tree(directory, collectd_tree, tmp_path):
    status, errors, made = make_ksm_o(tmp_path, collectd_tree / directory)
    assert status == 0, errors
    assert MARK.encode() in made.read_bytes()


def test_missing_collectd_headers_are_reported_with_the_directories_that_were_tried(tmp_path):
    status, errors, _made = make_ksm_o(tmp_path, tmp_path / "x")
    assert status != 0
    for words in (f"{tmp_path}/x/core {tmp_path}/x/. {tmp_path}/x/src", "collectd-dev", "COLLECTD_INCLUDEDIR=DIR",
                  "make install-netdata install-explain"):
        assert words in errors, errors


def test_a_source_tree_of_collectd_that_is_not_configured_is_reported(collectd_tree, tmp_path):
    tree = shutil.copytree(collectd_tree, tmp_path / "tree")
    (tree / "src/config.h").unlink()
    status, errors, _made = make_ksm_o(tmp_path, tree)
    assert status != 0
    assert f"{tree}/src/config.h is missing: run ./configure" in errors, errors


# Sources.

def code_lines(path):
    """Return [(number, line)] of the C in PATH without comments."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", lambda comment: "\n" * comment[0].count("\n"), path.read_text(), flags=re.DOTALL)
    return list(enumerate(text.splitlines(), 1))


def named_metrics(line):
    """Return the metrics that a LINE of code names, as an identifier, as KSM_NAME, or as a word in a string."""
    names = {word.removeprefix("KSM_") for word in re.findall(r"[A-Za-z_]\w*", line)} & set(places(1))
    return {name for name in names if name not in OTHER_MEANINGS or not OTHER_MEANINGS[name].search(line)}


@pytest.mark.parametrize("path", [
    pytest.param(path, id=str(path.relative_to(REPOSITORY)))
    for directory in ("collectd", "netdata") for path in sorted(Path(REPOSITORY, directory).iterdir())
    if path.suffix in (".c", ".h", ".def") and path.name not in TABLES])
def test_plugin_sources_name_no_metric(path):
    """Metrics are rows of common/metrics/metrics.def: what knows one by name would have to be changed with them."""
    named = {f"{path.name}:{number}: {name}" for number, line in code_lines(path) for name in named_metrics(line)}
    assert named == set()


def test_every_source_states_its_licence():
    ours = re.compile(r".*\.(c|h|def|mk|py|sh|[1-8]|tree)|Makefile|rules|\w+(inst|rm)")
    missing = [str(path) for path in [REPOSITORY / "Makefile", *REPOSITORY.glob("[!.b]*/**/*")]
               if path.is_file() and ours.fullmatch(path.name)
               and "SPDX-License-Identifier: MIT" not in path.read_text(errors="replace")[:300]]
    assert missing == []
