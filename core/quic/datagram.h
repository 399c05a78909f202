/* datagram.h - unreliable datagrams of the application (RFC 9221): two bounded queues and what became of what was sent.
 *
 * (struct quic_datagram, in endpoint.h, is a UDP datagram. Here a datagram is what a DATAGRAM frame carries.)
 *
 * A datagram goes out whole, once, in the order of sending, under congestion control and pacing but without flow
 * control; it is never sent again. Whoever sends one with a token hears what became of it: SENT when it left, and then,
 * or without ever having left, exactly one of ACKED, LOST and DROPPED. Room for these answers is taken with the
 * datagram, so an answer cannot be lost.
 *
 * Received datagrams are slices of receive buffers like stream bytes; small ones, and what would pin a mostly empty
 * buffer at the end of a turn, are copied.
 *
 * A connection has no struct quic_datagrams before its first datagram.
 *
 * Invariant: bytes and count of a queue are those of its items; every ticket in use is the queue's or in flight, and
 * notes has room for all its answers still to come.
 */
#ifndef QUIC_DATAGRAM_H
#define QUIC_DATAGRAM_H

#include "base/buf.h"
#include "base/cursor.h"
#include "base/event.h"
#include "quic/pool.h"
#include "quic/sent.h"
#include "tables/options.h"
#include "tables/stats.h"

struct quic_conn;
struct quic_frame;

enum quic_datagram_fate { /* the last three are final */
                          QUIC_DATAGRAM_SENT = 1,
                          QUIC_DATAGRAM_ACKED,
                          QUIC_DATAGRAM_LOST,
                          QUIC_DATAGRAM_DROPPED, /* never sent: pushed out, too large by now, or the connection ended */
};

struct quic_datagram_note {
    uint64_t token;
    uint8_t fate; /* enum quic_datagram_fate */
};

#define QUIC_DATAGRAM_TICKETS 65536u /* most tokens whose final answer is to come or was not yet taken */
#define QUIC_DATAGRAM_OLDEST 0u      /* option datagram_drop */
#define QUIC_DATAGRAM_NEWEST 1u

struct quic_datagram_item;

struct quic_datagram_queue {
    struct quic_datagram_item *first, *last;
    uint64_t bytes;
    uint32_t count;
};

struct quic_datagram_ticket {
    uint64_t token;
    uint64_t sequence; /* of the datagram it is for; a record with another one came too late */
    uint32_t next;     /* free ones: the next; else what it is */
};

struct quic_datagrams {
    struct base_mem *mem;
    struct base_events *events;
    struct base_event *event; /* where to raise */
    struct conn_stats *stats;
    const struct options *options;
    struct quic_datagram_queue out, in;
    struct quic_pool slices, small, large; /* items: without bytes of their own, and with */
    struct quic_datagram_ticket *tickets;  /* as many as notes has room for */
    struct quic_datagram_note *notes;      /* ring */
    uint32_t capacity;                     /* of both; a power of two, or 0 */
    uint32_t free_ticket;                  /* first of the free list */
    uint32_t live;                         /* tickets in use */
    uint32_t owed; /* notes that will still come: two for what is queued, one for what is in flight */
    uint32_t note_first, note_count;
    uint64_t sequence;
    bool refused; /* a send was refused: ROOM is owed */
    bool sparse;  /* items came or went since the last compaction */
    bool closed;
};

/* What was received, borrowed until it is taken. */
struct quic_datagram_view {
    const uint8_t *data;
    size_t len;
    struct base_buf *buf; /* to keep the bytes longer: take a reference; NULL = must be copied */
    bool early;           /* came as 0-RTT: it may be a replay (RFC 9221 section 4) */
};

void quic_datagrams_init(struct quic_datagrams *set, struct base_mem *mem, struct base_events *events,
                         struct base_event *event, struct conn_stats *stats, const struct options *options);
/* The connection is over: what was not sent is DROPPED, what is in flight LOST. What was received can still be
 * taken. */
void quic_datagrams_close(struct quic_datagrams *set);
void quic_datagrams_clear(struct quic_datagrams *set);

/* Queues a copy. `token` 0: nothing is to be told. `max`: what fits now. 0; ERR_TOO_LARGE, ERR_BLOCKED (the queue is
 * full and the option says to keep what is in it, or too many answers wait; ROOM is raised when there is room),
 * ERR_NOMEM, ERR_CLOSED. */
int quic_datagrams_send(struct quic_datagrams *set, const uint8_t *data, size_t len, size_t max, uint64_t token);
/* Puts queued datagrams into the open packet of `log`, as many as fit. True when something was written. Those over
 * `max` can never be sent and are dropped. */
bool quic_datagrams_tx(struct quic_datagrams *set, struct base_writer *out, struct quic_sent *log, size_t max);
/* A record of ours met its fate for good. */
void quic_datagrams_on_fate(struct quic_datagrams *set, const struct quic_sent_frame *frame, bool acked);
/* A DATAGRAM frame arrived. 0 or QUIC_RX_DROP; `buf` NULL: copy. */
int quic_datagrams_rx(struct quic_datagrams *set, const struct quic_frame *frame, struct base_buf *buf, bool early);
/* The oldest datagram received; false: there is none. */
bool quic_datagrams_peek(const struct quic_datagrams *set, struct quic_datagram_view *view);
void quic_datagrams_take(struct quic_datagrams *set); /* the one that peek showed */
/* Takes up to `max` answers; how many. */
size_t quic_datagrams_notes(struct quic_datagrams *set, struct quic_datagram_note *notes, size_t max);
/* After the application had its turn: copies what pins mostly empty buffers. */
void quic_datagrams_compact(struct quic_datagrams *set);

static inline bool quic_datagrams_sendable(const struct quic_datagrams *set) { return set && set->out.first != NULL; }

/* ---- of a connection ---- */
/* Most bytes a datagram may have now, on the active path; 0 when the peer takes none (or takes empty ones only). It
 * grows and shrinks with the path. */
size_t quic_conn_datagram_max(const struct quic_conn *conn);
/* 0: the peer takes datagrams, perhaps only empty ones. ERR_CLOSED, ERR_STATE before its limit is known,
 * ERR_UNSUPPORTED when it takes none. */
int quic_conn_datagram_ready(const struct quic_conn *conn);
/* As quic_datagrams_send, and as quic_conn_datagram_ready. */
int quic_conn_datagram_send(struct quic_conn *conn, const uint8_t *data, size_t len, uint64_t token);
bool quic_conn_datagram_peek(const struct quic_conn *conn, struct quic_datagram_view *view);
void quic_conn_datagram_take(struct quic_conn *conn);
size_t quic_conn_datagram_notes(struct quic_conn *conn, struct quic_datagram_note *notes, size_t max);
/* A frame from the peer: 0, QUIC_RX_DROP or PROTOCOL_VIOLATION. */
int quic_conn_datagram_rx(struct quic_conn *conn, const struct quic_frame *frame, struct base_buf *buf, bool early);
/* An item that says no more than that its packet was lost or not is not told twice: what a PTO hands out is still in
 * flight. */
void quic_conn_datagram_fate(struct quic_conn *conn, const struct quic_sent_frame *frame, bool acked);
/* A packet was declared lost whose records were handed out by a PTO before. */
void quic_conn_datagram_lost_packet(struct quic_conn *conn, const struct quic_sent_packet *packet);

#endif
