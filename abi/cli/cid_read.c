/* cid_read.c - hexadecimal digits, files with keys, configurations of QUIC-LB and lists of connection IDs, as people
 * write them.
 *
 * Whatever is wrong is said with its place and what was allowed. The exception are keys: a text that may hold one is
 * not repeated, not even when it is wrong.
 *
 * Invariant: what comes out of here is in the ranges that weft.h has; memory that held a key is wiped.
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cid.h"

#define SPACE " \t\r\n"

/* ---- digits ---- */

const char *cid_hex(const char *text, size_t len, uint8_t *out, size_t capacity, size_t *count) {
    size_t at = len >= 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 2 : 0;
    *count = 0;
    while (at < len) {
        if (*count && text[at] == ':' && at + 1 < len)
            at++;
        int high = cli_hex_digit(text[at]), low = at + 1 < len ? cli_hex_digit(text[at + 1]) : -1;
        if (high < 0 || (at + 1 < len && low < 0))
            return "is not written in hexadecimal digits";
        if (low < 0)
            return "has an odd number of hexadecimal digits";
        if (*count == capacity)
            return "is too long";
        out[(*count)++] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    return *count ? NULL : "is empty";
}

/* ---- keys ---- */

/* As digits, with white space around them. */
static bool key_of_digits(const char *text, size_t size, uint8_t *key, size_t len) {
    size_t count;
    while (size && isspace((unsigned char)*text)) {
        text++;
        size--;
    }
    while (size && isspace((unsigned char)text[size - 1]))
        size--;
    return !cid_hex(text, size, key, len, &count) && count == len;
}

bool cid_key_read(const char *where, const char *path, uint8_t *key, size_t len) {
    char text[256];
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(text, 1, sizeof text, file) : 0;
    if (!file || ferror(file)) {
        cli_error("%s%s: %s", where, path, strerror(errno));
        if (file)
            fclose(file);
        return false;
    }
    fclose(file);
    bool good = true;
    if (size == len)
        memcpy(key, text, len);
    else
        good = size < sizeof text && key_of_digits(text, size, key, len);
    explicit_bzero(text, sizeof text);
    if (!good)
        cli_error("%s%s holds neither %zu bytes nor %zu hexadecimal digits", where, path, len, 2 * len);
    return good;
}

/* ---- configurations ---- */

struct place {
    char text[128]; /* where an error is: "--config 2: ", "lb.conf, line 3: " */
};

static bool refuse(const struct place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(const struct place *place, const char *format, ...) {
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    cli_error("%s%s", place->text, text);
    return false;
}

static bool set_number(const struct place *place, const char *name, const char *value, uint64_t least, uint64_t most,
                       uint8_t *out) {
    uint64_t number;
    if (!cli_parse_count(value, &number) || number < least || number > most)
        return refuse(place, "%s is %llu to %llu, not '%.40s'", name, (unsigned long long)least,
                      (unsigned long long)most, value);
    *out = (uint8_t)number;
    return true;
}

static bool set_key(const struct place *place, const char *value, weft_quic_lb *lb) {
    lb->encrypted = 1;
    if (*value == '@')
        return cid_key_read(place->text, value + 1, lb->key, CID_KEY);
    if (!key_of_digits(value, strlen(value), lb->key, CID_KEY))
        return refuse(place, "key is %u hexadecimal digits, or @FILE", 2 * CID_KEY);
    return true;
}

static bool set_server_id(const struct place *place, const char *value, weft_quic_lb *lb, bool *named) {
    size_t count;
    const char *why = cid_hex(value, strlen(value), lb->server_id, 15, &count);
    if (why)
        return refuse(place, "server_id '%.40s' %s: 1 to 15 bytes in hexadecimal digits", value, why);
    if (lb->server_id_len && lb->server_id_len != count)
        return refuse(place, "server_id has %zu bytes, server_id_len says %u", count, lb->server_id_len);
    lb->server_id_len = (uint8_t)count;
    *named = true;
    return true;
}

static bool set_length(const struct place *place, const char *value, weft_quic_lb *lb, bool named) {
    uint8_t len = 0;
    if (!set_number(place, "server_id_len", value, 1, 15, &len))
        return false;
    if (named && len != lb->server_id_len)
        return refuse(place, "server_id has %u bytes, server_id_len says %u", lb->server_id_len, len);
    lb->server_id_len = len;
    return true;
}

static bool set_flag(const struct place *place, const char *name, const char *value, uint8_t *out) {
    *out = !strcmp(value, "on");
    return *out || !strcmp(value, "off") || refuse(place, "%s is on or off, not '%.40s'", name, value);
}

/* One "name=value". */
static bool set_field(const struct place *place, const char *field, weft_quic_lb *lb, bool *named) {
    const char *value = strchr(field, '=');
    size_t len = value ? (size_t)(value - field) : 0;
    char name[24];
    if (!value || len >= sizeof name)
        return refuse(place, "fields are NAME=VALUE, with commas between them");
    memcpy(name, field, len);
    name[len] = 0;
    value++;
    if (!strcmp(name, "rotation"))
        return set_number(place, name, value, 0, 6, &lb->rotation);
    if (!strcmp(name, "nonce_len"))
        return set_number(place, name, value, 4, 18, &lb->nonce_len);
    if (!strcmp(name, "server_id_len"))
        return set_length(place, value, lb, *named);
    if (!strcmp(name, "server_id"))
        return set_server_id(place, value, lb, named);
    if (!strcmp(name, "encode_length"))
        return set_flag(place, name, value, &lb->encode_length);
    if (!strcmp(name, "key"))
        return set_key(place, value, lb);
    return refuse(place, "there is no '%s': rotation, server_id_len, server_id, nonce_len, encode_length, key", name);
}

/* `text` is taken apart. */
static bool config_read(const struct place *place, char *text, struct cid_configs *configs) {
    weft_quic_lb lb = {.size = sizeof lb};
    bool named = false, good = true;
    for (char *field = text, *next; good && field; field = next) {
        next = strchr(field, ',');
        if (next)
            *next++ = 0;
        good = set_field(place, field, &lb, &named);
    }
    if (good && (!lb.server_id_len || !lb.nonce_len))
        good = refuse(place, "%s is missing", lb.server_id_len ? "nonce_len" : "server_id_len");
    if (good && lb.server_id_len + lb.nonce_len > CID_MAX - 1)
        good = refuse(place, "server ID and nonce have %u bytes at most, not %u", CID_MAX - 1,
                      lb.server_id_len + lb.nonce_len);
    if (good && configs->list[lb.rotation].size)
        good = refuse(place, "another configuration has rotation %u, too", lb.rotation);
    if (good) {
        configs->list[lb.rotation] = lb;
        configs->named[lb.rotation] = named;
        configs->count++;
    }
    explicit_bzero(&lb, sizeof lb);
    return good;
}

/* A configuration a line; empty lines and what begins with # count for nothing. */
static bool configs_of_file(const char *path, struct cid_configs *configs) {
    struct place place;
    char *line = NULL;
    size_t capacity = 0;
    FILE *file = fopen(path, "r");
    if (!file) {
        cli_error("--config @%s: %s", path, strerror(errno));
        return false;
    }
    bool good = true;
    for (unsigned number = 1; good && getline(&line, &capacity, file) > 0; number++) {
        char *text = line + strspn(line, SPACE);
        for (size_t len = strlen(text); len && strchr(SPACE, text[len - 1]); len--)
            text[len - 1] = 0;
        snprintf(place.text, sizeof place.text, "%.100s, line %u: ", path, number);
        if (*text && *text != '#')
            good = config_read(&place, text, configs);
        explicit_bzero(line, capacity);
    }
    if (good && ferror(file)) {
        cli_error("--config @%s: %s", path, strerror(errno));
        good = false;
    }
    free(line);
    fclose(file);
    return good;
}

int cid_configs_read(const struct cli_list *words, struct cid_configs *configs) {
    for (size_t i = 0; i < words->count; i++) {
        struct place place;
        bool good = false;
        snprintf(place.text, sizeof place.text, "--config %zu: ", i + 1);
        if (words->items[i][0] == '@') {
            good = configs_of_file(words->items[i] + 1, configs);
        } else {
            char *text = strdup(words->items[i]);
            good = text ? config_read(&place, text, configs) : refuse(&place, "there is no memory");
            if (text)
                explicit_bzero(text, strlen(words->items[i]));
            free(text);
        }
        if (!good)
            return CLI_USAGE;
    }
    if (configs->count)
        return CLI_GO_ON;
    cli_error("--config is missing: how long are server ID and nonce, and with which key?");
    return CLI_USAGE;
}

/* ---- lists of IDs ---- */

static struct cid_word word_of(const char *text, size_t len, unsigned line) {
    struct cid_word word = {.line = line};
    word.why = cid_hex(text, len, word.id, CID_MAX, &word.len);
    if (!word.why) {
        cli_format_hex(word.id, word.len, word.text);
        return word;
    }
    word.len = 0;
    for (size_t i = 0; i < len && i < CID_TEXT - 1; i++)
        word.text[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
    return word;
}

static bool each_of_line(const char *line, size_t len, unsigned number,
                         bool (*use)(void *user, const struct cid_word *word), void *user) {
    bool good = true;
    for (size_t at = 0, end; at < len; at = end) {
        for (end = at; end < len && !isspace((unsigned char)line[end]); end++)
            continue;
        if (end > at) {
            struct cid_word word = word_of(line + at, end - at, number);
            good = use(user, &word) && good;
        } else {
            end++;
        }
    }
    return good;
}

static int each_of_stdin(bool (*use)(void *user, const struct cid_word *word), void *user) {
    char *line = NULL;
    size_t capacity = 0;
    ssize_t len;
    bool good = true;
    for (unsigned number = 1; (len = getline(&line, &capacity, stdin)) > 0; number++)
        good = each_of_line(line, (size_t)len, number, use, user) && good;
    if (ferror(stdin)) {
        cli_error("stdin: %s", strerror(errno));
        good = false;
    }
    free(line);
    return good ? CLI_OK : CLI_FAILED;
}

int cid_each(int argc, char **argv, bool (*use)(void *user, const struct cid_word *word), void *user) {
    if (argc < 2)
        return each_of_stdin(use, user);
    for (int i = 1; i < argc; i++) {
        struct cid_word word = word_of(argv[i], strlen(argv[i]), 0);
        if (!word.why)
            continue;
        cli_error("'%s' %s: a connection ID is 1 to %u bytes, two hexadecimal digits each", word.text, word.why,
                  CID_MAX);
        return CLI_USAGE;
    }
    bool good = true;
    for (int i = 1; i < argc; i++) {
        struct cid_word word = word_of(argv[i], strlen(argv[i]), 0);
        good = use(user, &word) && good;
    }
    return good ? CLI_OK : CLI_FAILED;
}
