# SPDX-License-Identifier: MIT
# A fault at every call, and a million samples; included by ../../Makefile.

# What wraps further calls serves those alone who ask for all of them, with the plugins' own
# entries: ksm.plugin's main() under another name, ksm.so's objects beside the recording daemon.
FAULTS_WRAPPED = read readdir fstatfs stat fstat fstatat closedir malloc calloc realloc reallocarray \
	free sandbox_enter
WHOLE_PLUGINS = $(BUILD)/tests/plugin_main.o $(COLLECTD)
FAULTS_TEST = $(BUILD)/tests/unit/test_faults
FAULTS_OBJECTS = $(addprefix $(BUILD)/tests/faults/,calls.o runs.o stage.o)

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
		-o $@ $^ $(EXPLAIN_LIBS)

soak: deps deps-check ## Let both plugins take SOAK_SAMPLES samples: memory and descriptors stay as they are
	@$(BUILD_ALL) $(BUILD)/tests/soak/soak
	@$(BUILD)/tests/soak/soak $(SOAK_SAMPLES)

.PHONY: soak
