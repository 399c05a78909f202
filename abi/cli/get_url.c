/* get_url.c - which server, which path, which file name (RFC 3986, as much as is of use here).
 *
 * The path goes to the server as it was written; only bytes that may not stand in a URL (blanks, controls, all beyond
 * ASCII) are percent-encoded, which also keeps the request line one line. The file name is the path's last component,
 * decoded; a name that would lead out of the directory is none.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "get.h"

#define TARGET_MAX 4000u

static int hex(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static char *encode_target(const char *path, size_t len) {
    char *out = malloc(len * 3 + 2), *at = out;
    if (!out)
        return NULL;
    if (!len || path[0] != '/')
        *at++ = '/';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)path[i];
        if (c <= ' ' || c >= 0x7f)
            at += sprintf(at, "%%%02X", c);
        else
            *at++ = (char)c;
    }
    *at = 0;
    return out;
}

static char *file_name(const char *target) {
    size_t len = strcspn(target, "?");
    const char *from = target;
    for (size_t i = 0; i < len; i++)
        if (target[i] == '/')
            from = target + i + 1;
    const char *end = target + len;
    char *name = malloc((size_t)(end - from) + 1), *at = name;
    bool bad = false;
    while (name && from < end) {
        int high = end - from >= 3 && *from == '%' ? hex(from[1]) : -1, low = high >= 0 ? hex(from[2]) : -1;
        *at = (char)(low >= 0 ? high << 4 | low : *from);
        from += low >= 0 ? 3 : 1;
        bad = bad || !*at || *at == '/';
        at++;
    }
    if (name) {
        *at = 0;
        if (bad || !strcmp(name, ".") || !strcmp(name, "..") || strlen(name) > 255)
            *name = 0;
    }
    return name;
}

const char *get_url_parse(const char *text, const struct get_url *before, struct get_url *url) {
    *url = (struct get_url){.port = 443};
    const char *path = text;
    if (text[0] == '/') {
        if (!before)
            return "a path alone needs a server before it";
        memcpy(url->host, before->host, sizeof url->host);
        url->port = before->port;
    } else {
        if (!strncasecmp(text, "https://", 8))
            text += 8;
        else if (strstr(text, "://"))
            return "only https:// is understood";
        size_t len = strcspn(text, "/?#");
        if (!cli_parse_host(text, len, url->host, &url->port))
            return "not a server; it is written as host:port or [::1]:port";
        path = text + len;
    }
    size_t len = strcspn(path, "#");
    if (len > TARGET_MAX)
        return "longer than servers take";
    url->target = encode_target(path, len);
    url->name = url->target ? file_name(url->target) : NULL;
    return url->name ? NULL : "out of memory";
}

bool get_url_is_server(const char *text, struct get_url *url) {
    if (!strncasecmp(text, "https://", 8))
        text += 8;
    *url = (struct get_url){.port = 443};
    return !strpbrk(text, "/?#") && cli_parse_host(text, strlen(text), url->host, &url->port);
}

void get_url_free(struct get_url *url) {
    free(url->target);
    free(url->name);
    url->target = url->name = NULL;
}
