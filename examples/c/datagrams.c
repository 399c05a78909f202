/* datagrams.c - a game's positions: sixty a second, each replaced by the next, so that none is worth sending again
 * (datagrams, RFC 9221).
 *
 * Both sides say with the option max_datagram_frame_size which datagrams they take. A datagram that was sent with a
 * token is told of: that it left, and later whether the other side has it. The network is one in memory that loses
 * 5 %, as in pair.c; with weft_connect over the Internet the program would be the same.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

#define FRAMES 600
#define FRAME_TIME (UINT64_C(1000000000) / 60)

static uint32_t outcomes[WEFT_DATAGRAM_DROPPED + 1]; /* how many of each */
static uint64_t newest, arrived, late;
static int connected;

static void check(int64_t result, const char *what) {
    if (result >= 0)
        return;
    fprintf(stderr, "datagrams: %s: %s\n", what, weft_strerror((int32_t)result));
    exit(1);
}

/* ---- the player ---- */

static void on_connected(void *user, weft_conn conn) {
    (void)user;
    (void)conn;
    connected = 1;
}

static void on_outcome(void *user, weft_conn conn, uint64_t token, uint32_t outcome) {
    (void)user;
    (void)conn;
    (void)token; /* the frame's number: whoever must know which frames arrived finds it here */
    if (outcome <= WEFT_DATAGRAM_DROPPED)
        outcomes[outcome]++;
}

static void send_position(weft_conn conn, uint64_t frame) {
    char text[64];
    int len = snprintf(text, sizeof text, "%" PRIu64 " %.3f %.3f", frame, (double)frame * 0.1, (double)frame * 0.2);
    if (weft_datagram_max(conn) >= len) /* a path may be narrow */
        check(weft_datagram_send(conn, text, (size_t)len, frame), "send");
}

/* ---- the others ---- */

static void on_datagram(void *user, weft_conn conn, const weft_slice *datagram, uint32_t flags) {
    char text[64] = "";
    uint64_t frame;
    (void)user;
    (void)conn;
    (void)flags;
    memcpy(text, datagram->data, datagram->len < sizeof text ? datagram->len : sizeof text - 1);
    frame = strtoull(text, NULL, 10);
    arrived++;
    if (frame < newest) /* overtaken on the way: of no use any more */
        late++;
    else
        newest = frame;
}

/* ---- both ---- */

int main(void) {
    static const weft_conn_callbacks player = {
        .size = sizeof player, .on_connected = on_connected, .on_datagram_outcome = on_outcome};
    static const weft_conn_callbacks others = {.size = sizeof others, .on_datagram = on_datagram};
    const weft_link link = {
        .size = sizeof link, .loss = 50000, .delay = UINT64_C(30000000), .jitter = UINT64_C(20000000)};
    const weft_pair_params params = {.size = sizeof params, .seed = 1, .links = {&link, &link}};
    const weft_listen_params listen = {.size = sizeof listen, .conn_callbacks = &others};
    const weft_connect_params connect = {.size = sizeof connect, .server_name = "game.test", .callbacks = &player};
    weft_pair pair;
    weft_engine engines[2];
    weft_config server_config, client_config;
    weft_listener listener;
    weft_conn conn;
    uint64_t now, frame;
    uint8_t sha256[32];
    check(weft_pair_new(&params, &pair, engines), "pair");
    check(weft_config_new(WEFT_SERVER, &server_config), "config");
    check(weft_config_set_alpn(server_config, "game"), "alpn");
    check(weft_config_self_signed(server_config, "game.test", 30), "certificate");
    check(weft_config_fingerprint(server_config, sha256), "fingerprint");
    check(weft_config_set(server_config, "max_datagram_frame_size", "1500"), "option");
    check(weft_config_new(WEFT_CLIENT, &client_config), "config");
    check(weft_config_set_alpn(client_config, "game"), "alpn");
    check(weft_config_add_pin(client_config, sha256), "pin");
    check(weft_listen(engines[1], server_config, "192.0.2.2:443", &listen, &listener), "listen");
    check(weft_connect(engines[0], client_config, "192.0.2.2", 443, &connect, &conn), "connect");
    check(weft_pair_now(pair, &now), "now");
    while (!connected)
        check(weft_pair_run(pair, now += FRAME_TIME), "run");
    for (frame = 1; frame <= FRAMES; frame++) {
        send_position(conn, frame);
        check(weft_pair_run(pair, now += FRAME_TIME), "run");
    }
    check(weft_conn_close(conn, 0, "game over"), "close"); /* what is still on its way counts as lost */
    check(weft_pair_run(pair, now + UINT64_C(5000000000)), "run");
    printf("sent %" PRIu32 ": acknowledged %" PRIu32 ", lost %" PRIu32 "; arrived %" PRIu64 ", too late %" PRIu64 "\n",
           outcomes[WEFT_DATAGRAM_SENT], outcomes[WEFT_DATAGRAM_ACKED], outcomes[WEFT_DATAGRAM_LOST], arrived, late);
    check(weft_pair_free(pair), "free");
    check(weft_config_free(server_config), "free");
    check(weft_config_free(client_config), "free");
    return outcomes[WEFT_DATAGRAM_SENT] == FRAMES ? 0 : 1;
}
