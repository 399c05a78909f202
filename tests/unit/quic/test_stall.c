/* The clocks of what applications get done: a peer that pings and takes nothing, one that leaves a hole, one that is
 * only slow, one without a purpose. */
#include "hostile.h"

#define SECONDS(n) ((n)*BASE_SEC)

static void tick(base_time step) {
    client.now += step;
    server.now += step;
    quic_endpoint_tick(&server.endpoint, server.now);
}

static void ping(void) {
    begin();
    quic_frame_write_type(&f, QUIC_FRAME_PING);
    send_1rtt(client_at);
    while (engine_output(&server))
        continue;
}

/* Pings every 5 s until the server has had enough; how many seconds that took. */
static unsigned seconds_until_closed(struct quic_conn *target, unsigned most) {
    for (unsigned i = 0; i < most; i += 5) {
        if (target->state >= QUIC_CONN_CLOSING)
            return i;
        tick(SECONDS(5));
        if (target->state < QUIC_CONN_CLOSING)
            ping();
    }
    return most;
}

static struct quic_conn *open_both(void) {
    server.config.options.initial_packet_number_skip = 0;
    dial();
    carry();
    return accepted();
}

static void expect_closed(struct quic_conn *target, const char *why) {
    ck_assert_uint_eq(target->close.cause, QUIC_CAUSE_IDLE);
    ck_assert_uint_eq(target->close.code, QUIC_NO_ERROR);
    ck_assert_uint_eq(target->close.reason_len, strlen(why));
    ck_assert_mem_eq(target->close.reason, why, strlen(why));
    ck_assert_uint_eq(server.endpoint.stats.connections_stalled, 1);
}

static struct quic_stream *write_some(struct quic_conn *target, size_t len) {
    static uint8_t bytes[100000];
    struct quic_stream *s;
    ck_assert_int_eq(quic_streams_open(&target->streams, true, &s), 0);
    ck_assert_int_eq(quic_stream_write(s, bytes, len, false), (int64_t)len);
    while (engine_output(&server))
        continue;
    return s;
}

START_TEST(peer_that_never_reads)
{
    struct quic_conn *target = open_both();
    write_some(target, 5000);
    unsigned seconds = seconds_until_closed(target, 300);
    ck_assert_uint_ge(seconds, 120);
    ck_assert_uint_le(seconds, 190);
    expect_closed(target, "what waits for the peer does not move");
}
END_TEST

START_TEST(peer_that_leaves_a_hole)
{
    struct quic_conn *target = open_both();
    begin();
    quic_frame_write_stream_header(&f, 0, 10, 4, 2, false);
    base_write_u32(&f, 7);
    send_1rtt(client_at);
    unsigned seconds = seconds_until_closed(target, 300);
    ck_assert_uint_ge(seconds, 120);
    ck_assert_uint_le(seconds, 190);
    expect_closed(target, "what waits for the peer does not move");
}
END_TEST

/* It takes a kilobyte a minute: that is enough. A byte a minute is not. */
static unsigned slow_reader(unsigned bytes) {
    struct quic_conn *target = open_both();
    struct quic_stream *s = write_some(target, 100000);
    for (unsigned i = 0; i < 600; i += 5) {
        if (target->state >= QUIC_CONN_CLOSING)
            return i;
        if (i % 60 == 0) { /* the peer has acknowledged so many bytes more: as the ACK of their packet would tell */
            struct quic_sent_frame record = {
                .kind = QUIC_FRAME_STREAM, .len = (uint16_t)bytes, .ref = s->handle, .value = s->send.acked_to};
            quic_streams_on_fate(&target->streams, &record, true);
        }
        tick(SECONDS(5));
        if (target->state < QUIC_CONN_CLOSING)
            ping();
    }
    return 600;
}

START_TEST(peer_that_is_slow)
{ ck_assert_uint_eq(slow_reader(1100), 600); }
END_TEST

START_TEST(peer_that_reads_byte_by_byte)
{ ck_assert_uint_le(slow_reader(1), 190); }
END_TEST

START_TEST(nobody_waits)
{
    struct quic_conn *target = open_both();
    struct quic_stream *s = write_some(target, 500);
    begin();
    base_write_u8(&f, QUIC_FRAME_ACK);
    base_write_varint(&f, target->recovery.spaces[QUIC_APPLICATION].next - 1);
    base_write_varint(&f, 0);
    base_write_varint(&f, 0);
    base_write_varint(&f, target->recovery.spaces[QUIC_APPLICATION].next - 1);
    send_1rtt(client_at);
    ck_assert_uint_eq(s->send.buffered, 0);
    ck_assert_uint_eq(seconds_until_closed(target, 600), 600);
    ck_assert_uint_eq(target->deadlines[QUIC_TIMER_STALL], BASE_NEVER);
}
END_TEST

/* What our own application does not take is not the peer's fault. */
START_TEST(application_that_does_not_read)
{
    struct quic_conn *target = open_both();
    begin();
    quic_frame_write_stream_header(&f, 0, 0, 4, 2, false);
    base_write_u32(&f, 7);
    send_1rtt(client_at);
    ck_assert_uint_eq(seconds_until_closed(target, 600), 600);
}
END_TEST

START_TEST(it_can_be_turned_off)
{
    server.config.options.stall_timeout = 0;
    struct quic_conn *target = open_both();
    write_some(target, 5000);
    ck_assert_uint_eq(seconds_until_closed(target, 600), 600);
}
END_TEST

START_TEST(peer_without_a_purpose)
{
    server.config.options.progress_timeout = SECONDS(60);
    struct quic_conn *target = open_both();
    for (unsigned i = 0; i < 20; i++) { /* as long as something comes it stays */
        begin();
        quic_frame_write_stream_header(&f, 0, i, 1, 2, false);
        base_write_u8(&f, 7);
        send_1rtt(client_at);
        tick(SECONDS(15));
        ping();
    }
    ck_assert_int_lt(target->state, QUIC_CONN_CLOSING);
    unsigned seconds = seconds_until_closed(target, 300);
    ck_assert_uint_ge(seconds, 45);
    ck_assert_uint_le(seconds, 95);
    expect_closed(target, "nothing has moved for too long");
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &peer_that_never_reads, &peer_that_leaves_a_hole,        &peer_that_is_slow,    &peer_that_reads_byte_by_byte,
        &nobody_waits,          &application_that_does_not_read, &it_can_be_turned_off, &peer_without_a_purpose,
    };
    Suite *suite = suite_create("quic/stall");
    TCase *tcase = tcase_create("all");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
