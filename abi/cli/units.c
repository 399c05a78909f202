/* units.c - numbers, sizes, times and addresses as people write them, and back.
 *
 * KiB, MiB, GiB, TiB (and K, M, G, T) are powers of 1024; kB, MB, GB, TB powers of 1000. A fraction is allowed where a
 * unit makes it whole: "1.5GiB". What does not fit into 64 bits is refused.
 */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli.h"

struct unit {
    const char *name;
    double factor;
};

static const struct unit sizes[] = {
    {"", 1},          {"B", 1},          {"K", 1024},         {"KiB", 1024}, {"M", 1048576},
    {"MiB", 1048576}, {"G", 1073741824}, {"GiB", 1073741824}, {"T", 0x1p40}, {"TiB", 0x1p40},
    {"kB", 1e3},      {"MB", 1e6},       {"GB", 1e9},         {"TB", 1e12},  {NULL, 0},
};

static const struct unit times[] = {
    {"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"us", 1e3}, {"ns", 1}, {"m", 60e9}, {"min", 60e9}, {"h", 3600e9}, {NULL, 0},
};

bool cli_parse_count(const char *text, uint64_t *count) {
    uint64_t value = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text) || value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *count = value;
    return true;
}

static bool parse_unit(const char *text, const struct unit *units, uint64_t *out) {
    size_t digits = strspn(text, "0123456789.");
    char *end;
    if (!digits || text[0] == '.')
        return false;
    double number = strtod(text, &end);
    if (end != text + digits) /* 1e3, 1.2.3 */
        return false;
    while (*end == ' ')
        end++;
    for (; units->name; units++)
        if (!strcasecmp(units->name, end))
            break;
    if (!units->name)
        return false;
    double value = number * units->factor;
    if (value >= 0x1p63 || fabs(value - floor(value + 0.5)) > 1e-6 * value)
        return false;
    *out = (uint64_t)floor(value + 0.5);
    return true;
}

bool cli_parse_size(const char *text, uint64_t *bytes) {
    return cli_parse_count(text, bytes) || parse_unit(text, sizes, bytes);
}

bool cli_parse_time(const char *text, uint64_t *ns) { return parse_unit(text, times, ns); }

int cli_hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

bool cli_parse_sha256(const char *text, uint8_t sha256[32]) {
    if (!strncasecmp(text, "sha256:", 7))
        text += 7;
    for (size_t i = 0; i < 32; i++) {
        if (i && *text == ':')
            text++;
        int high = cli_hex_digit(text[0]);
        int low = high < 0 ? -1 : cli_hex_digit(text[1]);
        if (low < 0)
            return false;
        sha256[i] = (uint8_t)(high << 4 | low);
        text += 2;
    }
    return !*text;
}

static bool parse_port(const char *text, size_t len, uint16_t *port) {
    unsigned value = 0;
    if (!len || len > 5)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return false;
        value = value * 10 + (unsigned)(text[i] - '0');
    }
    if (!value || value > 65535)
        return false;
    *port = (uint16_t)value;
    return true;
}

bool cli_parse_host(const char *text, size_t len, char *host, uint16_t *port) {
    const char *name = text, *rest = NULL;
    size_t name_len = len;
    if (len && text[0] == '[') {
        const char *close = memchr(text, ']', len);
        if (!close)
            return false;
        name = text + 1;
        name_len = (size_t)(close - name);
        rest = close + 1;
    } else {
        const char *colon = memchr(text, ':', len);
        bool address = colon && memchr(colon + 1, ':', len - (size_t)(colon + 1 - text)); /* IPv6 without brackets */
        if (colon && !address) {
            name_len = (size_t)(colon - text);
            rest = colon;
        }
    }
    if (!name_len || name_len > 255 || memchr(name, '@', name_len))
        return false;
    for (size_t i = 0; i < name_len; i++)
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f)
            return false;
    size_t rest_len = rest ? len - (size_t)(rest - text) : 0;
    if (rest_len && (rest[0] != ':' || !parse_port(rest + 1, rest_len - 1, port)))
        return false;
    memcpy(host, name, name_len);
    host[name_len] = 0;
    return true;
}

const char *cli_format_size(double bytes, char text[CLI_UNIT_TEXT]) {
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t unit = 0;
    while (bytes >= 1024 && unit + 1 < sizeof names / sizeof names[0]) {
        bytes /= 1024;
        unit++;
    }
    snprintf(text, CLI_UNIT_TEXT, "%.*f %s", !unit ? 0 : bytes < 10 ? 2 : bytes < 100 ? 1 : 0, bytes, names[unit]);
    return text;
}

const char *cli_format_time(double seconds, char text[CLI_UNIT_TEXT]) {
    if (seconds < 1e-3)
        snprintf(text, CLI_UNIT_TEXT, "%.1f us", seconds * 1e6);
    else if (seconds < 1)
        snprintf(text, CLI_UNIT_TEXT, "%.3f ms", seconds * 1e3);
    else
        snprintf(text, CLI_UNIT_TEXT, "%.3f s", seconds);
    return text;
}

void cli_format_hex(const uint8_t *bytes, size_t len, char *text) {
    for (size_t i = 0; i < len; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}
