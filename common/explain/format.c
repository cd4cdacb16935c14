/* SPDX-License-Identifier: MIT */
#include "explain/format.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

/* Writes "2,870,113". */
static void format_thousands(int64_t number, char *buf, size_t size) {
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%" PRId64, number);
    size_t used = 0;

    for (size_t i = 0; i < len && used + 2 < size; i++) {
        if (i > 0 && digits[i - 1] != '-' && (len - i) % 3 == 0)
            buf[used++] = ',';
        buf[used++] = digits[i];
    }
    buf[used] = '\0';
}

void format_count(int64_t number, const char *singular, const char *plural, char *buf,
                  size_t size) {
    char text[40];

    format_thousands(number, text, sizeof(text));
    snprintf(buf, size, "%s %s", text, number == 1 ? singular : plural);
}

void format_bytes(int64_t bytes, char *buf, size_t size) {
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
    double number = (double)bytes / 1024;
    size_t unit = 0;

    if (bytes > -1024 && bytes < 1024) {
        format_count(bytes, "byte", "bytes", buf, size);
        return;
    }
    /* 1023.95 would be printed as 1024.0. */
    while ((number >= 1023.95 || number <= -1023.95) && unit < 4) {
        number /= 1024;
        unit++;
    }
    snprintf(buf, size, "%.1f %s", number, units[unit]);
}

void format_percent(int64_t thousandths, char *buf, size_t size) {
    const uint64_t magnitude = thousandths < 0 ? -(uint64_t)thousandths : (uint64_t)thousandths;
    int decimals = 1;

    if (thousandths == 0)
        decimals = 0;
    else if (magnitude < 100)
        decimals = 3;
    else if (magnitude < 10000)
        decimals = 2;
    snprintf(buf, size, "%.*f %%", decimals, (double)thousandths / 1000);
}

void format_duration(int64_t ms, char *buf, size_t size) {
    enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };

    if (ms < 2 * SECOND)
        snprintf(buf, size, "under 2 seconds");
    else if (ms < 2 * MINUTE)
        snprintf(buf, size, "about %d seconds", (int)(ms / SECOND));
    else if (ms < 2 * HOUR)
        snprintf(buf, size, "about %d minutes", (int)(ms / MINUTE));
    else
        snprintf(buf, size, "about %" PRId64 " hours", ms / HOUR);
}

void format_fixed(int64_t value, int64_t divisor, char *buf, size_t size) {
    const uint64_t magnitude = value < 0 ? -(uint64_t)value : (uint64_t)value;
    const uint64_t unit = (uint64_t)divisor;
    const char *sign = value < 0 ? "-" : "";
    int digits = 0;

    for (uint64_t rest = unit; rest > 1 && digits < 18; rest /= 10)
        digits++;
    if (digits == 0)
        snprintf(buf, size, "%s%" PRIu64, sign, magnitude);
    else
        snprintf(buf, size, "%s%" PRIu64 ".%0*" PRIu64, sign, magnitude / unit, digits,
                 magnitude % unit);
}
