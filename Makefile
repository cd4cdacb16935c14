# SPDX-License-Identifier: MIT
# KSM plugins for collectd and Netdata. `make help` lists the targets.

VERSION = 0.1.0

BUILD ?= build
CC ?= gcc
CLANG ?= clang
PYTHON ?= /usr/bin/python3
INSTALL ?= install
SETCAP ?= setcap

PREFIX ?= /usr
SYSCONFDIR ?= /etc
LIBDIR ?= $(PREFIX)/lib
DOCDIR ?= $(PREFIX)/share/doc/ksm-plugins
COLLECTD_PLUGINDIR ?= $(LIBDIR)/collectd
COLLECTD_INCLUDEDIR ?= /usr/include/collectd
NETDATA_PLUGINSDIR ?= $(LIBDIR)/netdata/plugins.d
NETDATA_GROUP ?= netdata

# make run, make demo: seconds until they end by themselves (empty: at Ctrl-C), dashboard's port.
DURATION ?=
PORT ?= 19998

# WERROR=1 makes warnings errors, as CI does; V=1 shows the commands.
WERROR ?= $(if $(CI),1)
V ?=

WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wvla -Wundef \
	-Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual \
	-Wwrite-strings -Wformat=2 -Wswitch-enum -Wnull-dereference $(if $(WERROR),-Werror)
HARDEN_CFLAGS ?= -fstack-protector-strong -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
	$(shell $(CC) -fcf-protection -fstack-clash-protection -xc -c /dev/null -o /dev/null 2>/dev/null && \
		echo -fcf-protection -fstack-clash-protection)
HARDEN_LDFLAGS ?= -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack

CFLAGS ?= -O2 -g
KSM_CPPFLAGS = -D_GNU_SOURCE -DKSM_VERSION='"$(VERSION)"' -Icommon -Inetdata -Icollectd $(CPPFLAGS)
KSM_CFLAGS = -std=c11 -fPIC -fvisibility=hidden $(WARNINGS) $(HARDEN_CFLAGS) $(CFLAGS)
KSM_LDFLAGS = $(HARDEN_LDFLAGS) -Wl,--as-needed $(LDFLAGS)
COLLECTD_CPPFLAGS = -DHAVE_CONFIG_H -isystem $(COLLECTD_INCLUDEDIR) \
	-isystem $(COLLECTD_INCLUDEDIR)/core -isystem $(COLLECTD_INCLUDEDIR)/core/daemon

Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' $(1) $(2))

COMMON = $(patsubst %.c,$(BUILD)/%.o,$(wildcard common/*.c))
NETDATA = $(patsubst %.c,$(BUILD)/%.o,$(wildcard netdata/*.c))
COLLECTD = $(patsubst %.c,$(BUILD)/%.o,$(wildcard collectd/*.c))
# What tests use of the Netdata plugin: everything but its main().
NETDATA_PARTS = $(filter-out $(BUILD)/netdata/ksm.plugin.o,$(NETDATA))

all: $(BUILD)/ksm.so $(BUILD)/ksm.plugin ## Build both plugins (default)

$(BUILD)/ksm.so: $(COLLECTD) $(COMMON)
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $^

$(BUILD)/ksm.plugin: $(NETDATA) $(COMMON)
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $^

$(COLLECTD): KSM_CPPFLAGS += $(COLLECTD_CPPFLAGS)
$(COLLECTD): | $(BUILD)/collectd-headers

# The compiler's own message about a missing header does not say where to get it.
$(BUILD)/collectd-headers:
	@mkdir -p $(BUILD)
	@if [ ! -e $(COLLECTD_INCLUDEDIR)/core/daemon/plugin.h ]; then \
		echo "$(COLLECTD_INCLUDEDIR)/core/daemon/plugin.h is missing: install collectd's headers" \
			"(Debian: apt-get install collectd-dev, or make deps)," \
			"or say where they are: make COLLECTD_INCLUDEDIR=DIR." >&2; exit 1; fi
	@touch $@

$(BUILD)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(KSM_CPPFLAGS) $(KSM_CFLAGS) -MMD -MP -c -o $@ $<

include tests/tests.mk
include tests/harden.mk
include tests/bench/bench.mk

deps: ## Install what building and running needs (Debian; asks for root or sudo)
	@tests/deps.sh run

deps-check: ## Install what only tests and lint need
	@tests/deps.sh check

deps-browser: ## Install what the slow tests and `make picture` need: Chromium
	@tests/deps.sh browser

install: all ## Install both plugins, their example configuration and the Grafana dashboard
	$(INSTALL) -d $(DESTDIR)$(COLLECTD_PLUGINDIR) $(DESTDIR)$(NETDATA_PLUGINSDIR) $(DESTDIR)$(DOCDIR)
	$(INSTALL) -m 0644 $(BUILD)/ksm.so $(DESTDIR)$(COLLECTD_PLUGINDIR)/ksm.so
	$(INSTALL) -m 0755 $(BUILD)/ksm.plugin $(DESTDIR)$(NETDATA_PLUGINSDIR)/ksm.plugin
	$(INSTALL) -m 0644 README.md LICENSE collectd/ksm.conf collectd/grafana-dashboard.json \
		$(DESTDIR)$(DOCDIR)

uninstall: ## Remove what install installed
	rm -f $(DESTDIR)$(COLLECTD_PLUGINDIR)/ksm.so $(DESTDIR)$(NETDATA_PLUGINSDIR)/ksm.plugin
	rm -rf $(DESTDIR)$(DOCDIR)

clean: ## Remove everything that was built
	rm -rf $(BUILD)

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | awk -F'\t' '{printf "  %-12s %s\n", $$1, $$2}'

.DEFAULT_GOAL = all
.PHONY: all deps deps-check deps-browser install uninstall clean help
.DELETE_ON_ERROR:

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/tests/*/*.d)
