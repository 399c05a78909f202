/* What implementations of QUIC have got wrong, each behaviour once: a list of mistakes that others made in earnest, so
 * that this one does not make them later. Every test fails with the mistake in it. (What lies outside this room -
 * addresses, ports, trust by default - is in tests/unit/abi/test_regress.c.) */
#include "hostile.h"

static void open_pair(void) {
    dial();
    carry();
    ck_assert(conn->handshake_confirmed && accepted()->handshake_confirmed);
}

static void pass(base_time span) {
    client.now += span;
    server.now += span;
    quic_endpoint_tick(&client.endpoint, client.now);
    quic_endpoint_tick(&server.endpoint, server.now);
}

/* What the client says is lost. */
static unsigned lose_client(void) {
    unsigned count = 0;
    for (; engine_output(&client); count++)
        continue;
    quic_endpoint_settle(&client.endpoint);
    return count;
}

static unsigned lose_server(void) {
    unsigned count = 0;
    for (; engine_output(&server); count++)
        continue;
    quic_endpoint_settle(&server.endpoint);
    return count;
}

static void stream_frame(uint64_t id, uint64_t offset, const char *text, bool fin) {
    quic_frame_write_stream_header(&f, id, offset, strlen(text), 2, fin);
    base_write_bytes(&f, (const uint8_t *)text, strlen(text));
}

/* The frames at hand reach the server, and have this effect. */
static void expect_closed(uint64_t code) {
    send_1rtt(client_at);
    quic_endpoint_settle(&server.endpoint);
    ck_assert_int_eq(accepted()->state, QUIC_CONN_CLOSING);
    ck_assert_uint_eq(accepted()->close.code, code);
}

static struct quic_stream *server_stream(uint64_t id) {
    struct quic_stream *s = quic_streams_find(&accepted()->streams, id);
    ck_assert_ptr_nonnull(s);
    return s;
}

static size_t readable(struct quic_stream *s) {
    struct quic_slice slices[128];
    size_t count = quic_stream_peek(s, slices, 128), len = 0;
    for (size_t i = 0; i < count; i++)
        len += slices[i].len;
    return len;
}

static void expect_bytes(struct quic_stream *s, const char *text) {
    char got[64] = {0};
    struct quic_slice slice;
    size_t len = 0;
    while (quic_stream_peek(s, &slice, 1)) {
        ck_assert_uint_lt(len + slice.len, sizeof got);
        memcpy(got + len, slice.data, slice.len);
        len += slice.len;
        ck_assert_int_eq(quic_stream_consume(s, slice.len, BASE_MS, server.now), 0);
    }
    ck_assert_str_eq(got, text);
}

/* ---- 1: a busy connection is not idle ---- */

START_TEST(traffic_restarts_the_idle_timer)
{
    client.config.options.max_idle_timeout = server.config.options.max_idle_timeout = 30 * BASE_SEC;
    open_pair();
    for (int i = 0; i < 10; i++) {
        pass(20 * BASE_SEC);
        ck_assert_int_eq(quic_conn_ping(conn), 0);
        carry();
    }
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
    ck_assert_int_eq(accepted()->state, QUIC_CONN_ESTABLISHED);
    pass(31 * BASE_SEC);
    ck_assert_uint_eq(conn->close.cause, QUIC_CAUSE_IDLE);
}
END_TEST

/* ---- 2: nobody moves a connection by a forged source address ---- */

START_TEST(an_unauthenticated_datagram_moves_nothing)
{
    open_pair();
    struct quic_conn *peer = accepted();
    struct quic_addr stranger = engine_addr(66, 6), before = quic_path_active(peer)->remote;
    uint8_t packet[1500];
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    size_t len = make_1rtt(packet);
    packet[len - 1] ^= 1;
    engine_input(&server, packet, len, stranger);
    ck_assert(quic_addr_equal(&quic_path_active(peer)->remote, &before));
    ck_assert_ptr_null(quic_path_find(peer, &server.socket.local, &stranger));
    /* a true packet from there is challenged, within three times what came from there */
    packet[len - 1] ^= 1;
    engine_input(&server, packet, len, stranger);
    uint64_t sent = 0;
    bool challenged = false;
    while (engine_output(&server))
        if (quic_addr_equal(&server.train.remote, &stranger)) {
            sent += server.train.len;
            challenged = true;
        }
    ck_assert(challenged);
    ck_assert_uint_le(sent, 3 * len);
}
END_TEST

/* ---- 3: control frames that are lost are said again ---- */

START_TEST(lost_control_frames_are_said_again)
{
    dial();
    while (!conn->handshake_complete) { /* then the server's first 1-RTT packets are lost, with all they hold */
        while (engine_output(&client))
            engine_input(&server, client.train.data, client.train.len, client_at);
        while (!conn->handshake_complete && engine_output(&server))
            engine_input(&client, server.train.data, server.train.len, server.socket.local);
    }
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert_uint_gt(lose_server(), 0);
    ck_assert(!conn->handshake_confirmed && !conn->new_token);
    for (int i = 0; i < 4; i++) {
        pass(2 * BASE_SEC);
        carry();
    }
    ck_assert(conn->handshake_confirmed); /* HANDSHAKE_DONE, NEW_TOKEN, NEW_CONNECTION_ID */
    ck_assert(conn->new_token);
    unsigned ids = 0;
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        ids += conn->remote_cids.list[i].used;
    ck_assert_uint_gt(ids, 1);

    struct quic_stream *stream;
    ck_assert_int_eq(quic_streams_open(&conn->streams, false, &stream), 0);
    ck_assert_int_gt(quic_stream_write(stream, (const uint8_t *)"x", 1, false), 0);
    quic_conn_mark_dirty(conn);
    carry();
    ck_assert_int_eq(quic_stream_reset(stream, 5), 0);
    ck_assert_int_eq(quic_stream_stop(stream, 6), 0);
    struct quic_remote_cid *used = quic_remote_cids_of_path(&conn->remote_cids, 0);
    const struct quic_cid next = {.len = 8, .id = {9, 9, 9}};
    const uint8_t token[16] = {9};
    begin(); /* and the client owes a RETIRE_CONNECTION_ID for the ID it has used so far */
    quic_frame_write_new_cid(&f, 50, used->sequence + 1, &next, token);
    uint8_t packet[1500];
    engine_input(&client, packet, make_1rtt_of(accepted(), packet), server.socket.local);
    quic_conn_mark_dirty(conn);
    ck_assert_uint_gt(lose_client(), 0);
    struct quic_stream *there = server_stream(0);
    ck_assert_int_eq(there->recv.state, QUIC_RECV_RECV);
    quic_conn_ping(conn);
    bool owed = false;
    for (unsigned i = 0; i < QUIC_RETIRES; i++)
        owed |= conn->remote_cids.retire[i].want == QUIC_IN_FLIGHT;
    ck_assert(owed);
    pass(2 * BASE_SEC);
    bool wanted = conn->control_wanted || conn->streams.want_send;
    ck_assert(wanted); /* the probe says it all again */
}
END_TEST

/* ---- 4, 5: reassembly ---- */

START_TEST(an_empty_fin_may_overtake_the_data)
{
    open_pair();
    begin();
    stream_frame(0, 10, "", true);
    send_1rtt(client_at);
    begin();
    stream_frame(0, 0, "0123456789", false);
    send_1rtt(client_at);
    ck_assert_int_eq(accepted()->state, QUIC_CONN_ESTABLISHED);
    struct quic_stream *s = server_stream(0);
    expect_bytes(s, "0123456789");
    ck_assert(quic_stream_recv_at_end(&s->recv));
}
END_TEST

START_TEST(a_shorter_copy_replaces_nothing)
{
    open_pair();
    static const struct {
        uint64_t offset;
        const char *text;
    } pieces[] = {{5, "fghijklmno"}, {5, "fgh"}, {9, "j"}, {0, "abcde"}};
    for (unsigned i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        begin();
        stream_frame(0, pieces[i].offset, pieces[i].text, false);
        send_1rtt(client_at);
    }
    expect_bytes(server_stream(0), "abcdefghijklmno");
}
END_TEST

START_TEST(crumbs_between_gaps_do_not_pile_up)
{
    server.config.options.glitch_burst = 0;
    open_pair();
    size_t before = server.mem.used + server.buf_mem.used;
    for (unsigned i = 0; i < 20000 && accepted()->state < QUIC_CONN_CLOSING; i++) {
        begin();
        stream_frame(0, 2 * i + 1, "x", false);
        send_1rtt(client_at);
        ck_assert_uint_lt(server.mem.used + server.buf_mem.used, before + ((size_t)8 << 20));
    }
}
END_TEST

/* ---- 6: losses are found by time, and probes carry data ---- */

START_TEST(a_loss_is_found_without_another_ack)
{
    open_pair();
    struct quic_stream *stream;
    static const uint8_t bytes[2000];
    pass(BASE_SEC);
    carry();
    ck_assert_int_eq(quic_streams_open(&conn->streams, false, &stream), 0);
    ck_assert_int_eq(quic_stream_write(stream, bytes, sizeof bytes, true), sizeof bytes);
    quic_conn_mark_dirty(conn);
    ck_assert(engine_output(&client)); /* lost */
    pass(BASE_MS);
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    pass(20 * BASE_MS);
    while (engine_output(&server))
        engine_input(&client, server.train.data, server.train.len, server.socket.local);
    quic_endpoint_settle(&client.endpoint);
    lose_client(); /* if it has something to say */
    const struct quic_path_control *path = &quic_path_active(conn)->control;
    base_time pto = quic_recovery_pto(&conn->recovery, QUIC_APPLICATION),
              lost_by = quic_endpoint_deadline(&client.endpoint);
    ck_assert_uint_eq(conn->stats.packets_lost, 0); /* it is still waited for: by a timer shorter than a time-out */
    ck_assert_uint_le(lost_by, client.now + path->rtt.latest / 8);
    client.now = lost_by;
    quic_endpoint_tick(&client.endpoint, client.now);
    ck_assert_uint_gt(pto, 0);
    ck_assert_uint_gt(conn->stats.packets_lost, 0);
    ck_assert_uint_eq(conn->stats.ptos, 0);
    carry();
    ck_assert(server_stream(0)->recv.final_size == sizeof bytes);
    ck_assert_uint_eq(readable(server_stream(0)), sizeof bytes);
}
END_TEST

START_TEST(probes_carry_data_in_two_packets)
{
    open_pair();
    pass(BASE_SEC);
    carry();
    struct quic_stream *stream;
    static const uint8_t bytes[5000];
    ck_assert_int_eq(quic_streams_open(&conn->streams, false, &stream), 0);
    ck_assert_int_eq(quic_stream_write(stream, bytes, sizeof bytes, true), sizeof bytes);
    quic_conn_mark_dirty(conn);
    lose_client();
    uint64_t before = accepted()->stats.stream_bytes_received;
    pass(BASE_SEC);
    unsigned count = 0;
    for (; engine_output(&client); count++)
        engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert(count == 2 || count == 3); /* the window may let another one go */
    ck_assert_uint_gt(accepted()->stats.stream_bytes_received, before + 2000);
}
END_TEST

/* ---- 7: what is promised can be reached ---- */

START_TEST(larger_datagrams_and_other_paths_are_reached)
{
    dial();
    size_t largest = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (; engine_output(&client); moved = true) {
            largest = client.train.len > largest ? client.train.len : largest;
            engine_input(&server, client.train.data, client.train.len, client_at);
        }
        for (; engine_output(&server); moved = true)
            engine_input(&client, server.train.data, server.train.len, server.socket.local);
        quic_endpoint_settle(&client.endpoint);
        quic_endpoint_settle(&server.endpoint);
    }
    ck_assert_uint_gt(largest, 1280);
    ck_assert_uint_gt(quic_path_active(conn)->mtu, 1280);
    struct quic_socket other = client.socket;
    other.local = engine_addr(20, 7000);
    ck_assert_int_eq(quic_conn_migrate(conn, &other, &other.local, client.now), 0);
    bool seen = false;
    while (engine_output(&client))
        seen |= quic_addr_equal(&client.train.local, &other.local);
    ck_assert(seen);
}
END_TEST

/* ---- 8: who does not read is not sent more ---- */

START_TEST(credit_follows_what_is_read)
{
    server.config.options.initial_max_stream_data_bidi_remote = 20000;
    server.config.options.initial_max_data = 30000;
    open_pair();
    struct quic_stream *stream;
    static const uint8_t bytes[100000];
    size_t before = server.mem.used + server.buf_mem.used;
    uint64_t taken = 0;
    ck_assert_int_eq(quic_streams_open(&conn->streams, false, &stream), 0);
    for (unsigned i = 0; i < 200; i++) {
        int64_t wrote = quic_stream_write(stream, bytes, sizeof bytes, false);
        taken += wrote > 0 ? (uint64_t)wrote : 0;
        quic_conn_mark_dirty(conn);
        pass(100 * BASE_MS);
        carry();
    }
    ck_assert_uint_gt(conn->stats.datagrams_sent, 10); /* DATA_BLOCKED among them, which is no reason to give credit */
    ck_assert_uint_le(readable(server_stream(0)), 20000);
    ck_assert_uint_lt(server.mem.used + server.buf_mem.used, before + ((size_t)2 << 20));
    ck_assert_uint_lt(taken, 20000 + ((uint64_t)2 << 20)); /* nor does the sender take without end */
}
END_TEST

/* ---- 9: what a peer may not do ---- */

static void too_many_ids(void) {
    for (uint8_t i = 10; i < 40; i++) {
        const struct quic_cid cid = {.len = 8, .id = {i}};
        const uint8_t token[16] = {i};
        quic_frame_write_new_cid(&f, i, 0, &cid, token);
    }
}
static void same_sequence_other_id(void) {
    for (uint8_t i = 1; i < 3; i++) {
        const struct quic_cid cid = {.len = 8, .id = {i}};
        const uint8_t token[16] = {i};
        quic_frame_write_new_cid(&f, 4, 3, &cid, token);
    }
}
static void retire_what_was_not_issued(void) { quic_frame_write_number(&f, QUIC_FRAME_RETIRE_CONNECTION_ID, 1000); }
static void retire_what_is_in_use(void) {
    quic_frame_write_number(&f, QUIC_FRAME_RETIRE_CONNECTION_ID,
                            quic_remote_cids_of_path(&conn->remote_cids, 0)->sequence);
}
static void datagram_unasked(void) {
    quic_frame_write_datagram_header(&f, 1, true);
    base_write_u8(&f, 1);
}
static void more_streams_than_allowed(void) { stream_frame(4 * 1000000, 0, "x", false); }
static void more_bytes_than_allowed(void) { stream_frame(0, UINT64_C(1) << 40, "x", false); }
static void another_final_size(void) {
    stream_frame(0, 3, "", true);
    stream_frame(0, 4, "", true);
}
static void crypto_far_ahead(void) { quic_frame_write_crypto(&f, 1 << 16, (const uint8_t *)"x", 1); }

static const struct {
    void (*write)(void);
    uint64_t code;
} offences[] = {
    {too_many_ids, QUIC_CONNECTION_ID_LIMIT_ERROR},        {same_sequence_other_id, QUIC_PROTOCOL_VIOLATION},
    {retire_what_was_not_issued, QUIC_PROTOCOL_VIOLATION}, {retire_what_is_in_use, QUIC_PROTOCOL_VIOLATION},
    {datagram_unasked, QUIC_PROTOCOL_VIOLATION},           {more_streams_than_allowed, QUIC_STREAM_LIMIT_ERROR},
    {more_bytes_than_allowed, QUIC_FLOW_CONTROL_ERROR},    {another_final_size, QUIC_FINAL_SIZE_ERROR},
    {crypto_far_ahead, QUIC_CRYPTO_BUFFER_EXCEEDED},
};

START_TEST(offences_are_found)
{
    server.config.options.max_datagram_frame_size = 0;
    open_pair();
    begin();
    offences[_i].write();
    expect_closed(offences[_i].code);
}
END_TEST

START_TEST(answers_to_strangers_are_small)
{
    uint8_t bytes[1200] = {0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 8};
    struct quic_addr stranger = engine_addr(66, 6);
    engine_input(&server, bytes, 1199, stranger); /* too small for an answer */
    ck_assert(!engine_output(&server));
    engine_input(&server, bytes, 1200, stranger);
    ck_assert(engine_output(&server));
    ck_assert_uint_lt(server.train.len, 1200);
    memset(bytes, 0x41, 60);
    for (size_t len = 10; len <= 60; len++) { /* to a reset there is no larger or equal one: two cannot play with it */
        engine_input(&server, bytes, len, stranger);
        if (engine_output(&server))
            ck_assert_uint_lt(server.train.len, len);
    }
    dial();
    ck_assert(engine_output(&client));
    engine_input(&server, client.train.data, 1199, client_at); /* an Initial that was not expanded */
    ck_assert_uint_eq(server.endpoint.conn_count, 0);
}
END_TEST

START_TEST(keys_do_not_move_on_before_an_acknowledgement)
{
    open_pair();
    ck_assert_int_eq(quic_conn_update_keys(conn), 0);
    quic_conn_ping(conn);
    lose_client();
    ck_assert_int_eq(quic_conn_update_keys(conn), ERR_STATE);
}
END_TEST

/* ---- 10: what comes after the handshake in CRYPTO frames; what a close says ---- */

START_TEST(crypto_after_the_handshake_has_an_order)
{
    open_pair();
    struct quic_crypto_stream *stream = conn->crypto[QUIC_APPLICATION];
    uint64_t base = stream ? stream->recv.taken : 0;
    static const uint8_t ticket[] = {4, 0, 1, 0}; /* the beginning of a NewSessionTicket: TLS waits for the rest */
    uint8_t packet[1500];
    begin();
    quic_frame_write_crypto(&f, base + 1, ticket + 1, 3);
    engine_input(&client, packet, make_1rtt_of(accepted(), packet), server.socket.local);
    begin();
    quic_frame_write_crypto(&f, base, ticket, 1);
    engine_input(&client, packet, make_1rtt_of(accepted(), packet), server.socket.local);
    ck_assert_int_eq(conn->state, QUIC_CONN_ESTABLISHED);
    ck_assert_uint_eq(conn->crypto[QUIC_APPLICATION]->recv.taken, base + 4);
}
END_TEST

START_TEST(a_close_keeps_its_code_and_reason)
{
    open_pair();
    quic_conn_close(conn, true, 77, "enough", 6, client.now);
    carry();
    const struct quic_close *close = &accepted()->close;
    ck_assert(close->cause == QUIC_CAUSE_PEER && close->app && close->code == 77);
    ck_assert_mem_eq(close->reason, "enough", 6);
}
END_TEST

/* ---- 11: the end takes its time, and then nothing is left ---- */

START_TEST(closing_answers_draining_is_silent)
{
    open_pair();
    uint8_t packet[1500];
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    size_t len = make_1rtt_of(accepted(), packet);
    quic_conn_close(conn, true, 1, "", 0, client.now);
    ck_assert(engine_output(&client));
    engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert_int_eq(conn->state, QUIC_CONN_CLOSING);
    ck_assert_int_eq(accepted()->state, QUIC_CONN_DRAINING);
    engine_input(&client, packet, len, server.socket.local); /* it has not heard */
    ck_assert(engine_output(&client));
    engine_input(&server, client.train.data, client.train.len, client_at);
    ck_assert(!engine_output(&server));
    quic_conn_detach(conn, client.now);
    quic_conn_detach(accepted(), server.now);
    pass(10 * BASE_SEC);
    quic_endpoint_settle(&client.endpoint);
    quic_endpoint_settle(&server.endpoint);
    ck_assert_uint_eq(client.endpoint.conn_count + server.endpoint.conn_count, 0);
    ck_assert_uint_eq(server.endpoint.initial_cids.count, 0);
}
END_TEST

/* ---- 12: packets ---- */

START_TEST(levels_share_a_datagram)
{
    client.config.options.max_udp_payload_size = 1200;
    dial();
    unsigned shared = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (; engine_output(&client); moved = true)
            engine_input(&server, client.train.data, client.train.len, client_at);
        for (; engine_output(&server); moved = true) {
            struct quic_header header;
            ck_assert_uint_le(server.train.len, 1200);
            if (quic_header_parse(server.train.data, server.train.len, QUIC_LOCAL_CID_LEN, &header))
                shared += header.type == QUIC_PACKET_INITIAL && header.packet_len < server.train.len;
            engine_input(&client, server.train.data, server.train.len, server.socket.local);
        }
        quic_endpoint_settle(&client.endpoint);
        quic_endpoint_settle(&server.endpoint);
    }
    ck_assert_uint_gt(shared, 0);
    struct quic_conn *peer = accepted();
    pass(BASE_SEC);
    carry();
    uint64_t flight = quic_path_active(peer)->control.bytes_in_flight;
    ck_assert_uint_eq(flight, 0);
    quic_conn_ping(conn); /* acknowledged late, and it says how late */
    while (engine_output(&client))
        engine_input(&server, client.train.data, client.train.len, client_at);
    server.now += 25 * BASE_MS;
    quic_endpoint_tick(&server.endpoint, server.now);
    ck_assert(engine_output(&server));
    ck_assert_uint_lt(server.train.len, 60); /* alone, and small */
    ck_assert_uint_eq(quic_path_active(peer)->control.bytes_in_flight, 0);
}
END_TEST

/* ---- 13: a batch is as many datagrams one by one ---- */

START_TEST(a_batch_loses_nothing)
{
    open_pair();
    struct quic_datagram batch[3];
    static const char *const texts[3] = {"one ", "two ", "three"};
    uint64_t offset = 0, ce = accepted()->acks[QUIC_APPLICATION].ce;
    for (unsigned i = 0; i < 3; i++) {
        struct base_buf *buf = base_buf_get(&server.bufs);
        begin();
        stream_frame(0, offset, texts[i], false);
        offset += strlen(texts[i]);
        if (i == 2)
            quic_frame_write_close(&f, true, 9, 0, "end", 3);
        size_t len = make_1rtt(buf->data);
        batch[i] = (struct quic_datagram){
            buf, buf->data, len, &server.socket, server.socket.local, client_at, i ? QUIC_NOT_ECT : QUIC_CE};
    }
    struct quic_conn *peer = accepted();
    quic_endpoint_input(&server.endpoint, batch, 2, server.now);
    ck_assert_uint_eq(peer->acks[QUIC_APPLICATION].ce, ce + 1);
    expect_bytes(server_stream(0), "one two ");
    quic_endpoint_input(&server.endpoint, batch + 2, 1, server.now);
    ck_assert_int_eq(peer->state, QUIC_CONN_DRAINING);
    ck_assert_uint_eq(peer->close.code, 9);
    for (unsigned i = 0; i < 3; i++)
        base_buf_unref(batch[i].buf);
}
END_TEST

/* ---- 14: groups that the other side did not offer a share for ---- */

START_TEST(another_group_is_asked_for)
{
    struct crypto_error error;
    ck_assert(crypto_tls_config_groups(server_tls, "P-384", &error));
    open_pair();
    ck_assert_str_eq(conn->group_name, "P-384");
}
END_TEST

/* ---- 15: probes of a path have the size the path needs ---- */

START_TEST(challenges_and_responses_are_expanded)
{
    open_pair();
    struct quic_socket other = client.socket;
    other.local = engine_addr(20, 7000);
    ck_assert_int_eq(quic_conn_probe(conn, &other, &other.local, client.now), 0);
    bool asked = false, answered = false;
    while (engine_output(&client)) {
        if (quic_addr_equal(&client.train.local, &other.local)) {
            ck_assert_uint_ge(client.train.len, 1200);
            asked = true;
        }
        engine_input(&server, client.train.data, client.train.len,
                     quic_addr_equal(&client.train.local, &other.local) ? other.local : client_at);
    }
    while (engine_output(&server))
        if (quic_addr_equal(&server.train.remote, &other.local)) {
            ck_assert_uint_ge(server.train.len, 1200);
            answered = true;
        }
    ck_assert(asked && answered);
    carry();
    begin();
    quic_frame_write_path(&f, QUIC_FRAME_PATH_CHALLENGE, (const uint8_t *)"8 bytes!"); /* here the answer goes alone */
    send_1rtt(client_at);
    ck_assert(engine_output(&server));
    ck_assert_uint_ge(server.train.len, 1200);
    ck_assert(!accepted()->acks[QUIC_APPLICATION].any); /* but for an ACK: on the path in use it is no probe (9.3.3) */
}
END_TEST

/* ---- 16: once, and where it belongs ---- */

START_TEST(a_replayed_packet_does_nothing)
{
    server.config.options.max_datagram_frame_size = 1000;
    open_pair();
    uint8_t packet[1500], copy[1500];
    begin();
    datagram_unasked();
    size_t len = make_1rtt(packet);
    memcpy(copy, packet, len);
    struct quic_datagram_view view;
    engine_input(&server, packet, len, client_at);
    ck_assert(quic_conn_datagram_peek(accepted(), &view));
    quic_conn_datagram_take(accepted());
    engine_input(&server, copy, len, client_at);
    ck_assert(!quic_conn_datagram_peek(accepted(), &view));
    ck_assert_uint_eq(accepted()->stats.packets_duplicate, 1);
}
END_TEST

/* The frames at hand as a client's Initial of its own. */
static void send_initial(void) {
    static const struct quic_cid scid = {.len = 4, .id = {1, 2, 3, 4}}, dcid = {.len = 8, .id = {7, 7, 7}};
    uint8_t packet[1200] = {0}, *length_at;
    struct crypto_secret from_client, from_server;
    ck_assert(crypto_initial_secrets(CRYPTO_QUIC_V1, dcid.id, dcid.len, &from_client, &from_server));
    struct crypto_key *key = crypto_key_new(&client.mem, CRYPTO_QUIC_V1, &from_client);
    struct crypto_mask_key *mask = crypto_mask_key_new(&client.mem, CRYPTO_QUIC_V1, &from_client);
    struct base_writer w = base_writer_of(packet, sizeof packet);
    quic_header_write_long(&w, QUIC_VERSION_1, QUIC_PACKET_INITIAL, 4, &dcid, &scid, NULL, 0, &length_at);
    size_t pn_offset = (size_t)(w.pos - packet);
    base_write_u32(&w, 0);
    base_write_bytes(&w, frames, (size_t)(f.pos - frames));
    quic_header_patch_length(length_at, sizeof packet - pn_offset);
    struct crypto_seal_item item = {
        .packet = packet, .len = sizeof packet, .pn_offset = (uint16_t)pn_offset, .pn_len = 4};
    ck_assert(crypto_seal(key, mask, &item, 1));
    crypto_key_free(&client.mem, key);
    crypto_mask_key_free(&client.mem, mask);
    engine_input(&server, packet, sizeof packet, client_at);
    quic_endpoint_settle(&server.endpoint);
}

START_TEST(frames_stay_at_their_level)
{
    static const uint64_t numbers[] = {QUIC_FRAME_MAX_DATA, QUIC_FRAME_RETIRE_CONNECTION_ID};
    const uint8_t data[8] = {0};
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    if (_i < 2)
        quic_frame_write_number(&f, numbers[_i], 1);
    else if (_i == 2)
        quic_frame_write_path(&f, QUIC_FRAME_PATH_CHALLENGE, data);
    else if (_i == 3)
        stream_frame(0, 0, "x", false);
    else
        quic_frame_write_type(&f, QUIC_FRAME_HANDSHAKE_DONE);
    send_initial();
    struct base_node *first = base_list_first(&server.endpoint.conns);
    ck_assert_ptr_nonnull(first);
    ck_assert_uint_eq(BASE_CONTAINER(first, struct quic_conn, all)->close.code, QUIC_PROTOCOL_VIOLATION);
}
END_TEST

/* ---- 17: what a fleet shares survives a restart ---- */

START_TEST(a_secret_outlives_its_process)
{
    static const uint8_t secret[CRYPTO_FLEET_SECRET_SIZE] = "of the whole fleet";
    struct engine first, second;
    uint8_t a[CRYPTO_RESET_TOKEN_SIZE], b[CRYPTO_RESET_TOKEN_SIZE], token[CRYPTO_TOKEN_MAX];
    engine_open(&first, CRYPTO_SERVER, 1, secret);
    engine_open(&second, CRYPTO_SERVER, 2, secret);
    crypto_reset_token(first.endpoint.fleet, 0, (const uint8_t *)"12345678", 8, a);
    crypto_reset_token(second.endpoint.fleet, 0, (const uint8_t *)"12345678", 8, b);
    ck_assert_mem_eq(a, b, sizeof a);
    size_t len = 4 + quic_endpoint_new_token(&first.endpoint, QUIC_VERSION_1, &client_at, NULL, token + 4,
                                             sizeof token - 4, first.now);
    base_store_uint(token, QUIC_VERSION_1, 4);
    second.config = server.config;
    second.config.options.address_validation = 1;
    struct quic_connect connect = {.config = &client.config,
                                   .socket = &client.socket,
                                   .remote = second.socket.local,
                                   .server_name = "localhost",
                                   .token = token,
                                   .token_len = len};
    ck_assert_int_eq(quic_conn_connect(&client.endpoint, &connect, client.now, &conn, NULL), 0);
    while (engine_output(&client))
        engine_input(&second, client.train.data, client.train.len, client_at);
    ck_assert_uint_eq(second.endpoint.conn_count, 1);
    ck_assert_uint_eq(second.endpoint.stats.retries_sent, 0);
    engine_close(&first);
    second.config.refs = 1 + (second.config.refs - server.config.refs);
    quic_endpoint_clear(&second.endpoint);
    second.config.refs = 1;
    engine_close(&second);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/regress");
    TCase *tcase = tcase_create("regress");
    const TTest *const tests[] = {
        traffic_restarts_the_idle_timer,
        an_unauthenticated_datagram_moves_nothing,
        lost_control_frames_are_said_again,
        an_empty_fin_may_overtake_the_data,
        a_shorter_copy_replaces_nothing,
        crumbs_between_gaps_do_not_pile_up,
        a_loss_is_found_without_another_ack,
        probes_carry_data_in_two_packets,
        larger_datagrams_and_other_paths_are_reached,
        credit_follows_what_is_read,
        answers_to_strangers_are_small,
        keys_do_not_move_on_before_an_acknowledgement,
        crypto_after_the_handshake_has_an_order,
        a_close_keeps_its_code_and_reason,
        closing_answers_draining_is_silent,
        levels_share_a_datagram,
        a_batch_loses_nothing,
        another_group_is_asked_for,
        challenges_and_responses_are_expanded,
        a_replayed_packet_does_nothing,
        a_secret_outlives_its_process,
    };
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 0);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, tests[i]);
    tcase_add_loop_test(tcase, offences_are_found, 0, sizeof offences / sizeof *offences);
    tcase_add_loop_test(tcase, frames_stay_at_their_level, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}
