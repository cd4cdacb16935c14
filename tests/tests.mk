# SPDX-License-Identifier: MIT
# Tests, demos and checks; included by ../Makefile.
