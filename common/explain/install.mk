# SPDX-License-Identifier: MIT
# Installing ksm-explain; included by ../../Makefile.

EXPLAIN_EXAMPLES = $(wildcard common/explain/*.yml common/explain/*.json)
# Where systemd looks for units; nothing is enabled.
UNITDIR ?= $(PREFIX)/lib/systemd/system
EXPLAIN_UNITS = $(wildcard common/explain/*.service common/explain/*.timer)

install-explain: $(BUILD)/ksm-explain ## Install only ksm-explain (as root)
	@$(call writable,$(BINDIR) $(MANDIR)/man1 $(EXPLAIN_DOCDIR)/examples $(UNITDIR))
	$(call put,0755,$(BUILD)/ksm-explain,$(BINDIR))
	$(call put,0644,common/explain/ksm-explain.1,$(MANDIR)/man1)
	$(call put,0644,$(EXPLAIN_EXAMPLES),$(EXPLAIN_DOCDIR)/examples)
	$(call put,0644,$(EXPLAIN_UNITS),$(UNITDIR))
	sed -i 's,=/usr/bin/,=$(BINDIR)/,' $(DESTDIR)$(UNITDIR)/ksm-openmetrics.service

uninstall-explain:
	rm -f $(DESTDIR)$(BINDIR)/ksm-explain $(DESTDIR)$(MANDIR)/man1/ksm-explain.1
	rm -f $(addprefix $(DESTDIR)$(EXPLAIN_DOCDIR)/examples/,$(notdir $(EXPLAIN_EXAMPLES)))
	rm -f $(addprefix $(DESTDIR)$(UNITDIR)/,$(notdir $(EXPLAIN_UNITS)))
	$(call drop,$(BINDIR) $(MANDIR)/man1 $(EXPLAIN_DOCDIR)/examples $(EXPLAIN_DOCDIR) $(UNITDIR))

.PHONY: install-explain uninstall-explain
