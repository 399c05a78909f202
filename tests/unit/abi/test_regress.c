/* What implementations of QUIC have got wrong around the transport: addresses, ports, trust by default, what waits when
 * something ends. Each behaviour once, through weft.h and with true sockets, and every test fails with the mistake in
 * it. (What lies in the transport itself is in tests/unit/quic/test_regress.c.) */
#include <poll.h>

#include "world.h"

static struct world configs; /* only its configurations are used */
static struct world_log log_;
static weft_engine engine;

static void on_events(void *user, const weft_event *events, uint32_t count) {
    (void)user;
    for (uint32_t i = 0; i < count && log_.count < WORLD_EVENTS; i++)
        log_.events[log_.count++] = events[i];
}

static void setup(void) {
    memset(&log_, 0, sizeof log_);
    memset(&configs, 0, sizeof configs);
    world_configs(&configs);
    weft_engine_params params = {.size = sizeof params, .on_events = on_events};
    ck_assert_int_eq(weft_engine_new(&params, &engine), 0);
}

static void teardown(void) {
    ck_assert_int_eq(weft_engine_free(engine), 0);
    weft_config_free(configs.client_config);
    weft_config_free(configs.server_config);
}

/* Runs until an event of this type came, the `number`th. */
static const weft_event *await(uint32_t type, uint32_t number) {
    while (world_count(&log_, type) < number) {
        uint64_t wait;
        ck_assert_int_eq(weft_engine_deadline(engine, &wait), 0);
        struct pollfd fd = {.fd = weft_engine_fd(engine), .events = POLLIN};
        poll(&fd, 1, wait > 1000000000 ? 1000 : (int)(wait / 1000000));
        ck_assert_int_ge(weft_engine_turn(engine), 0);
    }
    const weft_event *event = NULL;
    for (uint32_t at = 0; number; number--)
        event = world_find(&log_, type, &at);
    return event;
}

static weft_addr listen_at(const char *where, weft_listener *listener) {
    weft_addr addr;
    ck_assert_int_eq(weft_listen(engine, configs.server_config, where, NULL, listener), 0);
    ck_assert_int_eq(weft_listener_address(*listener, &addr), 0);
    ck_assert_uint_ne(addr.port, 0);
    return addr;
}

static weft_conn dial(weft_config config, const char *host, uint16_t port) {
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test"};
    weft_conn conn;
    ck_assert_int_eq(weft_connect(engine, config, host, port, &params, &conn), 0);
    return conn;
}

static void expect_family(weft_conn conn, uint8_t family, uint16_t port) {
    weft_conn_info info = {.size = sizeof info};
    ck_assert_int_eq(weft_conn_get_info(conn, &info), 0);
    ck_assert_uint_eq(info.remote.family, family);
    ck_assert_uint_eq(info.remote.port, port);
}

/* ---- addresses and ports ---- */

START_TEST(clients_speak_ipv6)
{
    weft_listener listener;
    weft_addr at = listen_at("[::1]:0", &listener);
    ck_assert_uint_eq(at.family, 6);
    weft_conn conn = dial(configs.client_config, "::1", at.port);
    await(WEFT_EV_CONNECTED, 1);
    expect_family(conn, 6, at.port);
}
END_TEST

START_TEST(one_listener_takes_both_families)
{
    weft_listener listener;
    weft_addr at = listen_at("[::]:0", &listener);
    weft_conn four = dial(configs.client_config, "127.0.0.1", at.port);
    weft_conn six = dial(configs.client_config, "::1", at.port);
    await(WEFT_EV_ACCEPTED, 2);
    await(WEFT_EV_CONNECTED, 2);
    expect_family(four, 4, at.port);
    expect_family(six, 6, at.port);
}
END_TEST

/* Bound to the address that was named and not to all: its port is free at another one. */
START_TEST(a_listener_is_where_it_was_told_to_be)
{
    weft_listener first, second;
    char text[WEFT_ADDR_TEXT];
    static const uint8_t named[4] = {127, 0, 0, 2};
    weft_addr at = listen_at("127.0.0.2:0", &first);
    ck_assert_mem_eq(at.ip, named, 4);
    at.ip[3] = 3;
    ck_assert_int_gt(weft_addr_format(&at, text, sizeof text), 0);
    ck_assert_uint_eq(listen_at(text, &second).port, at.port);
    dial(configs.client_config, "127.0.0.3", at.port);
    ck_assert_uint_eq(await(WEFT_EV_ACCEPTED, 1)->listener.id, second.id);
}
END_TEST

/* The port that is told is the one that is held: nobody can come in between, and each listener has its own. */
START_TEST(port_0_is_a_port_at_once)
{
    weft_listener listeners[4], thief;
    for (unsigned i = 0; i < 4; i++) {
        char text[WEFT_ADDR_TEXT];
        weft_addr at = listen_at("127.0.0.1:0", &listeners[i]);
        weft_addr_format(&at, text, sizeof text);
        ck_assert_int_eq(weft_listen(engine, configs.server_config, text, NULL, &thief), WEFT_E_IO);
        dial(configs.client_config, "127.0.0.1", at.port);
        await(WEFT_EV_CONNECTED, i + 1);
    }
}
END_TEST

/* ---- trust ---- */

static weft_config plain_client(void) {
    weft_config config;
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &config), 0);
    ck_assert_int_eq(weft_config_set_alpn(config, "echo"), 0);
    return config;
}

/* A client that was told nothing verifies: it has authorities to ask, and a stranger is none of theirs. */
START_TEST(clients_verify_unless_told_otherwise)
{
    weft_listener listener;
    weft_addr at = listen_at("127.0.0.1:0", &listener);
    weft_config config = plain_client();
    dial(config, "127.0.0.1", at.port);
    const weft_event *closed = await(WEFT_EV_CONN_CLOSED, 1);
    ck_assert_int_eq(closed->error, WEFT_E_CERTIFICATE);
    ck_assert_uint_eq(world_count(&log_, WEFT_EV_CONNECTED), 0);
    weft_config_free(config);
    config = plain_client();
    ck_assert_int_eq(weft_config_set_verify(config, 0), 0);
    dial(config, "127.0.0.1", at.port);
    await(WEFT_EV_CONNECTED, 1);
    weft_config_free(config);
}
END_TEST

/* Authorities that cannot be read are no authorities that trust nobody, nor such that trust all: an error, at once. */
START_TEST(trust_that_cannot_be_had_is_an_error)
{
    weft_config config = plain_client();
    weft_conn conn;
    ck_assert_int_eq(weft_config_add_trust_file(config, "/nowhere/authorities.pem"), WEFT_E_IO);
    weft_config_free(config);
    const char *before = getenv("SSL_CERT_FILE");
    char *kept = before ? strdup(before) : NULL;
    setenv("SSL_CERT_FILE", "/nowhere/authorities.pem", 1);
    config = plain_client();
    ck_assert_int_lt(weft_connect(engine, config, "127.0.0.1", 1, NULL, &conn), 0);
    weft_config_free(config);
    unsetenv("SSL_CERT_FILE");
    if (kept)
        setenv("SSL_CERT_FILE", kept, 1);
    free(kept);
}
END_TEST

/* A server that is to verify its clients has none without a certificate. */
START_TEST(servers_that_verify_do_verify)
{
    weft_listener listener;
    uint8_t pin[32] = {1};
    ck_assert_int_eq(weft_config_set_verify(configs.server_config, 1), 0);
    ck_assert_int_eq(weft_config_add_pin(configs.server_config, pin), 0);
    weft_addr at = listen_at("127.0.0.1:0", &listener);
    weft_conn conn = dial(configs.client_config, "127.0.0.1", at.port);
    const weft_event *closed = await(WEFT_EV_CONN_CLOSED, 1);
    for (uint32_t i = 2; closed->conn.id != conn.id; i++) /* the server's own comes first */
        closed = await(WEFT_EV_CONN_CLOSED, i);
    ck_assert_uint_eq(closed->cause, WEFT_CAUSE_PEER);
    ck_assert_uint_eq(world_count(&log_, WEFT_EV_STREAM_OPENED), 0);
    for (uint32_t i = 0; i < log_.count; i++)
        ck_assert(log_.events[i].type != WEFT_EV_CONNECTED || log_.events[i].conn.id == conn.id);
}
END_TEST

/* ---- ends ---- */

/* Whoever waits - for room, for bytes, for a peer - hears of the end, once. */
START_TEST(nobody_waits_for_what_has_ended)
{
    static uint8_t bytes[1 << 16];
    weft_listener listener;
    weft_addr at = listen_at("127.0.0.1:0", &listener);
    weft_conn conn = dial(configs.client_config, "127.0.0.1", at.port);
    await(WEFT_EV_CONNECTED, 1);
    weft_stream full, quiet;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &full), 0);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_BIDI, NULL, &quiet), 0);
    while (weft_stream_write(full, bytes, sizeof bytes, 0) == sizeof bytes)
        continue; /* until it is refused, and WRITABLE is owed */
    ck_assert_int_eq(weft_conn_close(conn, 0, NULL), 0);
    await(WEFT_EV_CONN_CLOSED, 1);
    for (const weft_stream *s = &full; s; s = s == &full ? &quiet : NULL) {
        unsigned ends = 0;
        for (uint32_t i = 0; i < log_.count; i++)
            ends += log_.events[i].type == WEFT_EV_STREAM_CLOSED && log_.events[i].stream.id == s->id;
        ck_assert_uint_eq(ends, 1);
        ck_assert_int_eq(weft_stream_write(*s, bytes, 1, 0), WEFT_E_GONE);
    }
}
END_TEST

/* A word that is no option is no option: nothing is ignored. */
START_TEST(unknown_options_are_refused)
{
    char why[200];
    weft_config config = plain_client();
    ck_assert_int_lt(weft_config_set(config, "max_idle_timeuot", "1s"), 0);
    ck_assert_int_gt(weft_config_error(config, why, sizeof why), 0);
    ck_assert_ptr_nonnull(strstr(why, "max_idle_timeuot"));
    weft_config_free(config);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *all[] = {clients_speak_ipv6,
                          one_listener_takes_both_families,
                          a_listener_is_where_it_was_told_to_be,
                          port_0_is_a_port_at_once,
                          clients_verify_unless_told_otherwise,
                          trust_that_cannot_be_had_is_an_error,
                          servers_that_verify_do_verify,
                          nobody_waits_for_what_has_ended,
                          unknown_options_are_refused};
    Suite *suite = suite_create("abi/regress");
    TCase *tests = tcase_create("regress");
    tcase_add_checked_fixture(tests, setup, teardown);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tcase_add_test(tests, all[i]);
    suite_add_tcase(suite, tests);
    return suite;
}
