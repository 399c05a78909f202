/* qlog_json.h - JSON text into a fixed space: what the files of qlog write records with.
 *
 * A writer that has no room turns `bad` and writes nothing more; whoever owns the space looks once, at the end of a
 * record. Commas follow from what was written last, so members are written in any order by functions that do not know
 * of each other. Names are ours and need no escapes; values do (RFC 8259 section 7).
 *
 * Invariant: at <= end, and what stands below `at` is the start of well-formed JSON as long as opens and closes are
 * paired.
 */
#ifndef QUIC_QLOG_JSON_H
#define QUIC_QLOG_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct qlog_json {
    char *at, *end;
    bool fresh; /* nothing stands before the next member or item: no comma */
    bool bad;
};

struct qlog_json qlog_json_of(char *space, size_t size);
static inline size_t qlog_json_left(const struct qlog_json *json) { return (size_t)(json->end - json->at); }

/* Bytes as they are. */
void qlog_json_raw(struct qlog_json *json, const char *text, size_t len);

/* Members of the open object; `name` NULL: items of the open array. */
void qlog_json_open(struct qlog_json *json, const char *name, char bracket); /* '{' or '[' */
void qlog_json_close(struct qlog_json *json, char bracket);                  /* '}' or ']' */
void qlog_json_uint(struct qlog_json *json, const char *name, uint64_t value);
void qlog_json_ms(struct qlog_json *json, const char *name, uint64_t ns); /* in milliseconds, to the nanosecond */
void qlog_json_flag(struct qlog_json *json, const char *name, bool value);
void qlog_json_text(struct qlog_json *json, const char *name, const char *value);
/* Text from outside; must be UTF-8 (see below). */
void qlog_json_bytes(struct qlog_json *json, const char *name, const void *text, size_t len);
void qlog_json_hex(struct qlog_json *json, const char *name, const void *data, size_t len);
void qlog_json_hex32(struct qlog_json *json, const char *name, uint32_t value); /* eight digits: a QUIC version */

bool qlog_is_utf8(const void *text, size_t len); /* RFC 3629 */

#endif
