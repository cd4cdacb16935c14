# SPDX-License-Identifier: MIT
# Kernels and architectures; included by ../../Makefile.

# Rows of the table in kernels.py whose name has one of these words; empty: all of them.
KERNELS ?=

check-kernels: deps ## Boot other kernels and architectures in QEMU, and check all there; KERNELS="6.1 s390x"
	@tests/deps.sh kernels
	@$(TOOL_PYTHON) tests/kernels/kernels.py --build $(BUILD)/kernels $(KERNELS_OPTIONS) $(KERNELS)

kernels-readme: KERNELS_OPTIONS = --readme README.md
kernels-readme: check-kernels ## The same, and put its table into README.md

.PHONY: check-kernels kernels-readme
