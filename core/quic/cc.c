/* cc.c - the table of congestion controllers, and what they share (RFC 9002 section 7.2 and 7.3.1).
 *
 * Knows names, initial windows and slow start. Does not know how a controller answers to congestion or grows after it:
 * that is each controller's own file.
 *
 * The invariant that matters: window >= 2 * mtu from init on, whatever the MTU becomes.
 */
#include "quic/resume.h"

#define CC_DEFAULT_PACKETS 10u
#define CC_INITIAL_BYTES 14720u
#define CC_UNPACED_PACKETS 8u /* RFC 9406 4.3: L, for senders that do not pace */

/* In the order of the congestion_control option. */
static const struct quic_cc_ops *const cc_table[] = {&quic_cc_cubic, &quic_cc_newreno, &quic_cc_bbr};
#define CC_COUNT (sizeof cc_table / sizeof *cc_table)

const struct quic_cc_ops *quic_cc_at(unsigned index) { return index < CC_COUNT ? cc_table[index] : NULL; }

const struct quic_cc_ops *quic_cc_find(const char *name) {
    for (unsigned i = 0; i < CC_COUNT; i++)
        if (strcmp(cc_table[i]->name, name) == 0)
            return cc_table[i];
    return NULL;
}

uint64_t quic_cc_initial_window(uint32_t mtu, uint32_t initial_packets) {
    uint64_t window = (uint64_t)mtu * initial_packets, least = 2 * (uint64_t)mtu;
    uint64_t most = CC_INITIAL_BYTES > least ? CC_INITIAL_BYTES : least;
    if (initial_packets <= CC_DEFAULT_PACKETS && window > most)
        window = most;
    return window > least ? window : least;
}

bool quic_cc_init(struct quic_cc *cc, struct base_mem *mem, const struct quic_cc_ops *ops, uint32_t mtu,
                  uint32_t initial_packets, bool hystart) {
    *cc = (struct quic_cc){.ops = ops,
                           .window = quic_cc_initial_window(mtu, initial_packets),
                           .threshold = UINT64_MAX,
                           .mtu = mtu,
                           .initial_packets = initial_packets};
    quic_hystart_init(&cc->hystart, hystart);
    if (ops->state_size)
        cc->state = base_zalloc(mem, ops->state_size);
    if ((cc->state || !ops->state_size) && ops->init(cc))
        return true;
    base_free(mem, cc->state, ops->state_size);
    cc->state = NULL;
    cc->ops = NULL;
    return false;
}

void quic_cc_clear(struct quic_cc *cc, struct base_mem *mem) {
    if (!cc->ops)
        return;
    quic_resume_end(cc, mem);
    if (cc->ops->clear)
        cc->ops->clear(cc);
    base_free(mem, cc->state, cc->ops->state_size);
    cc->state = NULL;
    cc->ops = NULL;
}

void quic_cc_on_mtu(struct quic_cc *cc, uint32_t mtu) {
    bool untouched = cc->window == quic_cc_initial_window(cc->mtu, cc->initial_packets) && cc->events == 0;
    bool smaller = mtu < cc->mtu;
    cc->mtu = mtu;
    if (untouched && smaller)
        cc->window = quic_cc_initial_window(mtu, cc->initial_packets);
    if (cc->window < quic_cc_least_window(cc))
        cc->window = quic_cc_least_window(cc);
}

uint64_t quic_cc_slow_start(struct quic_cc *cc, const struct quic_cc_ack *ack) {
    unsigned divisor = 1;
    bool first = cc->threshold == UINT64_MAX && cc->hystart.enabled;
    bool leave = first && quic_hystart_on_ack(&cc->hystart, ack, &divisor);
    uint64_t bytes = ack->app_limited ? 0 : ack->fresh_bytes, left = 0;
    if (first && !cc->hystart.paced && bytes > CC_UNPACED_PACKETS * (uint64_t)cc->mtu)
        bytes = CC_UNPACED_PACKETS * (uint64_t)cc->mtu;
    uint64_t growth = bytes / divisor;
    if (growth > cc->threshold - cc->window) {
        growth = cc->threshold - cc->window;
        left = bytes - growth; /* the threshold is infinite while the divisor is not 1 */
    }
    cc->window += growth;
    if (leave)
        cc->threshold = cc->window;
    return left;
}
