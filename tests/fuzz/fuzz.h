/* SPDX-License-Identifier: MIT
 *
 * Common parts of the fuzz targets, which are programs of libFuzzer. No input may cause a crash or
 * a report of a sanitizer, and the conditions of HOLDS() must be true.
 */
#ifndef KSM_TESTS_FUZZ_H
#define KSM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts if the condition is false; libFuzzer then saves the input. */
#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
