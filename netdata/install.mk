# SPDX-License-Identifier: MIT
# Installing Netdata's plugin; included by ../Makefile.

# Where Netdata looks for plugins: Debian's, that of native 2.x packages, that of the static build,
# that of a build of one's own.
NETDATA_DIRS = $(LIBDIR)/netdata/plugins.d /usr/lib/netdata/plugins.d \
	/usr/libexec/netdata/plugins.d /opt/netdata/usr/libexec/netdata/plugins.d \
	/usr/local/libexec/netdata/plugins.d
NETDATA_PLUGINSDIR ?= $(call found,$(NETDATA_DIRS))

# The stock configuration (that of the user is in etc) is in lib below the same prefix.
netdata_prefix = $(or $(patsubst %/lib,%,$(patsubst %/libexec,%,\
	$(patsubst %/netdata/plugins.d,%,$(filter %/netdata/plugins.d,$(NETDATA_PLUGINSDIR))))),$(PREFIX))
NETDATA_STOCKDIR ?= $(call found,$(netdata_prefix)/lib/netdata/conf.d $(netdata_prefix)/lib64/netdata/conf.d)
NETDATA_HEALTH = $(wildcard netdata/health.d/*.conf)

NETDATA_GROUP ?= netdata
SETCAP ?= setcap
CAPABILITY = cap_dac_read_search+ep

install-netdata: $(BUILD)/ksm.plugin ## Install only Netdata's plugin (as root)
	@$(give_back)
	@$(call no_parent,NETDATA_PLUGINSDIR)
	$(call unpackaged,$(NETDATA_PLUGINSDIR)/ksm.plugin)
	$(call writable,$(NETDATA_PLUGINSDIR) $(NETDATA_STOCKDIR)/health.d $(MANDIR)/man1)
	$(call put,0755,$(BUILD)/ksm.plugin,$(NETDATA_PLUGINSDIR))
	$(call put,0644,$(NETDATA_HEALTH),$(NETDATA_STOCKDIR)/health.d)
	$(call put,0644,netdata/ksm.plugin.1,$(MANDIR)/man1)
	@echo '  Netdata: the plugin is in $(NETDATA_PLUGINSDIR)$(call place,NETDATA_PLUGINSDIR,Netdata)'
	@$(permit)
	@echo '  Netdata: restart the agent, which finds the plugin; put options into netdata.conf,'
	@echo '           [plugin:ksm] command options; see man 1 ksm.plugin'

# The right to read other users' processes, for the agent alone. Last: a copy, chown or chmod takes
# a capability away. A file with one that this machine never grants cannot be started at all, so it
# is tried.
define permit
plugin=$(DESTDIR)$(NETDATA_PLUGINSDIR)/ksm.plugin; \
left() { echo "  Netdata: $$*: savings are shown only for the agent's own processes."; \
	printf '           %s\n' "To change this:" "chown root:$(NETDATA_GROUP) $$plugin" "chmod 0750 $$plugin" \
		"setcap $(CAPABILITY) $$plugin"; }; \
if [ -n "$(DESTDIR)" ]; then left "no ownership and no capability set below DESTDIR"; \
elif [ "$$(id -u)" != 0 ]; then left "ownership and capability require root"; \
elif ! chown root:$(NETDATA_GROUP) "$$plugin" 2>/dev/null; then \
	echo "  Netdata: there is no group $(NETDATA_GROUP): install Netdata, or set NETDATA_GROUP, and run make $@ again"; \
elif ! command -v $(SETCAP) >/dev/null; then left "there is no $(SETCAP) (Debian: in libcap2-bin)"; \
elif ! chmod 0750 "$$plugin" || ! $(SETCAP) $(CAPABILITY) "$$plugin"; then left "the capability was refused"; \
elif ! "$$plugin" --version >/dev/null; then $(SETCAP) -r "$$plugin"; left "this machine does not grant the capability"; \
else echo "  Netdata: $$plugin: root:$(NETDATA_GROUP) 0750 $(CAPABILITY)"; fi
endef

uninstall-netdata:
	$(call unpackaged,$(NETDATA_PLUGINSDIR)/ksm.plugin)
	$(call remove,$(NETDATA_PLUGINSDIR)/ksm.plugin $(MANDIR)/man1/ksm.plugin.1)
	$(call remove,$(addprefix $(NETDATA_STOCKDIR)/health.d/,$(notdir $(NETDATA_HEALTH))))
	$(call drop,$(NETDATA_PLUGINSDIR) $(NETDATA_STOCKDIR)/health.d $(MANDIR)/man1)

.PHONY: install-netdata uninstall-netdata
