/* conn_call.c - what Erlang asks of a connection: connecting, closing, streams, datagrams, modes.
 *
 * Each NIF checks its arguments and posts; the run_* function beside it is the half on the engine's thread. What can be
 * waited for is put into the connection's list of waiters and served by conn_deliver; a caller that gives up cancels
 * with his Ref, and is answered by that, or has been before.
 */
#include "nif.h"

static struct conn *get(ErlNifEnv *env, term value) { return (struct conn *)resource_get(env, value, RESOURCE_CONN); }

/* ---- connecting ---- */

enum { JOB_HOST, JOB_NAME, JOB_SESSION, JOB_TOKEN, JOB_PARTS };

struct connect_job {
    uint64_t config;
    uint32_t family;
    uint16_t port;
    bool wait;
    size_t at[JOB_PARTS], len[JOB_PARTS]; /* in `bytes`; a part of length 0 is not there */
    char bytes[];
};

static const char *part(const struct connect_job *job, int which) {
    return job->len[which] ? job->bytes + job->at[which] : NULL;
}

static void run_connect(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    const struct connect_job *job = (const struct connect_job *)(const void *)command->inline_data;
    if (engine->stopped)
        return; /* answered: closed */
    weft_connect_params params = {
        .size = sizeof params,
        .family = job->family,
        .server_name = part(job, JOB_NAME),
        .session = part(job, JOB_SESSION),
        .session_len = job->len[JOB_SESSION],
        .token = part(job, JOB_TOKEN),
        .token_len = job->len[JOB_TOKEN],
        .user = conn,
    };
    weft_conn handle;
    int32_t error =
        weft_connect(engine->handle, (weft_config){job->config}, part(job, JOB_HOST), job->port, &params, &handle);
    ErlNifEnv *env = command->waiter->env;
    if (error != WEFT_OK) {
        char text[256];
        weft_engine_error(engine->handle, text, sizeof text);
        command_answer(command,
                       term_fail(env, enif_make_tuple2(env, term_error_name(env, error), term_text(env, text))));
        return;
    }
    enif_keep_resource(conn);
    conn_link(engine, conn, handle);
    conn->handed = true;
    if (!owner_set(&conn->owner, conn, &command->waiter->pid))
        weft_conn_close(handle, 0, NULL);
    if (job->wait)
        waiters_add(&conn->connecting, command_take_waiter(command), conn);
    else
        command_answer_code(command, WEFT_OK);
}

/* {Wait, Family, Mode, StreamMode, High, Low, DatagramBytes, Datagrams} */
static bool get_conn_params(ErlNifEnv *env, term value, struct conn *conn, struct connect_job *job) {
    const term *at;
    int arity;
    ErlNifUInt64 limit;
    return enif_get_tuple(env, value, &arity, &at) && arity == 8 && term_get_bool(at[0], &job->wait) &&
           enif_get_uint(env, at[1], &job->family) && term_get_mode(env, at[2], &conn->mode) &&
           term_get_mode(env, at[3], &conn->stream_mode) && enif_get_uint(env, at[4], &conn->high) &&
           enif_get_uint(env, at[5], &conn->low) && enif_get_uint64(env, at[6], &limit) &&
           (conn->datagram_limit = (size_t)limit, true) && enif_get_uint(env, at[7], &conn->datagram_most);
}

/* The command, with a copy of the texts behind it. */
static struct command *connect_command(struct conn *conn, const struct connect_job *job, const ErlNifBinary *parts) {
    size_t total = 0;
    for (int i = 0; i < JOB_PARTS; i++)
        total += parts[i].size + 1;
    struct command *command = command_new(run_connect, conn, sizeof *job + total);
    if (!command)
        return NULL;
    struct connect_job *copy = (struct connect_job *)(void *)command->inline_data;
    *copy = *job;
    total = 0;
    for (int i = 0; i < JOB_PARTS; i++) {
        copy->at[i] = total;
        copy->len[i] = parts[i].size;
        memcpy(copy->bytes + total, parts[i].data, parts[i].size);
        copy->bytes[total + parts[i].size] = 0;
        total += parts[i].size + 1;
    }
    return command;
}

/* connect(Engine, Config, {Host, ServerName, Session, Token}, Port, Params, Ref) -> {ok, Conn}; {Ref, ok | {error, _}}
 * follows. Parts that are not there are empty binaries. */
NIF(nif_connect) {
    struct engine *engine = (struct engine *)resource_get(env, argv[0], RESOURCE_ENGINE);
    struct config *config = (struct config *)resource_get(env, argv[1], RESOURCE_CONFIG);
    struct connect_job job = {0};
    struct conn params = {0};
    ErlNifBinary parts[JOB_PARTS];
    const term *texts;
    int arity;
    unsigned port;
    (void)argc;
    if (!engine || !config)
        return AM(closed);
    bool good = enif_get_tuple(env, argv[2], &arity, &texts) && arity == JOB_PARTS &&
                enif_get_uint(env, argv[3], &port) && port <= 65535 && get_conn_params(env, argv[4], &params, &job);
    for (int i = 0; good && i < JOB_PARTS; i++)
        good = enif_inspect_binary(env, texts[i], &parts[i]) &&
               (i >= JOB_SESSION || !memchr(parts[i].data, 0, parts[i].size));
    if (!good)
        return enif_make_badarg(env);
    struct conn *conn = conn_new(engine);
    if (!conn)
        return AM(error);
    job.config = config->handle.id;
    job.port = (uint16_t)port;
    conn->mode = params.mode;
    conn->stream_mode = params.stream_mode;
    conn->high = params.high;
    conn->low = params.low;
    conn->datagram_limit = params.datagram_limit;
    conn->datagram_most = params.datagram_most;
    struct command *command = connect_command(conn, &job, parts);
    if (command) {
        command->env = enif_alloc_env(); /* keeps the configuration until then */
        command->value = enif_make_copy(command->env, argv[1]);
    }
    term result = term_ok(env, term_conn(env, conn));
    if (!enif_is_identical(command_ask(env, engine, command, argv[5]), AM(ok)))
        result = AM(closed);
    enif_release_resource(conn);
    return result;
}

/* ---- closing ---- */

static void run_close(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    (void)engine;
    if (!conn->open) {
        command_answer_code(command, WEFT_OK);
        return;
    }
    const char *reason = command->len ? (const char *)command->inline_data : NULL;
    int32_t error = command->flags & 1 ? weft_conn_close_transport(conn->handle, command->number, reason)
                                       : weft_conn_close(conn->handle, command->number, reason);
    if (error != WEFT_OK && error != WEFT_E_CLOSED && error != WEFT_E_GONE)
        command_answer_code(command, error);
    else if (command->waiter)
        waiters_add(&conn->closing, command_take_waiter(command), conn);
}

/* conn_close(Conn, Code, Reason, Flags, Ref | undefined) -> ok | closed. Flags 1: a transport error code. With Ref
 * {Ref, ok} follows when the connection has ended. */
NIF(nif_conn_close) {
    struct conn *conn = get(env, argv[0]);
    ErlNifUInt64 code;
    ErlNifBinary reason;
    unsigned flags;
    (void)argc;
    if (!conn)
        return AM(closed);
    if (!enif_get_uint64(env, argv[1], &code) || code > WEFT_CODE_MAX || !enif_inspect_binary(env, argv[2], &reason) ||
        !enif_get_uint(env, argv[3], &flags))
        return enif_make_badarg(env);
    size_t len = reason.size > 128 ? 128 : reason.size;
    struct command *command = command_new(run_close, conn, len + 1);
    if (!command)
        return AM(error);
    command->number = code;
    command->flags = flags;
    command->len = len;
    memcpy(command->inline_data, reason.data, len);
    command->inline_data[len] = 0;
    if (enif_is_ref(env, argv[4]))
        return command_ask(env, conn->engine, command, argv[4]);
    return command_post(conn->engine, command);
}

/* ---- waiting for something ---- */

static void run_wait(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    (void)engine;
    if (!conn->open)
        command_answer(command, term_closed(command->waiter->env, conn));
    else if (conn->connected)
        command_answer_code(command, WEFT_OK);
    else
        waiters_add(&conn->connecting, command_take_waiter(command), conn);
}

/* conn_wait(Conn, Ref): {Ref, ok} when the handshake is complete. */
NIF(nif_conn_wait) {
    struct conn *conn = get(env, argv[0]);
    (void)argc;
    return conn ? command_ask(env, conn->engine, command_new(run_wait, conn, 0), argv[1]) : AM(closed);
}

static void run_accept_stream(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    if (!conn->open && !conn->queue) {
        command_answer(command, term_closed(command->waiter->env, conn));
        return;
    }
    waiters_add(&conn->accepting, command_take_waiter(command), conn);
    conn_deliver(engine, conn);
}

static term ask_with_mode(ErlNifEnv *env, struct conn *conn, command_run run, term mode_term, term ref,
                          uint32_t direction, uint32_t flags) {
    struct mode mode;
    bool has_mode = term_get_mode(env, mode_term, &mode);
    struct command *command = command_new(run, conn, 0);
    if (!command)
        return AM(error);
    command->flags = flags;
    command->waiter = waiter_new(env, ref);
    command->waiter->mode = mode;
    command->waiter->has_mode = has_mode;
    command->waiter->direction = direction;
    return command_post(conn->engine, command);
}

/* conn_accept_stream(Conn, Mode | undefined, Ref) */
NIF(nif_conn_accept_stream) {
    struct conn *conn = get(env, argv[0]);
    (void)argc;
    return conn ? ask_with_mode(env, conn, run_accept_stream, argv[1], argv[2], 0, 0) : AM(closed);
}

static void run_open_stream(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    struct waiter *waiter = command_take_waiter(command);
    if (!conn->open)
        waiter_answer(waiter, term_closed(waiter->env, conn));
    else if (!conn_open_for(engine, conn, waiter, command->flags & 1))
        waiters_add(&conn->opening, waiter, conn);
}

/* conn_open_stream(Conn, bidi | uni, Mode | undefined, Wait, Ref) */
NIF(nif_conn_open_stream) {
    struct conn *conn = get(env, argv[0]);
    bool wait;
    (void)argc;
    if (!conn)
        return AM(closed);
    bool uni = enif_is_identical(argv[1], AM(uni));
    if ((!uni && !enif_is_identical(argv[1], AM(bidi))) || !term_get_bool(argv[3], &wait))
        return enif_make_badarg(env);
    return ask_with_mode(env, conn, run_open_stream, argv[2], argv[4], uni ? WEFT_UNI : WEFT_BIDI, wait);
}

static void run_recv_datagram(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    struct datagram *datagram;
    if (datagram_next(conn, &datagram)) { /* also of a connection that has ended */
        command_answer(command, term_ok(command->waiter->env, datagram_term(command->waiter->env, datagram)));
        nif_free(datagram);
        return;
    }
    if (!conn->open) {
        command_answer(command, term_closed(command->waiter->env, conn));
        return;
    }
    waiters_add(&conn->datagrams_wanted, command_take_waiter(command), conn);
    conn_deliver(engine, conn);
}

/* conn_recv_datagram(Conn, Ref) */
NIF(nif_conn_recv_datagram) {
    struct conn *conn = get(env, argv[0]);
    (void)argc;
    return conn ? command_ask(env, conn->engine, command_new(run_recv_datagram, conn, 0), argv[1]) : AM(closed);
}

static void run_cancel(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    struct waiters *lists[] = {&conn->connecting, &conn->accepting, &conn->opening, &conn->datagrams_wanted,
                               &conn->closing};
    (void)engine;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct waiter *waiter = waiters_find(lists[i], command->env, command->value);
        if (waiter)
            waiter_answer(waiter, term_fail(waiter->env, AM(timeout)));
    }
}

/* conn_cancel(Conn, Ref): who waits with this Ref is answered {error, timeout}, unless he has an answer. */
NIF(nif_conn_cancel) {
    struct conn *conn = get(env, argv[0]);
    (void)argc;
    struct command *command = conn ? command_new(run_cancel, conn, 0) : NULL;
    if (!command)
        return AM(closed);
    command->env = enif_alloc_env();
    command->value = enif_make_copy(command->env, argv[1]);
    return command_post(conn->engine, command);
}

/* ---- modes ---- */

static void run_mode(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    bool passive;
    if (!conn->open && !conn->untold && !conn->datagrams && !conn->queue) {
        command_answer(command, term_closed(command->waiter->env, conn));
        return;
    }
    if (!mode_change(&conn->mode, &command->mode, &passive)) {
        command_answer(command, term_fail(command->waiter->env, AM(einval)));
        return;
    }
    command_answer_code(command, WEFT_OK);
    if (passive)
        events_send(engine, &conn->owner.pid,
                    enif_make_tuple2(engine->env, AM(weft_passive), term_conn(engine->env, conn)));
    conn_deliver(engine, conn);
}

/* conn_mode(Conn, Mode, Ref) */
NIF(nif_conn_mode) {
    struct conn *conn = get(env, argv[0]);
    struct mode mode;
    (void)argc;
    if (!conn)
        return AM(closed);
    if (!term_get_mode(env, argv[1], &mode))
        return enif_make_badarg(env);
    struct command *command = command_new(run_mode, conn, 0);
    if (command)
        command->mode = mode;
    return command_ask(env, conn->engine, command, argv[2]);
}

static void run_set(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    (void)engine;
    conn->stream_mode = command->mode;
    conn->high = (uint32_t)command->number;
    conn->low = (uint32_t)command->other;
    command_answer_code(command, WEFT_OK);
}

/* conn_set(Conn, StreamMode, High, Low, Ref): what its streams begin with. */
NIF(nif_conn_set) {
    struct conn *conn = get(env, argv[0]);
    struct mode mode;
    unsigned high, low;
    (void)argc;
    if (!conn)
        return AM(closed);
    if (!term_get_mode(env, argv[1], &mode) || !enif_get_uint(env, argv[2], &high) ||
        !enif_get_uint(env, argv[3], &low))
        return enif_make_badarg(env);
    struct command *command = command_new(run_set, conn, 0);
    if (command) {
        command->mode = mode;
        command->number = high;
        command->other = low;
    }
    return command_ask(env, conn->engine, command, argv[4]);
}

/* ---- datagrams ---- */

static void run_datagram(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    (void)engine;
    int32_t error = conn->open ? weft_datagram_send(conn->handle, command->inline_data, command->len, command->number)
                               : WEFT_E_CLOSED;
    if (error == WEFT_OK)
        command_answer_code(command, error);
    else if (command->waiter)
        command_answer(command, conn_fault(command->waiter->env, conn, error));
}

/* conn_datagram(Conn, Data, Token, Ref | undefined) -> ok | closed */
NIF(nif_conn_datagram) {
    struct conn *conn = get(env, argv[0]);
    ErlNifBinary data;
    ErlNifUInt64 token;
    (void)argc;
    if (!conn)
        return AM(closed);
    if (!enif_inspect_iolist_as_binary(env, argv[1], &data) || data.size > 65535 ||
        !enif_get_uint64(env, argv[2], &token))
        return enif_make_badarg(env);
    struct command *command = command_new(run_datagram, conn, data.size);
    if (!command)
        return AM(error);
    memcpy(command->inline_data, data.data, data.size);
    command->len = data.size;
    command->number = token;
    if (enif_is_ref(env, argv[3]))
        return command_ask(env, conn->engine, command, argv[3]);
    return command_post(conn->engine, command);
}
