/* Tests of stream.c, stream_state.c and buffer.c: writing, the two ways of reading, credit, keeping bytes. */
#include "world.h"

static struct world world;
static weft_conn conn, peer;

static void setup(void) {
    world_open(&world);
    conn = world_connect(&world, NULL);
    const weft_event *accepted = world_find(&world.server_log, WEFT_EV_ACCEPTED, NULL);
    ck_assert_ptr_nonnull(accepted);
    peer = accepted->conn;
}

static void teardown(void) { world_close(&world); }

static void run(void) { world_run(&world, world.now + 200000000); }

/* A bidirectional stream of the client, with a first byte that the server has. */
static void open_pair(weft_stream *ours, weft_stream *theirs, uint32_t server_flags) {
    ck_assert_int_eq(weft_conn_set_stream_flags(peer, server_flags), 0);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, ours), 0);
    ck_assert_int_eq(weft_stream_write(*ours, "0", 1, 0), 1);
    run();
    const weft_event *opened = world_find(&world.server_log, WEFT_EV_STREAM_OPENED, NULL);
    ck_assert_ptr_nonnull(opened);
    *theirs = opened->stream;
}

START_TEST(reading_by_pull)
{
    weft_stream ours, theirs;
    uint8_t bytes[64];
    uint32_t flags = 99;
    open_pair(&ours, &theirs, WEFT_STREAM_PULL);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_READABLE), 1);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_DATA), 0);
    ck_assert_int_eq(weft_stream_read(theirs, bytes, sizeof bytes, &flags), 1);
    ck_assert_uint_eq(flags, 0);
    ck_assert_int_eq(weft_stream_read(theirs, bytes, sizeof bytes, &flags), 0);
    weft_bytes pieces[] = {{"ab", 2}, {NULL, 0}, {"cdef", 4}, {NULL, 0}};
    ck_assert_int_eq(weft_stream_writev(ours, pieces, 4, WEFT_FIN), 6);
    ck_assert_int_eq(weft_stream_write(ours, "x", 1, 0), WEFT_E_STREAM_CLOSED);
    run();
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_READABLE), 2);
    weft_slice slices[4];
    ck_assert_int_eq(weft_stream_peek(theirs, slices, 4, &flags), 1);
    ck_assert_uint_eq(flags, WEFT_FIN);
    ck_assert_mem_eq(slices[0].data, "abcdef", 6);
    ck_assert_int_eq(weft_stream_consume(theirs, 7), WEFT_E_VALUE);
    ck_assert_int_eq(weft_stream_consume(theirs, 2), 0);
    ck_assert_int_eq(weft_stream_read(theirs, bytes, 3, &flags), 3);
    ck_assert_uint_eq(flags, 0);
    ck_assert_int_eq(weft_stream_read(theirs, bytes, 3, &flags), 1);
    ck_assert_uint_eq(flags, WEFT_FIN);
    ck_assert_uint_eq(bytes[0], 'f');
    ck_assert_int_eq(weft_stream_read(theirs, bytes, 3, &flags), WEFT_E_STREAM_CLOSED);
    ck_assert_int_eq(weft_stream_finish(theirs), 0);
    run();
    ck_assert_int_eq(weft_stream_finish(theirs), WEFT_E_GONE);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_STREAM_CLOSED), 1);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_STREAM_CLOSED), 1);
}
END_TEST

START_TEST(full_buffers_say_when_there_is_room)
{
    weft_stream ours, theirs;
    open_pair(&ours, &theirs, 0);
    static uint8_t bytes[3 << 20];
    int64_t taken = weft_stream_write(ours, bytes, sizeof bytes, WEFT_FIN);
    ck_assert_int_gt(taken, 0);
    ck_assert_int_lt(taken, (int64_t)sizeof bytes);
    ck_assert_int_eq(weft_stream_write(ours, bytes, 1, 0), 0);
    uint64_t sum = (uint64_t)taken;
    for (int i = 0; i < 1000 && sum < sizeof bytes; i++) {
        run();
        taken = weft_stream_write(ours, bytes + sum, sizeof bytes - sum, WEFT_FIN);
        ck_assert_int_ge(taken, 0);
        sum += (uint64_t)taken;
    }
    ck_assert_uint_eq(sum, sizeof bytes);
    ck_assert_uint_ge(world_count(&world.client_log, WEFT_EV_WRITABLE), 1);
    run();
    uint64_t received = 0;
    for (uint32_t i = 0; i < world.server_log.count; i++)
        if (world.server_log.events[i].type == WEFT_EV_DATA)
            received += world.server_log.events[i].len;
    ck_assert_uint_eq(received, sizeof bytes + 1);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_FINISHED), 1);
}
END_TEST

START_TEST(lent_bytes_are_released_once)
{
    weft_stream ours, theirs;
    open_pair(&ours, &theirs, 0);
    static const uint8_t bytes[5000] = {1, 2, 3};
    ck_assert_int_eq(weft_stream_write_ref(ours, bytes, 0, 1, 0), WEFT_E_INVALID);
    ck_assert_int_eq(weft_stream_write_ref(ours, bytes, sizeof bytes, 11, 0), sizeof bytes);
    ck_assert_int_eq(weft_stream_write_ref(ours, bytes, sizeof bytes, 12, WEFT_FIN), sizeof bytes);
    run();
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_RELEASED), 2);
    uint32_t from = 0;
    ck_assert_uint_eq(world_find(&world.client_log, WEFT_EV_RELEASED, &from)->token, 11);
    ck_assert_uint_eq(world_find(&world.client_log, WEFT_EV_RELEASED, &from)->token, 12);
    /* and when the stream, or its connection, breaks off */
    weft_stream other;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &other), 0);
    ck_assert_int_eq(weft_stream_write_ref(other, bytes, sizeof bytes, 13, 0), sizeof bytes);
    ck_assert_int_eq(weft_stream_reset(other, 5), 0);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &other), 0);
    ck_assert_int_eq(weft_stream_write_ref(other, bytes, sizeof bytes, 14, 0), sizeof bytes);
    ck_assert_int_eq(weft_stream_detach(other, 5), 0);
    ck_assert_int_eq(weft_stream_finish(other), WEFT_E_GONE);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &other), 0);
    ck_assert_int_eq(weft_stream_write_ref(other, bytes, sizeof bytes, 15, 0), sizeof bytes);
    ck_assert_int_eq(weft_conn_close(conn, 0, NULL), 0);
    run();
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_RELEASED), 5);
    uint64_t tokens = 0;
    for (uint32_t i = 0; i < world.client_log.count; i++)
        if (world.client_log.events[i].type == WEFT_EV_RELEASED)
            tokens |= UINT64_C(1) << world.client_log.events[i].token;
    ck_assert_uint_eq(tokens, 0xf800);
}
END_TEST

/* What the server's connection still lets the client send on this stream. */
static uint64_t sent(weft_stream stream) {
    weft_stream_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_stream_get_info(stream, &info), 0);
    return info.acknowledged;
}

START_TEST(credit_is_given_by_hand)
{
    weft_stream ours, theirs;
    open_pair(&ours, &theirs, WEFT_STREAM_MANUAL_CREDIT);
    static uint8_t bytes[1 << 20];
    uint64_t total = 1;
    for (int i = 0; i < 8; i++) {
        int64_t taken = weft_stream_write(ours, bytes, sizeof bytes, 0);
        ck_assert_int_ge(taken, 0);
        total += (uint64_t)taken;
        run();
    }
    ck_assert_uint_eq(sent(ours), 1 << 20); /* the stream's first window, and no more */
    ck_assert_int_eq(weft_stream_credit(theirs, (1 << 20) + 1), WEFT_E_VALUE);
    ck_assert_int_eq(weft_stream_credit(theirs, 1 << 20), 0);
    run();
    ck_assert_uint_eq(sent(ours), total);
    ck_assert_int_eq(weft_stream_set_flags(theirs, 0), 0); /* gives the rest */
    ck_assert_int_eq(weft_stream_credit(theirs, 1), WEFT_E_VALUE);
}
END_TEST

START_TEST(pausing_holds_bytes_back)
{
    weft_stream ours, theirs;
    open_pair(&ours, &theirs, 0);
    uint32_t before = world_count(&world.server_log, WEFT_EV_DATA);
    ck_assert_int_eq(weft_stream_pause(theirs), 0);
    ck_assert_int_eq(weft_stream_write(ours, "later", 5, WEFT_FIN), 5);
    run();
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_DATA), before);
    ck_assert_int_eq(weft_stream_resume(theirs), 0);
    run();
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_DATA), before + 1);
}
END_TEST

START_TEST(reset_and_stop)
{
    weft_stream ours, theirs;
    open_pair(&ours, &theirs, 0);
    ck_assert_int_eq(weft_stream_reset(ours, WEFT_CODE_MAX + 1), WEFT_E_VALUE);
    ck_assert_int_eq(weft_stream_reset(ours, 77), 0);
    ck_assert_int_eq(weft_stream_reset(ours, 77), WEFT_E_STREAM_CLOSED);
    ck_assert_int_eq(weft_stream_stop(ours, 88), 0);
    run();
    ck_assert_uint_eq(world_find(&world.server_log, WEFT_EV_RESET, NULL)->code, 77);
    ck_assert_uint_eq(world_find(&world.server_log, WEFT_EV_STOPPED, NULL)->code, 88);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_STREAM_CLOSED), 1);
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_STREAM_CLOSED), 1);
}
END_TEST

START_TEST(own_pointers_priorities_and_ids)
{
    int first, second;
    weft_stream stream, found;
    ck_assert_int_eq(weft_conn_set_user(conn, &first), 0);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &stream), 0);
    ck_assert_ptr_eq(weft_stream_user(stream), &first);
    ck_assert_int_eq(weft_stream_set_user(stream, &second), 0);
    ck_assert_ptr_eq(weft_stream_user(stream), &second);
    ck_assert_uint_eq(weft_stream_conn(stream).id, conn.id);
    weft_stream_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_stream_get_info(stream, &info), 0);
    ck_assert_uint_eq(info.id, 2);
    ck_assert_uint_eq(info.local, 1);
    ck_assert_uint_eq(info.direction, WEFT_UNI);
    ck_assert_uint_eq(info.urgency, 3);
    ck_assert_int_eq(weft_stream_find(conn, 2, &found), 0);
    ck_assert_uint_eq(found.id, stream.id);
    ck_assert_int_eq(weft_stream_find(conn, 6, &found), WEFT_E_GONE);
    ck_assert_int_eq(weft_stream_set_priority(stream, 8, 0), WEFT_E_VALUE);
    ck_assert_int_eq(weft_stream_set_priority(stream, 1, 0), 0);
    ck_assert_int_eq(weft_stream_get_info(stream, &info), 0);
    ck_assert_uint_eq(info.urgency, 1);
    ck_assert_int_eq(weft_stream_open(conn, 2, NULL, &found), WEFT_E_INVALID);
    weft_stream_params params = {.size = sizeof params, .user = &first};
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, &params, &found), 0);
    ck_assert_ptr_eq(weft_stream_user(found), &first);
}
END_TEST

START_TEST(deadlines_break_off_what_is_not_done)
{
    weft_stream late, early;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &late), 0);
    ck_assert_int_eq(weft_stream_write(late, "a", 1, 0), 1);
    ck_assert_int_eq(weft_stream_set_deadline(late, 50000000, WEFT_CODE_MAX + 1), WEFT_E_VALUE);
    ck_assert_int_eq(weft_stream_set_deadline(late, 50000000, 77), 0);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &early), 0);
    ck_assert_int_eq(weft_stream_set_deadline(early, 50000000, 77), 0);
    ck_assert_int_eq(weft_stream_set_deadline(early, UINT64_MAX, 0), 0); /* taken back */
    world_run(&world, world.now + 40000000);
    weft_stream_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_stream_get_info(late, &info), 0);
    ck_assert_uint_eq(info.expired, 0);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_RESET), 0);
    world_run(&world, world.now + 100000000);
    uint32_t from = 0;
    const weft_event *reset = world_find(&world.server_log, WEFT_EV_RESET, &from);
    ck_assert_ptr_nonnull(reset);
    ck_assert_uint_eq(reset->code, 77);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_RESET), 1);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_STOPPED), 1);
    ck_assert_int_eq(weft_stream_get_info(late, &info), WEFT_E_GONE);
    ck_assert_int_eq(weft_stream_get_info(early, &info), 0);
    ck_assert_uint_eq(info.expired, 0);
}
END_TEST

START_TEST(limits_and_more_streams)
{
    weft_stream stream, all[128];
    for (int i = 0; i < 128; i++)
        ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &all[i]), 0);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &stream), WEFT_E_STREAM_LIMIT);
    for (int i = 0; i < 128; i++)
        ck_assert_int_eq(weft_stream_write(all[i], "z", 1, WEFT_FIN), 1);
    run();
    ck_assert_uint_eq(world_count(&world.client_log, WEFT_EV_STREAMS), 1);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &stream), 0);
}
END_TEST

/* ---- kept bytes ---- */

static weft_buffer kept[64];
static const uint8_t *kept_data[64];
static size_t kept_len[64], kept_count;
static weft_slice last_slice;

static void keep_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)user;
    (void)stream;
    (void)flags;
    for (uint32_t i = 0; i < count && kept_count < 64; i++) {
        weft_slice beyond = {slices[i].data, slices[i].len + 1, slices[i].source};
        ck_assert_int_eq(weft_buffer_retain(&beyond, &kept[kept_count], &kept_data[kept_count]), WEFT_E_INVALID);
        ck_assert_int_eq(weft_buffer_retain(&slices[i], &kept[kept_count], &kept_data[kept_count]), 0);
        kept_len[kept_count++] = slices[i].len;
        last_slice = slices[i];
    }
}

START_TEST(bytes_can_be_kept)
{
    static const weft_stream_callbacks table = {.size = sizeof table, .on_data = keep_data};
    weft_stream ours;
    kept_count = 0;
    ck_assert_int_eq(weft_conn_set_stream_callbacks(peer, &table), 0);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &ours), 0);
    ck_assert_int_eq(weft_stream_write(ours, "tiny", 4, 0), 4);
    run();
    static uint8_t bytes[40000];
    memset(bytes, 'k', sizeof bytes);
    ck_assert_int_eq(weft_stream_write(ours, bytes, sizeof bytes, WEFT_FIN), sizeof bytes);
    run();
    ck_assert_uint_gt(kept_count, 1);
    ck_assert_mem_eq(kept_data[0], "tiny", 4);
    size_t sum = 0;
    for (size_t i = 1; i < kept_count; i++) {
        sum += kept_len[i];
        ck_assert_mem_eq(kept_data[i], bytes, kept_len[i]);
    }
    ck_assert_uint_eq(sum, sizeof bytes);
    weft_buffer late;
    const uint8_t *data;
    ck_assert_int_eq(weft_buffer_retain(&last_slice, &late, &data), WEFT_E_GONE);
    weft_engine_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_engine_get_stats(world.server, &stats), 0);
    ck_assert_uint_eq(stats.buffers_retained, kept_count);
    for (size_t i = 1; i < kept_count; i++) {
        ck_assert_int_eq(weft_buffer_release(kept[i]), 0);
        ck_assert_int_eq(weft_buffer_release(kept[i]), WEFT_E_GONE);
    }
    /* kept[0] ends with the engine */
}
END_TEST

START_TEST(peeked_bytes_can_be_kept_too)
{
    weft_stream ours, theirs;
    open_pair(&ours, &theirs, WEFT_STREAM_PULL);
    weft_slice slice;
    weft_buffer buffer;
    const uint8_t *data;
    ck_assert_int_eq(weft_stream_peek(theirs, &slice, 1, NULL), 1);
    ck_assert_int_eq(weft_buffer_retain(&slice, &buffer, &data), 0);
    ck_assert_uint_eq(data[0], '0');
    ck_assert_int_eq(weft_stream_consume(theirs, 1), 0);
    ck_assert_uint_eq(data[0], '0');
    weft_buffer late;
    ck_assert_int_eq(weft_buffer_retain(&slice, &late, &data), WEFT_E_GONE);
    ck_assert_int_eq(weft_buffer_release(buffer), 0);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *all[] = {reading_by_pull,
                          full_buffers_say_when_there_is_room,
                          lent_bytes_are_released_once,
                          credit_is_given_by_hand,
                          pausing_holds_bytes_back,
                          reset_and_stop,
                          own_pointers_priorities_and_ids,
                          deadlines_break_off_what_is_not_done,
                          limits_and_more_streams,
                          bytes_can_be_kept,
                          peeked_bytes_can_be_kept_too};
    Suite *suite = suite_create("abi/stream");
    TCase *tests = tcase_create("stream");
    tcase_add_checked_fixture(tests, setup, teardown);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
    suite_add_tcase(suite, tests);
    return suite;
}
