# SPDX-License-Identifier: MIT
# Fuzzing; included by ../../Makefile.

FUZZ_SECONDS ?= 60
FUZZERS = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*.c))
FUZZED = $(filter-out common/system/sandbox.c,$(wildcard common/*.c common/system/*.c common/metrics/*.c common/consumers/*.c)) \
	$(filter-out netdata/main.c,$(wildcard netdata/*.c)) \
	$(addprefix common/explain/,suspect.c maps.c pagemap.c)

FUZZ_OBJECTS = $(FUZZED:%.c=$(BUILD)/fuzz/%.o)
FUZZ_SANITIZERS = -fsanitize=fuzzer$(comma)address$(comma)undefined -fno-sanitize-recover=all

$(BUILD)/fuzz/%.o: %.c $(wildcard common/*.h common/*.def common/*/*.h common/*/*.def netdata/*.h netdata/*.def)
	$(call say,FUZZ,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(KSM_CPPFLAGS) -Itests/fuzz -std=c11 -O1 -g $(FUZZ_SANITIZERS) -c -o $@ $<

$(FUZZERS): $(BUILD)/fuzz/%: $(BUILD)/fuzz/tests/fuzz/%.o $(FUZZ_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(CLANG) $(FUZZ_SANITIZERS) -o $@ $^

fuzzers: $(FUZZERS)

fuzz: deps deps-check ### Fuzz every parser for FUZZ_SECONDS each
	@$(BUILD_ALL) fuzzers
	@tests/fuzz/fuzz.sh $(BUILD)/fuzz $(FUZZ_SECONDS)

.PHONY: fuzz fuzzers
