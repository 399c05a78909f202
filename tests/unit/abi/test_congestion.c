/* Tests of congestion.c: a controller that the application brings governs, is told what happens, and is given back. */
#include "world.h"

#define DATAGRAMS 4u
#define BYTES 400000u

static struct world world;

/* The simplest controller there is: so many datagrams, whatever happens. */
static struct toy {
    weft_conn conn; /* something to call weft with */
    int32_t inside; /* what it answered */
    int32_t refuse; /* what open gives */
    int open, closed, mtus;
    uint64_t sent, most, acked, acks, rate, smoothed;
    bool sick;
} toy;

static int32_t toy_open(void *user, weft_congestion_path *path) {
    struct toy *t = user;
    if (t->refuse)
        return t->refuse;
    t->open++;
    t->sick |= path->size < sizeof *path || path->state || path->mtu != 1200 || path->window < 2 * path->mtu;
    path->state = malloc(1);
    path->window = DATAGRAMS * path->mtu;
    return 0;
}

static void toy_close(void *user, weft_congestion_path *path) {
    struct toy *t = user;
    t->closed++;
    free(path->state);
}

static void toy_on_sent(void *user, weft_congestion_path *path, uint64_t bytes) {
    struct toy *t = user;
    t->sent += bytes;
    t->sick |= !path->state || !path->now || path->in_flight < bytes;
    t->most = path->in_flight > t->most ? path->in_flight : t->most;
    if (t->conn.id)
        t->inside = weft_conn_ping(t->conn);
}

static void toy_on_ack(void *user, weft_congestion_path *path, const weft_congestion_ack *ack) {
    struct toy *t = user;
    t->acks++;
    t->acked += ack->bytes;
    t->sick |= ack->size < sizeof *ack || ack->bytes > ack->prior_in_flight || ack->sent_at > path->now;
    t->rate = ack->rate ? ack->rate : t->rate;
    t->smoothed = path->smoothed_rtt;
    path->window = DATAGRAMS * path->mtu;
}

static void toy_on_mtu(void *user, weft_congestion_path *path) {
    struct toy *t = user;
    t->mtus++;
    path->window = DATAGRAMS * path->mtu;
}

static const weft_congestion_control control = {.size = sizeof control,
                                                .user = &toy,
                                                .open = toy_open,
                                                .close = toy_close,
                                                .on_sent = toy_on_sent,
                                                .on_ack = toy_on_ack,
                                                .on_mtu = toy_on_mtu};

static void setup(void) {
    toy = (struct toy){.inside = 1};
    world_open(&world);
}

static void teardown(void) { world_close(&world); }

static void send_much(weft_conn conn) {
    static uint8_t data[BYTES];
    weft_stream stream;
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, data, sizeof data, WEFT_FIN), BYTES);
    world_run(&world, world.now + 5000000000u);
}

START_TEST(it_governs)
{
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, &control), 0);
    weft_conn conn = world_connect(&world, NULL);
    toy.conn = conn;
    send_much(conn);
    ck_assert(!toy.sick);
    ck_assert_int_eq(toy.open, 1);
    ck_assert_uint_ge(toy.acked, BYTES);
    ck_assert_uint_ge(toy.sent, toy.acked);
    ck_assert_uint_le(toy.most, DATAGRAMS * 1500);
    ck_assert_uint_gt(toy.most, (DATAGRAMS - 1) * 1200);
    ck_assert_uint_ge(toy.acks, BYTES / (DATAGRAMS * 1500));
    ck_assert_uint_gt(toy.smoothed, 0);
    ck_assert_int_ge(toy.mtus, 1);
    ck_assert_int_eq(toy.inside, WEFT_E_STATE); /* weft is in the midst of something */
    weft_path path = {.size = sizeof path};
    ck_assert_int_eq(weft_conn_get_path(conn, &path), 0);
    ck_assert_uint_eq(path.congestion_window, DATAGRAMS * path.mtu);
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, NULL), WEFT_E_STATE); /* in use */
    weft_conn_close(conn, 0, NULL);
    world_run(&world, world.now + 20000000000u);
    ck_assert_int_eq(toy.closed, 1);
}
END_TEST

START_TEST(a_window_of_nothing_is_two_datagrams)
{
    weft_congestion_control nothing = {.size = sizeof nothing};
    weft_congestion_control short_table = {.size = 8};
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, &short_table), 0);
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, &nothing), 0);
    weft_conn conn = world_connect(&world, NULL);
    send_much(conn); /* with the initial window, which nobody moves */
    weft_conn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_conn_get_stats(conn, &stats), 0);
    ck_assert_uint_ge(stats.bytes_sent, BYTES);
}
END_TEST

static void zero_window(void *user, weft_congestion_path *path, const weft_congestion_ack *ack) {
    (void)user, (void)ack;
    path->window = 0;
}

START_TEST(a_controller_cannot_stop_everything)
{
    weft_congestion_control zero = {.size = sizeof zero, .on_ack = zero_window};
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, &zero), 0);
    weft_conn conn = world_connect(&world, NULL);
    send_much(conn);
    weft_path path = {.size = sizeof path};
    ck_assert_int_eq(weft_conn_get_path(conn, &path), 0);
    ck_assert_uint_eq(path.congestion_window, 2 * path.mtu);
    weft_conn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_conn_get_stats(conn, &stats), 0);
    ck_assert_uint_ge(stats.bytes_sent, BYTES);
}
END_TEST

START_TEST(what_is_refused)
{
    weft_congestion_control sizeless = {.user = &toy};
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, &sizeless), WEFT_E_INVALID);
    ck_assert_int_eq(weft_config_set_congestion_control((weft_config){0}, &control), WEFT_E_HANDLE);
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, &control), 0);
    toy.refuse = -1;
    weft_conn conn;
    ck_assert_int_eq(weft_connect(world.client, world.client_config, "192.0.2.2", 443, NULL, &conn), WEFT_E_NOMEM);
    toy.refuse = 0;
    ck_assert_int_eq(toy.open, 0);
    ck_assert_int_eq(toy.closed, 0);
}
END_TEST

START_TEST(null_goes_back_to_the_option)
{
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, &control), 0);
    ck_assert_int_eq(weft_config_set_congestion_control(world.client_config, NULL), 0);
    ck_assert_int_eq(weft_config_set(world.client_config, "congestion_control", "bbr"), 0);
    send_much(world_connect(&world, NULL));
    ck_assert_int_eq(toy.open, 0);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi_congestion");
    TCase *cases = tcase_create("controllers");
    tcase_add_checked_fixture(cases, setup, teardown);
    tcase_add_test(cases, it_governs);
    tcase_add_test(cases, a_window_of_nothing_is_two_datagrams);
    tcase_add_test(cases, a_controller_cannot_stop_everything);
    tcase_add_test(cases, what_is_refused);
    tcase_add_test(cases, null_goes_back_to_the_option);
    suite_add_tcase(suite, cases);
    return suite;
}
