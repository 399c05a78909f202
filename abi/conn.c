/* conn.c - connections as the application holds them.
 *
 * The application's connection is an object of its own, because it lives longer than the core's: it is there while a
 * name is looked up and addresses are raced, before there is a core connection; and, when kept, after that one is
 * gone. In between `core` points to it, and core->user back.
 *
 * Knows the ways into life (weft_connect, an accepted client) and out of it. Does not know what happens in between:
 * that is the core's business, and the dispatcher's to tell.
 *
 * The invariant that matters: conn->core != NULL exactly when conn->core->user == conn; and the application hears
 * CONN_CLOSED exactly once, whatever became of races, cores and engines.
 */
#include "abi.h"

#include <assert.h>
#include <stdio.h>

#include "quic/path_record.h"

#define EXPORT_LABEL 53u  /* what the TLS library has room for beside the largest hash */
#define EXPORT_MOST 8160u /* RFC 5869 2.3: 255 hashes, of SHA-256, so that it is the same for all suites */

/* ---- birth and end of the object ---- */

struct abi_conn *abi_conn_new(struct abi_engine *engine) {
    struct abi_conn *conn = BASE_NEW(&engine->mem, struct abi_conn);
    if (!conn)
        return NULL;
    conn->handle = base_slots_add(abi_slots(engine), ABI_CONN, conn);
    if (!conn->handle) {
        BASE_DELETE(&engine->mem, conn);
        return NULL;
    }
    conn->engine = engine;
    conn->event.handle = conn->handle;
    conn->stream_flags = engine->stream_flags;
    base_list_init(&conn->streams);
    base_list_push_back(&engine->conns, &conn->node);
    return conn;
}

static void last_free(struct abi_conn *conn) {
    struct base_mem *mem = &conn->engine->mem;
    struct abi_last *last = conn->last;
    if (!last)
        return;
    base_free(mem, last->certificate, last->certificate_len);
    base_free(mem, last->session, last->session_len);
    base_free(mem, last->token, last->token_len);
    base_free(mem, last->paths, last->path_count * sizeof *last->paths);
    BASE_DELETE(mem, last);
    conn->last = NULL;
}

void abi_conn_free(struct abi_conn *conn) {
    struct abi_engine *engine = conn->engine;
    struct base_node *node;
    if (conn->race)
        io_race_cancel(conn->race);
    if (conn->core)
        conn->core->user = NULL;
    while ((node = base_list_pop_front(&conn->streams)) != NULL)
        BASE_DELETE(&engine->mem, BASE_CONTAINER(node, struct abi_stream, node));
    last_free(conn);
    base_event_cancel(&conn->event);
    base_list_remove(&conn->node);
    base_slots_remove(abi_slots(engine), conn->handle);
    BASE_DELETE(&engine->mem, conn);
}

void abi_conn_attach(struct abi_conn *conn, struct quic_conn *core) {
    assert(!conn->core);
    conn->core = core;
    conn->race = NULL;
    core->user = conn;
    if (!conn->keeps)
        last_free(conn);
}

void abi_conn_failed(struct abi_conn *conn, const weft_close *close) {
    assert(!conn->core && conn->last);
    conn->race = NULL;
    conn->last->close = *close;
    base_event_raise(&conn->engine->loop.events, &conn->event, 1);
    abi_touch(conn->engine);
}

struct abi_conn *abi_conn_with_core(weft_conn handle, int32_t *error) {
    struct abi_conn *conn = abi_conn_get(handle, error);
    if (!conn || conn->core)
        return conn;
    *error = conn->race ? WEFT_E_STATE : WEFT_E_CLOSED;
    return NULL;
}

/* Moves a block from the core's connection to what is kept. */
static void move_block(uint8_t **to, size_t *to_len, uint8_t **from, size_t *from_len) {
    *to = *from;
    *to_len = *from_len;
    *from = NULL;
    *from_len = 0;
}

/* The core's connection goes its way alone: it has a closing period to spend. */
static void conn_part(struct abi_conn *conn) {
    struct quic_conn *core = conn->core;
    struct abi_last *last = conn->last;
    if (last) {
        abi_info_fill(conn, &last->info);
        abi_info_stats(conn, &last->stats);
        abi_info_close_of(conn, &last->close);
        abi_path_keep(conn, last);
        move_block(&last->certificate, &last->certificate_len, &core->peer_certificate, &core->peer_certificate_len);
        move_block(&last->session, &last->session_len, &core->session, &core->session_len);
        move_block(&last->token, &last->token_len, &core->new_token, &core->new_token_len);
    }
    conn->core = NULL;
    core->user = NULL;
    quic_endpoint_forget(core->endpoint, core);
}

void abi_conn_ended(struct abi_conn *conn) {
    if (!conn->keeps)
        last_free(conn);
    if (conn->core)
        conn_part(conn);
    conn->ended = true;
    if (conn->last)
        conn->last->info.state = WEFT_CONN_CLOSED;
    if (!conn->keeps)
        abi_conn_free(conn);
}

/* ---- connecting ---- */

static void on_race_conn(void *user, struct quic_conn *core) { abi_conn_attach((struct abi_conn *)user, core); }

static void on_race_failed(void *user, int status, const struct quic_close *core, const char *text) {
    struct abi_conn *conn = (struct abi_conn *)user;
    weft_close close;
    if (core) {
        abi_info_close(core, status, &close);
    } else {
        close =
            (weft_close){.size = sizeof close, .cause = WEFT_CAUSE_CONNECT, .error = status ? status : WEFT_E_ADDRESS};
        int len = snprintf(close.reason, QUIC_REASON_MAX, "%s", text ? text : weft_strerror(close.error));
        close.reason_len = len < (int)QUIC_REASON_MAX ? (uint32_t)len : QUIC_REASON_MAX - 1;
    }
    abi_log(conn->engine, WEFT_LOG_WARNING, "connection failed: %s", close.reason);
    abi_conn_failed(conn, &close);
}

static int32_t connect_params(const weft_connect_params *params, weft_connect_params *p) {
    int32_t error = abi_params(p, params, sizeof *p);
    if (error)
        return error;
    if ((p->family != 0 && p->family != 4 && p->family != 6) || (!p->session && p->session_len) ||
        (!p->token && p->token_len))
        return WEFT_E_INVALID;
    error = abi_table(p->callbacks);
    return error ? error : abi_table(p->stream_callbacks);
}

/* An object that waits for its race. */
static struct abi_conn *conn_new_client(struct abi_engine *engine, const weft_connect_params *p) {
    struct abi_conn *conn = abi_conn_new(engine);
    if (!conn)
        return NULL;
    conn->last = BASE_NEW(&engine->mem, struct abi_last);
    if (!conn->last) {
        abi_conn_free(conn);
        return NULL;
    }
    conn->last->info = (weft_conn_info){.role = WEFT_CLIENT, .created_at = abi_now(engine)};
    conn->callbacks = p->callbacks;
    conn->stream_callbacks = p->stream_callbacks;
    conn->user = p->user;
    return conn;
}

static int32_t connect_to(struct abi_engine *engine, weft_config config, const char *host, uint16_t port,
                          const weft_connect_params *p, weft_conn *out, struct crypto_error *why) {
    struct abi_config *shared;
    int32_t error = abi_config_use(config, CRYPTO_CLIENT, &shared, why);
    if (error)
        return error;
    struct abi_conn *conn = conn_new_client(engine, p);
    if (!conn) {
        abi_config_put(shared);
        return WEFT_E_NOMEM;
    }
    struct io_race_open open = {
        .host = host,
        .port = port,
        .family = (uint8_t)p->family,
        .connect = {.config = &shared->core,
                    .server_name = p->server_name ? p->server_name : host,
                    .session = (const uint8_t *)p->session,
                    .session_len = p->session_len,
                    .token = (const uint8_t *)p->token,
                    .token_len = p->token_len},
        .first_only = p->session_len && shared->core.options.early_data, /* what goes out early goes to one address */
        .on_conn = on_race_conn,
        .on_failed = on_race_failed,
        .user = conn,
    };
    struct io_race *race = NULL;
    error = io_race_start(&engine->loop, &open, &race, why);
    abi_config_put(shared); /* the race and its attempts have references */
    if (error) {
        abi_conn_free(conn);
        return error;
    }
    if (!conn->core)
        conn->race = race;
    out->id = conn->handle;
    abi_touch(engine);
    return WEFT_OK;
}

int32_t weft_connect(weft_engine engine, weft_config config, const char *host, uint16_t port,
                     const weft_connect_params *params, weft_conn *conn) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    weft_connect_params p;
    struct crypto_error why = {{0}};
    error = connect_params(params, &p);
    if (!error && (!host || !conn))
        error = WEFT_E_INVALID;
    if (!error)
        error = connect_to(own, config, host, port, &p, conn, &why);
    return error ? abi_engine_fail(own, error, &why) : WEFT_OK;
}

/* ---- closing ---- */

static int32_t conn_close(weft_conn handle, bool app, uint64_t code, const char *reason) {
    int32_t error;
    struct abi_conn *conn = abi_conn_get(handle, &error);
    if (!conn)
        return error;
    if (code > WEFT_CODE_MAX)
        return WEFT_E_VALUE;
    struct quic_close close = {.cause = QUIC_CAUSE_LOCAL, .app = app, .code = code};
    size_t len = reason ? strlen(reason) : 0;
    close.reason_len = (uint8_t)(len < QUIC_REASON_MAX ? len : QUIC_REASON_MAX);
    if (close.reason_len)
        memcpy(close.reason, reason, close.reason_len);
    if (conn->core) {
        if (conn->core->state >= QUIC_CONN_CLOSING)
            return WEFT_E_CLOSED;
        quic_conn_close(conn->core, app, code, close.reason, close.reason_len, abi_now(conn->engine));
        abi_touch(conn->engine);
        return WEFT_OK;
    }
    if (!conn->race)
        return WEFT_E_CLOSED; /* failed, or ended and kept */
    io_race_cancel(conn->race);
    weft_close out;
    abi_info_close(&close, WEFT_OK, &out);
    abi_conn_failed(conn, &out);
    return WEFT_OK;
}

int32_t weft_conn_close(weft_conn conn, uint64_t code, const char *reason) {
    return conn_close(conn, true, code, reason);
}

int32_t weft_conn_close_transport(weft_conn conn, uint64_t code, const char *reason) {
    return conn_close(conn, false, code, reason);
}

int32_t weft_conn_keep(weft_conn conn) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    if (!own->last)
        own->last = BASE_NEW(&own->engine->mem, struct abi_last);
    if (!own->last || own->keeps == UINT32_MAX)
        return WEFT_E_NOMEM;
    own->keeps++;
    return WEFT_OK;
}

int32_t weft_conn_release(weft_conn conn) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    if (!own->keeps)
        return WEFT_E_STATE;
    if (--own->keeps == 0 && own->ended)
        abi_conn_free(own);
    return WEFT_OK;
}

/* ---- small things ---- */

int32_t weft_conn_set_callbacks(weft_conn conn, const weft_conn_callbacks *callbacks) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    error = abi_table(callbacks);
    if (error)
        return error;
    own->callbacks = callbacks;
    abi_datagrams_again(own);
    return WEFT_OK;
}

int32_t weft_conn_set_stream_callbacks(weft_conn conn, const weft_stream_callbacks *callbacks) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    error = abi_table(callbacks);
    if (error)
        return error;
    own->stream_callbacks = callbacks;
    return WEFT_OK;
}

int32_t weft_conn_set_stream_flags(weft_conn conn, uint32_t flags) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    if (flags & ~(uint32_t)(WEFT_STREAM_PULL | WEFT_STREAM_MANUAL_CREDIT))
        return WEFT_E_INVALID;
    own->stream_flags = flags;
    return WEFT_OK;
}

void *weft_conn_user(weft_conn conn) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    return own ? own->user : NULL;
}

int32_t weft_conn_set_user(weft_conn conn, void *user) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    if (!own)
        return error;
    own->user = user;
    return WEFT_OK;
}

weft_engine weft_conn_engine(weft_conn conn) {
    int32_t error;
    struct abi_conn *own = abi_conn_get(conn, &error);
    return (weft_engine){own ? own->engine->handle : 0};
}

int32_t weft_conn_update_keys(weft_conn conn) {
    int32_t error;
    struct abi_conn *own = abi_conn_with_core(conn, &error);
    if (!own)
        return error;
    error = quic_conn_update_keys(own->core);
    abi_touch(own->engine);
    return error;
}

int32_t weft_conn_ping(weft_conn conn) {
    int32_t error;
    struct abi_conn *own = abi_conn_with_core(conn, &error);
    if (!own)
        return error;
    error = quic_conn_ping(own->core);
    abi_touch(own->engine);
    return error;
}

int32_t weft_conn_export(weft_conn conn, const char *label, const void *context, size_t context_len, void *out,
                         size_t len) {
    int32_t error;
    struct abi_conn *own = abi_conn_with_core(conn, &error);
    if (!own)
        return error;
    if (!label || (!context && context_len) || !out || !len)
        return WEFT_E_INVALID;
    if (strlen(label) > EXPORT_LABEL || len > EXPORT_MOST || context_len > UINT32_MAX)
        return WEFT_E_VALUE;
    struct crypto_tls *tls = own->core->tls;
    bool ok = tls && own->core->handshake_complete &&
              crypto_tls_export(tls, label, (const uint8_t *)context, context_len, (uint8_t *)out, len);
    return ok ? WEFT_OK : WEFT_E_STATE;
}
