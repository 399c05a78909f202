/* ack.c - which packets have arrived, and when to say so (RFC 9000 sections 12.3, 13.1, 13.2, 19.3).
 *
 * Knows packet numbers, arrival times and ECN marks of one packet number space. Does not know what the packets held
 * beyond "ack-eliciting", nor which of our packets carry ACK frames: the owner says when one was sent and when one
 * arrived.
 *
 * Arrival in order is the rule and costs a compare and an increment; everything else is a binary search among at most
 * 32 ranges. Two numbers bound what is remembered. `floor` rises when ranges are forgotten, and all below it is
 * refused, so forgetting can lose a late packet but never lets one in twice. `eliciting_end` tells reordering: a hole
 * that was reported once does not make every later packet urgent.
 *
 * The invariant that matters: every range lies at or above `floor`, and the largest number received is never forgotten
 * (13.2.3), so there is always something to acknowledge with.
 */
#include "quic/ack.h"

#include <assert.h>

void quic_ack_init(struct quic_ack *ack) {
    *ack = (struct quic_ack){.deadline = BASE_NEVER};
    base_ranges_init(&ack->received);
}

void quic_ack_clear(struct quic_ack *ack, struct base_mem *mem) {
    base_ranges_clear(&ack->received, mem);
    quic_ack_init(ack);
}

static const struct base_range *ack_top(const struct quic_ack *ack) {
    return ack->received.count ? &ack->received.list[ack->received.count - 1] : NULL;
}

uint64_t quic_ack_largest(const struct quic_ack *ack) {
    const struct base_range *top = ack_top(ack);
    return top ? top->end - 1 : QUIC_NO_NUMBER;
}

bool quic_ack_is_duplicate(const struct quic_ack *ack, uint64_t number) {
    if (number < ack->floor)
        return true;
    const struct base_range *top = ack_top(ack);
    if (!top || number >= top->end)
        return false;
    return number >= top->start || base_ranges_contains(&ack->received, number);
}

/* Forgets everything below `bound`; it is refused from now on. */
static void ack_raise_floor(struct quic_ack *ack, uint64_t bound) {
    if (bound <= ack->floor)
        return;
    ack->floor = bound;
    base_ranges_drop_below(&ack->received, bound);
}

/* Adds the number; the lowest range makes room when there are too many. */
static bool ack_record(struct quic_ack *ack, struct base_mem *mem, uint64_t number) {
    struct base_ranges *received = &ack->received;
    int result = base_ranges_add(received, mem, number, number + 1, QUIC_ACK_RANGES);
    if (result == BASE_RANGES_FULL) {
        if (number < received->list[0].start) { /* it would be the lowest itself */
            ack_raise_floor(ack, number + 1);
            return true;
        }
        ack_raise_floor(ack, received->list[0].end);
        result = base_ranges_add(received, mem, number, number + 1, QUIC_ACK_RANGES);
    }
    return result == BASE_RANGES_OK;
}

/* RFC 9000 13.2.1: an ack-eliciting packet is out of order when a larger one came before, or one is missing since the
 * last. */
static bool ack_is_reordered(const struct quic_ack *ack, uint64_t number) {
    if (number < ack->eliciting_end)
        return true;
    uint64_t from = ack->eliciting_end > ack->floor ? ack->eliciting_end : ack->floor;
    const struct base_range *top = ack_top(ack);
    if (number < from || (top->start <= from && number < top->end))
        return false;
    return !base_ranges_covers(&ack->received, from, number);
}

/* draft-ietf-quic-ack-frequency 6.2: a hole, not told of yet, lies `threshold` or more below the largest. */
static bool ack_has_hole(const struct quic_ack *ack, uint32_t threshold) {
    const struct base_range *top = ack_top(ack);
    uint64_t from = ack->told_end >= threshold ? ack->told_end - threshold + 1 : 0;
    if (from < ack->floor)
        from = ack->floor;
    uint32_t i = base_ranges_find(&ack->received, from);
    uint64_t hole = i < ack->received.count && ack->received.list[i].start <= from ? ack->received.list[i].end : from;
    return hole < top->end && top->end - 1 - hole >= threshold;
}

static bool ack_is_out_of_order(const struct quic_ack *ack, uint64_t number, uint32_t threshold) {
    return threshold == 0 ? ack_is_reordered(ack, number) : threshold != UINT32_MAX && ack_has_hole(ack, threshold);
}

void quic_ack_at_once(struct quic_ack *ack, base_time now) { ack->deadline = base_time_min(ack->deadline, now); }

bool quic_ack_on_packet(struct quic_ack *ack, struct base_mem *mem, uint64_t number, bool eliciting, enum quic_ecn ecn,
                        base_time now, const struct quic_ack_policy *policy) {
    assert(!quic_ack_is_duplicate(ack, number));
    uint64_t largest = quic_ack_largest(ack);
    if (!ack_record(ack, mem, number))
        return false;
    if (largest == QUIC_NO_NUMBER || number > largest)
        ack->largest_at = now;
    ack->any = true;
    ack->ect0 += ecn == QUIC_ECT0;
    ack->ect1 += ecn == QUIC_ECT1;
    ack->ce += ecn == QUIC_CE;
    if (!eliciting)
        return true;

    bool urgent = !policy || ecn == QUIC_CE || ack_is_out_of_order(ack, number, policy->reordering);
    if (number >= ack->eliciting_end)
        ack->eliciting_end = number + 1;
    ack->eliciting++;
    if (urgent || ack->eliciting >= policy->every)
        ack->deadline = base_time_min(ack->deadline, now);
    else
        ack->deadline = base_time_min(ack->deadline, base_time_add(now, policy->max_delay));
    return true;
}

bool quic_ack_wanted(const struct quic_ack *ack, base_time now, bool bundle) {
    return ack->deadline <= now || (bundle && ack->any);
}

/* The range below the one at `list[i + 1]`, as ACK frames tell it: distances, each one less than it looks (19.3.1). */
static size_t ack_range_encode(const struct base_range *list, uint32_t i, uint64_t *gap, uint64_t *length) {
    *gap = list[i + 1].start - list[i].end - 1;
    *length = list[i].end - list[i].start - 1;
    return base_varint_size(*gap) + base_varint_size(*length);
}

bool quic_ack_write(const struct quic_ack *ack, struct base_writer *out, base_time now, unsigned exponent,
                    uint64_t *largest) {
    const struct base_range *list = ack->received.list;
    uint32_t top = ack->received.count;
    if (top-- == 0 || out->bad)
        return false;
    uint64_t number = list[top].end - 1, first = list[top].end - list[top].start - 1, gap, length;
    uint64_t delay = now > ack->largest_at ? (now - ack->largest_at) / BASE_US >> exponent : 0;
    const uint64_t marks[] = {ack->ect0, ack->ect1, ack->ce};
    bool ecn = ack->ect0 || ack->ect1 || ack->ce;

    /* type; range count: one byte each, as there are fewer than 64 ranges */
    size_t need = 2 + base_varint_size(number) + base_varint_size(delay) + base_varint_size(first);
    for (unsigned i = 0; ecn && i < 3; i++)
        need += base_varint_size(marks[i]);
    size_t room = base_writer_left(out);
    if (need > room)
        return false;
    uint32_t low = top;
    while (low > 0 && (need += ack_range_encode(list, low - 1, &gap, &length)) <= room)
        low--;

    base_write_u8(out, ecn ? QUIC_FRAME_ACK_ECN : QUIC_FRAME_ACK);
    base_write_varint(out, number);
    base_write_varint(out, delay);
    base_write_varint(out, top - low);
    base_write_varint(out, first);
    for (uint32_t i = top; i > low; i--) {
        ack_range_encode(list, i - 1, &gap, &length);
        base_write_varint(out, gap);
        base_write_varint(out, length);
    }
    for (unsigned i = 0; ecn && i < 3; i++)
        base_write_varint(out, marks[i]);
    assert(!out->bad);
    *largest = number;
    return true;
}

void quic_ack_on_sent(struct quic_ack *ack) {
    ack->deadline = BASE_NEVER;
    ack->eliciting = 0;
    ack->any = false;
    ack->told_end = quic_ack_largest(ack) + 1;
}

void quic_ack_on_acked(struct quic_ack *ack, uint64_t largest) { ack_raise_floor(ack, largest); }

void quic_ack_policy_adapt(struct quic_ack_policy *policy, uint32_t batch, base_time min_rtt, base_time max_ack_delay) {
    uint32_t every = policy->every > QUIC_ACK_EVERY ? policy->every : QUIC_ACK_EVERY;
    if (min_rtt == 0)
        every = QUIC_ACK_EVERY;
    else if (batch > every)
        every = batch < every * 2 ? batch : every * 2;
    else if (batch > 0)
        every -= (every - batch + 1) / 2;
    if (every < QUIC_ACK_EVERY)
        every = QUIC_ACK_EVERY;
    policy->every = every < QUIC_ACK_EVERY_MAX ? every : QUIC_ACK_EVERY_MAX;
    policy->max_delay = policy->every > QUIC_ACK_EVERY ? base_time_min(max_ack_delay, min_rtt / 4) : max_ack_delay;
}
