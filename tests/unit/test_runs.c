/* SPDX-License-Identifier: MIT
 *
 * Every call that the plugins make fails once, in whole runs of both: with each error, and cut
 * short. Whatever it was, no number is wrong, nothing is left behind, and some ticks later all is
 * as if nothing had been.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runs/runs.h"
#include "support/suite.h"

/* ---- what can go wrong ---- */

static const int errors[] = {EINTR, EAGAIN, EIO, EMFILE, ENOMEM, ENODEV, ESRCH, EACCES};
static const int cuts[] = {FAULTS_ONE_BYTE, FAULTS_HALF, FAULTS_ALL_BUT_ONE, FAULTS_ONE_LINE};

enum { WAYS = sizeof(errors) / sizeof(errors[0]) + sizeof(cuts) / sizeof(cuts[0]) };

#define CALL(id, name) #name,
static const char *const call_names[] = {FAULTS_EACH(CALL)};
#undef CALL

static const char *way_name(int how) {
    switch (how) {
    case FAULTS_ONE_BYTE:
        return "one byte of it";
    case FAULTS_HALF:
        return "half of it";
    case FAULTS_ALL_BUT_ONE:
        return "all but a byte of it";
    case FAULTS_ONE_LINE:
        return "a line of it";
    default:
        return strerrorname_np(how);
    }
}

static int way(int i) {
    return i < ROWS(errors) ? errors[i] : cuts[i - ROWS(errors)];
}

/* Memory lacks or it does not; only what moves bytes can move fewer. */
static bool can_fail(enum faults_call call, int how) {
    if (call == FAULTS_MEMORY)
        return how == ENOMEM;
    if (call == FAULTS_THREAD)
        return how == EAGAIN;
    return how > 0 || call == FAULTS_PREAD || call == FAULTS_READ || call == FAULTS_WRITE;
}

/* Nothing is lost by these: the call can be made again, or goes on. */
static bool is_harmless(int how) {
    return how == EINTR || how < 0;
}

/* A lack of means for the moment: the next tick is well again. */
static bool is_transient(int how) {
    return how == EAGAIN || how == EMFILE || how == ENOMEM;
}

/* ---- what must come of it ---- */

enum { MOST_PIDS = 16 };

static struct run whole;              /* without any fault */
static struct run without[MOST_PIDS]; /* and where one process does not exist */
static unsigned char calls[20000];    /* of whole */

/* The same number, looked for where it was the last time. */
static const struct run_value *find_near(const struct run_tick *tick, int near, const char *key) {
    if (near < tick->count && strcmp(tick->values[near].key, key) == 0)
        return &tick->values[near];
    return run_find(tick, key);
}

/* A counter after a gap: what it grew by in the gap would be drawn as if it were of one tick, so
 * that one tick's part of it is sent. */
static double after_gap(const struct run *run, int tick, const struct run_value *right) {
    for (int before = tick - 1; before >= 0; before--) {
        const struct run_value *sent = run_find(&run->ticks[before], right->key);
        const struct run_value *was = run_find(&whole.ticks[before], right->key);
        if (sent && was)
            return sent->number +
                   (double)((int64_t)(right->number - was->number) / (tick - before));
    }
    return right->number;
}

/* The first value of a tick that is not as in want, or not there; NULL if there is none. */
static const struct run_value *first_wrong(const struct run *run, int tick,
                                           const struct run_tick *want, bool of_consumers) {
    const struct run_tick *got = &run->ticks[tick];

    for (int i = 0; i < got->count; i++) {
        const struct run_value *value = &got->values[i];
        /* What depends on the readings before, of which one lacks, is another number then. */
        if (run_is_consumers(value->key) != of_consumers || run_is_paced(value->key))
            continue;
        const struct run_value *right = find_near(want, i, value->key);
        if (!right)
            return value;
        if (value->number != (right->incremental ? after_gap(run, tick, right) : right->number))
            return value;
    }
    return NULL;
}

/* The process that a file is of: the index, or -1. */
static int process_of(const char *path) {
    char of_pid[32];

    for (int i = 0; stage_pid(i); i++) {
        snprintf(of_pid, sizeof(of_pid), "/%d/", stage_pid(i));
        const char *dir = strstr(path, of_pid);
        if (dir || strncmp(path, of_pid + 1, strlen(of_pid + 1)) == 0)
            return i;
    }
    return -1;
}

/* Consumers are told of as they are; or as if the process whose file failed were none of them: it
 * may have ended, or be one that may not be read. */
static const char *wrong_number(const struct run *run, int how) {
    static char message[512];
    int process = is_transient(how) ? -1 : process_of(run->path);

    for (int tick = 0; tick < run->reached; tick++) {
        const struct run_value *bad = first_wrong(run, tick, &whole.ticks[tick], false);
        if (!bad)
            bad = first_wrong(run, tick, &whole.ticks[tick], true);
        if (bad && run_is_consumers(bad->key) && process >= 0 &&
            !first_wrong(run, tick, &without[process].ticks[tick], true))
            bad = NULL;
        if (!bad)
            continue;
        const struct run_value *right = run_find(&whole.ticks[tick], bad->key);
        snprintf(message, sizeof(message), "tick %d: %.160s is %.15g, want %.15g%s", tick, bad->key,
                 bad->number, right ? right->number : 0, right ? "" : " (nothing)");
        return message;
    }
    return NULL;
}

/* What lacks in a tick. */
static const char *lost(const struct run *run, int tick, bool host_only) {
    static char message[512];
    const struct run_tick *want = &whole.ticks[tick];

    for (int i = 0; i < want->count; i++) {
        const char *key = want->values[i].key;
        /* ksmd is looked for once a minute. */
        if (host_only && (run_is_consumers(key) || run_is_ksmd(key) || run_is_paced(key)))
            continue;
        if (find_near(&run->ticks[tick], i, key))
            continue;
        snprintf(message, sizeof(message), "tick %d: %.160s is not there", tick, key);
        return message;
    }
    return NULL;
}

static int tick_of(const struct run *run, int nth) {
    int tick = 0;

    while (tick + 1 < run->reached && run->calls_before[tick + 1] < nth)
        tick++;
    return tick;
}

/* What ends ksm.plugin, or keeps either from starting. */
static bool may_end(enum faults_call call, const struct run *run, int how) {
    if (run->reached == 0)
        return call == FAULTS_OPENDIR || call == FAULTS_FSTATFS;
    return (call == FAULTS_WRITE && how != EAGAIN) || (call == FAULTS_READ && how != EAGAIN);
}

static const char *not_recovered(const struct run *run, enum faults_call call, int nth, int how) {
    int tick = tick_of(run, nth);

    if (is_harmless(how)) {
        for (int i = 0; i < STAGE_STATES; i++)
            if (lost(run, i, false))
                return lost(run, i, false);
        if (run->stream_len != whole.stream_len ||
            memcmp(run->stream, whole.stream, run->stream_len) != 0)
            return "other lines were sent";
        return NULL;
    }
    if (run->reached < STAGE_STATES)
        return may_end(call, run, how) ? NULL : "it ended";
    if (tick == STAGE_STATES - 1)
        return NULL;
    if (is_transient(how) && lost(run, tick + 1, true))
        return lost(run, tick + 1, true);
    if (lost(run, STAGE_STATES - 2, false))
        return lost(run, STAGE_STATES - 2, false);
    return lost(run, STAGE_STATES - 1, false);
}

static const char *left_behind(const struct run *run) {
    static char message[128];

    if (run->descriptors == 0 && run->blocks == 0)
        return NULL;
    snprintf(message, sizeof(message), "%d descriptors and %d blocks of memory are left",
             run->descriptors, run->blocks);
    return message;
}

static const char *judge(const struct run *run, enum faults_call call, int nth, int how) {
    const char *fault = *run->wrong ? run->wrong : wrong_number(run, how);

    if (!fault)
        fault = not_recovered(run, call, nth, how);
    return fault ? fault : left_behind(run);
}

/* ---- all of it, in some processes at a time ---- */

enum { MOST_WORKERS = 16, MOST_COMPLAINTS = 5 };

/* What the workers have to say. */
static struct board {
    long tried;
    struct worker {
        long tried;
        int nth; /* what it is at: known even if that kills it */
        int how;
        enum faults_call call;
        int failed;
        char complaints[MOST_COMPLAINTS][1024];
    } workers[MOST_WORKERS];
} * board;

static void complain(struct worker *worker, const struct run_kind *kind, const char *path,
                     const char *fault) {
    if (worker->failed < MOST_COMPLAINTS)
        snprintf(worker->complaints[worker->failed], sizeof(worker->complaints[0]),
                 "%s: call %d, %s, %s (\"%.200s\"): %.500s", kind->name, worker->nth,
                 worker->nth > 0 ? call_names[worker->call] : "none",
                 worker->nth > 0 ? way_name(worker->how) : "no fault", path, fault);
    worker->failed++;
}

static void try_one(struct worker *worker, const struct run_kind *kind) {
    enum { HANGS_SECONDS = 120 };
    static struct run run;
    enum faults_call call = calls[worker->nth - 1];

    worker->call = call;
    alarm(HANGS_SECONDS);
    run_once(kind, &run, 0, worker->nth, worker->how);
    alarm(0);
    worker->tried++;
    const char *fault = judge(&run, call, worker->nth, worker->how);
    if (fault)
        complain(worker, kind, run.path, fault);
}

/* KSM_FAULTS=all: every fault there is; a number n: each nth one. Without it so many that a check
 * is done in time: 7 has no divisor in common with the number of ways, so that all calls and all
 * ways have their turn. */
static int stride(void) {
    const char *given = getenv("KSM_FAULTS");

    if (!given)
        return 7;
    return strcmp(given, "all") == 0 || atoi(given) < 1 ? 1 : atoi(given);
}

/* Faults in the first ticks, and in the last with the end; of these the part of one worker. */
static void work(struct worker *worker, const struct run_kind *kind, int self, int workers) {
    const int step = stride();
    long possible = 0;

    for (int nth = 1; nth <= whole.calls; nth++) {
        int tick = tick_of(&whole, nth);
        if (tick >= STAGE_FAULTS && tick < STAGE_STATES - 1)
            continue;
        for (int i = 0; i < WAYS; i++) {
            worker->nth = nth;
            worker->how = way(i);
            if (!can_fail(calls[nth - 1], worker->how))
                continue;
            long n = possible++;
            if (n % step == 0 && n / step % workers == self)
                try_one(worker, kind);
        }
    }
}

/* What is not sent cannot be wrong. */
static bool has_consumers(const struct run_tick *tick) {
    for (int i = 0; i < tick->count; i++)
        if (run_is_consumers(tick->values[i].key))
            return true;
    return false;
}

/* Runs without faults. Returns what is wrong with them. */
static const char *make_baselines(const struct run_kind *kind) {
    static struct run again;
    const unsigned char *log = NULL;

    for (int i = 0; stage_pid(i); i++)
        run_once(kind, &without[i], stage_pid(i), 0, 0);
    run_once(kind, &again, 0, 0, 0);
    run_once(kind, &whole, 0, 0, 0);
    faults_calls(&log);
    memcpy(calls, log, (size_t)whole.calls);
    if (*whole.wrong)
        return whole.wrong;
    if (whole.reached < STAGE_STATES || whole.status != 0)
        return "it ended";
    if (!has_consumers(&whole.ticks[0]) || !memchr(calls, FAULTS_THREAD, (size_t)whole.calls))
        return "no consumers are sent, or by no thread";
    const char *fault = judge(&again, FAULTS_OPEN, 0, EINTR);
    if (!fault && again.calls != whole.calls)
        fault = "the same run again makes other calls";
    return fault;
}

static void start_worker(pid_t *pid, const struct run_kind *kind, const char *dir, int i,
                         int workers) {
    fflush(NULL);
    *pid = fork();
    if (*pid < 0)
        err(2, "fork");
    if (*pid > 0)
        return;
    struct worker *worker = &board->workers[i];
    char own_dir[PATH_MAX];
    snprintf(own_dir, sizeof(own_dir), "%s/%d", dir, i);
    stage_make(own_dir);
    run_prepare(kind);
    const char *fault = make_baselines(kind);
    if (fault)
        complain(worker, kind, "", fault);
    else
        work(worker, kind, i, workers);
    _exit(0);
}

static void await_worker(pid_t pid, const struct run_kind *kind, struct worker *worker) {
    int status = 0;

    if (waitpid(pid, &status, 0) < 0)
        err(2, "waitpid");
    if (WIFSIGNALED(status))
        complain(worker, kind, "", WTERMSIG(status) == SIGALRM ? "hangs" : "crashes");
    else if (status != 0)
        complain(worker, kind, "", "ends the program");
}

const int suite_timeout = 0;

TEST_ROWS(single_faults, run_kinds) {
    const char *dir = suite_dir();
    int workers = (int)sysconf(_SC_NPROCESSORS_ONLN);
    pid_t pids[MOST_WORKERS];
    char all[3000] = ""; /* check has a limit of its own */
    size_t len = 0;

    workers = workers > MOST_WORKERS ? MOST_WORKERS : workers;
    board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED)
        err(2, "mmap");
    for (int i = 0; i < workers; i++)
        start_worker(&pids[i], row, dir, i, workers);
    for (int i = 0; i < workers; i++) {
        struct worker *worker = &board->workers[i];
        await_worker(pids[i], row, worker);
        board->tried += worker->tried;
        for (int n = 0; n < worker->failed && n < MOST_COMPLAINTS && len < sizeof(all); n++)
            len += (size_t)snprintf(all + len, sizeof(all) - len, "%s\n", worker->complaints[n]);
    }
    printf("%s: %ld fault points\n", row->name, board->tried);
    fflush(stdout);
    ck_assert_msg(len == 0, "%s", all);
}
