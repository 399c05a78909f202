/* Moves by our own will: when they are allowed, that they wait for proof, what is told of them; the preferred address
 * on both sides. */
#include "engine.h"
#include "tables/errors.h"

static struct engine engine;
static struct quic_conn *conn;
static struct quic_socket second;

/* A connection with a confirmed handshake, from 192.0.2.1 to 192.0.2.9:443, whose peer has given it `ids` IDs more. */
static void open_as(enum crypto_role role, uint8_t ids) {
    engine_open(&engine, role, 3, NULL);
    conn = quic_conn_new(&engine.endpoint, &engine.config, role, QUIC_VERSION_1, engine.now);
    ck_assert_ptr_nonnull(conn);
    struct quic_cid cid = {.len = 8};
    quic_remote_cids_set_initial(&conn->remote_cids, &cid);
    for (uint8_t i = 1; i <= ids; i++) {
        uint8_t token[16];
        unsigned mask;
        memset(cid.id, i, sizeof cid.id);
        memset(token, 0x40 + i, sizeof token);
        ck_assert_int_eq(quic_remote_cids_add(&conn->remote_cids, i, 0, &cid, token, &mask), 0);
    }
    conn->handshake_complete = conn->handshake_confirmed = true;
    conn->paths[0]->local = engine.socket.local;
    conn->paths[0]->remote = engine_addr(9, 443);
    conn->paths[0]->socket = &engine.socket;
    quic_path_on_validated(conn->paths[0], engine.now);
    second = (struct quic_socket){.local = engine_addr(2, 6000)};
}

static void setup(void) { open_as(CRYPTO_CLIENT, 3); }

static void teardown(void) {
    if (conn->state >= QUIC_CONN_CLOSING)
        quic_endpoint_forget(&engine.endpoint, conn);
    else
        quic_conn_free(conn);
    engine_close(&engine);
}

static int migrate(void) { return quic_conn_migrate(conn, &second, &second.local, engine.now); }

static struct quic_path *candidate(void) {
    struct quic_addr remote = engine_addr(9, 443);
    struct quic_path *path = quic_path_find(conn, &second.local, &remote);
    ck_assert_ptr_nonnull(path);
    return path;
}

static void expect_news(enum quic_path_news news, const struct quic_addr *local) {
    struct quic_path_note note;
    ck_assert(quic_conn_path_note(conn, &note));
    ck_assert_uint_eq(note.news, news);
    ck_assert(quic_addr_equal(&note.local, local));
}

static void expect_no_news(void) {
    struct quic_path_note note;
    ck_assert(!quic_conn_path_note(conn, &note));
}

START_TEST(a_move_waits_for_proof)
{
    ck_assert_int_eq(migrate(), ERR_OK);
    struct quic_path *path = candidate();
    ck_assert_uint_eq(conn->recovery.active, 0);
    ck_assert(path->challenge_wanted);
    ck_assert_uint_eq(quic_path_allowance(path), UINT64_MAX); /* the limit is a server's */
    ck_assert_ptr_ne(quic_remote_cids_of_path(&conn->remote_cids, path->index),
                     quic_remote_cids_of_path(&conn->remote_cids, 0));
    ck_assert(quic_path_on_response(conn, path->challenge, engine.now));
    ck_assert_ptr_eq(quic_path_active(conn), path);
    ck_assert(conn->ping_wanted); /* so that the server follows */
    expect_news(QUIC_PATH_NEWS_VALIDATED, &second.local);
    expect_news(QUIC_PATH_NEWS_ACTIVE, &second.local);
    expect_no_news();
}
END_TEST

START_TEST(the_path_that_was_left_goes_in_time)
{
    migrate();
    quic_path_on_response(conn, candidate()->challenge, engine.now);
    ck_assert_int_eq(conn->paths[0]->state, QUIC_PATH_VALIDATED);
    base_time end = engine.now + quic_conn_three_pto(conn);
    ck_assert_uint_eq(quic_path_deadline(conn), end);
    quic_path_on_timeout(conn, end - 1);
    ck_assert_int_eq(conn->paths[0]->state, QUIC_PATH_VALIDATED);
    quic_path_on_timeout(conn, end);
    ck_assert_int_eq(conn->paths[0]->state, QUIC_PATH_NONE);
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER);
    ck_assert_uint_eq(conn->remote_cids.retire[0].want + conn->remote_cids.retire[QUIC_RETIRES - 1].want, QUIC_WANTED);
}
END_TEST

START_TEST(silence_leaves_it_where_it_was)
{
    migrate();
    for (unsigned i = 0; i < QUIC_PATH_TRIES; i++) {
        engine.now = quic_path_deadline(conn);
        quic_path_on_timeout(conn, engine.now);
    }
    ck_assert_uint_eq(conn->recovery.active, 0);
    expect_news(QUIC_PATH_NEWS_FAILED, &second.local);
    expect_no_news();
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER);
}
END_TEST

START_TEST(a_probe_does_not_move_until_asked)
{
    ck_assert_int_eq(quic_conn_probe(conn, &second, &second.local, engine.now), ERR_OK);
    ck_assert(quic_path_on_response(conn, candidate()->challenge, engine.now));
    ck_assert_uint_eq(conn->recovery.active, 0);
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER); /* it stays */
    ck_assert_int_eq(migrate(), ERR_OK);
    ck_assert_ptr_eq(quic_path_active(conn), candidate());
}
END_TEST

START_TEST(the_last_word_counts)
{
    migrate();
    ck_assert_int_eq(quic_conn_migrate(conn, &engine.socket, &engine.socket.local, engine.now), ERR_OK); /* stay */
    quic_path_on_response(conn, candidate()->challenge, engine.now);
    ck_assert_uint_eq(conn->recovery.active, 0);
}
END_TEST

START_TEST(what_is_refused)
{
    conn->handshake_confirmed = false;
    ck_assert_int_eq(migrate(), ERR_STATE);
    conn->handshake_confirmed = true;
    conn->peer_params.disable_active_migration = true;
    ck_assert_int_eq(migrate(), ERR_STATE);
    conn->peer_params.has_preferred_address = true; /* we are at the preferred address: only the other one was meant */
    conn->peer_params.preferred_address.v4 = engine_addr(9, 443);
    ck_assert_int_eq(migrate(), ERR_OK);
    teardown();
    open_as(CRYPTO_SERVER, 3);
    ck_assert_int_eq(migrate(), ERR_STATE);
    teardown();
    open_as(CRYPTO_CLIENT, 0);
    ck_assert_int_eq(migrate(), ERR_BLOCKED); /* never under an ID that was seen elsewhere */
    conn->state = QUIC_CONN_CLOSING;
    ck_assert_int_eq(migrate(), ERR_CLOSED);
    conn->state = QUIC_CONN_ESTABLISHED;
}
END_TEST

START_TEST(a_server_is_not_followed)
{
    migrate();
    quic_path_on_moved(conn, candidate(), engine.now);
    ck_assert_uint_eq(conn->recovery.active, 0);
}
END_TEST

START_TEST(old_notes_make_room)
{
    for (uint16_t i = 0; i < QUIC_PATH_NOTES + 3; i++) {
        struct quic_path path = {.local = engine_addr(1, (uint16_t)(i + 1))};
        quic_migrate_note(conn, &path, QUIC_PATH_NEWS_FAILED);
    }
    for (uint16_t i = 3; i < QUIC_PATH_NOTES + 3; i++) {
        struct quic_addr local = engine_addr(1, (uint16_t)(i + 1));
        expect_news(QUIC_PATH_NEWS_FAILED, &local);
    }
    expect_no_news();
}
END_TEST

/* ---- the preferred address ---- */

static struct quic_socket *sibling(struct quic_socket *socket, uint8_t family) {
    (void)socket;
    return second.local.family == family ? &second : NULL;
}
static const struct quic_socket_ops ops = {.sibling = sibling};

static void prefer(bool four, bool six) {
    struct quic_preferred_address *preferred = &conn->peer_params.preferred_address;
    conn->peer_params.has_preferred_address = true;
    if (four)
        preferred->v4 = engine_addr(77, 443);
    if (six)
        preferred->v6 = (struct quic_addr){.family = 6, .ip = {0xfd, 1}, .port = 443};
}

START_TEST(a_client_goes_there)
{
    prefer(true, true);
    quic_preferred_go(conn, engine.now);
    const struct quic_addr *to = &conn->peer_params.preferred_address.v4;
    struct quic_path *path = quic_path_find(conn, &engine.socket.local, to);
    ck_assert_ptr_nonnull(path);
    ck_assert_uint_eq(conn->recovery.active, 0);
    quic_path_on_response(conn, path->challenge, engine.now);
    ck_assert_ptr_eq(quic_path_active(conn), path);
    ck_assert(quic_preferred_is(conn, path));
}
END_TEST

START_TEST(the_other_family_is_tried_next)
{
    second.local = (struct quic_addr){.family = 6, .ip = {0xfd, 2}, .port = 6000};
    engine.socket.ops = &ops;
    prefer(true, true);
    quic_preferred_go(conn, engine.now);
    for (unsigned i = 0; i < QUIC_PATH_TRIES; i++) {
        engine.now = quic_path_deadline(conn);
        quic_path_on_timeout(conn, engine.now);
    }
    struct quic_path *path = quic_path_find(conn, &second.local, &conn->peer_params.preferred_address.v6);
    ck_assert_ptr_nonnull(path);
    ck_assert_ptr_eq(path->socket, &second);
    for (unsigned i = 0; i < QUIC_PATH_TRIES; i++) {
        engine.now = quic_path_deadline(conn);
        quic_path_on_timeout(conn, engine.now);
    }
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER); /* that was it */
    ck_assert_uint_eq(conn->recovery.active, 0);
}
END_TEST

START_TEST(it_stays_when_told_so_or_without_a_way)
{
    prefer(false, true);
    quic_preferred_go(conn, engine.now); /* no socket of that family */
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER);
    prefer(true, false);
    engine.config.options.follow_preferred_address = 0;
    quic_preferred_go(conn, engine.now);
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER);
}
END_TEST

START_TEST(a_server_offers_the_second_id)
{
    teardown();
    open_as(CRYPTO_SERVER, 3);
    struct quic_params params;
    quic_params_init(&params);
    quic_preferred_offer(conn, &params);
    ck_assert(!params.has_preferred_address);
    engine.config.preferred_v4 = engine_addr(77, 443);
    for (int i = 0; i < 2; i++) { /* asked twice, it says the same */
        quic_params_init(&params);
        quic_preferred_offer(conn, &params);
        ck_assert(params.has_preferred_address);
        ck_assert_uint_eq(conn->local_cids.next_sequence, 2);
    }
    struct quic_local_cid *own =
        quic_local_cids_find(&conn->local_cids, params.preferred_address.cid.id, params.preferred_address.cid.len);
    ck_assert_ptr_nonnull(own);
    ck_assert_uint_eq(own->sequence, 1);
    ck_assert_uint_ne(own->want, QUIC_WANTED);
}
END_TEST

START_TEST(a_server_speaks_from_there_when_it_is_proven)
{
    teardown();
    open_as(CRYPTO_SERVER, 3);
    engine.config.options.disable_active_migration = 1;
    engine.config.preferred_v4 = engine_addr(77, 443);
    struct quic_addr there = engine_addr(77, 443), from = engine_addr(50, 9), elsewhere = engine_addr(78, 443);
    ck_assert_ptr_null(quic_path_candidate(conn, &engine.socket, &elsewhere, &from, engine.now));
    struct quic_path *path = quic_path_candidate(conn, &engine.socket, &there, &from, engine.now);
    ck_assert_ptr_nonnull(path);
    quic_path_on_moved(conn, path, engine.now);
    ck_assert_uint_eq(conn->recovery.active, 0);
    path->control.stats.bytes_received = 1200;
    quic_path_on_response(conn, path->challenge, engine.now);
    ck_assert_ptr_eq(quic_path_active(conn), path);
}
END_TEST

START_TEST(a_client_takes_the_id)
{
    teardown();
    open_as(CRYPTO_CLIENT, 0);
    ck_assert(quic_preferred_accept(conn));
    prefer(true, false);
    conn->peer_params.preferred_address.cid = (struct quic_cid){.len = 8}; /* that of the handshake */
    ck_assert(!quic_preferred_accept(conn));
    conn->peer_params.preferred_address.cid.id[0] = 9;
    ck_assert(quic_preferred_accept(conn));
    quic_preferred_go(conn, engine.now);
    ck_assert_uint_ne(quic_path_deadline(conn), BASE_NEVER);
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &a_move_waits_for_proof,
        &the_path_that_was_left_goes_in_time,
        &silence_leaves_it_where_it_was,
        &a_probe_does_not_move_until_asked,
        &the_last_word_counts,
        &what_is_refused,
        &a_server_is_not_followed,
        &old_notes_make_room,
        &a_client_goes_there,
        &the_other_family_is_tried_next,
        &it_stays_when_told_so_or_without_a_way,
        &a_server_offers_the_second_id,
        &a_server_speaks_from_there_when_it_is_proven,
        &a_client_takes_the_id,
    };
    Suite *suite = suite_create("quic/migrate");
    TCase *tcase = tcase_create("migrate");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
