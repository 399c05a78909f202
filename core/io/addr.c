/* addr.c - one address, three forms: the core's, the system's, a person's.
 *
 * Knows families 4 and 6, ports, and scopes of link-local addresses (RFC 4007: "fe80::1%eth0"). Does not know names:
 * whatever needs asking somebody is resolve.c's.
 *
 * The invariant that matters: one peer has one form. IPv4-mapped IPv6, in which dual-stack sockets speak of IPv4, is
 * turned into family 4 on the way in and only made again on the way out, and a scope is kept only where it is part of
 * the address (link-local). So the core compares addresses as bytes and never takes one peer for two.
 */
#include "io/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static const uint8_t v4_mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool is_link_local(const uint8_t ip[16]) { return ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80; }

static socklen_t to_v6(const uint8_t ip[16], uint16_t port, uint32_t scope, struct sockaddr_storage *out) {
    struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = scope};
    memcpy(&sin6.sin6_addr, ip, 16);
    memcpy(out, &sin6, sizeof sin6);
    return sizeof sin6;
}

socklen_t io_addr_to_sockaddr(const struct quic_addr *addr, struct sockaddr_storage *out) {
    if (addr->family == 6)
        return to_v6(addr->ip, addr->port, addr->scope, out);
    if (addr->family != 4)
        return 0;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(addr->port)};
    memcpy(&sin.sin_addr, addr->ip, 4);
    memcpy(out, &sin, sizeof sin);
    return sizeof sin;
}

socklen_t io_addr_to_mapped(const struct quic_addr *addr, struct sockaddr_storage *out) {
    if (addr->family != 4)
        return io_addr_to_sockaddr(addr, out);
    uint8_t ip[16];
    memcpy(ip, v4_mapped, 12);
    memcpy(ip + 12, addr->ip, 4);
    return to_v6(ip, addr->port, 0, out);
}

void io_addr_from_v6(const uint8_t ip[16], uint32_t scope, struct quic_addr *addr) {
    memset(addr->ip, 0, sizeof addr->ip);
    addr->scope = 0;
    if (memcmp(ip, v4_mapped, 12) == 0) {
        addr->family = 4;
        memcpy(addr->ip, ip + 12, 4);
        return;
    }
    addr->family = 6;
    memcpy(addr->ip, ip, 16);
    if (is_link_local(ip))
        addr->scope = scope;
}

bool io_addr_from_sockaddr(const struct sockaddr *in, struct quic_addr *addr) {
    if (in->sa_family == AF_INET6) {
        struct sockaddr_in6 sin6;
        memcpy(&sin6, in, sizeof sin6);
        *addr = (struct quic_addr){.port = ntohs(sin6.sin6_port)};
        io_addr_from_v6(sin6.sin6_addr.s6_addr, sin6.sin6_scope_id, addr);
        return true;
    }
    if (in->sa_family != AF_INET)
        return false;
    struct sockaddr_in sin;
    memcpy(&sin, in, sizeof sin);
    *addr = (struct quic_addr){.family = 4, .port = ntohs(sin.sin_port)};
    memcpy(addr->ip, &sin.sin_addr, 4);
    return true;
}

bool io_addr_is_any(const struct quic_addr *addr) {
    static const uint8_t any[16];
    return memcmp(addr->ip, any, sizeof any) == 0;
}

void io_addr_format(const struct quic_addr *addr, char out[IO_ADDR_TEXT]) {
    char ip[40] = ""; /* mapped IPv4, the only longer text, is family 4 here */
    if (addr->family == 4) {
        inet_ntop(AF_INET, addr->ip, ip, sizeof ip);
        snprintf(out, IO_ADDR_TEXT, "%s:%u", ip, addr->port);
        return;
    }
    if (addr->family != 6) {
        snprintf(out, IO_ADDR_TEXT, "none");
        return;
    }
    char scope[1 + IF_NAMESIZE] = "", name[IF_NAMESIZE];
    if (addr->scope && if_indextoname(addr->scope, name))
        snprintf(scope, sizeof scope, "%%%s", name);
    else if (addr->scope) /* the interface is gone: its number still tells it apart */
        snprintf(scope, sizeof scope, "%%%lu", (unsigned long)addr->scope);
    inet_ntop(AF_INET6, addr->ip, ip, sizeof ip);
    snprintf(out, IO_ADDR_TEXT, "[%s%s]:%u", ip, scope, addr->port);
}

/* All of `text` as a decimal number up to `max`: no sign, no blank. */
static bool parse_number(const char *text, unsigned long max, unsigned long *value) {
    *value = 0;
    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        *value = *value * 10 + (unsigned long)(*text - '0');
        if (*value > max)
            return false;
    }
    return true;
}

static bool parse_scope(const char *text, uint32_t *scope) {
    unsigned long number = if_nametoindex(text);
    if (number == 0 && (!parse_number(text, UINT32_MAX, &number) || number == 0))
        return false;
    *scope = (uint32_t)number;
    return true;
}

/* An address without port; `text` is ours to cut at its scope. */
static bool parse_ip(char *text, struct quic_addr *addr) {
    struct in_addr v4;
    if (inet_pton(AF_INET, text, &v4) == 1) {
        addr->family = 4;
        memcpy(addr->ip, &v4, 4);
        return true;
    }
    uint32_t scope = 0;
    char *percent = strchr(text, '%');
    if (percent) {
        *percent = '\0';
        if (!parse_scope(percent + 1, &scope))
            return false;
    }
    struct in6_addr v6;
    if (inet_pton(AF_INET6, text, &v6) != 1 || (scope && !is_link_local(v6.s6_addr)))
        return false;
    io_addr_from_v6(v6.s6_addr, scope, addr);
    return true;
}

bool io_addr_parse(const char *text, uint16_t port, struct quic_addr *addr) {
    char copy[IO_ADDR_TEXT];
    size_t len = strlen(text);
    if (len >= sizeof copy)
        return false;
    memcpy(copy, text, len + 1);

    char *ip = copy, *port_text = NULL, *colon = strchr(copy, ':');
    if (copy[0] == '[') {
        char *bracket = strchr(copy, ']');
        if (!bracket || (bracket[1] != ':' && bracket[1] != '\0') || !memchr(copy, ':', (size_t)(bracket - copy)))
            return false;
        port_text = bracket[1] == ':' ? bracket + 2 : NULL;
        *bracket = '\0';
        ip = copy + 1;
    } else if (colon && !strchr(colon + 1, ':')) { /* one colon: IPv4 and port; more: bare IPv6 */
        port_text = colon + 1;
        *colon = '\0';
    }

    struct quic_addr parsed = {.port = port};
    if (port_text) {
        unsigned long number;
        if (!parse_number(port_text, UINT16_MAX, &number))
            return false;
        parsed.port = (uint16_t)number;
    }
    if (!parse_ip(ip, &parsed))
        return false;
    *addr = parsed;
    return true;
}
