/* conn_info.c - what is known about connections and streams, as maps, and what can be done to a connection at large.
 *
 * Numbers keep the header's units: times are nanoseconds. Counters have the names of core/tables/stats.def, found by
 * weft_stat_info, so a counter that is added there shows here.
 */
#include "nif.h"

#define PUT_UINT(name, value) term_put(env, &map, name, enif_make_uint64(env, (value)))
#define PUT_TEXT(name, value) term_put(env, &map, name, term_text(env, (value)))

static term info_map(ErlNifEnv *env, const struct conn *conn, const weft_conn_info *info) {
    static const char *const states[] = {"connecting", "open", "closing", "closed"};
    static const char *const early[] = {"none", "pending", "accepted", "rejected"};
    term map = enif_make_new_map(env);
    term_put(env, &map, "state", enif_make_atom(env, states[info->state & 3]));
    term_put(env, &map, "role", info->role == WEFT_CLIENT ? AM(client) : AM(server));
    term_put(env, &map, "resumed", term_bool(info->resumed));
    term_put(env, &map, "early_data", enif_make_atom(env, early[info->early & 3]));
    PUT_UINT("version", info->version);
    term_put(env, &map, "sockname", term_address(env, &info->local));
    term_put(env, &map, "peername", term_address(env, &info->remote));
    PUT_UINT("created_at", info->created_at);
    PUT_UINT("connected_at", info->connected_at);
    PUT_UINT("peer_max_idle_timeout", info->peer_max_idle_timeout);
    PUT_UINT("peer_max_udp_payload_size", info->peer_max_udp_payload_size);
    PUT_UINT("peer_initial_max_data", info->peer_initial_max_data);
    PUT_UINT("peer_initial_max_streams_bidi", info->peer_initial_max_streams_bidi);
    PUT_UINT("peer_initial_max_streams_uni", info->peer_initial_max_streams_uni);
    PUT_TEXT("alpn", info->alpn);
    PUT_TEXT("server_name", info->server_name);
    PUT_TEXT("cipher", info->cipher);
    PUT_TEXT("group", info->group);
    term_put(env, &map, "active", term_mode(env, &conn->mode));
    term_put(env, &map, "stream_active", term_mode(env, &conn->stream_mode));
    PUT_UINT("high_watermark", conn->high);
    PUT_UINT("low_watermark", conn->low);
    PUT_UINT("datagrams_waiting", conn->datagram_count);
    PUT_UINT("engine", conn->engine->number);
    if (conn->owner.set)
        term_put(env, &map, "owner", enif_make_pid(env, &conn->owner.pid));
    return map;
}

static term stats_map(ErlNifEnv *env, uint32_t scope, const void *stats, size_t size) {
    term map = enif_make_new_map(env);
    weft_stat stat = {.size = sizeof stat};
    uint64_t value;
    for (uint32_t i = 0; i < weft_stat_count(); i++) {
        if (weft_stat_info(i, &stat) != WEFT_OK || stat.scope != scope || stat.offset + sizeof value > size)
            continue;
        memcpy(&value, (const char *)stats + stat.offset, sizeof value);
        PUT_UINT(stat.name, value);
    }
    return map;
}

/* ---- paths ---- */

static const char *const path_uses[] = {"none", "in_use", "spare", "gone"}; /* enum weft_path_use */
static const char *const path_ecns[] = {"off", "testing", "unknown", "capable", "paused", "failed"};

static term path_map(ErlNifEnv *env, const weft_path_stats *path) {
    term map = stats_map(env, WEFT_STAT_PATH, path, sizeof *path);
    term_put(env, &map, "use", enif_make_atom(env, path_uses[path->use]));
    term_put(env, &map, "ecn", enif_make_atom(env, path_ecns[path->ecn]));
    term_put(env, &map, "validated", term_bool(path->validated));
    term_put(env, &map, "sockname", term_address(env, &path->local));
    term_put(env, &map, "peername", term_address(env, &path->remote));
    PUT_UINT("rtt", path->rtt);
    PUT_UINT("rtt_variance", path->rtt_variance);
    PUT_UINT("rtt_min", path->rtt_min);
    PUT_UINT("rtt_latest", path->rtt_latest);
    PUT_UINT("congestion_window", path->congestion_window);
    PUT_UINT("bytes_in_flight", path->bytes_in_flight);
    PUT_UINT("mtu", path->mtu);
    term_put(env, &map, "slow_start_threshold",
             path->slow_start_threshold == UINT64_MAX ? AM(infinity)
                                                      : enif_make_uint64(env, path->slow_start_threshold));
    return map;
}

/* The path in use, with the probe time-outs in a row, which are the connection's. */
static term get_path(ErlNifEnv *env, struct conn *conn) {
    weft_path path = {.size = sizeof path};
    weft_path_stats stats = {.size = sizeof stats};
    int32_t error = weft_conn_get_path(conn->handle, &path);
    int32_t found = error ? error : weft_conn_get_path_stats(conn->handle, 0, &stats);
    if (found <= 0)
        return conn_fault(env, conn, found ? found : WEFT_E_STATE);
    term map = path_map(env, &stats);
    PUT_UINT("pto_count", path.pto_count);
    return term_ok(env, map);
}

static term get_paths(ErlNifEnv *env, struct conn *conn) {
    term paths = enif_make_list(env, 0), all;
    int32_t found;
    for (uint32_t i = 0;; i++) {
        weft_path_stats stats = {.size = sizeof stats};
        found = weft_conn_get_path_stats(conn->handle, i, &stats);
        if (found <= 0)
            break;
        paths = enif_make_list_cell(env, path_map(env, &stats), paths);
    }
    if (found < 0)
        return conn_fault(env, conn, found);
    enif_make_reverse_list(env, paths, &all);
    return term_ok(env, all);
}

/* ---- conn_get ---- */

typedef term (*getter)(ErlNifEnv *env, struct conn *conn);

static term get_info(ErlNifEnv *env, struct conn *conn) {
    weft_conn_info info = {.size = sizeof info};
    int32_t error = weft_conn_get_info(conn->handle, &info);
    return error ? conn_fault(env, conn, error) : term_ok(env, info_map(env, conn, &info));
}

static term get_peername(ErlNifEnv *env, struct conn *conn) {
    weft_conn_info info = {.size = sizeof info};
    int32_t error = weft_conn_get_info(conn->handle, &info);
    return error ? conn_fault(env, conn, error) : term_ok(env, term_address(env, &info.remote));
}

static term get_sockname(ErlNifEnv *env, struct conn *conn) {
    weft_conn_info info = {.size = sizeof info};
    int32_t error = weft_conn_get_info(conn->handle, &info);
    return error ? conn_fault(env, conn, error) : term_ok(env, term_address(env, &info.local));
}

static term get_blob(ErlNifEnv *env, struct conn *conn, int64_t (*get)(weft_conn, void *, size_t),
                     const char *without) {
    term blob = conn_blob(env, conn, get);
    return enif_is_identical(blob, AM(undefined)) ? term_fail(env, enif_make_atom(env, without)) : term_ok(env, blob);
}

static term get_peercert(ErlNifEnv *env, struct conn *conn) {
    return get_blob(env, conn, weft_conn_peer_certificate, "no_peercert");
}
static term get_session(ErlNifEnv *env, struct conn *conn) {
    return get_blob(env, conn, weft_conn_session, "no_session");
}
static term get_token(ErlNifEnv *env, struct conn *conn) { return get_blob(env, conn, weft_conn_token, "no_token"); }

static term get_stats(ErlNifEnv *env, struct conn *conn) {
    weft_conn_stats stats = {.size = sizeof stats};
    if (!conn->open && !conn->last_stats)
        return term_closed(env, conn);
    if (!conn->open)
        stats = *conn->last_stats;
    int32_t error = conn->open ? weft_conn_get_stats(conn->handle, &stats) : WEFT_OK;
    return error ? conn_fault(env, conn, error) : term_ok(env, stats_map(env, WEFT_STAT_CONN, &stats, sizeof stats));
}

static term get_datagram_max(ErlNifEnv *env, struct conn *conn) {
    int32_t most = weft_datagram_max(conn->handle);
    return most < 0 ? conn_fault(env, conn, most) : term_ok(env, enif_make_int(env, most));
}

/* How long it is still closing or draining (RFC 9000 10.2), ns; 0: it is open, or that is over. */
static term get_draining(ErlNifEnv *env, struct conn *conn) {
    uint64_t now = 0;
    if (conn->open || conn->engine->stopped || weft_engine_now(conn->engine->handle, &now) != WEFT_OK)
        return term_ok(env, enif_make_uint(env, 0));
    return term_ok(env, enif_make_uint64(env, conn->closing_until > now ? conn->closing_until - now : 0));
}

static const struct {
    const char *name;
    getter get;
    bool ended; /* can be asked of a connection that has ended, too */
} getters[] = {
    {"info", get_info, false},         {"peername", get_peername, false}, {"sockname", get_sockname, false},
    {"peercert", get_peercert, false}, {"session", get_session, false},   {"token", get_token, false},
    {"stats", get_stats, true},        {"path", get_path, false},         {"datagram_max", get_datagram_max, false},
    {"paths", get_paths, false},       {"draining", get_draining, true},
};
#define GETTERS (sizeof getters / sizeof *getters)

static void run_get(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    ErlNifEnv *env = command->waiter->env;
    (void)engine;
    bool can = conn->open || getters[command->number].ended;
    command_answer(command, can ? getters[command->number].get(env, conn) : term_closed(env, conn));
}

/* conn_get(Conn, What, Ref): {Ref, {ok, Value} | {error, _}} follows. */
NIF(nif_conn_get) {
    struct conn *conn = (struct conn *)resource_get(env, argv[0], RESOURCE_CONN);
    char name[32];
    (void)argc;
    if (!conn)
        return AM(closed);
    if (!enif_get_atom(env, argv[1], name, sizeof name, ERL_NIF_LATIN1))
        return enif_make_badarg(env);
    for (uint32_t i = 0; i < GETTERS; i++) {
        if (strcmp(name, getters[i].name) != 0)
            continue;
        struct command *command = command_new(run_get, conn, 0);
        if (command)
            command->number = i;
        return command_ask(env, conn->engine, command, argv[2]);
    }
    return enif_make_badarg(env);
}

/* ---- conn_do ---- */

typedef term (*doer)(ErlNifEnv *env, struct conn *conn, const struct command *command);

static term done(ErlNifEnv *env, struct conn *conn, int32_t error) {
    return error ? conn_fault(env, conn, error) : AM(ok);
}

static const char *text_or_null(const struct command *command) {
    return command->len ? (const char *)command->inline_data : NULL;
}
static term do_migrate(ErlNifEnv *env, struct conn *conn, const struct command *command) {
    return done(env, conn, weft_conn_migrate(conn->handle, text_or_null(command)));
}
static term do_probe(ErlNifEnv *env, struct conn *conn, const struct command *command) {
    return done(env, conn, weft_conn_probe(conn->handle, text_or_null(command)));
}
static term do_update_keys(ErlNifEnv *env, struct conn *conn, const struct command *command) {
    (void)command;
    return done(env, conn, weft_conn_update_keys(conn->handle));
}
static term do_ping(ErlNifEnv *env, struct conn *conn, const struct command *command) {
    (void)command;
    return done(env, conn, weft_conn_ping(conn->handle));
}

/* inline: the label, a zero byte, the context; other: whether there is one */
static term do_export(ErlNifEnv *env, struct conn *conn, const struct command *command) {
    const char *label = (const char *)command->inline_data;
    size_t label_len = strlen(label);
    const uint8_t *context = command->inline_data + label_len + 1;
    uint8_t out[512];
    int32_t error = weft_conn_export(conn->handle, label, command->other ? context : NULL,
                                     command->other ? command->len - label_len - 1 : 0, out, (size_t)command->number);
    return error ? conn_fault(env, conn, error) : term_ok(env, term_binary(env, out, (size_t)command->number));
}

static const struct {
    const char *name;
    doer run;
} doers[] = {
    {"migrate", do_migrate}, {"probe", do_probe},   {"update_keys", do_update_keys},
    {"ping", do_ping},       {"export", do_export},
};
#define DOERS (sizeof doers / sizeof *doers)

static void run_do(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    ErlNifEnv *env = command->waiter->env;
    (void)engine;
    command_answer(command, conn->open ? doers[command->flags].run(env, conn, command) : term_closed(env, conn));
}

/* conn_do(Conn, What, Bytes, Number, Other, Ref) */
NIF(nif_conn_do) {
    struct conn *conn = (struct conn *)resource_get(env, argv[0], RESOURCE_CONN);
    char name[32];
    ErlNifBinary bytes;
    unsigned number, other;
    (void)argc;
    if (!conn)
        return AM(closed);
    if (!enif_get_atom(env, argv[1], name, sizeof name, ERL_NIF_LATIN1) || !enif_inspect_binary(env, argv[2], &bytes) ||
        bytes.size > 65536 || !enif_get_uint(env, argv[3], &number) || number > 512 ||
        !enif_get_uint(env, argv[4], &other))
        return enif_make_badarg(env);
    for (uint32_t i = 0; i < DOERS; i++) {
        if (strcmp(name, doers[i].name) != 0)
            continue;
        struct command *command = command_new(run_do, conn, bytes.size + 1);
        if (!command)
            return AM(error);
        command->flags = i;
        command->number = number;
        command->other = other;
        command->len = bytes.size;
        memcpy(command->inline_data, bytes.data, bytes.size);
        command->inline_data[bytes.size] = 0;
        return command_ask(env, conn->engine, command, argv[5]);
    }
    return enif_make_badarg(env);
}

/* ---- streams ---- */

static term stream_map(ErlNifEnv *env, const struct stream *stream, const weft_stream_info *info) {
    static const char *const send_states[] = {"open", "finished", "reset", "done"};
    static const char *const recv_states[] = {"open", "all", "reset", "done"};
    term map = enif_make_new_map(env);
    PUT_UINT("id", info->id);
    term_put(env, &map, "local", term_bool(info->local));
    term_put(env, &map, "direction", info->direction == WEFT_UNI ? AM(uni) : AM(bidi));
    term_put(env, &map, "send_state", enif_make_atom(env, send_states[info->send_state & 3]));
    term_put(env, &map, "recv_state", enif_make_atom(env, recv_states[info->recv_state & 3]));
    PUT_UINT("written", info->written);
    PUT_UINT("acknowledged", info->acknowledged);
    PUT_UINT("buffered", info->buffered);
    PUT_UINT("received", info->received);
    PUT_UINT("taken", info->taken);
    PUT_UINT("urgency", info->urgency);
    term_put(env, &map, "incremental", term_bool(info->incremental));
    term_put(env, &map, "expired", term_bool(info->expired));
    PUT_UINT("pending", atomic_load(&stream->pending));
    PUT_UINT("high_watermark", atomic_load(&stream->high));
    PUT_UINT("low_watermark", atomic_load(&stream->low));
    term_put(env, &map, "active", term_mode(env, &stream->mode));
    term_put(env, &map, "conn", term_conn(env, stream->conn));
    if (stream->owner.set)
        term_put(env, &map, "owner", enif_make_pid(env, &stream->owner.pid));
    return map;
}

static void run_stream_get(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    ErlNifEnv *env = command->waiter->env;
    weft_stream_info info = {.size = sizeof info};
    (void)engine;
    if (command->number == 1)
        command_answer(command, stream_send_fault(env, stream));
    else if (stream->open && weft_stream_get_info(stream->handle, &info) == WEFT_OK)
        command_answer(command, term_ok(env, stream_map(env, stream, &info)));
    else
        command_answer(command, stream_fault(env, stream, WEFT_E_GONE));
}

/* stream_get(Stream, info | send_fault, Ref) */
NIF(nif_stream_get) {
    struct stream *stream = (struct stream *)resource_get(env, argv[0], RESOURCE_STREAM);
    char name[16];
    (void)argc;
    if (!stream)
        return AM(closed);
    if (!enif_get_atom(env, argv[1], name, sizeof name, ERL_NIF_LATIN1))
        return enif_make_badarg(env);
    struct command *command = command_new(run_stream_get, stream, 0);
    if (command)
        command->number = strcmp(name, "send_fault") == 0;
    return command_ask(env, stream->engine, command, argv[2]);
}

/* ---- engines ---- */

static void run_engine_stats(struct engine *engine, struct command *command) {
    weft_engine_stats stats = {.size = sizeof stats};
    ErlNifEnv *env = command->waiter->env;
    if (engine->stopped || weft_engine_get_stats(engine->handle, &stats) != WEFT_OK)
        return;
    term map = stats_map(env, WEFT_STAT_ENGINE, &stats, sizeof stats);
    term_put(env, &map, "conns", stats_map(env, WEFT_STAT_CONN, &stats.conns, sizeof stats.conns));
    PUT_UINT("memory_used", stats.memory_used);
    PUT_UINT("memory_peak", stats.memory_peak);
    PUT_UINT("memory_refusals", stats.memory_refusals);
    PUT_UINT("connections", stats.connections);
    PUT_UINT("buffers_retained", stats.buffers_retained);
    PUT_UINT("batches", engine->batches);
    PUT_UINT("messages", engine->messages);
    command_answer(command, term_ok(env, map));
}

/* engine_stats(Engine, Ref) */
NIF(nif_engine_stats) {
    struct engine *engine = (struct engine *)resource_get(env, argv[0], RESOURCE_ENGINE);
    (void)argc;
    if (!engine)
        return AM(closed);
    return command_ask(env, engine, command_new(run_engine_stats, engine, 0), argv[1]);
}
