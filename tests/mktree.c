/* SPDX-License-Identifier: MIT
 *
 * mktree TABLE DIR: makes the tree of a table of tests/fixtures in DIR, which is made too.
 */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "support/tree.h"

int main(int argc, char *argv[]) {
    if (argc != 3)
        errx(EXIT_FAILURE, "usage: mktree TABLE DIR");
    if (mkdir(argv[2], 0755) != 0 && errno != EEXIST)
        err(EXIT_FAILURE, "%s", argv[2]);
    tree_make(argv[1], argv[2]);
    return EXIT_SUCCESS;
}
