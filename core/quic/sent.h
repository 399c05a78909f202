/* sent.h - the log of packets in flight of one packet number space, and what each of them carried.
 *
 * Packet numbers are dense, so the log is a power-of-two ring indexed by number: finding a packet is a mask. What a
 * packet carried is kept as frame records in a second ring, in the same order; nothing keeps packets' bytes. When a
 * packet is acknowledged or lost, each of its records meets its fate once, in the owner's function.
 *
 * Writing: quic_sent_open, then quic_sent_frame for each frame put into the packet, then quic_sent_commit - or
 * quic_sent_abort, and it never was. Room is reserved in open, so a committed packet is always recorded.
 *
 * Invariant: packets [base, next) are in the ring; the packet at base is not yet settled (or the ring is empty) after
 * every trim; the records of packets below base are given back.
 */
#ifndef QUIC_SENT_H
#define QUIC_SENT_H

#include "base/mem.h"
#include "quic/types.h"

/* A frame record. `kind` is a frame type (STREAM without flag bits) or one of the owner's own numbers < 256. */
struct quic_sent_frame {
    uint8_t kind;
    uint8_t flags;  /* STREAM: QUIC_SENT_FIN */
    uint16_t len;   /* STREAM, CRYPTO: bytes */
    uint32_t extra; /* the owner's: a slot in a small table, the low bits of a sequence number ... */
    uint64_t ref;   /* STREAM and stream control: the stream's handle */
    uint64_t value; /* STREAM, CRYPTO: offset; MAX_*: limit; ACK: largest; NEW_/RETIRE_CONNECTION_ID: sequence */
};
#define QUIC_SENT_FIN 1u

enum quic_sent_state {
    QUIC_SENT_NONE = 0, /* ring slot without packet */
    QUIC_SENT_OUTSTANDING,
    QUIC_SENT_LOST, /* declared lost; remembered for a while to notice that it was not */
    QUIC_SENT_ACKED,
    QUIC_SENT_SKIPPED, /* a number never sent: an ACK for it is a lie (RFC 9000 21.4) */
};

struct quic_sent_packet { /* 64 bytes: one cache line */
    base_time sent_at;
    /* delivery-rate state at sending */
    base_time delivered_at, first_sent_at;
    uint64_t delivered;
    uint32_t tx_in_flight; /* bytes in flight after sending; UINT32_MAX = that or more */
    uint32_t lost;         /* low bits of the bytes lost on its path when it was sent */
    uint32_t frame_start;  /* index into the frame ring (free-running) */
    uint16_t frame_count;
    uint16_t bytes; /* size on the wire */
    uint8_t state;  /* enum quic_sent_state */
    uint8_t path;   /* index of the path it went on */
    bool eliciting, in_flight, app_limited, mtu_probe;
    uint8_t ecn;
    uint8_t key_phase; /* low bits of the key generation it was sealed with */
    uint32_t skip;     /* ACKED: so many packets from this one on are acknowledged; walks jump over them */
    uint16_t event;    /* LOST: the congestion event of its path it belongs to; 0 = none */
    bool requeued;     /* its records were handed out as lost for a probe already */
    uint8_t era;       /* which of the paths that had this entry it went on (recovery.h) */
};
_Static_assert(sizeof(struct quic_sent_packet) == 64, "a packet is one cache line's worth");

struct quic_sent {
    struct quic_sent_packet *packets;
    struct quic_sent_frame *frames;
    uint32_t packet_mask,
        frame_mask;      /* capacity - 1; capacity 0 (lazily allocated): mask = UINT32_MAX with NULL rings */
    uint64_t base, next; /* [base, next) are in the ring; next = number of the next packet */
    uint32_t frame_base, frame_next; /* free-running */
    uint32_t open_start;             /* frame_next when the open packet was opened */
    uint64_t largest_acked;          /* QUIC_NO_NUMBER = none */
    uint32_t outstanding;            /* packets in state OUTSTANDING that are in flight */
    uint32_t eliciting;              /* of these, ack-eliciting */
    base_time last_eliciting_at;     /* when the last ack-eliciting packet was sent; 0 = never */
    uint64_t oldest;                 /* no packet below it is OUTSTANDING */
    uint64_t skipped;           /* the newest number skipped, QUIC_NO_NUMBER = none; outlives its place in the ring */
    base_time trimmed_acked_at; /* when the newest acknowledged packet that left the ring was sent; 0 = none */
    bool open, untold;          /* a packet is; and nothing will be known of it */
};

#define QUIC_SENT_PACKET_FRAMES 64u /* most records a packet may have: writers stop there */

void quic_sent_init(struct quic_sent *log);
void quic_sent_clear(struct quic_sent *log, struct base_mem *mem);

/* Starts packet `log->next`. False: out of memory (nothing changed). */
bool quic_sent_open(struct quic_sent *log, struct base_mem *mem);
/* Starts it, while the log is empty, as one that nobody has to acknowledge and of which nothing will be known: it takes
 * no memory, what is recorded of it is dropped, and the log stays empty. */
void quic_sent_open_untold(struct quic_sent *log);
/* Adds a record to the open packet. False when it has QUIC_SENT_PACKET_FRAMES already: close the packet. */
bool quic_sent_frame(struct quic_sent *log, const struct quic_sent_frame *frame);
uint32_t quic_sent_open_frames(const struct quic_sent *log); /* records of the open packet */
/* Takes back the records of the open packet beyond the first `count`. */
void quic_sent_rewind(struct quic_sent *log, uint32_t count);
void quic_sent_abort(struct quic_sent *log);
/* The open packet is sent as described by `packet` (state, frame_start and frame_count are filled in here). Returns its
 * number. */
uint64_t quic_sent_commit(struct quic_sent *log, const struct quic_sent_packet *packet);
/* Uses up a number without sending it. False: out of memory. A log without memory needs none for it. */
bool quic_sent_skip(struct quic_sent *log, struct base_mem *mem);

/* The packet with this number, or NULL when it is not in the log. */
static inline struct quic_sent_packet *quic_sent_at(struct quic_sent *log, uint64_t number) {
    return number - log->base < log->next - log->base ? &log->packets[number & log->packet_mask] : NULL;
}

static inline struct quic_sent_frame *quic_sent_frame_at(struct quic_sent *log, const struct quic_sent_packet *packet,
                                                         unsigned i) {
    return &log->frames[(packet->frame_start + i) & log->frame_mask];
}

/* The packet is acknowledged or lost (state ACKED or LOST): takes it out of the counts. */
static inline void quic_sent_settle(struct quic_sent *log, struct quic_sent_packet *packet,
                                    enum quic_sent_state state) {
    if (packet->state == QUIC_SENT_OUTSTANDING && packet->in_flight) {
        log->outstanding--;
        log->eliciting -= packet->eliciting;
    }
    packet->state = (uint8_t)state;
}

/* Gives back settled packets at the front: acknowledged and skipped ones, lost ones sent before `forget_before`, and
 * those sent before it that nobody has to acknowledge (not in flight): a receiver of data sends little else, and hears
 * of few of them. */
void quic_sent_trim(struct quic_sent *log, base_time forget_before);
/* Gives the rings' memory back while nothing is recorded (an idle connection's); the next open allocates again. */
void quic_sent_shrink(struct quic_sent *log, struct base_mem *mem);
static inline bool quic_sent_holds_memory(const struct quic_sent *log) { return log->packets != NULL; }

#endif
