/* gate_kit.h - a server, strangers at its gate, and the first datagrams they come with. A header alone: each test
 * program that includes it has a server of its own. */
#ifndef GATE_KIT_H
#define GATE_KIT_H

#include "engine_tls.h"
#include "tables/errors.h"

#define CLIENTS 200u

static struct engine server, client;
static struct options *options;
static const struct engine_stats *stats;

/* First datagrams of clients that all have IDs of their own. */
static struct {
    uint8_t data[1500];
    size_t len;
} initials[CLIENTS];

static inline void setup(void) {
    engine_open(&server, CRYPTO_SERVER, 5, NULL);
    engine_open(&client, CRYPTO_CLIENT, 9, NULL);
    engine_tls_open(&server, &client);
    ck_assert(crypto_tls_config_groups(client_tls, "X25519", &(struct crypto_error){""})); /* hellos of one datagram */
    options = &server.config.options;
    stats = &server.endpoint.stats;
    ck_assert_uint_eq(options->address_validation, QUIC_VALIDATE_AUTO);
    options->handshakes_per_turn = 64;
    options->prefix_share = 100;
}

static inline void teardown(void) {
    engine_close(&client);
    engine_close(&server);
    ck_assert_uint_eq(server.endpoint.gate.half_open, 0);
    ck_assert_uint_eq(server.endpoint.gate.handshakes, 0);
    ck_assert_uint_eq(server.endpoint.gate.weight, 0);
    engine_tls_close();
}

static inline struct quic_conn *dial(struct quic_addr from) {
    struct quic_connect connect = {.config = &client.config,
                                   .socket = &client.socket,
                                   .local = from,
                                   .remote = server.socket.local,
                                   .server_name = "localhost"};
    struct quic_conn *conn = NULL;
    struct crypto_error why;
    ck_assert_int_eq(quic_conn_connect(&client.endpoint, &connect, client.now, &conn, &why), 0);
    return conn;
}

static inline void make_initials(unsigned count) {
    for (unsigned i = 0; i < count; i++) {
        struct quic_conn *conn = dial(engine_addr(9, 5000));
        ck_assert(engine_output(&client));
        memcpy(initials[i].data, client.train.data, initials[i].len = client.train.len);
        conn->detached = true;
        quic_conn_free(conn);
    }
}

static inline struct quic_addr stranger(unsigned i) {
    return (struct quic_addr){.family = 4, .ip = {10, (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 1000};
}

static inline void turn(void) {
    quic_endpoint_settle(&server.endpoint);
    quic_endpoint_tick(&server.endpoint, server.now);
}

/* Time passes, in steps. */
static inline void pass(base_time span) {
    for (base_time end = server.now + span; server.now < end;) {
        server.now = base_time_min(end, server.now + 100 * BASE_MS);
        turn();
        while (engine_output(&server))
            continue;
    }
}

/* All that was accepted and is open goes. */
static inline void dismiss(void) {
    struct base_list *all = &server.endpoint.conns;
    for (struct base_node *next, *node = base_list_first(all); node; node = next) {
        next = base_list_next(all, node);
        quic_conn_detach(BASE_CONTAINER(node, struct quic_conn, all), server.now);
    }
}

/* Strangers first to last - 1, each from a network of its own; a turn for each. */
static inline void flood(unsigned first, unsigned last) {
    for (unsigned i = first; i < last; i++) {
        engine_input(&server, initials[i].data, initials[i].len, stranger(i));
        turn();
        while (engine_output(&server))
            continue;
    }
}

static inline void come_from(unsigned i, struct quic_addr from) {
    engine_input(&server, initials[i].data, initials[i].len, from);
    while (engine_output(&server))
        continue;
}

/* Datagrams between a client's connection at `from` and the server until both are silent. */
static inline void carry(struct quic_addr from) {
    for (bool busy = true; busy;) {
        busy = false;
        while (engine_output(&client)) {
            busy = true;
            engine_input(&server, client.train.data, client.train.len, from);
        }
        while (engine_output(&server)) {
            if (!quic_addr_equal(&server.train.remote, &from))
                continue;
            busy = true;
            engine_input(&client, server.train.data, server.train.len, server.socket.local);
        }
        turn();
    }
}

#endif
