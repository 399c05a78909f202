/* perf_server.c - `weft perf server`: sends as many bytes as it is asked for, throws away what it is sent. */
#include <stdlib.h>

#include "perf.h"

struct arguments {
    struct cli_common common;
    struct cli_server server;
};

struct perf_server {
    struct arguments arguments;
    weft_engine engine;
    weft_listener listener;
    uint64_t requests, first_at, last_at;
    uint64_t open;        /* streams */
    struct answer *spare; /* freed answers, to be used again */
    bool closing;
};

struct answer {
    struct perf_server *server;
    struct answer *next; /* spare */
    uint64_t left;       /* bytes to send; while the header is incomplete, what there is of it */
    uint32_t header;     /* bytes of the header that have come */
    bool sending;
};

static const struct cli_usage perf_server_usage = {
    "perf server", "",
    "Answers `weft perf client` (and other clients of draft-banks-quic-performance) until SIGINT or SIGTERM.\n"
    "Prints where it listens and the fingerprint of its certificate, and at the end what it did.",
    "Exit codes: 0 after SIGINT or SIGTERM, 1 it could not start, 2 the command line was not understood.\n"};

static void on_signal(void *user) {
    struct perf_server *server = user;
    if (server->closing || weft_listener_close(server->listener, 0))
        weft_engine_stop(server->engine);
    server->closing = true;
}

static void on_listener_closed(void *user, weft_listener listener) {
    struct perf_server *server = user;
    (void)listener;
    weft_engine_stop(server->engine);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

static void on_opened(void *user, weft_stream stream) {
    struct perf_server *server = user;
    struct answer *answer = server->spare;
    if (answer)
        server->spare = answer->next;
    else
        answer = malloc(sizeof *answer);
    if (!answer) {
        weft_stream_detach(stream, PERF_BAD_REQUEST);
        return;
    }
    *answer = (struct answer){.server = server};
    server->open++;
    weft_stream_set_user(stream, answer);
    if (!server->first_at)
        server->first_at = cli_now();
}

static void pump(struct answer *answer, weft_stream stream) {
    if (!answer->sending)
        return;
    int64_t sent = perf_send(stream, answer->left);
    answer->left -= sent > 0 ? (uint64_t)sent : 0;
    if (sent == WEFT_E_NOMEM)
        weft_stream_reset(stream, PERF_BAD_REQUEST);
    answer->sending = answer->left && sent >= 0;
}

static void on_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    struct answer *answer = user;
    if (answer->header == PERF_HEADER)
        return;
    for (uint32_t i = 0; i < count; i++)
        for (size_t at = 0; at < slices[i].len && answer->header < PERF_HEADER; at++, answer->header++)
            answer->left = answer->left << 8 | slices[i].data[at];
    if (answer->header < PERF_HEADER) {
        if (flags & WEFT_FIN)
            weft_stream_reset(stream, PERF_BAD_REQUEST);
        return;
    }
    answer->server->requests++;
    answer->sending = answer->left > 0;
    if (answer->sending)
        pump(answer, stream);
    else
        weft_stream_finish(stream);
}

static void on_reset(void *user, weft_stream stream, uint64_t code) {
    struct answer *answer = user;
    answer->sending = false;
    weft_stream_reset(stream, code);
}

static void on_writable(void *user, weft_stream stream) { pump(user, stream); }

static void on_closed(void *user, weft_stream stream) {
    struct answer *answer = user;
    struct perf_server *server = answer->server;
    (void)stream;
    answer->next = server->spare;
    server->spare = answer;
    if (--server->open == 0) /* nobody reads a clock for each of many */
        server->last_at = cli_now();
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void summary(struct perf_server *server) {
    weft_engine_stats stats = {.size = sizeof stats};
    weft_engine_get_stats(server->engine, &stats);
    uint64_t sent = stats.conns.stream_bytes_sent, received = stats.conns.stream_bytes_received;
    if (server->open) /* broken off */
        server->last_at = cli_now();
    double seconds = server->last_at > server->first_at ? (double)(server->last_at - server->first_at) / 1e9 : 0;
    if (server->arguments.common.json) {
        struct cli_json json = cli_json_begin(stdout);
        cli_json_work(&json, &stats, sent + received, seconds);
        cli_json_uint(&json, "sent_bytes", sent);
        cli_json_uint(&json, "received_bytes", received);
        cli_json_uint(&json, "connections", stats.connections_accepted);
        cli_json_uint(&json, "requests", server->requests);
        cli_json_end(&json);
    } else if (!server->arguments.common.quiet) {
        char out[CLI_UNIT_TEXT], in[CLI_UNIT_TEXT];
        struct cli_cpu cpu = cli_cpu_used();
        printf("%llu connections, %llu requests, %s sent, %s received; packets: %llu sent, %llu received, %llu lost; "
               "CPU: %.3f s user, %.3f s system, %.3f s for each GB\n",
               (unsigned long long)stats.connections_accepted, (unsigned long long)server->requests,
               cli_format_size((double)sent, out), cli_format_size((double)received, in),
               (unsigned long long)stats.conns.packets_sent, (unsigned long long)stats.conns.packets_received,
               (unsigned long long)stats.conns.packets_lost, cpu.user, cpu.system,
               sent + received ? (cpu.user + cpu.system) * 1e9 / (double)(sent + received) : 0);
    }
}

static int run(struct perf_server *server, weft_config config) {
    static const weft_listener_callbacks on_listener = {.size = sizeof on_listener, .on_closed = on_listener_closed};
    static const weft_stream_callbacks on_stream = {.size = sizeof on_stream,
                                                    .on_opened = on_opened,
                                                    .on_data = on_data,
                                                    .on_reset = on_reset,
                                                    .on_writable = on_writable,
                                                    .on_closed = on_closed};
    weft_listen_params params = {.size = sizeof params,
                                 .callbacks = &on_listener,
                                 .user = server,
                                 .stream_callbacks = &on_stream,
                                 .conn_user = server};
    cli_watch_prepare();
    int32_t error = weft_engine_new(NULL, &server->engine);
    if (error) {
        cli_error("%s", weft_strerror(error));
        return CLI_FAILED;
    }
    int code = cli_server_listen(&server->arguments.server, server->engine, config, &params, &server->listener);
    struct cli_watch *watch = NULL;
    if (code == CLI_GO_ON) {
        code = CLI_FAILED;
        watch = cli_watch_new(server->engine, on_signal, NULL, 0, server);
    }
    if (watch) {
        error = weft_engine_run(server->engine);
        if (error)
            cli_error("%s", weft_strerror(error));
        code = error ? CLI_FAILED : CLI_OK;
        summary(server);
    }
    cli_watch_free(watch);
    weft_engine_free(server->engine);
    return code;
}

int perf_server_main(int argc, char **argv) {
    struct perf_server server = {.requests = 0};
    const struct cli_group groups[] = {{"Server", cli_server_options, &server.arguments.server},
                                       {"General", cli_common_options, &server.arguments.common},
                                       {NULL, NULL, NULL}};
    weft_config config = {0};
    int code = cli_parse(&perf_server_usage, groups, &argc, argv);
    if (code == CLI_GO_ON && argc > 1) {
        cli_error("what is '%s'?", argv[1]);
        code = CLI_USAGE;
    }
    if (code == CLI_GO_ON)
        code = cli_server_config(&server.arguments.server, &server.arguments.common, PERF_ALPN, perf_presets, &config);
    if (code == CLI_GO_ON) {
        code = run(&server, config);
        weft_config_free(config);
    }
    for (struct answer *answer = server.spare, *next; answer; answer = next) {
        next = answer->next;
        free(answer);
    }
    cli_common_free(&server.arguments.common);
    return code;
}
