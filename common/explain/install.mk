# SPDX-License-Identifier: MIT
# Installing ksm-explain; included by ../../Makefile.

EXPLAIN_EXAMPLES = $(wildcard common/explain/*.service common/explain/*.timer common/explain/*.yml common/explain/*.json)

install-explain: $(BUILD)/ksm-explain ## Install only ksm-explain (as root)
	@$(call writable,$(BINDIR) $(MANDIR)/man1 $(DOCDIR)/examples)
	$(call put,0755,$(BUILD)/ksm-explain,$(BINDIR))
	$(call put,0644,common/explain/ksm-explain.1,$(MANDIR)/man1)
	$(call put,0644,$(EXPLAIN_EXAMPLES),$(DOCDIR)/examples)
	sed -i 's,=/usr/bin/,=$(BINDIR)/,' $(DESTDIR)$(DOCDIR)/examples/*.service

uninstall-explain:
	rm -f $(DESTDIR)$(BINDIR)/ksm-explain $(DESTDIR)$(MANDIR)/man1/ksm-explain.1
	rm -f $(addprefix $(DESTDIR)$(DOCDIR)/examples/,$(notdir $(EXPLAIN_EXAMPLES)))
	$(call drop,$(BINDIR) $(MANDIR)/man1 $(DOCDIR)/examples $(DOCDIR))

.PHONY: install-explain uninstall-explain
