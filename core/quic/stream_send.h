/* stream_send.h - the sending half of a stream: bytes that wait, fly and are acknowledged (RFC 9000 section 3.1).
 *
 * Bytes are kept once, in chunks, from the application's write until the peer has them; packets are framed out of
 * them as often as needed. Two range sets say what must be sent again and what has arrived out of order; everything
 * else follows from four offsets:
 *
 *     acked_to <= sent <= written     [acked_to, sent) is in flight, acknowledged in `acked`, or wanted again in `lost`
 *
 * The same structure carries CRYPTO data of a packet number space (no limit, never finished).
 *
 * Invariant: `lost` and `acked` are disjoint and lie in [acked_to, sent).
 */
#ifndef QUIC_STREAM_SEND_H
#define QUIC_STREAM_SEND_H

#include "base/mem.h"
#include "base/range.h"
#include "quic/types.h"

enum quic_send_state { /* RFC 9000 figure 2 */
                       QUIC_SEND_READY = 0,
                       QUIC_SEND_SEND,
                       QUIC_SEND_DATA_SENT,
                       QUIC_SEND_RESET_SENT,
                       QUIC_SEND_DATA_RECVD,
                       QUIC_SEND_RESET_RECVD,
};

struct quic_chunk; /* a run of bytes: copied (with room to grow) or referenced */
struct quic_pools;

/* How the owner learns that referenced bytes are no longer needed. */
typedef void (*quic_release_cb)(void *user, uint64_t token);

struct quic_stream_send {
    struct quic_chunk *first, *last; /* chunks from acked_to on */
    struct quic_chunk *cursor;       /* where the last new bytes were copied out; NULL: start at the first */
    uint64_t acked_to, sent, written;
    struct base_ranges acked, lost;
    uint64_t buffered; /* bytes held: written - acked_to, for the high mark */
    uint64_t reset_code;
    uint64_t reliable;   /* with reset_at: everything below it is delivered all the same */
    uint64_t final_size; /* valid once fin or reset is decided */
    uint8_t state;       /* enum quic_send_state */
    bool fin;            /* the application has finished: final_size == written */
    bool fin_sent, fin_lost, fin_acked;
    bool reset_at, reset_acked; /* RESET_STREAM_AT is decided; was acknowledged */
    struct quic_pools *pools;   /* where chunks come from and go; NULL (as after init): allocated one by one */
};

void quic_stream_send_init(struct quic_stream_send *s);
/* Frees everything; `release` is called for each reference still held. */
void quic_stream_send_clear(struct quic_stream_send *s, struct base_mem *mem, quic_release_cb release, void *user);

/* Appends a copy. 0, or ERR_NOMEM (nothing was taken). */
int quic_stream_send_copy_in(struct quic_stream_send *s, struct base_mem *mem, const uint8_t *data, size_t len);
/* Appends a reference to the caller's bytes, of which there is at least one: they must stay unchanged until release
 * is called with `token`. 0, or ERR_NOMEM. */
int quic_stream_send_reference(struct quic_stream_send *s, struct base_mem *mem, const uint8_t *data, size_t len,
                               uint64_t token);
/* No more bytes follow: the FIN goes with or after the last one. */
void quic_stream_send_finish(struct quic_stream_send *s);
/* RESET_STREAM: everything not yet acknowledged is dropped (references released), final_size = sent. */
void quic_stream_send_reset(struct quic_stream_send *s, struct base_mem *mem, uint64_t code, quic_release_cb release,
                            void *user);

/* RESET_STREAM_AT: bytes from `reliable` <= written on that were not sent never are, and none of those is sent again.
 * The frame goes when all the rest was sent once, so that the final size (then `written`) is within every limit. */
void quic_stream_send_reset_at(struct quic_stream_send *s, struct base_mem *mem, uint64_t code, uint64_t reliable);
/* True when frame and reliable bytes have arrived: the half is done. */
bool quic_stream_send_reset_at_done(struct quic_stream_send *s, struct base_mem *mem, quic_release_cb release,
                                    void *user);
static inline bool quic_stream_send_reset_at_due(const struct quic_stream_send *s) {
    return s->reset_at && s->sent == s->written && s->state < QUIC_SEND_RESET_SENT && !s->reset_acked;
}

/* What would be framed next. Lost bytes come first. */
struct quic_send_piece {
    uint64_t offset;
    uint64_t len; /* bytes from offset on that could go (new ones limited by `limit`); may be 0 with fin */
    bool fin;     /* the FIN belongs to the end of this piece */
    bool again;   /* a retransmission: does not use flow control credit */
};
/* False when there is nothing to send below `limit` (the highest offset flow control allows). */
bool quic_stream_send_next(const struct quic_stream_send *s, uint64_t limit, struct quic_send_piece *piece);
/* Copies [offset, offset + len) to `out`. It must be held ([acked_to, written)). */
void quic_stream_send_copy_out(struct quic_stream_send *s, uint64_t offset, uint8_t *out, size_t len);
/* These bytes went into a packet. False: out of memory for the range sets; the bytes then count as not sent. */
bool quic_stream_send_on_sent(struct quic_stream_send *s, struct base_mem *mem, uint64_t offset, uint64_t len,
                              bool fin);
/* The packet was acknowledged / lost. Chunks below acked_to go; `release` is called for references among them.
 * Running out of memory for the ranges on ACK is answered by forgetting the ACK (bytes will be sent again); on loss
 * by widening what is sent again. */
void quic_stream_send_on_acked(struct quic_stream_send *s, struct base_mem *mem, uint64_t offset, uint64_t len,
                               bool fin, quic_release_cb release, void *user);
void quic_stream_send_on_lost(struct quic_stream_send *s, struct base_mem *mem, uint64_t offset, uint64_t len,
                              bool fin);

/* As if nothing had ever been sent; nothing was acknowledged. A reset then says that there were no bytes. */
void quic_stream_send_rewind(struct quic_stream_send *s, struct base_mem *mem);

/* True when nothing more will be sent or waited for: DATA_RECVD or RESET_RECVD. */
static inline bool quic_stream_send_done(const struct quic_stream_send *s) { return s->state >= QUIC_SEND_DATA_RECVD; }

#endif
