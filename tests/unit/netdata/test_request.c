/* SPDX-License-Identifier: MIT
 *
 * Requests from stdin: bytes in, requests out. Every row in one piece, byte by byte, and in pieces
 * of every other size. tests/fuzz/fuzz_request.c tries random bytes.
 */
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "request.h"
#include "support/suite.h"

#define UUID "0464dd6a-421a-4025-a94f-9da53e526727"

/* Events: "id function|", "id !error|". */
static const struct row {
    const char *what;
    const char *bytes;
    size_t len;
    const char *want;
} rows[] = {
    /* Requests of agents. */
    {"1.37", TEXT("FUNCTION " UUID " 10 \"ksm:consumers\"\n"), UUID " ksm:consumers|"},
    {"2.x",
     TEXT("FUNCTION 0464dd6a421a4025a94f9da53e526727 60 \"ksm:consumers info after:-600 before:0\" "
          "\"0xffff\" \"method=api,role=admin,permissions=0xffff,ip=127.0.0.1\"\n"),
     "0464dd6a421a4025a94f9da53e526727 ksm:consumers info after:-600 before:0|"},
    {"payload",
     TEXT("FUNCTION_PAYLOAD " UUID " 60 \"ksm:consumers\" \"0x13\" \"me\" \"application/json\"\n"
          "{\"query\":\"x\",\n\"after\":-600}\nFUNCTION_PAYLOAD_END\n"),
     UUID " ksm:consumers|"},
    {"empty payload", TEXT("FUNCTION_PAYLOAD a 6 f\nFUNCTION_PAYLOAD_END\n"), "a f|"},
    {"a payload of requests",
     TEXT("FUNCTION_PAYLOAD a 6 f\nFUNCTION b 6 g\nQUIT\nFUNCTION_CANCEL a\n"
          "FUNCTION_PAYLOAD c 6 h\nFUNCTION_PAYLOAD_END\nFUNCTION d 6 i\n"),
     "a f|d i|"},
    {"like the end of a payload",
     TEXT("FUNCTION_PAYLOAD a 6 f\nFUNCTION_PAYLOAD_ENDS\nx FUNCTION_PAYLOAD_END\n"
          "FUNCTION_PAYLOAD_END x\n\"FUNCTION_PAYLOAD_END\"\nFUNCTION_PAYLOAD_END "
          "\nFUNCTION_PAYLOAD_END\r\n"
          "FUNCTION b 6 g\nFUNCTION_PAYLOAD_END\n"),
     "a f|"},
    {"a payload that does not end", TEXT("FUNCTION_PAYLOAD a 6 f\nFUNCTION b 6 g\n"), ""},
    {"an end without a payload", TEXT("FUNCTION_PAYLOAD_END\nFUNCTION a 6 f\n"), "a f|"},
    {"cancel, progress",
     TEXT("FUNCTION a 6 f\nFUNCTION_CANCEL a\nFUNCTION_PROGRESS a\nFUNCTION b 6 g\n"), "a f|b g|"},
    {"unknown lines",
     TEXT("\n\nTIMEOUT 7\nfunction a 6 f\nFUNCTIONS a 6 f\n\"\n'\nFUNCTION b 6 g\n"), "b g|"},
    {"QUIT", TEXT("QUIT\nFUNCTION a 6 f\nQUIT\n \tQUIT\nFUNCTION b 6 QUIT\nQUIT"), "a f|b QUIT|"},

    /* Hostile payloads of a POST. No line of them does more than request an answer. */
    {"the end of a payload and QUIT in it",
     TEXT("FUNCTION_PAYLOAD a 6 f\nx\nFUNCTION_PAYLOAD_END\nQUIT\n\nFUNCTION_PAYLOAD_END\n"
          "FUNCTION b 6 g\n"),
     "a f|b g|"},
    {"the same, its last line is not over",
     TEXT("FUNCTION_PAYLOAD a 6 f\nFUNCTION_PAYLOAD_END\nQUIT\nFUNCTION_PAYLOAD_END\n"), "a f|"},
    {"requests in it", /* cannot be distinguished from others */
     TEXT("FUNCTION_PAYLOAD a 6 f\nFUNCTION_PAYLOAD_END\nFUNCTION b 6 g\n\nFUNCTION_PAYLOAD_END\n"
          "FUNCTION_PAYLOAD c 6 h\nFUNCTION_PAYLOAD_END\nFUNCTION_PAYLOAD d 6 i\n\n"
          "FUNCTION_PAYLOAD_END\nFUNCTION e 6 j\n"),
     "a f|b g|c h|d i|e j|"},
    {"nothing", TEXT(""), ""},
    {"an unfinished request", TEXT("FUNCTION a 6 \"f\""), ""},

    /* Words. */
    {"blanks", TEXT("  FUNCTION\ta  \v6 \f f  \r\n"), "a f|"},
    {"single quotation marks", TEXT("FUNCTION 'a' '6' 'f g \"h\"'\n"), "a f g \"h\"|"},
    {"quotation marks inside a word", TEXT("FUNCTION a 6 f\"g h\"\n"), "a f\"g|"},
    {"something after a closing one", TEXT("FUNCTION a 6 \"f\"g h\n"), "a f|"},
    {"a bad timeout", TEXT("FUNCTION a never f\nFUNCTION b -1 f\nFUNCTION c '' f\n"),
     "a f|b f|c f|"},
    {"no escapes", TEXT("FUNCTION a 6 \"f\\\" g\"\n"), "a f\\|"},
    {"bytes", TEXT("FUNCTION a 6 \"\x01\xff\x7f%s\\n\"\n"), "a \x01\xff\x7f%s\\n|"},
    {"a NUL", TEXT("FUNCTION a 6 \"f\0g\"\nFUNC\0TION b 6 f\nFUNCTION c\0d 6 f\n"), "a f|"},

    /* Malformed requests. */
    {"no function", TEXT("FUNCTION a 6\nFUNCTION b\nFUNCTION c 6 \"\"\n"),
     "a !the request names no function|b !the request names no function|"
     "c !the request names no function|"},
    {"an open quotation mark", TEXT("FUNCTION a 6 \"f g\nFUNCTION b 6 '\n"),
     "a !a quotation mark in the request is not closed|"
     "b !a quotation mark in the request is not closed|"},
    {"an open one before a payload",
     TEXT("FUNCTION_PAYLOAD a 6 \"f\nFUNCTION b 6 g\nFUNCTION_PAYLOAD_END\n"),
     "a !a quotation mark in the request is not closed|"},
    {"no id", TEXT("FUNCTION\nFUNCTION '' 6 f\nFUNCTION_PAYLOAD\nx\nFUNCTION_PAYLOAD_END\n"), ""},
    {"ids that would break the answer",
     TEXT("FUNCTION \"a b\" 6 f\nFUNCTION a\"b 6 f\nFUNCTION 'a\"' 6 f\nFUNCTION \"a 6 f\n"
          "FUNCTION a=b 6 f\nFUNCTION a\rb 6 f\nFUNCTION \xc3\xa4 6 f\nFUNCTION a/b 6 f\n"
          "FUNCTION a\x1b 6 f\n"),
     "a 6|"},
    {"the characters of ids", TEXT("FUNCTION azAZ09-_. 6 f\n"), "azAZ09-_. f|"},
};

static char got[64 * 1024];
static size_t got_len;
static bool guarded; /* reading past a piece crashes; takes memory for each */

static void note(const char *text) {
    got_len += (size_t)snprintf(got + got_len, sizeof(got) - got_len, "%s", text);
}

static void note_event(const struct request *request) {
    note(request->id);
    note(request->error ? " !" : " ");
    note(request->error ? request->error : request->function);
    note("|");
}

static struct request_parser parser;

/* Parses bytes in pieces of that size, and notes the events. */
static void take_more(const char *bytes, size_t len, size_t piece) {
    for (size_t from = 0; from < len; from += piece) {
        size_t end = from + piece < len ? from + piece : len;
        for (size_t at = from; at < end;) {
            size_t used = 0;
            const char *text = guarded ? suite_guarded(bytes + at, end - at) : bytes + at;
            bool whole = request_take(&parser, text, end - at, &used);
            ck_assert_msg(used > 0 && used <= end - at, "used %zu of %zu", used, end - at);
            ck_assert_msg(whole || used == end - at, "not all used");
            if (whole)
                note_event(&parser.request);
            at += used;
        }
    }
}

static void take_all(const char *bytes, size_t len, size_t piece) {
    memset(&parser, 0, sizeof(parser));
    got_len = 0;
    got[0] = '\0';
    take_more(bytes, len, piece);
}

TEST_ROWS(requests_are_the_same_in_any_pieces, rows) {
    guarded = true;
    for (size_t piece = 1; piece == 1 || piece <= row->len; piece++) {
        take_all(row->bytes, row->len, piece);
        ck_assert_msg(strcmp(got, row->want) == 0, "%s, in pieces of %zu: got %s, want %s",
                      row->what, piece, suite_quote(got, got_len),
                      suite_quote(row->want, strlen(row->want)));
    }
}

/* Texts of one length: how long id, function and what follows may be. */
static const struct {
    size_t id, function, rest;
    const char *quote;
    const char *want; /* NULL: no event; "": as it came */
} sizes[] = {
    {REQUEST_ID, 1, 0, "\"", ""},
    {REQUEST_ID + 1, 1, 0, "\"", NULL},
    {100000, 1, 0, "\"", NULL},
    {1, REQUEST_FUNCTION, 0, "\"", ""},
    {1, REQUEST_FUNCTION + 1, 0, "\"", "!the request is too long"},
    {1, REQUEST_LINE - 20, 0, "\"", "!the request is too long"},
    {1, REQUEST_LINE, 0, "\"", "!the request is too long"},
    {1, 1000000, 0, "\"", "!the request is too long"},
    {1, REQUEST_FUNCTION, 0, "", ""},
    {1, REQUEST_LINE, 0, "", "!the request is too long"},
    {1, 10, REQUEST_LINE, "\"", ""},
    {1, 10, 1000000, "\"", ""},
    {1, 10, 1000000, "", ""},
};

TEST_ROWS(long_parts_are_refused_or_ignored, sizes) {
    static char bytes[1600000], want[1600000];
    static char id[200000], function[1200000], rest[1200000];

    memset(id, 'i', row->id);
    memset(function, 'f', row->function);
    memset(rest, 'r', row->rest);
    int len = snprintf(bytes, sizeof(bytes), "FUNCTION %s 6 %s%s%s %s\nFUNCTION z 6 z\n", id,
                       row->quote, function, row->quote, rest);
    if (row->want)
        snprintf(want, sizeof(want), "%s %s|", id, *row->want ? row->want : function);
    strcat(want, "z z|");
    for (size_t piece = 4096; piece <= 4096 * 400; piece *= 400) {
        take_all(bytes, (size_t)len, piece);
        ck_assert_msg(strcmp(got, want) == 0, "in pieces of %zu: got %.100s, want %.100s", piece,
                      got, want);
    }
}

TEST(payload_may_be_longer_than_any_buffer) {
    static char bytes[300000];
    int len =
        snprintf(bytes, sizeof(bytes), "FUNCTION_PAYLOAD a 6 f\n%0100000d\n%0100000d %s\n%s\n", 1,
                 2, "FUNCTION_PAYLOAD_END", "FUNCTION_PAYLOAD_END");

    take_all(bytes, (size_t)len, 1000);
    ck_assert_str_eq(got, "a f|");
}

/* Unfinished input, after which the next request must be understood. */
static const char *const unfinished[] = {
    "",
    "FUNCTION a 6 f",
    "FUNCTION_PAYLOAD a 6 f\nx\n",
    "FUNCTION_PAYLOAD a 6 f\nFUNCTION_PAYLOAD_END",
    "FUNCTION_PAYLOAD a 6 f\nx\nFUNC",
};

TEST_ROWS(unfinished_input_can_be_discarded, unfinished) {
    static char line[2 * REQUEST_LINE];

    memset(line, 'x', sizeof(line));
    for (size_t more = 0; more <= sizeof(line); more += sizeof(line)) {
        take_all(*row, strlen(*row), 1);
        take_more(line, more, sizeof(line));
        ck_assert_str_eq(got, "");
        request_discard(&parser);
        take_more(TEXT("FUNCTION b 6 g\n"), 1);
        ck_assert_str_eq(got, "b g|");
    }
}
