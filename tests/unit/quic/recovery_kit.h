/* recovery_kit.h - what the tests of recovery share: a connection's recovery state with a journal of what its owner was
 * told.
 *
 * Packets carry one record each, whose value is the packet's number.
 */
#ifndef RECOVERY_KIT_H
#define RECOVERY_KIT_H

#include "quic/recovery.h"

#include "base/toolkit.h"

#define START (10 * BASE_SEC)
#define SIZE 1200u
#define MTU 1200u
#define JOURNAL 20000u

struct entry {
    uint64_t number;
    uint8_t space, fate;
};

struct fixture {
    struct toolkit_heap heap;
    struct base_mem mem;
    struct conn_stats stats;
    struct quic_recovery r;
    struct quic_path_control path, other;
    struct entry journal[JOURNAL];
    uint32_t told, packets_told;
};

static inline void on_frame(void *user, enum quic_space space, const struct quic_sent_frame *frame,
                            enum quic_fate fate) {
    struct fixture *f = (struct fixture *)user;
    f->journal[f->told++ % JOURNAL] = (struct entry){frame->value, (uint8_t)space, (uint8_t)fate};
}

static inline void on_packet(void *user, enum quic_space space, uint64_t number, const struct quic_sent_packet *packet,
                             enum quic_fate fate) {
    struct fixture *f = (struct fixture *)user;
    (void)space, (void)number, (void)packet, (void)fate;
    f->packets_told++;
}

static const struct quic_recovery_events events = {on_frame, on_packet};

static inline struct fixture *setup(enum crypto_role role) {
    static struct fixture fixture;
    struct fixture *f = &fixture;
    memset(f, 0, sizeof *f);
    f->mem = toolkit_mem(&f->heap, 0);
    quic_recovery_init(&f->r, &f->mem, role, &events, f, &f->stats);
    quic_path_control_init(&f->path, &f->mem, &quic_cc_newreno, MTU, 10, false, false, 333 * BASE_MS);
    f->r.paths[0] = &f->path;
    f->r.max_ack_delay = 25 * BASE_MS;
    return f;
}

/* A connection whose handshake is confirmed and whose RTT is exactly 100 ms without variation. */
static inline struct fixture *confirmed(void) {
    struct fixture *f = setup(CRYPTO_CLIENT);
    f->r.handshake_confirmed = f->r.handshake_acked = f->r.has_application_keys = true;
    f->path.rtt =
        (struct quic_rtt){.latest = 100 * BASE_MS, .smoothed = 100 * BASE_MS, .min = 100 * BASE_MS, .sampled = true};
    f->path.first_rtt_at = START;
    return f;
}

static inline void teardown(struct fixture *f) {
    quic_recovery_clear(&f->r);
    toolkit_all_back(&f->heap, &f->mem);
}

static inline uint64_t put_of_size(struct fixture *f, enum quic_space space, base_time now, bool eliciting,
                                   bool in_flight, uint32_t size) {
    ck_assert(quic_sent_open(&f->r.spaces[space], &f->mem));
    struct quic_sent_frame frame = {.kind = QUIC_FRAME_STREAM, .value = f->r.spaces[space].next};
    ck_assert(quic_sent_frame(&f->r.spaces[space], &frame));
    return quic_recovery_on_sent(&f->r, space, now, size, eliciting, in_flight, QUIC_NOT_ECT);
}

static inline uint64_t put(struct fixture *f, enum quic_space space, base_time now, bool eliciting, bool in_flight) {
    return put_of_size(f, space, now, eliciting, in_flight, SIZE);
}

static inline uint64_t app(struct fixture *f, base_time now) { return put(f, QUIC_APPLICATION, now, true, true); }

/* An ACK frame for ranges given as pairs low, high, the highest first. */
struct ack_of {
    uint8_t bytes[4096];
    struct quic_frame_ack ack;
};

static inline struct quic_frame_ack *ack_ranges(const uint64_t (*list)[2], uint32_t count) {
    static struct ack_of a;
    struct base_writer out = base_writer_of(a.bytes, sizeof a.bytes);
    for (uint32_t i = 1; i < count; i++) {
        base_write_varint(&out, list[i - 1][0] - list[i][1] - 2);
        base_write_varint(&out, list[i][1] - list[i][0]);
    }
    ck_assert(!out.bad);
    a.ack = (struct quic_frame_ack){.largest = list[0][1],
                                    .first_range = list[0][1] - list[0][0],
                                    .range_count = count - 1,
                                    .ranges = base_reader_of(a.bytes, (size_t)(out.pos - a.bytes))};
    return &a.ack;
}

static inline enum quic_error ack(struct fixture *f, enum quic_space space, uint64_t low, uint64_t high,
                                  base_time now) {
    const uint64_t list[][2] = {{low, high}};
    return quic_recovery_on_ack(&f->r, space, ack_ranges(list, 1), 0, now);
}

static inline void acked(struct fixture *f, uint64_t low, uint64_t high, base_time now) {
    ck_assert_int_eq(ack(f, QUIC_APPLICATION, low, high, now), QUIC_NO_ERROR);
}

static inline uint32_t count_told(const struct fixture *f, uint64_t number, enum quic_fate fate) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->told; i++)
        count += f->journal[i].number == number && f->journal[i].fate == fate;
    return count;
}

static inline uint8_t state_of(struct fixture *f, uint64_t number) {
    struct quic_sent_packet *packet = quic_sent_at(&f->r.spaces[QUIC_APPLICATION], number);
    return packet ? packet->state : QUIC_SENT_NONE;
}

#endif
