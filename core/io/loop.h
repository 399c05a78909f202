/* loop.h - one engine's turn: the only place where the core meets the operating system's clock, sockets and timers.
 *
 * A turn is always the same: receive (within a budget) -> timers -> dispatch (the owner's function: user code runs here
 * and nowhere else) -> settle -> send -> arm the timer. When what is received concerns many, they are told, settled and
 * answered between one part of it and the next. It is driven by libuv (a loop of our own, or one that the
 * caller gives), by a caller who watches io_loop_fd and io_loop_deadline, or, with no sockets at all, by a caller who
 * moves datagrams himself (io_loop_input, io_loop_output).
 *
 * Invariant: the endpoint is entered only within a turn or by an API call of the owning thread, never from two places
 * at once; leftover work is rescheduled (uv_idle / deadline 0), never dropped.
 */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <uv.h>

#include "base/mem.h"
#include "io/udp.h"

struct io_loop_open {
    struct base_mem *mem;
    uv_loop_t *uv;                      /* the caller's loop, or NULL: one of our own */
    bool external;                      /* no libuv at all: the caller does the I/O */
    base_time (*clock)(void *user);     /* ns, monotonic; NULL = the system's */
    uint64_t (*wall_clock)(void *user); /* ns since 1970; NULL = the system's */
    void *clock_user;
    struct base_random random; /* fill NULL = the system's */
    uint8_t engine;
    uint16_t handle_tag;
    const uint8_t *fleet_secret;          /* needed during io_loop_init only */
    uint32_t receive_buffer, send_buffer; /* socket buffers to ask for; 0 = default 4 MiB */
    uint32_t features;                    /* enum io_udp_feature mask, normally IO_UDP_ALL */
    void (*dispatch)(void *user);         /* deliver events; may call anything but io_loop_close */
    void *user;
};

struct io_socket; /* an io_udp watched by the loop */
struct io_seat;   /* among the engines of a pool: handover.h */
struct io_loop;

/* Something io itself has to do at a time. Fires once, within a turn, before dispatch; may set itself again. */
struct io_timer {
    struct base_heap_entry entry;
    void (*fire)(struct io_timer *timer);
};

struct io_loop {
    struct base_mem *mem;
    uv_loop_t *uv, own;
    bool owns_uv, external, in_turn, running, stopping, closing;
    bool due;             /* a turn is wanted now */
    bool worked;          /* the last turn had work */
    bool unapplied;       /* libuv has yet to tell the kernel what it watches: its fd is not to be trusted */
    bool starved;         /* no receive buffer was left: sockets rest until `resume_at` */
    bool timer_fired;     /* timer_fd is readable */
    struct io_seat *seat; /* NULL: it has no siblings */
    base_time turned_at;  /* the last turn ended; BASE_NEVER: its owner has called since */
    _Atomic bool woken;   /* external: io_loop_wake was called */
    int timer_fd;         /* -1: this system has none, `coarse` is used */
    uv_poll_t timer;
    uv_timer_t coarse;
    uv_async_t async;
    uv_check_t check;      /* runs the turn, once for all that an iteration brought */
    uv_idle_t again;       /* active while a turn is due: the loop does not sleep */
    unsigned open_handles; /* uv handles and requests that are not closed yet */
    struct quic_endpoint endpoint;
    struct base_slots slots;
    struct base_events events;
    uint64_t answered;    /* events.joined when they were last told, and answered */
    unsigned step;        /* datagrams taken in before that is looked at */
    unsigned turn_trains; /* sent in this turn, */
    size_t turn_bytes;    /* and what they held */
    struct base_bufpool bufs;
    struct base_list sockets, readable;
    struct base_list released;    /* connected sockets that nobody uses any more */
    uint64_t connected;           /* sockets of one connection each */
    struct io_socket *clients[2]; /* shared client sockets: IPv4, IPv6 */
    unsigned blocked;             /* sockets that keep a train */
    unsigned retiring;            /* sockets that close when no connection uses them any more */
    uint64_t retire_seen;         /* connections and paths that were gone when they were last looked at */
    struct base_heap timers;
    unsigned timer_count; /* timers that may be set: room is reserved for them */
    uint8_t *train_data;
    struct base_buf *in_buf; /* external: datagrams given in this turn */
    size_t in_used;
    struct io_loop_open open;
    base_time armed_for, resume_at;
    void (*on_closed)(void *user);
    void *closed_user;
};

/* 0, or ERR_NOMEM / ERR_IO with a text. The struct must not move afterwards. */
int io_loop_init(struct io_loop *loop, const struct io_loop_open *open, struct crypto_error *why);
/* Frees all connections silently, closes sockets and handles. Not from within a turn; races and questions to the
 * resolver are cancelled before. On our own loop (or none) all is gone, and on_closed (may be NULL) was called, when
 * it returns - a name look-up under way holds it up; on a caller's loop the handles finish closing there and on_closed
 * tells when the struct and its allocator may go. */
void io_loop_close(struct io_loop *loop, void (*on_closed)(void *user), void *user);

/* Runs turns until io_loop_stop (also one called before), or until nothing is left to wait for: 0. Own loop only, not
 * from within a turn: ERR_STATE. */
int io_loop_run(struct io_loop *loop);
void io_loop_stop(struct io_loop *loop);
/* io_loop_run does not end for want of something to wait for. Own loop only. */
void io_loop_stay(struct io_loop *loop);
/* One turn without waiting. Returns 1 when there was work, 0 when not (and always 0 from within a turn). On our own
 * loop it looks at the sockets; on a caller's loop what his last poll found is all there is. */
int io_loop_turn(struct io_loop *loop);
/* For a caller's own poll: readable when a turn is due, -1 in external mode. Our timer is among what it watches:
 * beside it only a deadline of 0 needs attention. */
int io_loop_fd(const struct io_loop *loop);
/* ns until a turn is due anyway: 0 now, BASE_NEVER never. */
base_time io_loop_deadline(struct io_loop *loop);
/* From any thread: makes the loop turn soon. (External: makes the deadline 0; waking the caller is his.) */
void io_loop_wake(struct io_loop *loop);
/* The owning thread changed something outside of a turn: output will be looked for soon. */
void io_loop_touch(struct io_loop *loop);
base_time io_loop_now(struct io_loop *loop);

/* A socket for listening or connecting; shared by many connections. ERR_* with text. External: a name for the caller's
 * socket, of which `local` is believed. */
int io_loop_open_socket(struct io_loop *loop, const struct io_udp_open *open, struct io_socket **out,
                        struct crypto_error *why);
struct quic_socket *io_socket_core(struct io_socket *socket);
/* The listener is taken off at once; the socket itself closes when no connection uses it any more. */
void io_loop_close_socket(struct io_loop *loop, struct io_socket *socket);
/* The shared client socket of an address family (opened at first use). */
int io_loop_client_socket(struct io_loop *loop, uint8_t family, struct io_socket **out, struct crypto_error *why);

/* External I/O: trains in (copied) and out; then io_loop_turn dispatches. `from` describes what comes in: its data are
 * `from->len` bytes in datagrams of `segment` bytes each, the last may be shorter; its buf is not looked at. Input: 0,
 * ERR_STATE (not external, or within a turn), ERR_TOO_LARGE (than a buffer), ERR_NOMEM (all of it is lost). */
int io_loop_input(struct io_loop *loop, const struct quic_datagram *from, size_t segment);
bool io_loop_output(struct io_loop *loop, struct quic_train *train);

/* ---- inside the room ---- */

/* Reserves room, so that setting never fails; false: out of memory. Each open is paired with a close. */
bool io_timer_open(struct io_loop *loop, struct io_timer *timer, void (*fire)(struct io_timer *timer));
void io_timer_set(struct io_loop *loop, struct io_timer *timer, base_time when); /* 0: in the next turn */
void io_timer_stop(struct io_loop *loop, struct io_timer *timer);
void io_timer_close(struct io_loop *loop, struct io_timer *timer);
/* A uv handle or request was opened; it is closed: the last one ends a closing loop. */
void io_loop_hold(struct io_loop *loop);
void io_loop_release(struct io_loop *loop);

#endif
