/* abi.h - what the files of abi/ share. Nobody outside abi/ includes it.
 *
 *   registry.c   from a handle to its object, and who may ask
 *   engine.c     engines: birth, turns, other threads' calls, end
 *   external.c   datagrams for callers who do the I/O themselves
 *   admission.c  what the application says about tickets and tokens
 *   congestion.c congestion controllers that the application brings
 *   config.c     configurations; config_tls.c their certificates and trust; files.c reading files
 *   listener.c   listeners
 *   conn.c       connections; info.c what can be asked about them
 *   datagram.c   datagrams beside streams
 *   stream.c     streams: opening, writing, reading; stream_state.c the rest
 *   dispatch.c   which events there are, in order; deliver.c how user code hears of them
 *   pool.c       several engines on threads; pair.c two engines in virtual time
 *   buffer.c     received bytes that are shown, and kept
 *   errors.c     errors, events, options and counters by name
 *
 * Invariant of all entry points: the handle is looked up first; a pointer that comes out of it is not used after user
 * code has run, unless it was looked up again.
 */
#ifndef ABI_H
#define ABI_H

#include <weft/weft.h>

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "io/addr.h"
#include "io/loop.h"
#include "io/race.h"
#include "quic/conn.h"
#include "tables/errors.h"

/* Kinds of handles. Kind 4 is the core's own connection handle, which never leaves the library. */
enum abi_kind {
    ABI_ENGINE = 1,
    ABI_CONFIG = 2,
    ABI_LISTENER = 3,
    ABI_STREAM = QUIC_SLOT_STREAM,
    ABI_CONN = 6,
    ABI_BUFFER = 7,
    ABI_SLICE = 8, /* not an object: bytes being shown, see buffer.c */
    ABI_POOL = 9,
    ABI_PAIR = 10,
};

#define ABI_BATCH 128u /* events handed over at a time */
#define ABI_SHOWN 16u  /* slices shown at a time by a callback */

/* True when the caller's struct is large enough to have this member. */
#define ABI_HAS(params, member) ((params)->size >= offsetof(__typeof__(*(params)), member) + sizeof((params)->member))

/* A caller's struct with its size first, into one of ours that is as large as we know it: what he has not is 0, what
 * we do not know must be 0. WEFT_E_INVALID, WEFT_E_UNSUPPORTED. `from` may be NULL: all 0. */
int32_t abi_params(void *to, const void *from, size_t size);
/* The other way: as much as the caller's struct has room for; its size stays. */
int32_t abi_give(void *to, const void *from, size_t size);
/* Copies a text, cut to capacity; its length. */
int32_t abi_copy_text(const char *from, char *text, size_t capacity);
/* A table of callbacks as the application may give it: NULL, or with a size and nothing in what is reserved. All tables
 * begin alike. WEFT_E_INVALID, WEFT_E_UNSUPPORTED. */
int32_t abi_table(const void *table);
/* The same for a table that is copied: members that we do not know must be 0, too. */
int32_t abi_table_params(void *to, const void *from, size_t size);
/* What a table was refused for, in words. */
const char *abi_table_why(int32_t error);

/* ---- configurations ---- */

/* The application's controller, and what makes the core call it. */
struct abi_congestion {
    struct quic_cc_ops ops;
    weft_congestion_control control;
};

struct abi_config {
    struct quic_config core;          /* options, TLS, references */
    struct abi_congestion congestion; /* core.custom_cc points to it when there is one */
    struct {                          /* core.admission points to it when there is one */
        struct quic_admission core;
        weft_admission table;
    } admission;
    pthread_mutex_t lock; /* for everything that may be changed before the first use */
    struct base_mem mem;
    bool frozen;
    bool has_alpn, has_certificate, has_trust, has_pins, has_tickets, verifies;
    int8_t system_trust; /* -1: only when nothing else is trusted */
    uint8_t fingerprint[32];
    struct crypto_error error;
    weft_verify_cb verify;
    void *verify_user;
    weft_replay_cb replay;
    void *replay_user;
    weft_keylog_cb keylog;
    void *keylog_user;
    int keylog_fd;                   /* -1: none */
    struct quic_qlog_sink qlog_sink; /* core.qlog points to it when qlogs go anywhere */
    weft_qlog_cb qlog;
    void *qlog_user;
    struct io_qlog_dir *qlog_dir; /* NULL: none */
};

/* The configuration behind a handle, with a reference; NULL with *error. */
struct abi_config *abi_config_get(weft_config handle, int32_t *error);
void abi_config_put(struct abi_config *config);
/* For a connection or listener of this role: frozen from now on, complete, with a reference. */
int32_t abi_config_use(weft_config handle, enum crypto_role role, struct abi_config **out, struct crypto_error *why);
/* Notes why a call failed. Returns `error`. */
int32_t abi_config_fail(struct abi_config *config, int32_t error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Opens a configuration for a change: with reference and lock. abi_config_end gives both back and returns `result`. */
struct abi_config *abi_config_begin(weft_config handle, int32_t *error);
int32_t abi_config_end(struct abi_config *config, int32_t result);
/* --- qlog.c --- */
/* Nothing uses the configuration any more: what waits is written. */
void abi_qlog_clear(struct abi_config *config);
/* --- config_tls.c --- */
int32_t abi_config_load_system(struct abi_config *config, struct crypto_error *why);

/* --- files.c --- */
/* The whole file, allocated from mem with *len + 1 bytes, a zero byte behind it. WEFT_E_IO, WEFT_E_TOO_LARGE,
 * WEFT_E_NOMEM. */
int32_t abi_file_read(struct base_mem *mem, const char *path, size_t limit, uint8_t **data, size_t *len,
                      struct crypto_error *why);
void abi_file_free(struct base_mem *mem, uint8_t *data, size_t len);
int32_t abi_file_append(const char *path, int *fd, struct crypto_error *why);
/* The path of the system's collection of certificate authorities, or NULL. */
const char *abi_file_system_trust(void);

/* ---- engines ---- */

struct abi_post {
    struct abi_post *next;
    void (*function)(void *arg);
    void *arg;
};

/* Bytes that are being shown to the application. */
struct abi_shown {
    const uint8_t *data;
    size_t len;
    struct base_buf *buf; /* a reference; NULL: the bytes are in the arena */
};

#define ABI_ARENA 65536u /* small pieces are copied there to be shown: as large as the largest piece */

struct abi_engine {
    struct base_mem mem;
    struct io_loop loop;
    uint64_t handle;
    _Atomic bool busy;    /* in a turn, or in a call that drives turns. Others look when they adopt the engine */
    _Atomic bool telling; /* in dispatch */
    bool doomed;          /* weft_engine_free was called; the turn is still to end */
    bool owns_loop, external;
    _Atomic bool leaving; /* weft_engine_run is to return: a pool is stopped */
    uint32_t stream_flags;
    weft_events_cb on_events;
    void *events_user;
    void (*log)(void *user, uint32_t level, const char *text);
    void *log_user;
    void (*random)(void *user, uint8_t *out, size_t len);
    void *random_user;
    uint64_t (*clock)(void *user), (*wall_clock)(void *user);
    void *clock_user;
    weft_allocator allocator; /* behind mem, when it is the application's */
    struct crypto_error error;
    struct base_list listeners, conns;
    uint32_t buffers_retained;
    struct base_list buffers;
    uv_timer_t reaper; /* on a caller's loop: ends the engine after its turn */

    weft_event *batch; /* ABI_BATCH of them */
    uint32_t batched;
    struct abi_shown shown[ABI_BATCH];
    uint32_t shown_count;
    uint32_t shown_serial;
    uint8_t *arena; /* ABI_ARENA bytes, used again when nothing is shown any more */
    uint32_t arena_used;
    struct base_list spare_streams; /* struct abi_stream for the next ones */
    uint32_t spare_count;
    uint64_t peeked_stream, peeked_offset; /* what weft_stream_peek last showed */
    uint32_t peeked_serial;

    pthread_mutex_t post_lock;
    struct abi_post *post_first, *post_last;
};

static inline struct base_slots *abi_slots(struct abi_engine *engine) { return &engine->loop.slots; }

/* --- registry.c --- */
bool abi_start(void); /* once a process; false: the TLS library refuses */
/* A place for a new engine: fills in its handle; *tag and *generation are for its slots. WEFT_E_NOMEM: none is left. */
int32_t abi_registry_take(struct abi_engine *engine, uint16_t *tag, uint32_t *generation);
void abi_registry_publish(struct abi_engine *engine);
/* The engine's handles end; waits for other threads that are in wake or post. */
void abi_registry_hide(struct abi_engine *engine);
/* The place may be used again, for handles from this generation on. */
void abi_registry_give_back(uint64_t handle, uint32_t generation);
int32_t abi_registry_adopt(uint64_t handle);
/* The engine that owns this handle, for a call from this thread; NULL with *error. */
struct abi_engine *abi_engine_of(uint64_t handle, int32_t *error);
/* The same for the handle of the engine itself. */
struct abi_engine *abi_engine_get(weft_engine handle, int32_t *error);
/* From any thread: the engine cannot go until abi_engine_unpin. */
struct abi_engine *abi_engine_pin(weft_engine handle, int32_t *error);
void abi_engine_unpin(uint64_t handle);
/* The object behind a handle of this kind. */
void *abi_get(uint8_t kind, uint64_t handle, struct abi_engine **engine, int32_t *error);
/* User code runs in the midst of things from enter to leave: every call gives WEFT_E_STATE. */
void abi_enter(void);
void abi_leave(void);
bool abi_inside(void); /* it does now: what needs no handle must ask */
/* What belongs to no engine: configurations, pools, pairs. Get calls admit under the lock, which takes a reference or
 * says that the caller is not to have the object: its error. */
uint64_t abi_registry_add(uint8_t kind, void *object);
void *abi_registry_get(uint8_t kind, uint64_t handle, int32_t (*admit)(void *object), int32_t *error);
void *abi_registry_remove(uint8_t kind, uint64_t handle, int32_t *error);
/* The calling thread's number, never 0 and never that of another. */
uint64_t abi_thread(void);
/* From now on no further engine; false when there are others than these, or that holds already. */
bool abi_registry_repeat(uint32_t live);
void abi_registry_repeat_no_more(void);

/* --- engine.c --- */
void abi_log(struct abi_engine *engine, uint32_t level, const char *format, ...) __attribute__((format(printf, 3, 4)));
int32_t abi_engine_fail(struct abi_engine *engine, int32_t error, const struct crypto_error *why);
/* From any thread, needs no memory: weft_engine_run returns after its turn, or its next call after one turn. */
int32_t abi_engine_leave(weft_engine engine);
/* Calls what other threads posted. False: the engine is doomed. */
bool abi_engine_run_posts(struct abi_engine *engine);

static inline base_time abi_now(struct abi_engine *engine) { return io_loop_now(&engine->loop); }
/* The same, for what need not be exact: while events are told it is the turn's time, and nobody reads a clock for
 * each. */
static inline base_time abi_turn_now(struct abi_engine *engine) {
    return engine->telling ? engine->loop.endpoint.now : abi_now(engine);
}
/* After a call that may have made output. */
static inline void abi_touch(struct abi_engine *engine) { io_loop_touch(&engine->loop); }

/* ---- listeners ---- */

struct abi_listener {
    struct quic_listener core;
    uint64_t handle;
    struct abi_engine *engine;
    struct base_node node;    /* in engine->listeners */
    struct io_socket *socket; /* NULL: closed */
    struct base_event event;  /* LISTENER_CLOSED */
    const weft_listener_callbacks *callbacks;
    void *user;
    const weft_conn_callbacks *conn_callbacks;
    const weft_stream_callbacks *stream_callbacks;
    void *conn_user;
};

/* Its handle ends. */
void abi_listener_hide(struct abi_listener *listener);
void abi_listener_free(struct abi_listener *listener);
/* A connection has gone: closed listeners without any end. */
void abi_listeners_check(struct abi_engine *engine);

/* ---- connections ---- */

/* What is known about a connection that has ended. */
struct abi_last {
    weft_conn_info info;
    weft_conn_stats stats;
    weft_close close;
    uint8_t *certificate, *session, *token;
    size_t certificate_len, session_len, token_len;
    struct quic_path_record *paths; /* NULL: it had none, or there was no memory */
    uint32_t path_count;
};

struct abi_conn {
    uint64_t handle;
    struct abi_engine *engine;
    struct base_node node;  /* in engine->conns */
    struct quic_conn *core; /* NULL: a race runs, or it is over */
    struct io_race *race;
    struct base_event event; /* CONN_CLOSED of a connection without core */
    const weft_conn_callbacks *callbacks;
    const weft_stream_callbacks *stream_callbacks;
    void *user;
    struct base_list streams; /* of struct abi_stream */
    struct abi_last *last;    /* before a core is there, when kept, and at the end */
    uint32_t keeps;
    uint32_t stream_flags;
    bool told;  /* CONN_CLOSED is in the batch, or was delivered: nothing may follow */
    bool ended; /* CONN_CLOSED was delivered */
};

/* What is known of its paths moves to what is kept of the connection. */
void abi_path_keep(const struct abi_conn *conn, struct abi_last *last);
/* For a connection that a listener accepted. NULL: out of memory. */
struct abi_conn *abi_conn_new(struct abi_engine *engine);
void abi_conn_attach(struct abi_conn *conn, struct quic_conn *core);
void abi_conn_free(struct abi_conn *conn);
/* CONN_CLOSED was told: ends the handle, unless it is kept. */
void abi_conn_ended(struct abi_conn *conn);
/* What its end will say, for a connection without core: raises CONN_CLOSED. */
void abi_conn_failed(struct abi_conn *conn, const weft_close *close);
/* The live object; WEFT_E_GONE when it is none. */
static inline struct abi_conn *abi_conn_get(weft_conn handle, int32_t *error) {
    return (struct abi_conn *)abi_get(ABI_CONN, handle.id, NULL, error);
}
/* The same, of one that has begun its handshake and is not over: else WEFT_E_STATE or WEFT_E_CLOSED. */
struct abi_conn *abi_conn_with_core(weft_conn handle, int32_t *error);
static inline struct abi_conn *abi_conn_of(const struct quic_conn *core) { return (struct abi_conn *)core->user; }

/* --- info.c --- */
void abi_info_fill(const struct abi_conn *conn, weft_conn_info *info);
void abi_info_stats(const struct abi_conn *conn, weft_conn_stats *stats);
/* `error`: WEFT_OK to have it follow from the rest. */
void abi_info_close(const struct quic_close *core, int32_t error, weft_close *close);
/* How a connection ended, or that it has not. */
void abi_info_close_of(const struct abi_conn *conn, weft_close *close);
void abi_addr_out(const struct quic_addr *from, weft_addr *to);
bool abi_addr_in(const weft_addr *from, struct quic_addr *to);

/* --- datagram.c --- */
/* Datagrams that waited for want of a callback are told now. */
void abi_datagrams_again(struct abi_conn *conn);

/* ---- streams ---- */

/* What a stream has of its own; most have nothing. */
struct abi_stream {
    struct base_node node; /* in the connection's list */
    void *user;
    const weft_stream_callbacks *callbacks;
    uint32_t flags;
};

#define ABI_STREAM_FLAGS ((uint32_t)(WEFT_STREAM_PULL | WEFT_STREAM_MANUAL_CREDIT))

/* A block with the connection's values, in its list; NULL: out of memory. */
struct abi_stream *abi_stream_block_new(struct abi_conn *conn);
void abi_stream_block_free(struct abi_conn *conn, struct abi_stream *block);

struct abi_stream_at { /* a stream found by its handle */
    struct abi_engine *engine;
    struct abi_conn *conn;
    struct quic_conn *core;
    struct quic_stream *stream;
};

/* False with *error: gone, detached, not ours. */
bool abi_stream_get(uint64_t handle, struct abi_stream_at *at, int32_t *error);
struct quic_conn *abi_stream_core(const struct quic_stream *stream);
const weft_stream_callbacks *abi_stream_callbacks(const struct abi_conn *conn, const struct quic_stream *stream);
void *abi_stream_user(const struct abi_conn *conn, const struct quic_stream *stream);
uint32_t abi_stream_flags(const struct abi_conn *conn, const struct quic_stream *stream);
void abi_stream_free_own(struct abi_conn *conn, struct quic_stream *stream);
/* Takes bytes, giving credit unless the application does. */
void abi_stream_take(const struct abi_stream_at *at, uint64_t len);
base_time abi_conn_rtt(const struct quic_conn *core);
/* After a call for a stream: the connection may have something to say. */
void abi_stream_touch(const struct abi_stream_at *at);
/* True when these many bytes from `taken` on reach the end of the stream. */
bool abi_stream_reaches_end(const struct quic_stream *stream, uint64_t len);

/* ---- events ---- */

/* --- dispatch.c --- */
void abi_dispatch(void *engine);

/* --- deliver.c --- */
/* Hands the batch over, and ends what it said to be closed. */
void abi_batch_hand_over(struct abi_engine *engine);
static inline void abi_batch_flush(struct abi_engine *engine) {
    if (engine->batched)
        abi_batch_hand_over(engine);
}
/* The same, when it must go before something is told: by a callback, or in a batch that is full. User code may run. */
static inline void abi_batch_way(struct abi_engine *engine, bool callback) {
    if (callback || engine->batched == ABI_BATCH)
        abi_batch_flush(engine);
}
/* Each tells of one thing, by callback or batch. User code may have run when they return. */
void abi_tell_listener(struct abi_listener *listener, uint32_t type, struct abi_conn *conn);
void abi_tell_conn(struct abi_conn *conn, uint32_t type);
/* All datagrams that were received; all that is known of those sent. */
void abi_tell_datagrams(struct abi_conn *conn);
void abi_tell_outcomes(struct abi_conn *conn);
void abi_tell_stream(struct abi_engine *engine, struct quic_stream *stream, uint32_t type, uint64_t value);
void abi_tell_data(struct abi_engine *engine, struct quic_stream *stream);
/* False when the application has nothing to hear of this stream any more. */
bool abi_stream_is_heard(const struct abi_engine *engine, const struct quic_stream *stream);

/* --- buffer.c --- */
struct abi_buffer {
    struct base_node node;
    uint64_t handle;
    struct base_buf *buf; /* a reference; NULL: copied into bytes */
    size_t len;           /* of bytes */
    uint8_t bytes[];
};

/* Shows up to `max` slices of what the stream has: engine->shown from shown_count on. How many, and their bytes in
 * *len; 0 with bytes left: first what is shown must be over. */
uint32_t abi_show(struct abi_engine *engine, struct quic_stream *stream, uint32_t max, uint64_t *len);
/* Shows a received datagram: engine->shown[shown_count - 1]. False: first what is shown must be over. */
bool abi_show_datagram(struct abi_engine *engine, const struct quic_datagram_view *view);
/* What is shown is over. */
void abi_unshow(struct abi_engine *engine);
/* For weft_slice.source. */
uint64_t abi_source(const struct abi_engine *engine, uint32_t index);
void abi_buffer_free(struct abi_engine *engine, struct abi_buffer *buffer);

#endif
