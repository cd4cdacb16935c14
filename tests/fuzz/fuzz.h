/* SPDX-License-Identifier: MIT
 *
 * What the fuzz targets share. Each is a program of libFuzzer: any input must be answered without a
 * crash (sanitizers watch), and what the answer says must hold.
 */
#ifndef KSM_TESTS_FUZZ_H
#define KSM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts, so that libFuzzer keeps the input, if what must hold does not. */
#define HOLDS(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
