/* A peer that has the keys and means no good, and a stranger who has none: what they can make a connection hold, and
 * where they can make it look. */
#include "hostile.h"

/* Datagrams that come in one batch. */
static struct quic_datagram batch[8];
static size_t batched;

static void add_1rtt(struct quic_addr from) {
    struct base_buf *buf = base_buf_get(&server.bufs);
    size_t len = make_1rtt(buf->data);
    batch[batched++] = (struct quic_datagram){buf, buf->data, len, &server.socket, server.socket.local, from, 0};
}

static void send_batch(void) {
    quic_endpoint_input(&server.endpoint, batch, batched, server.now);
    while (batched)
        base_buf_unref(batch[--batched].buf);
}

static struct quic_cid own_id = {.len = 4, .id = {1, 2, 3, 4}}; /* Source Connection ID */

/* The frames as a client's Initial in a datagram of `size` bytes. */
static void send_initial_from(const struct quic_cid *dcid, size_t size, struct quic_addr from) {
    uint8_t packet[1500];
    struct crypto_secret from_client, from_server;
    ck_assert(crypto_initial_secrets(CRYPTO_QUIC_V1, dcid->id, dcid->len, &from_client, &from_server));
    struct crypto_key *key = crypto_key_new(&client.mem, CRYPTO_QUIC_V1, &from_client);
    struct crypto_mask_key *mask = crypto_mask_key_new(&client.mem, CRYPTO_QUIC_V1, &from_client);
    struct base_writer w = base_writer_of(packet, size);
    uint8_t *length_at;
    memset(packet, 0, sizeof packet);
    quic_header_write_long(&w, QUIC_VERSION_1, QUIC_PACKET_INITIAL, 4, dcid, &own_id, NULL, 0, &length_at);
    size_t pn_offset = (size_t)(w.pos - packet);
    base_write_u32(&w, (uint32_t)number);
    base_write_bytes(&w, frames, (size_t)(f.pos - frames));
    ck_assert(!w.bad && !f.bad);
    quic_header_patch_length(length_at, size - pn_offset);
    struct crypto_seal_item item = {
        .packet = packet, .number = number++, .len = (uint32_t)size, .pn_offset = (uint16_t)pn_offset, .pn_len = 4};
    ck_assert(crypto_seal(key, mask, &item, 1));
    crypto_key_free(&client.mem, key);
    crypto_mask_key_free(&client.mem, mask);
    engine_input(&server, packet, size, from);
    quic_endpoint_settle(&server.endpoint);
}

static void send_initial(const struct quic_cid *dcid, size_t size) { send_initial_from(dcid, size, client_at); }

static const struct quic_cid stranger = {.len = 8, .id = {7, 7, 7, 7, 7, 7, 7, 7}};

/* ---- paths that go while packets of theirs are at hand ---- */

static void write_challenge(uint8_t mark) {
    const uint8_t data[8] = {mark};
    quic_frame_write_path(&f, QUIC_FRAME_PATH_CHALLENGE, data);
}

/* Withdraws every ID that was given before; the one given instead is for the active path. */
static void write_withdrawal(uint64_t sequence) {
    const struct quic_cid cid = {.len = 8, .id = {99, (uint8_t)sequence}};
    const uint8_t token[16] = {99};
    quic_frame_write_new_cid(&f, sequence, sequence, &cid, token);
}

/* A candidate for this address. */
static struct quic_path *open_path(struct quic_conn *peer, struct quic_addr from) {
    begin();
    write_challenge(1);
    send_1rtt(from);
    struct quic_path *path = quic_path_find(peer, &server.socket.local, &from);
    ck_assert_ptr_nonnull(path);
    ck_assert_ptr_ne(path, quic_path_active(peer));
    return path;
}

START_TEST(packet_that_withdraws_its_own_path)
{
    dial();
    carry();
    struct quic_conn *peer = accepted();
    struct quic_addr elsewhere = engine_addr(77, 7);
    struct quic_path *path = open_path(peer, elsewhere);
    begin();
    write_withdrawal(20);
    quic_frame_write_type(&f, QUIC_FRAME_PING); /* more than a probe: it would move the connection */
    send_1rtt(elsewhere);
    ck_assert_int_eq(path->state, QUIC_PATH_NONE);
    ck_assert_int_lt(peer->state, QUIC_CONN_CLOSING);
    ck_assert_int_eq(quic_path_active(peer)->state, QUIC_PATH_VALIDATED);
    while (engine_output(&server))
        continue;
}
END_TEST

START_TEST(path_that_goes_within_a_batch)
{
    dial();
    carry();
    struct quic_conn *peer = accepted();
    struct quic_addr first = engine_addr(77, 7), second = engine_addr(78, 8);
    struct quic_path *path = open_path(peer, first);
    begin();
    write_withdrawal(20);
    add_1rtt(first);
    begin();
    write_challenge(2);
    add_1rtt(second); /* takes the place */
    begin();
    write_challenge(3);
    add_1rtt(first);
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    add_1rtt(first);
    send_batch();
    ck_assert_int_lt(peer->state, QUIC_CONN_CLOSING);
    ck_assert(quic_addr_equal(&path->remote, &second));
    ck_assert_uint_eq(path->response_count, 1);
    ck_assert_uint_eq(path->responses[0][0], 2);
    ck_assert(quic_addr_equal(&quic_path_active(peer)->remote, &first)); /* who sent the PING */
    ck_assert_uint_eq(quic_path_active(peer)->responses[0][0], 3);
    while (engine_output(&server))
        continue;
}
END_TEST

START_TEST(mtu_of_another_path)
{
    dial();
    carry();
    struct quic_conn *peer = accepted();
    struct quic_path *active = quic_path_active(peer);
    active->mtu = QUIC_MIN_INITIAL;
    quic_mtu_start(peer);
    uint32_t size = quic_mtu_wanted(peer, server.now);
    ck_assert_uint_gt(size, QUIC_MIN_INITIAL);
    struct quic_sent_packet packet = {.bytes = (uint16_t)size, .mtu_probe = true, .path = 1};
    quic_tx_on_packet(peer, QUIC_APPLICATION, 9, &packet, QUIC_FATE_ACKED);
    ck_assert_uint_eq(active->mtu, QUIC_MIN_INITIAL);
    packet.path = 0;
    quic_tx_on_packet(peer, QUIC_APPLICATION, 9, &packet, QUIC_FATE_ACKED);
    ck_assert_uint_eq(active->mtu, size);
}
END_TEST

/* ---- memory for those who are not known yet ---- */

#define BUF_SIZE ((size_t)64 << 10)

START_TEST(crypto_with_gaps_pins_no_buffers)
{
    static const uint8_t bytes[256];
    for (unsigned i = 0; i < 100; i++) {
        begin();
        quic_frame_write_crypto(&f, 100 + i * 300, bytes, sizeof bytes);
        send_initial(&stranger, 1200);
    }
    ck_assert_uint_eq(accepted()->stats.packets_received, 100);
    base_bufpool_clear(&server.bufs); /* those that wait for use */
    ck_assert_uint_eq(server.buf_mem.used, 0);
    base_bufpool_init(&server.bufs, &server.buf_mem, 16, 0);
}
END_TEST

START_TEST(crypto_byte_by_byte_takes_little)
{
    static const uint8_t byte[1];
    server.config.options.glitch_burst = 0; /* or it would end far too soon */
    begin();
    quic_frame_write_crypto(&f, 1, byte, 1);
    send_initial(&stranger, 1200);
    size_t before = server.mem.used;
    unsigned offset = 2;
    for (unsigned i = 0; i < 300; i++) {
        begin();
        for (unsigned k = 0; k < 100; k++)
            quic_frame_write_crypto(&f, offset++, byte, 1);
        send_initial(&stranger, 1200);
    }
    ck_assert_uint_eq(accepted()->stats.packets_received, 301);
    ck_assert_uint_lt(server.mem.used - before, 2 * 300 * 100);
}
END_TEST

/* Packets that may have overtaken those that bring their keys are kept; what they came in is not. */
START_TEST(packets_before_their_keys_pin_no_buffers)
{
    server.config.options.early_packets = _i ? QUIC_EARLY_PACKETS : 3;
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    send_initial(&stranger, 1200);
    struct quic_conn *peer = accepted();
    uint8_t packet[100];
    for (unsigned i = 0; i < 20; i++) {
        static const struct quic_cid scid = {.len = 4, .id = {1, 2, 3, 4}};
        struct base_writer w = base_writer_of(packet, sizeof packet);
        uint8_t *length_at;
        memset(packet, 0xaa, sizeof packet);
        quic_header_write_long(&w, QUIC_VERSION_1, QUIC_PACKET_HANDSHAKE, 2, &peer->local_cids.list[0].cid, &scid, NULL,
                               0, &length_at);
        quic_header_patch_length(length_at, (size_t)(packet + sizeof packet - w.pos));
        engine_input(&server, packet, sizeof packet, client_at);
    }
    ck_assert_uint_eq(peer->early_count, server.config.options.early_packets);
    base_bufpool_clear(&server.bufs);
    ck_assert_uint_eq(server.buf_mem.used, 0);
    base_bufpool_init(&server.bufs, &server.buf_mem, 16, 0);
}
END_TEST

/* ---- handshakes that are larger than others ---- */

static const struct quic_gate *gate = &server.endpoint.gate;

static struct quic_conn *newest(void) {
    return BASE_CONTAINER(base_list_last(&server.endpoint.conns), struct quic_conn, all);
}

static void forget(struct quic_conn *peer) {
    quic_conn_detach(peer, server.now);
    quic_endpoint_tick(&server.endpoint, server.now);
    while (engine_output(&server))
        continue;
    server.now += 10 * BASE_SEC;
    quic_endpoint_tick(&server.endpoint, server.now);
    quic_endpoint_settle(&server.endpoint);
}

/* CRYPTO behind a gap, of pieces with a gap before each: as much as the datagram takes. */
static unsigned write_pieces(unsigned offset, unsigned len) {
    static const uint8_t bytes[1000];
    begin();
    do {
        quic_frame_write_crypto(&f, offset, bytes, len);
        offset += len + 1;
    } while ((size_t)(f.end - f.pos) > len + 8 && offset < 64000);
    return offset;
}

/* A packet of 1400 bytes for which there are no keys yet. */
static void send_early(const struct quic_conn *peer) {
    uint8_t packet[1400];
    struct base_writer w = base_writer_of(packet, sizeof packet);
    memset(packet, 0xaa, sizeof packet);
    quic_header_write_short(&w, &peer->local_cids.list[0].cid, 4, false, false);
    engine_input(&server, packet, sizeof packet, client_at);
}

/* Whatever a client that is not known makes its handshake hold: it takes as many places as that is worth. */
START_TEST(what_a_handshake_holds_takes_places)
{
    static const struct {
        unsigned len, end; /* pieces of such a length up to there: the last ones take in most gaps for least bytes */
        unsigned early;    /* packets */
    } kinds[] = {{1000, 64000, 0}, {100, 64000, 8}, {1, 2000, 0}, {0, 0, 8}};
    server.config.options.glitch_burst = 0;
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    send_initial(&stranger, 1200); /* the first makes tables, which stay */
    ck_assert_uint_eq(gate->handshakes, 1);
    forget(newest());
    uint64_t before = server.mem.used;
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    while (engine_output(&server))
        continue;
    struct quic_conn *peer = newest();
    ck_assert(peer->tls && peer->places == 1);
    ck_assert_uint_le(server.mem.used - before, QUIC_GATE_HALF_OPEN_COST);
    struct quic_cid dcid = conn->original_dcid;
    own_id = conn->local_cids.list[0].cid;
    for (unsigned i = 0; i < kinds[_i].early; i++)
        send_early(peer);
    unsigned taken = (unsigned)peer->crypto[QUIC_INITIAL]->recv.taken;
    for (unsigned offset = taken + 1; offset < kinds[_i].end + taken;) {
        offset = write_pieces(offset, kinds[_i].len);
        send_initial(&dcid, 1200);
        ck_assert_int_lt(peer->state, QUIC_CONN_CLOSING);
        ck_assert_uint_eq(gate->handshakes, peer->places);
        ck_assert_uint_eq(gate->half_open, peer->places);
        ck_assert_msg(server.mem.used - before <= (uint64_t)peer->places * QUIC_GATE_HALF_OPEN_COST,
                      "%llu bytes in %u places", (unsigned long long)(server.mem.used - before), peer->places);
    }
    ck_assert_uint_ge(peer->places, 2);
    own_id = (struct quic_cid){.len = 4, .id = {1, 2, 3, 4}};
    forget(peer);
    ck_assert_uint_eq(gate->handshakes, 0);
    ck_assert_uint_eq(gate->half_open, 0);
}
END_TEST

static struct quic_cid id_of(unsigned i) {
    return (struct quic_cid){.len = 8, .id = {7, 7, 7, 7, 7, 7, (uint8_t)(i >> 8), (uint8_t)i}};
}

/* Makes the `i`th handshake one of four places, if there are so many. */
static void enlarge(unsigned i, struct quic_addr from) {
    struct quic_cid dcid = id_of(i);
    for (unsigned offset = 100; offset < 64000;) {
        offset = write_pieces(offset, 900);
        send_initial_from(&dcid, 1200, from);
    }
}

static struct quic_addr of_network(unsigned i) {
    return (struct quic_addr){.family = 4, .ip = {10, (uint8_t)(i >> 8), (uint8_t)i, 1}, .port = 1000};
}

static void come(unsigned i, struct quic_addr from) {
    struct quic_cid dcid = id_of(i);
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    send_initial_from(&dcid, 1200, from);
    quic_endpoint_tick(&server.endpoint, server.now);
    while (engine_output(&server))
        continue;
}

/* A network that comes with few large handshakes gets no more of the memory than one with many small ones. */
START_TEST(a_network_of_large_handshakes_gets_its_share)
{
    server.config.options.max_handshakes = 32;
    server.config.options.prefix_share = 25;
    server.config.options.address_validation = QUIC_VALIDATE_NEVER;
    for (unsigned i = 0; i < 16; i++) /* half of the places are taken */
        come(i, of_network(i));
    for (unsigned i = 0; i < 2; i++) {
        come(100 + i, engine_addr((uint8_t)(20 + i), 7));
        enlarge(100 + i, engine_addr((uint8_t)(20 + i), 7));
        ck_assert_uint_eq(newest()->places, 4);
    }
    ck_assert_uint_eq(gate->handshakes, 16 + 8);
    ck_assert_uint_eq(server.endpoint.stats.prefix_limited, 0);
    come(102, engine_addr(22, 7));
    enlarge(102, engine_addr(22, 7));
    ck_assert_uint_ge(server.endpoint.stats.prefix_limited, 1);
    ck_assert_uint_le(gate->handshakes, 16 + 8 + 1);
    come(200, of_network(200)); /* and another is let in, and may grow */
    enlarge(200, of_network(200));
    ck_assert_uint_eq(newest()->places, 4);
    ck_assert_int_lt(newest()->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(server.endpoint.stats.initials_deferred, 0);
}
END_TEST

/* Who grows takes the place of one who is silent, and ends when nobody is; alone it may have what it needs. */
START_TEST(no_place_to_grow)
{
    server.config.options.max_handshakes = 4;
    server.config.options.prefix_share = 100;
    server.config.options.address_validation = QUIC_VALIDATE_NEVER;
    come(1, of_network(1));
    enlarge(1, of_network(1));
    struct quic_conn *first = newest();
    ck_assert_uint_eq(first->places, 4);
    server.now += 250 * BASE_MS;
    come(2, of_network(2)); /* the first was silent for long */
    struct quic_conn *second = newest();
    ck_assert_uint_ge(first->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(gate->handshakes, 1);
    come(3, of_network(3));
    struct quic_conn *third = newest();
    enlarge(3, of_network(3)); /* the second was not */
    ck_assert_uint_ge(third->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(server.endpoint.stats.handshakes_evicted, 2);
    ck_assert_uint_ge(gate->handshakes, 1);
    server.now += 250 * BASE_MS;
    come(4, of_network(4));
    struct quic_conn *fourth = newest();
    enlarge(4, of_network(4));
    ck_assert_uint_lt(fourth->state, QUIC_CONN_CLOSING);
    ck_assert_uint_ge(second->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(gate->handshakes, 4);
    forget(fourth);
    server.config.options.max_handshakes = 1;
    come(5, of_network(5));
    enlarge(5, of_network(5));
    ck_assert_uint_eq(gate->handshakes, 4);
}
END_TEST

/* Strangers have a budget of their own, and a network its share of that. */
START_TEST(strangers_grow_within_their_budget)
{
    server.config.options.half_open_limit = _i ? 12 : 6;
    server.config.options.prefix_share = _i ? 50 : 100;
    come(1, engine_addr(20, 7));
    enlarge(1, engine_addr(20, 7));
    ck_assert_uint_eq(gate->half_open, 4);
    come(2, engine_addr(21, 7));
    struct quic_conn *second = newest();
    come(3, of_network(3));
    ck_assert_uint_eq(gate->half_open, 6);
    enlarge(2, engine_addr(21, 7));
    ck_assert_uint_ge(second->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(server.endpoint.stats.handshakes_evicted, 1);
    ck_assert_uint_eq(server.endpoint.stats.prefix_limited > 0, (unsigned)_i);
    ck_assert_uint_ge(gate->half_open, 5);
}
END_TEST

/* ---- rules ---- */

/* RFC 9000 14.1 */
START_TEST(small_initial_is_dropped)
{
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    send_initial(&stranger, 1200);
    struct quic_conn *peer = accepted();
    ck_assert_uint_eq(peer->stats.packets_received, 1);
    send_initial(&stranger, 1199);
    ck_assert_uint_eq(peer->stats.packets_received, 1);
    send_initial(&stranger, 1200);
    ck_assert_uint_eq(peer->stats.packets_received, 2);
}
END_TEST

/* RFC 9000 17.2.5.1 */
START_TEST(retry_with_the_clients_own_id_is_dropped)
{
    dial();
    ck_assert(engine_output(&client));
    static const uint8_t token[] = {1, 2, 3};
    uint8_t packet[256];
    struct quic_cid other = {.len = 8, .id = {5}};
    const struct quic_cid *own = &conn->local_cids.list[0].cid, odcid = conn->original_dcid;
    size_t len =
        quic_header_write_retry(packet, sizeof packet, QUIC_VERSION_1, own, &odcid, &odcid, token, sizeof token, 0);
    engine_input(&client, packet, len, server.socket.local);
    ck_assert(!conn->retried);
    len = quic_header_write_retry(packet, sizeof packet, QUIC_VERSION_1, own, &other, &odcid, token, sizeof token, 0);
    engine_input(&client, packet, len, server.socket.local);
    ck_assert(conn->retried);
}
END_TEST

/* An ID that a client chose is free for others once its first owner has given it up. */
START_TEST(expired_id_may_be_somebody_elses)
{
    dial();
    carry();
    struct quic_conn *peer = accepted();
    const struct quic_cid id = peer->initial_dcid;
    quic_handshake_expire(peer);
    ck_assert_ptr_null(quic_endpoint_find(&server.endpoint, id.id, id.len));
    ck_assert(base_map_put(&server.endpoint.initial_cids, id.id, id.len, 4711));
    quic_handshake_expire(peer); /* as with each key update */
    uint64_t handle = 0;
    ck_assert(base_map_get(&server.endpoint.initial_cids, id.id, id.len, &handle) && handle == 4711);
}
END_TEST

/* A stateless reset that begins, by chance or by intent, with an ID of the connection, so that only its keys tell that
 * it is no packet (RFC 9000 10.3.1); with `_i` it looks like a long header, of no type and length there are. */
START_TEST(reset_behind_a_true_id)
{
    dial();
    carry();
    uint8_t reset[64] = {_i ? 0xc0 : 0x41};
    struct quic_remote_cid *used = quic_remote_cids_of_path(&conn->remote_cids, 0);
    const struct quic_cid *mine = &conn->local_cids.list[0].cid;
    ck_assert(used->has_token);
    size_t at = 1;
    if (_i) {
        base_store_u32(reset + 1, QUIC_VERSION_1);
        reset[5] = mine->len;
        at = 6;
    }
    memcpy(reset + at, mine->id, mine->len);
    if (_i)
        reset[at + mine->len] = 21; /* of the other ID: one more than there may be */
    memcpy(reset + 48, used->reset_token, 16);
    reset[63] ^= 1;
    engine_input(&client, reset, sizeof reset, server.socket.local);
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
    reset[0] = _i ? 0xc0 : 0x41; /* unmasked in place */
    reset[63] ^= 1;
    engine_input(&client, reset, sizeof reset, server.socket.local);
    ck_assert_int_eq(conn->state, QUIC_CONN_DRAINING);
    ck_assert_uint_eq(conn->close.cause, QUIC_CAUSE_RESET);
    ck_assert(!engine_output(&client));
}
END_TEST

/* A connection that ended at once, and of which nobody wants to hear. */
START_TEST(detached_after_its_end)
{
    dial();
    carry();
    struct quic_close close = {.cause = QUIC_CAUSE_IDLE};
    quic_close_silent(conn, &close, client.now);
    quic_endpoint_tick(&client.endpoint, client.now);
    ck_assert_uint_eq(client.endpoint.conn_count, 1); /* CLOSED was not heard yet */
    quic_conn_detach(conn, client.now);
    ck_assert_uint_eq(client.endpoint.conn_count, 0);
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &packet_that_withdraws_its_own_path,
        &path_that_goes_within_a_batch,
        &mtu_of_another_path,
        &crypto_with_gaps_pins_no_buffers,
        &crypto_byte_by_byte_takes_little,
        &a_network_of_large_handshakes_gets_its_share,
        &no_place_to_grow,
        &small_initial_is_dropped,
        &retry_with_the_clients_own_id_is_dropped,
        &expired_id_may_be_somebody_elses,
        &detached_after_its_end,
    };
    Suite *suite = suite_create("quic/hostile");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, reset_behind_a_true_id, 0, 2);
    tcase_add_loop_test(tcase, packets_before_their_keys_pin_no_buffers, 0, 2);
    tcase_add_loop_test(tcase, what_a_handshake_holds_takes_places, 0, 4);
    tcase_add_loop_test(tcase, strangers_grow_within_their_budget, 0, 2);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
