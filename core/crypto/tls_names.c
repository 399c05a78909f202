/* tls_names.c - the names in a certificate: RFC 9525 (service identity), RFC 5280 4.2.1.6 and 4.2.1.12.
 *
 * Used twice: a client asks whether the server's certificate carries the name it wanted, a server asks which of its
 * certificates carries the name the client wanted. One comparison serves both.
 *
 * The invariant that matters: only subjectAltName counts, DNS names and IP addresses never mix, and a wildcard stands
 * for exactly one whole leftmost label.
 */
#include <string.h>

#include "tls_impl.h"

#include <arpa/inet.h>
#include <wolfssl/wolfcrypt/asn.h>

size_t tls_ip_literal(const char *name, uint8_t out[16]) {
    if (inet_pton(AF_INET, name, out) == 1)
        return 4;
    if (inet_pton(AF_INET6, name, out) == 1)
        return 16;
    return 0;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c; }

static bool same_text(const char *a, const char *b, size_t len) {
    for (size_t i = 0; i < len; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

/* RFC 9525 6.3: "*" only as the complete leftmost label, standing for one label, and not for a whole top-level domain.
 */
static bool wildcard_covers(const char *pattern, size_t pattern_len, const char *name, size_t name_len) {
    if (pattern_len < 3 || pattern[0] != '*' || pattern[1] != '.' || !memchr(pattern + 2, '.', pattern_len - 2))
        return false;
    const char *dot = memchr(name, '.', name_len);
    if (!dot || dot == name)
        return false;
    size_t rest = name_len - (size_t)(dot - name);
    return rest == pattern_len - 1 && same_text(dot, pattern + 1, rest);
}

static bool dns_matches(const char *pattern, size_t pattern_len, const char *name, size_t name_len) {
    if (pattern_len && pattern[pattern_len - 1] == '.')
        pattern_len--;
    if (!pattern_len || memchr(pattern, 0, pattern_len))
        return false;
    return (pattern_len == name_len && same_text(pattern, name, name_len)) ||
           wildcard_covers(pattern, pattern_len, name, name_len);
}

static bool carries(const DecodedCert *cert, const char *name) {
    uint8_t address[16];
    size_t address_len = tls_ip_literal(name, address), name_len = strlen(name);
    if (name_len && name[name_len - 1] == '.')
        name_len--;
    if (!name_len)
        return false;
    for (const DNS_entry *at = cert->altNames; at; at = at->next) {
        size_t len = (size_t)at->len;
        if (address_len ? at->type == ASN_IP_TYPE && len == address_len && memcmp(at->name, address, len) == 0
                        : at->type == ASN_DNS_TYPE && dns_matches(at->name, len, name, name_len))
            return true;
    }
    return false;
}

bool tls_leaf_read(const uint8_t *der, size_t len, const char *name, struct tls_leaf *leaf) {
    DecodedCert cert;
    wc_InitDecodedCert(&cert, der, (word32)len, NULL);
    bool ok = wc_ParseCert(&cert, CERT_TYPE, NO_VERIFY, NULL) == 0;
    if (ok) {
        byte use = cert.extExtKeyUsageSet ? cert.extExtKeyUsage : EXTKEYUSE_ANY;
        leaf->usable_by_server = (use & (EXTKEYUSE_ANY | EXTKEYUSE_SERVER_AUTH)) != 0;
        leaf->usable_by_client = (use & (EXTKEYUSE_ANY | EXTKEYUSE_CLIENT_AUTH)) != 0;
        leaf->named = name && carries(&cert, name);
    }
    wc_FreeDecodedCert(&cert);
    return ok;
}
