/* serve.c - `weft serve`: a directory's files over hq-interop, HTTP/0.9 on QUIC streams, as the QUIC interop runner
 * speaks it. A client opens a bidirectional stream and sends "GET /path" and a line break; the answer is the file's
 * bytes, and the end of the stream is the end of the file. There are no headers and no status: what cannot be served is
 * refused by RESET_STREAM with a code of enum serve_refusal, and one line on stderr.
 *
 * This file runs the server; requests are read, opened and answered by its neighbours (serve.h).
 */
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "serve.h"

static const struct cli_option serve_options[] = {
    {"root", 'r', CLI_TEXT, offsetof(struct serve, root_path), "DIR",
     "the directory to serve: the present one unless given"},
    {"alpn", 0, CLI_TEXT, offsetof(struct serve, alpn), "NAMES", "application protocols, hq-interop unless given"},
    {"preferred", 0, CLI_TEXT, offsetof(struct serve, preferred), "LIST",
     "addresses with ports, one of IPv4, one of IPv6 or both\nwith a comma: where clients are asked to move"},
    {"key-update", 0, CLI_FLAG, offsetof(struct serve, common.key_update), NULL,
     "begin a key update while a file is sent"},
    {"no-symlinks", 0, CLI_FLAG, offsetof(struct serve, no_symlinks), NULL,
     "follow no symbolic links (else those that stay\nbeneath the directory are followed)"},
    {"verbose", 'v', CLI_FLAG, offsetof(struct serve, verbose), NULL, "one line on stderr for each request"},
    {.name = NULL},
};

static const struct cli_usage serve_usage = {
    "serve", "",
    "Serves the files of a directory over hq-interop (HTTP/0.9 on QUIC streams) until SIGINT or SIGTERM.\n"
    "\n"
    "Prints two lines when it is ready, \"listening on ADDRESS:PORT\" and \"fingerprint sha256:HEX\" (of its\n"
    "certificate, for `weft get --pin`), and at the end what it did and what that cost. Only regular files\n"
    "beneath the directory are served. What is refused is refused by a reset of the stream, with the code\n"
    "0x400 not a request, 0x403 forbidden, 0x404 not found, 0x414 too long, 0x500 trouble with the file,\n"
    "0x503 no resources.\n"
    "\n"
    "SIGINT and SIGTERM close all connections, and it ends when their closing periods are over (RFC 9000 10.2):\n"
    "some round trips, or about three seconds after a handshake that was refused, where no round trip is known;\n"
    "ten seconds at most. A second one ends it at once.",
    "Examples:\n"
    "    weft serve --root /srv/files\n"
    "    weft serve --listen 192.0.2.1:443 --cert chain.pem --key key.pem --set max_connections=10000\n"
    "\n"
    "Exit codes: 0 after SIGINT or SIGTERM, 1 it could not start, 2 the command line was not understood.\n"
    "\n"
    "With ROLE=server and TESTCASE in the environment it plays a case of the QUIC interop runner: what the command\n"
    "line leaves open is as the runner has it (/www, /certs, port 443), and a case that is not known ends with 127.\n"};

/* More of a stream in flight than the library's default, and no streams that hq-interop has no use for. */
static const struct cli_preset serve_presets[] = {{"stream_send_buffer", 4 * 1024 * 1024},
                                                  {"initial_max_streams_uni", 0}};

static void on_signal(void *user) {
    struct serve *serve = user;
    if (serve->closing) /* the second time: at once */
        weft_engine_stop(serve->engine);
    else if (weft_listener_close(serve->listener, 0) || (serve->second.id && weft_listener_close(serve->second, 0)))
        weft_engine_stop(serve->engine);
    serve->closing = true;
}

static void on_listener_closed(void *user, weft_listener listener) {
    struct serve *serve = user;
    (void)listener;
    if (!--serve->listening)
        weft_engine_stop(serve->engine);
}

/* ---- the preferred address --------------------------------------------------------------------------------------- */

/* Tells clients of it, and listens at its port too, if that is another one. CLI_GO_ON or the exit code. */
static int prefer(struct serve *serve, weft_config config, bool listen, const weft_listen_params *params) {
    char v4[WEFT_ADDR_TEXT] = "", v6[WEFT_ADDR_TEXT] = "", text[64];
    weft_addr own, preferred;
    uint16_t port = 0;
    const char *rest = serve->preferred;
    while (*rest) {
        size_t len = strcspn(rest, ",");
        char *out = *rest == '[' ? v6 : v4;
        snprintf(out, WEFT_ADDR_TEXT, "%.*s", (int)len, rest);
        if (weft_addr_parse(out, 0, &preferred) || !(port = preferred.port)) {
            cli_error("--preferred %s: an address with a port is wanted, 192.0.2.1:443 or [2001:db8::1]:443", out);
            return CLI_USAGE;
        }
        rest += len + (rest[len] == ',');
    }
    if (!listen) {
        int32_t error = weft_config_set_preferred_address(config, *v4 ? v4 : NULL, *v6 ? v6 : NULL);
        if (error)
            cli_error("--preferred %s: %s", serve->preferred, weft_strerror(error));
        return error ? CLI_USAGE : CLI_GO_ON;
    }
    if (weft_listener_address(serve->listener, &own) || own.port == port)
        return CLI_GO_ON;
    snprintf(text, sizeof text, "%s:%u", *v6 ? "[::]" : "0.0.0.0", port);
    int32_t error = weft_listen(serve->engine, config, text, params, &serve->second);
    if (error)
        cli_error("cannot listen on %s: %s", text, weft_strerror(error));
    serve->listening += !error;
    return error ? CLI_FAILED : CLI_GO_ON;
}

static void summary(struct serve *serve) {
    const struct serve_counts *counts = &serve->counts;
    weft_engine_stats stats = {.size = sizeof stats};
    weft_engine_get_stats(serve->engine, &stats);
    uint64_t bytes = stats.conns.stream_bytes_sent;
    double seconds = counts->last_at > counts->first_at ? (double)(counts->last_at - counts->first_at) / 1e9 : 0;
    if (serve->common.json) {
        struct cli_json json = cli_json_begin(stdout);
        cli_json_work(&json, &stats, bytes, seconds);
        cli_json_uint(&json, "connections", stats.connections_accepted);
        cli_json_uint(&json, "requests", counts->requests);
        cli_json_uint(&json, "files_sent", counts->completed);
        cli_json_uint(&json, "refused", counts->refused);
        cli_json_uint(&json, "broken_off", counts->broken_off);
        cli_json_end(&json);
    } else if (!serve->common.quiet) {
        char size[CLI_UNIT_TEXT];
        struct cli_cpu cpu = cli_cpu_used();
        printf("%llu connections, %llu requests: %llu files sent, %llu refused, %llu broken off\n"
               "%s in %.3f s, %.3f Gbit/s; packets: %llu sent, %llu received, %llu lost; CPU: %.3f s user, %.3f s "
               "system\n",
               (unsigned long long)stats.connections_accepted, (unsigned long long)counts->requests,
               (unsigned long long)counts->completed, (unsigned long long)counts->refused,
               (unsigned long long)counts->broken_off, cli_format_size((double)bytes, size), seconds,
               seconds > 0 ? (double)bytes * 8 / 1e9 / seconds : 0, (unsigned long long)stats.conns.packets_sent,
               (unsigned long long)stats.conns.packets_received, (unsigned long long)stats.conns.packets_lost, cpu.user,
               cpu.system);
    }
}

/* A quarter of the descriptors we may have; each file in transfer has one, and a mapping. */
static uint32_t file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        return 64;
    limit.rlim_cur = limit.rlim_max < 16384 ? limit.rlim_max : 16384;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur < 64 ? 16 : limit.rlim_cur > 16384 ? 4096 : (uint32_t)(limit.rlim_cur / 4);
}

static int run(struct serve *serve, weft_config config) {
    static const weft_listener_callbacks callbacks = {.size = sizeof callbacks, .on_closed = on_listener_closed};
    weft_listen_params params = {.size = sizeof params,
                                 .callbacks = &callbacks,
                                 .user = serve,
                                 .stream_callbacks = &serve_stream_callbacks,
                                 .conn_user = serve};
    cli_watch_prepare();
    int32_t error = weft_engine_new(NULL, &serve->engine);
    if (error) {
        cli_error("%s", weft_strerror(error));
        return CLI_FAILED;
    }
    int code = serve->preferred ? prefer(serve, config, false, &params) : CLI_GO_ON;
    if (code == CLI_GO_ON)
        code = cli_server_listen(&serve->server, serve->engine, config, &params, &serve->listener);
    serve->listening = code == CLI_GO_ON;
    if (code == CLI_GO_ON && serve->preferred)
        code = prefer(serve, config, true, &params);
    struct cli_watch *watch = NULL;
    if (code == CLI_GO_ON) {
        code = CLI_FAILED;
        watch = cli_watch_new(serve->engine, on_signal, NULL, 0, serve);
    }
    if (watch) {
        error = weft_engine_run(serve->engine);
        if (error)
            cli_error("%s", weft_strerror(error));
        code = error ? CLI_FAILED : CLI_OK;
        summary(serve);
    }
    cli_watch_free(watch);
    weft_engine_free(serve->engine);
    return code;
}

/* What the interop runner wants, where the command line leaves it open. The presets end with one without name. */
static int follow_runner(struct serve *serve, struct cli_preset presets[5], char preferred[2 * WEFT_ADDR_TEXT]) {
    struct cli_runner_case asked;
    int code = cli_runner_case("server", &asked);
    size_t count = 0;
    if (code != CLI_GO_ON || !asked.name)
        return code;
    if (!serve->root_path)
        serve->root_path = "/www";
    if (!serve->server.certificate && !serve->server.names) {
        serve->server.certificate = "/certs/cert.pem";
        serve->server.key = "/certs/priv.key";
    }
    if (!serve->server.listen)
        serve->server.listen = "[::]:443";
    if (asked.wishes & RUNNER_CHACHA20 && !serve->common.ciphers)
        serve->common.ciphers = "TLS_CHACHA20_POLY1305_SHA256";
    if (asked.wishes & RUNNER_RETRY)
        presets[count++] = (struct cli_preset){"address_validation", 1};
    if (asked.wishes & RUNNER_EARLY)
        presets[count++] = (struct cli_preset){"early_data", 1};
    if (asked.wishes & RUNNER_V2)
        presets[count++] = (struct cli_preset){"version_preference", 2};
    if (asked.wishes & RUNNER_EACH) { /* a third of all packets is lost there */
        presets[count++] = (struct cli_preset){"handshake_timeout", 60000000000u};
        presets[count++] = (struct cli_preset){"max_idle_timeout", 60000000000u};
    }
    serve->common.key_update = serve->common.key_update || asked.wishes & RUNNER_KEY_UPDATE;
    if (asked.wishes & RUNNER_MIGRATION && !serve->preferred && cli_runner_addresses(444, preferred))
        serve->preferred = preferred;
    return CLI_GO_ON;
}

int serve_main(int argc, char **argv) {
    struct serve serve = {.alpn = "hq-interop", .root = -1};
    struct cli_preset presets[8] = {serve_presets[0], serve_presets[1]};
    char preferred[2 * WEFT_ADDR_TEXT];
    const struct cli_group groups[] = {{"Options", serve_options, &serve},
                                       {"Server", cli_server_options, &serve.server},
                                       {"General", cli_common_options, &serve.common},
                                       {NULL, NULL, NULL}};
    weft_config config = {0};
    serve.waiting_end = &serve.waiting;
    int code = cli_parse(&serve_usage, groups, &argc, argv);
    if (code == CLI_GO_ON && argc > 1) {
        cli_error("what is '%s'? The directory is given with --root", argv[1]);
        code = CLI_USAGE;
    }
    if (code == CLI_GO_ON)
        code = follow_runner(&serve, presets + 2, preferred);
    if (!serve.root_path)
        serve.root_path = ".";
    if (code == CLI_GO_ON) {
        serve.root = open(serve.root_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (serve.root < 0) {
            cli_error("cannot serve %s: %m", serve.root_path);
            code = CLI_FAILED;
        }
    }
    if (code == CLI_GO_ON)
        code = cli_server_config(&serve.server, &serve.common, serve.alpn, presets, &config);
    if (code == CLI_GO_ON) {
        serve.most_open_files = file_limit();
        serve_file_init();
        code = run(&serve, config);
        weft_config_free(config);
    }
    if (serve.root >= 0)
        close(serve.root);
    cli_common_free(&serve.common);
    return code;
}
