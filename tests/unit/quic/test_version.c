/* Versions: what options make of them, and every rule about version_information (RFC 9368 section 4). */
#include "engine.h"

#define V1 QUIC_VERSION_1
#define V2 QUIC_VERSION_2
#define RESERVED UINT32_C(0x1a2a3a4a)

static struct engine engine;

static void open_engine(void) { engine_open(&engine, CRYPTO_CLIENT, 1, NULL); }
static void close_engine(void) { engine_close(&engine); }

START_TEST(options_say_what_is_spoken)
{
    struct options o;
    options_init(&o);
    static const struct {
        uint64_t versions, version;
        bool v1, v2;
        uint32_t first;
    } rows[] = {{0, 0, true, true, V1},  {0, 1, true, true, V2},  {1, 0, true, false, V1},
                {1, 1, true, false, V1}, {2, 0, false, true, V2}, {2, 1, false, true, V2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        o.versions = rows[i].versions;
        o.version = rows[i].version;
        uint32_t list[QUIC_VERSION_LIST_MAX];
        ck_assert(quic_version_spoken(&o, V1) == rows[i].v1);
        ck_assert(quic_version_spoken(&o, V2) == rows[i].v2);
        ck_assert(!quic_version_spoken(&o, RESERVED) && !quic_version_spoken(&o, 0));
        ck_assert_uint_eq(quic_version_first(&o, NULL, 0), rows[i].first);
        ck_assert_uint_eq(quic_version_list(&o, rows[i].first, list), (unsigned)rows[i].v1 + rows[i].v2);
        ck_assert_uint_eq(list[0], rows[i].first);
    }
}
END_TEST

/* A session says what the server speaks; one of a version that is not spoken, or not one at all, says nothing. */
START_TEST(session_brings_its_version)
{
    struct options o;
    options_init(&o);
    static const uint8_t v2[] = {0x6b, 0x33, 0x43, 0xcf, 0, 0}, v1[] = {0, 0, 0, 1}, other[] = {1, 2, 3, 4};
    ck_assert_uint_eq(quic_version_first(&o, v2, sizeof v2), V2);
    ck_assert_uint_eq(quic_version_first(&o, v2, 3), V1);
    ck_assert_uint_eq(quic_version_first(&o, other, sizeof other), V1);
    o.version = 1;
    ck_assert_uint_eq(quic_version_first(&o, v1, sizeof v1), V1);
    o.versions = 2;
    ck_assert_uint_eq(quic_version_first(&o, v1, sizeof v1), V2);
}
END_TEST

START_TEST(reserved_versions_look_like_it)
{
    for (int i = 0; i < 100; i++)
        ck_assert_uint_eq(quic_version_reserved(&engine.endpoint.random) & UINT32_C(0x0f0f0f0f), UINT32_C(0x0a0a0a0a));
}
END_TEST

START_TEST(information_is_complete)
{
    struct quic_params params;
    engine.config.options.grease = 0;
    struct quic_conn *conn = quic_conn_new(&engine.endpoint, &engine.config, CRYPTO_CLIENT, V2, engine.now);
    quic_params_init(&params);
    quic_version_inform(conn, &params);
    ck_assert_uint_eq(params.chosen_version, V2);
    ck_assert_uint_eq(params.available_count, 2);
    ck_assert_uint_eq(params.available_versions[0], V2); /* by preference */
    ck_assert_uint_eq(params.available_versions[1], V1);
    engine.config.options.grease = 1;
    quic_version_inform(conn, &params);
    ck_assert_uint_eq(params.available_count, 3);
    ck_assert(!quic_version_known(params.available_versions[2]));
    quic_conn_free(conn);
}
END_TEST

/* RFC 9368 4, rule by rule. */
static const struct {
    enum crypto_role role;
    uint32_t original, version, first;
    bool restarted;
    uint32_t chosen, available[3];
    unsigned count;
    bool fine;
} checks[] = {
    /* a server: the client's chosen version is the one it came in; nothing given is fine */
    {CRYPTO_SERVER, V1, V1, V1, false, V1, {V1}, 1, true},
    {CRYPTO_SERVER, V2, V2, V2, false, V2, {V1, V2}, 2, true},
    {CRYPTO_SERVER, V1, V1, V1, false, V2, {V1, V2}, 2, false},
    {CRYPTO_SERVER, V2, V2, V2, false, RESERVED, {RESERVED, V2}, 2, false},
    {CRYPTO_SERVER, V1, V1, V1, false, 0, {0}, 0, true},
    /* a client: the server's is the one in use, changed or not; a change has to be told */
    {CRYPTO_CLIENT, V1, V1, V1, false, V1, {V1}, 1, true},
    {CRYPTO_CLIENT, V1, V1, V1, false, V1, {0}, 0, true},
    {CRYPTO_CLIENT, V1, V1, V1, false, V1, {V2, RESERVED}, 2, true},
    {CRYPTO_CLIENT, V1, V2, V1, false, V2, {V1, V2}, 2, true},
    {CRYPTO_CLIENT, V1, V2, V1, false, V1, {V1, V2}, 2, false},
    {CRYPTO_CLIENT, V1, V1, V1, false, V2, {V1, V2}, 2, false},
    {CRYPTO_CLIENT, V1, V1, V1, false, 0, {0}, 0, true},
    {CRYPTO_CLIENT, V2, V2, V2, false, 0, {0}, 0, true},
    {CRYPTO_CLIENT, V1, V2, V1, false, 0, {0}, 0, false},
    /* after Version Negotiation: would the choice be the same? */
    {CRYPTO_CLIENT, V1, V1, V2, true, V1, {V1}, 1, true},
    {CRYPTO_CLIENT, V1, V1, V2, true, V1, {RESERVED}, 1, true}, /* the version in use counts as listed */
    {CRYPTO_CLIENT, V1, V1, V2, true, V1, {V1, V2}, 2, false},
    {CRYPTO_CLIENT, V1, V1, V2, true, V1, {RESERVED, V2}, 2, false},
    {CRYPTO_CLIENT, V1, V1, V2, true, V1, {0}, 0, false},
    {CRYPTO_CLIENT, V1, V1, V2, true, 0, {0}, 0, true}, /* section 8: version 1 alone may not know the parameter */
    {CRYPTO_CLIENT, V2, V2, V1, true, 0, {0}, 0, false},
    {CRYPTO_CLIENT, V2, V2, V1, true, V2, {V2}, 1, true},
    {CRYPTO_CLIENT, V2, V2, V1, true, V2, {V2, V1}, 2, false},
    {CRYPTO_CLIENT, V2, V2, V1, true, V1, {V2}, 1, false},
};

/* A client that begins with one version may wish for the other. */
START_TEST(client_lists_its_preference_first)
{
    struct quic_params params;
    engine.config.options.version_preference = 2;
    struct quic_conn *conn = quic_conn_new(&engine.endpoint, &engine.config, CRYPTO_CLIENT, V1, engine.now);
    quic_params_init(&params);
    quic_version_inform(conn, &params);
    ck_assert_uint_eq(params.chosen_version, V1);
    ck_assert_uint_eq(params.available_versions[0], V2);
    ck_assert_uint_eq(params.available_versions[1], V1);
    quic_conn_free(conn);
}
END_TEST

START_TEST(information_is_judged)
{
    struct quic_conn *conn =
        quic_conn_new(&engine.endpoint, &engine.config, checks[_i].role, checks[_i].original, engine.now);
    conn->version = checks[_i].version;
    conn->first_version = checks[_i].first;
    conn->version_restarted = checks[_i].restarted;
    struct quic_params params;
    quic_params_init(&params);
    params.chosen_version = checks[_i].chosen;
    params.available_count = (uint8_t)checks[_i].count;
    memcpy(params.available_versions, checks[_i].available, sizeof checks[_i].available);
    const char *text = quic_version_check(conn, &params);
    ck_assert_msg((text == NULL) == checks[_i].fine, "%s", text ? text : "was let through");
    quic_conn_free(conn);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/version");
    TCase *tests = tcase_create("versions");
    tcase_add_checked_fixture(tests, open_engine, close_engine);
    tcase_add_test(tests, options_say_what_is_spoken);
    tcase_add_test(tests, session_brings_its_version);
    tcase_add_test(tests, reserved_versions_look_like_it);
    tcase_add_test(tests, information_is_complete);
    tcase_add_test(tests, client_lists_its_preference_first);
    tcase_add_loop_test(tests, information_is_judged, 0, sizeof checks / sizeof *checks);
    suite_add_tcase(suite, tests);
    return suite;
}
