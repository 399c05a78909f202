/* When the next generation's key is made: late enough that short connections do without, early enough that no update by
 * the peer finds it missing and no packet's Key Phase shows in time (RFC 9001 6.1, 6.3, 9.5). */
#include "hostile.h"

#define KEY_PHASE 0x04u

/* A packet under the present key or the next one, with the Key Phase bit of the next. */
static void send_flipped(struct quic_conn *from, bool next, struct engine *to, struct quic_addr at) {
    const struct quic_keys *keys = &from->keys[CRYPTO_APPLICATION];
    struct crypto_secret secret;
    uint8_t packet[1500];
    struct base_writer w = base_writer_of(packet, sizeof packet);
    struct quic_remote_cid *dcid = quic_remote_cids_of_path(&from->remote_cids, from->recovery.active);
    quic_header_write_short(&w, &dcid->cid, 4, true, false);
    struct crypto_seal_item item = {.packet = packet, .pn_offset = (uint16_t)(w.pos - packet), .pn_len = 4};
    base_write_u32(&w, (uint32_t)number);
    quic_frame_write_type(&w, QUIC_FRAME_PING);
    quic_frame_write_padding(&w, 30);
    base_write_space(&w, CRYPTO_TAG_SIZE);
    item.number = number++;
    item.len = (uint32_t)(w.pos - packet);
    ck_assert(crypto_next_secret(CRYPTO_QUIC_V1, &from->phase.tx_secret, &secret));
    struct crypto_key *key = crypto_key_new(&client.mem, CRYPTO_QUIC_V1, &secret);
    ck_assert(key && crypto_seal(next ? key : keys->tx, keys->tx_mask, &item, 1));
    crypto_key_free(&client.mem, key);
    engine_input(to, packet, item.len, at);
}

/* Of the client, by its header, but not authentic. The mask comes from the sample, which ends before the last byte. */
static void send_garbage(bool flipped) {
    uint8_t packet[1500];
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    quic_frame_write_padding(&f, 30);
    size_t len = make_1rtt(packet);
    packet[len - 1] ^= 1;
    packet[0] ^= flipped ? KEY_PHASE : 0;
    engine_input(&server, packet, len, client_at);
}

/* As far as to the server's completion; nothing that it says afterwards has left yet. */
static struct quic_conn *complete(void) {
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    while (engine_output(&server))
        engine_input(&client, server.train.data, server.train.len, server.socket.local);
    struct quic_conn *peer = accepted();
    quic_keyphase_on_sealed(peer, 1, server.now); /* an acknowledgement of 0-RTT tells of no completion */
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert(peer->handshake_complete && conn->handshake_complete && !conn->handshake_confirmed);
    ck_assert_ptr_null(peer->phase.rx_next);
    return peer;
}

/* ... and the client has heard of it, and not answered. */
static struct quic_conn *confirm(void) {
    struct quic_conn *peer = complete();
    while (engine_output(&server))
        engine_input(&client, server.train.data, server.train.len, server.socket.local);
    ck_assert(conn->handshake_confirmed);
    ck_assert_ptr_null(peer->phase.rx_next);
    return peer;
}

START_TEST(a_connection_that_ends_makes_none)
{
    struct quic_conn *peer = confirm();
    quic_conn_close(conn, true, 7, "", 0, client.now);
    server.mem.peak = server.mem.used;
    uint64_t used = server.mem.used;
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert_int_eq(peer->state, QUIC_CONN_DRAINING);
    ck_assert_ptr_null(peer->phase.rx_next);
    ck_assert_uint_lt(server.mem.peak - used, 64); /* nor one that was thrown away again */
}
END_TEST

START_TEST(one_that_goes_on_makes_it_with_the_first_batch)
{
    struct quic_conn *peer = confirm();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert_ptr_nonnull(peer->phase.rx_next);
    ck_assert_ptr_nonnull(conn->phase.rx_next); /* HANDSHAKE_DONE was in one */
    const struct crypto_key *made = peer->phase.rx_next;
    carry();
    ck_assert_ptr_eq(peer->phase.rx_next, made);
    ck_assert_uint_eq(peer->phase.generation, 0);
}
END_TEST

/* Nobody's packets have it made as well, whatever their Key Phase: the time they take says nothing. */
START_TEST(the_phase_of_a_packet_is_no_matter)
{
    struct quic_conn *peer = confirm();
    send_garbage(_i);
    ck_assert_uint_eq(peer->phase.open_failures, 1);
    ck_assert_ptr_nonnull(peer->phase.rx_next);
    ck_assert_uint_eq(peer->phase.generation, 0);
    carry();
    ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

/* 6.1: no update before the handshake is confirmed. What looks like one is dropped and has no key made. */
START_TEST(nobody_can_update_before_he_may)
{
    struct quic_conn *peer = complete();
    uint64_t received = peer->stats.packets_received, dropped = peer->stats.packets_dropped;
    send_flipped(conn, true, &server, client_at);
    send_flipped(conn, false, &server, client_at); /* no more so if it would open */
    send_garbage(true);
    ck_assert_uint_eq(peer->phase.open_failures, 3);
    ck_assert_uint_eq(peer->stats.packets_received, received);
    ck_assert_uint_eq(peer->stats.packets_dropped, dropped + 3);
    ck_assert_ptr_null(peer->phase.rx_next);
    ck_assert_uint_eq(peer->phase.generation, 0);
    ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
    ck_assert(engine_output(&server)); /* from here on it could have heard of it */
    send_flipped(conn, true, &server, client_at);
    ck_assert_uint_eq(peer->phase.generation, 1);
    ck_assert_ptr_nonnull(peer->phase.rx_next);
    ck_assert_uint_eq(peer->stats.packets_received, received + 1);
}
END_TEST

START_TEST(the_first_packet_may_be_an_update)
{
    struct quic_conn *peer = confirm();
    ck_assert(quic_keyphase_update(conn));
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    carry();
    ck_assert_uint_eq(peer->phase.generation, 1);
    ck_assert_uint_eq(peer->phase.open_failures, 0);
    ck_assert_uint_eq(peer->stats.packets_dropped, 0);
    ck_assert_uint_eq(conn->recovery.spaces[QUIC_APPLICATION].eliciting, 0); /* it was answered */
    ck_assert_ptr_nonnull(peer->phase.rx_next);
    ck_assert_ptr_nonnull(conn->phase.rx_next);
}
END_TEST

/* A server has confirmed when it is complete: its first 1-RTT packet may be of the next generation. */
START_TEST(a_client_is_ready_at_once)
{
    struct quic_conn *peer = complete();
    number = 0;
    ck_assert_ptr_null(conn->phase.rx_next);
    send_flipped(peer, true, &client, server.socket.local);
    ck_assert_uint_eq(conn->phase.generation, 1);
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

/* Our own update needs it as well, even if nothing came so far. */
START_TEST(an_update_of_ours_makes_it)
{
    confirm();
    crypto_key_free(&client.mem, conn->phase.rx_next);
    conn->phase.rx_next = NULL;
    client.mem.limit = client.mem.used;
    ck_assert(!quic_keyphase_update(conn));
    client.mem.limit = 0;
    ck_assert(quic_keyphase_update(conn));
    ck_assert_ptr_nonnull(conn->keys[CRYPTO_APPLICATION].rx);
    carry();
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

START_TEST(without_memory_an_update_is_lost_and_comes_again)
{
    struct quic_conn *peer = confirm();
    server.mem.limit = server.mem.used;
    send_flipped(conn, true, &server, client_at);
    ck_assert_ptr_null(peer->phase.rx_next);
    ck_assert_uint_eq(peer->phase.generation, 0);
    ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
    server.mem.limit = 0;
    send_flipped(conn, true, &server, client_at);
    ck_assert_uint_eq(peer->phase.generation, 1);
}
END_TEST

/* One that slept before anything came has it packed, like the others. */
START_TEST(at_rest_it_is_packed)
{
    struct quic_conn *peer = confirm();
    carry();
    crypto_key_free(&server.mem, peer->phase.rx_next);
    peer->phase.rx_next = NULL;
    quic_keyphase_pack(peer);
    uint64_t used = server.mem.used;
    quic_keyphase_on_batch(peer);
    ck_assert_ptr_nonnull(peer->phase.rx_next);
    ck_assert_uint_lt(server.mem.used - used, 128);
    ck_assert_int_eq(quic_conn_ping(conn), 0);
    carry();
    ck_assert_uint_eq(peer->phase.open_failures, 0);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/keyphase");
    TCase *tcase = tcase_create("next key");
    const TTest *const tests[] = {
        a_connection_that_ends_makes_none,
        one_that_goes_on_makes_it_with_the_first_batch,
        nobody_can_update_before_he_may,
        the_first_packet_may_be_an_update,
        a_client_is_ready_at_once,
        an_update_of_ours_makes_it,
        without_memory_an_update_is_lost_and_comes_again,
        at_rest_it_is_packed,
    };
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    tcase_add_loop_test(tcase, the_phase_of_a_packet_is_no_matter, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
