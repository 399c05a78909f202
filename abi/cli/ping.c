/* ping.c - `weft ping`: handshake time, then round trips, told as ping(8) tells them.
 *
 * A round is two PING frames in two packets: a peer may sit on its acknowledgement of one packet for max_ack_delay, but
 * is to answer the second at once (RFC 9000 13.2.2). The round trip is the sample that the acknowledgement gives
 * (RFC 9002 5.1), which weft_path tells.
 *
 * The other commands let weft_engine_run do everything; this one has a loop of its own instead: it waits on
 * weft_engine_fd and until weft_engine_deadline, and turns the engine once each time. That is how the engine is put
 * into a program that has a loop already.
 */
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define SEC 1000000000u

struct arguments {
    struct cli_common common;
    struct cli_client client;
    const char *alpn;
    uint64_t count, interval, wait;
};

struct ping {
    struct arguments arguments;
    char host[256], address[WEFT_ADDR_TEXT];
    uint16_t port;
    weft_engine engine;
    weft_config config;
    weft_conn conn;
    uint64_t began, sent_at; /* sent_at 0: no round is under way */
    uint64_t next_at;
    uint64_t acks_before; /* ACK frames received when the round began */
    uint64_t rounds, answered;
    double handshake;
    struct cli_histogram trips;
    bool connected, ended, interrupted;
    int code;
};

static const struct cli_option ping_options[] = {
    {"count", 'c', CLI_COUNT, offsetof(struct arguments, count), "N", "end after N round trips; else with Ctrl-C"},
    {"interval", 'i', CLI_TIME, offsetof(struct arguments, interval), "TIME", "between them: 1s"},
    {"wait", 'W', CLI_TIME, offsetof(struct arguments, wait), "TIME", "for an answer, at most: 3s"},
    {"alpn", 0, CLI_TEXT, offsetof(struct arguments, alpn), "NAMES",
     "application protocols to offer: hq-interop,perf,h3 unless given"},
    {.name = NULL},
};

static const struct cli_usage ping_usage = {
    "ping", "HOST:PORT",
    "Makes a connection, tells how long its handshake took, and then measures round trips with PING frames,\n"
    "which every QUIC server answers.\n"
    "\n"
    "A round trip is the time until a packet's acknowledgement is here. A server that is slow to acknowledge\n"
    "(beyond every second packet at once, as RFC 9000 13.2.2 recommends) adds its delay.",
    "Example: weft ping -c 5 --insecure example.org:443\n"
    "\n"
    "Exit codes: 0 every round trip came to an end, 1 some did not or the connection was lost, 2 the command line was\n"
    "not understood, 3 no connection, 4 the server's certificate was refused, 130 interrupted before any answer.\n"};

static void on_connected(void *user, weft_conn conn) {
    struct ping *ping = user;
    weft_conn_info info = {.size = sizeof info};
    ping->connected = true;
    ping->next_at = cli_now();
    ping->handshake = (double)(ping->next_at - ping->began) / 1e9;
    cli_peer(conn, ping->address);
    if (ping->arguments.common.json || ping->arguments.common.quiet || weft_conn_get_info(conn, &info))
        return;
    char time[CLI_UNIT_TEXT];
    printf("connected to %s: handshake %s, QUIC version %s, %s\n", ping->address,
           cli_format_time(ping->handshake, time), info.version == 0x6b3343cf ? "2" : "1", info.alpn);
    fflush(stdout);
}

static void on_closed(void *user, weft_conn conn, const weft_close *close) {
    struct ping *ping = user;
    char why[400];
    (void)conn;
    ping->ended = true;
    int code = cli_explain_close(close, why, sizeof why);
    if (code == CLI_OK)
        return;
    cli_error("%s port %u: %s", ping->host, ping->port, why);
    ping->code = ping->connected ? CLI_FAILED : code;
}

static void on_signal(void *user) {
    struct ping *ping = user;
    ping->interrupted = true;
}

/* ---- rounds ------------------------------------------------------------------------------------------------------ */

static uint64_t acks_received(const struct ping *ping) {
    weft_conn_stats stats = {.size = sizeof stats};
    return weft_conn_get_stats(ping->conn, &stats) ? 0 : stats.acks_received;
}

static void begin_round(struct ping *ping) {
    ping->acks_before = acks_received(ping);
    ping->sent_at = cli_now();
    ping->next_at = ping->sent_at + ping->arguments.interval;
    ping->rounds++;
    for (int i = 0; i < 2; i++) {
        weft_conn_ping(ping->conn);
        weft_engine_turn(ping->engine); /* sends it: the two do not share a packet */
    }
}

static void end_round(struct ping *ping, bool answered) {
    char time[CLI_UNIT_TEXT];
    weft_path path = {.size = sizeof path};
    uint64_t trip = 0;
    ping->sent_at = 0;
    if (answered && !weft_conn_get_path(ping->conn, &path))
        trip = path.rtt_latest;
    if (answered) {
        ping->answered++;
        cli_histogram_add(&ping->trips, trip);
    }
    if (ping->arguments.common.json || ping->arguments.common.quiet)
        return;
    if (answered)
        printf("answer from %s: seq=%llu time=%s\n", ping->address, (unsigned long long)ping->rounds,
               cli_format_time((double)trip / 1e9, time));
    else
        printf("no answer: seq=%llu\n", (unsigned long long)ping->rounds);
    fflush(stdout);
}

/* After each turn: what is due? True: all is done. */
static bool step(struct ping *ping) {
    uint64_t now = cli_now();
    if (ping->ended || ping->interrupted)
        return true;
    if (!ping->connected)
        return false;
    if (ping->sent_at && acks_received(ping) > ping->acks_before)
        end_round(ping, true);
    else if (ping->sent_at && now >= ping->sent_at + ping->arguments.wait)
        end_round(ping, false);
    if (ping->sent_at)
        return false;
    if (ping->arguments.count && ping->rounds == ping->arguments.count)
        return true;
    if (now >= ping->next_at)
        begin_round(ping);
    return false;
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

/* Until something happens, the engine wants its turn, or we have something to do. */
static void wait_for(struct ping *ping) {
    struct pollfd fd = {.fd = weft_engine_fd(ping->engine), .events = POLLIN};
    uint64_t wait = UINT64_MAX, now = cli_now();
    weft_engine_deadline(ping->engine, &wait);
    uint64_t due = !ping->connected ? UINT64_MAX : ping->sent_at ? ping->sent_at + ping->arguments.wait : ping->next_at;
    uint64_t own = due == UINT64_MAX ? UINT64_MAX : due > now ? due - now : 0;
    wait = own < wait ? own : wait;
    uint64_t ms = wait / 1000000 + (wait % 1000000 != 0);
    poll(&fd, 1, wait == UINT64_MAX ? -1 : ms > INT_MAX ? INT_MAX : (int)ms);
}

static void loop(struct ping *ping) {
    bool done = false;
    while (!done) {
        wait_for(ping);
        weft_engine_turn(ping->engine);
        done = step(ping);
    }
    if (ping->sent_at) { /* cut short: not the peer's fault */
        ping->rounds--;
        ping->sent_at = 0;
    }
    if (!ping->ended && !weft_conn_close(ping->conn, 0, NULL))
        for (int i = 0; i < 8 && !ping->ended; i++) /* CONNECTION_CLOSE goes out, CONN_CLOSED comes */
            weft_engine_turn(ping->engine);
}

static void report(const struct ping *ping) {
    double least = (double)ping->trips.least / 1e6, greatest = (double)ping->trips.greatest / 1e6;
    double mean = cli_histogram_mean(&ping->trips) / 1e6, deviation = cli_histogram_deviation(&ping->trips) / 1e6;
    double lost = ping->rounds ? 100.0 * (double)(ping->rounds - ping->answered) / (double)ping->rounds : 0;
    if (ping->arguments.common.json) {
        struct cli_json json = cli_json_begin(stdout);
        cli_json_text(&json, "address", ping->address);
        cli_json_real(&json, "handshake_seconds", ping->handshake);
        cli_json_uint(&json, "sent", ping->rounds);
        cli_json_uint(&json, "answered", ping->answered);
        cli_json_real(&json, "rtt_min_seconds", least / 1e3);
        cli_json_real(&json, "rtt_mean_seconds", mean / 1e3);
        cli_json_real(&json, "rtt_max_seconds", greatest / 1e3);
        cli_json_real(&json, "rtt_mdev_seconds", deviation / 1e3);
        cli_json_end(&json);
        return;
    }
    printf("\n--- %s port %u ---\n%llu sent, %llu answered, %.0f%% lost\n", ping->host, ping->port,
           (unsigned long long)ping->rounds, (unsigned long long)ping->answered, lost);
    if (ping->answered)
        printf("rtt min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms\n", least, mean, greatest, deviation);
}

static int run(struct ping *ping) {
    static const weft_conn_callbacks callbacks = {
        .size = sizeof callbacks, .on_connected = on_connected, .on_closed = on_closed};
    weft_connect_params params = {.size = sizeof params,
                                  .family = cli_client_family(&ping->arguments.client),
                                  .server_name = ping->arguments.client.server_name,
                                  .callbacks = &callbacks,
                                  .user = ping};
    cli_watch_prepare();
    int32_t error = weft_engine_new(NULL, &ping->engine);
    if (error) {
        cli_error("%s", weft_strerror(error));
        return CLI_FAILED;
    }
    ping->code = CLI_FAILED;
    struct cli_watch *watch = cli_watch_new(ping->engine, on_signal, NULL, 0, ping);
    ping->began = cli_now();
    error = watch ? weft_connect(ping->engine, ping->config, ping->host, ping->port, &params, &ping->conn) : 0;
    if (error) {
        char why[512];
        if (weft_engine_error(ping->engine, why, sizeof why) <= 0)
            snprintf(why, sizeof why, "%s", weft_strerror(error));
        cli_error("%s port %u: %s", ping->host, ping->port, why);
        ping->code = CLI_NO_CONNECTION;
    } else if (watch) {
        ping->code = CLI_OK;
        loop(ping);
        if (ping->connected)
            report(ping);
        if (ping->code == CLI_OK && ping->answered < ping->rounds)
            ping->code = CLI_FAILED;
        if (ping->code == CLI_OK && ping->interrupted && !ping->answered)
            ping->code = CLI_INTERRUPTED;
    }
    cli_watch_free(watch);
    weft_engine_free(ping->engine);
    return ping->code;
}

int ping_main(int argc, char **argv) {
    struct ping *ping = calloc(1, sizeof *ping);
    if (!ping) {
        cli_error("out of memory");
        return CLI_FAILED;
    }
    ping->arguments = (struct arguments){.alpn = "hq-interop,perf,h3", .interval = SEC, .wait = 3 * (uint64_t)SEC};
    ping->port = 443;
    const struct cli_group groups[] = {{"Options", ping_options, &ping->arguments},
                                       {"Server", cli_client_options, &ping->arguments.client},
                                       {"General", cli_common_options, &ping->arguments.common},
                                       {NULL, NULL, NULL}};
    int code = cli_parse(&ping_usage, groups, &argc, argv);
    if (code == CLI_GO_ON && (argc != 2 || !cli_parse_host(argv[1], strlen(argv[1]), ping->host, &ping->port))) {
        cli_error("wants one server, HOST:PORT or [::1]:PORT");
        code = CLI_USAGE;
    }
    if (code == CLI_GO_ON)
        code = cli_client_config(&ping->arguments.client, &ping->arguments.common, ping->arguments.alpn, NULL,
                                 &ping->config);
    if (code == CLI_GO_ON) {
        code = run(ping);
        weft_config_free(ping->config);
    }
    cli_common_free(&ping->arguments.common);
    cli_client_free(&ping->arguments.client);
    free(ping);
    return code;
}
