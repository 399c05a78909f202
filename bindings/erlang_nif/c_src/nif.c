/* nif.c - the library's front door: the table of functions, loading, upgrading, and what can be asked without an
 * engine.
 *
 * Nothing is kept in private data and nothing in statics but atoms and counters, which are the same for every load. The
 * module can be loaded again while connections live: the new load takes the resource types over. It can be purged,
 * too: the library stays mapped (-z nodelete), engines stop when the processes that own them do.
 */
#include "nif.h"

#define LOAD_VERSION 1 /* of struct layouts: a load that does not match refuses to take over */

/* ---- what needs no engine ---- */

/* stats() -> #{Counter => integer()} of what is alive in this VM */
NIF(nif_stats) {
    term map = enif_make_new_map(env);
    (void)argc;
    (void)argv;
#define X(name) term_put(env, &map, #name, enif_make_int64(env, (ErlNifSInt64)atomic_load(&nif_count.name)));
    NIF_COUNTERS(X)
    X(buffer_cap)
    X(buffer_refusals)
    X(datagrams_dropped)
#undef X
    return map;
}

/* set_buffer_cap(Bytes) */
NIF(nif_set_buffer_cap) {
    ErlNifSInt64 cap;
    (void)argc;
    if (!enif_get_int64(env, argv[0], &cap) || cap < 0)
        return enif_make_badarg(env);
    atomic_store(&nif_count.buffer_cap, cap);
    return AM(ok);
}

static term choices_list(ErlNifEnv *env, const char *const *choices) {
    term list = enif_make_list(env, 0), reversed;
    for (size_t i = 0; choices && choices[i]; i++)
        list = enif_make_list_cell(env, term_text(env, choices[i]), list);
    enif_make_reverse_list(env, list, &reversed);
    return reversed;
}

/* option_table() -> [{Name, Type, Default, Least, Greatest, Choices, Text}] */
NIF(nif_option_table) {
    static const char *const types[] = {"time", "bytes", "count", "flag", "choice"};
    term list = enif_make_list(env, 0);
    weft_option option = {.size = sizeof option};
    (void)argc;
    (void)argv;
    for (uint32_t i = weft_option_count(); i-- > 0;) {
        if (weft_option_info(i, &option) != WEFT_OK)
            continue;
        const char *type = option.type < sizeof types / sizeof *types ? types[option.type] : "other";
        term entry = enif_make_tuple7(env, enif_make_atom(env, option.name), enif_make_atom(env, type),
                                      enif_make_uint64(env, option.standard), enif_make_uint64(env, option.least),
                                      enif_make_uint64(env, option.greatest), choices_list(env, option.choices),
                                      term_text(env, option.text));
        list = enif_make_list_cell(env, entry, list);
    }
    return list;
}

/* stat_table() -> [{conn | engine, Name, Text}] */
NIF(nif_stat_table) {
    term list = enif_make_list(env, 0);
    weft_stat stat = {.size = sizeof stat};
    (void)argc;
    (void)argv;
    for (uint32_t i = weft_stat_count(); i-- > 0;)
        if (weft_stat_info(i, &stat) == WEFT_OK)
            list = enif_make_list_cell(env,
                                       enif_make_tuple3(env, enif_make_atom(env, stat.scope ? "engine" : "conn"),
                                                        enif_make_atom(env, stat.name), term_text(env, stat.text)),
                                       list);
    return list;
}

/* version() -> binary() */
NIF(nif_version) {
    (void)argc;
    (void)argv;
    return term_text(env, weft_version_text());
}

/* error_text(Name) -> binary() | undefined */
NIF(nif_error_text) {
    char name[32];
    (void)argc;
    if (!enif_get_atom(env, argv[0], name, sizeof name, ERL_NIF_LATIN1))
        return enif_make_badarg(env);
    for (int32_t error = -1; strcmp(weft_error_name(error), "UNKNOWN") != 0; error--)
        if (enif_is_identical(argv[0], term_error_name(env, error)))
            return term_text(env, weft_strerror(error));
    return AM(undefined);
}

/* stream_id(Stream) -> integer() | closed */
NIF(nif_stream_id) {
    struct stream *stream = (struct stream *)resource_get(env, argv[0], RESOURCE_STREAM);
    (void)argc;
    return stream ? enif_make_uint64(env, stream->id) : AM(closed);
}

/* ---- loading ---- */

static ErlNifFunc functions[] = {
    {"engine_start", 4, nif_engine_start, 0},
    {"engine_stop", 2, nif_engine_stop, 0},
    {"engine_stats", 2, nif_engine_stats, 0},
    {"stats", 0, nif_stats, 0},
    {"set_buffer_cap", 1, nif_set_buffer_cap, 0},
    {"option_table", 0, nif_option_table, 0},
    {"stat_table", 0, nif_stat_table, 0},
    {"version", 0, nif_version, 0},
    {"error_text", 1, nif_error_text, 0},
    {"config_new", 2, nif_config_new, ERL_NIF_DIRTY_JOB_CPU_BOUND},
    {"config_fingerprint", 1, nif_config_fingerprint, 0},
    {"listen", 6, nif_listen, 0},
    {"listener_accept", 3, nif_listener_accept, 0},
    {"listener_mode", 3, nif_listener_mode, 0},
    {"listener_reload", 3, nif_listener_reload, 0},
    {"listener_stop", 4, nif_listener_stop, 0},
    {"listener_info", 2, nif_listener_info, 0},
    {"listener_cancel", 2, nif_listener_cancel, 0},
    {"connect", 6, nif_connect, 0},
    {"conn_close", 5, nif_conn_close, 0},
    {"conn_wait", 2, nif_conn_wait, 0},
    {"conn_mode", 3, nif_conn_mode, 0},
    {"conn_set", 5, nif_conn_set, 0},
    {"conn_accept_stream", 3, nif_conn_accept_stream, 0},
    {"conn_open_stream", 5, nif_conn_open_stream, 0},
    {"conn_cancel", 2, nif_conn_cancel, 0},
    {"conn_get", 3, nif_conn_get, 0},
    {"conn_do", 6, nif_conn_do, 0},
    {"conn_datagram", 4, nif_conn_datagram, 0},
    {"conn_recv_datagram", 2, nif_conn_recv_datagram, 0},
    {"stream_send", 4, nif_stream_send, 0},
    {"stream_wait_writable", 2, nif_stream_wait_writable, 0},
    {"stream_wait_finished", 2, nif_stream_wait_finished, 0},
    {"stream_recv", 3, nif_stream_recv, 0},
    {"stream_mode", 3, nif_stream_mode, 0},
    {"stream_set", 5, nif_stream_set, 0},
    {"stream_end", 4, nif_stream_end, 0},
    {"stream_get", 3, nif_stream_get, 0},
    {"stream_cancel", 2, nif_stream_cancel, 0},
    {"stream_id", 1, nif_stream_id, 0},
    {"give_begin", 2, nif_give_begin, 0},
    {"give_end", 4, nif_give_end, 0},
};

static int is_compatible(ErlNifEnv *env, term info) {
    int version;
    return enif_get_int(env, info, &version) && version == LOAD_VERSION;
}

static int load(ErlNifEnv *env, void **priv, term info) {
    (void)priv;
    if (!is_compatible(env, info) || !resource_open_types(env, ERL_NIF_RT_CREATE | ERL_NIF_RT_TAKEOVER))
        return 1;
    term_make_atoms(env);
    if (!atomic_load(&nif_count.buffer_cap))
        atomic_store(&nif_count.buffer_cap, 64ll << 20);
    return 0;
}

static int upgrade(ErlNifEnv *env, void **priv, void **old_priv, term info) {
    (void)old_priv;
    return load(env, priv, info);
}

static void unload(ErlNifEnv *env, void *priv) {
    (void)env;
    (void)priv;
}

ERL_NIF_INIT(weft_nif, functions, load, NULL, upgrade, unload)
