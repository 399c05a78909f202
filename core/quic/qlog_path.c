/* qlog_path.c - paths: who is where, what is tried, where the connection goes (draft-ietf-quic-qlog-quic-events 4.7,
 * 5.19).
 *
 * The draft calls a path a tuple. The first one is "", which is what records without a tuple mean; others are "1", "2"
 * ... in the order they are opened, and no name is used twice though entries of conn->paths are.
 *
 * Invariant: told.tuple[i] names the path in entry i from quic_qlog_path_opened to quic_qlog_path_gone.
 */
#include <stdio.h>

#include "quic/migrate.h"
#include "quic/qlog.h"
#include "quic/walk.h"

/* ---- addresses ---- */

/* RFC 5952 without its shortest form of zeros: a text that needs no search for the longest run. */
static void write_v6(struct qlog_json *json, const uint8_t ip[16]) {
    static const char digits[] = "0123456789abcdef";
    char text[40], *at = text;
    for (unsigned i = 0; i < 16; i++) {
        *at++ = digits[ip[i] >> 4];
        *at++ = digits[ip[i] & 15];
        if (i % 2 && i < 15)
            *at++ = ':';
    }
    qlog_json_bytes(json, "ip_v6", text, (size_t)(at - text));
}

static void write_v4(struct qlog_json *json, const uint8_t ip[16]) {
    char text[16];
    int len = snprintf(text, sizeof text, "%u.%u.%u.%u", ip[0], ip[1], ip[2], ip[3]);
    qlog_json_bytes(json, "ip_v4", text, (size_t)len);
}

void quic_qlog_address(struct qlog_json *json, const struct quic_addr *addr) {
    if (addr->family == 4) {
        write_v4(json, addr->ip);
        qlog_json_uint(json, "port_v4", addr->port);
    } else if (addr->family == 6) {
        write_v6(json, addr->ip);
        qlog_json_uint(json, "port_v6", addr->port);
    }
}

void quic_qlog_endpoint(struct qlog_json *json, const char *name, const struct quic_addr *addr) {
    qlog_json_open(json, name, '{');
    quic_qlog_address(json, addr);
    qlog_json_close(json, '}');
}

/* ---- paths ---- */

static void write_tuple(struct quic_conn *conn, struct qlog_json *json, const struct quic_path *path) {
    char text[24];
    uint64_t id = conn->qlog->told.tuple[path->index];
    int len = id ? snprintf(text, sizeof text, "%llu", (unsigned long long)id) : 0;
    qlog_json_bytes(json, "tuple_id", text, (size_t)len);
}

static void migration(struct quic_conn *conn, const struct quic_path *path, const char *state) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:migration_state_updated", path->index);
    if (!json)
        return;
    qlog_json_text(json, "new", state);
    write_tuple(conn, json, path);
    quic_qlog_endpoint(json, "tuple_remote", &path->remote);
    quic_qlog_endpoint(json, "tuple_local", &path->local);
    quic_qlog_record_end(conn);
}

static void assigned(struct quic_conn *conn, const struct quic_path *path, bool present) {
    struct qlog_json *json = quic_qlog_record(conn, "quic:tuple_assigned", path->index);
    if (!json)
        return;
    write_tuple(conn, json, path);
    if (present) { /* without both: the path is given up */
        quic_qlog_endpoint(json, "tuple_remote", &path->remote);
        quic_qlog_endpoint(json, "tuple_local", &path->local);
    }
    quic_qlog_record_end(conn);
}

void quic_qlog_path_opened(struct quic_conn *conn, const struct quic_path *path) {
    struct quic_qlog_state *told = &conn->qlog->told;
    told->tuple[path->index] = ++told->tuples;
    told->mtu[path->index] = path->mtu;
    told->ecn[path->index] = QUIC_ECN_OFF;
    told->moving[path->index] = false;
    assigned(conn, path, true);
    migration(conn, path, "probing_started");
}

void quic_qlog_path_gone(struct quic_conn *conn, const struct quic_path *path) { assigned(conn, path, false); }

void quic_qlog_path_news(struct quic_conn *conn, const struct quic_path *path, unsigned news) {
    bool *moving = &conn->qlog->told.moving[path->index];
    if (news == QUIC_PATH_NEWS_VALIDATED) {
        migration(conn, path, *moving ? "migration_complete" : "probing_successful");
        *moving = false;
    } else if (news == QUIC_PATH_NEWS_FAILED) {
        migration(conn, path, *moving || path->move_there ? "migration_abandoned" : "probing_abandoned");
        *moving = false;
    } else { /* in use from now on, perhaps before it is proven (RFC 9000 9.3) */
        *moving = path->state != QUIC_PATH_VALIDATED;
        migration(conn, path, *moving ? "migration_started" : "migration_complete");
    }
}
