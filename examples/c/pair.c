/* pair.c - testing a program against a bad network, in no time and the same way every time.
 *
 * weft_pair joins two engines by a network in memory: here with 3 % loss, a delay of 50 ms and 2 Mbit/s. The clock is
 * the pair's and jumps from one thing that happens to the next, so that the half minute of this transfer passes in
 * milliseconds. From one seed comes one course of events, which makes a test that fails fail again.
 *
 * A program that keeps its engines apart from its logic is tested like this without a change to the logic.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

#define MEGABYTES 4
#define BYTES (MEGABYTES * 1000000)

static size_t sent, received;
static int ended;

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "pair: %s: %s\n", what, weft_strerror((int32_t)result));
    exit(1);
}

/* ---- the program under test: sends, and counts what arrives ---- */

static void send_more(void *user, weft_stream stream) {
    static const char bytes[100000];
    (void)user;
    while (sent < BYTES) {
        size_t len = BYTES - sent < sizeof bytes ? BYTES - sent : sizeof bytes;
        int64_t taken = weft_stream_write(stream, bytes, len, 0);
        check(taken, "write");
        sent += (size_t)taken;
        if ((size_t)taken < len)
            return;
    }
    check(weft_stream_finish(stream), "finish");
}

static void connected(void *user, weft_conn conn) {
    weft_stream stream;
    check(weft_stream_open(conn, WEFT_UNI, NULL, &stream), "stream");
    send_more(user, stream);
}

static void arrived(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    (void)stream;
    for (uint32_t i = 0; i < count; i++)
        received += slices[i].len;
    if (flags & WEFT_FIN) {
        ended = 1;
        check(weft_pair_stop(*(weft_pair *)user), "stop"); /* the clock stands where this happened */
    }
}

/* ---- one run: the virtual time it took ---- */

static uint64_t run(uint64_t seed) {
    static const weft_conn_callbacks on_conn = {.size = sizeof on_conn, .on_connected = connected};
    static const weft_stream_callbacks on_send = {.size = sizeof on_send, .on_writable = send_more};
    static const weft_stream_callbacks on_arrival = {.size = sizeof on_arrival, .on_data = arrived};
    const weft_link link = {.size = sizeof link, .loss = 30000, .delay = UINT64_C(50000000), .bandwidth = 2000000};
    const weft_pair_params params = {
        .size = sizeof params, .flags = WEFT_PAIR_REPEATABLE, .seed = seed, .links = {&link, &link}};
    weft_pair pair;
    weft_engine engines[2]; /* of the client and the server */
    weft_config server_config, client_config;
    weft_listener listener;
    weft_conn conn;
    uint64_t begin, end;
    uint8_t sha256[32];
    weft_traffic traffic = {.size = sizeof traffic};
    sent = received = 0;
    ended = 0;
    check(weft_pair_new(&params, &pair, engines), "pair");
    /* Certificates are made after the pair: then they come from the seed, too. */
    check(weft_config_new(WEFT_SERVER, &server_config), "config");
    check(weft_config_set_alpn(server_config, "test"), "alpn");
    check(weft_config_self_signed(server_config, "server.test", 30), "certificate");
    check(weft_config_fingerprint(server_config, sha256), "fingerprint");
    check(weft_config_new(WEFT_CLIENT, &client_config), "config");
    check(weft_config_set_alpn(client_config, "test"), "alpn");
    check(weft_config_add_pin(client_config, sha256), "pin");
    const weft_listen_params listen = {.size = sizeof listen, .stream_callbacks = &on_arrival, .conn_user = &pair};
    const weft_connect_params connect = {
        .size = sizeof connect, .server_name = "server.test", .callbacks = &on_conn, .stream_callbacks = &on_send};
    check(weft_listen(engines[1], server_config, "192.0.2.2:443", &listen, &listener), "listen");
    check(weft_connect(engines[0], client_config, "192.0.2.2", 443, &connect, &conn), "connect");
    check(weft_pair_now(pair, &begin), "now");
    check(weft_pair_run(pair, begin + UINT64_C(600000000000)), "run"); /* ten minutes at most */
    check(weft_pair_now(pair, &end), "now");
    check(weft_pair_traffic(pair, 0, &traffic), "traffic");
    printf("seed %" PRIu64 ": %zu bytes in %.3f s, %" PRIu64 " of %" PRIu64 " datagrams lost\n", seed, received,
           (double)(end - begin) / 1e9, traffic.lost, traffic.sent);
    check(weft_pair_free(pair), "free");
    check(weft_config_free(server_config), "free");
    check(weft_config_free(client_config), "free");
    return ended && received == BYTES ? end - begin : 0;
}

int main(void) {
    uint64_t first = run(1), again = run(1), other = run(2);
    return first && first == again && other && other != first ? 0 : 1;
}
