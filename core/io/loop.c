/* loop.c - the turn, and the four ways to drive it.
 *
 * Knows the order of a turn and when the next one is due. Does not know sockets (loop_socket.c), the system's clock and
 * timer (loop_open.c), nor what an event means (the owner's dispatch).
 *
 * libuv's callbacks do no work: they note what is ready. The turn runs in a check handle, so once for everything one
 * poll brought. A turn that leaves work behind - a budget was used up, a pacing deadline is a few microseconds away -
 * keeps an idle handle active: libuv then polls without sleeping, and a bulk transfer pays no timer at all. Only a
 * deadline further away than LOOP_SPIN arms the timer.
 *
 * The invariant that matters: whoever sets `due` is followed by a turn; a turn that ends has either set it again, armed
 * the timer for the soonest deadline, or nothing is to be done until somebody calls or a datagram comes.
 */
#include "io/loop.h"

#include <assert.h>
#include <stdatomic.h>

#include "io/loop_impl.h"
#include "tables/errors.h"

/* A deadline this near is polled for: sleeping and waking costs as much. */
#define LOOP_SPIN (50 * BASE_US)
/* While a socket is blocked nothing can be sent: timers and the socket are looked at so often. */
#define LOOP_BLOCKED_LOOK BASE_MS
/* When so many objects have something to tell they are heard, and answered, before more is taken in: a peer that waits
 * for answers has the first of them while we work on the others. They are counted every `step` datagrams, between these
 * bounds; answers to fewer datagrams would not be worth a system call. */
#define LOOP_MANY 24u
#define LOOP_STEP_LEAST 2u
#define LOOP_STEP_MOST 64u

void io_loop_want_turn(struct io_loop *loop) {
    loop->due = true;
    if (!loop->external && !loop->closing)
        uv_idle_start(&loop->again, loop->again.idle_cb); /* does nothing when it is active */
}

/* ---- timers of io's own ---- */

bool io_timer_open(struct io_loop *loop, struct io_timer *timer, void (*fire)(struct io_timer *timer)) {
    *timer = (struct io_timer){.fire = fire};
    if (!base_heap_reserve(&loop->timers, loop->timer_count + 1))
        return false;
    loop->timer_count++;
    return true;
}

void io_timer_set(struct io_loop *loop, struct io_timer *timer, base_time when) {
    base_heap_set(&loop->timers, &timer->entry, when);
    io_loop_touch(loop);
}

void io_timer_stop(struct io_loop *loop, struct io_timer *timer) { base_heap_remove(&loop->timers, &timer->entry); }

void io_timer_close(struct io_loop *loop, struct io_timer *timer) {
    assert(loop->timer_count > 0);
    io_timer_stop(loop, timer);
    loop->timer_count--;
}

/* Those that are due; no more than there are, so that one that sets itself to "now" comes again in the next turn. */
static bool fire_timers(struct io_loop *loop, base_time now) {
    bool fired = false;
    for (uint32_t left = loop->timers.count; left; left--) {
        struct base_heap_entry *first = base_heap_first(&loop->timers);
        if (!first || first->key > now)
            break;
        base_heap_remove(&loop->timers, first);
        struct io_timer *timer = BASE_CONTAINER(first, struct io_timer, entry);
        timer->fire(timer);
        fired = true;
    }
    return fired;
}

/* ---- the turn ---- */

/* Something is to be delivered, and there is somebody to do it. */
static bool has_events(const struct io_loop *loop) {
    return loop->open.dispatch && !base_list_empty(&loop->events.line);
}

/* When a turn is due, as a time; 0: at once. */
static base_time soonest(const struct io_loop *loop, base_time now) {
    if (loop->due || has_events(loop))
        return 0;
    base_time when = quic_endpoint_deadline(&loop->endpoint);
    if (loop->blocked)
        when = now + LOOP_BLOCKED_LOOK;
    const struct base_heap_entry *first = base_heap_first(&loop->timers);
    if (first)
        when = base_time_min(when, first->key);
    return loop->starved ? base_time_min(when, loop->resume_at) : when;
}

/* Sleeps as long as it may. */
static void plan(struct io_loop *loop) {
    base_time now = io_loop_now(loop), when = soonest(loop, now);
    loop->turned_at = now;
    if (when <= now || when - now <= LOOP_SPIN) {
        io_loop_want_turn(loop);
        return;
    }
    uv_idle_stop(&loop->again);
    io_loop_arm(loop, when, now);
    /* A connection that waits for its peer keeps the loop running though no handle says so. */
    bool alive = loop->endpoint.conn_count > 0 || when != BASE_NEVER;
    if (alive)
        uv_ref((uv_handle_t *)&loop->check);
    else
        uv_unref((uv_handle_t *)&loop->check);
}

/* What was taken in is told, and what comes of it said. Trains sent. */
static unsigned answer(struct io_loop *loop) {
    if (loop->open.dispatch)
        loop->open.dispatch(loop->open.user);
    quic_endpoint_settle(&loop->endpoint);
    loop->answered = loop->events.joined;
    return io_sockets_send(loop);
}

/* The next step: what brings LOOP_MANY objects if it goes on like this; at most twice the last, and no more than that
 * when fewer came: lone ACKs say nothing of what the next train brings. */
static void adapt_step(struct io_loop *loop, size_t datagrams, uint64_t objects) {
    uint64_t fit = objects ? datagrams * LOOP_MANY / objects : LOOP_STEP_MOST;
    uint64_t most = datagrams < loop->step ? loop->step : 2 * loop->step;
    fit = fit < most ? fit : most;
    loop->step = fit < LOOP_STEP_LEAST ? LOOP_STEP_LEAST : fit < LOOP_STEP_MOST ? (unsigned)fit : LOOP_STEP_MOST;
}

void io_loop_take_in(struct io_loop *loop, const struct quic_datagram *datagrams, size_t count) {
    for (size_t at = 0, some; at < count; at += some) {
        uint64_t before = loop->events.joined;
        some = count - at < loop->step ? count - at : loop->step;
        quic_endpoint_input(&loop->endpoint, datagrams + at, some, io_loop_now(loop));
        adapt_step(loop, some, loop->events.joined - before);
        if (at + some < count && loop->events.joined - loop->answered >= LOOP_MANY && io_sockets_may_send(loop))
            answer(loop);
    }
}

static bool turn(struct io_loop *loop) {
    assert(!loop->in_turn && !loop->closing);
    loop->in_turn = true;
    loop->due = false;
    loop->turn_trains = 0;
    loop->turn_bytes = 0;
    atomic_store_explicit(&loop->woken, false, memory_order_relaxed); /* before looking at what the waker left */

    bool work = io_sockets_receive(loop) > 0;
    base_time now = io_loop_now(loop);
    work = quic_endpoint_deadline(&loop->endpoint) <= now || work;
    quic_endpoint_tick(&loop->endpoint, now);
    work = fire_timers(loop, now) || work;
    work = has_events(loop) || work;
    work = answer(loop) > 0 || work;
    if (loop->in_buf)
        base_buf_unref(loop->in_buf);
    loop->in_buf = NULL;
    io_sockets_retire(loop);

    if (work)
        loop->endpoint.stats.turns++;
    loop->worked = work;
    loop->in_turn = false;
    if (!loop->external)
        plan(loop);
    return work;
}

void io_loop_on_check(uv_check_t *check) {
    struct io_loop *loop = (struct io_loop *)check->data;
    loop->unapplied = false; /* the poll that just ended told the kernel */
    if (loop->due)
        turn(loop);
}

/* ---- drivers ---- */

int io_loop_run(struct io_loop *loop) {
    if (!loop->owns_uv || loop->running || loop->in_turn)
        return ERR_STATE;
    if (!loop->stopping) {
        loop->running = true;
        io_loop_want_turn(loop); /* whatever was changed since the last turn */
        uv_run(loop->uv, UV_RUN_DEFAULT);
        loop->running = false;
    }
    loop->stopping = false;
    return 0;
}

void io_loop_stop(struct io_loop *loop) {
    loop->stopping = true;
    if (loop->running)
        uv_stop(loop->uv);
}

void io_loop_stay(struct io_loop *loop) {
    assert(loop->owns_uv);
    uv_ref((uv_handle_t *)&loop->async);
}

int io_loop_turn(struct io_loop *loop) {
    if (loop->in_turn || loop->running)
        return 0;
    if (!loop->owns_uv)
        return turn(loop);
    loop->worked = false;
    loop->running = true;
    io_loop_want_turn(loop);
    uv_run(loop->uv, UV_RUN_NOWAIT);
    loop->running = false;
    return loop->worked;
}

int io_loop_fd(const struct io_loop *loop) { return loop->external ? -1 : uv_backend_fd(loop->uv); }

base_time io_loop_deadline(struct io_loop *loop) {
    if (loop->unapplied || atomic_load_explicit(&loop->woken, memory_order_relaxed))
        return 0;
    base_time now = io_loop_now(loop), when = soonest(loop, now);
    base_time wait = when == BASE_NEVER ? BASE_NEVER : when > now ? when - now : 0;
    if (loop->external || !uv_loop_alive(loop->uv)) /* libuv says "now" of a loop with nothing to wait for */
        return wait;
    int uv_wait = uv_backend_timeout(loop->uv);
    return uv_wait < 0 ? wait : base_time_min(wait, (base_time)uv_wait * BASE_MS);
}

void io_loop_wake(struct io_loop *loop) {
    if (loop->external)
        atomic_store_explicit(&loop->woken, true, memory_order_release);
    else
        uv_async_send(&loop->async);
}

void io_loop_touch(struct io_loop *loop) {
    if (loop->in_turn) /* it looks for output anyway */
        return;
    loop->turned_at = BASE_NEVER;
    io_loop_want_turn(loop);
}

base_time io_loop_now(struct io_loop *loop) { return loop->open.clock(loop->open.clock_user); }

/* ---- external I/O ---- */

#define INPUT_GROUP 32u /* datagrams handed to the endpoint at a time */

/* A buffer with room for `len` bytes: the one in use, or a fresh one. */
static struct base_buf *input_buf(struct io_loop *loop, size_t len) {
    if (loop->in_buf && loop->in_buf->size - loop->in_used < len) {
        base_buf_unref(loop->in_buf);
        loop->in_buf = NULL;
    }
    if (!loop->in_buf) {
        loop->in_buf = base_buf_get(&loop->bufs);
        loop->in_used = 0;
    }
    return loop->in_buf;
}

int io_loop_input(struct io_loop *loop, const struct quic_datagram *from, size_t segment) {
    if (!loop->external || loop->in_turn)
        return ERR_STATE;
    if (from->len > BASE_BUF_SIZE)
        return ERR_TOO_LARGE;
    if (from->len == 0)
        return 0;
    struct base_buf *buf = input_buf(loop, from->len);
    if (!buf) {
        loop->endpoint.stats.datagrams_refused += (from->len + segment - 1) / segment;
        return ERR_NOMEM;
    }
    uint8_t *data = buf->data + loop->in_used;
    memcpy(data, from->data, from->len);
    loop->in_used += from->len;
    loop->due = true;
    base_time now = io_loop_now(loop);
    struct quic_datagram group[INPUT_GROUP];
    size_t count = 0;
    for (size_t at = 0; at < from->len; at += segment) {
        group[count] = *from;
        group[count].buf = buf;
        group[count].data = data + at;
        group[count++].len = from->len - at < segment ? from->len - at : segment;
        if (count == INPUT_GROUP || from->len - at <= segment) {
            quic_endpoint_input(&loop->endpoint, group, count, now);
            count = 0;
        }
    }
    return 0;
}

bool io_loop_output(struct io_loop *loop, struct quic_train *train) {
    return !loop->in_turn && quic_endpoint_output(&loop->endpoint, train, io_loop_now(loop));
}
