# SPDX-License-Identifier: MIT
# Installing ksm-explain; included by ../../Makefile.

EXPLAIN_EXAMPLES = $(wildcard $(addprefix common/explain/*,.yml .json _example.txt))
# Where systemd looks for units; nothing is enabled.
UNITDIR ?= $(PREFIX)/lib/systemd/system
EXPLAIN_UNITS = $(wildcard common/explain/*.service common/explain/*.timer)

# What a shell and systemd do not find without being told.
not_in_path = $(if $(filter /usr/bin /usr/local/bin,$(BINDIR)),,, which must be in PATH)
not_a_unit_path = $(if $(filter $(addsuffix /systemd/system,/lib /usr/lib /usr/local/lib /etc),$(UNITDIR)),,: to\
	use them, run systemctl link $(UNITDIR)/ksm-openmetrics*)

install-explain: $(BUILD)/ksm-explain ## Install only ksm-explain (as root)
	@$(give_back)
	$(call unpackaged,$(BINDIR)/ksm-explain)
	$(call writable,$(BINDIR) $(MANDIR)/man1 $(EXPLAIN_DOCDIR)/examples $(UNITDIR))
	$(call put,0755,$(BUILD)/ksm-explain,$(BINDIR))
	$(call put,0644,common/explain/ksm-explain.1,$(MANDIR)/man1)
	$(call put,0644,$(EXPLAIN_EXAMPLES),$(EXPLAIN_DOCDIR)/examples)
	$(call put,0644,$(EXPLAIN_UNITS),$(UNITDIR))
	$(Q)sed -i 's,=/usr/bin/,=$(BINDIR)/,' $(addprefix $(DESTDIR)$(UNITDIR)/,$(notdir $(filter %.service,$(EXPLAIN_UNITS))))
	@echo '  ksm-explain: the program is in $(BINDIR)$(not_in_path); see man 1 ksm-explain'
	@echo '  ksm-explain: the units of ksm-openmetrics are in $(UNITDIR)$(not_a_unit_path)'

uninstall-explain:
	$(call unpackaged,$(BINDIR)/ksm-explain)
	$(call remove,$(BINDIR)/ksm-explain $(MANDIR)/man1/ksm-explain.1)
	$(call remove,$(addprefix $(EXPLAIN_DOCDIR)/examples/,$(notdir $(EXPLAIN_EXAMPLES))))
	$(call remove,$(addprefix $(UNITDIR)/,$(notdir $(EXPLAIN_UNITS))))
	$(call drop,$(BINDIR) $(MANDIR)/man1 $(EXPLAIN_DOCDIR)/examples $(EXPLAIN_DOCDIR) $(UNITDIR))

.PHONY: install-explain uninstall-explain
