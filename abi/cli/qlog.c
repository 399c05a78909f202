/* qlog.c - `weft qlog FILE`: a connection as a picture, or in a few lines. */
#include <string.h>

#include "qlog.h"

struct qlog {
    const char *output, *theme;
    uint64_t trace;
    bool summary;
};

static const struct cli_option options[] = {
    {"output", 'o', CLI_TEXT, offsetof(struct qlog, output), "FILE", "write the picture there instead of to stdout"},
    {"theme", 0, CLI_TEXT, offsetof(struct qlog, theme), "NAME",
     "light, dark, or auto: as the reader's browser has it. auto\nunless given"},
    {"trace", 0, CLI_COUNT, offsetof(struct qlog, trace), "N", "of a file with several connections: which one, from 1"},
    {"summary", 0, CLI_FLAG, offsetof(struct qlog, summary), NULL,
     "say in words what there is, and draw nothing unless --output\nis given"},
    {.name = NULL},
};

static const struct cli_usage usage = {
    "qlog",
    "FILE",
    "Draws a connection from its qlog as an SVG: data, congestion window with bytes in flight and losses, round-trip\n"
    "times. Reads JSON text sequences (.sqlog, as weft writes them) and JSON (.qlog) of the current drafts and of "
    "older\n"
    "ones, whoever wrote them; '-' is stdin.",
    "    weft get --qlog . https://example.org/file && weft qlog -o file.svg *_client.sqlog\n"
    "\n"
    "Exit codes: 0 done; 1 the file cannot be read, is no qlog, or is damaged (what could be read is drawn all the\n"
    "same); 2 the command line was not understood.\n",
};

static double last_of(const struct qlog_trace *trace, enum qlog_curve_name name) {
    const struct qlog_curve *curve = &trace->curves[name];
    return curve->count ? curve->value[curve->count - 1] : 0;
}

static double extreme(const struct qlog_trace *trace, enum qlog_curve_name name, bool greatest) {
    const struct qlog_curve *curve = &trace->curves[name];
    double found = curve->count ? curve->value[0] : 0;
    for (size_t i = 1; i < curve->count; i++)
        if (greatest ? curve->value[i] > found : curve->value[i] < found)
            found = curve->value[i];
    return found;
}

/* What a file says goes to a terminal only as letters. */
static const char *plain(const char *text, char out[192]) {
    size_t len = 0;
    for (; *text && len < 191; text++)
        out[len++] = *text >= 0x20 && *text < 0x7f ? *text : '?';
    out[len] = 0;
    return out;
}

static void summary(const struct qlog_trace *trace) {
    char a[CLI_UNIT_TEXT], b[CLI_UNIT_TEXT], c[CLI_UNIT_TEXT], text[192];
    double lost = last_of(trace, QLOG_LOST);
    printf("connection   %s\n", *trace->group ? plain(trace->group, text) : "?");
    printf("seen by      %s\n", *trace->role ? plain(trace->role, text) : "?");
    printf("time         %s, %llu events\n", cli_format_time((trace->end - trace->start) / 1000, a),
           (unsigned long long)trace->events);
    printf("packets      %llu sent, %llu received, %.0f lost (%.2f %%)\n", (unsigned long long)trace->packets_sent,
           (unsigned long long)trace->packets_received, lost,
           trace->packets_sent ? 100 * lost / (double)trace->packets_sent : 0);
    printf("stream data  %s sent, %s acknowledged, %s received\n", cli_format_size(last_of(trace, QLOG_SENT), a),
           cli_format_size(last_of(trace, QLOG_ACKED), b), cli_format_size(last_of(trace, QLOG_RECEIVED), c));
    if (trace->curves[QLOG_WINDOW].count)
        printf("window       %s to %s, %s at the end\n", cli_format_size(extreme(trace, QLOG_WINDOW, false), a),
               cli_format_size(extreme(trace, QLOG_WINDOW, true), b), cli_format_size(last_of(trace, QLOG_WINDOW), c));
    if (trace->curves[QLOG_LATEST].count)
        printf("round trip   %s to %s, smoothed %s at the end\n",
               cli_format_time(extreme(trace, QLOG_LATEST, false) / 1000, a),
               cli_format_time(extreme(trace, QLOG_LATEST, true) / 1000, b),
               cli_format_time(last_of(trace, QLOG_SMOOTHED) / 1000, c));
    if (*trace->closed)
        printf("closed by    %s\n", plain(trace->closed, text));
    if (trace->damaged)
        printf("damaged      %llu records\n", (unsigned long long)trace->damaged);
}

static int draw(const struct qlog *qlog, const struct qlog_trace *trace, enum qlog_theme theme) {
    FILE *out = qlog->output ? fopen(qlog->output, "wb") : stdout;
    if (!out) {
        cli_error("%s: %m", qlog->output);
        return CLI_FAILED;
    }
    qlog_svg(trace, theme, out);
    bool bad = ferror(out) != 0;
    bad |= (qlog->output ? fclose(out) : fflush(out)) != 0;
    if (bad)
        cli_error("%s: %m", qlog->output ? qlog->output : "stdout");
    return bad ? CLI_FAILED : CLI_OK;
}

static int run(const struct qlog *qlog, const char *path, enum qlog_theme theme) {
    struct qlog_trace trace = {.seen = false};
    char why[200];
    unsigned traces = qlog_read(path, (unsigned)qlog->trace, &trace, why, sizeof why);
    int code = *why ? CLI_FAILED : CLI_OK;
    if (*why)
        cli_error("%s: %s", path, why);
    if (!*why && qlog->trace > traces) {
        cli_error("%s has %u traces: there is no --trace %llu", path, traces, (unsigned long long)qlog->trace);
        code = CLI_FAILED;
    } else if (traces && trace.seen) {
        if (qlog->summary)
            summary(&trace);
        int drawn = qlog->summary && !qlog->output ? CLI_OK : draw(qlog, &trace, theme);
        code = drawn == CLI_OK ? code : drawn;
    } else if (!*why) {
        cli_error("%s: there is no event in it", path);
        code = CLI_FAILED;
    }
    qlog_trace_free(&trace);
    return code;
}

int qlog_main(int argc, char **argv) {
    static const char *const themes[] = {"auto", "light", "dark"};
    struct qlog qlog = {.trace = 1, .theme = "auto"};
    const struct cli_group groups[] = {{"Options", options, &qlog}, {NULL, NULL, NULL}};
    int code = cli_parse(&usage, groups, &argc, argv);
    unsigned theme = 0;
    if (code != CLI_GO_ON)
        return code;
    while (theme < 3 && strcmp(themes[theme], qlog.theme))
        theme++;
    if (argc != 2)
        cli_error(argc < 2 ? "which file? See weft qlog --help" : "one file at a time");
    else if (theme == 3)
        cli_error("--theme is auto, light or dark, not '%s'", qlog.theme);
    else if (!qlog.trace || qlog.trace > UINT32_MAX)
        cli_error("--trace counts from 1");
    else
        return run(&qlog, argv[1], (enum qlog_theme)theme);
    return CLI_USAGE;
}
