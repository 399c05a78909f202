/* info.c - what can be asked about a connection: who, where, how fast, how it ended.
 *
 * Knows the two places where the answer may lie: the core's connection while there is one, else what was kept of it.
 * Does not change anything.
 *
 * The invariant that matters: a connection answers the same before and after its core goes, if it was kept.
 */
#include "abi.h"

/* ---- addresses ---- */

void abi_addr_out(const struct quic_addr *from, weft_addr *to) {
    *to = (weft_addr){.family = from->family, .port = from->port, .scope = from->scope};
    memcpy(to->ip, from->ip, sizeof to->ip);
}

bool abi_addr_in(const weft_addr *from, struct quic_addr *to) {
    if (from->family != 0 && from->family != 4 && from->family != 6)
        return false;
    *to = (struct quic_addr){.family = from->family, .port = from->port};
    if (from->family == 6)
        io_addr_from_v6(from->ip, from->scope, to); /* mapped IPv4 becomes IPv4 */
    else
        memcpy(to->ip, from->ip, 4);
    to->port = from->port;
    return true;
}

int32_t weft_addr_parse(const char *text, uint16_t port, weft_addr *addr) {
    struct quic_addr core;
    if (!text || !addr)
        return WEFT_E_INVALID;
    if (!io_addr_parse(text, port, &core))
        return WEFT_E_ADDRESS;
    abi_addr_out(&core, addr);
    return WEFT_OK;
}

int32_t weft_addr_format(const weft_addr *addr, char *text, size_t capacity) {
    struct quic_addr core;
    char full[IO_ADDR_TEXT];
    if (!addr || !text || !abi_addr_in(addr, &core))
        return WEFT_E_INVALID;
    io_addr_format(&core, full);
    if (strlen(full) >= capacity)
        return WEFT_E_TOO_LARGE;
    return abi_copy_text(full, text, capacity);
}

_Static_assert(WEFT_ADDR_TEXT >= IO_ADDR_TEXT, "room for every address");

/* ---- the end ---- */

_Static_assert((int)WEFT_CAUSE_LOCAL == (int)QUIC_CAUSE_LOCAL && (int)WEFT_CAUSE_PEER == (int)QUIC_CAUSE_PEER &&
                   (int)WEFT_CAUSE_IDLE == (int)QUIC_CAUSE_IDLE &&
                   (int)WEFT_CAUSE_HANDSHAKE_TIMEOUT == (int)QUIC_CAUSE_HANDSHAKE_TIMEOUT &&
                   (int)WEFT_CAUSE_PROTOCOL == (int)QUIC_CAUSE_PROTOCOL &&
                   (int)WEFT_CAUSE_RESET == (int)QUIC_CAUSE_RESET &&
                   (int)WEFT_CAUSE_VERSION == (int)QUIC_CAUSE_VERSION &&
                   (int)WEFT_CAUSE_INTERNAL == (int)QUIC_CAUSE_INTERNAL,
               "causes as the core has them");

/* The number that comes nearest to a transport error, whoever found it. */
static int32_t error_of_code(uint64_t code) {
    uint64_t alert = code - QUIC_CRYPTO_ERROR;
    if (code == QUIC_NO_ERROR)
        return WEFT_OK;
    if (code < QUIC_CRYPTO_ERROR || alert > 255)
        return code == QUIC_INTERNAL_ERROR ? WEFT_E_INTERNAL : WEFT_E_PROTOCOL;
    /* RFC 8446 6.2: bad_certificate (42) to unknown_ca (48), certificate_required (116) */
    return (alert >= 42 && alert <= 46) || alert == 48 || alert == 116 ? WEFT_E_CERTIFICATE : WEFT_E_TLS;
}

static int32_t error_of(const struct quic_close *close) {
    switch (close->cause) {
    case QUIC_CAUSE_PEER:
        if (!close->app && close->code == QUIC_CONNECTION_REFUSED)
            return WEFT_E_CLOSED;
        return !close->app ? error_of_code(close->code) : close->code ? WEFT_E_CLOSED : WEFT_OK;
    case QUIC_CAUSE_IDLE:
    case QUIC_CAUSE_HANDSHAKE_TIMEOUT: return WEFT_E_TIMEOUT;
    case QUIC_CAUSE_PROTOCOL: return error_of_code(close->code);
    case QUIC_CAUSE_RESET: return WEFT_E_CLOSED;
    case QUIC_CAUSE_VERSION: return WEFT_E_UNSUPPORTED;
    case QUIC_CAUSE_INTERNAL: return WEFT_E_INTERNAL;
    default: return WEFT_OK;
    }
}

void abi_info_close(const struct quic_close *core, int32_t error, weft_close *close) {
    *close = (weft_close){.size = sizeof *close,
                          .cause = core->cause,
                          .error = error ? error : error_of(core),
                          .app = core->app,
                          .code = core->code,
                          .frame_type = core->frame_type,
                          .reason_len = core->reason_len};
    memcpy(close->reason, core->reason, core->reason_len);
}

void abi_info_close_of(const struct abi_conn *conn, weft_close *close) {
    if (conn->core)
        abi_info_close(&conn->core->close, WEFT_OK, close);
    else
        *close = conn->last->close;
    close->size = sizeof *close;
}

/* ---- what it is ---- */

_Static_assert((int)WEFT_EARLY_NONE == (int)CRYPTO_EARLY_NONE && (int)WEFT_EARLY_PENDING == (int)CRYPTO_EARLY_PENDING &&
                   (int)WEFT_EARLY_ACCEPTED == (int)CRYPTO_EARLY_ACCEPTED &&
                   (int)WEFT_EARLY_REJECTED == (int)CRYPTO_EARLY_REJECTED && (int)WEFT_CLIENT == (int)CRYPTO_CLIENT &&
                   (int)WEFT_SERVER == (int)CRYPTO_SERVER,
               "early data and roles as TLS has them");

static void copy_name(char *to, size_t capacity, const char *from) {
    if (from)
        abi_copy_text(from, to, capacity);
}

static uint8_t state_of(const struct quic_conn *core) {
    static const uint8_t states[] = {[QUIC_CONN_HANDSHAKE] = WEFT_CONN_CONNECTING,
                                     [QUIC_CONN_ESTABLISHED] = WEFT_CONN_OPEN,
                                     [QUIC_CONN_CLOSING] = WEFT_CONN_CLOSING,
                                     [QUIC_CONN_DRAINING] = WEFT_CONN_CLOSING};
    return states[core->state];
}

/* Where the system chooses the address, as it does for most clients, the socket's port is still to be told. */
static const struct quic_addr *local_of(const struct quic_path *path) {
    return path->local.family || !path->socket ? &path->local : &path->socket->local;
}

static void fill_peer(const struct quic_conn *core, weft_conn_info *info) {
    const struct quic_params *params = &core->peer_params;
    info->peer_max_idle_timeout = params->max_idle_timeout * BASE_MS;
    info->peer_max_udp_payload_size = params->max_udp_payload_size;
    info->peer_initial_max_data = params->initial_max_data;
    info->peer_initial_max_streams_bidi = params->initial_max_streams_bidi;
    info->peer_initial_max_streams_uni = params->initial_max_streams_uni;
}

void abi_info_fill(const struct abi_conn *conn, weft_conn_info *info) {
    const struct quic_conn *core = conn->core;
    if (!core) {
        *info = conn->last->info;
        if (!conn->race && !conn->ended)
            info->state = WEFT_CONN_CLOSING;
        return;
    }
    const struct quic_path *path = quic_path_active((struct quic_conn *)core);
    *info = (weft_conn_info){.state = state_of(core),
                             .role = core->role,
                             .resumed = core->resumed,
                             .early = core->early_data,
                             .version = core->version,
                             .listener = {core->listener},
                             .created_at = core->created_at,
                             .connected_at = core->connected_at,
                             .peer_certificate_len = core->peer_certificate_len};
    abi_addr_out(local_of(path), &info->local);
    abi_addr_out(&path->remote, &info->remote);
    if (core->state >= QUIC_CONN_CLOSING)
        info->closing_until = core->deadlines[QUIC_TIMER_CLOSE];
    if (core->peer_params_known)
        fill_peer(core, info);
    copy_name(info->alpn, sizeof info->alpn, core->alpn);
    copy_name(info->server_name, sizeof info->server_name, core->server_name);
    copy_name(info->cipher, sizeof info->cipher, core->cipher_name);
    copy_name(info->group, sizeof info->group, core->group_name);
}

int32_t weft_conn_get_info(weft_conn conn, weft_conn_info *info) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    weft_conn_info all;
    abi_info_fill(own, &all);
    return abi_give(info, &all, sizeof all);
}

int32_t weft_conn_get_close(weft_conn conn, weft_close *close) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    weft_close all;
    abi_info_close_of(own, &all);
    return abi_give(close, &all, sizeof all);
}

/* ---- blocks ---- */

static int64_t give_block(const uint8_t *block, size_t len, void *out, size_t capacity) {
    if (!out && capacity)
        return WEFT_E_INVALID;
    if (len && len <= capacity)
        memcpy(out, block, len);
    return (int64_t)len;
}

int64_t weft_conn_peer_certificate(weft_conn conn, void *out, size_t capacity) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    if (own->core)
        return give_block(own->core->peer_certificate, own->core->peer_certificate_len, out, capacity);
    return give_block(own->last->certificate, own->last->certificate_len, out, capacity);
}

int64_t weft_conn_session(weft_conn conn, void *out, size_t capacity) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    if (own->core)
        return give_block(own->core->session, own->core->session_len, out, capacity);
    return give_block(own->last->session, own->last->session_len, out, capacity);
}

int64_t weft_conn_token(weft_conn conn, void *out, size_t capacity) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    if (own->core)
        return give_block(own->core->new_token, own->core->new_token_len, out, capacity);
    return give_block(own->last->token, own->last->token_len, out, capacity);
}

/* ---- numbers ---- */

void abi_info_stats(const struct abi_conn *conn, weft_conn_stats *stats) {
    if (!conn->core) {
        *stats = conn->last->stats;
    } else {
        const struct conn_stats *core = &conn->core->stats;
        *stats = (weft_conn_stats){0};
#define STAT_COPY_CONN(name) stats->name = core->name;
#define STAT_COPY_ENGINE(name)
#define STAT_COPY_PATH(name)
#define STAT(scope, name, text) STAT_COPY_##scope(name)
#include "tables/stats.def"
#undef STAT
#undef STAT_COPY_CONN
#undef STAT_COPY_ENGINE
#undef STAT_COPY_PATH
    }
    stats->size = sizeof *stats;
}

int32_t weft_conn_get_stats(weft_conn conn, weft_conn_stats *stats) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    weft_conn_stats all;
    abi_info_stats(own, &all);
    return abi_give(stats, &all, sizeof all);
}

base_time abi_conn_rtt(const struct quic_conn *core) {
    return quic_path_active((struct quic_conn *)core)->control.rtt.smoothed;
}

int32_t weft_conn_get_path(weft_conn conn, weft_path *path) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    if (!own->core || own->core->state >= QUIC_CONN_CLOSING)
        return WEFT_E_STATE;
    const struct quic_path *core = quic_path_active(own->core);
    const struct quic_path_control *control = &core->control;
    weft_path all = {.validated = core->state == QUIC_PATH_VALIDATED,
                     .rtt = control->rtt.smoothed,
                     .rtt_variance = control->rtt.variation,
                     .rtt_min = control->rtt.sampled ? control->rtt.min : 0,
                     .rtt_latest = control->rtt.sampled ? control->rtt.latest : 0,
                     .congestion_window = control->cc.window,
                     .bytes_in_flight = control->bytes_in_flight,
                     .slow_start_threshold = control->cc.threshold,
                     .mtu = core->mtu,
                     .pto_count = own->core->recovery.pto_count};
    abi_addr_out(local_of(core), &all.local);
    abi_addr_out(&core->remote, &all.remote);
    return abi_give(path, &all, sizeof all);
}
