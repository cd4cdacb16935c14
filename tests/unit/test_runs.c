/* SPDX-License-Identifier: MIT
 *
 * In runs of both plugins, every call fails once with each error, or transfers less than requested.
 * No value may be wrong, nothing may leak, and some ticks later the plugins must have recovered.
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

/* ---- faults ---- */

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

/* Memory fails with ENOMEM only, and only reads and writes can be short. */
static bool can_fail(enum faults_call call, int how) {
    if (call == FAULTS_MEMORY)
        return how == ENOMEM;
    if (call == FAULTS_THREAD)
        return how == EAGAIN;
    return how > 0 || call == FAULTS_PREAD || call == FAULTS_READ || call == FAULTS_WRITE;
}

/* Returns whether the call can be repeated or continued without a loss. */
static bool is_harmless(int how) {
    return how == EINTR || how < 0;
}

/* Returns whether the next tick succeeds. */
static bool is_transient(int how) {
    return how == EAGAIN || how == EMFILE || how == ENOMEM;
}

/* ---- expected results ---- */

enum { PIDS_MAX = 16 };

static struct run whole;             /* a run without faults */
static struct run without[PIDS_MAX]; /* runs without faults and without one process */
static unsigned char calls[20000];   /* the calls of whole */

/* As run_find(), but tries the index near first. */
static const struct run_value *find_near(const struct run_tick *tick, int near, const char *key) {
    if (near < tick->count && strcmp(tick->values[near].key, key) == 0)
        return &tick->values[near];
    return run_find(tick, key);
}

/* The value of a counter after a gap: Netdata draws its growth as that of one tick, so the plugin
 * sends the part of one tick. */
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

/* Returns the first value of a tick that differs from want or is not in it, or NULL. */
static const struct run_value *first_wrong(const struct run *run, int tick,
                                           const struct run_tick *want, bool of_consumers) {
    const struct run_tick *got = &run->ticks[tick];

    for (int i = 0; i < got->count; i++) {
        const struct run_value *value = &got->values[i];
        /* Rates differ after a missing reading. */
        if (run_is_consumers(value->key) != of_consumers || run_is_rate(value->key))
            continue;
        const struct run_value *right = find_near(want, i, value->key);
        if (!right)
            return value;
        if (value->number != (right->incremental ? after_gap(run, tick, right) : right->number))
            return value;
    }
    return NULL;
}

/* Returns the index of the process whose file path is, or -1. */
static int process_of(const char *path) {
    char of_pid[32];

    for (int i = 0; scripted_host_pid(i); i++) {
        snprintf(of_pid, sizeof(of_pid), "/%d/", scripted_host_pid(i));
        const char *dir = strstr(path, of_pid);
        if (dir || strncmp(path, of_pid + 1, strlen(of_pid + 1)) == 0)
            return i;
    }
    return -1;
}

/* Values of consumers must be right, or those without the process whose file failed: it may have
 * exited, or be unreadable. */
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

/* Returns a message about the first missing value of a tick, or NULL. */
static const char *find_missing(const struct run *run, int tick, bool host_only) {
    static char message[512];
    const struct run_tick *want = &whole.ticks[tick];

    for (int i = 0; i < want->count; i++) {
        const char *key = want->values[i].key;
        /* ksmd is searched once a minute. */
        if (host_only && (run_is_consumers(key) || run_is_ksmd(key) || run_is_rate(key)))
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

/* Returns whether the fault may end ksm.plugin, or keep a plugin from starting. */
static bool may_exit(enum faults_call call, const struct run *run, int how) {
    if (run->reached == 0)
        return call == FAULTS_OPENDIR || call == FAULTS_FSTATFS;
    return (call == FAULTS_WRITE && how != EAGAIN) || (call == FAULTS_READ && how != EAGAIN);
}

static const char *check_recovery(const struct run *run, enum faults_call call, int nth, int how) {
    int tick = tick_of(run, nth);

    if (is_harmless(how)) {
        for (int i = 0; i < HOST_STATES; i++)
            if (find_missing(run, i, false))
                return find_missing(run, i, false);
        if (run->stream_len != whole.stream_len ||
            memcmp(run->stream, whole.stream, run->stream_len) != 0)
            return "other lines were sent";
        return NULL;
    }
    if (run->reached < HOST_STATES)
        return may_exit(call, run, how) ? NULL : "it ended";
    if (tick == HOST_STATES - 1)
        return NULL;
    if (is_transient(how) && find_missing(run, tick + 1, true))
        return find_missing(run, tick + 1, true);
    if (find_missing(run, HOST_STATES - 2, false))
        return find_missing(run, HOST_STATES - 2, false);
    return find_missing(run, HOST_STATES - 1, false);
}

static const char *check_leaks(const struct run *run) {
    static char message[128];

    if (run->descriptors == 0 && run->blocks == 0)
        return NULL;
    snprintf(message, sizeof(message), "%d descriptors and %d blocks of memory are left",
             run->descriptors, run->blocks);
    return message;
}

static const char *check_run(const struct run *run, enum faults_call call, int nth, int how) {
    const char *fault = *run->wrong ? run->wrong : wrong_number(run, how);

    if (!fault)
        fault = check_recovery(run, call, nth, how);
    return fault ? fault : check_leaks(run);
}

/* ---- all faults, in parallel processes ---- */

enum { WORKERS_MAX = 16, MESSAGES_MAX = 5 };

/* Results, in shared memory. */
static struct results {
    long tried;
    struct worker {
        long tried;
        int nth; /* the current call, also if it crashes the worker */
        int how;
        enum faults_call call;
        int failed;
        char messages[MESSAGES_MAX][1024];
    } workers[WORKERS_MAX];
} * results;

static void add_failure(struct worker *worker, const struct run_kind *kind, const char *path,
                        const char *fault) {
    if (worker->failed < MESSAGES_MAX)
        snprintf(worker->messages[worker->failed], sizeof(worker->messages[0]),
                 "%s: call %d, %s, %s (\"%.200s\"): %.500s", kind->name, worker->nth,
                 worker->nth > 0 ? call_names[worker->call] : "none",
                 worker->nth > 0 ? way_name(worker->how) : "no fault", path, fault);
    worker->failed++;
}

static void try_fault(struct worker *worker, const struct run_kind *kind) {
    enum { TIMEOUT_SECONDS = 120 };
    static struct run run;
    enum faults_call call = calls[worker->nth - 1];

    worker->call = call;
    alarm(TIMEOUT_SECONDS);
    run_once(kind, &run, 0, worker->nth, worker->how);
    alarm(0);
    worker->tried++;
    const char *fault = check_run(&run, call, worker->nth, worker->how);
    if (fault)
        add_failure(worker, kind, run.path, fault);
}

/* KSM_FAULTS=all: every fault; a number n: every nth fault; default: every 7th, which is fast
 * enough for make check. 7 and the number of ways have no common divisor, so all calls and ways
 * occur. */
static int stride(void) {
    const char *given = getenv("KSM_FAULTS");

    if (!given)
        return 7;
    return strcmp(given, "all") == 0 || atoi(given) < 1 ? 1 : atoi(given);
}

/* Tries the faults of one worker, in the first ticks, and in the last tick and after it. */
static void try_faults(struct worker *worker, const struct run_kind *kind, int self, int workers) {
    const int step = stride();
    long possible = 0;

    for (int nth = 1; nth <= whole.calls; nth++) {
        int tick = tick_of(&whole, nth);
        if (tick >= HOST_FAULTS && tick < HOST_STATES - 1)
            continue;
        for (int i = 0; i < WAYS; i++) {
            worker->nth = nth;
            worker->how = way(i);
            if (!can_fail(calls[nth - 1], worker->how))
                continue;
            long n = possible++;
            if (n % step == 0 && n / step % workers == self)
                try_fault(worker, kind);
        }
    }
}

static bool has_consumers(const struct run_tick *tick) {
    for (int i = 0; i < tick->count; i++)
        if (run_is_consumers(tick->values[i].key))
            return true;
    return false;
}

/* Runs without faults. Returns a message about a failure, or NULL. */
static const char *make_baselines(const struct run_kind *kind) {
    static struct run again;
    const unsigned char *log = NULL;

    for (int i = 0; scripted_host_pid(i); i++)
        run_once(kind, &without[i], scripted_host_pid(i), 0, 0);
    run_once(kind, &again, 0, 0, 0);
    run_once(kind, &whole, 0, 0, 0);
    faults_calls(&log);
    memcpy(calls, log, (size_t)whole.calls);
    if (*whole.wrong)
        return whole.wrong;
    if (whole.reached < HOST_STATES || whole.status != 0)
        return "it ended";
    if (!has_consumers(&whole.ticks[0]) || !memchr(calls, FAULTS_THREAD, (size_t)whole.calls))
        return "no consumers are sent, or no thread is started";
    const char *fault = check_run(&again, FAULTS_OPEN, 0, EINTR);
    if (!fault && again.calls != whole.calls)
        fault = "the same run makes different calls";
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
    struct worker *worker = &results->workers[i];
    char worker_dir[PATH_MAX];
    snprintf(worker_dir, sizeof(worker_dir), "%s/%d", dir, i);
    scripted_host_make(worker_dir);
    run_prepare(kind);
    const char *fault = make_baselines(kind);
    if (fault)
        add_failure(worker, kind, "", fault);
    else
        try_faults(worker, kind, i, workers);
    _exit(0);
}

static void await_worker(pid_t pid, const struct run_kind *kind, struct worker *worker) {
    int status = 0;

    if (waitpid(pid, &status, 0) < 0)
        err(2, "waitpid");
    if (WIFSIGNALED(status))
        add_failure(worker, kind, "", WTERMSIG(status) == SIGALRM ? "hangs" : "crashes");
    else if (status != 0)
        add_failure(worker, kind, "", "ends the program");
}

const int suite_timeout = 0;

TEST_ROWS(plugins_recover_from_every_single_fault, run_kinds) {
    const char *dir = suite_dir();
    int workers = (int)sysconf(_SC_NPROCESSORS_ONLN);
    pid_t pids[WORKERS_MAX];
    char all[3000] = ""; /* the library check has a limit */
    size_t len = 0;

    workers = workers > WORKERS_MAX ? WORKERS_MAX : workers;
    results =
        mmap(NULL, sizeof(*results), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (results == MAP_FAILED)
        err(2, "mmap");
    for (int i = 0; i < workers; i++)
        start_worker(&pids[i], row, dir, i, workers);
    for (int i = 0; i < workers; i++) {
        struct worker *worker = &results->workers[i];
        await_worker(pids[i], row, worker);
        results->tried += worker->tried;
        for (int n = 0; n < worker->failed && n < MESSAGES_MAX && len < sizeof(all); n++)
            len += (size_t)snprintf(all + len, sizeof(all) - len, "%s\n", worker->messages[n]);
    }
    printf("%s: %ld fault points\n", row->name, results->tried);
    fflush(stdout);
    ck_assert_msg(len == 0, "%s", all);
}
