/* race.c - several addresses, one connection.
 *
 * Knows the order of attempts and when the next one starts: after the Connection Attempt Delay, or at once when one has
 * failed (RFC 8305 section 5). An address the system has no way to is passed over without waiting. Does not know what a
 * connection says; "won" is its CONNECTED event: for QUIC an attempt that completes the handshake has proven all there
 * is to prove, address, version and certificate.
 *
 * The invariant that matters: attempts[i].conn is set exactly while attempt i runs, and then conn->owner is the race.
 * Every end of the race goes through `end`, which takes all of them back.
 */
#include "io/race.h"

#include <assert.h>
#include <stdio.h>

#include "io/addr.h"
#include "tables/errors.h"

struct io_race {
    struct io_loop *loop;
    struct io_race_open open;   /* its pointers lead to copies of ours */
    struct io_resolve *resolve; /* while the name is being asked for */
    struct io_timer timer;      /* starts the next attempt */
    struct quic_addr addrs[IO_RESOLVE_MAX];
    unsigned count, next; /* addresses, and the one to try next */
    struct {
        struct quic_conn *conn;
        uint32_t held; /* events that came before the winning one: delivered to the new owner */
    } attempts[IO_RESOLVE_MAX];
    unsigned running;
    int status; /* why the most telling failure happened; 0: none yet */
    bool has_close;
    struct quic_close close;
    char text[sizeof((struct crypto_error *)0)->text];
    uint8_t *copies; /* server name, session, token */
    size_t copies_size;
};

/* ---- beginning and end ---- */

static uint8_t *copy_bytes(uint8_t **at, const void *data, size_t len) {
    if (!data)
        return NULL;
    uint8_t *copy = *at;
    memcpy(copy, data, len);
    *at += len;
    return copy;
}

/* The caller's texts need to live only as long as io_race_start. */
static bool keep_copies(struct io_race *race) {
    struct quic_connect *c = &race->open.connect;
    size_t name_len = c->server_name ? strlen(c->server_name) + 1 : 0;
    race->copies_size = name_len + (c->session ? c->session_len : 0) + (c->token ? c->token_len : 0);
    race->open.host = NULL;
    if (race->copies_size == 0)
        return true;
    race->copies = (uint8_t *)base_alloc(race->loop->mem, race->copies_size);
    if (!race->copies)
        return false;
    uint8_t *at = race->copies;
    c->server_name = (const char *)copy_bytes(&at, c->server_name, name_len);
    c->session = copy_bytes(&at, c->session, c->session_len);
    c->token = copy_bytes(&at, c->token, c->token_len);
    return true;
}

/* Takes everything back but what was handed over before. */
static void end(struct io_race *race) {
    struct io_loop *loop = race->loop;
    base_time now = io_loop_now(loop);
    for (unsigned i = 0; i < race->next; i++) {
        struct quic_conn *conn = race->attempts[i].conn;
        if (!conn)
            continue;
        conn->owner = NULL;
        quic_conn_detach(conn, now);
    }
    if (race->resolve)
        io_resolve_cancel(race->resolve);
    io_timer_close(loop, &race->timer);
    if (race->open.connect.config)
        quic_config_unref(race->open.connect.config);
    base_free(loop->mem, race->copies, race->copies_size);
    BASE_DELETE(loop->mem, race);
    io_loop_touch(loop);
}

static void win(struct io_race *race, unsigned index) {
    struct quic_conn *conn = race->attempts[index].conn;
    struct io_race_open open = race->open;
    uint32_t held = race->attempts[index].held;
    race->attempts[index].conn = NULL;
    conn->owner = NULL;
    struct base_events *events = &race->loop->events;
    end(race);
    base_event_raise(events, &conn->event, held);
    open.on_conn(open.user, conn);
}

static void fail(struct io_race *race) {
    struct io_race_open open = race->open;
    struct quic_close close = race->close;
    bool has_close = race->has_close;
    int status = race->status;
    char text[sizeof race->text];
    memcpy(text, race->text, sizeof text);
    end(race);
    open.on_failed(open.user, status, has_close ? &close : NULL, text);
}

/* ---- failures ---- */

/* What a cause says about an attempt: the error it becomes, and how telling it is. A peer that answered knows more than
 * silence does. */
static const struct {
    uint8_t rank;
    int8_t status;
    const char *text;
} causes[] = {
    [QUIC_CAUSE_NONE] = {1, ERR_INTERNAL, "ended without a cause"},
    [QUIC_CAUSE_LOCAL] = {1, ERR_CLOSED, "closed"},
    [QUIC_CAUSE_PEER] = {6, ERR_PROTOCOL, "refused by the peer"},
    [QUIC_CAUSE_IDLE] = {3, ERR_TIMEOUT, "no answer"},
    [QUIC_CAUSE_HANDSHAKE_TIMEOUT] = {3, ERR_TIMEOUT, "no answer in time"},
    [QUIC_CAUSE_PROTOCOL] = {6, ERR_PROTOCOL, "handshake failed"},
    [QUIC_CAUSE_RESET] = {4, ERR_PROTOCOL, "reset by the peer"},
    [QUIC_CAUSE_VERSION] = {5, ERR_PROTOCOL, "no common version"},
    [QUIC_CAUSE_INTERNAL] = {2, ERR_INTERNAL, "out of memory or an internal error"},
};

static uint8_t rank_of(const struct io_race *race) {
    if (race->has_close)
        return causes[race->close.cause].rank;
    return race->status ? 2 : 0; /* could not even begin */
}

static void note_close(struct io_race *race, const struct quic_addr *addr, const struct quic_close *close) {
    assert(close->cause < sizeof causes / sizeof causes[0]);
    if (causes[close->cause].rank <= rank_of(race))
        return; /* the first of equals stays */
    char where[IO_ADDR_TEXT];
    io_addr_format(addr, where);
    race->close = *close;
    race->has_close = true;
    race->status = causes[close->cause].status;
    snprintf(race->text, sizeof race->text, "%s: %s%s%.*s", where, causes[close->cause].text,
             close->reason_len ? ": " : "", (int)close->reason_len, close->reason);
}

static void note_status(struct io_race *race, const struct quic_addr *addr, int status, const char *text) {
    if (rank_of(race) >= 2)
        return;
    char where[IO_ADDR_TEXT];
    io_addr_format(addr, where);
    race->status = status;
    snprintf(race->text, sizeof race->text, "%s: %.90s", where, text);
}

/* ---- attempts ---- */

/* Starts a connection to addrs[index]. */
static int attempt(struct io_race *race, unsigned index, struct crypto_error *why) {
    struct quic_connect connect = race->open.connect;
    connect.remote = race->addrs[index];
    connect.local = (struct quic_addr){0};
    struct io_socket *socket;
    int result = io_loop_client_socket(race->loop, connect.remote.family, &socket, why);
    if (result != 0)
        return result;
    connect.socket = io_socket_core(socket);
    struct quic_conn *conn;
    result = quic_conn_connect(&race->loop->endpoint, &connect, io_loop_now(race->loop), &conn, why);
    if (result != 0)
        return result;
    conn->owner = race;
    race->attempts[index].conn = conn;
    race->running++;
    io_loop_touch(race->loop);
    return 0;
}

/* Starts the next attempt that can be started. With none running and none left, the race is lost - and gone. */
static void go_on(struct io_race *race) {
    while (race->next < race->count) {
        unsigned index = race->next++;
        const struct quic_addr *addr = &race->addrs[index];
        struct crypto_error why = {.text = "no route to it"};
        struct quic_addr local;
        int result = 0;
        if (race->count > 1 && !race->loop->external) /* alone it is tried whatever the system says */
            result = io_udp_route(addr, &local);
        if (result == 0)
            result = attempt(race, index, &why);
        if (result != 0) {
            note_status(race, addr, result, why.text);
            continue;
        }
        if (race->count == 1) {
            win(race, index);
            return;
        }
        if (race->next < race->count)
            io_timer_set(race->loop, &race->timer, base_time_add(io_loop_now(race->loop), IO_RACE_DELAY));
        return;
    }
    if (race->running == 0)
        fail(race);
}

static void on_delay(struct io_timer *timer) { go_on(BASE_CONTAINER(timer, struct io_race, timer)); }

static void on_resolved(void *user, int status, const char *text, const struct quic_addr *addrs, unsigned count) {
    struct io_race *race = (struct io_race *)user;
    race->resolve = NULL;
    if (status != 0) {
        race->status = status;
        snprintf(race->text, sizeof race->text, "%s", text);
        fail(race);
        return;
    }
    race->count = race->open.first_only ? 1 : count;
    memcpy(race->addrs, addrs, race->count * sizeof *addrs);
    go_on(race);
}

static void attempt_closed(struct io_race *race, unsigned index) {
    struct quic_conn *conn = race->attempts[index].conn;
    note_close(race, &race->addrs[index], &conn->close);
    race->attempts[index].conn = NULL;
    conn->owner = NULL;
    race->running--;
    quic_endpoint_forget(&race->loop->endpoint, conn);
    io_timer_stop(race->loop, &race->timer);
    go_on(race);
}

/* ---- the outside ---- */

/* A literal: nothing to ask, nothing to race. */
static int start_alone(struct io_race *race, uint8_t family, struct crypto_error *why) {
    int result = ERR_ADDRESS;
    if (family && family != race->addrs[0].family)
        snprintf(why->text, sizeof why->text, "the address is not of the family asked for");
    else
        result = attempt(race, 0, why);
    if (result != 0) {
        end(race);
        return result;
    }
    race->count = race->next = 1;
    win(race, 0);
    return 0;
}

int io_race_start(struct io_loop *loop, const struct io_race_open *open, struct io_race **out,
                  struct crypto_error *why) {
    struct crypto_error unheard;
    if (!why)
        why = &unheard;
    *out = NULL;
    snprintf(why->text, sizeof why->text, "out of memory");
    struct io_race *race = BASE_NEW(loop->mem, struct io_race);
    if (!race)
        return ERR_NOMEM;
    race->loop = loop;
    race->open = *open;
    if (!io_timer_open(loop, &race->timer, on_delay)) {
        BASE_DELETE(loop->mem, race);
        return ERR_NOMEM;
    }
    if (open->connect.config)
        quic_config_ref(open->connect.config);
    if (!keep_copies(race)) {
        end(race);
        return ERR_NOMEM;
    }
    if (io_addr_parse(open->host, open->port, &race->addrs[0]))
        return start_alone(race, open->family, why);
    int result = io_resolve_start(loop, open->host, open->port, open->family, on_resolved, race, &race->resolve);
    if (result != 0) {
        if (result != ERR_NOMEM)
            snprintf(why->text, sizeof why->text, "\"%.80s\" %s", open->host,
                     result == ERR_UNSUPPORTED ? "is a name: with external I/O an address is needed" : "is no name");
        end(race);
        return result;
    }
    *out = race;
    return 0;
}

void io_race_cancel(struct io_race *race) { end(race); }

bool io_race_on_event(struct io_race *race, struct quic_conn *conn, uint32_t bits, bool closed) {
    unsigned index = 0;
    while (index < race->next && race->attempts[index].conn != conn)
        index++;
    assert(index < race->next);
    if (closed) {
        attempt_closed(race, index);
        return true;
    }
    if (bits & QUIC_CONN_EV_CONNECTED) {
        win(race, index);
        return false;
    }
    race->attempts[index].held |= bits;
    return true;
}

struct io_race *io_race_of(struct quic_conn *conn) {
    return (struct io_race *)conn->owner;
}
