# SPDX-License-Identifier: MIT
# Tests, demos and checks; included by ../Makefile.
#
# README.md lists the directories. Each tests/unit/*/*.c is a program that uses the library check. The
# programs of the other directories are tools. All are linked with the objects that ship.

TEST_CPPFLAGS = -Itests
CHECK_LIBS ?= $(shell pkg-config --libs check 2>/dev/null || echo -lcheck)

# What tests use of the programs: everything but their main().
NETDATA_PARTS = $(filter-out $(BUILD)/netdata/main.o,$(NETDATA))
EXPLAIN_PARTS = $(filter-out $(BUILD)/common/explain/main.o,$(EXPLAIN))
PARTS = $(NETDATA_PARTS) $(EXPLAIN_PARTS) $(COMMON)

TOOL_SOURCES = $(wildcard $(addsuffix /*.c,$(addprefix tests/,demo docs measure fixtures kernels))) \
	tests/e2e/confined.c tests/e2e/lockholder.c tests/e2e/mmap_latency.c
TOOLS = $(addprefix $(BUILD)/tests/,$(notdir $(TOOL_SOURCES:.c=)))
# Modules of Python that the rooms have for each other.
TOOL_PYTHON = PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/support:tests/demo:tests/docs:tests/measure:tests/bench $(PYTHON)
UNITS = $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*.c tests/unit/*/*.c))
SUPPORT = $(BUILD)/tests/support/tree.o
UNIT_SUPPORT = $(patsubst %.c,$(BUILD)/%.o,$(wildcard tests/support/*.c))

$(BUILD)/tests/%: private KSM_CPPFLAGS += $(TEST_CPPFLAGS)

$(foreach source,$(TOOL_SOURCES),$(eval $(BUILD)/tests/$(notdir $(source:.c=)): $(BUILD)/$(source:.c=.o)))
$(TOOLS): $(SUPPORT) $(PARTS)
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(EXPLAIN_LIBS)

# Calls that unit tests make fail: __wrap_CALL in tests/support/faults.c.
WRAPPED = open openat opendir pread __pread_chk write poll __poll_chk close clock_gettime sysconf \
	pthread_create
$(UNITS): private KSM_LDFLAGS += $(addprefix -Wl$(comma)--wrap=,$(WRAPPED))
$(UNITS): $(BUILD)/tests/%: $(BUILD)/tests/%.o $(UNIT_SUPPORT) $(PARTS)
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(EXPLAIN_LIBS) $(CHECK_LIBS)
$(BUILD)/tests/unit/explain/test_page_reader: private KSM_LDFLAGS += -Wl,--wrap=ioctl
$(BUILD)/tests/unit/system/test_pseudofs: private KSM_LDFLAGS += -Wl,--wrap=statx
comma = ,

# This one loads the ksm.so that ships, which finds its collectd in the program itself.
COLLECTD_STUBS = $(addprefix $(BUILD)/tests/,support/collectd_stub.o unit/collectd/test_collectd.o)
$(COLLECTD_STUBS): KSM_CPPFLAGS += $(COLLECTD_CPPFLAGS)
$(COLLECTD_STUBS): | $(BUILD)/collectd-headers
$(BUILD)/tests/unit/collectd/test_collectd: private KSM_LDFLAGS += -rdynamic
$(BUILD)/tests/unit/collectd/test_collectd: | $(BUILD)/ksm.so

tools: $(TOOLS)

# What is missing is installed before anything is built, also with -j: hence the second make, which builds on all
# processors unless told how many.
BUILD_ALL = $(MAKE) $(if $(V),,-s) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))
RUN = $(TOOL_PYTHON) tests/demo/run.py --build $(BUILD) --metrics $(BUILD)/tests/metrics --port $(PORT) \
	$(if $(DURATION),--duration $(DURATION))

# With sudo, what was built belongs to the user who called it, also after Ctrl-C.
give_back = if [ -n "$$SUDO_UID" ] && [ -d $(BUILD) ]; then chown -hR "$$SUDO_UID:$$SUDO_GID" $(BUILD); fi
run_and_give_back = trap : INT TERM; $(1); status=$$?; $(give_back); exit $$status

run: deps ## Try it in private daemons; DURATION= (from 10 s) PORT=
	@$(call run_and_give_back,$(BUILD_ALL) all tools && $(RUN))

demo: deps ## Try it with test programs and KSM on (as root)
	@$(call run_and_give_back,$(BUILD_ALL) all tools && $(RUN) --demo)

picture: deps deps-browser ### Renew the README's picture of the dashboard (as root)
	@$(BUILD_ALL) all tools
	@$(TOOL_PYTHON) tests/demo/picture.py --build $(BUILD) netdata/dashboard.png

traffic: deps deps-check ### Measure a host's traffic to a central host (as root)
	@$(BUILD_ALL) all tools
	@$(TOOL_PYTHON) tests/measure/traffic.py --build $(BUILD)

.PHONY: tools run demo picture traffic

check: deps deps-check ## Run the tests (under three minutes)
	@$(BUILD_ALL) all tools units benches fuzzers
	@tests/fuzz/fuzz.sh $(BUILD)/fuzz 2
	@PYTHON=$(PYTHON) tests/check.sh $(BUILD) -m "not long"

check-units: units ### Run the unit tests alone; installs nothing
	@for unit in $(UNITS); do $(WRAPPER) $$unit || exit 1; done

check-long: deps deps-check deps-browser deps-package ### Run the slow tests (under twenty minutes)
	@$(BUILD_ALL) all tools units benches
	@KSM_FAULTS=all PYTHON=$(PYTHON) tests/check.sh $(BUILD) -m long

C_FILES = $(wildcard common/*.[ch] common/*/*.[ch] collectd/*.[ch] netdata/*.[ch] tests/*.[ch] tests/*/*.[ch] tests/*/*/*.[ch])
SHELL_FILES = $(wildcard tests/*.sh tests/*/*.sh */debian/*inst */debian/*rm) .ci/run
PYTHON_FILES = $(wildcard tests/*.py tests/*/*.py)

# Every source with both compilers, whatever was built before.
lint: deps deps-check ### Check sources: compilers, format, analysis, words
	@for cc in gcc $(CLANG); do echo "  LINT     $$cc"; \
		$(MAKE) -s BUILD=$(BUILD)/lint-$$cc CC=$$cc WERROR=1 all tools units benches || exit 1; done
	@echo "  LINT     clang-format"; clang-format --dry-run -Werror $(C_FILES)
	@echo "  LINT     cppcheck"; cppcheck --quiet --std=c11 --enable=warning,performance,portability \
		--inline-suppr --error-exitcode=1 --suppress=missingInclude --suppress=unknownMacro \
		-D_GNU_SOURCE -D__SIZEOF_INT128__=16 -Icommon -Inetdata -Icollectd -Itests common netdata collectd tests
	@echo "  LINT     shellcheck"; shellcheck $(SHELL_FILES)
	@echo "  LINT     pyflakes"; $(PYTHON) -m pyflakes $(PYTHON_FILES)
	@$(BUILD_ALL) spell

# What people read, and words in it that leave them guessing.
MAN_PAGES = $(wildcard collectd/*.[1-8] netdata/*.[1-8] common/explain/*.[1-8])
PROSE = README.md tests/README.md $(wildcard .github/*.md) $(MAN_PAGES) \
	$(foreach room,collectd netdata netdata/health.d common common/explain, $(wildcard $(addprefix $(room)/,*.md *.def *.conf *.yml)))
RIDDLES = who saves|well again|mended|how KSM does|asks? back|to be had|comes and goes|stands in|looked at|by itself|takes Linux|cannot be told

spell: ### Check spelling, words and man pages
	@echo "  LINT     codespell"; codespell --skip '*.png,*.golden,*.pyc,seeds' --ignore-words-list nd,disabl,befores \
		README.md .github/*.md Makefile collectd common netdata tests
	@echo "  LINT     words"; ! grep -niE '$(RIDDLES)' $(PROSE)
	@echo "  LINT     mandoc"; mandoc -T lint -W warning $(MAN_PAGES)

format: ### Format the sources
	clang-format -i $(C_FILES)

units: $(UNITS)

.PHONY: check check-units check-long lint spell format units

readme: all tools dashboard ### Renew generated tables, dashboard and metadata
	@$(TOOL_PYTHON) tests/docs/readme.py $(BUILD)
	@$(TOOL_PYTHON) tests/docs/metadata.py --build $(BUILD)

dashboard: tools ### Renew the Grafana dashboard for collectd
	@$(TOOL_PYTHON) tests/docs/dashboard.py --build $(BUILD)

unicode: deps-check ### Renew the table of invisible characters
	@$(TOOL_PYTHON) tests/docs/unicode.py

golden: all tools ### Renew the fixtures' expected outputs; read the diff
	@$(TOOL_PYTHON) tests/fixtures/golden.py --build $(BUILD)

.PHONY: readme dashboard unicode golden

# ---- the same tests in other builds: with sanitizers, under valgrind, with coverage ----

# The sandbox forbids what the sanitizers' runtime does; its own tests are of the plugin that ships.
NOT_CONFINED = -O1 -g -fno-omit-frame-pointer -DKSM_NO_SANDBOX
NOT_SHIPPED = -m "not long and not shipped"

# $(1) name, $(2) flags for compiler and linker, $(3) what to build, unless it is all. Instrumented code makes gcc
# warn of what cannot be: lint has the warnings that count.
define sanitized
	@$(BUILD_ALL) BUILD=$(BUILD)/$(1) WERROR= CFLAGS="$(NOT_CONFINED) $(2)" HARDEN_CFLAGS= LDFLAGS="$(2)" \
		all $(or $(3),tools units benches)
endef

check-asan: deps deps-check ### Run the tests with AddressSanitizer, LeakSanitizer
	$(call sanitized,asan,-fsanitize=address)
	@KSM_PRELOAD="$$($(CC) -print-file-name=libasan.so)" PYTHON=$(PYTHON) \
		tests/check.sh $(BUILD)/asan $(NOT_SHIPPED)

check-ubsan: deps deps-check ### Run the tests with UndefinedBehaviorSanitizer
	$(call sanitized,ubsan,-fsanitize=undefined -fno-sanitize-recover=all)
	@KSM_PRELOAD="$$($(CC) -print-file-name=libubsan.so)" PYTHON=$(PYTHON) \
		tests/check.sh $(BUILD)/ubsan $(NOT_SHIPPED)

check-units-sanitized: deps deps-check ### Run the unit tests with asan and ubsan
	$(call sanitized,sanitized,-fsanitize=address$(comma)undefined -fno-sanitize-recover=all,units)
	@tests/check.sh $(BUILD)/sanitized

check-tsan: deps deps-check ### Run the tests with ThreadSanitizer
	$(call sanitized,tsan,-fsanitize=thread)
	@PYTHON=$(PYTHON) tests/check.sh $(BUILD)/tsan $(NOT_SHIPPED) -k test_plugin.py

check-valgrind: deps deps-check ### Run the unit tests with valgrind
	@$(BUILD_ALL) BUILD=$(BUILD)/valgrind CFLAGS="$(NOT_CONFINED)" all tools units benches
	@KSM_FAULTS=199 WRAPPER="valgrind --quiet --leak-check=full --error-exitcode=9 --child-silent-after-fork=no" \
		PYTHON=$(PYTHON) tests/check.sh $(BUILD)/valgrind $(NOT_SHIPPED) -k test_plugin.py

check-musl: deps deps-check ### Build with musl and run the unit tests
	@tests/support/musl.sh $(BUILD)/musl/root
	@$(BUILD_ALL) BUILD=$(BUILD)/musl CC=musl-gcc CPPFLAGS="-isystem $(abspath $(BUILD)/musl/root/include) -include lacking.h -DXXH_INLINE_ALL" \
		EXPLAIN_LIBS=-lm \
		CHECK_LIBS=$(abspath $(BUILD)/musl/root/libcheck.a) all check-units

# Programs that run as another user write their counts too, where they may; what fails for want of
# that is no verdict here.
coverage: deps deps-check ### Measure line and branch coverage of the tests
	@rm -rf $(BUILD)/coverage
	$(call sanitized,coverage,--coverage)
	@chmod -R a+rwX $(BUILD)/coverage
	@umask 0; PYTHON=$(PYTHON) tests/check.sh $(BUILD)/coverage $(NOT_SHIPPED) || true
	@gcovr --root . --object-directory $(BUILD)/coverage --filter 'common/' --filter 'netdata/' \
		--filter 'collectd/' --print-summary

.PHONY: check-asan check-ubsan check-units-sanitized check-tsan check-valgrind check-musl coverage
