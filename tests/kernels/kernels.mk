# SPDX-License-Identifier: MIT
# Kernels and architectures; included by ../../Makefile.

# Rows of the table in kernels.py whose name has one of these words; empty: all of them.
KERNELS ?=

check-kernels: deps ### Test other kernels in QEMU; KERNELS="6.1 s390x"
	@tests/deps.sh kernels
	@$(TOOL_PYTHON) tests/kernels/kernels.py --build $(BUILD)/kernels $(KERNELS_OPTIONS) $(KERNELS)

kernels-readme: KERNELS_OPTIONS = --readme tests/README.md
kernels-readme: check-kernels ### Run check-kernels, renew its table in tests/README.md

# Releases of Debian: DEBIAN="13"; empty: all of them.
DEBIAN ?=

check-systemd: deps deb ### Test packages under systemd in QEMU; DEBIAN=13
	@tests/deps.sh systemd
	@$(TOOL_PYTHON) tests/kernels/systemd.py --build $(BUILD)/kernels/systemd --packages $(BUILD) $(SYSTEMD_OPTIONS) $(DEBIAN)

systemd-readme: SYSTEMD_OPTIONS = --readme tests/README.md
systemd-readme: check-systemd ### Run check-systemd, renew its table in tests/README.md

.PHONY: check-kernels kernels-readme check-systemd systemd-readme
