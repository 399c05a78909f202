/* sched.h - which stream may send next (RFC 9218 section 4 and 10): eight urgencies, the most urgent first; within
 * one, streams that are not incremental go one after the other, incremental ones take turns, packet by packet. A
 * bitmask finds the urgency at once. Invariant: bit u of `mask` is set exactly when a list of urgency u is not
 * empty. */
#ifndef QUIC_SCHED_H
#define QUIC_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define QUIC_URGENCIES 8u
#define QUIC_URGENCY_DEFAULT 3u

struct quic_sched {
    struct base_list sequential[QUIC_URGENCIES], turns[QUIC_URGENCIES];
    uint32_t mask;
};

struct quic_sched_node {
    struct base_node node;
    uint8_t urgency; /* 0 most urgent .. 7 */
    bool incremental;
};

void quic_sched_init(struct quic_sched *sched);
void quic_sched_add(struct quic_sched *sched, struct quic_sched_node *node);    /* idempotent */
void quic_sched_remove(struct quic_sched *sched, struct quic_sched_node *node); /* idempotent */
struct quic_sched_node *quic_sched_first(const struct quic_sched *sched);       /* NULL: nobody wants to send */
/* The node has filled a packet and wants more: incremental ones go to the end of their list. */
void quic_sched_served(struct quic_sched *sched, struct quic_sched_node *node);
void quic_sched_set(struct quic_sched *sched, struct quic_sched_node *node, uint8_t urgency, bool incremental);

#endif
