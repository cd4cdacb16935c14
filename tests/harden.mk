# SPDX-License-Identifier: MIT
# The same tests on the same sources in other builds: with sanitizers, under valgrind, with coverage;
# and fuzzing. Included by ../Makefile.

comma = ,
# The sandbox forbids what the sanitizers' runtime does; its own tests are of the plugin that ships.
NOT_CONFINED = -O1 -g -fno-omit-frame-pointer -DKSM_NO_SANDBOX
NOT_SHIPPED = -m "not long and not shipped"

# $(1) name, $(2) flags for compiler and linker
define sanitized
	@$(BUILD_ALL) BUILD=$(BUILD)/$(1) CFLAGS="$(NOT_CONFINED) $(2)" HARDEN_CFLAGS= LDFLAGS="$(2)" \
		all tools units benches
endef

check-asan: deps deps-check ## The tests with AddressSanitizer and LeakSanitizer
	$(call sanitized,asan,-fsanitize=address)
	@KSM_PRELOAD="$$($(CC) -print-file-name=libasan.so)" PYTHON=$(PYTHON) \
		tests/check.sh $(BUILD)/asan $(NOT_SHIPPED)

check-ubsan: deps deps-check ## The tests with UndefinedBehaviorSanitizer
	$(call sanitized,ubsan,-fsanitize=undefined -fno-sanitize-recover=all)
	@KSM_PRELOAD="$$($(CC) -print-file-name=libubsan.so)" PYTHON=$(PYTHON) \
		tests/check.sh $(BUILD)/ubsan $(NOT_SHIPPED)

check-tsan: deps deps-check ## The tests with ThreadSanitizer, collectd's callbacks in parallel
	$(call sanitized,tsan,-fsanitize=thread)
	@PYTHON=$(PYTHON) tests/check.sh $(BUILD)/tsan $(NOT_SHIPPED) -k test_plugin

check-valgrind: deps deps-check ## The unit tests under valgrind
	@$(BUILD_ALL) BUILD=$(BUILD)/valgrind CFLAGS="$(NOT_CONFINED)" all tools units benches
	@KSM_FAULTS=199 WRAPPER="valgrind --quiet --leak-check=full --error-exitcode=9 --child-silent-after-fork=no" \
		PYTHON=$(PYTHON) tests/check.sh $(BUILD)/valgrind $(NOT_SHIPPED) -k test_plugin

# Programs that run as another user write their counts too, where they may; what fails for want of
# that is no verdict here.
coverage: deps deps-check ## Line and branch coverage of the tests
	@rm -rf $(BUILD)/coverage
	$(call sanitized,coverage,--coverage)
	@chmod -R a+rwX $(BUILD)/coverage
	@umask 0; PYTHON=$(PYTHON) tests/check.sh $(BUILD)/coverage $(NOT_SHIPPED) || true
	@gcovr --root . --object-directory $(BUILD)/coverage --filter 'common/' --filter 'netdata/' \
		--filter 'collectd/' --print-summary

# ---- fuzzing ----

FUZZ_SECONDS ?= 60
FUZZERS = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*.c))
FUZZED = $(filter-out common/sandbox.c,$(wildcard common/*.c)) $(filter-out netdata/main.c,$(wildcard netdata/*.c))

$(FUZZERS): $(BUILD)/fuzz/%: tests/fuzz/%.c $(FUZZED) $(wildcard common/*.h common/*.def netdata/*.h)
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(KSM_CPPFLAGS) -Itests/fuzz -std=c11 -O1 -g -fsanitize=fuzzer$(comma)address$(comma)undefined \
		-fno-sanitize-recover=all -o $@ $(filter %.c,$^)

fuzzers: $(FUZZERS)

fuzz: deps deps-check ## Fuzz every parser for FUZZ_SECONDS each
	@$(BUILD_ALL) fuzzers
	@tests/fuzz.sh $(BUILD)/fuzz $(FUZZ_SECONDS)

.PHONY: check-asan check-ubsan check-tsan check-valgrind coverage fuzz fuzzers

# ---- faults, soak ----

# What wraps further calls serves those alone who ask for all of them, with the plugins' own
# entries: ksm.plugin's main() under another name, ksm.so's objects beside the recording daemon.
FAULTS_WRAPPED = read readdir fstatfs stat fstat fstatat closedir malloc calloc realloc reallocarray \
	free sandbox_enter
WHOLE_PLUGINS = $(BUILD)/tests/plugin_main.o $(COLLECTD)
FAULTS_TEST = $(BUILD)/tests/unit/test_faults
FAULTS_OBJECTS = $(addprefix $(BUILD)/tests/faults/,calls.o runs.o world.o)

$(BUILD)/tests/plugin_main.o: $(BUILD)/netdata/main.o
	@mkdir -p $(@D)
	$(Q)objcopy --redefine-sym main=ksm_plugin_main $< $@

$(BUILD)/tests/faults/runs.o: KSM_CPPFLAGS += $(COLLECTD_CPPFLAGS)
$(BUILD)/tests/faults/runs.o: | $(BUILD)/collectd-headers
$(FAULTS_TEST): private KSM_LDFLAGS += $(addprefix -Wl$(comma)--wrap=,$(FAULTS_WRAPPED))
$(FAULTS_TEST): $(FAULTS_OBJECTS) $(WHOLE_PLUGINS)

SOAK_SAMPLES ?= 1000000
SOAK_OBJECTS = $(addprefix $(BUILD)/tests/,soak/soak.o soak/weather.o support/faults.o support/crowd.o \
	support/host.o support/tree.o support/collectd_stub.o)

$(BUILD)/tests/soak/soak.o: KSM_CPPFLAGS += $(COLLECTD_CPPFLAGS)
$(BUILD)/tests/soak/soak.o: | $(BUILD)/collectd-headers
$(BUILD)/tests/soak/soak: $(SOAK_OBJECTS) $(WHOLE_PLUGINS) $(PARTS)
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(WRAPPED) sandbox_enter) \
		-o $@ $^

soak: deps deps-check ## Let both plugins take SOAK_SAMPLES samples: memory and descriptors stay as they are
	@$(BUILD_ALL) $(BUILD)/tests/soak/soak
	@$(BUILD)/tests/soak/soak $(SOAK_SAMPLES)

.PHONY: soak
