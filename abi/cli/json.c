/* json.c - one object on one line (RFC 8259): what scripts read. Names are constants of ours; values are escaped. */
#include <math.h>

#include "cli.h"

struct cli_json cli_json_begin(FILE *out) {
    fputc('{', out);
    return (struct cli_json){out, false};
}

static void name(struct cli_json *json, const char *text) {
    fprintf(json->out, "%s\"%s\": ", json->more ? ", " : "", text);
    json->more = true;
}

void cli_json_text(struct cli_json *json, const char *what, const char *value) {
    name(json, what);
    fputc('"', json->out);
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        if (c == '"' || c == '\\')
            fprintf(json->out, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f) /* bytes as Latin-1, so that the line is valid whatever it holds */
            fprintf(json->out, "\\u%04x", c);
        else
            fputc(c, json->out);
    }
    fputc('"', json->out);
}

void cli_json_uint(struct cli_json *json, const char *what, uint64_t value) {
    name(json, what);
    fprintf(json->out, "%llu", (unsigned long long)value);
}

void cli_json_real(struct cli_json *json, const char *what, double value) {
    name(json, what);
    if (isfinite(value))
        fprintf(json->out, "%.9g", value);
    else
        fputs("null", json->out);
}

void cli_json_flag(struct cli_json *json, const char *what, bool value) {
    name(json, what);
    fputs(value ? "true" : "false", json->out);
}

void cli_json_end(struct cli_json *json) {
    fputs("}\n", json->out);
    fflush(json->out);
}

void cli_json_work(struct cli_json *json, const weft_engine_stats *stats, uint64_t bytes, double seconds) {
    struct cli_cpu cpu = cli_cpu_used();
    cli_json_uint(json, "bytes", bytes);
    cli_json_real(json, "seconds", seconds);
    cli_json_real(json, "gbit_per_second", seconds > 0 ? (double)bytes * 8 / 1e9 / seconds : 0);
    cli_json_uint(json, "packets_sent", stats->conns.packets_sent);
    cli_json_uint(json, "packets_received", stats->conns.packets_received);
    cli_json_uint(json, "packets_lost", stats->conns.packets_lost);
    cli_json_real(json, "cpu_seconds", cpu.user + cpu.system);
    cli_json_real(json, "cpu_user_seconds", cpu.user);
    cli_json_real(json, "cpu_system_seconds", cpu.system);
    cli_json_real(json, "cpu_seconds_per_gigabyte", bytes ? (cpu.user + cpu.system) * 1e9 / (double)bytes : 0);
    cli_json_uint(json, "memory_peak", stats->memory_peak);
}
