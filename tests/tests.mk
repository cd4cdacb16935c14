# SPDX-License-Identifier: MIT
# Tests, demos and checks; included by ../Makefile.
#
# tests/*.c are tools, one program each; tests/unit/*.c are unit tests, one program each, with the
# library check; tests/support/*.c serve the latter, tree.c both. The plugins' objects are those
# that ship.

TEST_CPPFLAGS = -Itests
CHECK_LIBS ?= $(shell pkg-config --libs check 2>/dev/null || echo -lcheck)

# What tests use of the programs: everything but their main().
NETDATA_PARTS = $(filter-out $(BUILD)/netdata/main.o,$(NETDATA))
EXPLAIN_PARTS = $(filter-out $(BUILD)/common/explain/run.o,$(EXPLAIN))
PARTS = $(NETDATA_PARTS) $(EXPLAIN_PARTS) $(COMMON)

TOOLS = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/*.c))
UNITS = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*.c))
SUPPORT = $(BUILD)/tests/support/tree.o
UNIT_SUPPORT = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c))

$(BUILD)/tests/%: private KSM_CPPFLAGS += $(TEST_CPPFLAGS)

$(TOOLS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT) $(PARTS)
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $^

# Calls that unit tests make fail: __wrap_CALL in tests/support/faults.c.
WRAPPED = open openat opendir pread __pread_chk write poll __poll_chk close clock_gettime sysconf \
	pthread_create pthread_join
$(UNITS): private KSM_LDFLAGS += $(addprefix -Wl$(comma)--wrap=,$(WRAPPED))
$(UNITS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(UNIT_SUPPORT) $(PARTS)
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(CHECK_LIBS)
comma = ,

# This one loads the ksm.so that ships, which finds its collectd in the program itself.
COLLECTD_STUBS = $(addprefix $(BUILD)/tests/,support/collectd_stub.o unit/test_collectd.o)
$(COLLECTD_STUBS): KSM_CPPFLAGS += $(COLLECTD_CPPFLAGS)
$(COLLECTD_STUBS): | $(BUILD)/collectd-headers
$(BUILD)/tests/unit/test_collectd: private KSM_LDFLAGS += -rdynamic
$(BUILD)/tests/unit/test_collectd: | $(BUILD)/ksm.so

tools: $(TOOLS)

# What is missing is installed before anything is built, also with -j: hence the second make.
BUILD_ALL = $(MAKE) --no-print-directory
RUN = $(PYTHON) tests/run.py --build $(BUILD) --figures $(BUILD)/tests/figures --port $(PORT) \
	$(if $(DURATION),--duration $(DURATION))

run: deps ## Run private collectd and Netdata with the plugins; DURATION=, PORT=
	@$(BUILD_ALL) all tools
	@$(RUN)

demo: deps ## The same with a workload and KSM switched on (as root)
	@$(BUILD_ALL) all tools
	@$(RUN) --demo

picture: deps deps-browser ## Take the picture of the dashboard that is in the README anew (as root)
	@$(BUILD_ALL) all tools
	@$(PYTHON) tests/picture.py --build $(BUILD) netdata/dashboard.png

traffic: deps deps-check ## Measure what one host sends to a place in the middle (as root)
	@$(BUILD_ALL) all tools
	@$(PYTHON) tests/traffic.py --build $(BUILD)

.PHONY: tools run demo picture traffic

check: deps deps-check ## Run the tests (under five minutes)
	@$(BUILD_ALL) all tools units benches fuzzers
	@tests/fuzz.sh $(BUILD)/fuzz 2
	@PYTHON=$(PYTHON) tests/check.sh $(BUILD) -m "not long"

check-long: deps deps-check deps-browser deps-package ## Run the slow tests (under twenty minutes)
	@$(BUILD_ALL) all tools units benches
	@KSM_FAULTS=all PYTHON=$(PYTHON) tests/check.sh $(BUILD) -m long

C_FILES = $(wildcard common/*.[ch] common/*/*.[ch] collectd/*.[ch] netdata/*.[ch] tests/*.[ch] tests/*/*.[ch])
SHELL_FILES = $(wildcard tests/*.sh */debian/*inst */debian/*rm) .ci/run
PYTHON_FILES = $(wildcard tests/*.py tests/*/*.py)

# Every source with both compilers, whatever was built before.
lint: deps deps-check ## Check sources: both compilers, format, static analysis, shell, Python
	@for cc in gcc $(CLANG); do echo "  LINT     $$cc"; \
		$(MAKE) -s BUILD=$(BUILD)/lint-$$cc CC=$$cc WERROR=1 all tools units benches || exit 1; done
	@echo "  LINT     clang-format"; clang-format --dry-run -Werror $(C_FILES)
	@echo "  LINT     cppcheck"; cppcheck --quiet --std=c11 --enable=warning,performance,portability \
		--inline-suppr --error-exitcode=1 --suppress=missingInclude --suppress=unknownMacro \
		-D_GNU_SOURCE -D__SIZEOF_INT128__=16 -Icommon -Icommon/explain -Inetdata -Icollectd -Itests common netdata collectd tests
	@echo "  LINT     shellcheck"; shellcheck $(SHELL_FILES)
	@echo "  LINT     pyflakes"; $(PYTHON) -m pyflakes $(PYTHON_FILES)

format: ## Format the sources
	clang-format -i $(C_FILES)

units: $(UNITS)

.PHONY: check check-long lint format units

readme: tools dashboard ## Renew the tables in README.md and the man pages, and the dashboard
	@$(PYTHON) tests/readme.py $(BUILD)

dashboard: tools ## Make collectd's Grafana dashboard anew
	@$(PYTHON) tests/dashboard.py --build $(BUILD)

golden: all tools ## Write the fixtures' golden outputs anew (then look at the diff)
	@$(PYTHON) tests/golden.py --build $(BUILD)

.PHONY: readme dashboard golden
