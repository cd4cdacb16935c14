# SPDX-License-Identifier: MIT
# Fuzzing; included by ../../Makefile.

FUZZ_SECONDS ?= 60
FUZZERS = $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/*.c))
FUZZED = $(filter-out common/system/sandbox.c,$(wildcard common/*.c common/system/*.c common/metrics/*.c common/consumers/*.c)) \
	$(filter-out netdata/main.c,$(wildcard netdata/*.c)) \
	$(addprefix common/explain/,suspect.c maps.c pagemap.c)

$(FUZZERS): $(BUILD)/fuzz/%: tests/fuzz/%.c $(FUZZED) $(wildcard common/*.h common/*.def common/*/*.h common/*/*.def netdata/*.h)
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(KSM_CPPFLAGS) -Itests/fuzz -std=c11 -O1 -g -fsanitize=fuzzer$(comma)address$(comma)undefined \
		-fno-sanitize-recover=all -o $@ $(filter %.c,$^)

fuzzers: $(FUZZERS)

fuzz: deps deps-check ### Fuzz every parser for FUZZ_SECONDS each
	@$(BUILD_ALL) fuzzers
	@tests/fuzz/fuzz.sh $(BUILD)/fuzz $(FUZZ_SECONDS)

.PHONY: fuzz fuzzers
