/* The log of a connection: every frame as text; the buffer, its hand-over, and what is counted when memory or the sink
 * fails. That whole logs are of the schema and true is shown by tests/qlog/run, with connections of the simulator. */
#include "engine.h"
#include "quic/frame.h"

/* ---- frames ---- */

static char space[8192];

static const char *frames_of(const struct base_writer *out, uint8_t *start, uint64_t exponent) {
    struct qlog_json json = qlog_json_of(space, sizeof space - 1);
    ck_assert(!out->bad);
    quic_qlog_frames(&json, start, (size_t)(out->pos - start), exponent);
    ck_assert(!json.bad);
    *json.at = 0;
    return space;
}

#define FRAMES(text) "\"frames\":[" text "]"

START_TEST(streams_and_their_control)
{
    uint8_t bytes[512];
    struct base_writer out = base_writer_of(bytes, sizeof bytes);
    quic_frame_write_stream_header(&out, 4, 0, 2, 1, false);
    base_write_bytes(&out, "hi", 2);
    quic_frame_write_reset_stream(&out, 8, 7, 99);
    quic_frame_write_reset_stream_at(&out, 8, 7, 99, 50);
    quic_frame_write_stop_sending(&out, 8, 6);
    quic_frame_write_number(&out, QUIC_FRAME_MAX_DATA, 1000);
    quic_frame_write_stream_number(&out, QUIC_FRAME_MAX_STREAM_DATA, 4, 2000);
    quic_frame_write_number(&out, QUIC_FRAME_MAX_STREAMS_BIDI, 10);
    quic_frame_write_number(&out, QUIC_FRAME_MAX_STREAMS_UNI, 11);
    quic_frame_write_number(&out, QUIC_FRAME_DATA_BLOCKED, 12);
    quic_frame_write_stream_number(&out, QUIC_FRAME_STREAM_DATA_BLOCKED, 4, 13);
    quic_frame_write_number(&out, QUIC_FRAME_STREAMS_BLOCKED_BIDI, 14);
    quic_frame_write_number(&out, QUIC_FRAME_STREAMS_BLOCKED_UNI, 15);
    quic_frame_write_stream_header(&out, 4, 2, 1, 0, true);
    base_write_bytes(&out, "!", 1);
    ck_assert_str_eq(
        frames_of(&out, bytes, 3),
        FRAMES("{\"frame_type\":\"stream\",\"stream_id\":4,\"offset\":0,\"raw\":{\"length\":5,\"payload_length\":2}},"
               "{\"frame_type\":\"reset_stream\",\"stream_id\":8,\"error\":\"unknown\",\"error_code\":7,\"final_size\":"
               "99},"
               "{\"frame_type\":\"reset_stream_at\",\"stream_id\":8,\"error\":\"unknown\",\"error_code\":7,"
               "\"final_size\":99,\"reliable_size\":50},"
               "{\"frame_type\":\"stop_sending\",\"stream_id\":8,\"error\":\"unknown\",\"error_code\":6},"
               "{\"frame_type\":\"max_data\",\"maximum\":1000},"
               "{\"frame_type\":\"max_stream_data\",\"stream_id\":4,\"maximum\":2000},"
               "{\"frame_type\":\"max_streams\",\"stream_type\":\"bidirectional\",\"maximum\":10},"
               "{\"frame_type\":\"max_streams\",\"stream_type\":\"unidirectional\",\"maximum\":11},"
               "{\"frame_type\":\"data_blocked\",\"limit\":12},"
               "{\"frame_type\":\"stream_data_blocked\",\"stream_id\":4,\"limit\":13},"
               "{\"frame_type\":\"streams_blocked\",\"stream_type\":\"bidirectional\",\"limit\":14},"
               "{\"frame_type\":\"streams_blocked\",\"stream_type\":\"unidirectional\",\"limit\":15},"
               "{\"frame_type\":\"stream\",\"stream_id\":4,\"offset\":2,\"fin\":true,\"raw\":{\"length\":4,\"payload_"
               "length\":1}}"));
}
END_TEST

START_TEST(the_connections_own_frames)
{
    static const uint8_t token[16] = {0xaa, 0xbb};
    struct quic_cid cid = {.len = 4, .id = {1, 2, 3, 4}};
    uint8_t bytes[512];
    struct base_writer out = base_writer_of(bytes, sizeof bytes);
    quic_frame_write_type(&out, QUIC_FRAME_PING);
    quic_frame_write_crypto(&out, 10, (const uint8_t *)"xyz", 3);
    quic_frame_write_new_token(&out, token, sizeof token);
    quic_frame_write_new_cid(&out, 3, 1, &cid, token);
    quic_frame_write_number(&out, QUIC_FRAME_RETIRE_CONNECTION_ID, 2);
    quic_frame_write_path(&out, QUIC_FRAME_PATH_CHALLENGE, token);
    quic_frame_write_path(&out, QUIC_FRAME_PATH_RESPONSE, token);
    quic_frame_write_type(&out, QUIC_FRAME_HANDSHAKE_DONE);
    quic_frame_write_type(&out, QUIC_FRAME_IMMEDIATE_ACK);
    quic_frame_write_ack_frequency(&out, 1, 10, 25000, 3);
    quic_frame_write_datagram_header(&out, 2, true);
    base_write_bytes(&out, "dd", 2);
    quic_frame_write_padding(&out, 5);
    ck_assert_str_eq(
        frames_of(&out, bytes, 3),
        FRAMES("{\"frame_type\":\"ping\"},"
               "{\"frame_type\":\"crypto\",\"offset\":10,\"raw\":{\"length\":6,\"payload_length\":3}},"
               "{\"frame_type\":\"new_token\",\"token\":{\"type\":\"resumption\",\"raw\":{\"length\":16}}},"
               "{\"frame_type\":\"new_connection_id\",\"sequence_number\":3,\"retire_prior_to\":1,"
               "\"connection_id_length\":4,\"connection_id\":\"01020304\"},"
               "{\"frame_type\":\"retire_connection_id\",\"sequence_number\":2},"
               "{\"frame_type\":\"path_challenge\",\"data\":\"aabb000000000000\"},"
               "{\"frame_type\":\"path_response\",\"data\":\"aabb000000000000\"},"
               "{\"frame_type\":\"handshake_done\"},{\"frame_type\":\"immediate_ack\"},"
               "{\"frame_type\":\"ack_frequency\",\"sequence_number\":1,\"ack_eliciting_threshold\":10,"
               "\"requested_max_ack_delay\":25,\"reordering_threshold\":3},"
               "{\"frame_type\":\"datagram\",\"raw\":{\"length\":4,\"payload_length\":2}},"
               "{\"frame_type\":\"padding\",\"raw\":{\"length\":5,\"payload_length\":0}}"));
}
END_TEST

START_TEST(acknowledgements)
{
    /* largest 10, delay 4, two more ranges, first range 2: 8-10, then gap 1: 4-5, then gap 0: 2 */
    static const uint8_t ack[] = {0x03, 10, 4, 2, 2, 1, 1, 0, 0, 7, 8, 9};
    struct base_writer out = {.pos = (uint8_t *)(uintptr_t)ack + sizeof ack};
    ck_assert_str_eq(frames_of(&out, (uint8_t *)(uintptr_t)ack, 3),
                     FRAMES("{\"frame_type\":\"ack\",\"ack_delay\":0.032,\"acked_ranges\":[[8,10],[4,5],[2]],"
                            "\"ect1\":8,\"ect0\":7,\"ce\":9}"));
    static const uint8_t longest[] = {0x02, 10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0};
    out.pos = (uint8_t *)(uintptr_t)longest + sizeof longest;
    ck_assert_ptr_nonnull(strstr(frames_of(&out, (uint8_t *)(uintptr_t)longest, 20), "\"ack_delay\":18446744073709."));
}
END_TEST

START_TEST(closes)
{
    uint8_t bytes[256];
    struct base_writer out = base_writer_of(bytes, sizeof bytes);
    quic_frame_write_close(&out, false, QUIC_FLOW_CONTROL_ERROR, 8, "too \"much\"", 10);
    quic_frame_write_close(&out, false, QUIC_CRYPTO_ERROR + 0x2a, 6, "\xff", 1);
    quic_frame_write_close(&out, false, 0x4242, 0, "", 0);
    quic_frame_write_close(&out, true, 5, 0, "bye", 3);
    ck_assert_str_eq(
        frames_of(&out, bytes, 3),
        FRAMES("{\"frame_type\":\"connection_close\",\"error_space\":\"transport\",\"error\":\"flow_control_error\","
               "\"reason\":\"too \\\"much\\\"\",\"trigger_frame_type\":8},"
               "{\"frame_type\":\"connection_close\",\"error_space\":\"transport\",\"error\":\"crypto_error_0x12a\","
               "\"reason_bytes\":\"ff\",\"trigger_frame_type\":6},"
               "{\"frame_type\":\"connection_close\",\"error_space\":\"transport\",\"error\":\"unknown\","
               "\"error_code\":16962,\"trigger_frame_type\":0},"
               "{\"frame_type\":\"connection_close\",\"error_space\":\"application\",\"error\":\"unknown\","
               "\"error_code\":5,\"reason\":\"bye\"}"));
}
END_TEST

START_TEST(what_is_no_frame)
{
    static const uint8_t bytes[] = {0x01, 0x40, 0x55, 1, 2, 3};
    struct base_writer out = {.pos = (uint8_t *)(uintptr_t)bytes + sizeof bytes};
    ck_assert_str_eq(frames_of(&out, (uint8_t *)(uintptr_t)bytes, 3),
                     FRAMES("{\"frame_type\":\"ping\"},{\"frame_type\":\"unknown\",\"frame_type_bytes\":85,"
                            "\"raw\":{\"length\":5,\"payload_length\":0}}"));
}
END_TEST

START_TEST(more_frames_than_fit_are_counted)
{
    uint8_t bytes[1400];
    memset(bytes, QUIC_FRAME_PING, sizeof bytes);
    struct base_writer out = {.pos = bytes + sizeof bytes};
    const char *text = frames_of(&out, bytes, 3);
    unsigned told = 0;
    for (const char *at = text; (at = strstr(at, "ping")) != NULL; at++)
        told++;
    const char *omitted = strstr(text, "],\"frames_omitted\":");
    ck_assert_ptr_nonnull(omitted);
    ck_assert_uint_gt(told, 100);
    ck_assert_int_eq(atoi(omitted + 19), (int)sizeof bytes - (int)told);
}
END_TEST

/* ---- the buffer ---- */

static struct engine engine;
static struct quic_conn *conn;
static struct sink {
    char data[1 << 20];
    size_t len;
    unsigned opened, closed, writes;
    bool refuses, unopened;
} sink;

static void *sink_open(const struct quic_qlog_sink *own, const struct quic_conn *c) {
    (void)own;
    (void)c;
    sink.opened++;
    return sink.unopened ? NULL : &sink;
}

static bool sink_write(void *log, const struct quic_conn *c, const char *data, size_t len) {
    (void)c;
    ck_assert_ptr_eq(log, &sink);
    sink.writes++;
    if (sink.refuses)
        return false;
    ck_assert_uint_gt(sizeof sink.data - sink.len, len);
    memcpy(sink.data + sink.len, data, len);
    sink.len += len;
    sink.data[sink.len] = 0;
    return true;
}

static void sink_close(void *log, const struct quic_conn *c) {
    (void)c;
    ck_assert_ptr_eq(log, &sink);
    sink.closed++;
}

static void setup(void) {
    static const struct quic_qlog_sink ops = {sink_open, sink_write, sink_close};
    engine_open(&engine, CRYPTO_SERVER, 3, NULL);
    engine.config.qlog = &ops;
    memset(&sink, 0, sizeof sink);
    conn = quic_conn_new(&engine.endpoint, &engine.config, CRYPTO_SERVER, QUIC_VERSION_1, engine.now);
    ck_assert_ptr_nonnull(conn);
    conn->original_dcid = (struct quic_cid){.len = 3, .id = {0xab, 0, 0x0c}};
    engine.endpoint.now = engine.now;
}

static void teardown(void) {
    if (conn)
        quic_conn_free(conn);
    engine_close(&engine);
}

static unsigned records_in(const char *data, size_t len) {
    unsigned count = 0;
    for (size_t i = 0; i < len; i++) {
        if (data[i] == 0x1e) {
            count++;
            ck_assert(i == 0 || data[i - 1] == '\n');
        }
    }
    ck_assert(!len || (data[0] == 0x1e && data[len - 1] == '\n'));
    return count;
}

START_TEST(a_log_is_named_and_has_a_header)
{
    char name[QUIC_QLOG_NAME];
    quic_qlog_name(conn, name);
    ck_assert_str_eq(name, "ab000c_server");
    quic_qlog_begin(conn);
    ck_assert_uint_eq(sink.writes, 0);
    quic_qlog_flush(conn);
    ck_assert_uint_eq(records_in(sink.data, sink.len), 5); /* header, started, versions, recovery, state */
    /* 256 bytes tell what the file is; the engine's wall clock began at 1,700,000,000 s */
    static const char start[] = "\x1e{\"file_schema\":\"urn:ietf:params:qlog:file:sequential\","
                                "\"serialization_format\":\"application/qlog+json-seq\",";
    ck_assert_int_eq(strncmp(sink.data, start, sizeof start - 1), 0);
    ck_assert_ptr_nonnull(strstr(sink.data, "\"group_id\":\"ab000c\""));
    ck_assert_ptr_nonnull(strstr(sink.data, "\"wall_clock_time\":\"2023-11-14T22:13:20.000Z\""));
    ck_assert_ptr_null(conn->qlog->buffer); /* nothing waits: nothing is held */
}
END_TEST

START_TEST(dates_are_right)
{
    static const struct {
        uint64_t seconds;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00.000Z"},          {951782400, "2000-02-29T00:00:00.000Z"},
                 {951868799, "2000-02-29T23:59:59.000Z"},  {951868800, "2000-03-01T00:00:00.000Z"},
                 {1735689599, "2024-12-31T23:59:59.000Z"}, {4107542400, "2100-03-01T00:00:00.000Z"}};
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        engine.endpoint.unix_offset = cases[i].seconds * BASE_SEC - engine.now;
        sink.len = 0;
        quic_qlog_begin(conn);
        quic_qlog_end(conn);
        ck_assert_msg(strstr(sink.data, cases[i].text), "%s in %.600s", cases[i].text, sink.data);
    }
}
END_TEST

START_TEST(records_go_when_there_are_many_or_when_they_are_old)
{
    quic_qlog_begin(conn);
    for (unsigned i = 0; i < 100; i++)
        quic_qlog_timer_expired(conn);
    ck_assert_uint_eq(sink.writes, 0);
    while (!sink.writes)
        quic_qlog_timer_expired(conn);
    ck_assert_uint_gt(sink.len, QUIC_QLOG_BUFFER - QUIC_QLOG_ROOM);
    ck_assert_uint_lt(sink.len, QUIC_QLOG_BUFFER);
    quic_qlog_timer_expired(conn);
    engine.endpoint.now += QUIC_QLOG_AGE;
    ck_assert_uint_eq(sink.writes, 1);
    quic_qlog_timer_expired(conn);
    ck_assert_uint_eq(sink.writes, 2);
    ck_assert_uint_eq(conn->stats.qlog_dropped, 0);
}
END_TEST

START_TEST(what_nobody_takes_is_counted_but_the_header_waits)
{
    quic_qlog_begin(conn);
    sink.refuses = true;
    quic_qlog_timer_expired(conn);
    quic_qlog_flush(conn);
    ck_assert_uint_eq(conn->stats.qlog_dropped, 5); /* all but the header */
    quic_qlog_flush(conn);
    ck_assert_uint_eq(conn->stats.qlog_dropped, 5);
    sink.refuses = false;
    quic_qlog_timer_expired(conn);
    quic_qlog_flush(conn);
    ck_assert_uint_eq(records_in(sink.data, sink.len), 2);
    ck_assert_ptr_nonnull(strstr(sink.data, "file_schema"));
    sink.refuses = true;
    quic_qlog_timer_expired(conn);
    quic_qlog_flush(conn);
    ck_assert_uint_eq(conn->stats.qlog_dropped, 6);
}
END_TEST

START_TEST(a_header_that_never_went_is_counted_too)
{
    sink.refuses = true;
    quic_qlog_begin(conn);
    quic_qlog_end(conn);
    ck_assert_ptr_null(conn->qlog);
    ck_assert_uint_eq(sink.closed, 1);
    ck_assert_uint_eq(conn->stats.qlog_dropped, 5);
}
END_TEST

START_TEST(without_memory_records_are_dropped_and_nothing_else)
{
    quic_qlog_begin(conn);
    quic_qlog_flush(conn);
    uint64_t limit = engine.mem.limit;
    engine.mem.limit = engine.mem.used;
    quic_qlog_timer_expired(conn);
    quic_qlog_poll(conn);
    ck_assert_uint_ge(conn->stats.qlog_dropped, 2);
    engine.mem.limit = limit;
    uint64_t dropped = conn->stats.qlog_dropped;
    quic_qlog_timer_expired(conn);
    ck_assert_uint_eq(conn->stats.qlog_dropped, dropped);
    quic_qlog_end(conn);
    engine.mem.limit = engine.mem.used + 1000;
    quic_qlog_begin(conn);
    ck_assert_ptr_null(conn->qlog);
    ck_assert_uint_eq(sink.opened, 1); /* nobody was told of a log that cannot be */
    ck_assert_uint_eq(conn->stats.qlog_dropped, dropped + 1);
    engine.mem.limit = limit;
}
END_TEST

START_TEST(a_sink_that_does_not_want_it)
{
    sink.unopened = true;
    quic_qlog_begin(conn);
    ck_assert_ptr_null(conn->qlog);
    ck_assert_uint_eq(sink.closed, 0);
    engine.config.qlog = NULL;
    quic_qlog_begin(conn);
    ck_assert_uint_eq(sink.opened, 1);
}
END_TEST

START_TEST(one_connection_of_many)
{
    engine.config.options.qlog_one_in = 10;
    unsigned told = 0;
    for (unsigned i = 0; i < 1000; i++) {
        quic_qlog_begin(conn);
        told += conn->qlog != NULL;
        if (conn->qlog)
            quic_qlog_end(conn);
        sink.len = 0;
    }
    ck_assert_uint_gt(told, 50);
    ck_assert_uint_lt(told, 200);
    ck_assert_uint_eq(conn->stats.qlog_dropped, 0); /* what was not chosen was not lost */
}
END_TEST

START_TEST(the_sums_outlive_the_connection)
{
    sink.refuses = true;
    quic_qlog_begin(conn);
    quic_conn_free(conn);
    conn = NULL;
    ck_assert_uint_ge(engine.endpoint.stats.qlog_dropped, 5);
    ck_assert_uint_eq(sink.closed, 1);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("qlog");
    TCase *frames = tcase_create("frames"), *buffer = tcase_create("buffer");
    tcase_add_test(frames, streams_and_their_control);
    tcase_add_test(frames, the_connections_own_frames);
    tcase_add_test(frames, acknowledgements);
    tcase_add_test(frames, closes);
    tcase_add_test(frames, what_is_no_frame);
    tcase_add_test(frames, more_frames_than_fit_are_counted);
    tcase_add_checked_fixture(buffer, setup, teardown);
    tcase_add_test(buffer, a_log_is_named_and_has_a_header);
    tcase_add_test(buffer, dates_are_right);
    tcase_add_test(buffer, records_go_when_there_are_many_or_when_they_are_old);
    tcase_add_test(buffer, what_nobody_takes_is_counted_but_the_header_waits);
    tcase_add_test(buffer, a_header_that_never_went_is_counted_too);
    tcase_add_test(buffer, without_memory_records_are_dropped_and_nothing_else);
    tcase_add_test(buffer, a_sink_that_does_not_want_it);
    tcase_add_test(buffer, one_connection_of_many);
    tcase_add_test(buffer, the_sums_outlive_the_connection);
    suite_add_tcase(suite, frames);
    suite_add_tcase(suite, buffer);
    return suite;
}
