/* Single rules of the RFCs that need a peer who breaks them, or a look into one packet (docs/rfc-coverage.md). */
#include "hostile.h"

static void open_pair(void) {
    dial();
    carry();
    ck_assert(conn->handshake_confirmed && accepted()->handshake_confirmed);
}

static void expect_closed(struct quic_conn *side, uint64_t code) {
    ck_assert_int_ge(side->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(side->close.code, code);
}

/* The frames at hand as a packet with these bits in its first byte, from either side. */
static size_t make_packet(struct quic_conn *from, enum crypto_level level, const struct quic_keys *keys, uint8_t bits,
                          const char *token, uint8_t *out) {
    static const enum quic_packet_type types[] = {QUIC_PACKET_INITIAL, QUIC_PACKET_0RTT, QUIC_PACKET_HANDSHAKE};
    struct base_writer w = base_writer_of(out, 1500);
    const struct quic_cid *dcid = &quic_remote_cids_of_path(&from->remote_cids, 0)->cid;
    uint8_t *length_at = NULL;
    if (level == CRYPTO_APPLICATION)
        quic_header_write_short(&w, dcid, 4, false, false);
    else
        quic_header_write_long(&w, from->version, types[level], 4, dcid, &from->local_cids.list[0].cid,
                               (const uint8_t *)token, strlen(token), &length_at);
    out[0] |= bits;
    size_t pn_offset = (size_t)(w.pos - out);
    base_write_u32(&w, (uint32_t)number);
    base_write_bytes(&w, frames, (size_t)(f.pos - frames));
    if (level == CRYPTO_INITIAL)
        quic_frame_write_padding(&w, 1200 - CRYPTO_TAG_SIZE - (size_t)(w.pos - out));
    base_write_space(&w, CRYPTO_TAG_SIZE);
    ck_assert(!w.bad && !f.bad);
    size_t len = (size_t)(w.pos - out);
    if (length_at)
        quic_header_patch_length(length_at, len - pn_offset);
    struct crypto_seal_item item = {
        .packet = out, .number = number++, .len = (uint32_t)len, .pn_offset = (uint16_t)pn_offset, .pn_len = 4};
    ck_assert(quic_keyphase_unpack(conn) && crypto_seal(keys->tx, keys->tx_mask, &item, 1));
    return len;
}

static void send_bits(uint8_t bits) {
    uint8_t packet[1500];
    size_t len = make_packet(conn, CRYPTO_APPLICATION, &conn->keys[CRYPTO_APPLICATION], bits, "", packet);
    engine_input(&server, packet, len, client_at);
}

/* ---- connection IDs and parameters ---- */

START_TEST(wrong_connection_ids_are_an_error)
{
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    conn->original_dcid.id[0] ^= 1; /* so the server's word for it is another */
    carry();
    expect_closed(conn, QUIC_TRANSPORT_PARAMETER_ERROR);
}
END_TEST

/* Each of the others, each one changed after one side had said it: what is on the wire is not what was confirmed. */
START_TEST(initial_source_ids_are_compared_by_clients)
{
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    accepted()->local_cids.list[0].cid.id[3] ^= 1;
    carry();
    expect_closed(conn, QUIC_TRANSPORT_PARAMETER_ERROR);
}
END_TEST

START_TEST(initial_source_ids_are_compared_by_servers)
{
    dial();
    conn->local_cids.list[0].cid.id[3] ^= 1;
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    expect_closed(accepted(), QUIC_TRANSPORT_PARAMETER_ERROR);
}
END_TEST

/* An Initial with true keys, but from another source ID than the first; then the same with that. */
static void hear_initials(struct engine *to, struct quic_conn *hearer, struct quic_conn *from, struct quic_addr at) {
    uint8_t packet[1500], *id = &from->local_cids.list[0].cid.id[3];
    uint64_t received = hearer->stats.packets_received;
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    *id ^= 1;
    engine_input(to, packet, make_packet(from, CRYPTO_INITIAL, &from->keys[CRYPTO_INITIAL], 0, "", packet), at);
    ck_assert_uint_eq(hearer->stats.packets_received, received);
    *id ^= 1;
    engine_input(to, packet, make_packet(from, CRYPTO_INITIAL, &from->keys[CRYPTO_INITIAL], 0, "", packet), at);
    ck_assert_uint_eq(hearer->stats.packets_received, received + 1);
}

START_TEST(another_source_id_is_not_heard)
{
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    if (_i) {
        hear_initials(&server, accepted(), conn, client_at);
        return;
    }
    ck_assert(engine_output(&server));
    engine_input(&client, server.train.data, server.train.len, server.socket.local);
    ck_assert(conn->first_flight_received);
    hear_initials(&client, conn, accepted(), server.socket.local);
}
END_TEST

START_TEST(retry_source_ids_are_compared)
{
    server.config.options.address_validation = 1;
    dial();
    while (!conn->retried) {
        while (engine_output(&client))
            engine_input(&server, client.train.data, client.train.len, client_at);
        while (engine_output(&server))
            engine_input(&client, server.train.data, server.train.len, server.socket.local);
    }
    if (_i)
        conn->retry_scid.id[3] ^= 1; /* another one */
    else
        conn->retried = false; /* one that was not asked for */
    carry();
    expect_closed(conn, QUIC_TRANSPORT_PARAMETER_ERROR);
}
END_TEST

START_TEST(missing_connection_ids_are_an_error)
{
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    conn->retried = true; /* the server knows of no Retry, and says no retry_source_connection_id */
    carry();
    expect_closed(conn, QUIC_TRANSPORT_PARAMETER_ERROR);
}
END_TEST

START_TEST(repeated_parameters_are_an_error)
{
    static const uint8_t once[] = {0x01, 0x01, 0x05}, twice[] = {0x01, 0x01, 0x05, 0x01, 0x01, 0x05};
    struct quic_params params;
    const char *text;
    ck_assert_int_eq(quic_params_parse(once, sizeof once, CRYPTO_SERVER, &params, &text), QUIC_NO_ERROR);
    ck_assert_int_eq(quic_params_parse(twice, sizeof twice, CRYPTO_SERVER, &params, &text),
                     QUIC_TRANSPORT_PARAMETER_ERROR);
}
END_TEST

START_TEST(a_preferred_address_has_an_id)
{
    uint8_t bytes[2 + 41] = {0x0d, 41};
    struct quic_params params;
    const char *text;
    ck_assert_int_eq(quic_params_parse(bytes, sizeof bytes, CRYPTO_SERVER, &params, &text),
                     QUIC_TRANSPORT_PARAMETER_ERROR);
}
END_TEST

START_TEST(crypto_out_of_order_is_kept)
{
    open_pair();
    struct quic_crypto_stream *stream = conn->crypto[QUIC_APPLICATION];
    uint8_t packet[1500];
    begin();
    quic_frame_write_crypto(&f, (stream ? stream->recv.taken : 0) + 4095, (const uint8_t *)"x", 1);
    engine_input(&client, packet, make_1rtt_of(accepted(), packet), server.socket.local);
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

/* ---- tokens ---- */

START_TEST(retry_token_is_for_one_attempt)
{
    server.config.options.address_validation = 1;
    open_pair();
    ck_assert(conn->retried && conn->new_token);
    ck_assert(conn->new_token_len != conn->token_len + 4 ||
              memcmp(conn->new_token + 4, conn->token, conn->token_len) != 0);
}
END_TEST

static struct quic_socket other;

static void carry_both(void) {
    for (bool moved = true; moved;) {
        moved = false;
        for (; engine_output(&client); moved = true)
            engine_input(&server, client.train.data, client.train.len,
                         quic_addr_equal(&client.train.local, &other.local) ? other.local : client_at);
        for (; engine_output(&server); moved = true) {
            struct base_buf *buf = base_buf_get(&client.bufs);
            bool there = quic_addr_equal(&server.train.remote, &other.local);
            memcpy(buf->data, server.train.data, server.train.len);
            struct quic_datagram d = {buf,
                                      buf->data,
                                      server.train.len,
                                      there ? &other : &client.socket,
                                      there ? other.local : client.socket.local,
                                      server.socket.local,
                                      0};
            quic_endpoint_input(&client.endpoint, &d, 1, client.now);
            base_buf_unref(buf);
        }
        quic_endpoint_settle(&client.endpoint);
        quic_endpoint_settle(&server.endpoint);
    }
}

START_TEST(a_new_address_gets_a_token)
{
    open_pair();
    uint8_t before[CRYPTO_TOKEN_MAX];
    size_t len = conn->new_token_len;
    memcpy(before, conn->new_token, len);
    other = client.socket;
    other.local = engine_addr(20, 7000);
    ck_assert_int_eq(quic_conn_migrate(conn, &other, &other.local, client.now), 0);
    carry_both();
    ck_assert(quic_addr_equal(&quic_path_active(accepted())->remote, &other.local));
    ck_assert(conn->new_token_len != len || memcmp(conn->new_token, before, len) != 0);
}
END_TEST

/* ---- the end ---- */

START_TEST(the_idle_time_out_is_three_pto_at_least)
{
    client.config.options.max_idle_timeout = server.config.options.max_idle_timeout = BASE_MS;
    open_pair();
    ck_assert_uint_ge(conn->deadlines[QUIC_TIMER_IDLE] - client.now,
                      3 * quic_recovery_pto(&conn->recovery, QUIC_APPLICATION));
}
END_TEST

static unsigned levels_of_output(struct engine *engine) {
    unsigned levels = 0;
    ck_assert(engine_output(engine));
    struct quic_header header;
    for (const uint8_t *at = engine->train.data, *end = at + engine->train.len; at < end; at += header.packet_len) {
        ck_assert(quic_header_parse(at, (size_t)(end - at), QUIC_LOCAL_CID_LEN, &header));
        levels |= header.is_long ? 1u << header.type : 1u << 7;
    }
    return levels;
}

START_TEST(a_close_goes_at_every_level_the_peer_may_read)
{
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    quic_conn_close(accepted(), true, 7, "secret", 6, server.now);
    unsigned levels = levels_of_output(&server);
    ck_assert(levels & 1u << QUIC_PACKET_INITIAL);
    ck_assert(levels & 1u << QUIC_PACKET_HANDSHAKE);
    engine_input(&client, server.train.data, server.train.len, server.socket.local);
    ck_assert(conn->close.cause == QUIC_CAUSE_PEER && !conn->close.app);
    ck_assert(conn->close.code == QUIC_APPLICATION_ERROR && conn->close.reason_len == 0);
}
END_TEST

START_TEST(a_late_close_is_1rtt_alone)
{
    open_pair();
    quic_conn_close(conn, true, 7, "", 0, client.now);
    ck_assert_uint_eq(levels_of_output(&client), 1u << 7);
}
END_TEST

/* ---- packets ---- */

START_TEST(a_datagram_is_of_one_connection)
{
    dial();
    ck_assert(engine_output(&client));
    uint8_t twice[2400];
    size_t len = client.train.len;
    ck_assert_uint_eq(len, 1200);
    memcpy(twice, client.train.data, len);
    memcpy(twice + len, client.train.data, len);
    twice[len + 6] ^= 1; /* another Destination Connection ID */
    engine_input(&server, twice, 2 * len, client_at);
    ck_assert_uint_eq(accepted()->stats.packets_received, 1);
    ck_assert_uint_eq(accepted()->stats.packets_dropped, 1);
}
END_TEST

START_TEST(a_bad_packet_does_not_spoil_the_rest)
{
    dial();
    ck_assert(engine_output(&client));
    uint8_t twice[2400];
    size_t len = client.train.len;
    memcpy(twice, client.train.data, len);
    memcpy(twice + len, client.train.data, len);
    twice[len - 1] ^= 1;
    engine_input(&server, twice, 2 * len, client_at);
    ck_assert_uint_eq(accepted()->stats.packets_dropped, 1);
    ck_assert_uint_eq(accepted()->stats.packets_received, 1);
}
END_TEST

START_TEST(a_packet_without_frames_is_an_error)
{
    open_pair();
    begin();
    send_1rtt(client_at);
    expect_closed(accepted(), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

START_TEST(unknown_frames_are_an_error)
{
    open_pair();
    begin();
    base_write_varint(&f, 0x21);
    send_1rtt(client_at);
    expect_closed(accepted(), QUIC_FRAME_ENCODING_ERROR);
}
END_TEST

START_TEST(packets_without_the_fixed_bit_are_dropped)
{
    open_pair();
    struct quic_conn *peer = accepted();
    uint64_t before = peer->stats.packets_received;
    uint8_t packet[1500];
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    size_t len = make_1rtt(packet);
    packet[0] &= 0xbf;
    engine_input(&server, packet, len, client_at);
    ck_assert_uint_eq(peer->stats.packets_received, before);
    ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

START_TEST(reserved_bits_of_long_headers_are_an_error)
{
    uint8_t packet[1500];
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    size_t len = make_packet(conn, CRYPTO_INITIAL, &conn->keys[CRYPTO_INITIAL], _i ? 0x08 : 0x04, "", packet);
    engine_input(&server, packet, len, client_at);
    expect_closed(accepted(), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

START_TEST(reserved_bits_are_an_error)
{
    open_pair();
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    send_bits(_i ? 0x10 : 0x08);
    expect_closed(accepted(), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

START_TEST(frames_of_servers_are_errors_from_clients)
{
    open_pair();
    begin();
    if (_i)
        quic_frame_write_type(&f, QUIC_FRAME_HANDSHAKE_DONE);
    else
        quic_frame_write_new_token(&f, (const uint8_t *)"x", 1);
    send_1rtt(client_at);
    expect_closed(accepted(), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

START_TEST(a_token_from_a_server_is_an_error)
{
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    uint8_t packet[1500];
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    size_t len = make_packet(accepted(), CRYPTO_INITIAL, &accepted()->keys[CRYPTO_INITIAL], 0, "token", packet);
    engine_input(&client, packet, len, server.socket.local);
    expect_closed(conn, QUIC_PROTOCOL_VIOLATION);
}
END_TEST

START_TEST(handshake_packets_hold_few_frames)
{
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    while (engine_output(&server))
        engine_input(&client, server.train.data, server.train.len, server.socket.local);
    uint8_t packet[1500];
    begin();
    quic_frame_write_number(&f, QUIC_FRAME_MAX_DATA, 1);
    size_t len = make_packet(conn, CRYPTO_HANDSHAKE, &conn->keys[CRYPTO_HANDSHAKE], 0, "", packet);
    engine_input(&server, packet, len, client_at);
    expect_closed(accepted(), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

START_TEST(a_late_retry_is_dropped)
{
    open_pair();
    static const struct quic_cid scid = {.len = 8, .id = {4, 4, 4}};
    uint8_t packet[200];
    size_t len = quic_header_write_retry(packet, sizeof packet, QUIC_VERSION_1, &conn->local_cids.list[0].cid, &scid,
                                         &conn->original_dcid, (const uint8_t *)"token", 5, 0);
    engine_input(&client, packet, len, server.socket.local);
    ck_assert(!conn->retried && !conn->token);
}
END_TEST

/* ---- keys and levels ---- */

START_TEST(a_client_drops_0rtt)
{
    open_pair();
    uint8_t packet[1500];
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    size_t len = make_packet(accepted(), CRYPTO_EARLY, &accepted()->keys[CRYPTO_APPLICATION], 0, "", packet);
    uint64_t before = conn->stats.packets_dropped, received = conn->stats.packets_received;
    engine_input(&client, packet, len, server.socket.local);
    ck_assert_uint_eq(conn->stats.packets_dropped, before + 1);
    ck_assert_uint_eq(conn->stats.packets_received, received);
}
END_TEST

START_TEST(crypto_in_0rtt_is_an_error)
{
    open_pair();
    struct quic_rx rx = {
        .conn = accepted(), .level = CRYPTO_EARLY, .space = QUIC_APPLICATION, .now = server.now, .number = 5000};
    begin();
    quic_frame_write_crypto(&f, 0, (const uint8_t *)"x", 1);
    ck_assert_int_eq(quic_rx_frames(&rx, frames, (size_t)(f.pos - frames)), QUIC_PROTOCOL_VIOLATION);
    expect_closed(accepted(), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

/* RFC 9001 5.7: a server has the keys of 1-RTT with its own Finished, and with a packet that came right it could say
 * who the client is not. Nothing in it may be looked at before the client's Finished; then it counts as if it came
 * now. */
START_TEST(no_1rtt_is_opened_before_the_handshake_is_complete)
{
    uint8_t finished[4][1500], packet[1500];
    size_t lens[4], held = 0;
    dial();
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    while (engine_output(&server))
        engine_input(&client, server.train.data, server.train.len, server.socket.local);
    for (; engine_output(&client); held++) {
        ck_assert_uint_lt(held, 4);
        memcpy(finished[held], client.train.data, lens[held] = client.train.len);
    }
    struct quic_conn *peer = accepted();
    ck_assert(conn->handshake_complete && !peer->handshake_complete);
    uint64_t received = peer->stats.packets_received;
    begin();
    quic_frame_write_stream_header(&f, 0, 0, 2, 0, true);
    base_write_bytes(&f, (const uint8_t *)"hi", 2);
    size_t len = make_1rtt(packet);
    engine_input(&server, packet, len, client_at);
    ck_assert_uint_eq(peer->early_count, 1);
    ck_assert_uint_eq(peer->stats.packets_received, received);
    ck_assert_uint_eq(peer->stats.streams_opened_remote, 0);
    ck_assert_uint_eq(quic_ack_largest(&peer->acks[QUIC_APPLICATION]), QUIC_NO_NUMBER);
    begin(); /* nor is an offence noticed */
    quic_frame_write_type(&f, QUIC_FRAME_HANDSHAKE_DONE);
    uint8_t offence[1500];
    size_t offence_len = make_1rtt(offence);
    offence[offence_len - 1] ^= 1; /* not authentic, so that it ends nothing later */
    engine_input(&server, offence, offence_len, client_at);
    ck_assert_uint_eq(peer->early_count, 2);
    ck_assert_uint_eq(peer->phase.open_failures, 0);
    for (size_t i = 0; i < held; i++)
        engine_input(&server, finished[i], lens[i], client_at);
    ck_assert(peer->handshake_complete);
    ck_assert_uint_eq(peer->stats.streams_opened_remote, 1);
    ck_assert_uint_eq(quic_ack_largest(&peer->acks[QUIC_APPLICATION]), number - 2);
    ck_assert_uint_eq(peer->phase.open_failures, 1);
}
END_TEST

START_TEST(old_keys_do_not_open_newer_numbers)
{
    open_pair();
    uint8_t packet[1500];
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    size_t len = make_1rtt(packet); /* number 1000 */
    ck_assert_int_eq(quic_conn_update_keys(conn), 0);
    quic_conn_ping(conn);
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert_uint_eq(accepted()->phase.generation, 1);
    uint64_t before = accepted()->stats.packets_received;
    engine_input(&server, packet, len, client_at); /* its phase bit means the next generation by now */
    ck_assert_uint_eq(accepted()->stats.packets_received, before);
    ck_assert_int_eq(accepted()->state, QUIC_CONN_ESTABLISHED);
}
END_TEST

START_TEST(too_many_forgeries_end_the_connection)
{
    open_pair();
    struct quic_conn *peer = accepted();
    uint8_t packet[1500];
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    for (int i = 0; i < 2; i++) {
        size_t len = make_1rtt(packet);
        packet[len - 1] ^= 1;
        engine_input(&server, packet, len, client_at);
        if (!i) { /* counted, and nothing else */
            ck_assert_uint_eq(peer->phase.open_failures, 1);
            ck_assert_int_eq(peer->state, QUIC_CONN_ESTABLISHED);
            peer->phase.open_failures = crypto_integrity_limit(peer->phase.rx_secret.aead);
        }
    }
    expect_closed(peer, QUIC_AEAD_LIMIT_REACHED);
}
END_TEST

START_TEST(too_large_datagrams_are_an_error)
{
    server.config.options.max_datagram_frame_size = 10;
    open_pair();
    begin();
    quic_frame_write_datagram_header(&f, 20, true);
    base_write_space(&f, 20);
    send_1rtt(client_at);
    expect_closed(accepted(), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

/* RFC 9001 6.5: both sides, who asked for the update and who followed. */
START_TEST(old_keys_go_after_three_pto)
{
    open_pair();
    struct quic_conn *sides[] = {conn, accepted()};
    base_time begun = client.now;
    ck_assert_int_eq(quic_conn_update_keys(conn), 0);
    quic_conn_ping(conn);
    quic_conn_ping(accepted());
    carry();
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_uint_eq(sides[i]->phase.generation, 1);
        ck_assert_uint_eq(sides[i]->deadlines[QUIC_TIMER_KEYS], begun + quic_conn_three_pto(sides[i]));
    }
    base_time end = base_time_min(conn->deadlines[QUIC_TIMER_KEYS], accepted()->deadlines[QUIC_TIMER_KEYS]);
    quic_endpoint_tick(&client.endpoint, end - 1);
    quic_endpoint_tick(&server.endpoint, end - 1);
    ck_assert(conn->phase.rx_previous && accepted()->phase.rx_previous);
    ck_assert_int_eq(quic_conn_update_keys(conn), ERR_STATE);
    end = base_time_max(conn->deadlines[QUIC_TIMER_KEYS], accepted()->deadlines[QUIC_TIMER_KEYS]);
    quic_endpoint_tick(&client.endpoint, end);
    quic_endpoint_tick(&server.endpoint, end);
    ck_assert(!conn->phase.rx_previous && !accepted()->phase.rx_previous);
    ck_assert_int_eq(quic_conn_update_keys(conn), 0);
}
END_TEST

/* RFC 9001 6.2: two updates, the second before the first can have been answered. */
START_TEST(updates_that_do_not_wait_are_an_error)
{
    uint8_t packet[1500];
    open_pair();
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    for (unsigned i = 0; i < 2; i++) {
        quic_keyphase_on_timeout(conn); /* as if it had waited */
        conn->phase.tx_acked = true;
        ck_assert_int_eq(quic_conn_update_keys(conn), 0);
        size_t len = make_packet(conn, CRYPTO_APPLICATION, &conn->keys[CRYPTO_APPLICATION], i ? 0 : 0x04, "", packet);
        engine_input(&server, packet, len, client_at);
        ck_assert_uint_eq(accepted()->phase.generation, 1);
    }
    expect_closed(accepted(), QUIC_KEY_UPDATE_ERROR);
}
END_TEST

/* RFC 9001 6.6: when no update is possible - the last one was not answered - the connection ends before the limit. */
START_TEST(a_worn_key_is_used_no_more)
{
    open_pair();
    uint64_t limit = crypto_confidentiality_limit(conn->phase.tx_secret.aead);
    ck_assert_int_eq(quic_conn_update_keys(conn), 0);
    conn->phase.tx_sealed = limit - QUIC_TRAIN_SEGMENTS - 2;
    for (unsigned i = 0; i < 5 && conn->state < QUIC_CONN_CLOSING; i++) {
        quic_conn_ping(conn);
        ck_assert(engine_output(&client)); /* and lost */
    }
    ck_assert_uint_lt(conn->phase.tx_sealed, limit);
    expect_closed(conn, QUIC_AEAD_LIMIT_REACHED);
}
END_TEST

/* A Version Negotiation packet as the server would answer what the client has sent last. */
static void negotiate(const uint32_t *versions, size_t count, size_t extra) {
    const struct quic_cid *mine = &conn->local_cids.list[0].cid;
    const struct quic_cid *theirs = &quic_remote_cids_of_path(&conn->remote_cids, 0)->cid;
    uint8_t packet[64] = {0};
    struct base_writer w = base_writer_of(packet, sizeof packet);
    base_write_u8(&w, 0x80);
    base_write_u32(&w, 0);
    base_write_u8(&w, mine->len);
    base_write_bytes(&w, mine->id, mine->len);
    base_write_u8(&w, theirs->len);
    base_write_bytes(&w, theirs->id, theirs->len);
    for (size_t i = 0; i < count; i++)
        base_write_u32(&w, versions[i]);
    base_write_space(&w, extra);
    ck_assert(!w.bad);
    engine_input(&client, packet, (size_t)(w.pos - packet), server.socket.local);
}

START_TEST(odd_version_negotiation_is_ignored)
{
    dial();
    ck_assert(engine_output(&client));
    for (size_t extra = 0; extra < 4; extra += 3) { /* no version, and the beginning of one */
        negotiate(NULL, 0, extra);
        ck_assert_int_eq(conn->state, QUIC_CONN_HANDSHAKE);
        ck_assert(!conn->version_restarted);
    }
}
END_TEST

START_TEST(version_negotiation_counts_once)
{
    static const uint32_t one = QUIC_VERSION_1, two = QUIC_VERSION_2, none = 0x1a2a3a4a;
    dial();
    ck_assert(engine_output(&client));
    negotiate(&two, 1, 0);
    ck_assert(conn->version_restarted && conn->version == QUIC_VERSION_2);
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    negotiate(&one, 1, 0);
    ck_assert_uint_eq(conn->version, QUIC_VERSION_2);
    negotiate(&none, 1, 0);
    ck_assert_int_eq(conn->state, QUIC_CONN_HANDSHAKE);
    carry();
    ck_assert_int_eq(conn->state, QUIC_CONN_CLOSING); /* this server would have spoken version 1 */
    ck_assert_uint_eq(conn->close.code, QUIC_VERSION_NEGOTIATION_ERROR);
}
END_TEST

/* RFC 9000 17.4: so that those who do not wish to spin are not alone. */
START_TEST(one_connection_in_sixteen_does_not_spin)
{
    unsigned still = 0;
    client.config.options.spin_bit = 1;
    for (unsigned i = 0; i < 480; i++) {
        struct quic_conn *one =
            quic_conn_new(&client.endpoint, &client.config, CRYPTO_CLIENT, QUIC_VERSION_1, client.now);
        still += !one->spin_enabled;
        quic_conn_free(one);
    }
    ck_assert_uint_ge(still, 15); /* 30, give or take */
    ck_assert_uint_le(still, 50);
}
END_TEST

/* RFC 9000 7.4.1: of the parameters that belong to one connection none comes back with a session. */
START_TEST(a_session_remembers_limits_only)
{
    server.config.options.ack_delay_exponent = 9;
    server.config.options.max_ack_delay = 77 * BASE_MS;
    server.config.options.initial_max_streams_uni = 17;
    static const uint8_t secret[32] = {1};
    struct crypto_error error;
    ck_assert(crypto_tls_config_tickets(server_tls, secret, 3600, &error));
    open_pair();
    ck_assert(conn->peer_params.has_reset_token && conn->peer_params.ack_delay_exponent == 9);
    struct base_reader in = base_reader_of(conn->session, conn->session_len);
    base_read_u32(&in); /* the version */
    size_t len = base_read_u16(&in);
    struct quic_params params, fresh;
    const char *text;
    quic_params_init(&fresh);
    ck_assert_int_eq(quic_params_parse(base_read_bytes(&in, len), len, CRYPTO_SERVER, &params, &text), QUIC_NO_ERROR);
    ck_assert(!in.bad);
    ck_assert_uint_eq(params.initial_max_streams_uni, 17);
    ck_assert_uint_eq(params.ack_delay_exponent, fresh.ack_delay_exponent);
    ck_assert_uint_eq(params.max_ack_delay, fresh.max_ack_delay);
    ck_assert(!params.has_original_dcid && !params.has_initial_scid && !params.has_retry_scid);
    ck_assert(!params.has_reset_token && !params.has_preferred_address);
}
END_TEST

/* RFC 9000 section 9: a true packet of the server's, but from an address the server never had. */
START_TEST(a_client_drops_what_comes_from_elsewhere)
{
    dial();
    carry();
    uint8_t packet[1500];
    struct quic_addr stranger = engine_addr(66, 6), before = quic_path_active(conn)->remote;
    uint64_t received = conn->stats.packets_received;
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    size_t len = make_1rtt_of(accepted(), packet);
    engine_input(&client, packet, len, stranger);
    ck_assert_uint_eq(conn->stats.packets_received, received);
    ck_assert_ptr_null(quic_path_find(conn, &client.socket.local, &stranger));
    ck_assert(quic_addr_equal(&quic_path_active(conn)->remote, &before));
    while (engine_output(&client))
        ck_assert(!quic_addr_equal(&client.train.remote, &stranger));
    engine_input(&client, packet, len, before); /* from where the server is, the same is heard */
    ck_assert_uint_eq(conn->stats.packets_received, received + 1);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/rfc");
    TCase *tcase = tcase_create("rfc");
    const TTest *const tests[] = {wrong_connection_ids_are_an_error,
                                  initial_source_ids_are_compared_by_clients,
                                  initial_source_ids_are_compared_by_servers,
                                  missing_connection_ids_are_an_error,
                                  repeated_parameters_are_an_error,
                                  a_preferred_address_has_an_id,
                                  crypto_out_of_order_is_kept,
                                  retry_token_is_for_one_attempt,
                                  a_new_address_gets_a_token,
                                  the_idle_time_out_is_three_pto_at_least,
                                  a_close_goes_at_every_level_the_peer_may_read,
                                  a_late_close_is_1rtt_alone,
                                  a_datagram_is_of_one_connection,
                                  a_bad_packet_does_not_spoil_the_rest,
                                  a_packet_without_frames_is_an_error,
                                  unknown_frames_are_an_error,
                                  packets_without_the_fixed_bit_are_dropped,
                                  a_token_from_a_server_is_an_error,
                                  handshake_packets_hold_few_frames,
                                  a_late_retry_is_dropped,
                                  a_client_drops_0rtt,
                                  crypto_in_0rtt_is_an_error,
                                  no_1rtt_is_opened_before_the_handshake_is_complete,
                                  old_keys_do_not_open_newer_numbers,
                                  too_many_forgeries_end_the_connection,
                                  too_large_datagrams_are_an_error,
                                  old_keys_go_after_three_pto,
                                  updates_that_do_not_wait_are_an_error,
                                  a_worn_key_is_used_no_more,
                                  odd_version_negotiation_is_ignored,
                                  version_negotiation_counts_once,
                                  one_connection_in_sixteen_does_not_spin,
                                  a_session_remembers_limits_only,
                                  a_client_drops_what_comes_from_elsewhere};
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 0);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    tcase_add_loop_test(tcase, reserved_bits_are_an_error, 0, 2);
    tcase_add_loop_test(tcase, reserved_bits_of_long_headers_are_an_error, 0, 2);
    tcase_add_loop_test(tcase, another_source_id_is_not_heard, 0, 2);
    tcase_add_loop_test(tcase, retry_source_ids_are_compared, 0, 2);
    tcase_add_loop_test(tcase, frames_of_servers_are_errors_from_clients, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}
