# SPDX-License-Identifier: MIT
# Installing ksm-explain; included by ../../Makefile.

install-explain: $(BUILD)/ksm-explain ## Install ksm-explain alone
	$(call put,0755,$(BUILD)/ksm-explain,$(BINDIR))
	$(call put,0644,common/explain/ksm-explain.1,$(MANDIR)/man1)

uninstall-explain:
	rm -f $(DESTDIR)$(BINDIR)/ksm-explain $(DESTDIR)$(MANDIR)/man1/ksm-explain.1
	$(call drop,$(BINDIR) $(MANDIR)/man1)

.PHONY: install-explain uninstall-explain
