/* loop_open.c - how a loop begins and ends, and the system's services it brings: clocks, randomness, a timer.
 *
 * Knows libuv's handles and their asynchronous end. Does not know what happens in a turn.
 *
 * The timer is a timerfd: nanoseconds where libuv has milliseconds, and the caller who watches io_loop_fd gets it for
 * free. It is set only when the soonest deadline moved earlier or it has fired; setting it also takes away its
 * readability, so it is never read. A deadline that moved later finds the timer firing early, once: cheaper than a
 * system call for every acknowledgement. Where there is no timerfd, libuv's timer does.
 *
 * The invariant that matters: `open_handles` counts every handle and request libuv still knows; the struct and its
 * allocator are in use until it is 0.
 */
#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "crypto/tls.h"
#include "io/handover.h"
#include "io/loop_impl.h"
#include "tables/errors.h"

#define LOOP_BUFFER (4u << 20)               /* asked for sockets: a burst of handshakes, or 3 ms at 10 Gbit/s */
#define LOOP_BUFFERS_KEPT (2 * IO_UDP_BATCH) /* receive buffers at rest: what a busy turn goes through */

/* ---- the system's clocks and randomness ---- */

static uint64_t read_clock(clockid_t id) {
    struct timespec t;
    clock_gettime(id, &t); /* cannot fail for these two clocks */
    return (uint64_t)t.tv_sec * BASE_SEC + (uint64_t)t.tv_nsec;
}

static base_time system_clock(void *user) {
    (void)user;
    return read_clock(CLOCK_MONOTONIC);
}

static uint64_t system_wall_clock(void *user) {
    (void)user;
    return read_clock(CLOCK_REALTIME);
}

static void system_random(void *user, uint8_t *out, size_t len) {
    (void)user;
    if (!crypto_random(out, len))
        abort(); /* no randomness, no cryptography: there is no way to go on that is not a lie */
}

/* ---- the timer ---- */

static void on_timer_fd(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct io_loop *loop = (struct io_loop *)poll->data;
    loop->timer_fired = true;
    loop->due = true;
}

static void on_coarse_timer(uv_timer_t *timer) {
    struct io_loop *loop = (struct io_loop *)timer->data;
    loop->timer_fired = true;
    io_loop_want_turn(loop); /* timers run before the poll, which must not sleep now */
}

static void arm_fd(struct io_loop *loop, base_time wait) {
    struct itimerspec spec = {0}; /* all 0 takes the timer off */
    if (wait != BASE_NEVER) {
        spec.it_value.tv_sec = (time_t)(wait / BASE_SEC);
        spec.it_value.tv_nsec = (long)(wait % BASE_SEC);
    }
    timerfd_settime(loop->timer_fd, 0, &spec, NULL);
}

static void arm_coarse(struct io_loop *loop, base_time wait) {
    if (wait == BASE_NEVER) {
        uv_timer_stop(&loop->coarse);
        return;
    }
    uv_update_time(loop->uv);
    uv_timer_start(&loop->coarse, on_coarse_timer, wait / BASE_MS + 1, 0);
    uv_unref((uv_handle_t *)&loop->coarse);
}

void io_loop_arm(struct io_loop *loop, base_time when, base_time now) {
    if (!loop->timer_fired && loop->armed_for <= when)
        return;
    base_time wait = when == BASE_NEVER ? BASE_NEVER : when - now;
    if (loop->timer_fd >= 0)
        arm_fd(loop, wait);
    else
        arm_coarse(loop, wait);
    loop->armed_for = when;
    loop->timer_fired = false;
}

/* ---- handles ---- */

void io_loop_hold(struct io_loop *loop) { loop->open_handles++; }

static void finish(struct io_loop *loop) {
    if (loop->owns_uv) {
        int result = uv_loop_close(loop->uv);
        assert(result == 0);
        (void)result;
    }
    if (loop->on_closed)
        loop->on_closed(loop->closed_user);
}

void io_loop_release(struct io_loop *loop) {
    assert(loop->open_handles > 0);
    if (--loop->open_handles == 0 && loop->closing && !loop->owns_uv)
        finish(loop);
}

static void on_handle_closed(uv_handle_t *handle) { io_loop_release((struct io_loop *)handle->data); }

static void on_async(uv_async_t *async) { ((struct io_loop *)async->data)->due = true; }

static void on_again(uv_idle_t *idle) { ((struct io_loop *)idle->data)->due = true; }

/* None of these keeps the loop alive by being there; `again` does while it is active. */
static void adopt(struct io_loop *loop, uv_handle_t *handle, bool keeps_alive) {
    handle->data = loop;
    if (!keeps_alive)
        uv_unref(handle);
    io_loop_hold(loop);
}

static void open_timer(struct io_loop *loop) {
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->timer_fd >= 0 && uv_poll_init(loop->uv, &loop->timer, loop->timer_fd) == 0) {
        uv_poll_start(&loop->timer, UV_READABLE, on_timer_fd);
        adopt(loop, (uv_handle_t *)&loop->timer, false);
        return;
    }
    if (loop->timer_fd >= 0)
        close(loop->timer_fd);
    loop->timer_fd = -1;
    uv_timer_init(loop->uv, &loop->coarse);
    adopt(loop, (uv_handle_t *)&loop->coarse, false);
}

/* The first handle is the only one that can fail to open, so nothing is half open when it does. */
static int open_handles(struct io_loop *loop) {
    if (loop->owns_uv && uv_loop_init(&loop->own) != 0)
        return ERR_IO;
    loop->uv = loop->owns_uv ? &loop->own : loop->open.uv;
    if (uv_async_init(loop->uv, &loop->async, on_async) != 0) {
        if (loop->owns_uv)
            uv_loop_close(loop->uv);
        return ERR_IO;
    }
    adopt(loop, (uv_handle_t *)&loop->async, false);
    uv_check_init(loop->uv, &loop->check);
    uv_check_start(&loop->check, io_loop_on_check);
    adopt(loop, (uv_handle_t *)&loop->check, false);
    uv_idle_init(loop->uv, &loop->again);
    uv_idle_start(&loop->again, on_again); /* the first turn tells the kernel what is watched */
    adopt(loop, (uv_handle_t *)&loop->again, true);
    open_timer(loop);
    return 0;
}

/* ---- birth and end ---- */

static void clear_core(struct io_loop *loop) {
    base_heap_clear(&loop->timers);
    base_slots_clear(&loop->slots);
    base_bufpool_clear(&loop->bufs);
    base_free(loop->mem, loop->train_data, QUIC_TRAIN_SIZE);
    loop->train_data = NULL;
}

static void set_defaults(struct io_loop *loop) {
    struct io_loop_open *open = &loop->open;
    if (!open->clock)
        open->clock = system_clock;
    if (!open->wall_clock)
        open->wall_clock = system_wall_clock;
    if (!open->random.fill)
        open->random = (struct base_random){
            .fill = system_random,
        };
    if (!open->receive_buffer)
        open->receive_buffer = LOOP_BUFFER;
    if (!open->send_buffer)
        open->send_buffer = LOOP_BUFFER;
}

static int open_core(struct io_loop *loop) {
    base_slots_init(&loop->slots, loop->mem, loop->open.handle_tag);
    base_events_init(&loop->events);
    loop->step = 1;
    base_bufpool_init(&loop->bufs, loop->mem, LOOP_BUFFERS_KEPT, 0);
    base_list_init(&loop->sockets);
    base_list_init(&loop->readable);
    base_list_init(&loop->released);
    base_heap_init(&loop->timers, loop->mem);
    loop->train_data = (uint8_t *)base_alloc(loop->mem, QUIC_TRAIN_SIZE);
    struct quic_endpoint_open open = {.mem = loop->mem,
                                      .random = loop->open.random,
                                      .slots = &loop->slots,
                                      .events = &loop->events,
                                      .bufs = &loop->bufs,
                                      .engine = loop->open.engine,
                                      .fleet_secret = loop->open.fleet_secret,
                                      .unix_ns = loop->open.wall_clock(loop->open.clock_user)};
    int result = loop->train_data ? quic_endpoint_init(&loop->endpoint, &open, io_loop_now(loop)) : ERR_NOMEM;
    if (result != 0)
        clear_core(loop);
    return result;
}

int io_loop_init(struct io_loop *loop, const struct io_loop_open *open, struct crypto_error *why) {
    assert(!open->external || !open->uv);
    memset(loop, 0, sizeof *loop);
    loop->mem = open->mem;
    loop->open = *open;
    set_defaults(loop);
    loop->external = open->external;
    loop->owns_uv = !open->external && !open->uv;
    loop->timer_fd = -1;
    loop->armed_for = loop->turned_at = BASE_NEVER;
    atomic_init(&loop->woken, false);
    int result = open_core(loop);
    if (result == 0 && !loop->external) {
        result = open_handles(loop);
        if (result != 0) {
            quic_endpoint_clear(&loop->endpoint);
            clear_core(loop);
        }
    }
    loop->open.fleet_secret = NULL;
    loop->due = true;
    if (result != 0 && why)
        snprintf(why->text, sizeof why->text, "%s",
                 result == ERR_NOMEM ? "out of memory" : "the system gives no event loop (descriptors used up?)");
    return result;
}

void io_loop_close(struct io_loop *loop, void (*on_closed)(void *user), void *user) {
    assert(!loop->in_turn && !loop->running && !loop->closing && loop->timer_count == 0);
    io_exchange_leave(loop);
    loop->closing = true;
    loop->on_closed = on_closed;
    loop->closed_user = user;
    if (loop->in_buf)
        base_buf_unref(loop->in_buf);
    quic_endpoint_clear(&loop->endpoint);
    io_sockets_close_all(loop);
    clear_core(loop);
    if (loop->external) {
        finish(loop);
        return;
    }
    uv_close((uv_handle_t *)&loop->async, on_handle_closed);
    uv_close((uv_handle_t *)&loop->check, on_handle_closed);
    uv_close((uv_handle_t *)&loop->again, on_handle_closed);
    if (loop->timer_fd >= 0) {
        uv_close((uv_handle_t *)&loop->timer, on_handle_closed);
        close(loop->timer_fd);
    } else {
        uv_close((uv_handle_t *)&loop->coarse, on_handle_closed);
    }
    if (!loop->owns_uv)
        return; /* the caller's loop calls io_loop_release for each, the last finishes */
    while (loop->open_handles)
        uv_run(loop->uv, UV_RUN_DEFAULT);
    finish(loop);
}
