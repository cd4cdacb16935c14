# SPDX-License-Identifier: MIT
# What a sample costs; included by ../../Makefile.

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

bench: deps ### Measure the cost, 15 minutes (as root); BENCH_OPTIONS=
	@tests/deps.sh bench
	@$(BUILD_ALL) all tools benches
	@$(TOOL_PYTHON) tests/bench/bench.py --build $(BUILD) $(BENCH_OPTIONS)

bench-readme: override BENCH_OPTIONS += --readme tests/README.md
bench-readme: bench ### Run bench, renew table, picture in tests/README.md

.PHONY: benches bench bench-readme
