/* Tests of admission.c: a server's application hears of tickets and tokens, puts something into them, and decides. */
#include "world.h"

static struct world world;

static struct gate {
    weft_listener listener;    /* something to call weft with */
    int32_t inside;            /* what it answered */
    uint32_t ticket_verdict;   /* what is answered */
    uint32_t token_verdict[4]; /* by kind */
    uint32_t filled, tickets, asked[4], made;
    size_t fill; /* bytes to put into tickets, and what came back */
    uint8_t back[64];
    size_t back_len;
    uint8_t token[64]; /* the last one seen that is not weft's */
    size_t token_len;
    bool sick;
} gate;

static void look(struct gate *g, const weft_client *client, bool ticket) {
    g->sick |= client->size < sizeof *client || client->remote.family != 4 || client->remote.ip[3] != 1;
    g->sick |= ticket ? !client->server_name || strcmp(client->server_name, "example.test") != 0 || client->kind
                      : client->server_name != NULL;
    g->inside = weft_listener_stop(g->listener);
}

static uint32_t judge_ticket(void *user, const weft_client *client) {
    struct gate *g = user;
    look(g, client, true);
    g->tickets++;
    ck_assert_uint_le(client->data.len, sizeof g->back);
    if (client->data.len)
        memcpy(g->back, client->data.data, client->data.len);
    g->back_len = client->data.len;
    return g->ticket_verdict;
}

static uint32_t judge_token(void *user, const weft_client *client) {
    struct gate *g = user;
    look(g, client, false);
    ck_assert_uint_lt(client->kind, 4);
    g->asked[client->kind]++;
    g->sick |= (client->kind == WEFT_TOKEN_NONE) != (client->data.len == 0);
    if (client->kind == WEFT_TOKEN_OTHER && client->data.len <= sizeof g->token)
        memcpy(g->token, client->data.data, g->token_len = client->data.len);
    return g->token_verdict[client->kind];
}

static size_t fill_ticket(void *user, const weft_client *client, uint8_t *out, size_t capacity) {
    struct gate *g = user;
    look(g, client, true);
    g->filled++;
    ck_assert_uint_eq(capacity, 31);
    for (size_t i = 0; i < g->fill && i < capacity; i++)
        out[i] = (uint8_t)(i + 1);
    return g->fill;
}

static size_t make_token(void *user, const weft_client *client, uint8_t *out, size_t capacity) {
    struct gate *g = user;
    look(g, client, false);
    g->made++;
    ck_assert_uint_eq(capacity, 256);
    memcpy(out, "our own token", 13);
    return 13;
}

static const weft_admission everything = {.size = sizeof everything,
                                          .user = &gate,
                                          .judge_ticket = judge_ticket,
                                          .judge_token = judge_token,
                                          .fill_ticket = fill_ticket,
                                          .make_token = make_token};

/* The server's configuration is replaced by one with this admission. */
static void admit(const weft_admission *admission, bool early) {
    uint8_t sha256[32];
    weft_config config;
    ck_assert_int_eq(weft_config_new(WEFT_SERVER, &config), 0);
    ck_assert_int_eq(weft_config_set_alpn(config, "echo"), 0);
    ck_assert_int_eq(weft_config_self_signed(config, "example.test", 10), 0);
    ck_assert_int_eq(weft_config_fingerprint(config, sha256), 0);
    ck_assert_int_eq(weft_config_set_uint(config, "early_data", early), 0);
    ck_assert_int_eq(weft_config_set_admission(config, admission), 0);
    ck_assert_int_eq(weft_listener_reload(world.listener, config), 0);
    ck_assert_int_eq(weft_config_set_admission(config, NULL), WEFT_E_STATE); /* in use */
    ck_assert_int_eq(weft_config_free(config), 0);
    ck_assert_int_eq(weft_config_add_pin(world.client_config, sha256), 0);
    ck_assert_int_eq(weft_config_set_uint(world.client_config, "early_data", early), 0);
    gate.listener = world.listener;
}

static uint8_t session[8192], token[512];
static size_t session_len, token_len;

/* A connection with what the one before has left; its info. */
static weft_conn_info connect_again(weft_conn *made) {
    weft_connect_params params = {.size = sizeof params,
                                  .server_name = "example.test",
                                  .session = session,
                                  .session_len = session_len,
                                  .token = token,
                                  .token_len = token_len};
    weft_conn_info info = {.size = sizeof info};
    weft_conn conn = world_connect(&world, &params);
    ck_assert_int_eq(weft_conn_get_info(conn, &info), 0);
    int64_t len = weft_conn_session(conn, session, sizeof session);
    session_len = len > 0 ? (size_t)len : 0;
    len = weft_conn_token(conn, token, sizeof token);
    token_len = len > 0 ? (size_t)len : 0;
    if (made)
        *made = conn;
    return info;
}

static void setup(void) {
    gate = (struct gate){.inside = 1, .fill = 20};
    session_len = token_len = 0;
    world_open(&world);
}

static void teardown(void) {
    ck_assert(!gate.sick);
    world_close(&world);
}

START_TEST(a_ticket_brings_back_what_was_put_into_it)
{
    static const uint8_t expected[31] = {1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16,
                                         17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    static const struct {
        size_t fill, back;
    } rows[] = {{20, 20}, {31, 31}, {0, 0}, {1, 1}, {32, 0}, {SIZE_MAX, 0}}; /* too much is nothing */
    admit(&everything, false);
    connect_again(NULL);
    ck_assert_uint_eq(gate.filled, 2); /* option session_tickets */
    ck_assert_uint_eq(gate.tickets, 0);
    ck_assert_int_eq(gate.inside, WEFT_E_STATE);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        gate.fill = rows[i].fill;
        session_len = 0;
        connect_again(NULL);
        weft_conn_info info = connect_again(NULL);
        ck_assert_uint_eq(info.resumed, 1);
        ck_assert_uint_eq(gate.tickets, i + 1);
        ck_assert_uint_eq(gate.back_len, rows[i].back);
        ck_assert_mem_eq(gate.back, expected, gate.back_len);
    }
}
END_TEST

START_TEST(a_ticket_that_is_refused_costs_a_full_handshake)
{
    admit(&everything, true);
    connect_again(NULL);
    weft_conn_info info = connect_again(NULL);
    ck_assert_uint_eq(info.resumed, 1);
    ck_assert_uint_eq(info.early, WEFT_EARLY_ACCEPTED);
    gate.ticket_verdict = WEFT_VERDICT_REFUSE;
    info = connect_again(NULL);
    ck_assert_uint_eq(info.state, WEFT_CONN_OPEN);
    ck_assert_uint_eq(info.resumed, 0);
    ck_assert_uint_eq(info.early, WEFT_EARLY_REJECTED);
    gate.ticket_verdict = 77; /* no verdict at all */
    ck_assert_uint_eq(connect_again(NULL).resumed, 0);
    gate.ticket_verdict = WEFT_VERDICT_ACCEPT;
    ck_assert_uint_eq(connect_again(NULL).resumed, 1);
    ck_assert_uint_eq(gate.tickets, 4);
}
END_TEST

static uint64_t retries(void) {
    weft_engine_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_engine_get_stats(world.server, &stats), 0);
    return stats.retries_sent;
}

START_TEST(tokens_of_ones_own)
{
    admit(&everything, false);
    gate.token_verdict[WEFT_TOKEN_NONE] = WEFT_VERDICT_RETRY;
    gate.token_verdict[WEFT_TOKEN_RETRY] = WEFT_VERDICT_RETRY; /* it just has: not once more */
    gate.token_verdict[WEFT_TOKEN_OTHER] = WEFT_VERDICT_ACCEPT;
    ck_assert_uint_eq(connect_again(NULL).state, WEFT_CONN_OPEN);
    uint64_t sent = retries(); /* one for each datagram of the first flight */
    ck_assert_uint_ge(sent, 1);
    ck_assert_uint_eq(gate.asked[WEFT_TOKEN_NONE], sent);
    ck_assert_uint_eq(gate.asked[WEFT_TOKEN_RETRY], 1);
    ck_assert_uint_ge(gate.made, 1);
    ck_assert_uint_ge(token_len, 13); /* what a client keeps also says for which version */
    ck_assert_mem_eq(token + token_len - 13, "our own token", 13);
    ck_assert_uint_eq(connect_again(NULL).state, WEFT_CONN_OPEN); /* with it, and without a Retry */
    ck_assert_uint_eq(retries(), sent);
    ck_assert_uint_eq(gate.asked[WEFT_TOKEN_OTHER], 1);
    ck_assert_uint_eq(gate.token_len, 13);
    ck_assert_mem_eq(gate.token, "our own token", 13);
}
END_TEST

START_TEST(accepted_counts_as_proven)
{
    weft_conn server = {0};
    weft_path path = {.size = sizeof path};
    admit(&everything, false);
    gate.token_verdict[WEFT_TOKEN_NONE] = WEFT_VERDICT_ACCEPT;
    weft_conn conn;
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test"};
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &params, &conn), 0);
    world_step(&world); /* the server has the first flight, no more */
    const weft_event *accepted = world_find(&world.server_log, WEFT_EV_ACCEPTED, NULL);
    ck_assert_ptr_nonnull(accepted);
    server = accepted->conn;
    ck_assert_int_eq(weft_conn_get_path(server, &path), 0);
    ck_assert_uint_eq(path.validated, 1);
}
END_TEST

START_TEST(clients_that_are_not_admitted)
{
    weft_admission judge = {.size = sizeof judge, .user = &gate, .judge_token = judge_token};
    weft_close close = {.size = sizeof close};
    weft_conn conn;
    weft_connect_params params = {.size = sizeof params, .server_name = "example.test"};
    admit(&judge, false);
    static const uint32_t refusals[] = {WEFT_VERDICT_REFUSE, 77};
    for (size_t i = 0; i < 2; i++) {
        gate.token_verdict[WEFT_TOKEN_NONE] = refusals[i];
        ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &params, &conn), 0);
        ck_assert_int_eq(weft_conn_keep(conn), 0);
        world_run(&world, world.now + 1000000000);
        ck_assert_int_eq(weft_conn_get_close(conn, &close), 0);
        ck_assert_uint_eq(close.cause, WEFT_CAUSE_PEER);
        ck_assert_uint_eq(close.code, 2); /* CONNECTION_REFUSED */
        ck_assert_int_eq(weft_conn_release(conn), 0);
    }
    gate.token_verdict[WEFT_TOKEN_NONE] = WEFT_VERDICT_DROP;
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, &params, &conn), 0);
    ck_assert_int_eq(weft_conn_keep(conn), 0);
    world_run(&world, world.now + 60000000000u);
    ck_assert_int_eq(weft_conn_get_close(conn, &close), 0);
    ck_assert_uint_eq(close.cause, WEFT_CAUSE_HANDSHAKE_TIMEOUT);
    ck_assert_uint_eq(world_count(&world.server_log, WEFT_EV_ACCEPTED), 0);
}
END_TEST

START_TEST(what_is_refused)
{
    weft_admission sizeless = {.user = &gate}, nothing = {.size = 8};
    ck_assert_int_eq(weft_config_set_admission(world.client_config, &everything), WEFT_E_TLS);
    ck_assert_int_eq(weft_config_set_admission(world.server_config, &everything), WEFT_E_STATE); /* in use */
    weft_config config;
    ck_assert_int_eq(weft_config_new(WEFT_SERVER, &config), 0);
    ck_assert_int_eq(weft_config_set_admission(config, &sizeless), WEFT_E_INVALID);
    ck_assert_int_eq(weft_config_set_admission(config, &nothing), 0);
    ck_assert_int_eq(weft_config_set_admission(config, NULL), 0);
    ck_assert_int_eq(weft_config_free(config), 0);
    admit(NULL, false);
    connect_again(NULL);
    ck_assert_uint_gt(token_len, 40); /* weft's own */
    ck_assert_uint_eq(connect_again(NULL).resumed, 1);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi_admission");
    TCase *cases = tcase_create("admission");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, a_ticket_brings_back_what_was_put_into_it);
    tcase_add_test(cases, a_ticket_that_is_refused_costs_a_full_handshake);
    tcase_add_test(cases, tokens_of_ones_own);
    tcase_add_test(cases, accepted_counts_as_proven);
    tcase_add_test(cases, clients_that_are_not_admitted);
    tcase_add_test(cases, what_is_refused);
    suite_add_tcase(suite, cases);
    return suite;
}
