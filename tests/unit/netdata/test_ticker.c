/* SPDX-License-Identifier: MIT
 *
 * When ksm.plugin wakes, with clocks that the test sets.
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

/* At a whole second, with a tick a second. After a test, the clocks run again. */
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

static const char *name_of(enum ticker_result result) {
    static const char *const results[] = {[TICKER_TICK] = "tick",
                                          [TICKER_POLL] = "poll",
                                          [TICKER_REQUEST] = "request",
                                          [TICKER_KEEPALIVE] = "keepalive",
                                          [TICKER_END] = "end"};

    return results[result];
}

/* Waits once; it must end so, at this time of the wall clock. */
static void expect(enum ticker_result want, int64_t want_time) {
    enum ticker_result got = ticker_wait(&waiting, never);

    ck_assert_msg(got == want, "got %s, want %s", name_of(got), name_of(want));
    ck_assert_msg(faults_realtime() >= want_time && faults_realtime() <= want_time + 1,
                  "%s at %" PRId64 ", want %" PRId64, name_of(got), faults_realtime(), want_time);
}

/* Whatever the time of the start; one wait each. */
static const struct {
    int update_every;
    int64_t late; /* ms after a multiple */
} starts[] = {
    {1, 0}, {1, 1}, {1, 500}, {1, 999}, {2, 0}, {2, 1999}, {10, 3333}, {60, 1}, {60, 59999},
};

TEST_ROWS(ticks_are_at_multiples_of_update_every, starts) {
    int64_t period = row->update_every * 1000;
    int64_t begin = realtime / period * period;

    faults_stop_clocks(begin + row->late, monotonic);
    ticker_init(&waiting, row->update_every);
    for (int i = 1; i <= 10; i++) {
        expect(TICKER_TICK, begin + i * period);
        ck_assert_msg(faults_polls() <= 2 * i, "%d waits for %d ticks", faults_polls(), i);
    }
}

/* The tick after a long one is at the next multiple. */
TEST(missed_ticks_are_skipped) {
    ticker_init(&waiting, 10);
    expect(TICKER_TICK, realtime + 10000);
    faults_stop_clocks(realtime + 47000, monotonic + 47000);
    expect(TICKER_TICK, realtime + 47000);
    expect(TICKER_TICK, realtime + 50000);
}

static const int64_t steps[] = {-3600000, -86400000000, -1000, 1000, 3600000, 86400000000};

TEST_ROWS(setting_the_clock_never_delays_a_tick_by_more_than_update_every, steps) {
    int64_t now = realtime + 300 + *row;

    ticker_init(&waiting, 10);
    expect(TICKER_TICK, realtime + 10000);
    faults_stop_clocks(now, monotonic + 10300);
    ck_assert_int_eq(ticker_wait(&waiting, never), TICKER_TICK);
    ck_assert_int_le(faults_realtime() - now, 10001);
    ck_assert_int_eq(ticker_wait(&waiting, never), TICKER_TICK);
    ck_assert_int_le(faults_realtime() % 10000, 1);
}

/* The agent stops a plugin that is silent for 120 s. */
TEST(keepalives_are_a_minute_apart_at_most) {
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
        ck_assert_msg(got == TICKER_KEEPALIVE, "got %s, want a keepalive", name_of(got));
        ck_assert_int_lt(now, next);
    }
    ck_assert_int_le(silent_since - next, 1);
    ck_assert_int_ge(silent_since, next);
}

/* A poll is at its time if that is before the tick; at once if it is late. */
static const struct {
    int64_t poll; /* ms after now */
    enum ticker_result want;
    int64_t at;
} polls[] = {
    {-5000, TICKER_POLL, 0}, {0, TICKER_POLL, 0},       {1, TICKER_POLL, 1},
    {998, TICKER_POLL, 998}, {5000, TICKER_TICK, 1000},
};

TEST_ROWS(poll_comes_between_ticks, polls) {
    enum ticker_result got = ticker_wait(&waiting, monotonic + row->poll);
    ck_assert_msg(got == row->want, "got %s, want %s", name_of(got), name_of(row->want));
    int64_t at = faults_realtime() - realtime;
    ck_assert_msg(at >= row->at && at <= row->at + 1, "got %s after %" PRId64 " ms", name_of(got),
                  at);
    if (got == TICKER_POLL)
        expect(TICKER_TICK, realtime + 1000);
}

TEST(end_of_stdin_ends_the_plugin) {
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

TEST(other_input_is_dropped_without_delaying_the_tick) {
    static char many[10000];

    say("FUNCTION_CANCEL x\n\nHELLO\nFUNCTION x 10");
    ck_assert_int_eq(write(agent, many, sizeof(many)), (int)sizeof(many));
    expect(TICKER_TICK, realtime + 1000);
    close(agent);
    expect(TICKER_END, realtime + 1000);
}

TEST(requests_are_returned_in_order_and_delay_no_tick) {
    say("FUNCTION a 10 f\nFUNCTION b 10 f\nFUNCTION_PAYLOAD c 10 f\nx\nFUNCTION_PAYLOAD_END\nFUNC");
    expect_request("a", realtime);
    expect_request("b", realtime);
    expect_request("c", realtime);
    say("TION d 10 f\n");
    expect_request("d", realtime);
    expect(TICKER_TICK, realtime + 1000);
}

TEST(poll_precedes_requests) {
    say("FUNCTION a 10 f\nFUNCTION b 10 f\n");
    ck_assert_int_eq(ticker_wait(&waiting, monotonic), TICKER_POLL);
    ck_assert_int_eq(ticker_wait(&waiting, monotonic + 4), TICKER_REQUEST);
    ck_assert_int_eq(ticker_wait(&waiting, monotonic), TICKER_POLL);
    ck_assert_int_eq(ticker_wait(&waiting, monotonic + 4), TICKER_REQUEST);
    ck_assert_int_eq(faults_realtime(), realtime);
    ck_assert_int_eq(ticker_wait(&waiting, monotonic + 4), TICKER_POLL);
}

/* Shortly before a tick, a request waits until after it; a poll does not. */
static const int late[] = {0,   900, 1000 - TICKER_RESERVED_MS - 1, 1000 - TICKER_RESERVED_MS,
                           990, 999};

TEST_ROWS(request_shortly_before_a_tick_waits, late) {
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

TEST(endless_requests_delay_no_tick) {
    for (int tick = 1; tick <= 3; tick++) {
        for (int ms = 0;; ms++) { /* an answer takes 1 ms */
            int64_t now = realtime + (tick - 1) * 1000 + ms;
            faults_stop_clocks(now, now - realtime + monotonic);
            say("FUNCTION a 10 f\n");
            enum ticker_result got = ticker_wait(&waiting, never);
            if (got == TICKER_TICK)
                break;
            ck_assert_msg(got == TICKER_REQUEST, "got %s", name_of(got));
            ck_assert_int_lt(ms, 1000);
        }
        ck_assert_msg(faults_realtime() <= realtime + tick * 1000 + 1, "tick %d is late", tick);
    }
}

/* Netdata 2.x sends QUIT and closes stdin. Only the end of stdin counts: any client can inject
 * QUIT. */
static const char *const quits[] = {"QUIT", "QUIT\n", "\nQUIT\nFUNCTION_PAYLOAD_END\nQUIT"};

TEST_ROWS(quit_is_ignored, quits) {
    say("FUNCTION a 10 f\n");
    say(*row);
    expect_request("a", realtime);
    expect(TICKER_TICK, realtime + 1000);
    say("\nFUNCTION b 10 f\nQUIT");
    expect_request("b", realtime + 1000);
    close(agent);
    expect(TICKER_END, realtime + 1000);
}

/* An agent stops sending at a NUL in a payload. Input after a silence is parsed anew; input without
 * one belongs to the payload. */
static const int64_t silences[] = {0, TICKER_SILENCE_MS / 2, TICKER_SILENCE_MS, 900};

TEST_ROWS(unfinished_payload_ends_with_silence, silences) {
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

TEST(requests_are_dropped_at_the_end_of_stdin) {
    for (int i = 0; i < 500; i++)
        say("FUNCTION a 10 f\n");
    close(agent);
    expect(TICKER_END, realtime);
}

/* Again if this machine was busy. */
TEST(real_clock_wakes_at_the_second) {
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
