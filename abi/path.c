/* path.c - moving connections: a client's own moves, the address a server prefers, and what is told of paths: news,
 * numbers.
 *
 * Knows which socket a move needs and how long it is kept. Does not know what a move is: the core does
 * (core/quic/migrate.h).
 *
 * A move gets a socket of its own, which is given up at once: the loop closes it when no path of any connection uses it
 * any more, so it lives exactly as long as the path. With external I/O sockets are the caller's, and an address is all.
 *
 * The invariant that matters: no socket is left open by a move that was refused or that failed.
 */
#include "abi.h"

#include "io/addr.h"
#include "quic/migrate.h"
#include "quic/path_record.h"

/* ---- moves ---- */

/* The address to move to, of the family in use. */
static int32_t move_local(const struct abi_conn *conn, const char *text, struct quic_addr *local) {
    uint8_t family = quic_path_active(conn->core)->remote.family;
    if (!text) {
        *local = (struct quic_addr){.family = family};
        return conn->engine->loop.external ? WEFT_E_INVALID : WEFT_OK; /* nobody there to choose one */
    }
    if (!io_addr_parse(text, 0, local) || local->family != family)
        return WEFT_E_ADDRESS;
    return conn->engine->loop.external && (!local->port || io_addr_is_any(local)) ? WEFT_E_ADDRESS : WEFT_OK;
}

static int move_external(struct abi_conn *conn, const struct quic_addr *local, bool move) {
    base_time now = abi_now(conn->engine);
    struct quic_socket *socket = quic_path_active(conn->core)->socket;
    return move ? quic_conn_migrate(conn->core, socket, local, now) : quic_conn_probe(conn->core, socket, local, now);
}

static int move_own(struct abi_conn *conn, const struct quic_addr *local, bool move) {
    struct io_loop *loop = &conn->engine->loop;
    struct io_udp_open open = {.local = *local, .features = IO_UDP_ALL, .v6_only = true};
    struct io_socket *socket;
    int result = io_loop_open_socket(loop, &open, &socket, NULL);
    if (result)
        return result;
    struct quic_socket *core = io_socket_core(socket);
    base_time now = abi_now(conn->engine);
    result = move ? quic_conn_migrate(conn->core, core, &core->local, now)
                  : quic_conn_probe(conn->core, core, &core->local, now);
    io_loop_close_socket(loop, socket);
    return result;
}

static int32_t conn_move(weft_conn handle, const char *text, bool move) {
    int32_t error;
    struct abi_conn *conn = abi_conn_with_core(handle, &error);
    if (!conn)
        return error;
    if (conn->core->state >= QUIC_CONN_CLOSING)
        return WEFT_E_CLOSED;
    struct quic_addr local;
    error = move_local(conn, text, &local);
    if (error)
        return error;
    error = conn->engine->loop.external ? move_external(conn, &local, move) : move_own(conn, &local, move);
    abi_touch(conn->engine);
    return error;
}

int32_t weft_conn_migrate(weft_conn conn, const char *local) { return conn_move(conn, local, true); }

int32_t weft_conn_probe(weft_conn conn, const char *local) { return conn_move(conn, local, false); }

/* ---- news ---- */

int32_t weft_conn_path_news(weft_conn conn, weft_path_news *news) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    struct quic_path_note note;
    if (!news || news->size < sizeof news->size)
        return WEFT_E_INVALID;
    if (!own->core || !quic_conn_path_note(own->core, &note))
        return 0;
    weft_path_news all = {.news = note.news};
    abi_addr_out(&note.local, &all.local);
    abi_addr_out(&note.remote, &all.remote);
    error = abi_give(news, &all, sizeof all);
    return error ? error : 1;
}

/* ---- counters ---- */

#define PATHS_MOST (QUIC_PATHS + QUIC_PATH_RECORDS)

_Static_assert((int)WEFT_PATH_IN_USE == (int)QUIC_PATH_IN_USE && (int)WEFT_PATH_SPARE == (int)QUIC_PATH_SPARE &&
                   (int)WEFT_PATH_GONE == (int)QUIC_PATH_GONE && (int)WEFT_ECN_OFF == (int)QUIC_ECN_OFF &&
                   (int)WEFT_ECN_TESTING == (int)QUIC_ECN_TESTING && (int)WEFT_ECN_UNKNOWN == (int)QUIC_ECN_UNKNOWN &&
                   (int)WEFT_ECN_CAPABLE == (int)QUIC_ECN_CAPABLE && (int)WEFT_ECN_PAUSED == (int)QUIC_ECN_PAUSED &&
                   (int)WEFT_ECN_FAILED == (int)QUIC_ECN_FAILED,
               "uses and marks as the core has them");

void abi_path_keep(const struct abi_conn *conn, struct abi_last *last) {
    struct quic_path_record record, *paths;
    uint32_t count = 0;
    while (quic_path_record_at(conn->core, count, &record))
        count++;
    paths = base_alloc(&conn->engine->mem, count * sizeof *paths);
    if (!paths)
        return;
    for (uint32_t i = 0; i < count; i++)
        (void)quic_path_record_at(conn->core, i, &paths[i]);
    last->paths = paths;
    last->path_count = count;
}

static bool path_record(const struct abi_conn *conn, uint32_t index, struct quic_path_record *record) {
    if (conn->core)
        return index < PATHS_MOST && quic_path_record_at(conn->core, index, record);
    if (index >= conn->last->path_count)
        return false;
    *record = conn->last->paths[index];
    return true;
}

static void path_stats_out(const struct quic_path_record *from, weft_path_stats *to) {
    *to = (weft_path_stats){.use = from->use,
                            .validated = from->validated,
                            .ecn = from->ecn,
                            .rtt = from->rtt.smoothed,
                            .rtt_variance = from->rtt.variation,
                            .rtt_min = from->rtt.sampled ? from->rtt.min : 0,
                            .rtt_latest = from->rtt.sampled ? from->rtt.latest : 0,
                            .congestion_window = from->window,
                            .bytes_in_flight = from->bytes_in_flight,
                            .slow_start_threshold = from->threshold,
                            .mtu = from->mtu};
    abi_addr_out(&from->local, &to->local);
    abi_addr_out(&from->remote, &to->remote);
#define STAT_COPY_CONN(name)
#define STAT_COPY_ENGINE(name)
#define STAT_COPY_PATH(name) to->name = from->stats.name;
#define STAT(scope, name, text) STAT_COPY_##scope(name)
#include "tables/stats.def"
#undef STAT
#undef STAT_COPY_PATH
#undef STAT_COPY_ENGINE
#undef STAT_COPY_CONN
}

int32_t weft_conn_get_path_stats(weft_conn conn, uint32_t index, weft_path_stats *stats) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    struct quic_path_record record;
    weft_path_stats all;
    if (!stats || stats->size < sizeof stats->size)
        return WEFT_E_INVALID;
    if (!path_record(own, index, &record))
        return 0;
    path_stats_out(&record, &all);
    error = abi_give(stats, &all, sizeof all);
    return error ? error : 1;
}

/* ---- the preferred address ---- */

static bool preferred_parse(const char *text, uint8_t family, struct quic_addr *addr) {
    *addr = (struct quic_addr){0};
    return !text || (io_addr_parse(text, 0, addr) && addr->family == family && addr->port && !io_addr_is_any(addr));
}

int32_t weft_config_set_preferred_address(weft_config config, const char *v4, const char *v6) {
    int32_t error;
    struct abi_config *own = abi_config_begin(config, &error);
    if (!own)
        return error;
    struct quic_addr four, six;
    if (!preferred_parse(v4, 4, &four) || !preferred_parse(v6, 6, &six))
        return abi_config_end(own,
                              abi_config_fail(own, WEFT_E_ADDRESS, "'%.64s' is no address with a port of its family",
                                              preferred_parse(v4, 4, &four) ? v6 : v4));
    own->core.preferred_v4 = four;
    own->core.preferred_v6 = six;
    return abi_config_end(own, WEFT_OK);
}
