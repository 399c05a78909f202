/* The endpoint: what it answers without a connection, whom it lets in, how datagrams find connections, how those
 * end. */
#include <stdio.h>

#include "crypto/protect.h"
#include "engine_tls.h"
#include "tables/errors.h"

static struct engine server, client;
static const uint8_t secret[CRYPTO_FLEET_SECRET_SIZE] = "one secret for the whole fleet!";
static struct quic_addr client_at;

static void setup(void) {
    engine_open(&server, CRYPTO_SERVER, 5, secret);
    engine_open(&client, CRYPTO_CLIENT, 9, NULL);
    client_at = engine_addr(9, 5000);
}

static void teardown(void) {
    engine_close(&client);
    engine_close(&server);
}

static void setup_tls(void) {
    setup();
    engine_tls_open(&server, &client);
}

static void teardown_tls(void) {
    teardown();
    engine_tls_close();
}

/* ---- datagrams made by hand ---- */

static uint8_t datagram[2048];

/* A long header of a version, both IDs of the given lengths, zeros after it. */
static void make_long(uint32_t version, uint8_t dcid_len, uint8_t scid_len) {
    memset(datagram, 0, sizeof datagram);
    struct base_writer w = base_writer_of(datagram, sizeof datagram);
    base_write_u8(&w, 0xc3);
    base_write_u32(&w, version);
    base_write_u8(&w, dcid_len);
    memset(base_write_space(&w, dcid_len), 0xdd, dcid_len);
    base_write_u8(&w, scid_len);
    memset(base_write_space(&w, scid_len), 0x55, scid_len);
}

/* An Initial of 1200 bytes with a token; its content is noise. */
static void make_initial(const struct quic_cid *dcid, const uint8_t *token, size_t token_len) {
    struct quic_cid scid = {.len = 4, .id = {1, 2, 3, 4}};
    memset(datagram, 0xaa, sizeof datagram);
    struct base_writer w = base_writer_of(datagram, 1200);
    uint8_t *length_at;
    quic_header_write_long(&w, QUIC_VERSION_1, QUIC_PACKET_INITIAL, 2, dcid, &scid, token, token_len, &length_at);
    quic_header_patch_length(length_at, (size_t)(datagram + 1200 - w.pos));
}

static struct quic_cid cid_of(uint8_t mark, uint8_t len) {
    struct quic_cid cid = {.len = len};
    memset(cid.id, mark, len);
    return cid;
}

/* A short header for an ID, of `len` bytes. */
static void make_short(const uint8_t *id, size_t len) {
    memset(datagram, 0x77, len);
    datagram[0] = 0x41;
    memcpy(datagram + 1, id, QUIC_LOCAL_CID_LEN);
}

static struct quic_header reply(void) {
    struct quic_header header;
    ck_assert(engine_output(&server));
    ck_assert(quic_header_parse(server.train.data, server.train.len, 0, &header));
    ck_assert_uint_eq(server.train.count, 1);
    ck_assert_uint_eq(server.train.segment, server.train.len);
    ck_assert_ptr_eq(server.train.socket, &server.socket);
    return header;
}

/* The code of a CONNECTION_CLOSE in an Initial the server sent without a connection. */
static uint64_t refusal(const struct quic_cid *dcid) {
    struct quic_header header = reply();
    ck_assert_int_eq(header.type, QUIC_PACKET_INITIAL);
    struct crypto_secret from_client, from_server;
    ck_assert(crypto_initial_secrets(CRYPTO_QUIC_V1, dcid->id, dcid->len, &from_client, &from_server));
    struct crypto_key *key = crypto_key_new(&client.mem, CRYPTO_QUIC_V1, &from_server);
    struct crypto_mask_key *mask = crypto_mask_key_new(&client.mem, CRYPTO_QUIC_V1, &from_server);
    struct crypto_open_item item = {
        .packet = server.train.data, .len = (uint32_t)header.packet_len, .pn_offset = (uint16_t)header.pn_offset};
    ck_assert(crypto_unmask(mask, &item, 1));
    int32_t len = crypto_open(key, &item, item.truncated);
    ck_assert_int_gt(len, 0);
    struct base_reader in = base_reader_of(item.packet + item.pn_offset + item.pn_len, (size_t)len);
    struct quic_frame frame;
    ck_assert_int_eq(quic_frame_parse(&in, &frame), 0);
    ck_assert_uint_eq(frame.type, QUIC_FRAME_CONNECTION_CLOSE);
    crypto_key_free(&client.mem, key);
    crypto_mask_key_free(&client.mem, mask);
    return frame.u.close.code;
}

/* ---- Version Negotiation ---- */

START_TEST(version_negotiation_echoes_ids_of_any_length)
{
    make_long(0x12345678, 255, 200);
    engine_input(&server, datagram, 1200, client_at);
    struct quic_header header = reply();
    ck_assert_int_eq(header.type, QUIC_PACKET_VERSION_NEGOTIATION);
    ck_assert_uint_eq(header.long_dcid_len, 200);
    ck_assert_uint_eq(header.long_dcid[199], 0x55);
    ck_assert_uint_eq(header.long_scid_len, 255);
    ck_assert_uint_eq(header.long_scid[254], 0xdd);
    ck_assert_uint_eq(quic_header_version_count(&header), 3);
    ck_assert_uint_eq(quic_header_version_at(&header, 0), QUIC_VERSION_1);
    ck_assert_uint_eq(quic_header_version_at(&header, 2) & 0x0f0f0f0f, 0x0a0a0a0a);
    ck_assert(quic_addr_equal(&server.train.remote, &client_at));
    ck_assert_uint_eq(server.endpoint.stats.version_negotiations_sent, 1);
    server.config.options.grease = 0;
    engine_input(&server, datagram, 1200, client_at);
    header = reply();
    ck_assert_uint_eq(quic_header_version_count(&header), 2);
}
END_TEST

START_TEST(version_negotiation_is_not_for_everybody)
{
    make_long(0x12345678, 8, 8);
    engine_input(&server, datagram, 1199, client_at); /* too small: would amplify */
    ck_assert(!engine_output(&server));
    make_long(0, 8, 8); /* itself a Version Negotiation */
    engine_input(&server, datagram, 1200, client_at);
    ck_assert(!engine_output(&server));
    make_long(0x12345678, 8, 8);
    engine_input(&client, datagram, 1200, client_at); /* no listener */
    ck_assert(!engine_output(&client));
}
END_TEST

START_TEST(replies_are_bounded_by_line_and_bucket)
{
    make_long(0x12345678, 8, 8);
    server.config.options.stateless_reply_rate = 100000; /* a burst of 10000 */
    for (unsigned i = 0; i < QUIC_REPLIES + 50; i++)
        engine_input(&server, datagram, 1200, client_at);
    server.config.options.stateless_reply_rate = 10000;
    ck_assert_uint_eq(server.endpoint.reply_count, QUIC_REPLIES);
    ck_assert_uint_eq(quic_endpoint_deadline(&server.endpoint), 0);
    unsigned sent = 0;
    while (engine_output(&server))
        sent++;
    ck_assert_uint_eq(sent, QUIC_REPLIES);
    ck_assert_uint_eq(quic_endpoint_deadline(&server.endpoint), BASE_NEVER);
    for (int i = 0; i < 5000; i++) {
        engine_input(&server, datagram, 1200, client_at);
        sent += engine_output(&server);
    }
    ck_assert_uint_le(sent, 1000 + QUIC_REPLIES); /* a burst, and what was sent before */
    server.now += BASE_SEC;                       /* the bucket fills again */
    engine_input(&server, datagram, 1200, client_at);
    ck_assert(engine_output(&server));
}
END_TEST

START_TEST(replies_of_a_socket_go_with_it)
{
    make_long(0x12345678, 8, 8);
    engine_input(&server, datagram, 1200, client_at);
    struct quic_socket other = server.socket;
    struct quic_datagram d = {NULL, datagram, 1200, &other, client_at, client_at, 0};
    quic_endpoint_input(&server.endpoint, &d, 1, server.now);
    engine_input(&server, datagram, 1200, client_at);
    quic_stateless_forget_socket(&server.endpoint, &other);
    ck_assert_uint_eq(server.endpoint.reply_count, 2);
    while (engine_output(&server))
        ck_assert_ptr_eq(server.train.socket, &server.socket);
    ck_assert_uint_eq(server.endpoint.reply_count, 0);
}
END_TEST

/* ---- stateless reset ---- */

START_TEST(reset_is_shorter_than_its_cause)
{
    uint8_t id[QUIC_LOCAL_CID_LEN] = {5, 1, 2, 3, 4, 5, 6, 7}, token[16];
    crypto_reset_token(server.endpoint.fleet, 0, id, sizeof id, token);
    for (size_t len = 9; len < 120; len++) {
        server.now += BASE_SEC;
        make_short(id, len);
        engine_input(&server, datagram, len, client_at);
        if (len <= QUIC_RESET_LEAST) {
            ck_assert(!engine_output(&server));
            continue;
        }
        ck_assert(engine_output(&server));
        ck_assert_uint_lt(server.train.len, len);
        ck_assert_uint_ge(server.train.len, QUIC_RESET_LEAST);
        if (len <= 43)
            ck_assert_uint_eq(server.train.len, len - 1);
        ck_assert_uint_eq(server.train.data[0] & 0xc0, 0x40);
        ck_assert_mem_eq(server.train.data + server.train.len - 16, token, 16);
    }
}
END_TEST

START_TEST(reset_never_for_long_headers_or_other_engines)
{
    uint8_t id[QUIC_LOCAL_CID_LEN] = {6, 1, 2, 3, 4, 5, 6, 7};
    make_short(id, 100); /* engine 6 may have this connection */
    engine_input(&server, datagram, 100, client_at);
    ck_assert(!engine_output(&server));
    id[0] = 5;
    make_short(id, 100);
    datagram[0] = 0xe1;
    engine_input(&server, datagram, 100, client_at);
    ck_assert(!engine_output(&server));
    engine_input(&server, datagram, 5, client_at); /* not even an ID */
    engine_input(&server, datagram, 0, client_at);
    ck_assert(!engine_output(&server));
    ck_assert_uint_eq(server.endpoint.stats.datagrams_unknown, 4);
}
END_TEST

START_TEST(resets_are_rare)
{
    uint8_t id[QUIC_LOCAL_CID_LEN] = {5};
    make_short(id, 100);
    unsigned sent = 0;
    for (int i = 0; i < 3000; i++) {
        engine_input(&server, datagram, 100, client_at);
        sent += engine_output(&server);
    }
    ck_assert_uint_eq(sent, 200);
    ck_assert_uint_eq(server.endpoint.stats.stateless_resets_sent, 200);
}
END_TEST

/* ---- acceptance ---- */

START_TEST(first_initial_must_be_large_and_its_id_long)
{
    struct quic_cid dcid = cid_of(7, 8), small = cid_of(7, 7);
    server.config.options.address_validation = 1; /* whatever passes is answered */
    make_initial(&dcid, NULL, 0);
    engine_input(&server, datagram, 1199, client_at);
    ck_assert(!engine_output(&server));
    make_initial(&small, NULL, 0);
    engine_input(&server, datagram, 1200, client_at);
    ck_assert(!engine_output(&server));
    make_initial(&dcid, NULL, 0);
    engine_input(&client, datagram, 1200, client_at); /* no listener */
    ck_assert(!engine_output(&client));
    engine_input(&server, datagram, 1200, client_at);
    ck_assert(engine_output(&server));
}
END_TEST

START_TEST(draining_and_full_listeners_refuse)
{
    struct quic_cid dcid = cid_of(7, 18);
    make_initial(&dcid, NULL, 0);
    server.listener.draining = true;
    engine_input(&server, datagram, 1200, client_at);
    ck_assert_uint_eq(refusal(&dcid), QUIC_CONNECTION_REFUSED);
    server.listener.draining = false;
    server.listener.connections = (uint32_t)server.config.options.max_connections;
    engine_input(&server, datagram, 1200, client_at);
    ck_assert_uint_eq(refusal(&dcid), QUIC_CONNECTION_REFUSED);
    server.listener.connections = 0;
    ck_assert(base_charge(&server.mem, 1 << 20));
    server.mem.limit = server.mem.used + server.mem.used / 16; /* the last eighth */
    engine_input(&server, datagram, 1200, client_at);
    ck_assert_uint_eq(refusal(&dcid), QUIC_CONNECTION_REFUSED);
    base_credit(&server.mem, 1 << 20);
    ck_assert_uint_eq(server.endpoint.stats.datagrams_refused, 3);
    ck_assert_uint_eq(server.endpoint.conn_count, 0);
}
END_TEST

/* Gets a Retry for an ID; the token is copied to `token`. */
static struct quic_cid get_retry(const struct quic_cid *dcid, uint8_t *token, size_t *token_len) {
    make_initial(dcid, NULL, 0);
    engine_input(&server, datagram, 1200, client_at);
    struct quic_header header = reply();
    ck_assert_int_eq(header.type, QUIC_PACKET_RETRY);
    ck_assert(quic_header_retry_valid(&header, dcid));
    ck_assert_uint_eq(header.dcid.len, 4);
    ck_assert_uint_eq(header.scid.id[0], 5); /* leads back to this engine */
    memcpy(token, header.token, header.token_len);
    *token_len = header.token_len;
    return header.scid;
}

START_TEST(retry_token_is_good_for_one_address_id_and_time)
{
    server.config.options.address_validation = 1;
    struct quic_cid dcid = cid_of(7, 8), other = cid_of(8, 8);
    uint8_t token[256];
    size_t len;
    struct quic_cid scid = get_retry(&dcid, token, &len);
    make_initial(&scid, token, len);
    engine_input(&server, datagram, 1200, engine_addr(9, 5001));
    ck_assert_uint_eq(refusal(&scid), QUIC_INVALID_TOKEN);
    engine_input(&server, datagram, 1200, engine_addr(8, 5000));
    ck_assert_uint_eq(refusal(&scid), QUIC_INVALID_TOKEN);
    make_initial(&other, token, len);
    engine_input(&server, datagram, 1200, client_at);
    ck_assert_uint_eq(refusal(&other), QUIC_INVALID_TOKEN);
    server.now += server.config.options.retry_token_lifetime + 1;
    make_initial(&scid, token, len);
    engine_input(&server, datagram, 1200, client_at);
    ck_assert_uint_eq(refusal(&scid), QUIC_INVALID_TOKEN);
    ck_assert_uint_eq(server.endpoint.stats.retries_sent, 1);
}
END_TEST

START_TEST(foreign_token_counts_as_none)
{
    server.config.options.address_validation = 1;
    struct quic_cid dcid = cid_of(7, 8);
    uint8_t token[256];
    for (size_t len = 1; len < sizeof token; len += 50) {
        memset(token, (int)len, sizeof token);
        make_initial(&dcid, token, len);
        engine_input(&server, datagram, 1200, client_at);
        ck_assert_int_eq(reply().type, QUIC_PACKET_RETRY);
        server.now += 20 * BASE_MS; /* the rest of its flight would get no answer */
    }
}
END_TEST

/* ---- connections ---- */

/* Carries datagrams both ways until nothing moves. */
static unsigned carry(void) {
    unsigned moved = 0, before;
    struct quic_addr server_at = server.socket.local;
    do {
        before = moved;
        for (; engine_output(&client); moved++)
            engine_input(&server, client.train.data, client.train.len, client_at);
        for (; engine_output(&server); moved++)
            engine_input(&client, server.train.data, server.train.len, server_at);
        quic_endpoint_settle(&client.endpoint);
        quic_endpoint_settle(&server.endpoint);
    } while (moved != before && moved < 200);
    ck_assert_uint_lt(moved, 200);
    return moved;
}

static struct quic_conn *dial(const uint8_t *token, size_t token_len) {
    struct quic_connect connect = {.config = &client.config,
                                   .socket = &client.socket,
                                   .remote = server.socket.local,
                                   .server_name = "localhost",
                                   .token = token,
                                   .token_len = token_len};
    struct quic_conn *conn = NULL;
    struct crypto_error why = {""};
    ck_assert_msg(quic_conn_connect(&client.endpoint, &connect, client.now, &conn, &why) == 0, "%s", why.text);
    return conn;
}

static struct quic_conn *accepted(void) {
    ck_assert_uint_eq(server.endpoint.conn_count, 1);
    struct base_node *node = base_list_first(&server.endpoint.conns);
    return BASE_CONTAINER(node, struct quic_conn, all);
}

START_TEST(handshake_and_routing)
{
    struct quic_conn *conn = dial(NULL, 0);
    carry();
    ck_assert(conn->handshake_complete);
    struct quic_conn *peer = accepted();
    ck_assert(peer->handshake_complete);
    ck_assert_uint_eq(server.listener.connections, 1);
    ck_assert_uint_eq(server.endpoint.stats.connections_accepted, 1);
    struct quic_cid ids[QUIC_CIDS];
    unsigned count = 0;
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        if (peer->local_cids.list[i].used)
            ids[count++] = peer->local_cids.list[i].cid;
    ck_assert_uint_ge(count, 2);
    for (unsigned i = 0; i < count; i++)
        ck_assert_ptr_eq(quic_endpoint_find(&server.endpoint, ids[i].id, ids[i].len), peer);
    ids[0].id[7] ^= 1; /* close by is not it */
    ck_assert_ptr_null(quic_endpoint_find(&server.endpoint, ids[0].id, ids[0].len));
    /* retired: not even for the datagrams of one train */
    struct quic_cid *last = &ids[count - 1];
    ck_assert_ptr_eq(quic_endpoint_find(&server.endpoint, last->id, last->len), peer);
    uint64_t sequence = quic_local_cids_find(&peer->local_cids, last->id, last->len)->sequence;
    ck_assert_int_eq(quic_local_cids_retire(&peer->local_cids, sequence, &ids[1 % (count - 1)]), 0);
    ck_assert_ptr_null(quic_endpoint_find(&server.endpoint, last->id, last->len));
}
END_TEST

START_TEST(first_initial_makes_one_connection_however_often_it_comes)
{
    dial(NULL, 0);
    ck_assert(engine_output(&client));
    for (int i = 0; i < 3; i++)
        engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert_uint_eq(server.endpoint.conn_count, 1);
    engine_input(&server, client.train.data, client.train.len, engine_addr(66, 6)); /* from elsewhere, too */
    ck_assert_uint_eq(server.endpoint.conn_count, 1);
    ck_assert_uint_eq(server.endpoint.initial_cids.count, 1);
}
END_TEST

START_TEST(noise_makes_no_connection)
{
    struct quic_cid dcid = cid_of(7, 8);
    make_initial(&dcid, NULL, 0);
    engine_input(&server, datagram, 1200, client_at);
    ck_assert_uint_eq(server.endpoint.conn_count, 0);
    ck_assert_uint_eq(server.endpoint.initial_cids.count, 0);
    ck_assert_uint_eq(server.listener.connections, 0);
    ck_assert_uint_eq(server.endpoint.stats.connections_accepted, 0);
    uint32_t bits;
    ck_assert_ptr_null(base_events_pop(&server.events, &bits));
}
END_TEST

START_TEST(retry_then_connection)
{
    server.config.options.address_validation = 1;
    struct quic_conn *conn = dial(NULL, 0);
    carry();
    ck_assert(conn->handshake_complete);
    ck_assert(accepted()->retried);
    ck_assert(accepted()->address_validated);
    ck_assert_uint_eq(server.endpoint.stats.retries_sent, 1);
}
END_TEST

/* A token for a client at this address, as a client keeps it: behind the version it is good for. */
static size_t token_of(uint32_t version, const struct quic_addr *addr, base_time issued, uint8_t *out,
                       size_t capacity) {
    base_store_uint(out, QUIC_VERSION_1, 4);
    return 4 + quic_endpoint_new_token(&server.endpoint, version, addr, NULL, out + 4, capacity - 4, issued);
}

START_TEST(new_token_spares_the_retry_at_the_same_ip)
{
    server.config.options.address_validation = 1;
    uint8_t token[CRYPTO_TOKEN_MAX];
    struct quic_addr same_ip = engine_addr(9, 1), other_ip = engine_addr(10, 5000);
    size_t len = token_of(QUIC_VERSION_1, &other_ip, server.now, token, sizeof token);
    dial(token, len);
    carry();
    ck_assert_uint_eq(server.endpoint.stats.retries_sent, 1);
    len = token_of(QUIC_VERSION_1, &same_ip, server.now, token, sizeof token);
    struct quic_conn *conn = dial(token, len);
    carry();
    ck_assert(conn->handshake_complete);
    ck_assert_uint_eq(server.endpoint.stats.retries_sent, 1);
    len = token_of(QUIC_VERSION_1, &same_ip, server.now - 25 * 3600 * BASE_SEC, token, sizeof token);
    dial(token, len); /* too old */
    carry();
    ck_assert_uint_eq(server.endpoint.stats.retries_sent, 2);
    len = token_of(QUIC_VERSION_2, &same_ip, server.now, token, sizeof token);
    dial(token, len); /* given out in a connection of another version */
    carry();
    ck_assert_uint_eq(server.endpoint.stats.retries_sent, 3);
    len = token_of(QUIC_VERSION_1, &same_ip, server.now, token, sizeof token);
    base_store_uint(token, QUIC_VERSION_2, 4);
    conn = dial(token, len); /* the client knows it is: it does not show it */
    ck_assert_uint_eq(conn->token_len, 0);
    ck_assert_uint_eq(quic_endpoint_new_token(&server.endpoint, QUIC_VERSION_1, &same_ip, NULL, token, 10, server.now),
                      0);
}
END_TEST

/* A server that lost its state, with the same secret, ends the client's connection; nobody else can. */
START_TEST(stateless_reset_is_understood)
{
    struct quic_conn *conn = dial(NULL, 0);
    carry();
    struct quic_remote_cid *used = quic_remote_cids_of_path(&conn->remote_cids, 0);
    ck_assert(used->has_token);
    uint8_t reset[64] = {0x41, 9};
    memcpy(reset + 48, used->reset_token, 16);
    struct quic_addr server_at = server.socket.local;
    engine_input(&client, reset, sizeof reset, engine_addr(66, 6)); /* not from where we send to */
    reset[63] ^= 1;
    engine_input(&client, reset, sizeof reset, server_at);
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
    reset[63] ^= 1;
    engine_input(&client, reset, sizeof reset, server_at);
    ck_assert_int_eq(conn->state, QUIC_CONN_DRAINING);
    ck_assert_uint_eq(conn->close.cause, QUIC_CAUSE_RESET);
}
END_TEST

START_TEST(stateless_reset_from_a_restarted_server)
{
    struct quic_conn *conn = dial(NULL, 0);
    carry();
    engine_close(&server);
    engine_open(&server, CRYPTO_SERVER, 5, secret);
    quic_conn_ping(conn);
    ck_assert(engine_output(&client));
    memset(client.train.data + client.train.len, 0, 32); /* small ones get none */
    engine_input(&server, client.train.data, client.train.len < 60 ? 60 : client.train.len, client_at);
    ck_assert(engine_output(&server));
    ck_assert_uint_eq(server.endpoint.stats.stateless_resets_sent, 1);
    engine_input(&client, server.train.data, server.train.len, server.socket.local);
    ck_assert_int_eq(conn->state, QUIC_CONN_DRAINING);
    server.config.tls = server_tls;
}
END_TEST

/* The handle ends when CLOSED was told; packets find the connection until the period is over. */
START_TEST(closing_outlives_its_handle)
{
    struct quic_conn *conn = dial(NULL, 0);
    carry();
    uint64_t handle = conn->handle;
    struct quic_cid id = conn->local_cids.list[0].cid;
    base_time three_pto = quic_conn_three_pto(conn);
    quic_conn_close(conn, true, 7, "bye", 3, client.now);
    carry();
    ck_assert_ptr_eq(quic_conn_of(&client.slots, handle), conn);
    quic_endpoint_forget(&client.endpoint, conn);
    ck_assert_ptr_null(quic_conn_of(&client.slots, handle));
    ck_assert_ptr_eq(quic_endpoint_find(&client.endpoint, id.id, id.len), conn);
    base_time end = quic_endpoint_deadline(&client.endpoint);
    ck_assert_uint_gt(end, client.now + three_pto);
    ck_assert_uint_le(end, client.now + three_pto + 17 * BASE_MS);
    quic_endpoint_tick(&client.endpoint, end - 1);
    ck_assert_uint_eq(client.endpoint.conn_count, 1);
    quic_endpoint_tick(&client.endpoint, end);
    ck_assert_uint_eq(client.endpoint.conn_count, 0);
    ck_assert_ptr_null(quic_endpoint_find(&client.endpoint, id.id, id.len));
    ck_assert_uint_eq(client.endpoint.reset_tokens.count, 0);
    ck_assert_uint_eq(quic_endpoint_deadline(&client.endpoint), BASE_NEVER);
}
END_TEST

/* Those that were closed within 17 ms go together: the engine wakes twice for eight of them at most. */
START_TEST(closing_periods_end_in_rounds)
{
    struct quic_conn *conns[8];
    for (unsigned i = 0; i < 8; i++) {
        conns[i] = dial(NULL, 0);
        carry();
    }
    for (unsigned i = 0; i < 8; i++) {
        quic_conn_close(conns[i], true, 7, "bye", 3, client.now);
        carry();
        quic_endpoint_forget(&client.endpoint, conns[i]);
        client.now += BASE_MS;
    }
    unsigned wakes = 0;
    for (base_time end; (end = quic_endpoint_deadline(&client.endpoint)) != BASE_NEVER; wakes++)
        quic_endpoint_tick(&client.endpoint, end);
    ck_assert_uint_eq(client.endpoint.conn_count, 0);
    ck_assert_uint_le(wakes, 2);
}
END_TEST

START_TEST(period_over_waits_for_the_application)
{
    struct quic_conn *conn = dial(NULL, 0);
    carry();
    quic_conn_close(conn, true, 7, "bye", 3, client.now);
    carry();
    base_time end = quic_endpoint_deadline(&client.endpoint);
    client.now = end;
    quic_endpoint_tick(&client.endpoint, end);
    ck_assert_uint_eq(client.endpoint.conn_count, 1); /* CLOSED was not heard yet */
    ck_assert_uint_eq(quic_endpoint_deadline(&client.endpoint), BASE_NEVER);
    quic_endpoint_forget(&client.endpoint, conn);
    ck_assert_uint_eq(client.endpoint.conn_count, 0);
}
END_TEST

START_TEST(detached_goes_by_itself)
{
    struct quic_conn *conn = dial(NULL, 0);
    carry();
    quic_conn_detach(conn, client.now);
    carry();
    quic_endpoint_tick(&client.endpoint, quic_endpoint_deadline(&client.endpoint));
    ck_assert_uint_eq(client.endpoint.conn_count, 0);
}
END_TEST

/* Two connections with much to say take turns. */
START_TEST(output_is_round_robin)
{
    struct quic_conn *conns[2] = {dial(NULL, 0), dial(NULL, 0)};
    carry();
    uint8_t bytes[20000] = {0};
    for (int i = 0; i < 2; i++) {
        struct quic_stream *stream;
        ck_assert_int_eq(quic_streams_open(&conns[i]->streams, true, &stream), 0);
        ck_assert_int_gt(quic_stream_write(stream, bytes, sizeof bytes, false), 0);
        quic_conn_mark_dirty(conns[i]);
    }
    ck_assert_uint_eq(quic_endpoint_deadline(&client.endpoint), 0);
    client.now += BASE_SEC; /* the pacer has forgotten the handshake */
    uint64_t sent[2];
    for (int turn = 0; turn < 5; turn++) {
        for (int i = 0; i < 2; i++)
            sent[i] = conns[i]->stats.datagrams_sent;
        ck_assert(engine_output(&client));
        ck_assert(engine_output(&client));
        for (int i = 0; i < 2; i++)
            ck_assert_uint_eq(conns[i]->stats.datagrams_sent, sent[i] + 1);
    }
}
END_TEST

/* Who has much to send and waits for a turn is settled when there was something new, not each time: an engine with
 * thousands of these would do nothing else. */
START_TEST(those_who_wait_are_settled_once)
{
    struct quic_conn *conn = dial(NULL, 0);
    carry();
    quic_endpoint_settle(&client.endpoint);
    for (int round = 0; round < 2; round++) {
        quic_conn_mark_dirty(conn); /* also when it waits already, as in the second round */
        ck_assert(base_node_linked(&conn->touched));
        quic_endpoint_settle(&client.endpoint);
        ck_assert(base_node_linked(&conn->dirty));
        ck_assert(!base_node_linked(&conn->touched) && base_list_empty(&client.endpoint.touched));
    }
}
END_TEST

/* A server that accepts within budgets of all sizes. */
START_TEST(out_of_memory_while_accepting)
{
    dial(NULL, 0);
    ck_assert(engine_output(&client));
    for (uint64_t more = 0; more < 200000; more += 1500) {
        server.mem.limit = server.mem.used + more;
        engine_input(&server, client.train.data, client.train.len, client_at);
        while (engine_output(&server))
            continue;
        while (!base_list_empty(&server.endpoint.conns)) {
            struct base_node *node = base_list_first(&server.endpoint.conns);
            quic_conn_free(BASE_CONTAINER(node, struct quic_conn, all));
        }
        ck_assert_uint_eq(server.listener.connections, 0);
    }
    server.mem.limit = 0;
    ck_assert_uint_gt(server.endpoint.stats.connections_accepted, 0);
    ck_assert_uint_gt(server.endpoint.stats.datagrams_refused, 0);
}
END_TEST

static void add_all(Suite *suite, const char *name, const TTest *const *const *tests, size_t count, SFun before,
                    SFun after) {
    TCase *tcase = tcase_create(name);
    tcase_add_checked_fixture(tcase, before, after);
    for (size_t i = 0; i < count; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
}

Suite *unit_suite(void) {
    static const TTest *const *const alone[] = {
        &version_negotiation_echoes_ids_of_any_length,
        &version_negotiation_is_not_for_everybody,
        &replies_are_bounded_by_line_and_bucket,
        &replies_of_a_socket_go_with_it,
        &reset_is_shorter_than_its_cause,
        &reset_never_for_long_headers_or_other_engines,
        &resets_are_rare,
        &first_initial_must_be_large_and_its_id_long,
        &draining_and_full_listeners_refuse,
        &retry_token_is_good_for_one_address_id_and_time,
        &foreign_token_counts_as_none,
    };
    static const TTest *const *const pairs[] = {
        &handshake_and_routing,
        &first_initial_makes_one_connection_however_often_it_comes,
        &noise_makes_no_connection,
        &retry_then_connection,
        &new_token_spares_the_retry_at_the_same_ip,
        &stateless_reset_is_understood,
        &stateless_reset_from_a_restarted_server,
        &closing_outlives_its_handle,
        &closing_periods_end_in_rounds,
        &period_over_waits_for_the_application,
        &detached_goes_by_itself,
        &output_is_round_robin,
        &those_who_wait_are_settled_once,
        &out_of_memory_while_accepting,
    };
    Suite *suite = suite_create("quic/endpoint");
    add_all(suite, "alone", alone, sizeof alone / sizeof *alone, setup, teardown);
    add_all(suite, "pairs", pairs, sizeof pairs / sizeof *pairs, setup_tls, teardown_tls);
    return suite;
}
