/* hostile.h - a client that has the keys and writes its packets by hand: what tests of attacks from inside a connection
 * begin with. Included by one test program each. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "crypto/protect.h"
#include "engine_tls.h"
#include "tables/errors.h"

static struct engine server, client;
static struct quic_addr client_at;
static struct quic_conn *conn; /* the client's */
static uint64_t number;        /* of the next packet made by hand */

static inline void setup(void) {
    engine_open(&server, CRYPTO_SERVER, 5, NULL);
    engine_open(&client, CRYPTO_CLIENT, 9, NULL);
    client_at = engine_addr(9, 5000);
    conn = NULL;
    number = 1000;
    engine_tls_open(&server, &client);
}

static inline void teardown(void) {
    engine_close(&client);
    engine_close(&server);
    engine_tls_close();
}

static inline void dial(void) {
    struct quic_connect connect = {
        .config = &client.config, .socket = &client.socket, .remote = server.socket.local, .server_name = "localhost"};
    struct crypto_error why = {""};
    ck_assert_msg(quic_conn_connect(&client.endpoint, &connect, client.now, &conn, &why) == 0, "%s", why.text);
}

/* Carries datagrams both ways until nothing moves. */
static inline void carry(void) {
    bool moved = true;
    while (moved) {
        moved = false;
        for (; engine_output(&client); moved = true)
            engine_input(&server, client.train.data, client.train.len, client_at);
        for (; engine_output(&server); moved = true)
            engine_input(&client, server.train.data, server.train.len, server.socket.local);
        quic_endpoint_settle(&client.endpoint);
        quic_endpoint_settle(&server.endpoint);
    }
}

static inline struct quic_conn *accepted(void) {
    ck_assert_uint_eq(server.endpoint.conn_count, 1);
    return BASE_CONTAINER(base_list_first(&server.endpoint.conns), struct quic_conn, all);
}

/* ---- packets made by hand ---- */

static uint8_t frames[1024];
static struct base_writer f;

static inline void begin(void) { f = base_writer_of(frames, sizeof frames); }

/* The frames as a 1-RTT packet of this side. Returns its length. */
static inline size_t make_1rtt_of(struct quic_conn *peer, uint8_t *out) {
    const struct quic_keys *keys = &peer->keys[CRYPTO_APPLICATION];
    struct base_writer w = base_writer_of(out, 1500);
    quic_header_write_short(&w, &quic_remote_cids_of_path(&peer->remote_cids, peer->recovery.active)->cid, 4, false,
                            false);
    size_t pn_offset = (size_t)(w.pos - out);
    base_write_u32(&w, (uint32_t)number);
    base_write_bytes(&w, frames, (size_t)(f.pos - frames));
    base_write_space(&w, CRYPTO_TAG_SIZE);
    ck_assert(!w.bad && !f.bad);
    struct crypto_seal_item item = {.packet = out,
                                    .number = number++,
                                    .len = (uint32_t)(w.pos - out),
                                    .pn_offset = (uint16_t)pn_offset,
                                    .pn_len = 4};
    ck_assert(quic_keyphase_unpack(peer) && crypto_seal(keys->tx, keys->tx_mask, &item, 1));
    return item.len;
}

/* ... of the client. */
static inline size_t make_1rtt(uint8_t *out) { return make_1rtt_of(conn, out); }

static inline void send_1rtt(struct quic_addr from) {
    uint8_t packet[1500];
    engine_input(&server, packet, make_1rtt(packet), from);
}

#endif
