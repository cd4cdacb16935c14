# SPDX-License-Identifier: MIT
# Kernels and architectures; included by ../../Makefile.

# Rows of the table in kernels.py whose name has one of these words; empty: all of them.
KERNELS ?=

check-kernels: deps ## Test on other kernels and architectures in QEMU (half an hour); KERNELS="6.1 s390x"
	@tests/deps.sh kernels
	@$(TOOL_PYTHON) tests/kernels/kernels.py --build $(BUILD)/kernels $(KERNELS_OPTIONS) $(KERNELS)

kernels-readme: KERNELS_OPTIONS = --readme tests/README.md
kernels-readme: check-kernels ## Run check-kernels, and renew the table in tests/README.md

.PHONY: check-kernels kernels-readme
