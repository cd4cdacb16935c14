/* SPDX-License-Identifier: MIT */
#include "function.h"

#include <stdbool.h>
#include <string.h>

#include "function_table.h"
#include "json.h"

static const char name[] = "ksm:consumers";
static const char help[] = "Savings by consumer and their cost: virtual machines, containers, "
                           "services and programs that have mergeable memory";

static void begin_answer(const struct request *request, int status, int64_t expires,
                         struct out *out) {
    OUT_TEXTS(out, "FUNCTION_RESULT_BEGIN ", request->id, " ");
    out_number(out, status);
    out_text(out, " application/json ");
    out_number(out, expires);
    out_text(out, "\n{\"status\":");
    out_number(out, status);
    out_text(out, ",");
}

static void end_answer(struct out *out) {
    out_text(out, "}\nFUNCTION_RESULT_END\n");
}

/* Netdata 2.x has read both names of the message, depending on the release. */
static void answer_error(const struct request *request, int status, const char *message,
                         struct out *out) {
    begin_answer(request, status, 0, out);
    out_text(out, "\"errorMessage\":");
    json_string(message, out);
    out_text(out, ",\"error_message\":");
    json_string(message, out);
    end_answer(out);
}

/* The common part of the table and of its description. */
static void begin_success(const struct ksm_consumer_table *table, const struct request *request,
                          int64_t now, struct out *out) {
    const int64_t interval = table->interval / 1000;

    begin_answer(request, 200, now + interval, out);
    OUT_TEXTS(out, "\"v\":3,\"type\":\"table\",\"has_history\":false,\"help\":\"", help);
    if (table->count > FUNCTION_TABLE_ROWS)
        out_text(out, ". There are too many to list them all: those with the largest savings "
                      "are listed, some of the others are together in other");
    out_text(out, "\",\"accepted_params\":[],\"required_params\":[],\"update_every\":");
    out_number(out, interval);
    out_text(out, ",\"expires\":");
    out_number(out, now + interval);
}

static void answer_table(const struct ksm_consumer_table *table, const struct request *request,
                         int64_t now, struct out *out) {
    begin_success(table, request, now, out);
    out_text(out, ",\n");
    function_table_write(table, out);
    end_answer(out);
}

static void answer_info(const struct ksm_consumer_table *table, const struct request *request,
                        int64_t now, struct out *out) {
    begin_success(table, request, now, out);
    end_answer(out);
}

/* Returns whether a request names this Function, with or without arguments. */
static bool is_known_function(const char *function) {
    size_t len = strlen(name);

    return strncmp(function, name, len) == 0 && (function[len] == '\0' || function[len] == ' ');
}

static bool has_argument(const char *function, const char *argument) {
    for (const char *pos = function + strcspn(function, " "); *pos; pos += strcspn(pos, " ")) {
        pos += strspn(pos, " ");
        if (strcspn(pos, " ") == strlen(argument) && strncmp(pos, argument, strlen(argument)) == 0)
            return true;
    }
    return false;
}

void function_offer(const struct ksm_consumer_table *table, enum ksm_function_access access,
                    struct out *out) {
    /* 0x13: signed in, member of the space, may see sensitive data; 0x8: any user. */
    static const char *const access_flags[] = {
        [KSM_ACCESS_MEMBERS] = "0x13", [KSM_ACCESS_ANY] = "0x8"};

    if (table->enabled)
        OUT_TEXTS(out, "FUNCTION GLOBAL \"", name, "\" 10 \"", help, "\" \"top\" ",
                  access_flags[access], " 100\n");
}

void function_answer(const struct ksm_consumer_table *table, const struct request *request,
                     int64_t now, struct out *out) {
    if (request->error)
        answer_error(request, 400, request->error, out);
    else if (!is_known_function(request->function) || !table->enabled)
        answer_error(request, 404, "ksm.plugin has no such function", out);
    else if (has_argument(request->function, "info"))
        answer_info(table, request, now, out);
    else if (table->faults[KSM_CONSUMERS_FAILED])
        answer_error(
            request, 503,
            "savings by consumer cannot be determined now; ksm.plugin's log gives the reason", out);
    else if (!table->valid)
        answer_error(request, 503,
                     "there is no complete sample of all processes now; try again later", out);
    else
        answer_table(table, request, now, out);
}
