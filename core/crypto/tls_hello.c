/* tls_hello.c - a look at the ClientHello before wolfSSL works on it (RFC 8446 4.1.2, 4.2.7, 4.2.8).
 *
 * Two things must be known earlier than wolfSSL decides them: whether any group is in common (its server asks for a
 * group of its own all the same), and whether a HelloRetryRequest will follow (its server accepts early data first and
 * forgets to take that back). And QUIC allows no legacy_session_id (RFC 9001 8.4).
 *
 * The invariant that matters: this only ever makes us stricter. What cannot be read here is left to wolfSSL, which
 * then refuses it, and gets no early data.
 */
#include "tls_impl.h"

#define EXTENSION_GROUPS 10u
#define EXTENSION_KEY_SHARE 51u

struct cursor {
    const uint8_t *at, *end;
};

static bool get(struct cursor *from, size_t bytes, uint32_t *value) {
    if ((size_t)(from->end - from->at) < bytes)
        return false;
    *value = 0;
    while (bytes--)
        *value = *value << 8 | *from->at++;
    return true;
}

/* Splits off a vector whose length takes `bytes` bytes. */
static bool cut(struct cursor *from, size_t bytes, struct cursor *part) {
    uint32_t len;
    if (!get(from, bytes, &len) || (size_t)(from->end - from->at) < len)
        return false;
    part->at = from->at;
    from->at += len;
    part->end = from->at;
    return true;
}

static bool ours(const struct crypto_tls_config *config, uint32_t group) {
    for (int i = 0; i < config->group_count; i++)
        if ((uint32_t)config->groups[i] == group)
            return true;
    return false;
}

static void read_groups(const struct crypto_tls_config *config, struct cursor body, struct tls_hello *hello) {
    struct cursor list;
    uint32_t group;
    hello->lists_groups = cut(&body, 2, &list);
    while (hello->lists_groups && get(&list, 2, &group))
        hello->common_group = hello->common_group || ours(config, group);
}

static void read_shares(const struct crypto_tls_config *config, struct cursor body, struct tls_hello *hello) {
    struct cursor list, share;
    uint32_t group;
    if (cut(&body, 2, &list))
        while (get(&list, 2, &group) && cut(&list, 2, &share))
            hello->common_share = hello->common_share || ours(config, group);
}

void tls_hello_read(const struct crypto_tls_config *config, const uint8_t *body, size_t len, struct tls_hello *hello) {
    struct cursor from = {body, body + len}, session_id, skipped, extensions, extension;
    uint32_t type;
    *hello = (struct tls_hello){0};
    if (len < 34)
        return;
    from.at += 34; /* legacy_version, random */
    if (!cut(&from, 1, &session_id))
        return;
    hello->session_id = session_id.at != session_id.end;
    if (!cut(&from, 2, &skipped) || !cut(&from, 1, &skipped) || !cut(&from, 2, &extensions))
        return;
    while (get(&extensions, 2, &type) && cut(&extensions, 2, &extension)) {
        if (type == EXTENSION_GROUPS)
            read_groups(config, extension, hello);
        else if (type == EXTENSION_KEY_SHARE)
            read_shares(config, extension, hello);
    }
}
