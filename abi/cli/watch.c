/* watch.c - signals and ticks, told to the engine.
 *
 * The engine runs its own loop and knows nothing of signals. So SIGINT and SIGTERM are blocked in every thread, and
 * one thread waits for them and for the next tick; what it hears it posts to the engine, where it becomes a call among
 * all others: weft_engine_post is one of the two functions that other threads may use. Nothing ever runs in a signal
 * handler.
 *
 * Shells start background jobs with SIGINT ignored; it is set back to its default, because whether a signal that is
 * both ignored and blocked waits for us or is lost, POSIX leaves open.
 *
 * Whoever has sent the first signal and no second one has waited long enough after PATIENCE: closing periods are three
 * PTOs (RFC 9000 10.2), and a peer with a long round trip, or that pretends to one, is no reason to stay. Then a second
 * signal is delivered that nobody sent.
 *
 * Invariant: at most one tick is on its way at a time, however slow the engine is.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cli.h"

#define END_SIGNAL SIGUSR1            /* tells the thread to end */
#define PATIENCE (10 * 1000000000ull) /* ns between the first signal and the second */

struct cli_watch {
    pthread_t thread;
    weft_engine engine;
    cli_watch_cb on_signal, on_tick;
    void *user;
    uint64_t tick;
    atomic_bool ticking;
    unsigned signals; /* of the thread alone */
};

static void signal_set(sigset_t *set) {
    sigemptyset(set);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGTERM);
    sigaddset(set, END_SIGNAL);
}

void cli_watch_prepare(void) {
    sigset_t set;
    signal_set(&set);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void deliver_signal(void *arg) {
    struct cli_watch *watch = arg;
    watch->on_signal(watch->user);
}

static void deliver_tick(void *arg) {
    struct cli_watch *watch = arg;
    atomic_store(&watch->ticking, false);
    watch->on_tick(watch->user);
}

/* One of the set, or -1: with EAGAIN when the time has come. */
static int wait_for_signal(const sigset_t *set, uint64_t due) {
    if (due == UINT64_MAX)
        return sigwaitinfo(set, NULL);
    uint64_t now = cli_now(), left = due > now ? due - now : 0;
    struct timespec wait = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
    return sigtimedwait(set, NULL, &wait);
}

static void *watch_thread(void *arg) {
    struct cli_watch *watch = arg;
    sigset_t set;
    signal_set(&set);
    uint64_t tick = watch->on_tick ? cli_now() + watch->tick : UINT64_MAX, end = UINT64_MAX;
    for (;;) {
        uint64_t due = tick < end ? tick : end;
        int got = wait_for_signal(&set, due);
        if (got == END_SIGNAL)
            return NULL;
        bool over = got < 0 && errno == EAGAIN;
        if (got == SIGINT || got == SIGTERM || (over && due == end)) {
            if (++watch->signals > 2)
                _exit(CLI_INTERRUPTED);
            end = watch->signals == 1 ? cli_now() + PATIENCE : UINT64_MAX;
            weft_engine_post(watch->engine, deliver_signal, watch);
        } else if (over) {
            tick += watch->tick;
            if (!atomic_exchange(&watch->ticking, true))
                weft_engine_post(watch->engine, deliver_tick, watch);
        }
    }
}

struct cli_watch *cli_watch_new(weft_engine engine, cli_watch_cb on_signal, cli_watch_cb on_tick, uint64_t tick,
                                void *user) {
    struct cli_watch *watch = calloc(1, sizeof *watch);
    if (!watch) {
        cli_error("out of memory");
        return NULL;
    }
    watch->engine = engine;
    watch->on_signal = on_signal;
    watch->on_tick = on_tick;
    watch->tick = tick;
    watch->user = user;
    if (pthread_create(&watch->thread, NULL, watch_thread, watch)) {
        cli_error("the system gives no thread to wait for signals");
        free(watch);
        return NULL;
    }
    return watch;
}

/* To be called when the engine turns no more: what is posted and not delivered still points to the watch, and is
 * dropped with the engine. */
void cli_watch_free(struct cli_watch *watch) {
    if (!watch)
        return;
    pthread_kill(watch->thread, END_SIGNAL);
    pthread_join(watch->thread, NULL);
    free(watch);
}
