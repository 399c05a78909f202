/* path_record.c - records of paths (path_record.h): made, kept when a path goes, found by index.
 *
 * Knows where a path's numbers lie. Changes none of them. A path over which nothing went either way leaves no record: a
 * candidate that was given up before its first packet.
 *
 * The invariant that matters: indexes without a gap. 0 is the path in use, and the first index without a record ends
 * the list.
 */
#include "quic/path_record.h"

#include "quic/conn.h"

struct quic_path_records { /* a ring */
    struct quic_path_record list[QUIC_PATH_RECORDS];
    unsigned next, count;
};

static void record_fill(const struct quic_path *path, enum quic_path_use use, struct quic_path_record *record) {
    const struct quic_path_control *control = &path->control;
    bool own = path->local.family || !path->socket; /* else the system chooses the address; the port is the socket's */
    *record = (struct quic_path_record){.local = own ? path->local : path->socket->local,
                                        .remote = path->remote,
                                        .use = (uint8_t)use,
                                        .ecn = control->ecn.state,
                                        .validated = path->state == QUIC_PATH_VALIDATED,
                                        .mtu = path->mtu,
                                        .rtt = control->rtt,
                                        .window = control->cc.window,
                                        .threshold = control->cc.threshold,
                                        .bytes_in_flight = control->bytes_in_flight,
                                        .stats = control->stats};
}

bool quic_path_record_at(const struct quic_conn *conn, unsigned index, struct quic_path_record *record) {
    uint8_t active = conn->recovery.active;
    if (index == 0) {
        record_fill(conn->paths[active], QUIC_PATH_IN_USE, record);
        return true;
    }
    index--;
    for (unsigned i = 0; i < QUIC_PATHS; i++) {
        const struct quic_path *path = i == active ? NULL : quic_path_at(conn, i);
        if (path && index-- == 0) {
            record_fill(path, QUIC_PATH_SPARE, record);
            return true;
        }
    }
    const struct quic_path_records *gone = conn->path_records;
    if (!gone || index >= gone->count)
        return false;
    *record = gone->list[(gone->next + QUIC_PATH_RECORDS - 1 - index) % QUIC_PATH_RECORDS];
    return true;
}

void quic_path_keep_record(struct quic_conn *conn, const struct quic_path *path) {
    const struct path_stats *stats = &path->control.stats;
    if (!stats->datagrams_sent && !stats->datagrams_received)
        return;
    if (!conn->path_records)
        conn->path_records = BASE_NEW(conn->endpoint->mem, struct quic_path_records);
    struct quic_path_records *gone = conn->path_records;
    if (!gone)
        return;
    record_fill(path, QUIC_PATH_GONE, &gone->list[gone->next]);
    gone->next = (gone->next + 1) % QUIC_PATH_RECORDS;
    gone->count += gone->count < QUIC_PATH_RECORDS;
}

void quic_path_free_records(struct quic_conn *conn) {
    if (conn->path_records)
        BASE_DELETE(conn->endpoint->mem, conn->path_records);
    conn->path_records = NULL;
}
