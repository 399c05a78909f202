/* nif.h - what the files of the NIF share: objects, commands, and who may touch what.
 *
 * Two kinds of thread meet here. Schedulers run Erlang code and call NIFs; an engine's thread runs the core. They share
 * exactly this: an engine's command queue, the atomics marked so below, and reference counts. All else of an object
 * belongs to its engine's thread. So a NIF does three things and returns: it checks its arguments, copies them into a
 * command, and appends that to the queue. What the engine has to say comes as a message.
 *
 * Objects are VM resources. Erlang holds references through terms; the engine's side holds one from the moment the
 * core knows the object until its last event. When that has come an object is a tombstone of a few words: it answers
 * why it ended, and goes when the last term does.
 *
 * The invariant that matters: every command that asked for an answer is answered exactly once, whatever happens to the
 * object, its connection or the engine; and after an object's last event nothing of it is in the core.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef WEFT_NIF_H
#define WEFT_NIF_H

#include <erl_nif.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <weft/weft.h>

typedef ERL_NIF_TERM term;

/* ---- memory: the VM's allocator, so that its tools see it; malloc where a sanitizer should ---- */

#if defined(__SANITIZE_ADDRESS__)
#include <stdlib.h>
#define nif_alloc malloc
#define nif_free free
#else
#define nif_alloc enif_alloc
#define nif_free enif_free
#endif
void *nif_alloc_zero(size_t size);

/* ---- atoms (term.c): the same numbers for as long as the VM lives ---- */

#define NIF_ATOMS(X)                                                                                                   \
    X(ok)                                                                                                              \
    X(error)                                                                                                           \
    X(true)                                                                                                            \
    X(false) X(once) X(undefined) X(closed) X(busy) X(timeout) X(badarg) X(not_owner) X(fin) X(reset) X(stopped)       \
        X(weft) X(weft_fin) X(weft_reset) X(weft_stopped) X(weft_passive) X(weft_writable) X(weft_finished)            \
            X(weft_stream) X(weft_conn) X(weft_listener) X(weft_closed) X(weft_datagram) X(weft_session) X(weft_token) \
                X(weft_path) X(weft_connected) X(weft_confirmed) X(weft_streams) X(weft_datagram_outcome)              \
                    X(weft_datagram_room) X(cause) X(layer) X(code) X(reason) X(application) X(transport)              \
                        X(frame_type) X(local) X(peer) X(none) X(idle_timeout) X(handshake_timeout) X(protocol)        \
                            X(version) X(internal) X(connect) X(held) X(einval) X(validated) X(failed) X(active)       \
                                X(remote) X(kind) X(sent) X(acked) X(lost) X(dropped) X(bidi) X(uni) X(client)         \
                                    X(server) X(nil) X(infinity) X(zero_rtt) X(count) X(emfile) X(expired)

struct nif_atoms {
#define X(name) term am_##name;
    NIF_ATOMS(X)
#undef X
};
extern struct nif_atoms nif_atom;
#define AM(name) (nif_atom.am_##name)

/* ---- counters of what is alive (atomic; read by nif_stats) ---- */

#define NIF_COUNTERS(X) \
    X(engines)          \
    X(configs) X(listeners) X(conns) X(streams) X(commands) X(waiters) X(outgoing) X(buffers) X(buffer_bytes) X(handles)

struct nif_counters {
#define X(name) atomic_llong name;
    NIF_COUNTERS(X)
#undef X
    atomic_llong buffer_bytes_peak, buffer_refusals, buffer_cap, datagrams_dropped;
};
extern struct nif_counters nif_count;
#define COUNT(name, by) ((void)atomic_fetch_add_explicit(&nif_count.name, (by), memory_order_relaxed))

struct engine;
struct conn;
struct stream;
struct listener;
struct command;

/* ---- resources (resource.c) ---- */

enum resource_kind {
    RESOURCE_ENGINE,
    RESOURCE_CONFIG,
    RESOURCE_LISTENER,
    RESOURCE_CONN,
    RESOURCE_STREAM,
    RESOURCE_BYTES,
    RESOURCE_KINDS
};
extern ErlNifResourceType *resource_type[RESOURCE_KINDS];

/* Who is told of an object, and watched: its owner. The engine's thread's. */
struct owner {
    ErlNifPid pid;
    ErlNifMonitor monitor;
    bool set, monitored;
};

/* How messages are handed out, with inet's meaning. MODE_HELD: between the two halves of a hand-over. */
enum mode_kind { MODE_FALSE, MODE_TRUE, MODE_ONCE, MODE_COUNT };
struct mode {
    enum mode_kind kind;
    int32_t left; /* MODE_COUNT */
    bool held;
};

/* Somebody who waits for an answer: {Ref, Result}. The environment holds Ref, and gets the result. */
struct waiter {
    struct waiter *next;
    ErlNifPid pid;
    ErlNifMonitor monitor;
    void *watched; /* the resource that has the monitor, while the waiter is in a list */
    ErlNifEnv *env;
    term ref;
    uint64_t want;     /* receiving: so many bytes, 0: what there is */
    ErlNifBinary part; /* receiving: what is there of them */
    size_t have;
    bool has_part;
    uint32_t direction; /* opening */
    struct mode mode;   /* opening, accepting: what the new object begins with */
    bool has_mode;
};
struct waiters {
    struct waiter *first, *last;
};

/* ---- commands (engine.c) ---- */

typedef void (*command_run)(struct engine *engine, struct command *command);

/* What a NIF asks of an engine's thread. `object` is kept (as a resource) until the command has run. `waiter` is the
 * caller, when there is an answer. A command that finds its engine stopped is run all the same, with engine->stopped
 * set: everything it could touch has ended by then. */
struct command {
    struct command *next;
    command_run run;
    void *object;
    struct waiter *waiter;
    ErlNifEnv *env; /* of `value`, and of the binary at `data` when it is not inline */
    term value;
    const uint8_t *data;
    size_t len;
    uint64_t number, other;
    ErlNifPid pid;
    struct mode mode;
    uint32_t flags;
    uint8_t inline_data[];
};

struct engine {
    weft_engine handle;
    uint32_t number;
    ErlNifMutex *lock;
    ErlNifCond *cond;
    _Atomic(struct command *) queue;    /* the newest first; a stopped engine's takes no more */
    _Atomic(struct command *) returned; /* received bytes given back, which a stopped engine waits for */
    atomic_bool posted;                 /* the thread has been told to look at both */
    atomic_bool sleeping;               /* it waits for `cond`: nothing else is to be done */
    bool stopped;                       /* engine's thread: everything is over */
    struct owner owner;
    atomic_llong live; /* retained buffers: the engine's memory must outlive them */
    ErlNifEnv *env;    /* for messages; used again and again */
    struct conn *conns;
    struct listener *listeners;
    struct waiter *on_stopped;
    struct outgoing *lent; /* what the core refers to */
    weft_engine_params params;
    uint8_t fleet_secret[32];
    uint64_t batches, messages;
};

struct config {
    weft_config handle;
};

struct listener {
    struct engine *engine; /* kept */
    weft_listener handle;
    bool open, linked, stopped; /* stopped: it accepts no more, and may still have connections */
    struct owner owner;
    struct mode mode;
    struct waiters accepting, draining;
    struct conn *queue, *queue_last; /* connected, waiting to be accepted */
    uint32_t queued, backlog, conns;
    bool accept_early; /* hand out connections whose handshake is still under way */
    struct mode conn_mode, stream_mode;
    uint32_t high, low;
    size_t datagram_limit;
    uint32_t datagram_most;
    struct listener *next, *previous;
    struct listener_group *group; /* NULL: it is alone on its port */
    struct listener *group_next;  /* under the group's lock, as the next */
    bool group_idle;
};

struct datagram {
    struct datagram *next;
    size_t len;
    bool early;
    uint8_t data[];
};

struct conn {
    struct engine *engine; /* kept */
    weft_conn handle;
    bool open, linked, connected, queued, handed;
    struct owner owner;
    struct mode mode, stream_mode;
    uint32_t high, low;
    struct listener *listener; /* kept: the one it came from */
    struct conn *queue_next;
    struct stream *queue, *queue_last; /* the peer's streams that wait to be accepted */
    struct waiters accepting, opening, connecting, datagrams_wanted, closing;
    struct datagram *datagrams, *datagrams_last;
    size_t datagram_bytes, datagram_limit;
    uint32_t datagram_count, datagram_most;
    struct stream *streams;
    struct conn *next, *previous;
    uint32_t untold; /* enum conn_note */
    weft_close close;
    uint64_t closing_until;      /* the engine's clock; 0: it has not ended */
    weft_conn_stats *last_stats; /* of one that has ended; NULL: none */
};

enum conn_note {
    NOTE_CLOSED = 1,
    NOTE_SESSION = 2,
    NOTE_TOKEN = 4,
    NOTE_PATH = 8,
    NOTE_CONNECTED = 16,
    NOTE_CONFIRMED = 32
};

/* Bytes on their way into the core. */
struct outgoing {
    struct outgoing *next;
    struct outgoing *lent_next, **lent_at; /* in engine->lent while `lent` is not 0 */
    ErlNifEnv *env;                        /* holds the binary `data` points into; NULL: it is inline */
    const uint8_t *data;
    size_t len, taken;
    uint32_t lent; /* pieces the core still refers to */
    bool fin, queued;
    uint8_t inline_data[];
};

enum stream_note { SNOTE_FIN = 1, SNOTE_RESET = 2, SNOTE_STOPPED = 4, SNOTE_CLOSED = 8, SNOTE_FINISHED = 16 };

/* Why a stream takes no more bytes; an atomic, for NIFs. */
enum send_fate { SEND_OPEN = 0, SEND_FIN = 1, SEND_RESET = 2, SEND_STOPPED = 3, SEND_CLOSED = 4, SEND_NEVER = 5 };
/* How the receiving side has ended, as far as the application was told. */
enum recv_fate { RECV_OPEN = 0, RECV_FIN = 1, RECV_RESET = 2, RECV_STOPPED = 3, RECV_CLOSED = 4, RECV_NEVER = 5 };

struct stream {
    struct engine *engine; /* kept */
    struct conn *conn;     /* kept */
    weft_stream handle;
    uint64_t id;
    bool open, linked, queued;
    struct owner owner;
    struct mode mode;
    struct stream *next, *previous, *queue_next;
    /* sending */
    atomic_size_t pending; /* bytes NIFs have accepted and the core has not */
    atomic_uint send_fate; /* enum send_fate */
    atomic_uint_fast64_t stop_code;
    atomic_bool wants_writable; /* somebody was told `busy` */
    atomic_uint high, low;
    struct outgoing *out, *out_last;
    struct waiters writable, finishing;
    /* receiving */
    enum recv_fate recv_fate;
    uint64_t reset_code;
    struct waiters receiving;
    ErlNifBinary stash; /* taken from the core for a recv that gave up, or because it had to forget the stream */
    size_t stash_at;
    bool has_stash;
    bool told_finished, wants_finished;
    uint32_t untold; /* enum stream_note */
};

/* ---- nif.c, resource.c ---- */

bool resource_open_types(ErlNifEnv *env, int flags);
void *resource_new(enum resource_kind kind, size_t size);
/* The object of a handle term {Tag, Ref, ...} or a bare reference; NULL: it is none of this kind. */
void *resource_get(ErlNifEnv *env, term value, enum resource_kind kind);

/* ---- term.c ---- */

void term_make_atoms(ErlNifEnv *env);
term term_error(ErlNifEnv *env, int32_t error); /* {error, Name}, from the table */
term term_error_name(ErlNifEnv *env, int32_t error);
term term_fail(ErlNifEnv *env, term reason); /* {error, Reason} */
term term_ok(ErlNifEnv *env, term value);    /* {ok, Value} */
term term_binary(ErlNifEnv *env, const void *data, size_t len);
term term_text(ErlNifEnv *env, const char *text);
term term_address(ErlNifEnv *env, const weft_addr *addr);  /* {{A,B,C,D}, Port} | undefined */
term term_close(ErlNifEnv *env, const weft_close *close);  /* #{cause, layer, code, reason, error, frame_type} */
term term_closed(ErlNifEnv *env, const struct conn *conn); /* {error, {closed, #{...}}} */
term term_bool(bool value);
bool term_get_bool(term value, bool *out);
bool term_get_mode(ErlNifEnv *env, term value, struct mode *mode);
term term_mode(ErlNifEnv *env, const struct mode *mode);
/* A text of at most size - 1 bytes without zero bytes. */
bool term_get_text(ErlNifEnv *env, term value, char *out, size_t size);
void term_put(ErlNifEnv *env, term *map, const char *name, term value);
term term_conn(ErlNifEnv *env, const struct conn *conn);
term term_stream(ErlNifEnv *env, const struct stream *stream);
term term_listener(ErlNifEnv *env, const struct listener *listener);

/* ---- engine.c ---- */

struct command *command_new(command_run run, void *object, size_t inline_len);
void command_free(struct command *command);
/* Appends and wakes. False: the engine has stopped; the command is freed. */
bool command_push(struct engine *engine, struct command *command);
/* The same for a buffer that is given back, also when the engine has stopped and only waits for these. */
void command_push_returned(struct engine *engine, struct command *command);
/* The common ends of NIFs: pushes, and gives ok, or {error, closed}. */
term command_post(struct engine *engine, struct command *command);
/* The same, with `ref` for the answer. */
term command_ask(ErlNifEnv *env, struct engine *engine, struct command *command, term ref);
void engine_owner_down(struct engine *engine);

struct waiter *waiter_new(ErlNifEnv *env, term ref);
void waiter_free(struct waiter *waiter);
/* Answers and frees: {Ref, Result}; `result` was made in waiter->env. */
void waiter_answer(struct waiter *waiter, term result);
/* Into a list of `object`'s. A process that dies leaves it: `object`'s down callback sees to that. */
void waiters_add(struct waiters *list, struct waiter *waiter, void *object);
/* Takes out one of a process that is down; NULL: there is none. */
struct waiter *waiters_take_of(struct waiters *list, const ErlNifPid *pid);
struct waiter *waiters_take(struct waiters *list);
/* Takes out the one with this Ref; NULL: it was answered. */
struct waiter *waiters_find(struct waiters *list, ErlNifEnv *env, term ref);
void waiters_answer_error(struct waiters *list, int32_t error);
void waiters_answer_closed(struct waiters *list, const struct conn *conn);
/* The command's waiter, which is the caller's from now on. */
struct waiter *command_take_waiter(struct command *command);
void command_answer(struct command *command, term result);
void command_answer_code(struct command *command, int32_t error);

/* ---- events.c ---- */

void events_on_batch(void *user, const weft_event *events, uint32_t count);
/* Sends `message`, made in engine->env, and clears that. False: there is no such process. */
bool events_send(struct engine *engine, const ErlNifPid *to, term message);

/* ---- owner.c ---- */

/* Makes `pid` the owner. False: no such process; there is no owner then. */
bool owner_set(struct owner *owner, void *object, const ErlNifPid *pid);
void owner_clear(struct owner *owner, void *object);
bool owner_is(const struct owner *owner, const ErlNifPid *pid);
typedef void owner_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor);
owner_down owner_of_engine_down, owner_of_listener_down, owner_of_conn_down, owner_of_stream_down;
bool mode_is_active(const struct mode *mode);
/* A counted message was sent. True: the mode is passive now. */
bool mode_spend(struct mode *mode);
/* inet's {active, N} adds up. False: out of range. *passive: it has come to 0. */
bool mode_change(struct mode *mode, const struct mode *change, bool *passive);

/* ---- conn.c ---- */

void conn_on_event(struct engine *engine, const weft_event *event);
void conn_accepted(struct engine *engine, const weft_event *event);
struct conn *conn_new(struct engine *engine);
void conn_link(struct engine *engine, struct conn *conn, weft_conn handle);
void conn_queue_remove(struct conn *conn, struct stream *stream);
/* A stream that has ended goes on waiting to be accepted. */
void conn_queue_keep(struct conn *conn, struct stream *stream);
void conn_queue_clear(struct conn *conn);
/* Opens a stream for this waiter and answers. False: the peer allows no more now; the waiter is still the caller's. */
bool conn_open_for(struct engine *engine, struct conn *conn, struct waiter *waiter, bool wait);
term conn_blob(ErlNifEnv *env, const struct conn *conn, int64_t (*get)(weft_conn conn, void *out, size_t capacity));
void conn_owner_down(struct engine *engine, struct conn *conn);
void conn_deliver(struct engine *engine, struct conn *conn);
void conn_ended(struct engine *engine, struct conn *conn);
void conn_stream_opened(struct engine *engine, const weft_event *event);
bool conn_hand(struct engine *engine, struct conn *conn, const ErlNifPid *pid);
term conn_fault(ErlNifEnv *env, const struct conn *conn, int32_t error);

/* ---- datagram.c ---- */

void datagram_on_event(struct engine *engine, struct conn *conn, const weft_event *event);
bool datagram_next(struct conn *conn, struct datagram **out);
void datagram_clear(struct conn *conn);
term datagram_term(ErlNifEnv *env, const struct datagram *datagram);

/* ---- listener.c ---- */

void listener_on_closed(struct engine *engine, const weft_event *event);
void listener_owner_down(struct engine *engine, struct listener *listener);
/* A connection is to be handed out. */
void listener_offer(struct engine *engine, struct listener *listener, struct conn *conn);
/* The last of a stopped listener's connections has gone: so may it. */
void listener_check(struct listener *listener);
/* It ended before somebody took it. */
void listener_withdraw(struct listener *listener, struct conn *conn);
void listener_deliver(struct engine *engine, struct listener *listener);
void listener_ended(struct engine *engine, struct listener *listener);

/* ---- listener_group.c ---- */

struct listener_group *group_new(void);
struct listener_group *group_ref(struct listener_group *group);
void group_unref(struct listener_group *group);
void group_join(struct listener_group *group, struct listener *listener);
/* It has stopped, and has no connections any more. */
void group_idle(struct listener_group *group, struct listener *listener);
/* It has ended. */
void group_leave(struct listener_group *group, struct listener *listener);

/* ---- stream.c, stream_send.c, stream_recv.c ---- */

struct stream *stream_new(struct conn *conn, weft_stream handle, uint64_t id);
void stream_on_event(struct engine *engine, const weft_event *event);
void stream_ended(struct engine *engine, struct stream *stream);
void stream_owner_down(struct engine *engine, struct stream *stream);
term stream_fault(ErlNifEnv *env, const struct stream *stream, int32_t error);

void stream_send_on_writable(struct stream *stream);
void stream_send_on_released(uint64_t token);
void stream_send_on_finished(struct stream *stream);
void stream_send_abandon(struct stream *stream, enum send_fate fate);
/* When the core's engine is gone nothing is lent any more. */
void stream_send_forget_lent(struct engine *engine);
term stream_send_fault(ErlNifEnv *env, const struct stream *stream);

/* Hands out what may be handed out: to those who wait, else by the mode. */
void stream_deliver(struct engine *engine, struct stream *stream);
/* The core is about to forget the stream: what nobody has read yet is kept here. */
void stream_recv_rest(struct stream *stream);
void stream_recv_end(struct engine *engine, struct stream *stream, enum recv_fate fate);
/* What a waiter has of the bytes it wants is for the next one. */
void stream_recv_keep(struct stream *stream, struct waiter *waiter);
/* The process is down. */
void stream_recv_forget(struct stream *stream, const ErlNifPid *pid);
term stream_recv_fault(ErlNifEnv *env, const struct stream *stream);

/* ---- bytes.c ---- */

void bytes_dtor(ErlNifEnv *env, void *object);

/* The bytes of these slices as one binary: a reference when that pays and the cap allows it, else a copy. */
term bytes_take(struct engine *engine, ErlNifEnv *env, const weft_slice *slices, size_t count, size_t len);

/* ---- NIFs, by file ---- */

#define NIF(name) term name(ErlNifEnv *env, int argc, const term argv[])
NIF(nif_engine_start);
NIF(nif_engine_stop);
NIF(nif_engine_stats);
NIF(nif_stats);
NIF(nif_option_table);
NIF(nif_stat_table);
NIF(nif_version);
NIF(nif_error_text);
NIF(nif_set_buffer_cap);
NIF(nif_config_new);
NIF(nif_config_fingerprint);
NIF(nif_listen);
NIF(nif_listener_accept);
NIF(nif_listener_mode);
NIF(nif_listener_reload);
NIF(nif_listener_stop);
NIF(nif_listener_info);
NIF(nif_listener_cancel);
NIF(nif_connect);
NIF(nif_conn_close);
NIF(nif_conn_wait);
NIF(nif_conn_mode);
NIF(nif_conn_set);
NIF(nif_conn_accept_stream);
NIF(nif_conn_open_stream);
NIF(nif_conn_cancel);
NIF(nif_conn_get);
NIF(nif_conn_do);
NIF(nif_conn_datagram);
NIF(nif_conn_recv_datagram);
NIF(nif_stream_send);
NIF(nif_stream_wait_writable);
NIF(nif_stream_wait_finished);
NIF(nif_stream_recv);
NIF(nif_stream_mode);
NIF(nif_stream_set);
NIF(nif_stream_end);
NIF(nif_stream_get);
NIF(nif_stream_cancel);
NIF(nif_stream_id);
NIF(nif_give_begin);
NIF(nif_give_end);

#endif
