# SPDX-License-Identifier: MIT
# KSM plugins for collectd and Netdata. `make help` lists the targets.

VERSION = 0.1.0

BUILD ?= build
CC ?= gcc
CLANG ?= clang
PYTHON ?= /usr/bin/python3
INSTALL ?= install

# More of them, and where the hosts look for plugins: install.mk of collectd/ and netdata/.
PREFIX ?= /usr
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/ksm-plugins
COLLECTD_INCLUDEDIR ?= /usr/include/collectd

# make run, make demo: seconds until they stop, 10 or more (empty: at Ctrl-C), dashboard's port.
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
KSM_CPPFLAGS = -D_GNU_SOURCE -DKSM_VERSION='"$(VERSION)"' -Icommon -Inetdata -Icollectd \
	$(CPPFLAGS)
KSM_CFLAGS = -std=c11 -pthread -fPIC -fvisibility=hidden $(WARNINGS) $(HARDEN_CFLAGS) $(CFLAGS)
KSM_LDFLAGS = $(HARDEN_LDFLAGS) -Wl,--as-needed $(LDFLAGS)
# Debian's package has daemon/plugin.h in core; a source tree of collectd has it in src.
COLLECTD_HEADER_DIRS = $(addprefix $(COLLECTD_INCLUDEDIR)/,core . src)
COLLECTD_HEADERS = $(firstword $(patsubst %/daemon/plugin.h,%,$(wildcard $(COLLECTD_HEADER_DIRS:=/daemon/plugin.h))))
COLLECTD_CPPFLAGS = -DHAVE_CONFIG_H $(addprefix -isystem,$(COLLECTD_INCLUDEDIR) \
	$(COLLECTD_HEADERS) $(COLLECTD_HEADERS:=/daemon))

Q = $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s %s\n' $(foreach file,$(2),$(1) $(file)))

objects = $(patsubst %.c,$(BUILD)/%.o,$(wildcard $(addsuffix /*.c,$(1))))
COLLECTD = $(call objects,collectd)
NETDATA = $(call objects,netdata)
EXPLAIN = $(call objects,common/explain)
EXPLAIN_LIBS = -lm
# Of an archive each program takes what it needs.
COMMON = $(BUILD)/libksm.a

all: $(BUILD)/ksm.so $(BUILD)/ksm.plugin $(BUILD)/ksm-explain ## Build both plugins and ksm-explain (default)

# nodelete: a thread that is stuck in a read() returns to code that is still mapped after dlclose().
$(BUILD)/ksm.so: $(COLLECTD) $(COMMON)
	$(call say,LD,$@)
	$(Q)$(CC) -shared $(KSM_CFLAGS) $(KSM_LDFLAGS) -Wl,-z,nodelete -o $@ $^

$(BUILD)/ksm.plugin: $(NETDATA) $(COMMON)
$(BUILD)/ksm-explain: $(EXPLAIN) $(COMMON)
$(BUILD)/ksm-explain: private KSM_LIBS = $(EXPLAIN_LIBS)
$(BUILD)/ksm.plugin $(BUILD)/ksm-explain:
	$(call say,LD,$@)
	$(Q)$(CC) -pie $(KSM_CFLAGS) $(KSM_LDFLAGS) -o $@ $^ $(KSM_LIBS)

$(COMMON): $(call objects,common common/system common/metrics common/consumers)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(COLLECTD): KSM_CPPFLAGS += $(COLLECTD_CPPFLAGS)
$(COLLECTD): | $(BUILD)/collectd-headers

# The compiler's own message about a missing header does not say where to get it.
$(BUILD)/collectd-headers:
	@mkdir -p $(BUILD)
	@if [ -z "$(COLLECTD_HEADERS)" ]; then \
		echo "collectd's header daemon/plugin.h is in none of $(COLLECTD_HEADER_DIRS):" \
			"install collectd's headers (Debian: apt-get install collectd-dev, or make deps)," \
			"or say where they are: make COLLECTD_INCLUDEDIR=DIR;" \
			"DIR can be a source tree of collectd." \
			"Netdata's plugin and ksm-explain do not need them: make install-netdata install-explain" >&2; exit 1; \
	elif [ ! -e "$(COLLECTD_HEADERS)/config.h" ]; then \
		echo "$(COLLECTD_HEADERS)/config.h is missing: run ./configure in that source tree of collectd." >&2; \
		exit 1; fi
	@touch $@

$(BUILD)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(KSM_CPPFLAGS) $(KSM_CFLAGS) -MMD -MP -c -o $@ $<

include tests/tests.mk
include tests/fuzz/fuzz.mk
include tests/soak/soak.mk
include tests/kernels/kernels.mk
include tests/bench/bench.mk
include collectd/install.mk
include netdata/install.mk
include common/explain/install.mk

deps: ## Install the packages for building and running (Debian)
	@tests/deps.sh run

deps-check: ### Install the packages for tests and lint
	@tests/deps.sh check

deps-package: ### Install the packages for building packages
	@tests/deps.sh package

deps-browser: ### Install Chromium, for check-long and picture
	@tests/deps.sh browser

# found DIRECTORIES: the first that is there under DESTDIR, else on this machine, else the first.
found = $(firstword $(patsubst $(DESTDIR)%,%,$(wildcard $(addprefix $(DESTDIR),$(1)))) $(wildcard $(1)) $(1))
# put MODE,FILES,DIRECTORY, which is made if it is missing.
define put
$(if $(2),$(call say,INSTALL,$(addprefix $(DESTDIR)$(3)/,$(notdir $(2)))))
$(Q)$(if $(2),$(INSTALL) -d $(DESTDIR)$(3) && $(INSTALL) -m $(1) $(2) $(DESTDIR)$(3))

endef
# remove FILES, those that are there.
remove = $(Q)for file in $(addprefix $(DESTDIR),$(1)); do \
	[ -e $$file ] || continue; \
	$(if $(V),:,printf '  %-8s %s\n' REMOVE $$file); \
	rm -f $$file || { echo "Run it as root (sudo make $@)." >&2; exit 1; }; done
# drop DIRECTORIES that are empty, and those above them below DESTDIR or below a PREFIX that is ours alone.
drop_base = $(or $(DESTDIR),$(filter-out /usr /usr/local,$(PREFIX)))
drop = $(Q)for dir in $(addprefix $(DESTDIR),$(1)); do \
	[ ! -d $$dir ] || rmdir --ignore-fail-on-non-empty $$dir || exit 1; \
	while case $$dir in $(or $(drop_base),-)/?*) ;; *) false ;; esac; do \
		dir=$$(dirname $$dir); \
		[ "$$dir" != "$(DESTDIR)" ] && rmdir $$dir 2>/dev/null || break; \
	done; done
# writable DIRECTORIES: whether they can be made, and written to.
writable = $(Q)for dir in $(addprefix $(DESTDIR),$(1)); do \
	while [ ! -e $$dir ]; do dir=$$(dirname $$dir); done; \
	[ -w $$dir ] || { echo "make $@: cannot write to $$dir. Run it as root (sudo make $@), or choose other" \
		"directories (see Install variables in common/README.md)." >&2; exit 1; }; done
# unpackaged FILE: fails if it belongs to a package, which would not notice that the file is replaced or removed.
unpackaged = $(if $(DESTDIR),,$(Q)package=$$(if command -v dpkg >/dev/null; then dpkg -S $(1); \
	else rpm -qf $(1); fi 2>/dev/null) || exit 0; package=$${package%%:*}; \
	echo "make $@: $(1) belongs to the package $$package. Remove the package:" \
		"sudo apt-get purge $$package, or sudo rpm -e $$package" >&2; exit 1)
# place VARIABLE,DAEMON: words about a directory of plugins that is not below the PREFIX that was set, or not there. If
# it was set by hand, and the directory above it is not there either, it is taken for a typing error.
place = $(if $(DESTDIR)$(wildcard $($(1))),$(if $(or $(filter file,$(origin PREFIX)),$(filter $(PREFIX)/%,$($(1)))),,\
	(not below PREFIX, but where it looks for plugins)),$(comma) a new directory; if $(2) looks for plugins\
	elsewhere$(comma) set $(1))
no_parent = $(if $(or $(DESTDIR),$(wildcard $(dir $($(1)))),$(filter file,$(origin $(1)))),,\
	echo "make $@: $(1)=$($(1)): there is no directory $(patsubst %/,%,$(dir $($(1))))" >&2; exit 1)

# Each package has the examples of its own program; the README files link to all of them.
COLLECTD_DOCDIR ?= $(DOCDIR)
EXPLAIN_DOCDIR ?= $(DOCDIR)
READMES = README.md $(addsuffix /README.md,collectd common netdata)
# link FILES,DIRECTORY: an expression of sed that turns links to FILES into links to DIRECTORY.
link = 's,\]\(([^/():][^():]*/)?($(subst $() $(),|,$(notdir $(1))))\),]($(2)/\2),g'
install-doc: ## Install only the README files (as root)
	$(call writable,$(DOCDIR))
	$(foreach readme,$(READMES),$(call put,0644,$(readme),$(patsubst %/,%,$(DOCDIR)/$(filter-out ./,$(dir $(readme))))))
	$(Q)sed -Ezi -e $(call link,$(NETDATA_HEALTH),$(NETDATA_STOCKDIR)/health.d) \
		-e $(call link,$(COLLECTD_EXAMPLES),$(COLLECTD_DOCDIR)/examples) \
		-e $(call link,$(EXPLAIN_EXAMPLES),$(EXPLAIN_DOCDIR)/examples) \
		-f common/readme.sed $(addprefix $(DESTDIR)$(DOCDIR)/,$(READMES))

uninstall-doc:
	$(call remove,$(addprefix $(DOCDIR)/,$(READMES) LICENSE))
	$(call drop,$(addprefix $(DOCDIR),/collectd /common /netdata) $(DOCDIR))

install: install-collectd install-netdata install-explain install-doc ## Install everything (as root)
	$(call put,0644,LICENSE,$(DOCDIR))
	@echo '  The man pages are in $(MANDIR), the README files in $(DOCDIR).'
	@echo '  To remove everything$(if $(MAKEOVERRIDES),$(comma) use the same variables): sudo make uninstall $(MAKEOVERRIDES)'

uninstall: uninstall-collectd uninstall-netdata uninstall-explain uninstall-doc ## Remove what make install installed (as root)

# What was committed, and that alone.
DIST = ksm-plugins-$(VERSION)
dist: ### Make build/ksm-plugins-VERSION.tar.gz of HEAD
	@git rev-parse --git-dir >/dev/null || { echo "make dist requires a git clone" >&2; exit 1; }
	@git diff --quiet HEAD || echo "dist: uncommitted changes are left out"
	@mkdir -p $(BUILD)
	git archive --format=tar.gz --prefix=$(DIST)/ -o $(BUILD)/$(DIST).tar.gz HEAD

# Of what is installed here rpm knows nothing, hence --nodeps. Variables of this make are not its own.
RPM_TOP = $(abspath $(BUILD))/rpm
rpm: ## Build the RPM packages
	@tests/deps.sh rpm
	@rm -rf $(RPM_TOP) $(BUILD)/*.rpm && mkdir -p $(RPM_TOP)/SOURCES
	@tar -czf $(RPM_TOP)/SOURCES/$(DIST).tar.gz --exclude=__pycache__ --transform='s,^,$(DIST)/,' \
		Makefile README.md LICENSE collectd netdata common tests
	@env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL rpmbuild -ba --nodeps --define '_topdir $(RPM_TOP)' \
		common/ksm-plugins.spec
	@mv $(RPM_TOP)/RPMS/*/*.rpm $(RPM_TOP)/SRPMS/*.rpm $(BUILD)

# One package each, in a copy, because debhelper requires the directory debian at the top.
DEBS = collectd-plugin-ksm netdata-plugin-ksm ksm-explain
collectd-plugin-ksm_dir = collectd
netdata-plugin-ksm_dir = netdata
ksm-explain_dir = common/explain
deb: ## Build the Debian packages
	@tests/deps.sh deb
	@$(foreach package,$(DEBS),$(call build_deb,$(package),$($(package)_dir),$(BUILD)/deb/$(package)) &&) :
	@ls $(DEBS:%=$(BUILD)/%_*.deb)

# Variables of this make are not those of the packages.
define build_deb
rm -rf $(3) $(BUILD)/$(1)_*.deb && mkdir -p $(3)/source && \
cp -a Makefile README.md LICENSE collectd netdata common tests $(3)/source && \
mv $(3)/source/$(2)/debian $(3)/source/debian && \
(cd $(3)/source && env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL dpkg-buildpackage -b -nc -us -uc >../log 2>&1) || \
{ cat $(3)/log >&2; exit 1; } && \
mv $(3)/*.deb $(BUILD)
endef

clean: ## Remove everything that was built
	rm -rf $(BUILD)

help: ## Show this list
	@$(call list_targets,##)
	@echo; echo 'For developers:'
	@$(call list_targets,###)

# list_targets MARK: the targets whose line has that mark before their description.
list_targets = sed -n 's/^\([a-z-]*\):[^\#]*$(subst #,\#,$(1)) \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | sort | \
	awk -F'\t' '{printf "  %-21s %s\n", $$1, $$2}'

.DEFAULT_GOAL = all
.PHONY: all deps deps-check deps-browser deps-package install install-doc uninstall uninstall-doc dist rpm deb clean help
.DELETE_ON_ERROR:

-include $(wildcard $(BUILD)/*/*.d $(BUILD)/*/*/*.d $(BUILD)/*/*/*/*.d)
