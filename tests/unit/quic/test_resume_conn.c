/* test_resume_conn.c - saved windows in sessions and tokens: what is believed, and how often. */
#include "engine.h"
#include "quic/resume_conn.h"
#include "tables/errors.h"

#define WINDOW 300000u
#define LIFETIME (3600 * BASE_SEC)

static struct engine engine;

static void setup(void) {
    engine_open(&engine, CRYPTO_CLIENT, 3, NULL);
    engine.config.options.careful_resume = 1;
}

static void teardown(void) { engine_close(&engine); }

/* A connection to 192.0.2.`host` from 192.0.2.`local`; 0: the system chooses. */
static struct quic_conn *conn_to(enum crypto_role role, uint8_t host, uint8_t local) {
    struct quic_conn *conn = quic_conn_new(&engine.endpoint, &engine.config, role, QUIC_VERSION_1, engine.now);
    ck_assert_ptr_nonnull(conn);
    conn->first_path.remote = engine_addr(host, 443);
    if (local)
        conn->first_path.local = engine_addr(local, 5000);
    conn->detached = true;
    return conn;
}

static struct quic_resume *resume_of(struct quic_conn *conn) { return conn->first_path.control.cc.resume; }

/* As if its path had been found to carry so much. */
static void observe(struct quic_conn *conn, uint64_t window) {
    struct quic_resume *r = resume_of(conn);
    r->observed = r->told = window;
    r->observed_rtt = 50 * BASE_MS;
}

static bool claim(struct quic_conn *conn) {
    struct quic_resume *r = resume_of(conn);
    return r->events->claim(r->user, &r->saved, engine.now);
}

struct visit {
    uint8_t host, local; /* the first connection's are 7 and 1 */
    int64_t later;       /* seconds */
    size_t cut;          /* bytes missing */
    bool offered, refused;
};

static const struct visit visits[] = {
    {7, 1, 60, 0, true, false},   {7, 0, 60, 0, true, false}, /* our own address is not known */
    {7, 1, 3600, 0, true, false}, {8, 1, 60, 0, false, true}, {7, 2, 60, 0, false, true}, /* from another network */
    {7, 1, 3601, 0, false, true}, {7, 1, -1, 0, false, true},                             /* saved in the future */
    {7, 1, 60, 1, false, false},
};

START_TEST(a_session_remembers_the_path)
{
    const struct visit *v = &visits[_i];
    uint8_t params[256];
    struct base_writer out = base_writer_of(params, sizeof params);
    base_write_varint(&out, 4); /* another parameter first */
    base_write_varint(&out, 1);
    base_write_u8(&out, 9);
    size_t before = (size_t)(out.pos - params);
    struct quic_conn *first = conn_to(CRYPTO_CLIENT, 7, 1);
    quic_resume_write_session(first, &out);
    ck_assert_uint_eq((size_t)(out.pos - params), before); /* nothing was observed: a session as of old */
    observe(first, WINDOW);
    quic_resume_write_session(first, &out);
    size_t len = (size_t)(out.pos - params);
    ck_assert_uint_le(len - before, QUIC_RESUME_SESSION_MAX);
    quic_conn_free(first);

    struct quic_params parsed; /* the parameter stands in nobody's way */
    const char *text;
    ck_assert_int_eq(quic_params_parse(params, len, CRYPTO_SERVER, &parsed, &text), 0);

    engine.now = (base_time)((int64_t)engine.now + v->later * (int64_t)BASE_SEC);
    struct quic_conn *second = conn_to(CRYPTO_CLIENT, v->host, v->local);
    quic_resume_read_session(second, params, before, engine.now);
    ck_assert_uint_eq(second->stats.resumes_refused, 0);
    quic_resume_read_session(second, params, len - v->cut, engine.now);
    const struct quic_resume *r = resume_of(second);
    ck_assert_int_eq(r->phase, v->offered ? QUIC_RESUME_RECONNAISSANCE : QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(second->stats.resumes_refused, v->refused);
    if (v->offered) {
        ck_assert_uint_eq(r->saved.window, WINDOW);
        ck_assert_uint_eq(r->saved.rtt, 50 * BASE_MS);
        ck_assert_uint_eq(r->saved.good_to, ENGINE_START + LIFETIME);
        ck_assert_uint_eq(r->most, engine.config.options.careful_resume_most);
    }
    quic_conn_free(second);
}
END_TEST

/* What our own address was, and is, as far as anybody knows. */
static const struct local {
    struct quic_addr then, now;
    bool same;
} locals[] = {
    {{.family = 4, .ip = {192, 0, 2, 1}}, {.family = 4, .ip = {192, 0, 2, 1}}, true},
    {{.family = 4, .ip = {192, 0, 2, 1}}, {.family = 4, .ip = {192, 0, 2, 2}}, false},
    {{.family = 4, .ip = {192, 0, 2, 1}}, {.family = 4}, true}, /* 0.0.0.0: the system chooses */
    {{.family = 4}, {.family = 4, .ip = {192, 0, 2, 1}}, true},
    {{0}, {.family = 4, .ip = {192, 0, 2, 1}}, true},
    {{.family = 4, .ip = {192, 0, 2, 1}}, {0}, true},
    {{.family = 6, .ip = {0xfe, 0x80, 1}, .scope = 2}, {.family = 6, .ip = {0xfe, 0x80, 1}, .scope = 3}, true},
};

/* Scopes are numbers of this machine and this moment: they are not compared. */
START_TEST(our_own_address_counts_as_far_as_it_is_known)
{
    const struct local *l = &locals[_i];
    const struct quic_addr there = {.family = 6, .ip = {0xfe, 0x80, 9}, .port = 443, .scope = 7};
    uint8_t params[256];
    struct base_writer out = base_writer_of(params, sizeof params);
    struct quic_conn *first = conn_to(CRYPTO_CLIENT, 7, 0), *second = conn_to(CRYPTO_CLIENT, 7, 0);
    first->first_path.remote = second->first_path.remote = there;
    second->first_path.remote.scope = 8;
    first->first_path.local = l->then;
    second->first_path.local = l->now;
    observe(first, WINDOW);
    quic_resume_write_session(first, &out);
    quic_resume_read_session(second, params, (size_t)(out.pos - params), engine.now);
    ck_assert_int_eq(resume_of(second)->phase, l->same ? QUIC_RESUME_RECONNAISSANCE : QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(second->stats.resumes_refused, !l->same);
    quic_conn_free(first);
    quic_conn_free(second);
}
END_TEST

/* The parameter is whole, but not what is in it. */
START_TEST(a_parameter_that_is_too_short_is_refused)
{
    uint8_t params[256];
    struct base_writer out = base_writer_of(params, sizeof params);
    struct quic_conn *first = conn_to(CRYPTO_CLIENT, 7, 0), *second = conn_to(CRYPTO_CLIENT, 7, 0);
    observe(first, WINDOW);
    quic_resume_write_session(first, &out);
    ck_assert_uint_eq(params[8], 54);
    params[8] = 53;
    quic_resume_read_session(second, params, (size_t)(out.pos - params) - 1, engine.now);
    ck_assert_int_eq(resume_of(second)->phase, QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(second->stats.resumes_refused, 1);
    quic_conn_free(first);
    quic_conn_free(second);
}
END_TEST

/* A connection that comes with a token of this age; `keeper` 1: another engine's. */
static struct quic_conn *come_back(const struct quic_addr *from, base_time issued, bool other, size_t cut) {
    uint8_t rest[64];
    struct base_writer out = base_writer_of(rest, sizeof rest);
    const struct quic_resume_saved saved = {.window = WINDOW, .rtt = 50 * BASE_MS};
    engine.endpoint.hash_secret[0] ^= other;
    quic_resume_write_token(&engine.endpoint, &saved, &out);
    engine.endpoint.hash_secret[0] ^= other;
    struct base_reader in = base_reader_of(rest, (size_t)(out.pos - rest) - cut);
    struct quic_conn *conn = conn_to(CRYPTO_SERVER, 7, 1);
    conn->first_path.remote = *from;
    quic_resume_read_token(conn, quic_endpoint_unix(&engine.endpoint, issued), &in, engine.now);
    return conn;
}

START_TEST(a_token_counts_where_it_was_issued)
{
    const struct quic_addr from = engine_addr(7, 443);
    struct quic_conn *conn = come_back(&from, engine.now - 10, false, 0);
    ck_assert_int_eq(resume_of(conn)->phase, QUIC_RESUME_RECONNAISSANCE);
    ck_assert_uint_eq(resume_of(conn)->saved.window, WINDOW);
    ck_assert_uint_eq(resume_of(conn)->saved.saved_at, engine.now - 10);
    quic_conn_free(conn);
    conn = come_back(&from, engine.now - 10, true, 0);
    ck_assert_int_eq(resume_of(conn)->phase, QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(conn->stats.resumes_refused, 1);
    quic_conn_free(conn);
    conn = come_back(&from, engine.now - 10, false, 1);
    ck_assert_int_eq(resume_of(conn)->phase, QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(conn->stats.resumes_refused, 1);
    quic_conn_free(conn);
    conn = come_back(&from, engine.now - 10, false, 20); /* all of it: a token as of old */
    ck_assert_int_eq(resume_of(conn)->phase, QUIC_RESUME_NORMAL);
    ck_assert_uint_eq(conn->stats.resumes_refused, 0);
    quic_conn_free(conn);
}
END_TEST

START_TEST(what_was_saved_is_used_once)
{
    const struct quic_addr here = engine_addr(7, 443), there = engine_addr(8, 443);
    base_time issued = engine.now;
    engine.now += BASE_SEC;
    struct quic_conn *first = come_back(&here, issued, false, 0);
    struct quic_conn *again = come_back(&here, issued, false, 0);
    struct quic_conn *beside =
        come_back(&here, engine.now, false, 0); /* another token, as old as the use of the first */
    struct quic_conn *other = come_back(&there, issued, false, 0);
    ck_assert(claim(first));
    ck_assert(!claim(first));
    ck_assert(!claim(again));
    ck_assert(!claim(beside));
    ck_assert(claim(other));
    engine.now += BASE_SEC;
    struct quic_conn *newer = come_back(&here, engine.now - 1, false, 0); /* from a connection that went on */
    ck_assert(claim(newer));
    struct quic_conn *all[] = {first, again, beside, other, newer};
    for (unsigned i = 0; i < 5; i++)
        quic_conn_free(all[i]);
}
END_TEST

/* The field of times knows no time before it, nor before the clock. */
START_TEST(what_was_saved_before_the_clock_began_is_used_once)
{
    uint8_t rest[64];
    struct base_writer out = base_writer_of(rest, sizeof rest);
    const struct quic_resume_saved saved = {.window = WINDOW, .rtt = 5000 * BASE_SEC};
    quic_resume_write_token(&engine.endpoint, &saved, &out);
    for (unsigned i = 0; i < 2; i++) {
        struct base_reader in = base_reader_of(rest, (size_t)(out.pos - rest));
        struct quic_conn *conn = conn_to(CRYPTO_SERVER, 7, 1);
        quic_resume_read_token(conn, quic_endpoint_unix(&engine.endpoint, 0) - BASE_SEC, &in, engine.now);
        ck_assert_uint_eq(resume_of(conn)->saved.saved_at, 0);
        ck_assert_uint_eq(resume_of(conn)->saved.rtt, UINT32_MAX * BASE_US); /* longer than what can be written */
        ck_assert(claim(conn) == !i);
        quic_conn_free(conn);
    }
    struct quic_conn *conn = conn_to(CRYPTO_SERVER, 8, 1);
    struct quic_resume *r = resume_of(conn);
    r->saved.address = 1;
    ck_assert(r->events->claim(r->user, &r->saved, 0)); /* in its first moment */
    ck_assert(!r->events->claim(r->user, &r->saved, 0));
    quic_conn_free(conn);
}
END_TEST

START_TEST(addresses_are_of_their_family)
{
    struct quic_addr four = {.family = 4, .ip = {192, 0, 2, 7}}, six = {.family = 6, .ip = {192, 0, 2, 7}};
    struct quic_conn *first = come_back(&four, engine.now - 1, false, 0);
    struct quic_conn *second = come_back(&six, engine.now - 1, false, 0);
    ck_assert(claim(first));
    ck_assert(claim(second));
    quic_conn_free(first);
    quic_conn_free(second);
}
END_TEST

START_TEST(a_network_of_ipv6_is_one_client)
{
    struct quic_addr here = {.family = 6, .ip = {0x20, 1, 0xd, 0xb8, 1, 2, 3, 4, 5}}, same = here, other = here;
    same.ip[15] = 9;
    other.ip[7] = 9;
    struct quic_conn *first = come_back(&here, engine.now - 1, false, 0);
    struct quic_conn *second = come_back(&same, engine.now - 1, false, 0);
    struct quic_conn *third = come_back(&other, engine.now - 1, false, 0);
    ck_assert(claim(first));
    ck_assert(!claim(second));
    ck_assert(claim(third));
    quic_conn_free(first);
    quic_conn_free(second);
    quic_conn_free(third);
}
END_TEST

START_TEST(without_memory_there_is_no_jump)
{
    const struct quic_addr here = engine_addr(7, 443);
    struct quic_conn *conn = come_back(&here, engine.now - 1, false, 0);
    engine.mem.limit = engine.mem.used;
    ck_assert(!claim(conn));
    engine.mem.limit = 0;
    ck_assert(claim(conn));
    quic_conn_free(conn);
}
END_TEST

/* A session as of old is 4 bytes of version, 2 of length, parameters, and TLS's. */
START_TEST(a_session_is_made_again)
{
    struct quic_conn *conn = conn_to(CRYPTO_CLIENT, 7, 1);
    quic_early_refresh(conn);
    ck_assert_ptr_null(conn->session); /* there is none yet */
    quic_early_on_session(conn, (const uint8_t *)"of TLS", 6);
    size_t before = conn->session_len;
    base_event_cancel(&conn->event);
    observe(conn, WINDOW);
    resume_of(conn)->events->on_observed(conn);
    ck_assert_uint_eq(conn->event.bits, QUIC_CONN_EV_SESSION);
    ck_assert_uint_gt(conn->session_len, before);
    ck_assert_uint_eq(base_load_u32(conn->session), QUIC_VERSION_1);
    ck_assert_mem_eq(conn->session + conn->session_len - 6, "of TLS", 6);
    ck_assert_uint_eq(conn->session_len, 6u + base_load_u16(conn->session + 4) + 6);
    observe(conn, 0); /* after a retreat */
    resume_of(conn)->events->on_observed(conn);
    ck_assert_uint_eq(conn->session_len, before);
    quic_conn_free(conn);
}
END_TEST

START_TEST(a_server_issues_a_new_token)
{
    struct quic_conn *conn = conn_to(CRYPTO_SERVER, 7, 1);
    ck_assert_uint_eq(conn->want_new_token, QUIC_WANT_NOT);
    resume_of(conn)->events->on_observed(conn);
    ck_assert_uint_eq(conn->want_new_token, QUIC_WANTED);
    ck_assert(conn->control_wanted);
    /* The one before is acknowledged: this one is wanted still. */
    struct quic_sent_frame frame = {.kind = QUIC_FRAME_NEW_TOKEN, .value = 0};
    quic_tx_on_fate(conn, QUIC_APPLICATION, &frame, QUIC_FATE_ACKED);
    ck_assert_uint_eq(conn->want_new_token, QUIC_WANTED);
    frame.value = 1;
    quic_tx_on_fate(conn, QUIC_APPLICATION, &frame, QUIC_FATE_ACKED);
    ck_assert_uint_eq(conn->want_new_token, QUIC_WANT_DONE);
    quic_conn_free(conn);
}
END_TEST

START_TEST(there_is_no_machine_unless_asked_for)
{
    uint8_t params[256];
    struct base_writer out = base_writer_of(params, sizeof params);
    struct quic_conn *conn = conn_to(CRYPTO_CLIENT, 7, 1);
    observe(conn, WINDOW);
    quic_resume_write_session(conn, &out);
    quic_conn_free(conn);
    engine.config.options.careful_resume = 0;
    conn = conn_to(CRYPTO_CLIENT, 8, 1);
    ck_assert_ptr_null(resume_of(conn));
    ck_assert_ptr_eq(conn->first_path.control.cc.ops, &quic_cc_cubic);
    quic_resume_read_session(conn, params, (size_t)(out.pos - params), engine.now); /* nor is anything judged */
    ck_assert_uint_eq(conn->stats.resumes_refused, 0);
    quic_conn_free(conn);
    const struct quic_addr from = engine_addr(7, 443);
    conn = come_back(&from, engine.now - 10, true, 0);
    ck_assert_uint_eq(conn->stats.resumes_refused, 0);
    quic_conn_free(conn);
    engine.config.options.careful_resume = 1;
    engine.config.options.pacing = 0;
    conn = conn_to(CRYPTO_CLIENT, 7, 1);
    ck_assert_ptr_null(resume_of(conn));
    quic_conn_free(conn);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/resume_conn");
    TCase *tcase = tcase_create("resume_conn");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_session_remembers_the_path, 0, (int)(sizeof visits / sizeof *visits));
    tcase_add_loop_test(tcase, our_own_address_counts_as_far_as_it_is_known, 0, (int)(sizeof locals / sizeof *locals));
    tcase_add_test(tcase, a_parameter_that_is_too_short_is_refused);
    tcase_add_test(tcase, a_token_counts_where_it_was_issued);
    tcase_add_test(tcase, what_was_saved_is_used_once);
    tcase_add_test(tcase, what_was_saved_before_the_clock_began_is_used_once);
    tcase_add_test(tcase, addresses_are_of_their_family);
    tcase_add_test(tcase, a_network_of_ipv6_is_one_client);
    tcase_add_test(tcase, without_memory_there_is_no_jump);
    tcase_add_test(tcase, a_session_is_made_again);
    tcase_add_test(tcase, a_server_issues_a_new_token);
    tcase_add_test(tcase, there_is_no_machine_unless_asked_for);
    suite_add_tcase(suite, tcase);
    return suite;
}
