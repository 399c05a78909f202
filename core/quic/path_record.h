/* path_record.h - what can be told of the paths of a connection: of those there are, and of some that are gone.
 *
 * A record is a copy, made when somebody asks, or when a path is forgotten. Records of paths that are gone lie in a
 * block that is allocated when the first goes: nearly all connections have one path all their life.
 *
 * Invariant: the counters of a path that was used are told until the connection is freed, unless QUIC_PATH_RECORDS
 * others went after it.
 */
#ifndef QUIC_PATH_RECORD_H
#define QUIC_PATH_RECORD_H

#include "quic/path.h"

#define QUIC_PATH_RECORDS 4u /* of paths that are gone: the newest */

enum quic_path_use { QUIC_PATH_IN_USE = 1, QUIC_PATH_SPARE, QUIC_PATH_GONE };

struct quic_path_record {
    struct quic_addr local, remote;
    uint8_t use;    /* enum quic_path_use */
    uint8_t ecn;    /* enum quic_ecn_state */
    bool validated; /* the peer is known to be there, or was when the path went */
    uint32_t mtu;
    struct quic_rtt rtt;
    uint64_t window, threshold, bytes_in_flight;
    struct path_stats stats;
};

/* The index-th record: that of the path in use, those of the others there are, then those of the paths that are gone,
 * the newest first. False: there are no more. */
bool quic_path_record_at(const struct quic_conn *conn, unsigned index, struct quic_path_record *record);
/* The path is about to be forgotten. Without memory its record is lost. */
void quic_path_keep_record(struct quic_conn *conn, const struct quic_path *path);
void quic_path_free_records(struct quic_conn *conn);

#endif
