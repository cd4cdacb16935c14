# SPDX-License-Identifier: MIT
# Fixes the links of README files after installation: sed -Ez -f. The Makefile has replaced links to examples by then.

# No picture is installed.
s/!\[[^]]*\]\([^)]*\)\n\n//g
# Mark what works: links to headings, absolute paths, other sites, and the README files that are installed.
s/\]\((#|\/|https?:|(\.\.\/)?((collectd|common|netdata)\/)?README\.md)/]\x01(\1/g
# Anything else is only in the sources: keep the text of the link.
s/\[([^][]*)\]\([^)]*\)/\1/g
s/\x01//g
