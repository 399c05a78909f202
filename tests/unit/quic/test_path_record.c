/* Records of paths: their order, what is kept of paths that are gone and how many, none of paths that were never
 * used. */
#include "engine.h"
#include "quic/path_record.h"

static struct engine engine;
static struct quic_conn *conn;

/* A server's connection with a confirmed handshake, on 192.0.2.9:1000. */
static void setup(void) {
    engine_open(&engine, CRYPTO_SERVER, 3, NULL);
    conn = quic_conn_new(&engine.endpoint, &engine.config, CRYPTO_SERVER, QUIC_VERSION_1, engine.now);
    ck_assert_ptr_nonnull(conn);
    struct quic_cid cid = {.len = 8};
    quic_remote_cids_set_initial(&conn->remote_cids, &cid);
    conn->handshake_complete = conn->handshake_confirmed = true;
    conn->paths[0]->local = engine.socket.local;
    conn->paths[0]->remote = engine_addr(9, 1000);
    conn->paths[0]->socket = &engine.socket;
    quic_path_on_validated(conn->paths[0], engine.now);
}

static void teardown(void) {
    quic_conn_free(conn);
    engine_close(&engine);
}

/* Another path, which got one datagram; at most two fit beside the active one and what to go back to. */
static struct quic_path *use(uint16_t port) {
    struct quic_addr remote = engine_addr(9, port);
    struct quic_path *path = quic_path_open(conn, &engine.socket, &engine.socket.local, &remote, true, ++engine.now);
    ck_assert_ptr_nonnull(path);
    quic_path_on_datagram(path, port);
    return path;
}

static void expect(unsigned index, enum quic_path_use use, uint16_t port) {
    struct quic_path_record record;
    ck_assert(quic_path_record_at(conn, index, &record));
    ck_assert_uint_eq(record.use, use);
    ck_assert_uint_eq(record.remote.port, port);
    ck_assert_uint_eq(record.stats.bytes_received, port == 1000 ? 0 : port);
}

static void expect_end(unsigned index) {
    struct quic_path_record record;
    ck_assert(!quic_path_record_at(conn, index, &record));
    ck_assert(!quic_path_record_at(conn, index + 100, &record));
}

START_TEST(the_path_in_use_comes_first)
{
    expect(0, QUIC_PATH_IN_USE, 1000);
    expect_end(1);
    struct quic_path *path = use(1001);
    use(1002);
    expect(1, QUIC_PATH_SPARE, 1001);
    expect(2, QUIC_PATH_SPARE, 1002);
    expect_end(3);
    quic_path_activate(conn, path, engine.now);
    expect(0, QUIC_PATH_IN_USE, 1001);
    expect(1, QUIC_PATH_SPARE, 1000);
    expect(2, QUIC_PATH_SPARE, 1002);
    expect_end(3);
}
END_TEST

START_TEST(the_newest_that_are_gone_are_kept)
{
    for (uint16_t port = 1001; port <= 1003; port++)
        use(port);
    expect_end(4);
    for (uint16_t port = 1004; port <= 1006; port++)
        use(port); /* 1001, 1002, 1003 make room */
    expect(4, QUIC_PATH_GONE, 1003);
    expect(5, QUIC_PATH_GONE, 1002);
    expect(6, QUIC_PATH_GONE, 1001);
    expect_end(7);
    for (uint16_t port = 1007; port <= 1010; port++)
        use(port);
    expect(4, QUIC_PATH_GONE, 1007);
    expect(7, QUIC_PATH_GONE, 1004);
    expect_end(8);
}
END_TEST

START_TEST(a_path_without_a_datagram_leaves_nothing)
{
    for (uint16_t port = 1001; port <= 1004; port++)
        use(port)->control.stats.datagrams_received = 0;
    expect_end(4);
    ck_assert_ptr_null(conn->path_records);
}
END_TEST

START_TEST(what_is_measured_goes_with_it)
{
    struct quic_path *path = use(1001);
    quic_rtt_sample(&path->control.rtt, 30 * BASE_MS, 0);
    path->control.cc.window = 77777;
    path->mtu = 1333;
    path->control.ecn.state = QUIC_ECN_CAPABLE;
    quic_path_on_validated(path, ++engine.now);
    while (quic_path_at(conn, path->index) == path) {
        struct quic_path_record now;
        ck_assert(quic_path_record_at(conn, 1, &now));
        ck_assert(now.validated && now.mtu == 1333 && now.window == 77777 && now.rtt.min == 30 * BASE_MS);
        path->left = true;
        path->leave_at = ++engine.now;
        quic_path_on_timeout(conn, engine.now);
    }
    struct quic_path_record record;
    ck_assert(quic_path_record_at(conn, 1, &record));
    ck_assert_uint_eq(record.use, QUIC_PATH_GONE);
    ck_assert(record.validated);
    ck_assert_uint_eq(record.mtu, 1333);
    ck_assert_uint_eq(record.window, 77777);
    ck_assert_uint_eq(record.rtt.smoothed, 30 * BASE_MS);
    ck_assert_uint_eq(record.ecn, QUIC_ECN_CAPABLE);
}
END_TEST

/* Without memory a path leaves no record, and the next one may. */
START_TEST(a_record_less_is_no_harm)
{
    use(1001);
    engine.mem.limit = engine.mem.used;
    quic_path_keep_record(conn, conn->paths[0]); /* never used: it has none */
    conn->paths[0]->control.stats.datagrams_sent = 1;
    quic_path_keep_record(conn, conn->paths[0]);
    ck_assert_ptr_null(conn->path_records);
    expect(1, QUIC_PATH_SPARE, 1001);
    expect_end(2);
    engine.mem.limit = 0;
    quic_path_keep_record(conn, conn->paths[0]);
    expect(2, QUIC_PATH_GONE, 1000);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *const *tests[] = {
        &the_path_in_use_comes_first,   &the_newest_that_are_gone_are_kept, &a_path_without_a_datagram_leaves_nothing,
        &what_is_measured_goes_with_it, &a_record_less_is_no_harm,
    };
    Suite *suite = suite_create("quic/path_record");
    TCase *tcase = tcase_create("records");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
