/* path.c - moving connections: a client's own moves, the address a server prefers, and what is told of paths.
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
