# SPDX-License-Identifier: MIT
# A fault at every call, and a million samples; included by ../../Makefile.

# What wraps further calls serves those alone who ask for all of them, with the plugins' own
# entries: ksm.plugin's main() under another name, ksm.so's objects beside the recording daemon.
MORE_WRAPPED = read readdir fstatfs stat fstat fstatat closedir malloc calloc realloc reallocarray \
	free sandbox_enter
WHOLE_PLUGINS = $(BUILD)/tests/plugin_main.o $(COLLECTD)
RUNS_TEST = $(BUILD)/tests/unit/test_runs
RUNS_OBJECTS = $(addprefix $(BUILD)/tests/runs/,calls.o runs.o scripted_host.o plugins.o)

$(BUILD)/tests/plugin_main.o: $(BUILD)/netdata/main.o
	@mkdir -p $(@D)
	$(Q)objcopy --redefine-sym main=ksm_plugin_main $< $@

BESIDE_COLLECTD = $(addprefix $(BUILD)/tests/,runs/runs.o runs/plugins.o soak/soak.o)
$(BESIDE_COLLECTD): KSM_CPPFLAGS += $(COLLECTD_CPPFLAGS)
$(BESIDE_COLLECTD): | $(BUILD)/collectd-headers
$(RUNS_TEST): private KSM_LDFLAGS += $(addprefix -Wl$(comma)--wrap=,$(MORE_WRAPPED))
$(RUNS_TEST): $(RUNS_OBJECTS) $(WHOLE_PLUGINS)

SOAK_SAMPLES ?= 1000000
SOAK_OBJECTS = $(addprefix $(BUILD)/tests/,soak/soak.o soak/random_host.o runs/plugins.o support/faults.o support/fake_procs.o \
	support/host.o support/tree.o support/collectd_stub.o)

$(BUILD)/tests/soak/soak: $(SOAK_OBJECTS) $(WHOLE_PLUGINS) $(NETDATA_PARTS) $(COMMON)
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) $(addprefix -Wl$(comma)--wrap=,$(WRAPPED) sandbox_enter) \
		-o $@ $^ $(EXPLAIN_LIBS)

soak: deps deps-check ### Run SOAK_SAMPLES samples; nothing must grow
	@$(BUILD_ALL) $(BUILD)/tests/soak/soak
	@$(BUILD)/tests/soak/soak $(SOAK_SAMPLES)

.PHONY: soak
