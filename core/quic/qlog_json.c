/* qlog_json.c - see the header. Numbers are made by hand: a busy connection writes some hundred of them for each round
 * trip, and the library's printf depends on the program's locale besides. */
#include "quic/qlog_json.h"

#include <string.h>

static const char digits[] = "0123456789abcdef";

struct qlog_json qlog_json_of(char *space, size_t size) {
    return (struct qlog_json){space, space + size, true, false};
}

void qlog_json_raw(struct qlog_json *json, const char *text, size_t len) {
    if (json->bad || qlog_json_left(json) < len) {
        json->bad = true;
        return;
    }
    memcpy(json->at, text, len);
    json->at += len;
}

static void put(struct qlog_json *json, char c) { qlog_json_raw(json, &c, 1); }

static void member(struct qlog_json *json, const char *name) {
    if (!json->fresh)
        put(json, ',');
    json->fresh = false;
    if (!name)
        return;
    put(json, '"');
    qlog_json_raw(json, name, strlen(name));
    qlog_json_raw(json, "\":", 2);
}

void qlog_json_open(struct qlog_json *json, const char *name, char bracket) {
    member(json, name);
    put(json, bracket);
    json->fresh = true;
}

void qlog_json_close(struct qlog_json *json, char bracket) {
    put(json, bracket);
    json->fresh = false;
}

static void number(struct qlog_json *json, uint64_t value) {
    char text[20], *at = text + sizeof text;
    do
        *--at = digits[value % 10];
    while ((value /= 10) != 0);
    qlog_json_raw(json, at, (size_t)(text + sizeof text - at));
}

void qlog_json_uint(struct qlog_json *json, const char *name, uint64_t value) {
    member(json, name);
    number(json, value);
}

void qlog_json_ms(struct qlog_json *json, const char *name, uint64_t ns) {
    char text[7] = ".";
    size_t len = 7;
    uint64_t fraction = ns % 1000000;
    member(json, name);
    number(json, ns / 1000000);
    for (size_t i = 6; i > 0; i--, fraction /= 10)
        text[i] = digits[fraction % 10];
    while (text[len - 1] == '0')
        len--;
    if (len > 1)
        qlog_json_raw(json, text, len);
}

void qlog_json_flag(struct qlog_json *json, const char *name, bool value) {
    member(json, name);
    if (value)
        qlog_json_raw(json, "true", 4);
    else
        qlog_json_raw(json, "false", 5);
}

void qlog_json_text(struct qlog_json *json, const char *name, const char *value) {
    qlog_json_bytes(json, name, value, strlen(value));
}

void qlog_json_bytes(struct qlog_json *json, const char *name, const void *text, size_t len) {
    const uint8_t *bytes = text;
    member(json, name);
    put(json, '"');
    for (size_t i = 0; i < len; i++) {
        char c = (char)bytes[i];
        if (bytes[i] < 0x20 || bytes[i] == 0x7f) {
            char escape[6] = {'\\', 'u', '0', '0', digits[bytes[i] >> 4], digits[bytes[i] & 15]};
            qlog_json_raw(json, escape, sizeof escape);
            continue;
        }
        if (c == '"' || c == '\\')
            put(json, '\\');
        put(json, c);
    }
    put(json, '"');
}

static void hex(struct qlog_json *json, const uint8_t *bytes, size_t len) {
    put(json, '"');
    if (json->bad || qlog_json_left(json) / 2 < len) {
        json->bad = true;
        return;
    }
    for (size_t i = 0; i < len; i++) {
        *json->at++ = digits[bytes[i] >> 4];
        *json->at++ = digits[bytes[i] & 15];
    }
    put(json, '"');
}

void qlog_json_hex(struct qlog_json *json, const char *name, const void *data, size_t len) {
    member(json, name);
    hex(json, data, len);
}

void qlog_json_hex32(struct qlog_json *json, const char *name, uint32_t value) {
    uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    member(json, name);
    hex(json, bytes, sizeof bytes);
}

/* ---- UTF-8 ---- */

/* Length of the sequence at `at`, of which `left` bytes are there; 0 when it is none: overlong forms, surrogates and
 * what lies beyond U+10FFFF are none. */
static size_t utf8_len(const uint8_t *at, size_t left) {
    uint8_t first = at[0];
    if (first < 0x80)
        return 1;
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || left < len)
        return 0;
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < least || at[1] > most)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool qlog_is_utf8(const void *text, size_t len) {
    const uint8_t *at = text;
    while (len) {
        size_t step = utf8_len(at, len);
        if (!step)
            return false;
        at += step;
        len -= step;
    }
    return true;
}
