/* cli.h - what the files of the `weft` command share.
 *
 * The command is written against <weft/weft.h>, libc and POSIX alone, as a program of anybody else would be. Each
 * subcommand is one file that says what it takes (a table of options, from which the help text is made too) and one
 * struct for what it knows; here are the pieces they have in common.
 *
 *     args.c     options of the command line and help        watch.c     signals and ticks, told to the engine
 *     units.c    "1GiB", "5s", "[::1]:443", and back         json.c      one line of JSON
 *     setup.c    configurations from options                 progress.c  a line on a terminal
 *     report.c   errors for people, counters, CPU time       histogram.c percentiles in fixed memory
 *     runner.c   what the QUIC interop runner asks for
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stdio.h>

#include <weft/weft.h>

/* ---- exit codes (each command's help lists those it has) --------------------------------------------------------- */

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,        /* the work was begun, and something of it failed */
    CLI_USAGE = 2,         /* the command line cannot be understood; nothing was done */
    CLI_NO_CONNECTION = 3, /* no connection came about */
    CLI_CERTIFICATE = 4,   /* the peer's certificate was refused */
    CLI_UNSUPPORTED = 127, /* the interop runner asks for a case that we do not have */
    CLI_INTERRUPTED = 130, /* SIGINT or SIGTERM before the work was done */
    CLI_GO_ON = -1         /* no exit at all: what cli_parse and the like return when all is well */
};

/* ---- args.c ------------------------------------------------------------------------------------------------------ */

enum cli_kind {
    CLI_FLAG,  /* bool */
    CLI_TEXT,  /* const char * */
    CLI_LIST,  /* struct cli_list: may be given several times */
    CLI_COUNT, /* uint64_t */
    CLI_SIZE,  /* uint64_t, bytes: "64KiB" */
    CLI_TIME   /* uint64_t, ns: "250ms"; without unit seconds */
};

struct cli_list {
    const char **items;
    size_t count;
};

struct cli_option {
    const char *name; /* without the two dashes */
    char letter;      /* the short form; 0: none */
    enum cli_kind kind;
    size_t offset;     /* of the variable in the group's target */
    const char *value; /* what the help calls its value; NULL for flags */
    const char *text;  /* for the help; line breaks are kept */
};

/* Options that fill in one struct. The table ends with a row without name. */
struct cli_group {
    const char *title;
    const struct cli_option *options;
    void *target;
};

struct cli_usage {
    const char *command;   /* "get" */
    const char *arguments; /* "URL..." */
    const char *about;     /* what it does, for its help; several lines */
    const char *closing;   /* below the options: examples, exit codes */
};

/* Reads the options; what is none remains in argv[1] ..., *argc counts it (argv[0] included). CLI_GO_ON, or the code
 * to exit with: after --help too. Groups end with one without options. */
int cli_parse(const struct cli_usage *usage, const struct cli_group *groups, int *argc, char **argv);
bool cli_list_add(struct cli_list *list, const char *value); /* false: no memory */
void cli_list_free(struct cli_list *list);

/* ---- units.c ----------------------------------------------------------------------------------------------------- */

bool cli_parse_count(const char *text, uint64_t *count);
bool cli_parse_size(const char *text, uint64_t *bytes);
bool cli_parse_time(const char *text, uint64_t *ns);
/* SHA-256 as 64 hexadecimal digits, colons between them or not, "sha256:" before them or not. */
bool cli_parse_sha256(const char *text, uint8_t sha256[32]);
/* Splits "host:port", "[::1]:port", "host" or an IPv6 address alone; `len` bytes of text are looked at. `host` has
 * room for 256 bytes. *port stays when there is none. */
bool cli_parse_host(const char *text, size_t len, char *host, uint16_t *port);

#define CLI_UNIT_TEXT 32
const char *cli_format_size(double bytes, char text[CLI_UNIT_TEXT]);
const char *cli_format_time(double seconds, char text[CLI_UNIT_TEXT]);
int cli_hex_digit(char c); /* its value; -1: it is none */
void cli_format_hex(const uint8_t *bytes, size_t len, char *text);

/* ---- setup.c ----------------------------------------------------------------------------------------------------- */

struct cli_common {
    bool json, quiet, key_update;
    const char *ciphers, *groups;
    struct cli_list set;
    const char *qlog; /* directory */
};

struct cli_client {
    struct cli_list ca, pins;
    const char *server_name;
    bool insecure, ipv4, ipv6;
};

struct cli_server {
    const char *listen, *certificate, *key, *names;
    bool ipv4, ipv6;
};

extern const struct cli_option cli_common_options[], cli_client_options[], cli_server_options[];

/* An option that a command wants otherwise than the library; --set has the last word. */
struct cli_preset {
    const char *option;
    uint64_t value;
};

/* A configuration as the options say, presets (which end with one without name) first. CLI_GO_ON, or the exit code;
 * what is wrong has been said then. */
int cli_client_config(const struct cli_client *client, const struct cli_common *common, const char *alpn,
                      const struct cli_preset *presets, weft_config *config);
int cli_server_config(const struct cli_server *server, const struct cli_common *common, const char *alpn,
                      const struct cli_preset *presets, weft_config *config);
/* Listens, and says where on stdout: "listening on ADDR:PORT", "fingerprint sha256:HEX". */
int cli_server_listen(const struct cli_server *server, weft_engine engine, weft_config config,
                      weft_listen_params *params, weft_listener *listener);
uint32_t cli_client_family(const struct cli_client *client); /* for weft_connect_params */
void cli_common_free(struct cli_common *common);
void cli_client_free(struct cli_client *client);

/* ---- runner.c ---------------------------------------------------------------------------------------------------- */

enum cli_runner_wish {
    RUNNER_CHACHA20 = 1,    /* TLS_CHACHA20_POLY1305_SHA256 and nothing else */
    RUNNER_RETRY = 2,       /* server: every address is validated by Retry */
    RUNNER_RESUME = 4,      /* client: the first file, then the rest over a connection that resumes */
    RUNNER_EARLY = 8,       /* ... in 0-RTT packets */
    RUNNER_KEY_UPDATE = 16, /* begin a key update */
    RUNNER_V2 = 32,         /* server: change to version 2 where the client can */
    RUNNER_MIGRATION = 64,  /* server: ask clients to move to a preferred address */
    RUNNER_EACH = 128       /* client: a connection for each file */
};

struct cli_runner_case {
    const char *name; /* NULL: nobody asks for a case */
    unsigned wishes;  /* enum cli_runner_wish */
};

/* The case that the environment asks of this role ("client", "server"). CLI_GO_ON, or CLI_UNSUPPORTED. */
int cli_runner_case(const char *role, struct cli_runner_case *found);
/* "192.0.2.1:444,[2001:db8::1]:444": this machine's addresses that are not of the loopback or the link, the first of
 * each family. False: there is none. */
bool cli_runner_addresses(uint16_t port, char text[2 * WEFT_ADDR_TEXT]);
/* The words of REQUESTS. CLI_GO_ON, or what to exit with. */
int cli_runner_requests(struct cli_list *words);

/* ---- watch.c ----------------------------------------------------------------------------------------------------- */

struct cli_watch;
typedef void (*cli_watch_cb)(void *user);

/* Takes SIGINT and SIGTERM away from the process's threads; before the engine is made, so that all inherit it. */
void cli_watch_prepare(void);
/* From now on on_signal is called on the engine's thread for each SIGINT and SIGTERM, and on_tick (may be NULL) every
 * tick ns. Ten seconds after the first signal comes a second one of itself. A third signal ends the process. NULL: no
 * thread to be had; that has been said then. */
struct cli_watch *cli_watch_new(weft_engine engine, cli_watch_cb on_signal, cli_watch_cb on_tick, uint64_t tick,
                                void *user);
void cli_watch_free(struct cli_watch *watch); /* neither is called any more */

/* ---- report.c ---------------------------------------------------------------------------------------------------- */

/* "weft get: ..." on stderr, with a line break. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void cli_name_command(const char *command);
uint64_t cli_now(void); /* ns, never going back */

/* Why a connection came to nothing, as a sentence in text, and the exit code for it: CLI_NO_CONNECTION,
 * CLI_CERTIFICATE, or CLI_OK for a connection that the user's program closed itself. */
int cli_explain_close(const weft_close *close, char *text, size_t capacity);
/* The address of the peer as text ("?" when not known). */
const char *cli_peer(weft_conn conn, char text[WEFT_ADDR_TEXT]);

struct cli_cpu {
    double user, system; /* seconds of the process */
};
struct cli_cpu cli_cpu_used(void);

/* ---- json.c ------------------------------------------------------------------------------------------------------ */

struct cli_json {
    FILE *out;
    bool more; /* a member has been written */
};

struct cli_json cli_json_begin(FILE *out);
void cli_json_text(struct cli_json *json, const char *name, const char *value);
void cli_json_uint(struct cli_json *json, const char *name, uint64_t value);
void cli_json_real(struct cli_json *json, const char *name, double value); /* what is not finite becomes null */
void cli_json_flag(struct cli_json *json, const char *name, bool value);
void cli_json_end(struct cli_json *json); /* with line break, flushed */
/* The members that all summaries have: bytes, seconds, gbit_per_second, packets, CPU seconds. */
void cli_json_work(struct cli_json *json, const weft_engine_stats *stats, uint64_t bytes, double seconds);

/* ---- progress.c -------------------------------------------------------------------------------------------------- */

struct cli_progress {
    bool on; /* stderr is a terminal, and nobody asked for quiet */
    uint64_t began, last_at, last_bytes;
    double rate; /* bits a second, smoothed */
};

void cli_progress_begin(struct cli_progress *progress, bool quiet);
/* done of total (0: not known) of `what`, and bytes so far. */
void cli_progress_show(struct cli_progress *progress, uint64_t done, uint64_t total, const char *what, uint64_t bytes);
void cli_progress_clear(struct cli_progress *progress); /* before other output, and at the end */

/* ---- histogram.c ------------------------------------------------------------------------------------------------- */

#define CLI_HISTOGRAM_FINE 64u /* steps for each doubling: no value is off by more than 1/64 */
struct cli_histogram {
    uint64_t count, least, greatest;
    double sum, squares;
    uint64_t steps[64 * CLI_HISTOGRAM_FINE];
};

void cli_histogram_add(struct cli_histogram *histogram, uint64_t value);
/* The value that `share` (0 to 1) of all do not exceed; 0 when there are none. */
uint64_t cli_histogram_at(const struct cli_histogram *histogram, double share);
double cli_histogram_mean(const struct cli_histogram *histogram);
double cli_histogram_deviation(const struct cli_histogram *histogram);

/* ---- the commands ------------------------------------------------------------------------------------------------ */

int serve_main(int argc, char **argv);
int get_main(int argc, char **argv);
int perf_main(int argc, char **argv);
int perf_server_main(int argc, char **argv);
int perf_client_main(int argc, char **argv);
int ping_main(int argc, char **argv);
int options_main(int argc, char **argv);
int qlog_main(int argc, char **argv);
int cid_main(int argc, char **argv);

#endif
