/* listener.c - listeners: a UDP socket, a configuration, and the connections that came from there.
 *
 * Knows how a listener begins, stops and ends. Does not know how a client is accepted: the core does that, and the
 * dispatcher makes the application's object of it.
 *
 * A listener that is closed takes its connections with it, but they need it, and its socket, until their closing
 * periods are over. So the object waits for the last of them; then the application hears LISTENER_CLOSED, once.
 *
 * The invariant that matters: the object outlives every connection that names it (quic_conn.accepted_by).
 */
#include "abi.h"

#include <stdio.h>

/* ---- opening ---- */

static int32_t listen_params(const weft_listen_params *params, weft_listen_params *p) {
    int32_t error = abi_params(p, params, sizeof *p);
    if (error)
        return error;
    if (p->flags & ~(uint32_t)(WEFT_LISTEN_REUSE_PORT | WEFT_LISTEN_V6_ONLY | WEFT_LISTEN_STEER))
        return WEFT_E_INVALID;
    if (p->flags & WEFT_LISTEN_STEER && !(p->flags & WEFT_LISTEN_REUSE_PORT))
        return WEFT_E_INVALID;
    error = abi_table(p->callbacks);
    if (!error)
        error = abi_table(p->conn_callbacks);
    return error ? error : abi_table(p->stream_callbacks);
}

static int32_t listener_open(struct abi_listener *listener, const struct quic_addr *addr, uint32_t flags,
                             struct crypto_error *why) {
    int steer_at = quic_endpoint_engine_at(&listener->engine->loop.endpoint);
    struct io_udp_open open = {.local = *addr,
                               .features = IO_UDP_ALL,
                               .reuse_port = (flags & WEFT_LISTEN_REUSE_PORT) != 0,
                               .steer = (flags & WEFT_LISTEN_STEER) && steer_at >= 0,
                               .steer_at = (uint8_t)(steer_at < 0 ? 0 : steer_at),
                               .v6_only = (flags & WEFT_LISTEN_V6_ONLY) != 0};
    int32_t error = io_loop_open_socket(&listener->engine->loop, &open, &listener->socket, why);
    if (error)
        return error;
    io_socket_core(listener->socket)->listener = &listener->core;
    return WEFT_OK;
}

void abi_listener_hide(struct abi_listener *listener) {
    if (listener->handle)
        base_slots_remove(abi_slots(listener->engine), listener->handle);
    listener->handle = 0;
}

void abi_listener_free(struct abi_listener *listener) {
    struct abi_engine *engine = listener->engine;
    abi_listener_hide(listener);
    base_event_cancel(&listener->event);
    base_list_remove(&listener->node);
    if (listener->core.config)
        quic_config_unref(listener->core.config);
    BASE_DELETE(&engine->mem, listener);
}

static struct abi_listener *listener_new(struct abi_engine *engine, const weft_listen_params *p,
                                         struct abi_config *config) {
    struct abi_listener *listener = BASE_NEW(&engine->mem, struct abi_listener);
    if (!listener)
        return NULL;
    listener->handle = base_slots_add(abi_slots(engine), ABI_LISTENER, listener);
    if (!listener->handle) {
        BASE_DELETE(&engine->mem, listener);
        return NULL;
    }
    listener->engine = engine;
    listener->event.handle = listener->core.handle = listener->handle;
    listener->core.config = &config->core;
    listener->callbacks = p->callbacks;
    listener->user = p->user;
    listener->conn_callbacks = p->conn_callbacks;
    listener->stream_callbacks = p->stream_callbacks;
    listener->conn_user = p->conn_user;
    base_list_push_back(&engine->listeners, &listener->node);
    return listener;
}

static int32_t listen_on(struct abi_engine *engine, weft_config config, const char *address,
                         const weft_listen_params *p, weft_listener *out, struct crypto_error *why) {
    struct quic_addr addr;
    if (!io_addr_parse(address, 0, &addr)) {
        snprintf(why->text, sizeof why->text, "not an address to listen on: '%.100s'", address);
        return WEFT_E_ADDRESS;
    }
    struct abi_config *shared;
    int32_t error = abi_config_use(config, CRYPTO_SERVER, &shared, why);
    if (error)
        return error;
    struct abi_listener *listener = listener_new(engine, p, shared);
    if (!listener) {
        abi_config_put(shared);
        return WEFT_E_NOMEM;
    }
    error = listener_open(listener, &addr, p->flags, why);
    if (error) {
        abi_listener_free(listener);
        return error;
    }
    char text[IO_ADDR_TEXT];
    io_addr_format(&io_socket_core(listener->socket)->local, text);
    abi_log(engine, WEFT_LOG_INFO, "listening on %s", text);
    out->id = listener->handle;
    return WEFT_OK;
}

int32_t weft_listen(weft_engine engine, weft_config config, const char *address, const weft_listen_params *params,
                    weft_listener *listener) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    weft_listen_params p;
    error = listen_params(params, &p);
    if (!error && (!address || !listener))
        error = WEFT_E_INVALID;
    struct crypto_error why = {{0}};
    if (!error)
        error = listen_on(own, config, address, &p, listener, &why);
    return error ? abi_engine_fail(own, error, &why) : WEFT_OK;
}

/* ---- while it is open ---- */

static struct abi_listener *listener_get(weft_listener handle, int32_t *error) {
    return (struct abi_listener *)abi_get(ABI_LISTENER, handle.id, NULL, error);
}

int32_t weft_listener_address(weft_listener listener, weft_addr *addr) {
    int32_t error;
    struct abi_listener *own = listener_get(listener, &error);
    if (!own)
        return error;
    if (!addr)
        return WEFT_E_INVALID;
    if (!own->socket)
        return WEFT_E_CLOSED;
    abi_addr_out(&io_socket_core(own->socket)->local, addr);
    return WEFT_OK;
}

int32_t weft_listener_connections(weft_listener listener, uint32_t *count) {
    int32_t error;
    struct abi_listener *own = listener_get(listener, &error);
    if (!own)
        return error;
    if (!count)
        return WEFT_E_INVALID;
    *count = own->core.connections;
    return WEFT_OK;
}

int32_t weft_listener_reload(weft_listener listener, weft_config config) {
    int32_t error;
    struct abi_listener *own = listener_get(listener, &error);
    if (!own)
        return error;
    struct crypto_error why = {{0}};
    struct abi_config *shared;
    if (!own->socket)
        return WEFT_E_CLOSED;
    error = abi_config_use(config, CRYPTO_SERVER, &shared, &why);
    if (error)
        return abi_engine_fail(own->engine, error, &why);
    quic_config_unref(own->core.config); /* connections have references of their own */
    own->core.config = &shared->core;
    return WEFT_OK;
}

void *weft_listener_user(weft_listener listener) {
    int32_t error;
    struct abi_listener *own = listener_get(listener, &error);
    return own ? own->user : NULL;
}

int32_t weft_listener_set_user(weft_listener listener, void *user) {
    int32_t error;
    struct abi_listener *own = listener_get(listener, &error);
    if (!own)
        return error;
    own->user = user;
    return WEFT_OK;
}

/* ---- closing ---- */

int32_t weft_listener_stop(weft_listener listener) {
    int32_t error;
    struct abi_listener *own = listener_get(listener, &error);
    if (!own)
        return error;
    own->core.draining = true;
    return WEFT_OK;
}

int32_t weft_listener_close(weft_listener listener, uint64_t code) {
    int32_t error;
    struct abi_listener *own = listener_get(listener, &error);
    if (!own)
        return error;
    if (code > WEFT_CODE_MAX)
        return WEFT_E_VALUE;
    if (!own->socket)
        return WEFT_E_CLOSED;
    struct abi_engine *engine = own->engine;
    base_time now = abi_now(engine);
    own->core.draining = true;
    const struct base_list *conns = &engine->loop.endpoint.conns;
    for (const struct base_node *node = base_list_first(conns); node; node = base_list_next(conns, node)) {
        struct quic_conn *core = BASE_CONTAINER(node, struct quic_conn, all);
        if (core->accepted_by == &own->core)
            quic_conn_close(core, true, code, NULL, 0, now);
    }
    io_loop_close_socket(&engine->loop, own->socket);
    own->socket = NULL;
    if (!own->core.connections)
        base_event_raise(&engine->loop.events, &own->event, 1);
    abi_touch(engine);
    return WEFT_OK;
}

void abi_listeners_check(struct abi_engine *engine) {
    const struct base_list *list = &engine->listeners;
    for (const struct base_node *node = base_list_first(list); node; node = base_list_next(list, node)) {
        struct abi_listener *listener = BASE_CONTAINER(node, struct abi_listener, node);
        if (!listener->socket && !listener->core.connections)
            base_event_raise(&engine->loop.events, &listener->event, 1);
    }
}
