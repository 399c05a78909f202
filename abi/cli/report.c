/* report.c - what people are told: errors, why connections ended, and what the work cost. */
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cli.h"

static const char *command_name = "";

void cli_name_command(const char *command) { command_name = command; }

void cli_error(const char *format, ...) {
    va_list arguments;
    fprintf(stderr, "weft%s%s: ", *command_name ? " " : "", command_name);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

uint64_t cli_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct cli_cpu cli_cpu_used(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct cli_cpu){(double)usage.ru_utime.tv_sec + (double)usage.ru_utime.tv_usec / 1e6,
                            (double)usage.ru_stime.tv_sec + (double)usage.ru_stime.tv_usec / 1e6};
}

const char *cli_peer(weft_conn conn, char text[WEFT_ADDR_TEXT]) {
    weft_conn_info info = {.size = sizeof info};
    if (weft_conn_get_info(conn, &info) || weft_addr_format(&info.remote, text, WEFT_ADDR_TEXT) < 0)
        strcpy(text, "?");
    return text;
}

/* TLS alerts (RFC 8446 6.2) with which a client says what it dislikes about a certificate. */
static bool about_certificate(uint64_t code) {
    static const uint8_t alerts[] = {41, 42, 43, 44, 45, 46, 48};
    for (size_t i = 0; i < sizeof alerts; i++)
        if (code == 0x100u + alerts[i])
            return true;
    return false;
}

/* The peer's words: any bytes, so only what is printable goes to the terminal. */
static void copy_reason(const weft_close *close, char *out, size_t capacity) {
    size_t len = 0;
    for (; len < close->reason_len && len + 1 < capacity; len++)
        out[len] = close->reason[len] >= ' ' && close->reason[len] < 0x7f ? close->reason[len] : '?';
    out[len] = 0;
}

int cli_explain_close(const weft_close *close, char *text, size_t capacity) {
    static const char *const causes[] = {
        [WEFT_CAUSE_NONE] = "the connection ended",
        [WEFT_CAUSE_LOCAL] = "closed by us",
        [WEFT_CAUSE_PEER] = "the server closed the connection",
        [WEFT_CAUSE_IDLE] = "nothing was heard from the server for too long",
        [WEFT_CAUSE_HANDSHAKE_TIMEOUT] = "no answer: the handshake took too long",
        [WEFT_CAUSE_PROTOCOL] = "the server broke the protocol",
        [WEFT_CAUSE_RESET] = "the server has lost the connection's state",
        [WEFT_CAUSE_VERSION] = "no version of QUIC in common",
        [WEFT_CAUSE_INTERNAL] = "an error of our own",
        [WEFT_CAUSE_CONNECT] = "nothing to connect to",
    };
    char reason[WEFT_ADDR_TEXT * 3];
    bool certificate = close->cause == WEFT_CAUSE_PROTOCOL && !close->app && about_certificate(close->code);
    const char *cause = certificate                                       ? "the server's certificate was refused"
                        : close->cause < sizeof causes / sizeof causes[0] ? causes[close->cause]
                                                                          : "the connection ended";
    bool coded = close->cause == WEFT_CAUSE_PEER || close->cause == WEFT_CAUSE_PROTOCOL;
    copy_reason(close, reason, sizeof reason);
    int len = snprintf(text, capacity, "%s", cause);
    if (coded && len >= 0 && (size_t)len < capacity)
        len += snprintf(text + len, capacity - (size_t)len, " (%s error 0x%llx)", close->app ? "application" : "QUIC",
                        (unsigned long long)close->code);
    if (*reason && len >= 0 && (size_t)len < capacity)
        len += snprintf(text + len, capacity - (size_t)len, ": %s", reason);
    else if (close->error && !coded && len >= 0 && (size_t)len < capacity)
        snprintf(text + len, capacity - (size_t)len, ": %s", weft_strerror(close->error));
    if (certificate)
        return CLI_CERTIFICATE;
    return close->cause == WEFT_CAUSE_LOCAL ? CLI_OK : CLI_NO_CONNECTION;
}
