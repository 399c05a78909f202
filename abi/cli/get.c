/* get.c - `weft get`: files over hq-interop (see serve.c), many at a time.
 *
 * This file sorts what is wanted by server, starts one connection to each, and tells at the end how it went. A file
 * appears under its name when its last byte has come, and not before.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "get.h"

#define TICK 100000000u /* ns between looks at the progress */

static const struct cli_option get_options[] = {
    {"output", 'o', CLI_TEXT, offsetof(struct get, output), "DIR",
     "the directory for the files, the present one unless given;\n-: all to stdout, in the order they were named"},
    {"parallel", 'P', CLI_COUNT, offsetof(struct get, parallel), "N",
     "most files in transfer at a time on one connection:\n100 unless given (and what the server allows)"},
    {"alpn", 0, CLI_TEXT, offsetof(struct get, alpn), "NAMES", "application protocols, hq-interop unless given"},
    {"each", 0, CLI_FLAG, offsetof(struct get, each), NULL, "a connection for each file, one after the other"},
    {"resume", 0, CLI_FLAG, offsetof(struct get, resume), NULL,
     "the first file over one connection, the rest over a second\nthat resumes it; with --set early_data=on in 0-RTT "
     "packets"},
    {"session", 0, CLI_TEXT, offsetof(struct get, session_path), "FILE",
     "resume the session in this file, if it is there, prove our\naddress by the token that lies with it, and put the "
     "newest\nof this run there for the next; with --set early_data=on\nrequests go in 0-RTT packets, which others "
     "could send again.\nFor one server; keep it to yourself"},
    {"key-update", 0, CLI_FLAG, offsetof(struct get, common.key_update), NULL,
     "begin a key update when the first file comes"},
    {"migrate", 0, CLI_TEXT, offsetof(struct get, migrate), "ADDR",
     "move to this address of ours when the first file comes"},
    {.name = NULL},
};

static const struct cli_usage get_usage = {
    "get", "URL... | HOST:PORT /PATH...",
    "Fetches files over hq-interop (HTTP/0.9 on QUIC streams), as `weft serve` serves them.\n"
    "\n"
    "A URL is https://HOST[:PORT]/PATH or HOST[:PORT]/PATH; a word that begins with a slash is a path on the\n"
    "server before it. Files of one server share a connection. Each file is named after the last component of\n"
    "its path, replaces what has that name, and appears when it is complete: never in parts.\n"
    "\n"
    "The server's certificate is verified against the system's authorities, those of --ca, or by --pin.",
    "Examples:\n"
    "    weft get https://example.org/a.iso\n"
    "    weft get --pin 0a1b...  -o /tmp  [::1]:4433  /one /two /three\n"
    "    weft get --ca ca.pem -o - example.org/list.txt | sort\n"
    "    weft get --session example.session --set early_data=on https://example.org/a.iso\n"
    "\n"
    "Exit codes: 0 all files are there, 1 a file failed, 2 the command line was not understood, 3 a connection did\n"
    "not come about, 4 a server's certificate was refused, 130 interrupted. Of several the greatest is given.\n"
    "\n"
    "With ROLE=client and TESTCASE in the environment it plays a case of the QUIC interop runner: what the command\n"
    "line leaves open is as the runner has it (URLs from REQUESTS, files to /downloads, any certificate), and a case\n"
    "that is not known ends with 127.\n"};

static void on_signal(void *user) {
    struct get *get = user;
    if (get->interrupted)
        weft_engine_stop(get->engine);
    get->interrupted = true;
    for (struct get_server *server = get->servers; server; server = server->next)
        get_server_interrupt(server);
}

static void on_tick(void *user) {
    struct get *get = user;
    for (struct get_server *server = get->servers; server; server = server->next)
        get_server_tick(server);
    if (!get->progress.on)
        return;
    cli_progress_show(&get->progress, get->files_done + get->files_failed, get->count, "files", get->bytes);
}

/* ---- what is wanted ---------------------------------------------------------------------------------------------- */

static struct get_server *server_of(struct get *get, const struct get_url *url) {
    struct get_server **end = &get->servers;
    struct get_server *before = NULL; /* the newest connection to this server */
    for (; *end; end = &(*end)->next) {
        const struct get_url *other = &(*end)->first->url;
        if (!strcasecmp(other->host, url->host) && other->port == url->port)
            before = *end;
    }
    if (before && !get->each && !(get->resume && !before->waits))
        return before;
    *end = calloc(1, sizeof **end);
    if (*end) {
        (*end)->get = get;
        get->servers_open++;
        if (before)
            before->then = *end;
        (*end)->waits = before != NULL;
        if (before)
            before->leaves = get->resume;
    }
    return *end;
}

static bool add_item(struct get *get, const struct get_url *url) {
    struct get_item *item = &get->items[get->count];
    struct get_server *server = server_of(get, url);
    if (!server)
        return false;
    *item = (struct get_item){.url = *url, .server = server, .file = {.directory = -1, .fd = -1}};
    get->count++;
    if (server->last)
        server->last->next = item;
    else
        server->first = server->unasked = item;
    server->last = item;
    server->left++;
    return true;
}

static int complain(const char *word, const char *why) {
    cli_error("%s: %s", word, why);
    return CLI_USAGE;
}

static int by_name(const void *left, const void *right) {
    return strcmp((*(const struct get_item *const *)left)->url.name,
                  (*(const struct get_item *const *)right)->url.name);
}

/* Two files of one name in one directory: the second would silently replace the first. */
static int check_names(const struct get *get) {
    const struct get_item **sorted = malloc(get->count * sizeof *sorted);
    if (!sorted)
        return complain(get->items->url.target, "out of memory");
    for (size_t i = 0; i < get->count; i++)
        sorted[i] = &get->items[i];
    qsort(sorted, get->count, sizeof *sorted, by_name);
    int code = CLI_GO_ON;
    for (size_t i = 1; i < get->count && code == CLI_GO_ON; i++)
        if (!by_name(&sorted[i - 1], &sorted[i]))
            code = complain(sorted[i]->url.name, "two of the files would have this name");
    free(sorted);
    return code;
}

static int read_words(struct get *get, int count, const char *const *words) {
    struct get_url server, *before = NULL;
    bool paths_wanted = false; /* "host:port" alone, whose paths have not come yet */
    get->items = calloc((size_t)count + 1, sizeof *get->items);
    if (!get->items)
        return complain("get", "out of memory");
    for (int i = 0; i < count; i++) {
        bool more = i + 1 < count && words[i + 1][0] == '/';
        if (more && words[i][0] != '/' && get_url_is_server(words[i], &server)) {
            before = &server;
            paths_wanted = true;
            continue;
        }
        struct get_url url;
        const char *why = get_url_parse(words[i], before, &url);
        if (!why && get->directory >= 0 && !*url.name)
            why = "the path names no file; with -o - that would not matter";
        if (why || !add_item(get, &url)) {
            get_url_free(&url);
            return complain(words[i], why ? why : "out of memory");
        }
        if (words[i][0] != '/') {
            server = url;
            before = &server;
        }
        paths_wanted = false;
    }
    if (!get->count || paths_wanted)
        return complain("URL", "which file? `weft get --help` tells how they are named");
    if (get->session_path && get->servers->next)
        return complain("--session", "takes the files of one server, whose session it is");
    if (get->directory < 0 && get->servers->next)
        return complain("-o -", "takes the files of one server, or their order could not be kept");
    return get->directory < 0 ? CLI_GO_ON : check_names(get);
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

static void summary(struct get *get) {
    weft_engine_stats stats = {.size = sizeof stats};
    weft_engine_get_stats(get->engine, &stats);
    double seconds = get->ended > get->began ? (double)(get->ended - get->began) / 1e9 : 0;
    FILE *out = get->directory < 0 ? stderr : stdout; /* stdout may be the files' */
    if (get->common.json) {
        struct cli_json json = cli_json_begin(out);
        cli_json_work(&json, &stats, get->bytes, seconds);
        cli_json_uint(&json, "files", get->files_done);
        cli_json_uint(&json, "failed", get->files_failed);
        cli_json_uint(&json, "resumed", get->resumed);
        cli_json_uint(&json, "early_accepted", get->early_accepted);
        cli_json_flag(&json, "interrupted", get->interrupted);
        cli_json_end(&json);
    } else if (!get->common.quiet) {
        char size[CLI_UNIT_TEXT];
        fprintf(stderr, "%llu of %zu files, %s in %.3f s, %.3f Gbit/s\n", (unsigned long long)get->files_done,
                get->count, cli_format_size((double)get->bytes, size), seconds,
                seconds > 0 ? (double)get->bytes * 8 / 1e9 / seconds : 0);
    }
}

static int run(struct get *get) {
    cli_watch_prepare();
    int32_t error = weft_engine_new(NULL, &get->engine);
    if (error)
        return complain("get", weft_strerror(error)), CLI_FAILED;
    struct cli_watch *watch = NULL;
    cli_progress_begin(&get->progress, get->common.quiet || (get->directory < 0 && isatty(STDOUT_FILENO)));
    watch = cli_watch_new(get->engine, on_signal, get->progress.on || get->session_path ? on_tick : NULL, TICK, get);
    if (watch) {
        get->began = get->ended = cli_now();
        for (struct get_server *server = get->servers; server; server = server->next)
            if (!server->waits)
                get_server_connect(server);
        error = get->servers_open ? weft_engine_run(get->engine) : 0;
        if (error)
            complain("get", weft_strerror(error));
        cli_progress_clear(&get->progress);
        summary(get);
    }
    if (!watch || error)
        get_worst(get, CLI_FAILED);
    cli_watch_free(watch);
    weft_engine_free(get->engine);
    if (get->interrupted)
        get_worst(get, CLI_INTERRUPTED);
    return get->code;
}

static void free_all(struct get *get) {
    for (size_t i = 0; i < get->count; i++) {
        get_file_abandon(&get->items[i].file);
        get_url_free(&get->items[i].url);
    }
    for (struct get_server *server = get->servers, *next; server; server = next) {
        next = server->next;
        free(server);
    }
    free(get->items);
    get_kept_free(&get->kept);
    cli_list_free(&get->words);
    if (get->directory >= 0)
        close(get->directory);
    cli_common_free(&get->common);
    cli_client_free(&get->client);
}

/* What the interop runner wants, where the command line leaves it open. */
static int follow_runner(struct get *get, int words) {
    struct cli_runner_case asked;
    int code = cli_runner_case("client", &asked);
    if (code != CLI_GO_ON || !asked.name)
        return code;
    if (!get->output)
        get->output = "/downloads";
    if (!get->client.ca.count && !get->client.pins.count)
        get->client.insecure = true;
    if (asked.wishes & RUNNER_CHACHA20 && !get->common.ciphers)
        get->common.ciphers = "TLS_CHACHA20_POLY1305_SHA256";
    get->each = get->each || asked.wishes & RUNNER_EACH;
    get->resume = get->resume || asked.wishes & RUNNER_RESUME;
    get->common.key_update = get->common.key_update || asked.wishes & RUNNER_KEY_UPDATE;
    get->early = asked.wishes & RUNNER_EARLY;
    get->version_2 = asked.wishes & RUNNER_V2;
    get->patient = asked.wishes & RUNNER_EACH; /* a third of all packets is lost there */
    return words ? CLI_GO_ON : cli_runner_requests(&get->words);
}

static int take_session(struct get *get) {
    const struct get_url *url = &get->servers->first->url;
    snprintf(get->session_of, sizeof get->session_of, "%s:%u", url->host, url->port);
    const char *why = get_session_take(get->session_path, get->session_of, &get->kept);
    return why ? complain(get->session_path, why), CLI_FAILED : CLI_GO_ON;
}

int get_main(int argc, char **argv) {
    struct get get = {.alpn = "hq-interop", .parallel = 100, .directory = -1};
    const struct cli_group groups[] = {{"Options", get_options, &get},
                                       {"Server", cli_client_options, &get.client},
                                       {"General", cli_common_options, &get.common},
                                       {NULL, NULL, NULL}};
    int code = cli_parse(&get_usage, groups, &argc, argv);
    if (code == CLI_GO_ON && !get.parallel)
        code = complain("--parallel", "at least 1");
    if (code == CLI_GO_ON)
        code = follow_runner(&get, argc - 1);
    if (!get.output)
        get.output = ".";
    if (code == CLI_GO_ON && get.each && get.resume)
        code = complain("--each, --resume", "one of them");
    if (code == CLI_GO_ON && get.session_path && (get.each || get.resume))
        code = complain("--session", "not with --each or --resume, which have sessions of their own");
    bool to_stdout = !strcmp(get.output, "-");
    if (code == CLI_GO_ON && to_stdout)
        get.parallel = 1; /* one after the other, or their bytes would mix */
    if (code == CLI_GO_ON && !to_stdout) {
        get.directory = open(get.output, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (get.directory < 0)
            code = complain(get.output, strerror(errno));
    }
    if (code == CLI_GO_ON)
        code = get.words.count ? read_words(&get, (int)get.words.count, get.words.items)
                               : read_words(&get, argc - 1, (const char *const *)argv + 1);
    if (code == CLI_GO_ON) {
        const struct cli_preset presets[] = {{"early_data", get.early},
                                             {"version_preference", get.version_2 ? 2 : 0},
                                             {"handshake_timeout", get.patient ? 60000000000u : 10000000000u},
                                             {"max_idle_timeout", get.patient ? 60000000000u : 30000000000u},
                                             {NULL, 0}};
        code = cli_client_config(&get.client, &get.common, get.alpn, presets, &get.config);
    }
    if (code == CLI_GO_ON) {
        code = get.session_path ? take_session(&get) : CLI_GO_ON; /* last: what is taken is to be used */
        if (code == CLI_GO_ON)
            code = run(&get);
        weft_config_free(get.config);
    }
    free_all(&get);
    return code;
}
