/* serve_request.c - the one line that HTTP/0.9 clients send: "GET /path" (RFC 1945 has it as Simple-Request).
 *
 * What comes out is safe to hand to openat: the percent-encoding is undone exactly once, and after that no component is
 * "..", "." or over-long, and there is no NUL and no slash that was not one from the start. (openat2 would stop most of
 * it too; two locks are better than one.)
 */
#include <limits.h>
#include <string.h>

#include "serve.h"

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The next byte of a path; -1: not a proper one. */
static int decode(const char **at, const char *end, bool *encoded) {
    const char *p = *at;
    *encoded = *p == '%';
    if (!*encoded) {
        (*at)++;
        return (unsigned char)*p;
    }
    if (end - p < 3 || hex(p[1]) < 0 || hex(p[2]) < 0)
        return -1;
    *at += 3;
    return hex(p[1]) << 4 | hex(p[2]);
}

static uint32_t check_component(const char *name, size_t len) {
    if (len > NAME_MAX)
        return SERVE_TOO_LONG;
    bool dots = (len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.');
    return dots ? SERVE_FORBIDDEN : 0;
}

uint32_t serve_parse(const char *line, size_t len, char *path) {
    if (len >= SERVE_LINE_MAX)
        return SERVE_TOO_LONG;
    if (len < 5 || memcmp(line, "GET /", 5))
        return SERVE_BAD_REQUEST;
    const char *at = line + 4, *end = line + len;
    const char *query = memchr(at, '?', (size_t)(end - at));
    if (memchr(at, ' ', (size_t)(end - at))) /* "GET /path HTTP/1.1": not this protocol */
        return SERVE_BAD_REQUEST;
    if (query)
        end = query;

    size_t used = 0, component = 0; /* where the present component begins */
    while (at < end) {
        bool encoded;
        int byte = decode(&at, end, &encoded);
        if (byte < 0)
            return SERVE_BAD_REQUEST;
        if (!byte || (byte == '/' && encoded))
            return SERVE_FORBIDDEN;
        if (byte != '/') {
            path[used++] = (char)byte;
            continue;
        }
        uint32_t refusal = check_component(path + component, used - component);
        if (refusal)
            return refusal;
        if (used > component)
            path[used++] = '/';
        component = used;
    }
    uint32_t refusal = check_component(path + component, used - component);
    if (refusal)
        return refusal;
    path[used] = 0;
    return used == component ? SERVE_NOT_FOUND : 0; /* the root, or "name/": a directory at best */
}
