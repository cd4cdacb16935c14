# SPDX-License-Identifier: MIT
# What a sample costs; included by ../../Makefile.

BENCH_ROUNDS ?= 3
BENCH = $(BUILD)/tests/bench/bench

$(BENCH): $(BENCH).o $(PARTS)
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $^ $(EXPLAIN_LIBS)

$(BUILD)/tests/bench/constant.so: $(BUILD)/tests/bench/constant.o
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $^

$(BUILD)/tests/bench/constant.o: KSM_CPPFLAGS += $(COLLECTD_CPPFLAGS)
$(BUILD)/tests/bench/constant.o: | $(BUILD)/collectd-headers

benches: $(BENCH) $(BUILD)/tests/bench/constant.so

bench: deps ## Measure what a sample costs, beside the floor and others (as root); BENCH_ROUNDS=
	@tests/deps.sh bench
	@$(BUILD_ALL) all tools benches
	@$(TOOL_PYTHON) tests/bench/bench.py --build $(BUILD) --rounds $(BENCH_ROUNDS) $(BENCH_OPTIONS)

bench-readme: BENCH_OPTIONS = --readme README.md
bench-readme: bench ## The same, and put its table into README.md

.PHONY: benches bench bench-readme
