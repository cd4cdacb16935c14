/* SPDX-License-Identifier: MIT
 *
 * Formats numbers for reports. Text that does not fit is cut off.
 */
#ifndef KSM_FORMAT_H
#define KSM_FORMAT_H

#include <stddef.h>
#include <stdint.h>

/* Writes "1 page" or "2,870,113 pages". */
void format_count(int64_t number, const char *singular, const char *plural, char *buf, size_t size);

/* Writes "351.9 MiB", or below 1 KiB "64 bytes". */
void format_bytes(int64_t bytes, char *buf, size_t size);

/* Writes thousandths of a percent as "12.3 %", "1.23 %" or "0.012 %". */
void format_percent(int64_t thousandths, char *buf, size_t size);

/* Writes "about 45 seconds", "about 10 hours". */
void format_duration(int64_t ms, char *buf, size_t size);

/* Writes value / divisor, which is a power of ten, as an exact decimal: "-0.047". */
void format_fixed(int64_t value, int64_t divisor, char *buf, size_t size);

#endif
