/* event_order.c - the order of events that weft.h promises, held in many short lives of two engines on a bad network.
 *
 *     event_order [lives [seed]]        1000 lives from seed 1 unless given
 *
 * The automaton (tests/fuzz/order.c) is proven first: sequences that must be found wrong, and some that must not. In
 * each life then a client and a server open streams, write by copy and by reference, read by push and pull, stop,
 * reset, pause, detach and close at random, hear of it in batches, by callbacks, by both, or by tables with holes, and
 * resume with early data. A finding ends the process, with the life's seed and what was heard out of order. At the end
 * each kind of event must have been heard: else nothing was shown. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/weft.h>

#include "../fuzz/order.h"

#define STREAMS 48u
#define PIECE 6000u
#define MS UINT64_C(1000000)

static struct {
    uint64_t dice, seed, token, heard[40];
    weft_pair pair;
    weft_engine engines[2];
    weft_conn conns[8];
    uint32_t conn_count;
    weft_stream streams[STREAMS];
    uint32_t stream_count; /* so many were there: the oldest are overwritten */
    uint8_t session[8192];
    size_t session_len;
    weft_config client, server;
} own;

static const uint8_t bytes[PIECE];

static uint64_t below(uint64_t limit) { /* splitmix64 */
    uint64_t z = own.dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return ((z ^ z >> 31) >> 8) % limit;
}

static void must(int64_t result) {
    if (result >= 0)
        return;
    fprintf(stderr, "\nmust not fail: %s\n", weft_strerror((int32_t)result));
    abort();
}

/* ---- the automaton itself ---- */

static bool found_wrong;

static void on_wrong(const char *text) {
    (void)text;
    found_wrong = true;
}

/* One letter an event of connection 1, or of its stream 2, or something done; a space begins a turn. */
static const struct letter {
    char letter;
    uint8_t type, flags; /* an event ... */
    uint8_t act;         /* ... or enum order_act */
} letters[] = {
    {'A', WEFT_EV_ACCEPTED, 0, 0},
    {'C', WEFT_EV_CONNECTED, 0, 0},
    {'F', WEFT_EV_CONFIRMED, 0, 0},
    {'S', WEFT_EV_SESSION, 0, 0},
    {'T', WEFT_EV_TOKEN, 0, 0},
    {'P', WEFT_EV_PATH, 0, 0},
    {'M', WEFT_EV_STREAMS, 0, 0},
    {'G', WEFT_EV_DATAGRAM, 0, 0},
    {'R', WEFT_EV_DATAGRAM_ROOM, 0, 0},
    {'X', WEFT_EV_CONN_CLOSED, 0, 0},
    {'o', WEFT_EV_STREAM_OPENED, 0, 0},
    {'d', WEFT_EV_DATA, 0, 0},
    {'e', WEFT_EV_DATA, WEFT_FIN, 0},
    {'r', WEFT_EV_READABLE, 0, 0},
    {'b', WEFT_EV_RESET, 0, 0},
    {'s', WEFT_EV_STOPPED, 0, 0},
    {'w', WEFT_EV_WRITABLE, 0, 0},
    {'l', WEFT_EV_RELEASED, 0, 0},
    {'f', WEFT_EV_FINISHED, 0, 0},
    {'x', WEFT_EV_STREAM_CLOSED, 0, 0},
    {'1', WEFT_EV_DATAGRAM_OUTCOME, 0, WEFT_DATAGRAM_SENT},
    {'2', WEFT_EV_DATAGRAM_OUTCOME, 0, WEFT_DATAGRAM_ACKED},
    {'3', WEFT_EV_DATAGRAM_OUTCOME, 0, WEFT_DATAGRAM_LOST},
    {'4', WEFT_EV_DATAGRAM_OUTCOME, 0, WEFT_DATAGRAM_DROPPED},
    {'>', 0, 0, ORDER_FULL},
    {'=', 0, 0, ORDER_FINISH},
    {'!', 0, 0, ORDER_RESET},
    {'.', 0, 0, ORDER_STOP},
    {'$', 0, 0, ORDER_READ_OUT},
    {'-', 0, 0, ORDER_DETACH},
    {'?', 0, 0, ORDER_NO_STREAM},
    {'_', 0, 0, ORDER_NO_SPACE},
};

/* '@' begins a client's connection and its stream, '+' lends bytes, '*' sends a datagram, '~' makes deaf to OPENED, 'z'
 * is the end of everything. */
static const struct {
    const char *text;
    bool right;
} sequences[] = {
    {"ACFodewX", false},
    {"A C F o d d e = f x X z", true},
    {"A X", true},
    {"@ x X", true},
    {"@CF ex Xz", true},
    {"A C F odex XP", false},
    {"X", false},
    {"AA", false},
    {"A F", false},
    {"A C C", false},
    {"A C F F", false},
    {"A C S", false},
    {"A C T", false},
    {"@C S T S X", false}, /* its stream is left */
    {"@C S T S xX", true},
    {"@T", false},
    {"A P", false},
    {"A C P P X", true},
    {"A G", false},
    {"A C G G G X", true},
    {"A C M", false},
    {"A C ? M X", true},
    {"A C ? M M", false},
    {"A C R", false},
    {"A C _ R X", true},
    {"A C d", false},
    {"A C oo", false},
    {"A C o o", false},
    {"A C o e e", false},
    {"A C o e d", false},
    {"A C o e r", false},
    {"A C o e b", false},
    {"A C o b d", false},
    {"A C o b x X", true},
    {"A C o . d", false},
    {"A C o $ d", false},
    {"A C o w", false},
    {"A C o > w w", false},
    {"A C o > w > w x X", true},
    {"A C o > ! w", false},
    {"A C o f", false},
    {"A C o = f f", false},
    {"A C o = s f", false},
    {"A C o s s", false},
    {"A C o ! s", false},
    {"A C o l", false},
    {"A C o + l x X", true},
    {"A C o + l l", false},
    {"A C o + x", false},
    {"A C o + - l X", true},
    {"A C o - x", false},
    {"A C o - d", false},
    {"A C o x x", false},
    {"A C o x d", false},
    {"A C o X", false},
    {"A C * 1 2 X", true},
    {"A C * 4 X", true},
    {"A C * 1 4", false},
    {"A C * 2", false},
    {"A C * X", false},
    {"A C * 1 1", false},
    {"A C * 1 3 2", false},
    {"A C 1", false},
    {"A C do", false},
    {"A C o edx", false},
    {"A C o xe", false},
    {"A C oo", false},
    {"A CC", false},
    {"A GC", false},
    {"A C PG PX", true},
    {"A C GP", false},
    {"A C oddd X", false},
    {"A z", false},
    {"A C ~dx X z", true},
    {"~A C d x X", true},
};

static void play(const char *text) {
    weft_conn conn = {1};
    weft_stream stream = {2};
    for (; *text; text++) {
        const struct letter *letter = NULL;
        for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
            if (letters[i].letter == *text)
                letter = &letters[i];
        if (letter && letter->type) {
            bool of_stream = letter->type >= WEFT_EV_STREAM_OPENED;
            weft_event event = {.type = letter->type,
                                .flags = letter->flags,
                                .conn = conn,
                                .stream = {of_stream ? stream.id : 0},
                                .code = letter->act,
                                .token = 7};
            event.listener.id = event.type == WEFT_EV_ACCEPTED ? 3 : 0;
            order_judge(&event);
        } else if (letter) {
            bool of_conn = letter->act == ORDER_NO_SPACE || letter->act == ORDER_NO_STREAM;
            order_did(of_conn ? conn.id : stream.id, (enum order_act)letter->act);
        }
        switch (*text) {
        case ' ': order_turn(true); break;
        case '@': order_connecting(conn), order_opened(conn, stream); break;
        case '+': order_token(stream.id, 7); break;
        case '*': order_token(conn.id, 7); break;
        case '~': order_deaf(text[1] == 'A' ? 3 : conn.id, ORDER_BIT(WEFT_EV_STREAM_OPENED)); break;
        case 'z': order_end(); break;
        default: break;
        }
    }
}

static uint32_t prove(void) {
    uint32_t failed = 0;
    order_hook(on_wrong);
    for (size_t i = 0; i < sizeof sequences / sizeof *sequences; i++) {
        order_begin();
        order_turn(true);
        found_wrong = false;
        play(sequences[i].text);
        if (found_wrong != sequences[i].right)
            continue;
        printf("FAILED: \"%s\" should be %s\n", sequences[i].text, sequences[i].right ? "in order" : "found wrong");
        failed++;
    }
    order_hook(NULL);
    return failed;
}

/* ---- two applications ---- */

static void keep_stream(weft_stream stream) { own.streams[own.stream_count++ % STREAMS] = stream; }

static weft_stream some_stream(void) {
    uint64_t count = own.stream_count < STREAMS ? own.stream_count : STREAMS;
    return count ? own.streams[below(count)] : (weft_stream){0};
}

/* Writes as much as goes, in one of three ways; what that came to follows from the stream's state. */
static void write_some(weft_stream stream) {
    weft_stream_info info = {.size = sizeof info};
    weft_bytes pieces[2] = {{bytes, below(PIECE)}, {bytes, below(PIECE)}};
    uint64_t way = below(3), most = 0, len = pieces[0].len + (way == 2 ? pieces[1].len : 0);
    uint32_t flags = below(8) ? 0 : WEFT_FIN;
    int64_t taken = way == 0   ? weft_stream_write(stream, bytes, len, flags)
                    : way == 1 ? weft_stream_write_ref(stream, bytes, len, ++own.token, flags)
                               : weft_stream_writev(stream, pieces, 2, flags);
    if (taken < 0)
        return;
    if (way == 1 && taken)
        order_token(stream.id, own.token);
    must(weft_stream_get_info(stream, &info));
    must(weft_config_get_uint(own.client, "stream_send_buffer", &most));
    if ((uint64_t)taken == len && flags)
        order_did(stream.id, ORDER_FINISH);
    else if ((uint64_t)taken < len || info.buffered >= most)
        order_did(stream.id, ORDER_FULL);
}

static void read_some(weft_stream stream) {
    static uint8_t room[4000];
    uint32_t flags = 0;
    if (weft_stream_read(stream, room, below(sizeof room), &flags) >= 0 && flags)
        order_did(stream.id, ORDER_READ_OUT);
}

static void open_some(weft_conn conn) {
    weft_stream stream;
    int32_t error = weft_stream_open(conn, (uint32_t)below(2), NULL, &stream);
    if (error == WEFT_E_STREAM_LIMIT)
        order_did(conn.id, ORDER_NO_STREAM);
    if (error)
        return;
    order_opened(conn, stream);
    keep_stream(stream);
    write_some(stream);
}

static void send_datagrams(weft_conn conn) {
    for (uint64_t count = 1 + below(4); count; count--) {
        int32_t error = weft_datagram_send(conn, bytes, below(1000), ++own.token);
        if (!error)
            order_token(conn.id, own.token);
        else if (error == WEFT_E_BLOCKED)
            order_did(conn.id, ORDER_NO_SPACE);
    }
}

static void did(weft_stream stream, enum order_act act, int32_t result) {
    if (!result)
        order_did(stream.id, act);
}

static void do_something(void) {
    weft_stream stream = some_stream();
    weft_conn conn = own.conns[below(own.conn_count)];
    switch (below(26)) {
    case 0: did(stream, ORDER_RESET, weft_stream_reset(stream, 1)); break;
    case 1: did(stream, ORDER_STOP, weft_stream_stop(stream, 2)); break;
    case 2: did(stream, ORDER_FINISH, weft_stream_finish(stream)); break;
    case 3: did(stream, ORDER_DETACH, weft_stream_detach(stream, 3)); break;
    case 4: weft_stream_pause(stream); break;
    case 5: weft_stream_set_flags(stream, (uint32_t)below(2) * WEFT_STREAM_PULL); break;
    case 6: weft_stream_set_deadline(stream, below(200 * MS), 4); break;
    case 7: weft_conn_update_keys(conn); break;
    case 8: weft_conn_migrate(conn, below(2) ? "192.0.2.1:50" : "192.0.2.1:51"); break;
    case 9: weft_conn_ping(conn); break;
    case 10:
    case 11: send_datagrams(conn); break;
    case 12:
    case 13:
    case 14: open_some(conn); break;
    case 15:
    case 16: weft_stream_resume(stream); break;
    case 17:
    case 18:
    case 19: read_some(stream); break;
    default: write_some(stream); break;
    }
    order_called();
}

static void on_event(const weft_event *event) {
    own.heard[event->type]++;
    if (event->type == WEFT_EV_ACCEPTED)
        own.conns[own.conn_count++] = event->conn;
    if (event->type == WEFT_EV_STREAM_OPENED)
        keep_stream(event->stream);
    if (event->type == WEFT_EV_SESSION && event->len <= sizeof own.session)
        memcpy(own.session, event->data, own.session_len = (size_t)event->len);
    if (event->type == WEFT_EV_READABLE && below(2))
        read_some(event->stream);
    if (below(3) == 0)
        do_something();
}

/* ---- a life ---- */

static weft_conn_callbacks conn_tables[3];
static weft_stream_callbacks stream_tables[3];
static weft_listener_callbacks listener_table;
/* Without holes, without what a program might do without, and what it may be told of twice without harm. */
static const uint64_t without[3] = {
    0, ORDER_BIT(WEFT_EV_DATA) | ORDER_BIT(WEFT_EV_STREAM_OPENED) | ORDER_BIT(WEFT_EV_CONFIRMED),
    ORDER_BIT(WEFT_EV_READABLE) | ORDER_BIT(WEFT_EV_FINISHED) | ORDER_BIT(WEFT_EV_STOPPED) |
        ORDER_BIT(WEFT_EV_CONNECTED)};

static weft_link bad_network(void) {
    return (weft_link){.size = sizeof(weft_link),
                       .loss = (uint32_t)below(120000),
                       .duplicate = (uint32_t)below(50000),
                       .corrupt = (uint32_t)below(20000),
                       .delay = below(30 * MS),
                       .jitter = below(2) ? below(30 * MS) : 0,
                       .bandwidth = below(2) ? 0 : 2000000 + below(20000000)};
}

static void open_life(void) {
    weft_engine_params engine = {.size = sizeof engine, .on_events = order_on_events};
    weft_link links[2] = {bad_network(), bad_network()};
    weft_pair_params params = {.size = sizeof params,
                               .flags = WEFT_PAIR_REPEATABLE,
                               .seed = own.seed,
                               .engines = {&engine, &engine},
                               .links = {&links[0], &links[1]}};
    weft_listen_params listen = {.size = sizeof listen};
    weft_listener listener;
    uint64_t table = below(5);
    order_begin();
    must(weft_pair_new(&params, &own.pair, own.engines));
    if (below(2))
        listen.callbacks = &listener_table;
    if (table < 3) {
        listen.conn_callbacks = &conn_tables[table];
        listen.stream_callbacks = &stream_tables[table];
    } else if (table == 3) {
        listen.stream_callbacks = &stream_tables[0];
    }
    must(weft_listen(own.engines[1], own.server, "192.0.2.2:443", &listen, &listener));
    order_deaf(listener.id, table < 3 ? without[table] : 0);
}

static void connect_some(void) {
    uint64_t table = below(5);
    weft_conn conn;
    weft_connect_params params = {.size = sizeof params, .session = own.session, .session_len = own.session_len};
    if (table < 3) {
        params.callbacks = &conn_tables[table];
        params.stream_callbacks = &stream_tables[table];
    } else if (table == 3) {
        params.callbacks = &conn_tables[0];
    }
    must(weft_connect(own.engines[0], own.client, "192.0.2.2", 443, &params, &conn));
    order_connecting(conn);
    order_deaf(conn.id, table < 3 ? without[table] : 0);
    own.conns[own.conn_count++] = conn;
    own.session_len = 0;
    if (below(2))
        open_some(conn);
}

static void live(uint64_t seed) {
    own.seed = own.dice = seed;
    own.conn_count = own.stream_count = 0;
    own.session_len = 0;
    open_life();
    for (uint32_t step = 0; step < 240; step++) {
        if (step % 80 == 0) /* the second and the third may resume */
            connect_some();
        for (uint64_t calls = below(4); calls; calls--)
            do_something();
        order_turn(true);
        must(weft_pair_step(own.pair));
        if (step % 80 == 60)
            weft_conn_close(own.conns[below(own.conn_count)], 5, "random");
    }
    for (uint32_t i = 0; i < own.conn_count; i++)
        if (below(4))
            weft_conn_close(own.conns[i], 6, NULL);
    order_turn(false);
    must(weft_pair_run(own.pair, UINT64_C(1) << 40)); /* long beyond what an idle connection lasts */
    order_end();
    must(weft_pair_free(own.pair));
}

static void make_configs(void) {
    uint8_t sha256[32];
    must(weft_config_new(WEFT_SERVER, &own.server));
    must(weft_config_self_signed(own.server, "order.test", 9));
    must(weft_config_fingerprint(own.server, sha256));
    must(weft_config_new(WEFT_CLIENT, &own.client));
    must(weft_config_add_pin(own.client, sha256));
    for (int i = 0; i < 2; i++) {
        weft_config config = i ? own.server : own.client;
        must(weft_config_set_alpn(config, "order"));
        must(weft_config_set(config, "early_data", "on"));
        must(weft_config_set(config, "max_datagram_frame_size", "1200"));
        must(weft_config_set(config, "datagram_queue_count", "2"));
        must(weft_config_set(config, "datagram_drop", "newest"));
        must(weft_config_set(config, "stream_send_buffer", "8KiB"));
        must(weft_config_set(config, "initial_max_streams_bidi", "4"));
        must(weft_config_set(config, "initial_max_streams_uni", "3"));
    }
}

/* Every kind of event was heard: how many were not. */
static uint32_t unheard(void) {
    uint32_t missing = 0;
    for (uint32_t type = 1; type < WEFT_EV_LISTENER_CLOSED; type++) {
        if (own.heard[type] || strcmp(weft_event_name(type), "UNKNOWN") == 0)
            continue;
        printf("FAILED: %s was never heard\n", weft_event_name(type));
        missing++;
    }
    return missing;
}

int main(int argc, char **argv) {
    uint64_t lives = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000, seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    uint32_t failed = prove();
    for (uint32_t i = 0; i < 3; i++) {
        order_conn_table(&conn_tables[i], without[i]);
        order_stream_table(&stream_tables[i], without[i]);
    }
    order_listener_table(&listener_table, 0);
    order_then(on_event);
    make_configs();
    for (uint64_t i = 0; i < lives; i++) {
        fprintf(stderr, "\rlife %" PRIu64 " ", seed + i);
        live(seed + i);
    }
    failed += unheard();
    must(weft_config_free(own.server));
    must(weft_config_free(own.client));
    fprintf(stderr, "\r%" PRIu64 " lives, %" PRIu64 " events\n", lives, order_count());
    printf("%zu passed, %u failed\n", sizeof sequences / sizeof *sequences + 1 - (failed ? 1 : 0), failed);
    return failed != 0;
}
