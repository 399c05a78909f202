/* sched.c - which stream may send next (RFC 9218 sections 4 and 10).
 *
 * Knows urgencies and turns. Does not know streams, credit or packets: whoever stands in a list has something to
 * send now. Among equals the sequential ones go first: a response that is only useful as a whole should be whole
 * soon, and there is no gain in starting a second one before. Incremental ones share what is left, a packet each.
 *
 * The invariant that matters: bit u of the mask is set exactly when a list of urgency u is not empty, so finding the
 * next stream is one instruction and one look, however many wait.
 */
#include "quic/sched.h"

#include <assert.h>

static unsigned sched_lowest_bit(uint32_t mask) {
#if defined(__GNUC__)
    return (unsigned)__builtin_ctz(mask);
#else
    unsigned bit = 0;
    while (!(mask >> bit & 1))
        bit++;
    return bit;
#endif
}

static struct base_list *sched_list(struct quic_sched *sched, const struct quic_sched_node *node) {
    return node->incremental ? &sched->turns[node->urgency] : &sched->sequential[node->urgency];
}

void quic_sched_init(struct quic_sched *sched) {
    for (unsigned u = 0; u < QUIC_URGENCIES; u++) {
        base_list_init(&sched->sequential[u]);
        base_list_init(&sched->turns[u]);
    }
    sched->mask = 0;
}

void quic_sched_add(struct quic_sched *sched, struct quic_sched_node *node) {
    assert(node->urgency < QUIC_URGENCIES);
    if (base_node_linked(&node->node))
        return;
    base_list_push_back(sched_list(sched, node), &node->node);
    sched->mask |= UINT32_C(1) << node->urgency;
}

void quic_sched_remove(struct quic_sched *sched, struct quic_sched_node *node) {
    if (!base_node_linked(&node->node))
        return;
    base_list_remove(&node->node);
    unsigned u = node->urgency;
    if (base_list_empty(&sched->sequential[u]) && base_list_empty(&sched->turns[u]))
        sched->mask &= ~(UINT32_C(1) << u);
}

struct quic_sched_node *quic_sched_first(const struct quic_sched *sched) {
    if (!sched->mask)
        return NULL;
    unsigned u = sched_lowest_bit(sched->mask);
    struct base_node *node = base_list_first(&sched->sequential[u]);
    if (!node)
        node = base_list_first(&sched->turns[u]);
    return BASE_CONTAINER(node, struct quic_sched_node, node);
}

void quic_sched_served(struct quic_sched *sched, struct quic_sched_node *node) {
    if (!node->incremental || !base_node_linked(&node->node))
        return;
    base_list_remove(&node->node);
    base_list_push_back(sched_list(sched, node), &node->node);
}

void quic_sched_set(struct quic_sched *sched, struct quic_sched_node *node, uint8_t urgency, bool incremental) {
    assert(urgency < QUIC_URGENCIES);
    if (node->urgency == urgency && node->incremental == incremental)
        return; /* keeps its place */
    bool waiting = base_node_linked(&node->node);
    quic_sched_remove(sched, node);
    node->urgency = urgency;
    node->incremental = incremental;
    if (waiting)
        quic_sched_add(sched, node);
}
