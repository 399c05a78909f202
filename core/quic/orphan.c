/* orphan.c - 0-RTT packets that overtook their Initial (RFC 9000 section 5.2.2).
 *
 * They belong to no connection yet. A few of the newest are kept, copied, and handed to the connection that an Initial
 * with the same Destination Connection ID makes. Nothing is known of them and nothing is answered: what does not fit is
 * dropped, the client will send it again. The copies bind no receive buffers, and all of them together are smaller than
 * one of those.
 *
 * Invariant: at most QUIC_ORPHANS datagrams of at most ORPHAN_SIZE bytes are held, whatever arrives.
 */
#include "quic/walk.h"

#define ORPHAN_SIZE 1500u
#define ORPHAN_LIFE BASE_SEC /* an Initial that is later than that is a retransmission, and so is what belongs to it */

struct quic_orphan {
    struct quic_cid dcid;
    struct quic_addr local, remote;
    base_time at;
    uint8_t ecn;
    uint16_t len; /* 0: the place is free */
    uint8_t *data;
};

static void orphan_free(struct quic_endpoint *endpoint, struct quic_orphan *orphan) {
    base_free(endpoint->mem, orphan->data, orphan->len);
    *orphan = (struct quic_orphan){0};
}

/* A free place, else that of the oldest. */
static struct quic_orphan *orphan_place(struct quic_endpoint *endpoint, uint64_t places) {
    struct quic_orphan *oldest = &endpoint->orphans[0];
    for (unsigned i = 0; i < places; i++) {
        struct quic_orphan *orphan = &endpoint->orphans[i];
        if (!orphan->len)
            return orphan;
        if (orphan->at < oldest->at)
            oldest = orphan;
    }
    orphan_free(endpoint, oldest);
    endpoint->stats.orphans_dropped++;
    return oldest;
}

void quic_orphan_keep(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                      const struct quic_header *header, base_time now) {
    const struct options *options = &datagram->socket->listener->config->options;
    if (!options->early_data || !options->orphan_packets || datagram->len > ORPHAN_SIZE) {
        endpoint->stats.orphans_dropped++;
        return;
    }
    if (!endpoint->orphans)
        endpoint->orphans = base_zalloc(endpoint->mem, QUIC_ORPHANS * sizeof *endpoint->orphans);
    uint8_t *data = endpoint->orphans ? base_alloc(endpoint->mem, datagram->len) : NULL;
    if (!data)
        return;
    memcpy(data, datagram->data, datagram->len);
    *orphan_place(endpoint, options->orphan_packets) = (struct quic_orphan){.dcid = header->dcid,
                                                                            .local = datagram->local,
                                                                            .remote = datagram->remote,
                                                                            .at = now,
                                                                            .ecn = datagram->ecn,
                                                                            .len = (uint16_t)datagram->len,
                                                                            .data = data};
}

static void orphan_hand_over(struct quic_endpoint *endpoint, const struct quic_orphan *orphan, struct quic_conn *conn,
                             base_time now) {
    struct base_buf *buf = base_buf_get(endpoint->bufs);
    if (!buf)
        return;
    memcpy(buf->data, orphan->data, orphan->len);
    struct quic_datagram datagram = {buf,           buf->data,      orphan->len, conn->paths[0]->socket,
                                     orphan->local, orphan->remote, orphan->ecn};
    quic_rx_datagrams(conn, &datagram, 1, now);
    base_buf_unref(buf);
}

void quic_orphan_adopt(struct quic_endpoint *endpoint, const struct quic_cid *dcid, struct quic_conn *conn,
                       base_time now) {
    for (unsigned i = 0; endpoint->orphans && i < QUIC_ORPHANS; i++) {
        struct quic_orphan *orphan = &endpoint->orphans[i];
        if (!orphan->len)
            continue;
        bool late = now - orphan->at > ORPHAN_LIFE, own = quic_cid_equal(&orphan->dcid, dcid);
        if (own && !late)
            orphan_hand_over(endpoint, orphan, conn, now);
        endpoint->stats.orphans_dropped += late;
        if (own || late)
            orphan_free(endpoint, orphan);
    }
}

void quic_orphan_clear(struct quic_endpoint *endpoint) {
    for (unsigned i = 0; endpoint->orphans && i < QUIC_ORPHANS; i++)
        orphan_free(endpoint, &endpoint->orphans[i]);
    base_free(endpoint->mem, endpoint->orphans, endpoint->orphans ? QUIC_ORPHANS * sizeof *endpoint->orphans : 0);
    endpoint->orphans = NULL;
}
