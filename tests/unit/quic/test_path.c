/* Paths: the limit before validation, challenges and answers, moving there and back, connection IDs, entries. */
#include "engine.h"

static struct engine engine;
static struct quic_conn *conn;

static struct quic_addr local;

/* A server's connection with a confirmed handshake, on 192.0.2.9:1000, whose peer has given it three IDs. */
static void setup(void) {
    engine_open(&engine, CRYPTO_SERVER, 3, NULL);
    local = engine.socket.local;
    conn = quic_conn_new(&engine.endpoint, &engine.config, CRYPTO_SERVER, QUIC_VERSION_1, engine.now);
    ck_assert_ptr_nonnull(conn);
    struct quic_cid cid = {.len = 8};
    quic_remote_cids_set_initial(&conn->remote_cids, &cid);
    for (uint8_t i = 1; i < 4; i++) {
        uint8_t token[16];
        unsigned mask;
        memset(cid.id, i, sizeof cid.id);
        memset(token, 0x40 + i, sizeof token);
        ck_assert_int_eq(quic_remote_cids_add(&conn->remote_cids, i, 0, &cid, token, &mask), 0);
    }
    conn->handshake_complete = conn->handshake_confirmed = true;
    conn->paths[0]->local = local;
    conn->paths[0]->remote = engine_addr(9, 1000);
    conn->paths[0]->socket = &engine.socket;
    quic_path_on_validated(conn->paths[0], engine.now);
}

static void teardown(void) {
    if (conn->state >= QUIC_CONN_CLOSING)
        quic_endpoint_forget(&engine.endpoint, conn);
    else
        quic_conn_free(conn);
    engine_close(&engine);
}

static struct quic_path *candidate(uint8_t host, uint16_t port) {
    struct quic_addr remote = engine_addr(host, port);
    return quic_path_candidate(conn, &engine.socket, &local, &remote, engine.now);
}

/* To the next deadline. */
static void advance(void) {
    base_time next = quic_path_deadline(conn);
    ck_assert(next != BASE_NEVER && next > engine.now);
    engine.now = next;
    quic_path_on_timeout(conn, engine.now);
}

static unsigned owed(void) {
    unsigned count = 0;
    for (unsigned i = 0; i < QUIC_RETIRES; i++)
        count += conn->remote_cids.retire[i].want == QUIC_WANTED;
    return count;
}

START_TEST(limit_is_three_times_what_came)
{
    struct quic_path *path = candidate(7, 7);
    ck_assert_uint_eq(quic_path_allowance(path), 0);
    path->control.stats.bytes_received = 100;
    path->control.stats.bytes_sent = 120;
    ck_assert_uint_eq(quic_path_allowance(path), 180);
    path->control.stats.bytes_sent = 301;
    ck_assert_uint_eq(quic_path_allowance(path), 0);
    quic_path_on_validated(path, engine.now);
    ck_assert_uint_eq(quic_path_allowance(path), UINT64_MAX);
}
END_TEST

START_TEST(candidate_is_probed_with_an_id_of_its_own)
{
    struct quic_path *path = candidate(7, 7);
    ck_assert_ptr_nonnull(path);
    ck_assert_ptr_eq(path, candidate(7, 7));
    ck_assert_ptr_ne(path, quic_path_active(conn));
    ck_assert_int_eq(path->state, QUIC_PATH_VALIDATING);
    ck_assert(path->challenge_wanted && path->expand);
    ck_assert(base_node_linked(&conn->dirty));
    struct quic_remote_cid *own = quic_remote_cids_of_path(&conn->remote_cids, path->index);
    ck_assert_ptr_nonnull(own);
    ck_assert_ptr_ne(own, quic_remote_cids_of_path(&conn->remote_cids, 0));
    ck_assert_ptr_eq(conn->recovery.paths[path->index], &path->control);
}
END_TEST

START_TEST(candidate_needs_a_confirmed_handshake_and_a_server)
{
    conn->handshake_confirmed = false;
    ck_assert_ptr_null(candidate(7, 7));
    conn->handshake_confirmed = true;
    conn->role = CRYPTO_CLIENT;
    ck_assert_ptr_null(candidate(7, 7)); /* a server does not move */
    conn->role = CRYPTO_SERVER;
    ck_assert_ptr_nonnull(candidate(7, 7));
}
END_TEST

START_TEST(candidate_with_migration_off_may_change_its_port)
{
    engine.config.options.disable_active_migration = 1;
    ck_assert_ptr_null(candidate(7, 1000));
    ck_assert_ptr_nonnull(candidate(9, 1001));
}
END_TEST

START_TEST(find_wants_both_addresses_of_a_server)
{
    struct quic_addr remote = engine_addr(9, 1000), other = engine_addr(2, 443), none = {0};
    ck_assert_ptr_eq(quic_path_find(conn, &local, &remote), conn->paths[0]);
    ck_assert_ptr_null(quic_path_find(conn, &other, &remote));
    ck_assert_ptr_eq(quic_path_find(conn, &none, &remote), conn->paths[0]);
    conn->role = CRYPTO_CLIENT;
    ck_assert_ptr_eq(quic_path_find(conn, &other, &remote), conn->paths[0]);
    conn->role = CRYPTO_SERVER;
}
END_TEST

/* ---- challenges ---- */

START_TEST(tries_differ_and_each_may_be_answered)
{
    struct quic_path *path = candidate(7, 7);
    path->control.stats.bytes_received = 1200;
    uint8_t first[8];
    memcpy(first, path->challenge, 8);
    quic_path_on_challenge_sent(path);
    advance();
    ck_assert(path->challenge_wanted);
    ck_assert_mem_ne(first, path->challenge, 8);
    uint8_t wrong[8] = {1, 2, 3};
    ck_assert(!quic_path_on_response(conn, wrong, engine.now));
    ck_assert_int_eq(path->state, QUIC_PATH_VALIDATING);
    ck_assert(quic_path_on_response(conn, first, engine.now));
    ck_assert_int_eq(path->state, QUIC_PATH_VALIDATED);
    ck_assert(!path->challenge_wanted);
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER);
    ck_assert(!quic_path_on_response(conn, first, engine.now)); /* nothing is asked any more */
}
END_TEST

START_TEST(silence_ends_a_candidate_after_three_tries)
{
    struct quic_path *path = candidate(7, 7);
    base_time start = engine.now, interval = path->challenge_interval;
    ck_assert_uint_ge(interval, quic_recovery_pto(&conn->recovery, QUIC_APPLICATION));
    ck_assert_uint_ge(interval, 3 * engine.config.options.initial_rtt);
    advance();
    advance();
    ck_assert_int_eq(path->state, QUIC_PATH_VALIDATING);
    advance();
    ck_assert_uint_eq(engine.now, start + 3 * interval);
    ck_assert_int_eq(path->state, QUIC_PATH_NONE);
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER);
    ck_assert_uint_eq(owed(), 1); /* its ID was seen there: retired */
    ck_assert_uint_eq(conn->recovery.active, 0);
}
END_TEST

/* 8.2.1: the limit kept the datagram small, so the answer proves the address; the MTU needs a second round. */
START_TEST(small_challenge_needs_a_second_round)
{
    struct quic_path *path = candidate(7, 7);
    path->control.stats.bytes_received = 100;
    quic_path_on_challenge_sent(path);
    uint8_t first[8];
    memcpy(first, path->challenge, 8);
    ck_assert(quic_path_on_response(conn, first, engine.now));
    ck_assert_int_eq(path->state, QUIC_PATH_VALIDATED);
    ck_assert(path->challenge_wanted);
    ck_assert_mem_ne(first, path->challenge, 8);
    quic_path_on_challenge_sent(path);
    ck_assert(quic_path_on_response(conn, path->challenge, engine.now));
    ck_assert(!path->challenge_wanted);
    ck_assert_uint_eq(quic_path_deadline(conn), BASE_NEVER);
}
END_TEST

START_TEST(second_round_without_answer_fails_the_path)
{
    struct quic_path *path = candidate(7, 7);
    path->control.stats.bytes_received = 100;
    quic_path_on_challenge_sent(path);
    ck_assert(quic_path_on_response(conn, path->challenge, engine.now));
    for (int i = 0; i < 3; i++)
        advance();
    ck_assert_int_eq(path->state, QUIC_PATH_NONE);
}
END_TEST

START_TEST(answers_owed_are_few_and_the_newest)
{
    struct quic_path *path = quic_path_active(conn);
    for (uint8_t i = 0; i < 10; i++) {
        uint8_t data[8] = {i};
        quic_path_on_challenge(path, data);
        quic_path_on_challenge(path, data); /* a repetition is one */
    }
    ck_assert_uint_eq(path->response_count, QUIC_PATH_RESPONSES);
    for (uint8_t i = 0; i < QUIC_PATH_RESPONSES; i++)
        ck_assert_uint_eq(path->responses[i][0], 10 - QUIC_PATH_RESPONSES + i);
}
END_TEST

/* ---- moving ---- */

START_TEST(move_challenges_both_ends_and_starts_afresh)
{
    struct quic_path *old = quic_path_active(conn), *path = candidate(7, 7);
    old->control.cc.window = 999999;
    old->mtu = 1400;
    quic_path_on_moved(conn, path, engine.now);
    ck_assert_ptr_eq(quic_path_active(conn), path);
    ck_assert(old->challenge_wanted && path->challenge_wanted);
    ck_assert_int_eq(old->state, QUIC_PATH_VALIDATED);
    ck_assert_uint_lt(path->control.cc.window, 999999);
    ck_assert_uint_eq(path->mtu, QUIC_MIN_INITIAL);
    ck_assert_uint_eq(quic_path_allowance(path), 3 * path->control.stats.bytes_received);
    ck_assert(conn->event.bits & QUIC_CONN_EV_PATH);
    uint8_t tries = path->challenge_tries;
    quic_path_on_moved(conn, path, engine.now); /* already there */
    ck_assert_uint_eq(path->challenge_tries, tries);
}
END_TEST

START_TEST(new_port_keeps_what_was_learnt)
{
    struct quic_path *old = quic_path_active(conn), *path = candidate(9, 1001);
    old->control.cc.window = 999999;
    old->control.bytes_in_flight = 5000;
    old->control.stats.packets_sent = 70;
    path->control.stats.packets_sent = 3;
    old->mtu = 1400;
    quic_path_on_moved(conn, path, engine.now);
    ck_assert_uint_eq(path->control.cc.window, 999999);
    ck_assert_uint_eq(path->control.bytes_in_flight, 0); /* these bytes are on the other path */
    ck_assert_uint_eq(old->control.bytes_in_flight, 5000);
    ck_assert_uint_eq(path->mtu, 1400);
    ck_assert_uint_eq(path->control.stats.packets_sent, 3); /* counters are the path's own all the same */
    ck_assert_uint_eq(old->control.stats.packets_sent, 70);
    old->control.bytes_in_flight = 0;
}
END_TEST

START_TEST(unproven_move_goes_back)
{
    struct quic_path *old = quic_path_active(conn), *path = candidate(7, 7);
    quic_path_on_moved(conn, path, engine.now);
    ck_assert(quic_path_on_response(conn, old->challenge, engine.now)); /* the peer is still where it was */
    conn->event.bits = 0;
    for (int i = 0; i < 3; i++)
        advance();
    ck_assert_ptr_eq(quic_path_active(conn), old);
    ck_assert_int_eq(path->state, QUIC_PATH_NONE);
    ck_assert(conn->event.bits & QUIC_CONN_EV_PATH);
    ck_assert_int_eq(conn->state, QUIC_CONN_HANDSHAKE);
}
END_TEST

START_TEST(old_path_that_is_silent_is_given_up)
{
    struct quic_path *old = quic_path_active(conn), *path = candidate(7, 7);
    quic_path_on_moved(conn, path, engine.now);
    path->control.stats.bytes_received = 1200;
    ck_assert(quic_path_on_response(conn, path->challenge, engine.now));
    for (int i = 0; i < 3; i++)
        advance();
    ck_assert_int_eq(old->state, QUIC_PATH_NONE);
    ck_assert_ptr_eq(quic_path_active(conn), path);
    ck_assert_uint_eq(owed(), 1);
}
END_TEST

START_TEST(nowhere_to_go_ends_silently)
{
    struct quic_path *old = quic_path_active(conn), *path = candidate(7, 7);
    quic_path_on_moved(conn, path, engine.now);
    ck_assert_ptr_ne(path, old);
    for (int i = 0; i < 3; i++)
        advance();
    ck_assert_int_eq(conn->state, QUIC_CONN_DRAINING);
    ck_assert_uint_eq(conn->close.code, QUIC_NO_VIABLE_PATH);
}
END_TEST

/* ---- connection IDs and entries ---- */

START_TEST(without_a_spare_the_id_is_shared)
{
    ck_assert_ptr_nonnull(candidate(7, 1));
    ck_assert_ptr_nonnull(candidate(7, 2));
    ck_assert_ptr_nonnull(candidate(7, 3));
    for (unsigned i = 0; i < QUIC_PATHS; i++)
        ck_assert_int_ne(conn->paths[i]->state, QUIC_PATH_NONE);
    struct quic_path *path = candidate(9, 1001); /* an entry is replaced, but its ID is spent */
    ck_assert_ptr_nonnull(path);
    uint8_t index = path->index;
    ck_assert_ptr_eq(quic_remote_cids_of_path(&conn->remote_cids, index),
                     quic_remote_cids_of_path(&conn->remote_cids, 0));
    quic_path_on_moved(conn, path, engine.now);
    ck_assert_ptr_nonnull(quic_remote_cids_of_path(&conn->remote_cids, index));
}
END_TEST

START_TEST(oldest_unproven_entry_is_replaced)
{
    struct quic_path *first = candidate(7, 1);
    engine.now += 1;
    struct quic_path *second = candidate(7, 2);
    engine.now += 1;
    struct quic_path *third = candidate(7, 3);
    quic_path_on_validated(first, engine.now); /* proven: kept */
    second->control.bytes_in_flight = 700;
    engine.now += 1;
    struct quic_path *fourth = candidate(7, 4);
    ck_assert_ptr_eq(fourth, second);
    ck_assert_uint_eq(fourth->remote.port, 4);
    ck_assert_uint_eq(fourth->control.bytes_in_flight, 0); /* those packets belong to no path now */
    ck_assert_int_eq(third->state, QUIC_PATH_VALIDATING);
    ck_assert_uint_eq(owed(), 1);
    for (uint16_t port = 10; port < 200; port++) { /* a flood never costs the active path or the way back */
        engine.now += BASE_SEC;
        ck_assert_ptr_nonnull(candidate(7, port));
    }
    ck_assert_int_eq(conn->paths[0]->state, QUIC_PATH_VALIDATED);
    ck_assert_int_eq(first->state, QUIC_PATH_VALIDATED);
    ck_assert_uint_eq(first->remote.port, 1);
    fourth->control.bytes_in_flight = 0;
}
END_TEST

START_TEST(retired_ids_are_replaced_active_path_first)
{
    struct quic_path *path = candidate(7, 1);
    uint8_t index = path->index;
    struct quic_cid cid = {.len = 8, .id = {99}};
    uint8_t token[16] = {99};
    unsigned mask;
    /* everything the peer gave before is withdrawn; one new ID has to do */
    ck_assert_int_eq(quic_remote_cids_add(&conn->remote_cids, 4, 4, &cid, token, &mask), 0);
    ck_assert_uint_eq(mask, 1u | 1u << index);
    ck_assert(quic_path_replace_cids(conn, mask, engine.now));
    ck_assert_uint_eq(quic_remote_cids_of_path(&conn->remote_cids, 0)->sequence, 4);
    ck_assert_int_eq(path->state, QUIC_PATH_NONE);
    ck_assert(!quic_path_replace_cids(conn, 1, engine.now)); /* and now there is none */
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &limit_is_three_times_what_came,
        &candidate_is_probed_with_an_id_of_its_own,
        &candidate_needs_a_confirmed_handshake_and_a_server,
        &candidate_with_migration_off_may_change_its_port,
        &find_wants_both_addresses_of_a_server,
        &tries_differ_and_each_may_be_answered,
        &silence_ends_a_candidate_after_three_tries,
        &small_challenge_needs_a_second_round,
        &second_round_without_answer_fails_the_path,
        &answers_owed_are_few_and_the_newest,
        &move_challenges_both_ends_and_starts_afresh,
        &new_port_keeps_what_was_learnt,
        &unproven_move_goes_back,
        &old_path_that_is_silent_is_given_up,
        &nowhere_to_go_ends_silently,
        &without_a_spare_the_id_is_shared,
        &oldest_unproven_entry_is_replaced,
        &retired_ids_are_replaced_active_path_first,
    };
    Suite *suite = suite_create("quic/path");
    TCase *tcase = tcase_create("path");
    tcase_add_checked_fixture(tcase, setup, teardown);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
