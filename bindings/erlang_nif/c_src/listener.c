/* listener.c - listeners: connections on their way from the core to the process that accepts them.
 *
 * A connection is offered when its handshake is complete (or has begun, if the listener was made so). It goes to the
 * first process that waits in accept, else by the listener's mode as a message to its owner, else into a queue. What
 * does not fit into the queue is refused, as the RFC has it: CONNECTION_REFUSED. Whoever is given a connection is its
 * owner from that moment; a process that has died meanwhile is found out by the monitor, and the next one gets it.
 *
 * When a listener's owner dies it stops, and what was not accepted is closed; connections that have an owner stay.
 */
#include "nif.h"

#define REFUSED 2 /* RFC 9000 20.1 CONNECTION_REFUSED */

/* ---- handing out ---- */

static bool answer_accept(struct engine *engine, struct waiter *waiter, struct conn *conn) {
    if (!conn_hand(engine, conn, &waiter->pid)) {
        waiter_free(waiter);
        return false;
    }
    if (waiter->has_mode)
        conn->mode = waiter->mode;
    waiter_answer(waiter, term_ok(waiter->env, term_conn(waiter->env, conn)));
    conn_deliver(engine, conn);
    return true;
}

static bool tell_owner(struct engine *engine, struct listener *listener, struct conn *conn) {
    if (!mode_is_active(&listener->mode) || !conn_hand(engine, conn, &listener->owner.pid))
        return false;
    ErlNifPid to = listener->owner.pid;
    ErlNifEnv *env = engine->env;
    events_send(engine, &to, enif_make_tuple3(env, AM(weft_conn), term_listener(env, listener), term_conn(env, conn)));
    if (mode_spend(&listener->mode))
        events_send(engine, &to, enif_make_tuple2(env, AM(weft_passive), term_listener(env, listener)));
    conn_deliver(engine, conn);
    return true;
}

static bool hand_out(struct engine *engine, struct listener *listener, struct conn *conn) {
    for (struct waiter *waiter = waiters_take(&listener->accepting); waiter;
         waiter = waiters_take(&listener->accepting))
        if (answer_accept(engine, waiter, conn))
            return true;
    return tell_owner(engine, listener, conn);
}

void listener_offer(struct engine *engine, struct listener *listener, struct conn *conn) {
    if (hand_out(engine, listener, conn))
        return;
    if (!listener->open || listener->stopped || listener->queued >= listener->backlog) {
        weft_conn_close_transport(conn->handle, REFUSED, "nobody accepts");
        return;
    }
    conn->queued = true;
    conn->queue_next = NULL;
    if (listener->queue_last)
        listener->queue_last->queue_next = conn;
    else
        listener->queue = conn;
    listener->queue_last = conn;
    listener->queued++;
}

void listener_withdraw(struct listener *listener, struct conn *conn) {
    struct conn *previous = NULL;
    for (struct conn *at = listener->queue; at; previous = at, at = at->queue_next) {
        if (at != conn)
            continue;
        if (previous)
            previous->queue_next = conn->queue_next;
        else
            listener->queue = conn->queue_next;
        if (listener->queue_last == conn)
            listener->queue_last = previous;
        listener->queued--;
        conn->queued = false;
        return;
    }
}

/* As many from the queue as somebody takes. */
static void serve_queue(struct engine *engine, struct listener *listener) {
    while (listener->queue && (listener->accepting.first || mode_is_active(&listener->mode))) {
        struct conn *conn = listener->queue;
        listener_withdraw(listener, conn);
        if (!hand_out(engine, listener, conn)) {
            listener_offer(engine, listener, conn); /* whoever waited has died */
            return;
        }
    }
}

void listener_deliver(struct engine *engine, struct listener *listener) { serve_queue(engine, listener); }

/* ---- the end ---- */

static void close_queue(struct listener *listener) {
    for (struct conn *conn = listener->queue; conn; conn = listener->queue) {
        listener_withdraw(listener, conn);
        weft_conn_close_transport(conn->handle, REFUSED, "nobody accepts");
    }
}

void listener_check(struct listener *listener) {
    if (!listener->open || !listener->stopped || listener->conns)
        return;
    if (listener->group)
        group_idle(listener->group, listener);
    else
        weft_listener_close(listener->handle, 0);
}

static void listener_stop(struct listener *listener) {
    if (!listener->open || listener->stopped)
        return;
    listener->stopped = true;
    weft_listener_stop(listener->handle);
    close_queue(listener);
    waiters_answer_error(&listener->accepting, WEFT_E_GONE);
    listener_check(listener);
}

void listener_owner_down(struct engine *engine, struct listener *listener) {
    (void)engine;
    owner_clear(&listener->owner, listener);
    listener_stop(listener);
}

void listener_ended(struct engine *engine, struct listener *listener) {
    if (!listener->linked)
        return;
    listener->open = false;
    listener->linked = false;
    close_queue(listener);
    waiters_answer_error(&listener->accepting, WEFT_E_GONE);
    waiters_answer_error(&listener->draining, WEFT_OK);
    if (mode_is_active(&listener->mode) && listener->owner.monitored)
        events_send(engine, &listener->owner.pid,
                    enif_make_tuple3(engine->env, AM(weft_closed), term_listener(engine->env, listener),
                                     enif_make_atom(engine->env, "normal")));
    owner_clear(&listener->owner, listener);
    if (listener->group)
        group_leave(listener->group, listener);
    if (listener->previous)
        listener->previous->next = listener->next;
    else
        engine->listeners = listener->next;
    if (listener->next)
        listener->next->previous = listener->previous;
    COUNT(listeners, -1);
    enif_release_resource(listener);
}

void listener_on_closed(struct engine *engine, const weft_event *event) {
    struct listener *listener = (struct listener *)weft_listener_user(event->listener);
    if (listener)
        listener_ended(engine, listener);
}

/* ---- commands ---- */

struct listen_job {
    uint64_t config;
    uint32_t flags;
    char address[96];
};

static void listener_link(struct engine *engine, struct listener *listener) {
    listener->linked = listener->open = true;
    listener->next = engine->listeners;
    if (engine->listeners)
        engine->listeners->previous = listener;
    engine->listeners = listener;
    enif_keep_resource(listener);
    COUNT(listeners, 1);
    if (listener->group)
        group_join(listener->group, listener);
}

static term engine_fault(struct engine *engine, ErlNifEnv *env, int32_t error) {
    char text[256];
    weft_engine_error(engine->handle, text, sizeof text);
    return term_fail(env, enif_make_tuple2(env, term_error_name(env, error), term_text(env, text)));
}

static void run_listen(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    const struct listen_job *job = (const struct listen_job *)(const void *)command->inline_data;
    ErlNifPid owner = command->waiter->pid;
    if (engine->stopped)
        return; /* answered: closed */
    weft_listen_params params = {.size = sizeof params, .flags = job->flags, .user = listener, .conn_user = listener};
    weft_listener handle;
    int32_t error = weft_listen(engine->handle, (weft_config){job->config}, job->address, &params, &handle);
    if (error != WEFT_OK) {
        command_answer(command, engine_fault(engine, command->waiter->env, error));
        return;
    }
    listener->handle = handle;
    listener_link(engine, listener);
    if (!owner_set(&listener->owner, listener, &owner))
        listener_stop(listener);
    weft_addr bound = {0};
    weft_listener_address(handle, &bound);
    ErlNifEnv *env = command->waiter->env;
    command_answer(command,
                   term_ok(env, enif_make_tuple2(env, term_listener(env, listener), term_address(env, &bound))));
}

static bool get_listener_params(ErlNifEnv *env, term value, struct listener *listener) {
    const term *part;
    int arity;
    ErlNifUInt64 limit;
    return enif_get_tuple(env, value, &arity, &part) && arity == 10 &&
           enif_get_uint(env, part[0], &listener->backlog) && term_get_bool(part[1], &listener->accept_early) &&
           term_get_mode(env, part[2], &listener->mode) && term_get_mode(env, part[3], &listener->conn_mode) &&
           term_get_mode(env, part[4], &listener->stream_mode) && enif_get_uint(env, part[5], &listener->high) &&
           enif_get_uint(env, part[6], &listener->low) && enif_get_uint64(env, part[7], &limit) &&
           (listener->datagram_limit = (size_t)limit, true) && enif_get_uint(env, part[8], &listener->datagram_most);
}

/* The group of a listener that shares its port: that of `first`, or a new one. */
static bool group_of(ErlNifEnv *env, term first, uint32_t flags, struct listener_group **group) {
    struct listener *other = (struct listener *)resource_get(env, first, RESOURCE_LISTENER);
    *group = NULL;
    if (other && other->group)
        *group = group_ref(other->group);
    else if (flags & WEFT_LISTEN_STEER)
        *group = group_new();
    return *group || !(flags & WEFT_LISTEN_STEER);
}

/* listen(Engine, Config, Address, Flags, {Backlog, Early, Mode, ConnMode, StreamMode, High, Low, DatagramBytes,
 * Datagrams, First}, Ref) -> ok; {Ref, {ok, {Listener, {Ip, Port}}} | {error, _}} follows. First: of a group of
 * listeners with WEFT_LISTEN_STEER the one that was made first, for the others. */
NIF(nif_listen) {
    struct engine *engine = (struct engine *)resource_get(env, argv[0], RESOURCE_ENGINE);
    struct config *config = (struct config *)resource_get(env, argv[1], RESOURCE_CONFIG);
    struct listen_job job = {0};
    struct listener params = {0};
    (void)argc;
    if (!engine || !config)
        return AM(closed);
    if (!term_get_text(env, argv[2], job.address, sizeof job.address) || !enif_get_uint(env, argv[3], &job.flags) ||
        !get_listener_params(env, argv[4], &params))
        return enif_make_badarg(env);
    job.config = config->handle.id;
    struct listener *listener = (struct listener *)resource_new(RESOURCE_LISTENER, sizeof *listener);
    struct command *command = listener ? command_new(run_listen, listener, sizeof job) : NULL;
    const term *parts;
    int arity;
    if (!command || !enif_get_tuple(env, argv[4], &arity, &parts) ||
        !group_of(env, parts[9], job.flags, &params.group)) {
        if (command)
            command_free(command);
        if (listener)
            enif_release_resource(listener);
        return AM(error);
    }
    *listener = params;
    listener->engine = engine;
    enif_keep_resource(engine);
    memcpy(command->inline_data, &job, sizeof job);
    term result = command_ask(env, engine, command, argv[5]);
    enif_release_resource(listener);
    return result;
}

static void run_accept(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    if (!listener->open || listener->stopped)
        return;
    waiters_add(&listener->accepting, command_take_waiter(command), listener);
    serve_queue(engine, listener);
}

static struct listener *get(ErlNifEnv *env, term value) {
    return (struct listener *)resource_get(env, value, RESOURCE_LISTENER);
}

/* listener_accept(Listener, Mode | undefined, Ref); {Ref, {ok, Conn} | {error, _}} follows. Mode: the connection's. */
NIF(nif_listener_accept) {
    struct listener *listener = get(env, argv[0]);
    struct mode mode;
    (void)argc;
    if (!listener)
        return AM(closed);
    bool has_mode = term_get_mode(env, argv[1], &mode);
    struct command *command = command_new(run_accept, listener, 0);
    if (!command)
        return AM(error);
    command->waiter = waiter_new(env, argv[2]);
    command->waiter->mode = mode;
    command->waiter->has_mode = has_mode;
    return command_post(listener->engine, command);
}

static void run_cancel(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    (void)engine;
    struct waiter *waiter = waiters_find(&listener->accepting, command->env, command->value);
    if (!waiter)
        waiter = waiters_find(&listener->draining, command->env, command->value);
    if (waiter)
        waiter_answer(waiter, term_fail(waiter->env, AM(timeout)));
}

/* listener_cancel(Listener, Ref): who waits with this Ref is answered {error, timeout}, unless he has an answer. */
NIF(nif_listener_cancel) {
    struct listener *listener = get(env, argv[0]);
    (void)argc;
    struct command *command = listener ? command_new(run_cancel, listener, 0) : NULL;
    if (!command)
        return AM(closed);
    command->env = enif_alloc_env();
    command->value = enif_make_copy(command->env, argv[1]);
    return command_post(listener->engine, command);
}

static void run_mode(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    bool passive;
    if (!listener->open)
        return;
    if (!mode_change(&listener->mode, &command->mode, &passive)) {
        command_answer(command, term_fail(command->waiter->env, AM(einval)));
        return;
    }
    command_answer_code(command, WEFT_OK);
    if (passive)
        events_send(engine, &listener->owner.pid,
                    enif_make_tuple2(engine->env, AM(weft_passive), term_listener(engine->env, listener)));
    serve_queue(engine, listener);
}

/* listener_mode(Listener, Mode, Ref) */
NIF(nif_listener_mode) {
    struct listener *listener = get(env, argv[0]);
    struct mode mode;
    (void)argc;
    if (!listener)
        return AM(closed);
    if (!term_get_mode(env, argv[1], &mode))
        return enif_make_badarg(env);
    struct command *command = command_new(run_mode, listener, 0);
    if (command)
        command->mode = mode;
    return command_ask(env, listener->engine, command, argv[2]);
}

static void run_reload(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    if (!listener->open)
        return;
    int32_t error = weft_listener_reload(listener->handle, (weft_config){command->number});
    if (error == WEFT_OK)
        command_answer_code(command, error);
    else
        command_answer(command, engine_fault(engine, command->waiter->env, error));
}

/* listener_reload(Listener, Config, Ref) */
NIF(nif_listener_reload) {
    struct listener *listener = get(env, argv[0]);
    struct config *config = (struct config *)resource_get(env, argv[1], RESOURCE_CONFIG);
    (void)argc;
    if (!listener)
        return AM(closed);
    if (!config)
        return AM(closed);
    struct command *command = command_new(run_reload, listener, 0);
    if (command) {
        command->number = config->handle.id;
        command->env = enif_alloc_env(); /* keeps the configuration until then */
        command->value = enif_make_copy(command->env, argv[1]);
    }
    return command_ask(env, listener->engine, command, argv[2]);
}

/* flags: 1 close the connections too; 2 answer when all are gone */
static void run_listener_stop(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    (void)engine;
    if (!listener->open) {
        command_answer_code(command, WEFT_OK);
        return;
    }
    listener_stop(listener);
    if (command->flags & 1)
        weft_listener_close(listener->handle, command->number);
    if (command->flags & 2)
        waiters_add(&listener->draining, command_take_waiter(command), listener);
    else
        command_answer_code(command, WEFT_OK);
}

/* listener_stop(Listener, Flags, Code, Ref) */
NIF(nif_listener_stop) {
    struct listener *listener = get(env, argv[0]);
    unsigned flags;
    ErlNifUInt64 code;
    (void)argc;
    if (!listener)
        return AM(closed);
    if (!enif_get_uint(env, argv[1], &flags) || !enif_get_uint64(env, argv[2], &code) || code > WEFT_CODE_MAX)
        return enif_make_badarg(env);
    struct command *command = command_new(run_listener_stop, listener, 0);
    if (command) {
        command->flags = flags;
        command->number = code;
    }
    return command_ask(env, listener->engine, command, argv[3]);
}

static void run_info(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    (void)engine;
    if (!listener->open)
        return;
    ErlNifEnv *env = command->waiter->env;
    weft_addr bound = {0};
    uint32_t count = 0;
    weft_listener_address(listener->handle, &bound);
    weft_listener_connections(listener->handle, &count);
    term map = enif_make_new_map(env);
    term_put(env, &map, "sockname", term_address(env, &bound));
    term_put(env, &map, "connections", enif_make_uint(env, count));
    term_put(env, &map, "queued", enif_make_uint(env, listener->queued));
    term_put(env, &map, "backlog", enif_make_uint(env, listener->backlog));
    term_put(env, &map, "active", term_mode(env, &listener->mode));
    term_put(env, &map, "engine", enif_make_uint(env, listener->engine->number));
    if (listener->owner.set)
        term_put(env, &map, "owner", enif_make_pid(env, &listener->owner.pid));
    command_answer(command, term_ok(env, map));
}

/* listener_info(Listener, Ref) */
NIF(nif_listener_info) {
    struct listener *listener = get(env, argv[0]);
    (void)argc;
    if (!listener)
        return AM(closed);
    return command_ask(env, listener->engine, command_new(run_info, listener, 0), argv[1]);
}
