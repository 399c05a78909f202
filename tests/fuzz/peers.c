/* peers.c - see peers.h. Certificates and TLS configurations are made once for the process; what a run leaves behind in
 * them (tickets, replay registers) holds no memory of a run. */
#include "peers.h"

#include <stdlib.h>

static struct crypto_tls_config *tls[2];

void peers_require(bool holds) {
    if (!holds)
        abort();
}

static void fill(void *user, uint8_t *out, size_t len) {
    uint64_t *seed = user;
    for (size_t i = 0; i < len; i++) {
        *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        out[i] = (uint8_t)(*seed >> 56);
    }
}

static void release(struct quic_config *config) { (void)config; }

static struct quic_addr address(enum crypto_role role) {
    return (struct quic_addr){.family = 4, .ip = {192, 0, 2, (uint8_t)(1 + role)}, .port = 443};
}

static void prepare(void) {
    static const char *const names[] = {"localhost"};
    static char cert[4096], key[4096];
    struct crypto_error error;
    if (tls[0])
        return;
    peers_require(crypto_init() && crypto_selfsigned(names, 1, 30, cert, sizeof cert, key, sizeof key, &error));
    for (unsigned role = 0; role < 2; role++) {
        tls[role] = crypto_tls_config_new((enum crypto_role)role, &error);
        peers_require(tls[role] &&
                      crypto_tls_config_alpn(tls[role],
                                             (const uint8_t *)"\x04"
                                                              "fuzz",
                                             5, &error) &&
                      crypto_tls_config_groups(tls[role], "X25519", &error));
    }
    peers_require(crypto_tls_config_certificate(tls[CRYPTO_SERVER], CRYPTO_PEM, (const uint8_t *)cert, strlen(cert),
                                                (const uint8_t *)key, strlen(key), &error));
    crypto_tls_config_verify(tls[CRYPTO_CLIENT], false);
}

static void open_side(struct peers *peers, enum crypto_role role) {
    struct peer *p = &peers->sides[role];
    static const uint8_t secret[CRYPTO_FLEET_SECRET_SIZE] = "of the fleet";
    memset(p, 0, sizeof *p);
    p->seed = 1 + (unsigned)role;
    base_mem_init(&p->mem, 0);
    base_slots_init(&p->slots, &p->mem, 1);
    base_events_init(&p->events);
    base_bufpool_init(&p->bufs, &p->mem, 16, 0);
    struct quic_endpoint_open open = {.mem = &p->mem,
                                      .random = {fill, &p->seed},
                                      .slots = &p->slots,
                                      .events = &p->events,
                                      .bufs = &p->bufs,
                                      .engine = 1,
                                      .fleet_secret = role == CRYPTO_SERVER ? secret : NULL,
                                      .unix_ns = UINT64_C(1700000000) * BASE_SEC};
    peers_require(quic_endpoint_init(&p->endpoint, &open, peers->now) == 0);
    options_init(&p->config.options);
    p->config.options.max_datagram_frame_size = 2000;
    p->config.options.ack_frequency = p->config.options.reset_stream_at = 1;
    p->config.role = (uint8_t)role;
    p->config.refs = 1;
    p->config.release = release;
    p->config.tls = tls[role];
    p->listener.config = &p->config;
    p->socket.listener = role == CRYPTO_SERVER ? &p->listener : NULL;
    p->socket.local = address(role);
    p->train.data = malloc(QUIC_TRAIN_SIZE);
    p->train.max_segments = 1;
    peers_require(p->train.data != NULL);
}

void peers_open(struct peers *peers) {
    prepare();
    memset(peers, 0, sizeof *peers);
    peers->now = 1000 * BASE_SEC;
    open_side(peers, CRYPTO_CLIENT);
    open_side(peers, CRYPTO_SERVER);
}

void peers_close(struct peers *peers) {
    for (unsigned role = 0; role < 2; role++) {
        struct peer *p = &peers->sides[role];
        quic_endpoint_clear(&p->endpoint);
        base_bufpool_clear(&p->bufs);
        base_slots_clear(&p->slots);
        peers_require(p->mem.used == 0 && p->config.refs == 1);
        free(p->train.data);
    }
}

void peers_connect(struct peers *peers) {
    struct peer *client = &peers->sides[CRYPTO_CLIENT];
    struct quic_connect connect = {.config = &client->config,
                                   .socket = &client->socket,
                                   .local = client->socket.local,
                                   .remote = address(CRYPTO_SERVER),
                                   .server_name = "localhost"};
    peers_require(quic_conn_connect(&client->endpoint, &connect, peers->now, &peers->conn, NULL) == 0);
}

struct quic_conn *peers_conn(struct peers *peers, enum crypto_role role) {
    struct base_list *all = &peers->sides[role].endpoint.conns;
    for (struct base_node *n = base_list_first(all); n; n = base_list_next(all, n)) {
        struct quic_conn *conn = BASE_CONTAINER(n, struct quic_conn, all);
        if (conn->state < QUIC_CONN_CLOSING)
            return conn;
    }
    return NULL;
}

void peers_input(struct peers *peers, enum crypto_role to, const uint8_t *data, size_t len) {
    struct peer *p = &peers->sides[to];
    struct base_buf *buf = base_buf_get(&p->bufs);
    peers_require(buf && len <= buf->size);
    memcpy(buf->data, data, len);
    struct quic_datagram datagram = {
        buf, buf->data, len, &p->socket, p->socket.local, address(to == CRYPTO_CLIENT ? CRYPTO_SERVER : CRYPTO_CLIENT),
        0};
    quic_endpoint_input(&p->endpoint, &datagram, 1, peers->now);
    base_buf_unref(buf);
}

bool peers_carry(struct peers *peers, enum crypto_role from, unsigned most, bool deliver) {
    struct peer *p = &peers->sides[from];
    bool any = false;
    for (; most && quic_endpoint_output(&p->endpoint, &p->train, peers->now); most--, any = true) {
        peers_require(p->train.len > 0 && p->train.len <= QUIC_TRAIN_SIZE);
        if (deliver)
            peers_input(peers, from == CRYPTO_CLIENT ? CRYPTO_SERVER : CRYPTO_CLIENT, p->train.data, p->train.len);
    }
    return any;
}

void peers_settle(struct peers *peers) {
    for (unsigned role = 0; role < 2; role++) {
        struct peer *p = &peers->sides[role];
        uint32_t bits;
        for (struct base_event *event; (event = base_events_pop(&p->events, &bits)) != NULL;) {
            struct quic_conn *conn = NULL;
            if (base_handle_kind(event->handle) == QUIC_SLOT_STREAM) {
                if (bits & QUIC_STREAM_EV_CLOSED)
                    quic_stream_told_closed(BASE_CONTAINER(event, struct quic_stream, event));
            } else if ((conn = quic_conn_of(&p->slots, event->handle)) != NULL && event == &conn->closed_event) {
                if (conn == peers->conn)
                    peers->conn = NULL;
                quic_endpoint_forget(&p->endpoint, conn);
            }
        }
        quic_endpoint_settle(&p->endpoint);
    }
}
