# SPDX-License-Identifier: MIT
# Installing collectd's plugin; included by ../Makefile.

# Where collectd looks for plugins: elsewhere than in Debian it is in lib64, in the multiarch
# directory, or below the prefix of a build of one's own.
COLLECTD_DIRS = $(LIBDIR)/collectd /usr/lib/collectd /usr/lib64/collectd \
	/usr/lib/$(shell $(CC) -print-multiarch 2>/dev/null)/collectd \
	/usr/local/lib/collectd /opt/collectd/lib/collectd
COLLECTD_PLUGINDIR ?= $(call found,$(COLLECTD_DIRS))
COLLECTD_EXAMPLES = $(wildcard collectd/*.conf collectd/*.yml collectd/*.json collectd/*.libsonnet)

install-collectd: $(BUILD)/ksm.so ## Install only collectd's plugin (as root)
	@$(give_back)
	@$(call no_parent,COLLECTD_PLUGINDIR)
	$(call unpackaged,$(COLLECTD_PLUGINDIR)/ksm.so)
	$(call writable,$(COLLECTD_PLUGINDIR) $(MANDIR)/man5 $(COLLECTD_DOCDIR)/examples)
	$(call put,0644,$(BUILD)/ksm.so,$(COLLECTD_PLUGINDIR))
	$(call put,0644,collectd/collectd-ksm.5,$(MANDIR)/man5)
	$(call put,0644,$(COLLECTD_EXAMPLES),$(COLLECTD_DOCDIR)/examples)
	@echo '  collectd: the plugin is in $(COLLECTD_PLUGINDIR)$(call place,COLLECTD_PLUGINDIR,collectd)'
	@echo '  collectd: add "LoadPlugin ksm" to its configuration, or copy $(COLLECTD_DOCDIR)/examples/ksm.conf'
	@echo '            there, and restart it; see man 5 collectd-ksm'

uninstall-collectd:
	$(call unpackaged,$(COLLECTD_PLUGINDIR)/ksm.so)
	$(call remove,$(COLLECTD_PLUGINDIR)/ksm.so $(MANDIR)/man5/collectd-ksm.5)
	$(call remove,$(addprefix $(COLLECTD_DOCDIR)/examples/,$(notdir $(COLLECTD_EXAMPLES))))
	$(call drop,$(COLLECTD_PLUGINDIR) $(MANDIR)/man5 $(COLLECTD_DOCDIR)/examples $(COLLECTD_DOCDIR))
	@echo '  collectd: remove "LoadPlugin ksm" from its configuration, because it does not start without the plugin'

.PHONY: install-collectd uninstall-collectd
