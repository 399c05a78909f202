/* chaos.h - an application that does everything an application may do, at random moments, on both sides at once, and
 * checks what it hears.
 *
 * Each side opens streams of both directions, writes bytes that are a function of stream, sender and offset, finishes,
 * resets, stops, reads a little or a lot, pauses, changes priorities and updates keys. What a peer does must show on
 * the other side as it was done: bytes, codes, ends, and one CLOSED for each stream.
 */
#ifndef SIM_CHAOS_H
#define SIM_CHAOS_H

#include "world.h"

struct chaos_side {
    struct quic_conn *conn;
    unsigned acts;                /* left to do */
    unsigned opened, closed;      /* streams that were known here, and that were told to be closed */
    unsigned resets, stops, ends; /* heard of */
    uint64_t received;
    bool connected, conn_closed, key_updates;
    base_time pause; /* most time between two acts */
    struct quic_close close;
};

struct chaos {
    struct chaos_side sides[2]; /* client, server */
};

extern const struct sim_app chaos_app; /* node->user: struct chaos */
/* Nothing is left to do and no stream is open on either side. */
bool chaos_done(const struct chaos *chaos);

#endif
