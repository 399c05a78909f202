/* calls.c - see calls.h. Each line of the table at the end is a call; which one comes next, and with what, the source
 * says. */
#include "calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/weft.h>

#include "order.h"

#define KEPT 32u  /* handles remembered of each kind, newest over oldest */
#define WITHIN 2u /* calls made in a row from within a callback */
#define BYTES 20000u

enum kind { CONFIG, ENGINE, LISTENER, CONN, STREAM, BUFFER, PAIR, KINDS };

static struct {
    const struct calls_source *source;
    uint64_t made, most;
    uint64_t handles[KINDS][KEPT];
    uint32_t count[KINDS];
    unsigned depth; /* of callbacks */
    int64_t blocks;
    weft_pair pair;
    weft_config client, server;
    weft_slice slice; /* of the last DATA or peek */
    uint64_t token;   /* the last one given */
    uint8_t session[8192];
    size_t session_len;
} own;

static const uint8_t sent[BYTES];
static uint8_t room[BYTES];

/* ---- choosing ---- */

static uint64_t next(void) { return own.source->next(own.source->user); }

static uint64_t below(uint64_t limit) { return next() % limit; }

static void keep(enum kind kind, uint64_t handle) {
    if (handle)
        own.handles[kind][own.count[kind]++ % KEPT] = handle;
}

/* Mostly one of this kind that lives or has lived. */
static uint64_t pick(enum kind kind) {
    uint64_t dice = below(64);
    if (dice == 0)
        return next() | next() << 32;
    if (dice == 1)
        kind = (enum kind)below(KINDS);
    uint32_t count = own.count[kind] < KEPT ? own.count[kind] : KEPT;
    uint64_t back = below(4) ? below(4) : below(KEPT); /* the newest are likelier to live */
    uint64_t handle = count ? own.handles[kind][(own.count[kind] - 1 - (uint32_t)(back % count)) % KEPT] : 0;
    return dice == 2 ? handle ^ UINT64_C(1) << below(64) : handle;
}

static void expect(int64_t result) {
    if (result >= 0 || result == INT64_MIN)
        return;
    if (result < INT32_MIN || result == WEFT_E_INTERNAL || strcmp(weft_error_name((int32_t)result), "UNKNOWN") == 0) {
        fprintf(stderr, "a call gives %lld\n", (long long)result);
        abort();
    }
}

static void must(int32_t result) {
    if (result == 0)
        return;
    fprintf(stderr, "must not fail: %s\n", weft_strerror(result));
    abort();
}

#define H(type, kind) ((weft_##type){pick(kind)})

/* Also one that nobody has told of: a handle changed at random may be one. */
static weft_stream some_stream(void) {
    weft_stream stream = H(stream, STREAM);
    weft_conn conn = weft_stream_conn(stream);
    if (conn.id)
        order_found(conn, stream);
    return stream;
}

/* ---- events ---- */

static void call_one(void);

/* Whatever was heard, by batch or callback, after it was found to be in order. */
static void on_event(const weft_event *event) {
    if (event->listener.id)
        keep(LISTENER, event->listener.id);
    if (event->type == WEFT_EV_ACCEPTED || event->type == WEFT_EV_CONNECTED)
        keep(CONN, event->conn.id);
    if (event->type == WEFT_EV_STREAM_OPENED)
        keep(STREAM, event->stream.id);
    if (event->type == WEFT_EV_DATA || event->type == WEFT_EV_DATAGRAM)
        own.slice = (weft_slice){.data = event->data, .len = (size_t)event->len, .source = event->source};
    own.depth++;
    for (uint64_t calls = below(4) ? 0 : below(WITHIN + 1); calls && own.depth < 4; calls--)
        call_one();
    own.depth--;
}

/* Tables with all functions, without some, without any. */
#define TABLES 4u
static const uint64_t without[TABLES] = {
    0, ORDER_BIT(WEFT_EV_DATA) | ORDER_BIT(WEFT_EV_DATAGRAM) | ORDER_BIT(WEFT_EV_CONNECTED),
    ORDER_BIT(WEFT_EV_STREAM_OPENED) | ORDER_BIT(WEFT_EV_STREAM_CLOSED) | ORDER_BIT(WEFT_EV_DATAGRAM_OUTCOME),
    UINT64_MAX};
static weft_conn_callbacks conn_tables[TABLES];
static weft_stream_callbacks stream_tables[TABLES];

/* ---- memory: counted, so that what is left shows even where no sanitizer looks ---- */

static void *on_alloc(void *user, size_t size) {
    (void)user;
    own.blocks++;
    return malloc(size);
}

static void *on_resize(void *user, void *block, size_t from, size_t size) {
    (void)user;
    (void)from;
    own.blocks += block == NULL;
    return realloc(block, size);
}

static void on_release(void *user, void *block, size_t size) {
    (void)user;
    (void)size;
    own.blocks -= block != NULL;
    free(block);
}

/* ---- calls ---- */

static void nothing(void *arg) { (void)arg; }

static int64_t do_step(void) {
    if (!own.depth)
        order_turn(true);
    return weft_pair_step((weft_pair){own.pair.id});
}
static int64_t do_run(void) {
    uint64_t now = 0;
    int32_t error = weft_pair_now(own.pair, &now);
    if (!own.depth)
        order_turn(false);
    return error ? error : weft_pair_run(own.pair, now + below(50000000));
}
static int64_t do_pair_handles(void) {
    if (!own.depth)
        order_turn(true);
    return weft_pair_step(H(pair, PAIR));
}
static int64_t do_pair_stop(void) { return weft_pair_stop(H(pair, PAIR)); }
static int64_t do_link(void) {
    weft_link link = {.size = sizeof link, .loss = (uint32_t)below(100000), .delay = below(20000000)};
    return weft_pair_set_link(own.pair, (uint32_t)below(3), below(4) ? NULL : &link);
}
static int64_t do_connect(void) {
    weft_conn conn;
    if (below(2)) /* handshakes cost more than all else */
        return 0;
    uint32_t table = (uint32_t)below(2 * TABLES);
    weft_connect_params params = {.size = sizeof params, .session = own.session, .session_len = own.session_len};
    if (below(2))
        params.session_len = 0;
    if (table < TABLES) {
        params.callbacks = &conn_tables[table];
        params.stream_callbacks = &stream_tables[table];
    }
    int32_t error =
        weft_connect(H(engine, ENGINE), below(4) ? own.client : H(config, CONFIG), "192.0.2.2", 443, &params, &conn);
    if (error)
        return error;
    keep(CONN, conn.id);
    order_connecting(conn);
    if (table < TABLES)
        order_deaf(conn.id, without[table]);
    return 0;
}
static int64_t do_listen(void) {
    weft_listener listener;
    int32_t error = weft_listen(H(engine, ENGINE), own.server, below(2) ? "192.0.2.2:443" : "[::]:7", NULL, &listener);
    if (!error)
        keep(LISTENER, listener.id);
    return error;
}
static int64_t do_open(void) {
    weft_stream stream;
    weft_stream_params params = {.size = sizeof params, .flags = (uint32_t)below(4)};
    weft_conn conn = H(conn, CONN);
    uint32_t table = (uint32_t)below(4 * TABLES);
    params.callbacks = table < TABLES ? &stream_tables[table] : NULL;
    int32_t error = weft_stream_open(conn, (uint32_t)below(3), table >= TABLES && below(2) ? NULL : &params, &stream);
    if (error == WEFT_E_STREAM_LIMIT)
        order_did(conn.id, ORDER_NO_STREAM);
    if (error)
        return error;
    keep(STREAM, stream.id);
    order_opened(conn, stream);
    if (table < TABLES)
        order_deaf(stream.id, without[table]);
    return 0;
}
static int64_t do_find(void) {
    weft_stream stream;
    weft_conn conn = H(conn, CONN);
    int32_t error = weft_stream_find(conn, below(40), &stream);
    if (error)
        return error;
    keep(STREAM, stream.id);
    order_found(conn, stream);
    return 0;
}
/* What a write that asked for `len` bytes came to. */
static int64_t wrote(weft_stream stream, uint64_t len, uint32_t flags, int64_t result) {
    weft_stream_info info = {.size = sizeof info};
    uint64_t most = 0;
    if (result < 0)
        return result;
    bool whole = (uint64_t)result == len;
    must(weft_stream_get_info(stream, &info));
    must(weft_config_get_uint(own.client, "stream_send_buffer", &most));
    if (whole && flags & WEFT_FIN)
        order_did(stream.id, ORDER_FINISH);
    else if (!whole || info.buffered >= most)
        order_did(stream.id, ORDER_FULL);
    return result;
}
/* What is read has perhaps no more to come. */
static int64_t has_read(weft_stream stream, int64_t result) {
    weft_stream_info info = {.size = sizeof info};
    if (result < 0 || weft_stream_get_info(stream, &info))
        return result;
    if (info.recv_state == WEFT_RECV_DONE)
        order_did(stream.id, ORDER_READ_OUT);
    return result;
}
static int64_t did(uint64_t handle, enum order_act act, int64_t result) {
    if (result >= 0)
        order_did(handle, act);
    return result;
}
static int64_t do_write(void) {
    uint64_t len = below(BYTES);
    uint32_t flags = (uint32_t)below(3) & 1;
    weft_stream stream = some_stream();
    return wrote(stream, len, flags, weft_stream_write(stream, sent, len, flags));
}
static int64_t do_writev(void) {
    weft_bytes bytes[3] = {{sent, below(300)}, {NULL, 0}, {sent, below(3000)}};
    uint32_t count = (uint32_t)below(4), flags = (uint32_t)below(2);
    uint64_t len = (count > 0 ? bytes[0].len : 0) + (count > 2 ? bytes[2].len : 0);
    weft_stream stream = some_stream();
    return wrote(stream, len, flags, weft_stream_writev(stream, bytes, count, flags));
}
static int64_t do_write_ref(void) {
    uint64_t len = below(BYTES);
    uint32_t flags = (uint32_t)below(2);
    weft_stream stream = some_stream();
    int64_t result = weft_stream_write_ref(stream, sent, len, ++own.token, flags);
    if (result > 0)
        order_token(stream.id, own.token);
    return wrote(stream, len, flags, result);
}
static int64_t do_read(void) {
    uint32_t flags;
    weft_stream stream = some_stream();
    return has_read(stream, weft_stream_read(stream, room, below(BYTES), &flags));
}
static int64_t do_peek(void) {
    weft_slice slices[4];
    uint32_t flags;
    weft_stream stream = some_stream();
    int64_t shown = weft_stream_peek(stream, slices, (uint32_t)below(5), &flags);
    if (shown > 0) {
        own.slice = slices[below((uint64_t)shown)];
        memcpy(room, own.slice.data, own.slice.len < BYTES ? own.slice.len : BYTES); /* it must be readable */
        expect(has_read(stream, weft_stream_consume(stream, below(2 * own.slice.len + 1))));
    }
    return shown;
}
static int64_t do_consume(void) {
    weft_stream stream = some_stream();
    return has_read(stream, weft_stream_consume(stream, below(3000)));
}
static int64_t do_credit(void) { return weft_stream_credit(some_stream(), below(3000)); }
static int64_t do_finish(void) {
    weft_stream stream = some_stream();
    return did(stream.id, ORDER_FINISH, weft_stream_finish(stream));
}
static int64_t do_reset(void) {
    weft_stream stream = some_stream();
    return below(4) ? 0 : did(stream.id, ORDER_RESET, weft_stream_reset(stream, below(9)));
}
static int64_t do_stop(void) {
    weft_stream stream = some_stream();
    return below(4) ? 0 : did(stream.id, ORDER_STOP, weft_stream_stop(stream, below(9)));
}
static int64_t do_pause(void) { return weft_stream_pause(some_stream()); }
static int64_t do_resume(void) { return weft_stream_resume(some_stream()); }
static int64_t do_detach(void) {
    weft_stream stream = some_stream();
    return below(4) ? 0 : did(stream.id, ORDER_DETACH, weft_stream_detach(stream, below(9)));
}
static int64_t do_priority(void) {
    return weft_stream_set_priority(some_stream(), (uint32_t)below(9), (uint32_t)below(2));
}
static int64_t do_stream_flags(void) { return weft_stream_set_flags(some_stream(), (uint32_t)below(4)); }
static int64_t do_stream_user(void) {
    weft_stream stream = some_stream();
    (void)weft_stream_user(stream);
    (void)weft_stream_conn(stream);
    return weft_stream_set_user(stream, &own);
}
static int64_t do_stream_info(void) {
    weft_stream_info info = {.size = (uint32_t)sizeof info - (uint32_t)below(9)};
    return weft_stream_get_info(some_stream(), &info);
}
static int64_t do_retain(void) {
    weft_buffer buffer;
    const uint8_t *data;
    weft_slice slice = own.slice;
    if (!slice.data)
        return 0;
    int32_t error = weft_buffer_retain(&slice, &buffer, &data);
    if (error)
        return error;
    keep(BUFFER, buffer.id);
    memcpy(room, data, slice.len < BYTES ? slice.len : BYTES);
    return 0;
}
static int64_t do_release(void) { return weft_buffer_release(H(buffer, BUFFER)); }
static int64_t do_close(void) { return below(16) ? 0 : weft_conn_close(H(conn, CONN), below(9), "random"); }
static int64_t do_close_transport(void) {
    return below(32) ? 0 : weft_conn_close_transport(H(conn, CONN), below(9), NULL);
}
static int64_t do_keep(void) { return weft_conn_keep(H(conn, CONN)); }
static int64_t do_conn_release(void) { return weft_conn_release(H(conn, CONN)); }
static int64_t do_conn_flags(void) { return weft_conn_set_stream_flags(H(conn, CONN), (uint32_t)below(4)); }
static int64_t do_conn_info(void) {
    weft_conn_info info = {.size = sizeof info};
    weft_close close = {.size = sizeof close};
    weft_path path = {.size = sizeof path};
    weft_conn_stats stats = {.size = sizeof stats};
    weft_conn conn = H(conn, CONN);
    expect(weft_conn_get_close(conn, &close));
    expect(weft_conn_get_path(conn, &path));
    expect(weft_conn_get_stats(conn, &stats));
    expect(weft_conn_session(conn, room, sizeof room));
    expect(weft_conn_token(conn, room, sizeof room));
    expect(weft_conn_peer_certificate(conn, room, sizeof room));
    (void)weft_conn_engine(conn);
    return weft_conn_get_info(conn, &info);
}
static int64_t do_export(void) {
    return weft_conn_export(H(conn, CONN), "EXPORTER-random", sent, below(20), room, below(64));
}
static int64_t do_update(void) { return weft_conn_update_keys(H(conn, CONN)); }
static int64_t do_ping(void) { return weft_conn_ping(H(conn, CONN)); }
static int64_t do_datagram(void) {
    weft_conn conn = H(conn, CONN);
    expect(weft_datagram_max(conn));
    uint64_t token = below(3) ? ++own.token : 0;
    int32_t error = weft_datagram_send(conn, sent, below(1500), token);
    if (error == WEFT_E_BLOCKED)
        order_did(conn.id, ORDER_NO_SPACE);
    else if (!error && token)
        order_token(conn.id, token);
    return error;
}
static int64_t do_migrate(void) {
    static const char *const addresses[] = {"192.0.2.1:9", "192.0.2.1:10", "192.0.2.3:11", "2001:db8::1", NULL, "x"};
    const char *local = addresses[below(6)];
    return below(2) ? weft_conn_migrate(H(conn, CONN), local) : weft_conn_probe(H(conn, CONN), local);
}
static int64_t do_path_news(void) {
    weft_path_news news = {.size = sizeof news};
    return weft_conn_path_news(H(conn, CONN), &news);
}
static int64_t do_deadline(void) {
    return below(4) ? 0 : weft_stream_set_deadline(some_stream(), below(100000000), below(9));
}
static int64_t do_session(void) {
    int64_t len = weft_conn_session(H(conn, CONN), own.session, sizeof own.session);
    if (len > 0)
        own.session_len = (size_t)len;
    return len;
}
static int64_t do_conn_callbacks(void) {
    uint32_t table = (uint32_t)below(2 * TABLES);
    weft_conn conn = H(conn, CONN);
    int32_t error = below(2) ? weft_conn_set_callbacks(conn, table < TABLES ? &conn_tables[table] : NULL)
                             : weft_conn_set_stream_callbacks(conn, table < TABLES ? &stream_tables[table] : NULL);
    if (!error && table < TABLES)
        order_deaf(conn.id, without[table]);
    return error;
}
static int64_t do_stream_callbacks(void) {
    uint32_t table = (uint32_t)below(2 * TABLES);
    weft_stream stream = some_stream();
    int32_t error = weft_stream_set_callbacks(stream, table < TABLES ? &stream_tables[table] : NULL);
    if (!error && table < TABLES)
        order_deaf(stream.id, without[table]);
    return error;
}
static int64_t do_listener(void) {
    weft_listener listener = H(listener, LISTENER);
    weft_addr addr;
    uint32_t count;
    expect(weft_listener_address(listener, &addr));
    expect(weft_listener_reload(listener, own.server));
    return weft_listener_connections(listener, &count);
}
static int64_t do_listener_close(void) {
    uint64_t dice = below(64);
    return dice > 1 ? 0
           : dice   ? weft_listener_stop(H(listener, LISTENER))
                    : weft_listener_close(H(listener, LISTENER), 3);
}
static int64_t do_engine(void) {
    weft_engine engine = H(engine, ENGINE);
    weft_engine_stats stats = {.size = sizeof stats};
    uint64_t ns;
    expect(weft_engine_deadline(engine, &ns));
    expect(weft_engine_now(engine, &ns));
    expect(weft_engine_wake(engine));
    expect(weft_engine_post(engine, nothing, NULL));
    expect(weft_engine_run(engine));
    expect(weft_engine_fd(engine));
    expect(weft_engine_adopt(engine));
    return weft_engine_get_stats(engine, &stats);
}
static int64_t do_turn(void) {
    if (!own.depth)
        order_turn(true);
    return weft_engine_turn(H(engine, ENGINE));
}
static int64_t do_output(void) {
    static uint8_t train[WEFT_TRAIN_SIZE];
    weft_datagram datagram = {.data = train, .segment = (uint32_t)below(WEFT_TRAIN_MAX + 2)};
    return below(4) ? 0 : weft_engine_output(H(engine, ENGINE), &datagram); /* what comes out is lost */
}
static int64_t do_input(void) {
    weft_addr addr = {
        .family = below(9) ? 4 : (uint8_t)next(), .port = (uint16_t)next(), .ip = {192, 0, 2, (uint8_t)below(3)}};
    weft_datagram datagram = {
        .data = room, .len = below(1500), .local = addr, .remote = addr, .segment = (uint32_t)below(500)};
    return weft_engine_input(H(engine, ENGINE), &datagram, 1);
}
static int64_t do_engine_free(void) {
    weft_engine engine = H(engine, ENGINE);
    int32_t error = below(512) ? WEFT_E_STATE : weft_engine_free(engine);
    if (!error)
        order_freed(engine);
    return error;
}
static int64_t do_config(void) {
    weft_config config = H(config, CONFIG);
    uint64_t value;
    expect(weft_config_set(config, "max_idle_timeout", "7s"));
    expect(weft_config_get_uint(config, "max_idle_timeout", &value));
    expect(weft_config_set_uint(config, "pacing", below(3)));
    expect(weft_config_set_alpn(config, below(2) ? "random" : ""));
    return weft_config_set_verify(config, (uint32_t)below(2));
}
static int64_t do_config_new(void) {
    weft_config config;
    if (below(8))
        return 0;
    expect(weft_config_free((weft_config){own.handles[CONFIG][own.count[CONFIG] % KEPT]})); /* whose place it takes */
    int32_t error = weft_config_new((uint32_t)below(3), &config);
    if (!error)
        keep(CONFIG, config.id);
    return error;
}

static int64_t (*const calls[])(void) = {
    do_step,
    do_step,
    do_step,
    do_step,
    do_run,
    do_run,
    do_pair_handles,
    do_pair_stop,
    do_link,
    do_connect,
    do_listen,
    do_open,
    do_open,
    do_open,
    do_find,
    do_write,
    do_write,
    do_write,
    do_writev,
    do_write_ref,
    do_write_ref,
    do_read,
    do_read,
    do_peek,
    do_peek,
    do_consume,
    do_credit,
    do_finish,
    do_reset,
    do_stop,
    do_pause,
    do_resume,
    do_detach,
    do_priority,
    do_stream_flags,
    do_stream_user,
    do_stream_info,
    do_retain,
    do_retain,
    do_release,
    do_release,
    do_close,
    do_close_transport,
    do_keep,
    do_conn_release,
    do_conn_flags,
    do_conn_info,
    do_export,
    do_update,
    do_ping,
    do_datagram,
    do_datagram,
    do_migrate,
    do_path_news,
    do_path_news,
    do_deadline,
    do_session,
    do_conn_callbacks,
    do_stream_callbacks,
    do_listener,
    do_listener_close,
    do_engine,
    do_turn,
    do_output,
    do_input,
    do_engine_free,
    do_config,
    do_config_new,
};

static void call_one(void) {
    if (own.made >= own.most || !own.source->more(own.source->user))
        return;
    own.made++;
    order_called();
    expect(calls[below(sizeof calls / sizeof *calls)]());
    order_called(); /* another engine may have been turned */
}

/* ---- a life ---- */

static void begin(uint64_t seed) {
    weft_allocator allocator = {
        .size = sizeof allocator, .alloc = on_alloc, .resize = on_resize, .release = on_release};
    weft_engine_params engine = {.size = sizeof engine, .allocator = &allocator, .on_events = order_on_events};
    weft_pair_params params = {
        .size = sizeof params, .flags = WEFT_PAIR_REPEATABLE, .seed = seed, .engines = {&engine, &engine}};
    weft_engine engines[2];
    weft_listener listener;
    weft_conn conn;
    order_begin();
    order_then(on_event);
    for (uint32_t i = 0; i < TABLES; i++) {
        order_conn_table(&conn_tables[i], without[i]);
        order_stream_table(&stream_tables[i], without[i]);
    }
    engine.memory_limit = seed % 3 ? 0 : 4u << 20; /* sometimes there is too little */
    must(weft_pair_new(&params, &own.pair, engines));
    must(weft_config_new(WEFT_SERVER, &own.server));
    must(weft_config_set_alpn(own.server, "random"));
    must(weft_config_set(own.server, "max_datagram_frame_size", "65535"));
    must(weft_config_self_signed(own.server, "random.test", 9));
    must(weft_config_new(WEFT_CLIENT, &own.client));
    must(weft_config_set_alpn(own.client, "random"));
    must(weft_config_set(own.client, "max_datagram_frame_size", "1200"));
    must(weft_config_set_verify(own.client, 0));
    must(weft_config_set(own.client, "early_data", seed % 2 ? "on" : "off"));
    must(weft_config_set(own.server, "early_data", "on"));
    if (seed % 4) /* limits that are met */
        for (int i = 0; i < 2; i++) {
            weft_config config = i ? own.server : own.client;
            must(weft_config_set(config, "stream_send_buffer", "16KiB"));
            must(weft_config_set(config, "initial_max_streams_bidi", "3"));
            must(weft_config_set(config, "initial_max_streams_uni", "2"));
            must(weft_config_set(config, "datagram_queue_count", "3"));
            must(weft_config_set(config, "datagram_drop", seed % 8 < 5 ? "newest" : "oldest"));
        }
    must(weft_listen(engines[1], own.server, "192.0.2.2:443", NULL, &listener));
    must(weft_connect(engines[0], own.client, "192.0.2.2", 443, NULL, &conn));
    keep(PAIR, own.pair.id);
    keep(ENGINE, engines[0].id);
    keep(ENGINE, engines[1].id);
    keep(LISTENER, listener.id);
    keep(CONN, conn.id);
    order_connecting(conn);
}

uint64_t calls_run(const struct calls_source *source, uint64_t seed, uint64_t most) {
    own.source = source;
    own.made = 0;
    own.session_len = 0;
    own.most = most;
    begin(seed);
    while (own.made < own.most && source->more(source->user))
        call_one();
    own.most = 0; /* events may still come: they call nobody */
    order_turn(false);
    expect(weft_pair_run(own.pair, UINT64_C(1) << 40));
    order_end();
    must(weft_pair_free(own.pair));
    for (uint32_t i = 0; i < KEPT; i++)
        expect(weft_config_free((weft_config){own.handles[CONFIG][i]}));
    must(weft_config_free(own.server));
    must(weft_config_free(own.client));
    if (own.blocks) {
        fprintf(stderr, "seed %llu: %lld blocks are left\n", (unsigned long long)seed, (long long)own.blocks);
        abort();
    }
    own.slice = (weft_slice){0};
    return own.made;
}
