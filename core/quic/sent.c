/* sent.c - the log of sent packets: two rings that grow and never shrink under way (RFC 9002 A.1).
 *
 * Knows numbers, places and counts. Does not know why a packet is settled, nor what its records mean: recovery decides,
 * the owner of the records acts.
 *
 * Both rings are indexed by free-running numbers, so moving to a larger ring copies at most two stretches and changes
 * no index that is kept anywhere. All memory is asked for in quic_sent_open: once a packet is being written nothing can
 * fail, and a warm log allocates nothing.
 *
 * The invariant that matters: next - base <= capacity of the packet ring, and frame_next - frame_base <= capacity of
 * the frame ring, with room for QUIC_SENT_PACKET_FRAMES more while a packet is open.
 */
#include "quic/sent.h"

#include <assert.h>

#define SENT_FIRST_PACKETS 8u
#define SENT_MOST (UINT32_C(1) << 25) /* packets or records; keeps sizes and free-running indices far from wrapping */

void quic_sent_init(struct quic_sent *log) {
    *log = (struct quic_sent){.packet_mask = UINT32_MAX,
                              .frame_mask = UINT32_MAX,
                              .largest_acked = QUIC_NO_NUMBER,
                              .skipped = QUIC_NO_NUMBER};
}

static uint32_t sent_capacity(const void *ring, uint32_t mask) { return ring ? mask + 1 : 0; }

static void sent_release(struct quic_sent *log, struct base_mem *mem) {
    base_free(mem, log->packets, sent_capacity(log->packets, log->packet_mask) * sizeof *log->packets);
    base_free(mem, log->frames, sent_capacity(log->frames, log->frame_mask) * sizeof *log->frames);
    log->packets = NULL;
    log->frames = NULL;
    log->packet_mask = log->frame_mask = UINT32_MAX;
}

void quic_sent_clear(struct quic_sent *log, struct base_mem *mem) {
    sent_release(log, mem);
    quic_sent_init(log);
}

void quic_sent_shrink(struct quic_sent *log, struct base_mem *mem) {
    if (log->base == log->next && !log->open)
        sent_release(log, mem);
}

/* Copies `count` members from index `at` on from one ring to another. `from` may be NULL when count is 0. */
static void sent_move(uint8_t *to, uint32_t to_mask, const uint8_t *from, uint32_t from_mask, uint64_t at,
                      uint32_t count, size_t each) {
    while (count) {
        uint32_t source = (uint32_t)at & from_mask, target = (uint32_t)at & to_mask, run = count;
        if (run > from_mask - source + 1)
            run = from_mask - source + 1;
        if (run > to_mask - target + 1)
            run = to_mask - target + 1;
        memcpy(to + target * each, from + source * each, run * each);
        at += run;
        count -= run;
    }
}

/* A ring for `wanted` members that holds what the old one holds; NULL: out of memory, the old one stands. */
static void *sent_grow(struct base_mem *mem, void *ring, uint32_t *mask, uint64_t at, uint32_t count, uint32_t wanted,
                       uint32_t first, size_t each) {
    uint32_t capacity = sent_capacity(ring, *mask), larger = capacity ? capacity : first;
    if (wanted > SENT_MOST)
        return NULL;
    while (larger < wanted)
        larger *= 2;
    uint8_t *fresh = (uint8_t *)base_alloc(mem, larger * each);
    if (!fresh)
        return NULL;
    sent_move(fresh, larger - 1, (const uint8_t *)ring, *mask, at, count, each);
    base_free(mem, ring, capacity * each);
    *mask = larger - 1;
    return fresh;
}

/* Room for one packet more, and for `frames` records more. */
static bool sent_reserve(struct quic_sent *log, struct base_mem *mem, uint32_t frames) {
    uint32_t packets = (uint32_t)(log->next - log->base), records = log->frame_next - log->frame_base;
    if (packets >= sent_capacity(log->packets, log->packet_mask)) {
        void *ring = sent_grow(mem, log->packets, &log->packet_mask, log->base, packets, packets + 1,
                               SENT_FIRST_PACKETS, sizeof *log->packets);
        if (!ring)
            return false;
        log->packets = (struct quic_sent_packet *)ring;
    }
    if (records + frames > sent_capacity(log->frames, log->frame_mask)) {
        void *ring = sent_grow(mem, log->frames, &log->frame_mask, log->frame_base, records, records + frames,
                               QUIC_SENT_PACKET_FRAMES, sizeof *log->frames);
        if (!ring)
            return false;
        log->frames = (struct quic_sent_frame *)ring;
    }
    return true;
}

bool quic_sent_open(struct quic_sent *log, struct base_mem *mem) {
    assert(!log->open);
    if (!sent_reserve(log, mem, QUIC_SENT_PACKET_FRAMES))
        return false;
    log->open = true;
    log->open_start = log->frame_next;
    return true;
}

void quic_sent_open_untold(struct quic_sent *log) {
    assert(!log->open && log->base == log->next);
    log->open = log->untold = true;
    log->open_start = log->frame_next;
}

/* The next number is used up without a place in the ring, which is empty. */
static uint64_t sent_pass(struct quic_sent *log) {
    uint64_t number = log->next++;
    log->base = log->oldest = log->next;
    return number;
}

bool quic_sent_frame(struct quic_sent *log, const struct quic_sent_frame *frame) {
    assert(log->open);
    if (log->untold)
        return true;
    if (log->frame_next - log->open_start == QUIC_SENT_PACKET_FRAMES)
        return false;
    log->frames[log->frame_next++ & log->frame_mask] = *frame;
    return true;
}

uint32_t quic_sent_open_frames(const struct quic_sent *log) {
    return log->open ? log->frame_next - log->open_start : 0;
}

void quic_sent_rewind(struct quic_sent *log, uint32_t count) {
    assert(log->open && count <= quic_sent_open_frames(log));
    log->frame_next = log->open_start + count;
}

void quic_sent_abort(struct quic_sent *log) {
    quic_sent_rewind(log, 0);
    log->open = log->untold = false;
}

uint64_t quic_sent_commit(struct quic_sent *log, const struct quic_sent_packet *packet) {
    assert(log->open);
    if (log->untold) {
        assert(!packet->in_flight);
        log->open = log->untold = false;
        return sent_pass(log);
    }
    struct quic_sent_packet *slot = &log->packets[log->next & log->packet_mask];
    *slot = *packet;
    slot->state = QUIC_SENT_OUTSTANDING;
    slot->frame_start = log->open_start;
    slot->frame_count = (uint16_t)(log->frame_next - log->open_start);
    log->open = false;
    if (packet->in_flight) {
        log->outstanding++;
        log->eliciting += packet->eliciting;
    }
    if (packet->eliciting)
        log->last_eliciting_at = packet->sent_at;
    return log->next++;
}

bool quic_sent_skip(struct quic_sent *log, struct base_mem *mem) {
    assert(!log->open);
    if (!log->packets) {
        log->skipped = sent_pass(log);
        return true;
    }
    if (!sent_reserve(log, mem, 0))
        return false;
    struct quic_sent_packet *slot = &log->packets[log->next & log->packet_mask];
    *slot = (struct quic_sent_packet){.state = QUIC_SENT_SKIPPED, .frame_start = log->frame_next};
    log->skipped = log->next++;
    return true;
}

/* How many packets from this one on may leave the front of the ring; 0: it stays. */
static uint32_t sent_forgettable(const struct quic_sent_packet *packet, base_time forget_before) {
    switch (packet->state) {
    case QUIC_SENT_ACKED: return packet->skip ? packet->skip : 1;
    case QUIC_SENT_SKIPPED: return 1;
    case QUIC_SENT_LOST: return packet->sent_at < forget_before;
    default: return !packet->in_flight && packet->sent_at < forget_before;
    }
}

void quic_sent_trim(struct quic_sent *log, base_time forget_before) {
    uint64_t base = log->base;
    while (base != log->next) {
        struct quic_sent_packet *packet = &log->packets[base & log->packet_mask];
        uint32_t count = sent_forgettable(packet, forget_before);
        if (count == 0)
            break;
        base += count;
        if (packet->state == QUIC_SENT_ACKED)
            log->trimmed_acked_at = log->packets[(base - 1) & log->packet_mask].sent_at;
    }
    if (base == log->base)
        return;
    assert(base <= log->next);
    log->base = base;
    if (log->oldest < base)
        log->oldest = base;
    if (base != log->next)
        log->frame_base = log->packets[base & log->packet_mask].frame_start;
    else
        log->frame_base = log->open ? log->open_start : log->frame_next;
}
