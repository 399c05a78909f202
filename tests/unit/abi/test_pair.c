/* Tests of pair.c: two engines in virtual time. What a link does to datagrams is seen from outside (on_datagram, the
 * clock in callbacks, traffic) and is exact; the same seed gives the same bytes. */
#include <pthread.h>
#include <stdatomic.h>

#include "world.h"

#define MS UINT64_C(1000000)

static weft_config server_config, client_config;
static weft_pair pair;
static weft_engine engines[2];
static weft_listener listener;
static weft_conn conn;

static struct seen { /* what happened */
    uint64_t wire;   /* a hash of all bytes and times on the wire */
    uint64_t datagrams[2], bytes[2];
    uint64_t first_at[2];
    uint64_t drop; /* of direction 0: this one is lost, counted from 1 */
    uint64_t events;
    uint64_t connected_at, closed_at;
    size_t received, longest;
    uint32_t cause;
    uint32_t calls;
    bool stop_when_connected;
} seen;

static uint64_t now(void) {
    uint64_t at = 0;
    ck_assert_int_eq(weft_pair_now(pair, &at), 0);
    return at;
}

/* ---- what the engines tell ---- */

static void mix(const void *data, size_t len) {
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++)
        seen.wire = (seen.wire ^ at[i]) * UINT64_C(0x100000001b3);
}

static int32_t on_datagram(void *user, uint32_t from, const weft_datagram *datagram) {
    ck_assert_ptr_eq(user, &seen);
    ck_assert_uint_eq(datagram->segment, 0);
    ck_assert_uint_eq(datagram->local.ip[3], from + 1);
    ck_assert_uint_eq(datagram->remote.ip[3], 2 - from);
    ck_assert_int_eq(weft_conn_ping(conn), WEFT_E_STATE);
    seen.datagrams[from]++;
    seen.bytes[from] += datagram->len;
    if (datagram->len > seen.longest)
        seen.longest = datagram->len;
    mix(datagram->data, datagram->len);
    return from == 0 && seen.drop && seen.datagrams[0] == seen.drop;
}

static void on_events(void *user, const weft_event *events, uint32_t count) {
    uint64_t at = now();
    (void)user;
    for (uint32_t i = 0; i < count; i++) {
        seen.events = (seen.events ^ events[i].type ^ events[i].len << 8 ^ at << 20) * UINT64_C(0x100000001b3);
        if (events[i].type == WEFT_EV_DATA && user)
            seen.received += events[i].len;
        if (events[i].type == WEFT_EV_CONNECTED && !user) {
            seen.connected_at = at;
            if (seen.stop_when_connected)
                ck_assert_int_eq(weft_pair_stop(pair), 0);
        }
        if (events[i].type == WEFT_EV_CONN_CLOSED && !user) {
            seen.closed_at = at;
            seen.cause = events[i].cause;
        }
    }
}

/* ---- making them ---- */

static void make_configs(void) {
    uint8_t sha256[32];
    ck_assert_int_eq(weft_config_new(WEFT_SERVER, &server_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(server_config, "test"), 0);
    ck_assert_int_eq(weft_config_self_signed(server_config, "example.test", 10), 0);
    ck_assert_int_eq(weft_config_fingerprint(server_config, sha256), 0);
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &client_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(client_config, "test"), 0);
    ck_assert_int_eq(weft_config_add_pin(client_config, sha256), 0);
}

static void open_with(uint64_t seed, uint32_t flags, const weft_link *there, const weft_link *back) {
    weft_engine_params client = {.size = sizeof client, .on_events = on_events};
    weft_engine_params server = {.size = sizeof server, .on_events = on_events, .events_user = &server};
    weft_pair_params params = {.size = sizeof params,
                               .flags = flags,
                               .seed = seed,
                               .engines = {&client, &server},
                               .links = {there, back},
                               .on_datagram = on_datagram,
                               .user = &seen};
    ck_assert_int_eq(weft_pair_new(&params, &pair, engines), 0);
    make_configs();
    ck_assert_int_eq(weft_listen(engines[1], server_config, "192.0.2.2:443", NULL, &listener), 0);
    ck_assert_int_eq(weft_connect(engines[0], client_config, "192.0.2.2", 443, NULL, &conn), 0);
}

static void shut(void) {
    ck_assert_int_eq(weft_pair_free(pair), 0);
    ck_assert_int_eq(weft_config_free(server_config), 0);
    ck_assert_int_eq(weft_config_free(client_config), 0);
}

static void setup(void) { memset(&seen, 0, sizeof seen); }

/* Sends on a stream of its own as much as goes. */
static void send_bytes(size_t len) {
    weft_stream stream;
    uint8_t *bytes = calloc(1, len);
    ck_assert_int_eq(weft_stream_open(conn, WEFT_UNI, NULL, &stream), 0);
    ck_assert_int_eq(weft_stream_write(stream, bytes, len, WEFT_FIN), (int64_t)len);
    free(bytes);
}

static weft_traffic traffic(uint32_t from) {
    weft_traffic result = {.size = sizeof result};
    ck_assert_int_eq(weft_pair_traffic(pair, from, &result), 0);
    return result;
}

/* ---- tests ---- */

START_TEST(delay_is_exact)
{
    weft_link there = {.size = sizeof there, .delay = 30 * MS}, back = {.size = sizeof back, .delay = 12 * MS};
    open_with(1, 0, &there, &back);
    uint64_t begin = now();
    ck_assert_uint_eq(begin, 1000 * MS);
    ck_assert_int_eq(weft_pair_run(pair, begin + 41 * MS), 0);
    ck_assert_uint_eq(now(), begin + 41 * MS);
    ck_assert_uint_eq(seen.connected_at, 0);
    ck_assert_int_eq(weft_pair_run(pair, begin + 42 * MS), 0);
    ck_assert_uint_eq(seen.connected_at, begin + 42 * MS); /* to the nanosecond */
    weft_path path = {.size = sizeof path};
    ck_assert_int_eq(weft_conn_get_path(conn, &path), 0);
    ck_assert_uint_eq(path.rtt_min, 42 * MS);
    shut();
}
END_TEST

START_TEST(idle_time_takes_no_time)
{
    open_with(1, 0, NULL, NULL);
    ck_assert_int_eq(weft_pair_run(pair, UINT64_MAX), 0);
    ck_assert_uint_eq(seen.cause, WEFT_CAUSE_IDLE); /* the default, 30 s after the last thing heard */
    ck_assert_uint_ge(seen.closed_at, seen.connected_at + 30000 * MS);
    ck_assert_int_eq(weft_pair_step(pair), 0);
    shut();
}
END_TEST

static void play(uint64_t seed) {
    weft_link link = {.size = sizeof link,
                      .loss = 50000,
                      .duplicate = 20000,
                      .corrupt = 10000,
                      .delay = 10 * MS,
                      .jitter = 5 * MS,
                      .bandwidth = 20000000};
    memset(&seen, 0, sizeof seen);
    open_with(seed, WEFT_PAIR_REPEATABLE, &link, &link);
    seen.stop_when_connected = true;
    ck_assert_int_eq(weft_pair_run(pair, now() + 5000 * MS), 0);
    ck_assert_uint_eq(now(), seen.connected_at); /* weft_pair_stop */
    send_bytes(100000);
    ck_assert_int_eq(weft_pair_run(pair, now() + 10000 * MS), 0);
    ck_assert_uint_eq(seen.received, 100000);
    ck_assert_uint_gt(traffic(0).lost, 0);
    shut();
}

START_TEST(same_seed_same_bytes)
{
    play(7);
    struct seen first = seen;
    play(7);
    ck_assert_uint_eq(seen.wire, first.wire);
    ck_assert_uint_eq(seen.events, first.events);
    ck_assert_uint_eq(seen.connected_at, first.connected_at);
    play(8);
    ck_assert_uint_ne(seen.wire, first.wire);
}
END_TEST

START_TEST(repeatable_is_alone)
{
    weft_engine other = {77};
    weft_pair second;
    weft_engine both[2];
    weft_pair_params params = {.size = sizeof params, .flags = WEFT_PAIR_REPEATABLE};
    ck_assert_int_eq(weft_engine_new(NULL, &other), 0);
    ck_assert_int_eq(weft_pair_new(&params, &second, both), WEFT_E_STATE);
    ck_assert_int_eq(weft_engine_free(other), 0);
    ck_assert_int_eq(weft_pair_new(&params, &pair, engines), 0);
    ck_assert_int_eq(weft_engine_new(NULL, &other), WEFT_E_STATE);
    ck_assert_int_eq(weft_pair_new(NULL, &second, both), WEFT_E_STATE);
    ck_assert_int_eq(weft_engine_free(engines[0]), 0);
    ck_assert_int_eq(weft_engine_new(NULL, &other), WEFT_E_STATE);
    ck_assert_int_eq(weft_pair_free(pair), 0);
    ck_assert_int_eq(weft_engine_new(NULL, &other), 0);
    ck_assert_int_eq(weft_engine_free(other), 0);
}
END_TEST

START_TEST(loss_is_counted_and_survived)
{
    weft_link lossy = {.size = sizeof lossy, .loss = 200000, .delay = 5 * MS};
    open_with(3, 0, &lossy, &lossy);
    ck_assert_int_eq(weft_pair_run(pair, now() + 5000 * MS), 0);
    ck_assert_uint_ne(seen.connected_at, 0);
    send_bytes(200000);
    ck_assert_int_eq(weft_pair_run(pair, now() + 60000 * MS), 0);
    ck_assert_uint_eq(seen.received, 200000);
    weft_traffic there = traffic(0);
    ck_assert_uint_eq(there.sent, seen.datagrams[0]);
    ck_assert_uint_eq(there.bytes_sent, seen.bytes[0]);
    ck_assert_uint_eq(there.sent, there.delivered + there.lost);
    ck_assert_uint_gt(there.lost, there.sent / 10); /* of a fifth, by chance */
    ck_assert_uint_lt(there.lost, there.sent / 3);
    shut();
}
END_TEST

START_TEST(all_lost)
{
    weft_link nothing = {.size = sizeof nothing, .loss = 1000000};
    open_with(3, 0, &nothing, NULL);
    ck_assert_int_eq(weft_pair_run(pair, UINT64_MAX), 0);
    ck_assert_uint_eq(seen.cause, WEFT_CAUSE_HANDSHAKE_TIMEOUT);
    ck_assert_uint_eq(traffic(0).delivered, 0);
    ck_assert_uint_eq(traffic(1).sent, 0);
    shut();
}
END_TEST

START_TEST(the_filter_loses_what_it_says)
{
    weft_link link = {.size = sizeof link, .delay = 10 * MS};
    seen.drop = 1; /* the client's first Initial */
    open_with(3, 0, &link, &link);
    ck_assert_int_eq(weft_pair_run(pair, now() + 3000 * MS), 0);
    ck_assert_uint_eq(traffic(0).lost, 1);
    ck_assert_uint_gt(seen.connected_at, 1020 * MS); /* later than one round trip: a probe timeout was needed */
    shut();
}
END_TEST

START_TEST(bandwidth_is_exact)
{
    weft_link line = {.size = sizeof line, .bandwidth = 8000000}; /* a byte takes a microsecond */
    open_with(3, 0, &line, NULL);
    uint64_t begin = now();
    ck_assert_int_eq(weft_pair_step(pair), 1);
    ck_assert_uint_ge(seen.datagrams[0], 1);
    uint64_t bytes = seen.bytes[0] + 28 * seen.datagrams[0];
    while (traffic(0).delivered < seen.datagrams[0] && weft_pair_step(pair) == 1)
        continue;
    ck_assert_uint_eq(now(), begin + bytes * 1000);
    weft_link narrow = {
        .size = sizeof narrow, .bandwidth = 80000, .queue = 1}; /* everything that has to wait is lost */
    ck_assert_int_eq(weft_pair_run(pair, now() + 1000 * MS), 0);
    ck_assert_int_eq(weft_pair_set_link(pair, 0, &narrow), 0);
    uint64_t lost = traffic(0).lost;
    send_bytes(20000);
    ck_assert_int_eq(weft_pair_run(pair, now() + 1000 * MS), 0);
    ck_assert_uint_gt(traffic(0).lost, lost);
    shut();
}
END_TEST

START_TEST(duplicates_and_mtu)
{
    weft_link link = {.size = sizeof link, .duplicate = 1000000, .mtu = 1252, .delay = MS};
    open_with(3, 0, &link, &link);
    ck_assert_int_eq(weft_pair_run(pair, now() + 1000 * MS), 0);
    send_bytes(100000);
    ck_assert_int_eq(weft_pair_run(pair, now() + 5000 * MS), 0);
    ck_assert_uint_eq(seen.received, 100000);
    weft_traffic there = traffic(0);
    ck_assert_uint_eq(there.delivered, 2 * (there.sent - there.lost));
    ck_assert_uint_gt(seen.longest, 1252); /* probes, which were lost */
    weft_path path = {.size = sizeof path};
    ck_assert_int_eq(weft_conn_get_path(conn, &path), 0);
    ck_assert_uint_le(path.mtu, 1252);
    weft_conn_stats stats = {.size = sizeof stats};
    ck_assert_int_eq(weft_conn_get_stats(conn, &stats), 0);
    ck_assert_uint_gt(stats.packets_duplicate, 0);
    shut();
}
END_TEST

START_TEST(corrupted_packets_are_dropped)
{
    weft_link link = {.size = sizeof link, .delay = MS}, broken = {.size = sizeof broken, .corrupt = 1000000};
    open_with(3, 0, &link, &link);
    ck_assert_int_eq(weft_pair_run(pair, now() + 1000 * MS), 0);
    ck_assert_int_eq(weft_pair_set_link(pair, 0, &broken), 0);
    send_bytes(1000);
    ck_assert_int_eq(weft_pair_run(pair, now() + 100 * MS), 0);
    ck_assert_uint_eq(seen.received, 0);
    ck_assert_int_eq(weft_pair_set_link(pair, 0, NULL), 0);
    ck_assert_int_eq(weft_pair_run(pair, now() + 5000 * MS), 0);
    ck_assert_uint_eq(seen.received, 1000);
    shut();
}
END_TEST

START_TEST(an_engine_that_is_freed_is_silent)
{
    open_with(3, 0, NULL, NULL);
    ck_assert_int_eq(weft_pair_run(pair, now() + 100 * MS), 0);
    ck_assert_int_eq(weft_engine_free(engines[1]), 0);
    send_bytes(1000);
    ck_assert_int_eq(weft_pair_run(pair, UINT64_MAX), 0);
    ck_assert_uint_eq(seen.cause, WEFT_CAUSE_IDLE);
    ck_assert_uint_gt(traffic(0).lost, 0);
    shut();
}
END_TEST

/* ---- wrong use ---- */

static void call_from_within(void *arg) {
    uint64_t at;
    (void)arg;
    ck_assert_int_eq(weft_pair_step(pair), WEFT_E_STATE);
    ck_assert_int_eq(weft_pair_run(pair, UINT64_MAX), WEFT_E_STATE);
    ck_assert_int_eq(weft_pair_free(pair), WEFT_E_STATE);
    ck_assert_int_eq(weft_pair_now(pair, &at), 0);
    ck_assert_int_eq(weft_pair_set_link(pair, 1, NULL), 0);
    seen.calls++;
}

static void *call_from_elsewhere(void *arg) {
    uint64_t at;
    (void)arg;
    ck_assert_int_eq(weft_pair_step(pair), WEFT_E_THREAD);
    ck_assert_int_eq(weft_pair_now(pair, &at), WEFT_E_THREAD);
    ck_assert_int_eq(weft_pair_free(pair), WEFT_E_THREAD);
    return NULL;
}

START_TEST(calls_from_within_and_from_elsewhere)
{
    pthread_t thread;
    open_with(3, 0, NULL, NULL);
    ck_assert_int_eq(weft_engine_post(engines[0], call_from_within, NULL), 0);
    ck_assert_int_eq(weft_pair_run(pair, now() + MS), 0);
    ck_assert_uint_eq(seen.calls, 1);
    ck_assert_int_eq(weft_engine_post(engines[0], call_from_within, NULL), 0);
    ck_assert_int_ge(weft_engine_turn(engines[0]), 0); /* not by the pair: freeing is refused all the same */
    ck_assert_uint_eq(seen.calls, 2);
    ck_assert_int_eq(pthread_create(&thread, NULL, call_from_elsewhere, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    shut();
}
END_TEST

static _Atomic uint64_t current; /* the pair's handle; 0: the end */

static void *ask_all_the_time(void *arg) {
    uint64_t at;
    (void)arg;
    for (uint64_t id; (id = atomic_load(&current)) != 0;) {
        int32_t result = weft_pair_now((weft_pair){id}, &at);
        ck_assert(result == WEFT_E_THREAD || result == WEFT_E_GONE);
    }
    return NULL;
}

/* Somebody who may not have the pair does not look at it while its owner frees it. For sanitizers. */
START_TEST(freed_while_another_thread_asks)
{
    pthread_t thread;
    ck_assert_int_eq(weft_pair_new(NULL, &pair, engines), 0);
    atomic_store(&current, pair.id);
    ck_assert_int_eq(pthread_create(&thread, NULL, ask_all_the_time, NULL), 0);
    for (int i = 0; i < 300; i++) {
        ck_assert_int_eq(weft_pair_free(pair), 0);
        ck_assert_int_eq(weft_pair_new(NULL, &pair, engines), 0);
        atomic_store(&current, pair.id);
    }
    atomic_store(&current, 0);
    pthread_join(thread, NULL);
    ck_assert_int_eq(weft_pair_free(pair), 0);
}
END_TEST

START_TEST(wrong_arguments)
{
    weft_engine_params external = {.size = sizeof external, .flags = WEFT_ENGINE_EXTERNAL};
    weft_link wrong = {.size = sizeof wrong, .loss = 1000001}, late = {.size = sizeof late, .delay = UINT64_MAX};
    weft_pair_params params = {.size = sizeof params};
    weft_traffic nothing = {.size = 0};
    ck_assert_int_eq(weft_pair_new(NULL, NULL, engines), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pair_new(NULL, &pair, NULL), WEFT_E_INVALID);
    params.flags = 2;
    ck_assert_int_eq(weft_pair_new(&params, &pair, engines), WEFT_E_INVALID);
    params = (weft_pair_params){.size = sizeof params, .engines = {NULL, &external}};
    ck_assert_int_eq(weft_pair_new(&params, &pair, engines), WEFT_E_INVALID);
    params = (weft_pair_params){.size = sizeof params, .links = {NULL, &wrong}};
    ck_assert_int_eq(weft_pair_new(&params, &pair, engines), WEFT_E_VALUE);
    ck_assert_int_eq(weft_pair_new(NULL, &pair, engines), 0);
    ck_assert_int_eq(weft_pair_set_link(pair, 2, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pair_set_link(pair, 0, &wrong), WEFT_E_VALUE);
    ck_assert_int_eq(weft_pair_set_link(pair, 0, &late), WEFT_E_VALUE);
    ck_assert_int_eq(weft_pair_traffic(pair, 2, &nothing), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pair_traffic(pair, 0, &nothing), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pair_now(pair, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_pair_step((weft_pair){engines[0].id}), WEFT_E_HANDLE);
    ck_assert_int_eq(weft_pair_free(pair), 0);
    ck_assert_int_eq(weft_pair_free(pair), WEFT_E_GONE);
    ck_assert_int_eq(weft_pair_step(pair), WEFT_E_GONE);
    ck_assert_int_eq(weft_engine_free(engines[0]), WEFT_E_GONE);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi/pair");
    TCase *all = tcase_create("pair");
    tcase_add_checked_fixture(all, setup, NULL);
    tcase_set_timeout(all, 0);
    tcase_add_test(all, delay_is_exact);
    tcase_add_test(all, idle_time_takes_no_time);
    tcase_add_test(all, same_seed_same_bytes);
    tcase_add_test(all, repeatable_is_alone);
    tcase_add_test(all, loss_is_counted_and_survived);
    tcase_add_test(all, all_lost);
    tcase_add_test(all, the_filter_loses_what_it_says);
    tcase_add_test(all, bandwidth_is_exact);
    tcase_add_test(all, duplicates_and_mtu);
    tcase_add_test(all, corrupted_packets_are_dropped);
    tcase_add_test(all, an_engine_that_is_freed_is_silent);
    tcase_add_test(all, calls_from_within_and_from_elsewhere);
    tcase_add_test(all, freed_while_another_thread_asks);
    tcase_add_test(all, wrong_arguments);
    suite_add_tcase(suite, all);
    return suite;
}
