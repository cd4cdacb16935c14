/* SPDX-License-Identifier: MIT
 *
 * When ksm.plugin wakes, on clocks that the test turns.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "support/faults.h"
#include "support/suite.h"
#include "ticker.h"

static const int64_t realtime = 1700000000 * INT64_C(1000);
static const int64_t monotonic = 5000 * INT64_C(1000);
static const int64_t never = INT64_MAX;

static int agent; /* writes to our stdin */
static struct ticker waiting;

/* At a whole second, with a tick a second; after a test the clocks go again. */
void before_each(void) {
    int ends[2];

    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    close(ends[0]);
    agent = ends[1];
    faults_clear();
    faults_stop_clocks(realtime, monotonic);
    ticker_init(&waiting, 1);
}

void after_each(void) {
    faults_clear();
}

static const char *word(enum ticker_result result) {
    static const char *const results[] = {[TICKER_TICK] = "tick",
                                          [TICKER_POLL] = "look",
                                          [TICKER_REQUEST] = "request",
                                          [TICKER_KEEPALIVE] = "sign of life",
                                          [TICKER_END] = "end"};

    return results[result];
}

/* Waits once; it must end so, at this time of the wall clock. */
static void expect(enum ticker_result want, int64_t want_time) {
    enum ticker_result got = ticker_wait(&waiting, never);

    ck_assert_msg(got == want, "got %s, want %s", word(got), word(want));
    ck_assert_msg(faults_realtime() >= want_time && faults_realtime() <= want_time + 1,
                  "%s at %" PRId64 ", want %" PRId64, word(got), faults_realtime(), want_time);
}

/* Ticks are at multiples of update_every, whatever the time of the start; one wait each. */
static const struct {
    int update_every;
    int64_t late; /* ms after a multiple */
} starts[] = {
    {1, 0}, {1, 1}, {1, 500}, {1, 999}, {2, 0}, {2, 1999}, {10, 3333}, {60, 1}, {60, 59999},
};

TEST_ROWS(multiples, starts) {
    int64_t period = row->update_every * 1000;
    int64_t begin = realtime / period * period;

    faults_stop_clocks(begin + row->late, monotonic);
    ticker_init(&waiting, row->update_every);
    for (int i = 1; i <= 10; i++) {
        expect(TICKER_TICK, begin + i * period);
        ck_assert_msg(faults_polls() <= 2 * i, "%d waits for %d ticks", faults_polls(), i);
    }
}

/* A tick that took long skips those it missed, and is followed by one at the next multiple. */
TEST(missed_ticks) {
    ticker_init(&waiting, 10);
    expect(TICKER_TICK, realtime + 10000);
    faults_stop_clocks(realtime + 47000, monotonic + 47000);
    expect(TICKER_TICK, realtime + 47000);
    expect(TICKER_TICK, realtime + 50000);
}

/* A clock that is set never makes it wait longer than update_every. */
static const int64_t steps[] = {-3600000, -86400000000, -1000, 1000, 3600000, 86400000000};

TEST_ROWS(clock_set, steps) {
    int64_t now = realtime + 300 + *row;

    ticker_init(&waiting, 10);
    expect(TICKER_TICK, realtime + 10000);
    faults_stop_clocks(now, monotonic + 10300);
    ck_assert_int_eq(ticker_wait(&waiting, never), TICKER_TICK);
    ck_assert_int_le(faults_realtime() - now, 10001);
    ck_assert_int_eq(ticker_wait(&waiting, never), TICKER_TICK);
    ck_assert_int_le(faults_realtime() % 10000, 1);
}

/* The agent gives up a plugin that is silent for 120 s. */
TEST(signs_of_life) {
    ticker_init(&waiting, 900); /* Check counts no hour of a test */
    int64_t next = (realtime / 900000 + 1) * 900000;
    int64_t silent_since = realtime;
    for (;;) {
        enum ticker_result got = ticker_wait(&waiting, never);
        int64_t now = faults_realtime();
        ck_assert_msg(now - silent_since <= 61000, "silent for %" PRId64 " ms", now - silent_since);
        silent_since = now;
        if (got == TICKER_TICK)
            break;
        ck_assert_msg(got == TICKER_KEEPALIVE, "got %s, want a sign of life", word(got));
        ck_assert_int_lt(now, next);
    }
    ck_assert_int_le(silent_since - next, 1);
    ck_assert_int_ge(silent_since, next);
}

/* A look at its time, before a tick or not at all; one that is late is at once. */
static const struct {
    int64_t look; /* ms after now */
    enum ticker_result want;
    int64_t at;
} looks[] = {
    {-5000, TICKER_POLL, 0}, {0, TICKER_POLL, 0},       {1, TICKER_POLL, 1},
    {998, TICKER_POLL, 998}, {5000, TICKER_TICK, 1000},
};

TEST_ROWS(look_in_between, looks) {
    enum ticker_result got = ticker_wait(&waiting, monotonic + row->look);
    ck_assert_msg(got == row->want, "got %s, want %s", word(got), word(row->want));
    int64_t at = faults_realtime() - realtime;
    ck_assert_msg(at >= row->at && at <= row->at + 1, "got %s after %" PRId64 " ms", word(got), at);
    if (got == TICKER_POLL)
        expect(TICKER_TICK, realtime + 1000);
}

/* The end of stdin is the agent's word to leave. */
TEST(end_of_stdin) {
    close(agent);
    expect(TICKER_END, realtime);
    expect(TICKER_END, realtime);
    close(STDIN_FILENO);
    expect(TICKER_END, realtime);
}

static void say(const char *text) {
    ck_assert_int_eq(write(agent, text, strlen(text)), (int)strlen(text));
}

static void expect_request(const char *id, int64_t want_time) {
    expect(TICKER_REQUEST, want_time);
    ck_assert_str_eq(waiting.requests.request.id, id);
}

/* Anything but requests is read and dropped, and does not move the tick. */
TEST(words_on_stdin) {
    static char many[10000];

    say("FUNCTION_CANCEL x\n\nHELLO\nFUNCTION x 10");
    ck_assert_int_eq(write(agent, many, sizeof(many)), (int)sizeof(many));
    expect(TICKER_TICK, realtime + 1000);
    close(agent);
    expect(TICKER_END, realtime + 1000);
}

/* One at a time, in their order, however they come; then the tick, in time. */
TEST(requests) {
    say("FUNCTION a 10 f\nFUNCTION b 10 f\nFUNCTION_PAYLOAD c 10 f\nx\nFUNCTION_PAYLOAD_END\nFUNC");
    expect_request("a", realtime);
    expect_request("b", realtime);
    expect_request("c", realtime);
    say("TION d 10 f\n");
    expect_request("d", realtime);
    expect(TICKER_TICK, realtime + 1000);
}

/* A look comes before requests, and is over at once: time is not lost. */
TEST(requests_and_looks) {
    say("FUNCTION a 10 f\nFUNCTION b 10 f\n");
    ck_assert_int_eq(ticker_wait(&waiting, monotonic), TICKER_POLL);
    ck_assert_int_eq(ticker_wait(&waiting, monotonic + 4), TICKER_REQUEST);
    ck_assert_int_eq(ticker_wait(&waiting, monotonic), TICKER_POLL);
    ck_assert_int_eq(ticker_wait(&waiting, monotonic + 4), TICKER_REQUEST);
    ck_assert_int_eq(faults_realtime(), realtime);
    ck_assert_int_eq(ticker_wait(&waiting, monotonic + 4), TICKER_POLL);
}

/* Shortly before a tick a request waits until after it, a look does not. */
static const int late[] = {0,   900, 1000 - TICKER_RESERVED_MS - 1, 1000 - TICKER_RESERVED_MS,
                           990, 999};

TEST_ROWS(requests_before_a_tick, late) {
    say("FUNCTION a 10 f\n");
    faults_stop_clocks(realtime + *row, monotonic + *row);
    if (1000 - *row <= TICKER_RESERVED_MS) {
        ck_assert_int_eq(ticker_wait(&waiting, monotonic), TICKER_POLL);
        expect(TICKER_TICK, realtime + 1000);
        expect_request("a", realtime + 1000);
    } else {
        expect_request("a", realtime + *row);
        expect(TICKER_TICK, realtime + 1000);
    }
}

/* A flood that never ends: every tick is at its time, and there is a sign of life. */
TEST(flood) {
    for (int tick = 1; tick <= 3; tick++) {
        for (int ms = 0;; ms++) { /* an answer takes 1 ms */
            int64_t now = realtime + (tick - 1) * 1000 + ms;
            faults_stop_clocks(now, now - realtime + monotonic);
            say("FUNCTION a 10 f\n");
            enum ticker_result got = ticker_wait(&waiting, never);
            if (got == TICKER_TICK)
                break;
            ck_assert_msg(got == TICKER_REQUEST, "got %s", word(got));
            ck_assert_int_lt(ms, 1000);
        }
        ck_assert_msg(faults_realtime() <= realtime + tick * 1000 + 1, "tick %d is late", tick);
    }
}

/* 2.x says QUIT, and closes stdin. Only that counts: the word can come from anybody. */
static const char *const words[] = {"QUIT", "QUIT\n", "\nQUIT\nFUNCTION_PAYLOAD_END\nQUIT"};

TEST_ROWS(quit, words) {
    say("FUNCTION a 10 f\n");
    say(*row);
    expect_request("a", realtime);
    expect(TICKER_TICK, realtime + 1000);
    say("\nFUNCTION b 10 f\nQUIT");
    expect_request("b", realtime + 1000);
    close(agent);
    expect(TICKER_END, realtime + 1000);
}

/* An agent stops sending at a NUL of a payload, and is silent then. What it says later is heard,
 * what it says at once is taken for more of the same. */
static const int64_t silences[] = {0, TICKER_SILENCE_MS / 2, TICKER_SILENCE_MS, 900};

TEST_ROWS(payload_without_an_end, silences) {
    say("FUNCTION_PAYLOAD a 10 f\nx\n");
    expect(TICKER_TICK, realtime + 1000);
    say("FUNCTION_PAYLOAD b 10 f\nx\n");
    faults_stop_clocks(realtime + 2000 - *row, monotonic + 2000 - *row);
    expect(TICKER_TICK, realtime + 2000);
    say("FUNCTION c 10 f\n");
    if (*row >= TICKER_SILENCE_MS)
        expect_request("c", realtime + 2000);
    expect(TICKER_TICK, realtime + 3000);
}

TEST(requests_of_nobody) {
    for (int i = 0; i < 500; i++)
        say("FUNCTION a 10 f\n");
    close(agent);
    expect(TICKER_END, realtime);
}

/* On the real clock, once; again if this machine was busy with others. */
TEST(real_clock) {
    struct timespec now = {0};

    faults_let_clocks_go();
    ticker_init(&waiting, 1);
    for (int i = 0; i < 20 && (i == 0 || now.tv_nsec >= 500000000); i++) {
        ck_assert_int_eq(ticker_wait(&waiting, never), TICKER_TICK);
        ck_assert_int_eq(clock_gettime(CLOCK_REALTIME, &now), 0);
    }
    ck_assert_msg(now.tv_nsec < 500000000, "woke %ld ms after the second", now.tv_nsec / 1000000);
    faults_stop_clocks(realtime, monotonic); /* Check takes the time between before and after */
}
