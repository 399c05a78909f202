/* stream.h - the streams of one connection: identity, limits, life and death, and their frames in both directions.
 *
 * This is a machine of its own: it takes frames (rx), says what to put into packets (tx), learns what became of them
 * (fate) and serves the application (write, read, reset, stop). It owns connection-level flow control, because every
 * stream shares it. It does not know packets, keys or time-outs; it raises events and sets `want_send` when it has
 * something to say.
 *
 * Control frames are kept as wanted / in flight / acknowledged (RFC 9000 13.3): loss turns them into wanted again if
 * they still matter.
 *
 * A stream object lives until both halves are done and the application has been told so (QUIC_STREAM_EV_CLOSED was
 * delivered and quic_streams_reap was called). Its handle dies with it.
 *
 * Invariant: every stream stands in the look-up of its type; peer-opened streams below `next_remote` that are not
 * there are closed.
 */
#ifndef QUIC_STREAM_H
#define QUIC_STREAM_H

#include "base/event.h"
#include "base/hash.h"
#include "base/slots.h"
#include "quic/flow.h"
#include "quic/frame.h"
#include "quic/params.h"
#include "quic/pool.h"
#include "quic/sched.h"
#include "quic/sent.h"
#include "quic/stream_recv.h"
#include "quic/stream_send.h"
#include "tables/options.h"
#include "tables/stats.h"

#define QUIC_SLOT_STREAM 5u /* kind of stream handles in the engine's slot table */

/* Events of a stream, delivered in this order. */
enum quic_stream_event {
    QUIC_STREAM_EV_OPENED = 1u << 0,   /* the peer opened it */
    QUIC_STREAM_EV_READABLE = 1u << 1, /* bytes or the end can be taken */
    QUIC_STREAM_EV_RESET = 1u << 2,    /* the peer reset its side: recv.reset_code */
    QUIC_STREAM_EV_STOPPED = 1u << 3,  /* the peer asks us to stop: stop_code_received */
    QUIC_STREAM_EV_WRITABLE = 1u << 4, /* a write was refused, or filled the buffer, which has drained to half since */
    QUIC_STREAM_EV_RELEASED = 1u << 5, /* referenced bytes are free: tokens in `released` */
    QUIC_STREAM_EV_FINISHED = 1u << 6, /* everything we sent, with FIN, was acknowledged */
    QUIC_STREAM_EV_CLOSED = 1u << 7,   /* both halves are done, or the connection is: the last event */
};

enum quic_want { QUIC_WANT_NOT = 0, QUIC_WANTED, QUIC_IN_FLIGHT, QUIC_WANT_DONE };

struct quic_streams;

struct quic_stream {
    uint64_t id, handle;
    struct quic_streams *set;
    struct base_event event;
    void *user;                   /* the application's */
    struct quic_stream_send send; /* unused (state DATA_RECVD) for a peer's unidirectional stream */
    struct quic_stream_recv recv; /* unused (state DATA_READ) for our unidirectional stream */
    struct quic_flow_send send_flow;
    struct quic_flow_recv recv_flow;
    struct quic_sched_node sched;
    struct base_node control; /* in set->control while a control frame is wanted */
    struct base_node compact; /* in set->pinned while it may pin receive buffers */
    struct base_node all;     /* in set->all */
    uint64_t stop_code, stop_code_received;
    base_time deadline; /* when what is not done is broken off; 0 = never */
    uint64_t deadline_code;
    uint64_t early_to;  /* bytes below it came, in part, as 0-RTT: may be a replay until the handshake is complete */
    uint64_t *released; /* tokens the application is still to be told of; whoever tells sets released_count to 0 */
    uint32_t released_count, released_capacity;
    uint32_t references;                                        /* tokens still to come: released[] has room for them */
    uint8_t want_max_data, want_blocked, want_reset, want_stop; /* enum quic_want */
    bool told_writable;                                         /* no WRITABLE owed */
    bool told_end; /* the application took the end (FIN or reset) of the receiving half */
    bool stopped;  /* we asked the peer to stop: arriving bytes are dropped, credit still given to the connection */
    bool paused;   /* the application wants no READABLE now */
    bool closed_raised; /* CLOSED was raised (or would have been): both halves are done */
    bool closed_told;   /* CLOSED was delivered: may be reaped */
    bool detached;      /* the application does not want to hear of it any more, but for RELEASED */
    bool churned;       /* the peer has broken off what it opened: counted once */
    bool expired;       /* its deadline has passed before it was done */
};

/* One of the four types: by who opened it (us, peer) and direction. */
struct quic_stream_kind {
    uint64_t next;       /* sequence (id >> 2) of the next to be opened */
    uint64_t max;        /* local: the peer's limit (sequences < max may be opened); remote: what we have told */
    uint64_t closed;     /* remote: how many are closed, for raising max */
    uint64_t blocked_at; /* local: limit a STREAMS_BLOCKED told of; UINT64_MAX = none */
    uint8_t want_max, want_blocked; /* MAX_STREAMS (remote kinds), STREAMS_BLOCKED (local kinds) */
    uint64_t limit;                 /* remote: streams open at a time (the option) */
    struct quic_stream **window;    /* dense: window[(seq) & mask], for seq in [base, base + capacity) */
    uint64_t base;
    uint32_t capacity; /* power of two, 0 = none yet */
    uint32_t open;
};

struct quic_streams {
    struct base_mem *mem;
    struct base_slots *slots;
    struct base_events *events;
    struct conn_stats *stats;
    const struct options *options;
    enum crypto_role role;
    uint64_t conn_handle;
    struct quic_stream_kind kinds[4]; /* index id & 3 */
    struct base_map outliers;         /* old, long-lived streams that fell out of a dense window: key 8-byte id */
    struct base_list all, control, pinned;
    struct base_list closing; /* done streams whose CLOSED was delivered: quic_streams_reap frees them */
    struct quic_pools pools;  /* what streams are made of, kept for the next ones */
    struct quic_stream *free; /* stream objects, linked by `user` */
    uint32_t free_count;
    struct quic_sched sched;
    struct quic_flow_recv recv_flow; /* MAX_DATA */
    struct quic_flow_send send_flow;
    base_time deadline; /* no stream's deadline is earlier; BASE_NEVER = there is none */
    uint8_t want_max_data, want_blocked;
    bool numbers_wanted; /* one of want_max_data, want_blocked and those of the kinds may be QUIC_WANTED */
    uint64_t moved;      /* bytes that were new here, or new at the peer */
    bool waits;          /* something may wait for the peer. Set here, cleared by the owner */
    bool want_send;      /* something to say: the connection is dirty. Set here, cleared by the owner */
    bool open_blocked;   /* the application was refused a stream: on more credit set `streams_available` */
    bool streams_available;
    bool closed;        /* the connection has ended: nothing is sent or accepted any more */
    bool peer_known;    /* quic_streams_set_peer was called */
    bool peer_reset_at; /* the peer knows RESET_STREAM_AT */
    bool starved;       /* a stream waits for the connection's credit */
    uint8_t rx_glitch;  /* of the last frame handed in: enum quic_glitch. Cleared by the owner */
    bool rx_early;      /* the frames being handed in are those of a 0-RTT packet. Set by the owner */
    uint64_t peer_initial_bidi_local, peer_initial_bidi_remote, peer_initial_uni; /* the peer's, for new streams */
    void (*on_available)(void *user); /* more streams may be opened now (after a refusal); may be NULL */
    void (*on_want)(void *user);      /* want_send was set; may be NULL */
    void *user;
};

/* `map_secret`: for the outlier map. */
void quic_streams_init(struct quic_streams *set, struct base_mem *mem, struct base_slots *slots,
                       struct base_events *events, struct conn_stats *stats, const struct options *options,
                       enum crypto_role role, uint64_t conn_handle, const uint8_t map_secret[16]);
/* The peer's transport parameters (or remembered ones for 0-RTT) are known: limits for sending. Never lowers them. */
void quic_streams_set_peer(struct quic_streams *set, const struct quic_params *params);
/* 0-RTT was rejected: nothing of what was sent has arrived, nothing is allowed until set_peer. Streams and what was
 * written on them stay; it is all sent anew, within the limits that come. A stream beyond the new limit of its kind is
 * held back until the peer raises it. */
void quic_streams_rewind(struct quic_streams *set);
/* The connection is over: raises CLOSED on every stream, frees what only sending needed. */
void quic_streams_close(struct quic_streams *set);
/* Frees everything, delivered or not. */
void quic_streams_clear(struct quic_streams *set);

/* ---- the application's side; all return 0 (or a count) or an ERR_* ---- */
int quic_streams_open(struct quic_streams *set, bool uni,
                      struct quic_stream **out); /* ERR_STREAM_LIMIT, ERR_NOMEM, ERR_CLOSED */
/* Takes as much as the high mark (option stream_send_buffer) allows: the count taken, 0 with WRITABLE to follow when
 * full. With `fin`, the stream is finished once all of `data` was taken. */
int64_t quic_stream_write(struct quic_stream *s, const uint8_t *data, size_t len, bool fin);
/* Takes all or nothing, by reference (see stream_send.h): 0, ERR_BLOCKED, ... */
int quic_stream_write_reference(struct quic_stream *s, const uint8_t *data, size_t len, uint64_t token, bool fin);
/* True when WRITABLE, once raised, is still true: no write was refused since, and more may be written. */
bool quic_stream_is_writable(const struct quic_stream *s);
/* A write was not taken whole for another reason than room: WRITABLE is owed all the same. */
void quic_stream_owe_writable(struct quic_stream *s);
/* True when bytes or the end can be taken. */
bool quic_stream_is_readable(const struct quic_stream *s);
size_t quic_stream_peek(struct quic_stream *s, struct quic_slice *slices, size_t max);
/* Takes `len` bytes without giving credit for them, and notes that the end was seen when it was. */
int quic_stream_take(struct quic_stream *s, uint64_t len);
/* Bytes that were taken and for which no credit was given yet: none any more once the half was reset or stopped. */
uint64_t quic_stream_owed(const struct quic_stream *s);
/* Gives credit for `len` <= quic_stream_owed bytes. */
void quic_stream_credit(struct quic_stream *s, uint64_t len, base_time rtt, base_time now);
/* Both at once. */
int quic_stream_consume(struct quic_stream *s, uint64_t len, base_time rtt, base_time now);
int quic_stream_reset(struct quic_stream *s, uint64_t code);
/* Resets, but what was written below `reliable` is delivered first (RESET_STREAM_AT). ERR_UNSUPPORTED: the peer does
 * not know that; ERR_INVALID: so much was not written. May be called again to promise less. */
int quic_stream_reset_at(struct quic_stream *s, uint64_t code, uint64_t reliable);
int quic_stream_stop(struct quic_stream *s, uint64_t code);
void quic_stream_priority(struct quic_stream *s, uint8_t urgency, bool incremental);
void quic_stream_pause(struct quic_stream *s, bool paused); /* resuming raises READABLE again when there is something */
/* The application is done with it: what can be reset or stopped is (with `code`), nothing is reported any more but
 * RELEASED: the bytes it lent stay lent until then. A sending half that was finished is delivered to its end. */
void quic_stream_detach(struct quic_stream *s, uint64_t code);

/* Breaks off, with `code`, what is not done by `when` (0: no deadline): the sending half is reset, the receiving half
 * stopped. A new deadline replaces the last. */
void quic_stream_set_deadline(struct quic_stream *s, base_time when, uint64_t code);
/* set->deadline has come. */
void quic_streams_on_deadline(struct quic_streams *set, base_time now);

/* ---- frames in ---- */
/* Frame handlers: 0 or the transport error. QUIC_RX_DROP (negative): not an error, but the packet must count as not
 * received (no memory). */
#define QUIC_RX_DROP (-1)
int quic_streams_rx(struct quic_streams *set, const struct quic_frame *frame, struct base_buf *buf, base_time now);
/* ---- frames out ---- */
/* Fills the open packet of `log` (records added there) through `out` with control frames, then stream data by
 * schedule, while room and credit last. `data`: stream data may be added (false when only control frames are
 * allowed, e.g. the window is full). Returns true when something was written. Clears want_send when nothing more is
 * waiting (because all is said or blocked). The last STREAM frame that fills the packet goes without a length field. */
bool quic_streams_tx(struct quic_streams *set, struct base_writer *out, struct quic_sent *log, bool data);
/* True when quic_streams_tx with `data` would write something. */
bool quic_streams_sendable(const struct quic_streams *set);
/* ---- fate ---- */
/* True when the record was one of this room's kinds. */
bool quic_streams_on_fate(struct quic_streams *set, const struct quic_sent_frame *frame, bool acked);

/* ---- keeping house ---- */
void quic_streams_compact(struct quic_streams *set); /* after the application had its turn */
void quic_stream_told_closed(struct quic_stream *s); /* CLOSED was delivered: the stream goes at the next reap */
void quic_streams_reap(struct quic_streams *set);    /* frees closed streams that were told of */
void quic_streams_trim(
    struct quic_streams *set); /* gives back the memory kept for new streams (the connection is idle) */
struct quic_stream *quic_streams_find(struct quic_streams *set, uint64_t id);
/* The stream behind a handle, or NULL. */
struct quic_stream *quic_stream_of(struct base_slots *slots, uint64_t handle);

#endif
