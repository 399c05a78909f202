/* transfer.h - the application most scenarios run: clients ask, servers answer, every byte is checked.
 *
 * A client opens streams and writes on each a request of `upload` patterned bytes after an 8-byte length that says how
 * many bytes it wants back (as the perf protocol does). What stands at an offset of a stream is a function of stream
 * and offset, so loss, repetition or mixing-up of bytes shows.
 */
#ifndef SIM_TRANSFER_H
#define SIM_TRANSFER_H

#include "world.h"

struct transfer {
    /* what to do */
    unsigned streams; /* one after the other is opened as the peer allows */
    uint64_t upload, download;
    base_time reader_stops_at, reader_stops_for; /* the client takes nothing for a while; 0 = never */
    bool close_when_done;
    bool eager;   /* the server answers before the request has ended */
    uint64_t sip; /* the client takes at most so many bytes at a time, one sip each 100 us; 0 = all */
    /* what happened */
    unsigned opened, finished;
    uint64_t received;
    unsigned conns_closed;
    bool connected, client_closed, server_closed;
    struct quic_conn *client;
    struct quic_close client_close, server_close;
    struct conn_stats client_stats, server_stats;
    base_time connected_at, done_at;
};

extern const struct sim_app transfer_client_app, transfer_server_app;

/* The number of streams was raised: opens them. */
void transfer_more(struct sim_node *client, struct transfer *transfer);
/* True when every stream is through in both directions. */
bool transfer_done(const struct transfer *transfer);
uint8_t transfer_byte(uint64_t stream, uint64_t offset);

#endif
