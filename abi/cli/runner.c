/* runner.c - the conventions of the QUIC interop runner (https://github.com/quic-interop/quic-interop-runner).
 *
 * The runner tells an endpoint by environment variables what to do: ROLE is "client" or "server", TESTCASE the case,
 * the client's REQUESTS are URLs separated by blanks; files lie in /www, arrive in /downloads, the certificate is
 * /certs/cert.pem with /certs/priv.key, the port 443. An endpoint that does not have a case says so by exit code 127.
 * SSLKEYLOGFILE means what it means everywhere (setup.c).
 *
 * `weft serve` and `weft get` follow these when both variables are there and ROLE is theirs. What the command line says
 * comes first: only what it leaves open is filled in.
 *
 * Invariant: a case that is not in the table is refused before anything is done, never played as another one.
 */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct cli_runner_case cases[] = {
    {"handshake", 0},
    {"transfer", 0},
    {"longrtt", 0},
    {"multiplexing", 0},
    {"blackhole", 0},
    {"amplificationlimit", 0},
    {"transferloss", 0},
    {"transfercorruption", 0},
    {"rebind-port", 0},
    {"rebind-addr", 0},
    {"ipv6", 0},
    {"ecn", 0},
    {"goodput", 0},
    {"crosstraffic", 0},
    {"chacha20", RUNNER_CHACHA20},
    {"retry", RUNNER_RETRY},
    {"resumption", RUNNER_RESUME},
    {"zerortt", RUNNER_RESUME | RUNNER_EARLY},
    {"keyupdate", RUNNER_KEY_UPDATE},
    {"v2", RUNNER_V2},
    {"connectionmigration", RUNNER_MIGRATION},
    {"multiconnect", RUNNER_EACH},
    {"handshakeloss", RUNNER_EACH},
    {"handshakecorruption", RUNNER_EACH},
};

int cli_runner_case(const char *role, struct cli_runner_case *found) {
    const char *own = getenv("ROLE"), *wanted = getenv("TESTCASE");
    *found = (struct cli_runner_case){NULL, 0};
    if (!own || !wanted || strcmp(own, role) != 0)
        return CLI_GO_ON;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (!strcmp(wanted, cases[i].name)) {
            *found = cases[i];
            return CLI_GO_ON;
        }
    cli_error("TESTCASE=%s: there is no such case here", wanted);
    return CLI_UNSUPPORTED;
}

static bool address_text(const struct ifaddrs *entry, uint16_t port, char text[WEFT_ADDR_TEXT]) {
    char host[INET6_ADDRSTRLEN];
    const struct sockaddr *address = entry->ifa_addr;
    if (!address || entry->ifa_flags & IFF_LOOPBACK || !(entry->ifa_flags & IFF_UP))
        return false;
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)address;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)address;
        if (IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr))
            return false;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
    } else {
        return false;
    }
    snprintf(text, WEFT_ADDR_TEXT, address->sa_family == AF_INET ? "%s:%u" : "[%s]:%u", host, port);
    return true;
}

bool cli_runner_addresses(uint16_t port, char text[2 * WEFT_ADDR_TEXT]) {
    struct ifaddrs *all;
    char v4[WEFT_ADDR_TEXT] = "", v6[WEFT_ADDR_TEXT] = "", one[WEFT_ADDR_TEXT];
    if (getifaddrs(&all))
        return false;
    for (const struct ifaddrs *entry = all; entry; entry = entry->ifa_next)
        if (address_text(entry, port, one)) {
            char *out = *one == '[' ? v6 : v4;
            if (!*out)
                memcpy(out, one, sizeof one);
        }
    freeifaddrs(all);
    snprintf(text, 2 * WEFT_ADDR_TEXT, "%s%s%s", v4, *v4 && *v6 ? "," : "", v6);
    return *v4 || *v6;
}

int cli_runner_requests(struct cli_list *words) {
    const char *requests = getenv("REQUESTS");
    char *copy = requests ? strdup(requests) : NULL, *rest = NULL;
    for (char *word = copy ? strtok_r(copy, " \t\n", &rest) : NULL; word; word = strtok_r(NULL, " \t\n", &rest))
        if (!cli_list_add(words, word)) {
            cli_error("REQUESTS: out of memory");
            return CLI_FAILED;
        }
    if (words->count)
        return CLI_GO_ON; /* the words point into the copy, which lives as long as the process */
    free(copy);
    cli_error("REQUESTS names no URL");
    return CLI_USAGE;
}
