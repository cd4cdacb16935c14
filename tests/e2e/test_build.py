# SPDX-License-Identifier: MIT
"""What was built, and what the sources and the README promise of it."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY
from figures import places

pytestmark = pytest.mark.shipped

PLUGINS = ["ksm.plugin", "ksm.so"]
PROGRAMS = [*PLUGINS, "ksm-explain"]

# Where figures and groups are named on purpose: tables of what is drawn and sent how.
TABLES = {"charts.def", "types.def"}
# Figures whose names mean something else as well, and the lines where they do.
OTHER_MEANINGS = {
    "run": re.compile(r"\brun\("),
    "saved": re.compile(r""),           # what a consumer saves is called so too
    "zero": re.compile(r"[.>]zero\b"),  # and its zero pages
}


def output(*argv):
    """Return what the program ARGV prints; skip the test where it is not installed."""
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


# For whom.

WORDS_OF_32_BITS = "The KSM plugins need a 64-bit architecture"


@pytest.mark.parametrize("cc", ["gcc", "clang"])
def test_a_compiler_for_32_bits_is_told_why_not(cc):
    if not shutil.which(cc):
        pytest.skip(f"{cc} is not installed")
    argv = [cc, "-m32", "-fsyntax-only", "-xc", "-Icommon", "-"]
    if subprocess.run(argv, input="", text=True, capture_output=True, check=False).returncode != 0:
        pytest.skip(f"{cc} does not compile for 32 bits here")
    done = subprocess.run(argv, input='#include "figures.h"\n', text=True, capture_output=True, cwd=REPOSITORY,
                          check=False)
    assert done.returncode != 0 and WORDS_OF_32_BITS in done.stderr
    native = subprocess.run([word for word in argv if word != "-m32"], input='#include "figures.h"\n', text=True,
                            capture_output=True, cwd=REPOSITORY, check=False)
    assert (native.returncode, native.stderr) == (0, "")


@pytest.mark.parametrize("machine, looks", [("x86_64", True), ("aarch64", True), ("s390x", False)])
def test_the_filter_looks_at_arguments_where_they_are(machine, looks):
    """Of mmap they are in registers, but on s390x in memory, where a filter sees none."""
    text = re.sub("(?m)^#include.*", "", (REPOSITORY / "netdata/sandbox.c").read_text())
    defines = [f"-U__{name}__" for name in ("x86_64", "aarch64", "s390x", "riscv", "powerpc64")]
    done = subprocess.run(["cc", "-E", "-P", *defines, f"-D__{machine}__", "-"], input=text, capture_output=True,
                          text=True, check=True)
    jumps = dict(re.findall(r"SYS_(\w+),\s*0,\s*(\d)", done.stdout))
    assert (jumps["mmap"] == "4") is looks and jumps["mprotect"] == "4" and jumps["munmap"] == "1"


@pytest.mark.parametrize("host", ["collectd", "netdata"])
def test_packages_are_of_64_bits_alone(host):
    control = (REPOSITORY / host / "debian/control").read_text()
    architectures = re.findall("^Architecture: (.*)$", control, re.MULTILINE)
    assert len(architectures) == 1
    for name in architectures[0].split():
        assert output("dpkg-architecture", "-f", f"-a{name}", "-qDEB_HOST_ARCH_BITS") == "64\n", name


def test_module_register_is_the_only_export(build):
    symbols = [line.split()[-1] for line in output("nm", "-D", "--defined-only", build / "ksm.so").splitlines()]
    assert symbols == ["module_register"]


@pytest.mark.parametrize("name", PLUGINS)
def test_needs_no_library_but_libc(name, build):
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-dW", build / name))
    assert needed == ["libc.so.6"]


@pytest.mark.parametrize("name", PLUGINS)
def test_holds_no_word_of_ksm_explain(name, build):
    assert "explain" not in output("nm", build / name)


def test_what_ksm_plugin_loads_is_libc(build):
    loaded = [line.split()[0].rpartition("/")[2] for line in output("ldd", build / "ksm.plugin").splitlines()]
    assert [name for name in loaded if not re.match(r"(linux-vdso|linux-gate|ld-)", name)] == ["libc.so.6"]


# Hardening.

@pytest.mark.parametrize("name", PROGRAMS)
def test_is_position_independent(name, build):
    assert re.search(r"Type: +DYN", output("readelf", "-hW", build / name))


@pytest.mark.parametrize("name", ["ksm.plugin", "ksm-explain"])
def test_program_is_a_pie(name, build):
    assert re.search(r"\(FLAGS_1\).*\bPIE\b", output("readelf", "-dW", build / name))


@pytest.mark.parametrize("name", PROGRAMS)
def test_relocations_are_read_only(name, build):
    assert re.search(r"BIND_NOW|\(FLAGS_1\).*\bNOW\b", output("readelf", "-dW", build / name))
    assert "GNU_RELRO" in output("readelf", "-lW", build / name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_stack_is_guarded_and_holds_no_code(name, build):
    assert "__stack_chk_fail" in output("readelf", "--dyn-syms", "-W", build / name)
    stack = re.search(r"GNU_STACK.*", output("readelf", "-lW", build / name))[0]
    assert re.search(r" RW +0x", stack), stack


@pytest.mark.parametrize("name", PROGRAMS)
def test_has_no_text_relocations(name, build):
    assert "TEXTREL" not in output("readelf", "-dW", build / name)


# Sources.

def words_of(line):
    """Return the identifiers and the words in strings of a line of C, without its comments."""
    return re.findall(r"[A-Za-z_]\w*", re.sub(r"/\*.*?(\*/|$)|//.*", "", line))


def code_lines(path):
    """Return [(number, line)] of PATH without comments of several lines."""
    text = re.sub(r"/\*.*?\*/", lambda comment: "\n" * comment[0].count("\n"), path.read_text(), flags=re.DOTALL)
    return list(enumerate(text.splitlines(), 1))


def named_figures(line):
    """Return the figures that a LINE of code names, as an identifier, as KSM_NAME, or as a word in a string."""
    found = set()
    for word in words_of(line):
        name = word[len("KSM_"):] if word.startswith("KSM_") else word
        if name in places(1) and not (name in OTHER_MEANINGS and OTHER_MEANINGS[name].search(line)):
            found.add(name)
    return found


@pytest.mark.parametrize("path", [
    pytest.param(path, id=str(path.relative_to(REPOSITORY)))
    for directory in ("collectd", "netdata") for path in sorted(Path(REPOSITORY, directory).iterdir())
    if path.suffix in (".c", ".h", ".def") and path.name not in TABLES])
def test_no_plugin_names_a_figure(path):
    """Figures are rows of common/figures.def: what knows one by name would have to be changed with them."""
    named = {f"{path.name}:{number}: {name}" for number, line in code_lines(path) for name in named_figures(line)}
    assert named == set()


def test_every_source_says_its_licence():
    missing = [str(path.relative_to(REPOSITORY))
               for pattern in ("common/*", "collectd/*.[ch]", "collectd/*.def", "netdata/*.[ch]", "netdata/*.def",
                               "common/explain/*.*", "tests/*.*", "tests/*/*.py", "tests/*/*.[ch]", "tests/fixtures/*.tree", "Makefile",
                               "*/install.mk", "*/*/install.mk", "*/*.[1-8]", "*/*/*.[1-8]", "*/debian/rules", "*/*/debian/rules", "*/debian/*inst", "*/debian/*rm")
               for path in sorted(REPOSITORY.glob(pattern))
               if path.is_file() and "SPDX-License-Identifier: MIT" not in path.read_text()[:300]]
    assert missing == []


# README.

def between_markers(name):
    """Return what stands in README.md between <!-- NAME --> and <!-- /NAME -->."""
    readme = REPOSITORY / "README.md"
    assert readme.exists(), "README.md is missing"
    found = re.search(rf"<!-- {name} -->\n(.*?)\n*<!-- /{name} -->", readme.read_text(), flags=re.DOTALL)
    assert found, f"README.md has no table between <!-- {name} --> and <!-- /{name} -->"
    return found[1].strip("\n")


def test_every_figure_has_a_row_in_the_readme():
    figures = re.findall(r"^\| (\w+) \|", between_markers("figures"), flags=re.MULTILINE)
    assert set(places(1)) <= set(figures)
