/* test_datagram.c - queues, frames and answers of datagrams, without a connection around them. */
#include "quic/datagram.h"

#include "base/toolkit.h"
#include "quic/conn.h"
#include "tables/errors.h"
#include "unit.h"

#define MAX 1200u

struct fixture {
    struct toolkit_heap heap;
    struct base_mem mem;
    struct base_events events;
    struct base_event event;
    struct base_bufpool bufs;
    struct conn_stats stats;
    struct options options;
    struct quic_sent log;
    struct quic_datagrams set;
    uint8_t packet[1500];
    struct base_writer out;
};
static struct fixture f;

static void setup(void) {
    memset(&f, 0, sizeof f);
    f.mem = toolkit_mem(&f.heap, 0);
    base_events_init(&f.events);
    base_bufpool_init(&f.bufs, &f.mem, 0, 0);
    options_init(&f.options);
    quic_sent_init(&f.log);
    quic_datagrams_init(&f.set, &f.mem, &f.events, &f.event, &f.stats, &f.options);
    ck_assert_uint_eq(f.mem.used, 0); /* nothing before it is used */
}

static void teardown(void) {
    base_event_cancel(&f.event);
    quic_datagrams_clear(&f.set);
    quic_sent_clear(&f.log, &f.mem);
    base_bufpool_clear(&f.bufs);
    ck_assert_uint_eq(f.mem.used, 0);
}

static int send_byte(uint8_t value, size_t len, uint64_t token) {
    uint8_t data[MAX];
    memset(data, value, len);
    return quic_datagrams_send(&f.set, data, len, MAX, token);
}

/* Writes one packet of `room` bytes; its number, or QUIC_NO_NUMBER when nothing was written. */
static uint64_t packet(size_t room) {
    ck_assert(quic_sent_open(&f.log, &f.mem));
    f.out = base_writer_of(f.packet, room);
    if (!quic_datagrams_tx(&f.set, &f.out, &f.log, MAX)) {
        quic_sent_abort(&f.log);
        return QUIC_NO_NUMBER;
    }
    struct quic_sent_packet p = {.eliciting = true, .in_flight = true, .bytes = 1200};
    return quic_sent_commit(&f.log, &p);
}

static void fate(uint64_t number, bool acked) {
    struct quic_sent_packet *p = quic_sent_at(&f.log, number);
    for (unsigned i = 0; i < p->frame_count; i++)
        quic_datagrams_on_fate(&f.set, quic_sent_frame_at(&f.log, p, i), acked);
}

static void expect_note(uint64_t token, enum quic_datagram_fate fate) {
    struct quic_datagram_note n;
    ck_assert_uint_eq(quic_datagrams_notes(&f.set, &n, 1), 1);
    ck_assert_uint_eq(n.token, token);
    ck_assert_uint_eq(n.fate, fate);
}

static void expect_silence(void) {
    struct quic_datagram_note n;
    ck_assert_uint_eq(quic_datagrams_notes(&f.set, &n, 1), 0);
}

static uint32_t raised(void) {
    uint32_t bits = 0;
    base_events_pop(&f.events, &bits);
    return bits;
}

/* ---- sending ---- */

START_TEST(frames_in_order)
{
    for (uint8_t i = 1; i <= 3; i++)
        ck_assert_int_eq(send_byte(i, i * 10, 0), 0);
    ck_assert_uint_ne(packet(MAX), QUIC_NO_NUMBER);
    struct base_reader in = base_reader_of(f.packet, (size_t)(f.out.pos - f.packet));
    struct quic_frame frame;
    for (uint8_t i = 1; i <= 3; i++) {
        ck_assert_int_eq(quic_frame_parse(&in, &frame), QUIC_NO_ERROR);
        ck_assert_uint_eq(frame.u.datagram.len, i * 10);
        ck_assert_uint_eq(frame.u.datagram.data[9], i);
    }
    ck_assert_uint_eq(base_reader_left(&in), 0);
    ck_assert(!quic_datagrams_sendable(&f.set));
    ck_assert_uint_eq(f.stats.datagram_frames_sent, 3);
    ck_assert_uint_eq(quic_sent_at(&f.log, 0)->frame_count, 0); /* nobody asked */
}
END_TEST

/* Whatever room there is: the datagram is found whole at the packet's end or in it, or is not there. */
START_TEST(every_room)
{
    for (size_t len = 0; len < 200; len += len < 70 ? 1 : 40)
        for (size_t room = 0; room < len + 6; room++) {
            ck_assert_int_eq(send_byte(7, len, 0), 0);
            bool wrote = packet(room) != QUIC_NO_NUMBER;
            UNIT_CHECK(wrote == (room >= len + 1));
            if (!wrote) {
                UNIT_CHECK(packet(MAX) != QUIC_NO_NUMBER);
                continue;
            }
            struct base_reader in = base_reader_of(f.packet, (size_t)(f.out.pos - f.packet));
            struct quic_frame frame = {0};
            do
                UNIT_CHECK(quic_frame_parse(&in, &frame) == QUIC_NO_ERROR);
            while (frame.type == QUIC_FRAME_PADDING);
            UNIT_CHECK(frame.u.datagram.len == len && base_reader_left(&in) == 0);
            UNIT_CHECK(frame.type == QUIC_FRAME_DATAGRAM_LEN || f.out.pos == f.out.end);
        }
}
END_TEST

START_TEST(each_token_hears_one_end)
{
    for (uint64_t token = 1; token <= 3; token++)
        ck_assert_int_eq(send_byte(0, 1000, token), 0);
    uint64_t a = packet(MAX), b = packet(MAX), c = packet(MAX);
    ck_assert(raised() & QUIC_CONN_EV_DATAGRAM_STATE);
    for (uint64_t token = 1; token <= 3; token++)
        expect_note(token, QUIC_DATAGRAM_SENT);
    fate(b, false);
    fate(c, true);
    fate(b, true); /* it was not lost after all */
    fate(a, true);
    fate(a, true);
    fate(c, false);
    expect_note(2, QUIC_DATAGRAM_LOST);
    expect_note(3, QUIC_DATAGRAM_ACKED);
    expect_note(1, QUIC_DATAGRAM_ACKED);
    expect_silence();
    ck_assert_uint_eq(f.set.live, 0);
    ck_assert_uint_eq(f.set.owed, 0);
    ck_assert_uint_eq(f.stats.datagram_frames_lost, 1);
    /* the ticket is another datagram's now: the old records mean nothing to it */
    ck_assert_int_eq(send_byte(0, 10, 9), 0);
    uint64_t d = packet(MAX);
    fate(a, false), fate(b, false), fate(c, false);
    expect_note(9, QUIC_DATAGRAM_SENT);
    expect_silence();
    fate(d, true);
    expect_note(9, QUIC_DATAGRAM_ACKED);
}
END_TEST

START_TEST(oldest_goes)
{
    f.options.datagram_queue_count = 4;
    for (uint64_t token = 1; token <= 6; token++)
        ck_assert_int_eq(send_byte((uint8_t)token, 10, token), 0);
    ck_assert_uint_eq(f.set.out.count, 4);
    expect_note(1, QUIC_DATAGRAM_DROPPED);
    expect_note(2, QUIC_DATAGRAM_DROPPED);
    expect_silence();
    ck_assert_uint_eq(f.stats.datagram_frames_dropped, 2);
    packet(MAX);
    ck_assert_uint_eq(f.packet[2], 3);
    f.options.datagram_send_queue = 2000; /* by bytes, too */
    for (unsigned i = 0; i < 5; i++)
        ck_assert_int_eq(send_byte(1, 900, 0), 0);
    ck_assert_uint_eq(f.set.out.count, 2);
}
END_TEST

START_TEST(newest_is_refused)
{
    f.options.datagram_queue_count = 4;
    f.options.datagram_drop = QUIC_DATAGRAM_NEWEST;
    for (uint64_t token = 1; token <= 4; token++)
        ck_assert_int_eq(send_byte((uint8_t)token, 500, token), 0);
    ck_assert_int_eq(send_byte(5, 500, 5), ERR_BLOCKED);
    expect_silence();
    ck_assert_uint_eq(packet(1010), 0); /* two of four: half is gone */
    ck_assert_uint_eq(f.packet[3], 1);
    ck_assert(raised() & QUIC_CONN_EV_DATAGRAM_ROOM);
    packet(1010);
    ck_assert(!(raised() & QUIC_CONN_EV_DATAGRAM_ROOM)); /* once */
}
END_TEST

START_TEST(too_large)
{
    uint8_t data[MAX + 1] = {0};
    ck_assert_int_eq(quic_datagrams_send(&f.set, data, MAX + 1, MAX, 1), ERR_TOO_LARGE);
    ck_assert_int_eq(quic_datagrams_send(&f.set, data, MAX, MAX, 2), 0);
    ck_assert_int_eq(quic_datagrams_send(&f.set, data, 100, MAX, 3), 0);
    ck_assert(quic_sent_open(&f.log, &f.mem)); /* the path has shrunk */
    f.out = base_writer_of(f.packet, 1000);
    ck_assert(quic_datagrams_tx(&f.set, &f.out, &f.log, 900));
    quic_sent_abort(&f.log);
    expect_note(2, QUIC_DATAGRAM_DROPPED);
    expect_note(3, QUIC_DATAGRAM_SENT);
    expect_silence();
}
END_TEST

START_TEST(close_ends_all)
{
    for (uint64_t token = 1; token <= 4; token++)
        ck_assert_int_eq(send_byte(0, 500, token), 0);
    uint64_t a = packet(MAX);
    expect_note(1, QUIC_DATAGRAM_SENT);
    expect_note(2, QUIC_DATAGRAM_SENT);
    fate(a, false);
    uint64_t b = packet(MAX);
    ck_assert_int_eq(send_byte(0, 500, 5), 0);
    quic_datagrams_close(&f.set);
    quic_datagrams_close(&f.set);
    fate(b, true);
    expect_note(1, QUIC_DATAGRAM_LOST);
    expect_note(2, QUIC_DATAGRAM_LOST);
    expect_note(3, QUIC_DATAGRAM_SENT);
    expect_note(4, QUIC_DATAGRAM_SENT);
    expect_note(5, QUIC_DATAGRAM_DROPPED);
    expect_note(3, QUIC_DATAGRAM_LOST);
    expect_note(4, QUIC_DATAGRAM_LOST);
    expect_silence();
    ck_assert_int_eq(send_byte(0, 1, 6), ERR_CLOSED);
}
END_TEST

/* Answers that nobody fetches bound how many tokens may be asked for; fetching them gives room. */
START_TEST(answers_are_bounded)
{
    f.options.datagram_queue_count = 1; /* each pushes out the one before */
    uint64_t taken = 0;
    while (send_byte(0, 1, taken + 1) == 0)
        taken++;
    ck_assert_uint_ge(taken, QUIC_DATAGRAM_TICKETS);
    ck_assert_uint_le(taken, 2 * QUIC_DATAGRAM_TICKETS);
    ck_assert_int_eq(send_byte(0, 1, 1), ERR_BLOCKED);
    ck_assert_int_eq(send_byte(0, 1, 0), 0); /* who asks nothing needs no room */
    raised();
    for (uint64_t i = 1; i <= taken; i++)
        expect_note(i, QUIC_DATAGRAM_DROPPED);
    expect_silence();
    ck_assert(raised() & QUIC_CONN_EV_DATAGRAM_ROOM);
    ck_assert_int_eq(send_byte(0, 1, 7), 0);
}
END_TEST

/* Records of a packet are few: what has no room for its own waits for the next packet. */
START_TEST(many_in_a_packet)
{
    for (uint64_t token = 1; token <= 100; token++)
        ck_assert_int_eq(send_byte(0, 1, token), 0);
    packet(MAX);
    ck_assert_uint_eq(f.set.out.count, 100 - QUIC_SENT_PACKET_FRAMES);
    packet(MAX);
    ck_assert_uint_eq(f.set.out.count, 0);
}
END_TEST

/* ---- receiving ---- */

static int receive(struct base_buf *buf, const uint8_t *data, size_t len) {
    struct quic_frame frame = {.type = QUIC_FRAME_DATAGRAM};
    frame.u.datagram.data = data;
    frame.u.datagram.len = len;
    return quic_datagrams_rx(&f.set, &frame, buf, false);
}

START_TEST(received_are_slices_until_they_pin)
{
    struct base_buf *buf = base_buf_get(&f.bufs);
    memset(buf->data, 5, 2000);
    memset(buf->data + 1000, 6, 1000);
    ck_assert_int_eq(receive(buf, buf->data, 1000), 0);
    ck_assert_int_eq(receive(buf, buf->data + 1000, 1000), 0);
    ck_assert_int_eq(receive(buf, buf->data, 10), 0); /* small: copied at once */
    ck_assert_uint_eq(buf->refs, 3);
    ck_assert(raised() & QUIC_CONN_EV_DATAGRAM);
    struct quic_datagram_view view;
    ck_assert(quic_datagrams_peek(&f.set, &view));
    ck_assert_ptr_eq(view.data, buf->data);
    quic_datagrams_compact(&f.set);
    ck_assert_uint_eq(buf->refs, 1);
    base_buf_unref(buf);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert(quic_datagrams_peek(&f.set, &view));
        ck_assert_uint_eq(view.len, i < 2 ? 1000 : 10);
        ck_assert_uint_eq(view.data[view.len - 1], i == 1 ? 6 : 5);
        quic_datagrams_take(&f.set);
    }
    ck_assert(!quic_datagrams_peek(&f.set, &view));
    quic_datagrams_compact(&f.set);
}
END_TEST

START_TEST(full_buffers_stay)
{
    struct base_buf *buf = base_buf_get(&f.bufs);
    for (unsigned i = 0; i < 40; i++)
        ck_assert_int_eq(receive(buf, buf->data + 1200 * i, 1200), 0);
    quic_datagrams_compact(&f.set);
    ck_assert_uint_eq(buf->refs, 41);
    for (unsigned i = 0; i < 20; i++) /* what is left is little */
        quic_datagrams_take(&f.set);
    quic_datagrams_compact(&f.set);
    ck_assert_uint_eq(buf->refs, 1);
    ck_assert_uint_eq(f.set.in.count, 20);
    base_buf_unref(buf);
}
END_TEST

START_TEST(receive_queue_is_bounded)
{
    f.options.datagram_queue_count = 3;
    f.options.datagram_drop = (uint64_t)_i;
    for (uint8_t i = 0; i < 5; i++)
        ck_assert_int_eq(receive(NULL, &i, 1), 0);
    ck_assert_uint_eq(f.set.in.count, 3);
    ck_assert_uint_eq(f.stats.datagram_frames_dropped, 2);
    struct quic_datagram_view view;
    ck_assert(quic_datagrams_peek(&f.set, &view));
    ck_assert_uint_eq(view.data[0], _i == QUIC_DATAGRAM_OLDEST ? 2 : 0);
}
END_TEST

/* ---- want of memory ---- */

START_TEST(every_allocation_may_fail)
{
    for (uint64_t limit = 0; limit < 40000; limit += 200) {
        f.mem.limit = limit + 1;
        uint64_t asked = 0, ended = 0;
        struct quic_datagram_note n;
        for (unsigned i = 0; i < 40; i++) {
            int error = send_byte(1, 300, i + 1);
            UNIT_CHECK(error == 0 || error == ERR_NOMEM);
            asked += error == 0;
            if (i % 4)
                continue;
            if (!quic_sent_open(&f.log, &f.mem))
                continue;
            quic_sent_abort(&f.log);
            uint64_t number = packet(MAX);
            if (number != QUIC_NO_NUMBER)
                fate(number, i % 8 == 0);
        }
        quic_datagrams_close(&f.set);
        while (quic_datagrams_notes(&f.set, &n, 1))
            ended += n.fate != QUIC_DATAGRAM_SENT;
        UNIT_CHECK(ended == asked);
        base_event_cancel(&f.event);
        quic_datagrams_clear(&f.set);
        quic_sent_clear(&f.log, &f.mem);
        UNIT_CHECK(f.mem.used == 0);
        quic_datagrams_init(&f.set, &f.mem, &f.events, &f.event, &f.stats, &f.options);
    }
    f.mem.limit = 0;
}
END_TEST

START_TEST(compaction_without_memory)
{
    struct base_buf *buf = base_buf_get(&f.bufs);
    ck_assert_int_eq(receive(buf, buf->data, 1000), 0);
    ck_assert_int_eq(receive(buf, buf->data, 999), 0);
    f.mem.limit = f.mem.used + 1700; /* one copy */
    quic_datagrams_compact(&f.set);
    ck_assert_uint_eq(buf->refs, 2);
    f.mem.limit = 0;
    quic_datagrams_compact(&f.set);
    ck_assert_uint_eq(buf->refs, 1);
    base_buf_unref(buf);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/datagram");
    TCase *tcase = tcase_create("datagrams");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, frames_in_order);
    tcase_add_test(tcase, every_room);
    tcase_add_test(tcase, each_token_hears_one_end);
    tcase_add_test(tcase, oldest_goes);
    tcase_add_test(tcase, newest_is_refused);
    tcase_add_test(tcase, too_large);
    tcase_add_test(tcase, close_ends_all);
    tcase_add_test(tcase, answers_are_bounded);
    tcase_add_test(tcase, many_in_a_packet);
    tcase_add_test(tcase, received_are_slices_until_they_pin);
    tcase_add_test(tcase, full_buffers_stay);
    tcase_add_loop_test(tcase, receive_queue_is_bounded, 0, 2);
    tcase_add_test(tcase, every_allocation_may_fail);
    tcase_add_test(tcase, compaction_without_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
