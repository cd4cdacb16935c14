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

bench: deps ### Measure the cost of a sample (as root); BENCH_ROUNDS=
	@tests/deps.sh bench
	@$(BUILD_ALL) all tools benches
	@$(TOOL_PYTHON) tests/bench/bench.py --build $(BUILD) --rounds $(BENCH_ROUNDS) $(BENCH_OPTIONS)

bench-readme: BENCH_OPTIONS = --readme tests/README.md
bench-readme: bench ### Run bench, renew its table in tests/README.md

.PHONY: benches bench bench-readme
