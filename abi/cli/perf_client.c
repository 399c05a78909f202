/* perf_client.c - `weft perf client`: asks a `weft perf server`, and counts.
 *
 * All connections are made first, so that handshakes are not part of what is measured; then each keeps --streams
 * requests in flight until it has made --requests of them, or --duration is over. What arrives is counted where it
 * lies. A request's latency is from the call that opens its stream to the end of the answer.
 *
 * Invariant: `running` counts the requests whose answer, or whose upload, is not complete.
 */
#include <stdlib.h>
#include <string.h>

#include "perf.h"

#define TICK 20000000u /* ns between looks at the clock: how sharp the end of --duration is */
#define CONNECTIONS_MAX 100000u

struct arguments {
    struct cli_common common;
    struct cli_client client;
    uint64_t download, upload, streams, connections, requests, duration, handshakes, at_once;
};

struct perf_client;

struct link { /* one connection */
    struct perf_client *client;
    weft_conn conn;
    uint64_t began, asked, in_flight;
    bool ended;
};

struct request {
    struct link *link;
    struct request *next; /* spare */
    uint64_t began;
    uint64_t left;    /* to be uploaded */
    uint64_t counted; /* of the upload, in client->uploaded */
    bool answered, uploaded;
};

enum stage { CONNECTING, MEASURING, CLOSING };

struct perf_client {
    struct arguments arguments;
    char host[256];
    uint16_t port;
    weft_engine engine;
    weft_config config;
    struct link *links;
    uint64_t links_open, links_ready;
    struct request *spare;
    uint8_t first[PERF_HEADER + PERF_SMALL]; /* how each request begins: small ones are written with one call */
    uint64_t first_len;
    enum stage stage;
    uint64_t connect_began, began, ended;
    uint64_t running, completed, failed;
    uint64_t downloaded, uploaded;         /* bytes */
    uint64_t download_total, upload_total; /* the same when the time was over */
    struct cli_histogram latency, handshake;
    struct cli_progress progress;
    struct cli_cpu cpu_before, cpu_after;
    weft_engine_stats before, after;
    bool interrupted;
    int code;
};

static const struct cli_option perf_client_options[] = {
    {"download", 'd', CLI_SIZE, offsetof(struct arguments, download), "SIZE",
     "bytes each request wants from the server;\n256MiB if --upload is not given either"},
    {"upload", 'u', CLI_SIZE, offsetof(struct arguments, upload), "SIZE", "bytes each request sends to it"},
    {"streams", 's', CLI_COUNT, offsetof(struct arguments, streams), "N", "requests in flight on each connection: 1"},
    {"connections", 'c', CLI_COUNT, offsetof(struct arguments, connections), "N", "connections: 1"},
    {"requests", 'n', CLI_COUNT, offsetof(struct arguments, requests), "N",
     "requests on each connection: as many as --streams, unless\n--duration is given"},
    {"duration", 't', CLI_TIME, offsetof(struct arguments, duration), "TIME", "go on with requests for so long"},
    {"handshakes", 0, CLI_COUNT, offsetof(struct arguments, handshakes), "COUNT",
     "make so many connections one after the other and measure\nthat; each asks once, if --download or --upload is "
     "given"},
    {"at-once", 0, CLI_COUNT, offsetof(struct arguments, at_once), "N", "... so many of them side by side: 1"},
    {.name = NULL},
};

static const struct cli_usage perf_client_usage = {
    "perf client", "HOST:PORT",
    "Measures throughput, requests a second, latency and CPU time against a `weft perf server`.\n"
    "\n"
    "Sizes have units (1000, 64KiB, 1.5GiB, 10MB), times too (5s, 250ms). Latency is from opening a stream to the end\n"
    "of its answer. Handshakes are measured apart: their CPU time, and how many there are a second, by --handshakes.",
    "Examples:\n"
    "    weft perf client --insecure [::1]:4433 --download 10GiB\n"
    "    weft perf client --pin 0a1b... host:4433 --upload 1GiB --streams 4\n"
    "    weft perf client --pin 0a1b... host:4433 --handshakes 10000 --at-once 100\n"
    "    weft perf client --ca ca.pem host:4433 --download 1KiB --streams 64 --connections 8 --duration 10s --json\n"
    "\n"
    "Exit codes: 0 ok, 1 a request failed or a connection was lost, 2 the command line was not understood, 3 no\n"
    "connection, 4 the server's certificate was refused, 130 interrupted (the summary is printed all the same).\n"};

static void ask(struct link *link, uint64_t now);

/* ---- stages ------------------------------------------------------------------------------------------------------ */

static void close_all(struct perf_client *client) {
    for (uint64_t i = 0; i < client->arguments.connections; i++)
        if (!client->links[i].ended && client->links[i].conn.id)
            weft_conn_close(client->links[i].conn, 0, client->interrupted ? "interrupted" : NULL);
}

static void measured(struct perf_client *client) {
    if (client->stage == MEASURING) {
        client->ended = cli_now();
        client->cpu_after = cli_cpu_used();
        client->after.size = sizeof client->after;
        weft_engine_get_stats(client->engine, &client->after);
        client->download_total = client->downloaded;
        client->upload_total = client->uploaded;
    }
    client->stage = CLOSING;
    close_all(client);
}

static void measure(struct perf_client *client) {
    client->stage = MEASURING;
    client->cpu_before = cli_cpu_used();
    client->before.size = sizeof client->before;
    weft_engine_get_stats(client->engine, &client->before);
    cli_progress_begin(&client->progress, client->arguments.common.quiet);
    perf_header(client->arguments.download, client->first);
    client->first_len = PERF_HEADER + (client->arguments.upload <= PERF_SMALL ? client->arguments.upload : 0);
    client->began = cli_now();
    for (uint64_t i = 0; i < client->arguments.connections && client->stage == MEASURING; i++)
        ask(&client->links[i], cli_now());
}

static bool time_over(const struct perf_client *client, uint64_t now) {
    return client->arguments.duration && now - client->began >= client->arguments.duration;
}

static void on_tick(void *user) {
    struct perf_client *client = user;
    if (client->stage != MEASURING)
        return;
    if (time_over(client, cli_now())) {
        measured(client);
        return;
    }
    cli_progress_show(&client->progress, client->completed, client->arguments.requests * client->arguments.connections,
                      "requests", client->downloaded + client->uploaded);
}

static void on_signal(void *user) {
    struct perf_client *client = user;
    if (client->interrupted)
        weft_engine_stop(client->engine);
    client->interrupted = true;
    measured(client);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static struct request *request_new(struct link *link, uint64_t now) {
    struct perf_client *client = link->client;
    struct request *request = client->spare;
    if (request)
        client->spare = request->next;
    else
        request = malloc(sizeof *request);
    if (request)
        *request = (struct request){.link = link, .began = now, .left = client->arguments.upload};
    return request;
}

static void request_free(struct request *request) {
    struct perf_client *client = request->link->client;
    request->next = client->spare;
    client->spare = request;
}

static void upload(struct request *request, weft_stream stream) {
    if (!request->left)
        return;
    int64_t sent = perf_send(stream, request->left);
    if (sent > 0)
        request->left -= (uint64_t)sent;
}

/* Opens one stream and asks: 1 done, 0 not possible now, -1 never any more. */
static int ask_once(struct link *link, uint64_t now) {
    struct perf_client *client = link->client;
    struct request *request = request_new(link, now);
    weft_stream_params params = {.size = sizeof params, .user = request};
    weft_stream stream;
    int32_t error = request ? weft_stream_open(link->conn, WEFT_BIDI, &params, &stream) : WEFT_E_NOMEM;
    if (error) {
        if (request)
            request_free(request);
        return error == WEFT_E_STREAM_LIMIT ? 0 : -1;
    }
    link->in_flight++;
    link->asked++;
    client->running++;
    request->uploaded = !client->arguments.upload;
    bool whole = client->first_len == PERF_HEADER + client->arguments.upload;
    int64_t sent = weft_stream_write(stream, client->first, client->first_len, whole ? WEFT_FIN : 0);
    request->left -= sent > (int64_t)PERF_HEADER ? (uint64_t)sent - PERF_HEADER : 0;
    upload(request, stream);
    return 1;
}

static void ask(struct link *link, uint64_t now) {
    const struct arguments *arguments = &link->client->arguments;
    while (link->client->stage == MEASURING && link->in_flight < arguments->streams &&
           (!arguments->requests || link->asked < arguments->requests) && !time_over(link->client, now))
        if (ask_once(link, now) <= 0)
            return; /* on_streams follows, or the connection's end */
}

static void maybe_complete(struct request *request) {
    struct link *link = request->link;
    struct perf_client *client = link->client;
    if (!request->answered || !request->uploaded)
        return;
    uint64_t now = cli_now(); /* the next one begins when this one ends */
    if (client->stage == MEASURING) {
        cli_histogram_add(&client->latency, now - request->began);
        client->completed++;
    }
    client->running--;
    link->in_flight--;
    ask(link, now);
    if (!client->running && client->stage == MEASURING)
        measured(client);
}

static void on_data(void *user, weft_stream stream, const weft_slice *slices, uint32_t count, uint32_t flags) {
    struct request *request = user;
    uint64_t len = 0;
    (void)stream;
    for (uint32_t i = 0; i < count; i++)
        len += slices[i].len;
    request->link->client->downloaded += len;
    if (flags & WEFT_FIN) {
        request->answered = true;
        maybe_complete(request);
    }
}

static void on_writable(void *user, weft_stream stream) { upload(user, stream); }

static void on_released(void *user, weft_stream stream, uint64_t token) {
    struct request *request = user;
    (void)stream;
    request->counted += token;
    request->link->client->uploaded += token;
}

static void on_finished(void *user, weft_stream stream) {
    struct request *request = user;
    (void)stream;
    if (request->uploaded)
        return;
    request->uploaded = true;
    request->link->client->uploaded += request->link->client->arguments.upload - request->counted; /* was copied */
    maybe_complete(request);
}

static void on_stream_closed(void *user, weft_stream stream) {
    struct request *request = user;
    struct link *link = request->link;
    struct perf_client *client = link->client;
    (void)stream;
    if (!request->answered || !request->uploaded) { /* reset, or the connection ends */
        if (client->stage == MEASURING) {
            client->failed++;
            client->code = CLI_FAILED;
        }
        client->running--;
        link->in_flight--;
        if (!client->running && client->stage == MEASURING)
            measured(client);
    }
    request_free(request);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void on_connected(void *user, weft_conn conn) {
    struct link *link = user;
    struct perf_client *client = link->client;
    (void)conn;
    cli_histogram_add(&client->handshake, cli_now() - link->began);
    if (++client->links_ready == client->arguments.connections && client->stage == CONNECTING)
        measure(client);
}

static void on_streams(void *user, weft_conn conn) {
    (void)conn;
    ask(user, cli_now());
}

static void on_closed(void *user, weft_conn conn, const weft_close *close) {
    struct link *link = user;
    struct perf_client *client = link->client;
    char why[400];
    (void)conn;
    link->ended = true;
    client->links_open--;
    if (client->stage != CLOSING) {
        int code = cli_explain_close(close, why, sizeof why);
        cli_progress_clear(&client->progress);
        cli_error("%s port %u: %s", client->host, client->port, why);
        client->code = client->stage == MEASURING ? CLI_FAILED : code;
        measured(client);
    }
    if (!client->links_open)
        weft_engine_stop(client->engine);
}

static const weft_conn_callbacks on_conn = {
    .size = sizeof on_conn, .on_connected = on_connected, .on_streams = on_streams, .on_closed = on_closed};
static const weft_stream_callbacks on_stream = {.size = sizeof on_stream,
                                                .on_data = on_data,
                                                .on_writable = on_writable,
                                                .on_released = on_released,
                                                .on_finished = on_finished,
                                                .on_closed = on_stream_closed};

static bool connect_all(struct perf_client *client) {
    weft_connect_params params = {.size = sizeof params,
                                  .family = cli_client_family(&client->arguments.client),
                                  .server_name = client->arguments.client.server_name,
                                  .callbacks = &on_conn,
                                  .stream_callbacks = &on_stream};
    client->connect_began = cli_now();
    for (uint64_t i = 0; i < client->arguments.connections; i++) {
        struct link *link = &client->links[i];
        *link = (struct link){.client = client, .began = cli_now()};
        params.user = link;
        int32_t error = weft_connect(client->engine, client->config, client->host, client->port, &params, &link->conn);
        if (error) {
            char why[512];
            if (weft_engine_error(client->engine, why, sizeof why) <= 0)
                snprintf(why, sizeof why, "%s", weft_strerror(error));
            cli_error("%s port %u: %s", client->host, client->port, why);
            return false;
        }
        client->links_open++;
    }
    return true;
}

/* ---- the report -------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    double share;
} percentiles[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p999", 0.999}};
#define PERCENTILES (sizeof percentiles / sizeof percentiles[0])

static void report_json(const struct perf_client *client, double seconds) {
    const weft_conn_stats *before = &client->before.conns, *after = &client->after.conns;
    struct cli_json json = cli_json_begin(stdout);
    double user = client->cpu_after.user - client->cpu_before.user;
    double system = client->cpu_after.system - client->cpu_before.system;
    cli_json_uint(&json, "bytes", client->download_total + client->upload_total);
    cli_json_real(&json, "seconds", seconds);
    cli_json_real(&json, "gbit_per_second", (double)(client->download_total + client->upload_total) * 8e-9 / seconds);
    cli_json_uint(&json, "download_bytes", client->download_total);
    cli_json_real(&json, "download_gbit_per_second", (double)client->download_total * 8e-9 / seconds);
    cli_json_uint(&json, "upload_bytes", client->upload_total);
    cli_json_real(&json, "upload_gbit_per_second", (double)client->upload_total * 8e-9 / seconds);
    cli_json_uint(&json, "packets_sent", after->packets_sent - before->packets_sent);
    cli_json_uint(&json, "packets_received", after->packets_received - before->packets_received);
    cli_json_uint(&json, "packets_lost", after->packets_lost - before->packets_lost);
    cli_json_real(&json, "cpu_seconds", user + system);
    cli_json_real(&json, "cpu_user_seconds", user);
    cli_json_real(&json, "cpu_system_seconds", system);
    uint64_t bytes = client->download_total + client->upload_total;
    cli_json_real(&json, "cpu_seconds_per_gigabyte", bytes ? (user + system) * 1e9 / (double)bytes : 0);
    cli_json_uint(&json, "memory_peak", client->after.memory_peak);
    cli_json_uint(&json, "connections", client->links_ready);
    cli_json_real(&json, "handshake_seconds", cli_histogram_mean(&client->handshake) / 1e9);
    cli_json_real(&json, "connect_seconds", (double)(client->began - client->connect_began) / 1e9);
    cli_json_uint(&json, "requests", client->completed);
    cli_json_uint(&json, "requests_failed", client->failed);
    cli_json_real(&json, "requests_per_second", (double)client->completed / seconds);
    cli_json_real(&json, "latency_min_seconds", (double)client->latency.least / 1e9);
    cli_json_real(&json, "latency_mean_seconds", cli_histogram_mean(&client->latency) / 1e9);
    for (size_t i = 0; i < PERCENTILES; i++) {
        char name[40];
        snprintf(name, sizeof name, "latency_%s_seconds", percentiles[i].name);
        cli_json_real(&json, name, (double)cli_histogram_at(&client->latency, percentiles[i].share) / 1e9);
    }
    cli_json_real(&json, "latency_max_seconds", (double)client->latency.greatest / 1e9);
    cli_json_flag(&json, "interrupted", client->interrupted);
    cli_json_end(&json);
}

static void report_text(const struct perf_client *client, double seconds) {
    char size[CLI_UNIT_TEXT], a[CLI_UNIT_TEXT];
    const weft_conn_stats *before = &client->before.conns, *after = &client->after.conns;
    printf("connections  %llu, handshake %s on average\n", (unsigned long long)client->links_ready,
           cli_format_time(cli_histogram_mean(&client->handshake) / 1e9, a));
    printf("download     %s in %.3f s, %.3f Gbit/s\n", cli_format_size((double)client->download_total, size), seconds,
           (double)client->download_total * 8e-9 / seconds);
    printf("upload       %s in %.3f s, %.3f Gbit/s\n", cli_format_size((double)client->upload_total, size), seconds,
           (double)client->upload_total * 8e-9 / seconds);
    printf("requests     %llu, %.1f a second\n", (unsigned long long)client->completed,
           (double)client->completed / seconds);
    printf("latency      min %s", cli_format_time((double)client->latency.least / 1e9, a));
    for (size_t i = 0; i < PERCENTILES; i++)
        printf(", %s %s", percentiles[i].name,
               cli_format_time((double)cli_histogram_at(&client->latency, percentiles[i].share) / 1e9, a));
    printf(", max %s\n", cli_format_time((double)client->latency.greatest / 1e9, a));
    printf("packets      %llu sent, %llu received, %llu lost\n",
           (unsigned long long)(after->packets_sent - before->packets_sent),
           (unsigned long long)(after->packets_received - before->packets_received),
           (unsigned long long)(after->packets_lost - before->packets_lost));
    double user = client->cpu_after.user - client->cpu_before.user;
    double system = client->cpu_after.system - client->cpu_before.system;
    printf("CPU          %.3f s user, %.3f s system", user, system);
    uint64_t bytes = client->download_total + client->upload_total;
    if (bytes)
        printf(", %.3f s for each GB", (user + system) * 1e9 / (double)bytes);
    printf("\n");
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static int run(struct perf_client *client) {
    cli_watch_prepare();
    int32_t error = weft_engine_new(NULL, &client->engine);
    if (error) {
        cli_error("%s", weft_strerror(error));
        return CLI_FAILED;
    }
    struct cli_watch *watch = cli_watch_new(client->engine, on_signal, on_tick, TICK, client);
    bool connecting = watch && connect_all(client);
    if (connecting) {
        error = weft_engine_run(client->engine);
        if (error)
            cli_error("%s", weft_strerror(error));
        cli_progress_clear(&client->progress);
    }
    if (client->ended) {
        double seconds = client->ended > client->began ? (double)(client->ended - client->began) / 1e9 : 1e-9;
        if (client->arguments.common.json)
            report_json(client, seconds);
        else
            report_text(client, seconds);
    }
    cli_watch_free(watch);
    weft_engine_free(client->engine);
    if (!watch || error)
        return CLI_FAILED;
    return !connecting ? CLI_NO_CONNECTION : client->interrupted ? CLI_INTERRUPTED : client->code;
}

static int run_handshakes(const struct perf_client *client) {
    const struct arguments *arguments = &client->arguments;
    struct perf_handshakes wanted = {.host = client->host,
                                     .port = client->port,
                                     .config = client->config,
                                     .client = &arguments->client,
                                     .count = arguments->handshakes,
                                     .at_once = arguments->at_once ? arguments->at_once : 1,
                                     .download = arguments->download,
                                     .upload = arguments->upload,
                                     .json = arguments->common.json,
                                     .quiet = arguments->common.quiet};
    return perf_handshakes_run(&wanted);
}

static int check(struct perf_client *client, int argc, char **argv) {
    struct arguments *arguments = &client->arguments;
    client->port = 443;
    if (argc != 2 || !cli_parse_host(argv[1], strlen(argv[1]), client->host, &client->port)) {
        cli_error("wants one server, HOST:PORT or [::1]:PORT");
        return CLI_USAGE;
    }
    if (!arguments->streams || !arguments->connections || arguments->connections > CONNECTIONS_MAX) {
        cli_error("--streams must be at least 1, --connections 1 to %u", CONNECTIONS_MAX);
        return CLI_USAGE;
    }
    if (arguments->handshakes &&
        (arguments->duration || arguments->requests || arguments->streams > 1 || arguments->connections > 1)) {
        cli_error("--handshakes has its own measure: no --connections, --streams, --requests or --duration beside it");
        return CLI_USAGE;
    }
    if (arguments->at_once > CONNECTIONS_MAX || (arguments->at_once && !arguments->handshakes)) {
        cli_error("--at-once is for --handshakes, and must be 1 to %u", CONNECTIONS_MAX);
        return CLI_USAGE;
    }
    if (!arguments->requests && !arguments->duration)
        arguments->requests = arguments->streams;
    if (arguments->download == UINT64_MAX) /* not given */
        arguments->download = arguments->upload || arguments->handshakes ? 0 : 256 * 1024 * 1024;
    client->links = calloc(arguments->connections, sizeof *client->links);
    if (!client->links)
        cli_error("out of memory");
    return client->links ? CLI_GO_ON : CLI_FAILED;
}

int perf_client_main(int argc, char **argv) {
    struct perf_client *client = calloc(1, sizeof *client);
    if (!client) {
        cli_error("out of memory");
        return CLI_FAILED;
    }
    client->arguments.streams = client->arguments.connections = 1;
    client->arguments.download = UINT64_MAX;
    const struct cli_group groups[] = {{"Load", perf_client_options, &client->arguments},
                                       {"Server", cli_client_options, &client->arguments.client},
                                       {"General", cli_common_options, &client->arguments.common},
                                       {NULL, NULL, NULL}};
    int code = cli_parse(&perf_client_usage, groups, &argc, argv);
    if (code == CLI_GO_ON)
        code = check(client, argc, argv);
    if (code == CLI_GO_ON)
        code = cli_client_config(&client->arguments.client, &client->arguments.common, PERF_ALPN, perf_presets,
                                 &client->config);
    if (code == CLI_GO_ON) {
        code = client->arguments.handshakes ? run_handshakes(client) : run(client);
        weft_config_free(client->config);
    }
    for (struct request *request = client->spare, *next; request; request = next) {
        next = request->next;
        free(request);
    }
    cli_common_free(&client->arguments.common);
    cli_client_free(&client->arguments.client);
    free(client->links);
    free(client);
    return code;
}
