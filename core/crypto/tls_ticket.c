/* tls_ticket.c - session tickets (RFC 8446 4.6.1, 8; RFC 5077 4): sealing, rotation of keys, one use each.
 *
 * A ticket is wolfSSL's session state sealed with AES-256-GCM. Its key comes from the fleet's secret, an epoch and the
 * ticket's own nonce, so no key seals twice; epochs are as long as tickets live, and a ticket of the epoch before
 * is still good. Nothing is stored: any server with the secret opens any ticket.
 *
 * Where early data is allowed a ticket is good for one handshake in this process (RFC 8446 8.2): wolfSSL refuses a
 * ClientHello whose ticket age is off by more than about 11 seconds, and a register of strikes remembers each ticket
 * for longer than that. When the register's line for a ticket is full, the ticket is refused: a full handshake is the
 * safe side. Servers of a fleet may ask a common register as well.
 *
 * Behind wolfSSL's state a ticket holds what the application wants to find again when the client comes back, and by
 * which it may refuse the ticket.
 *
 * The invariant that matters: a ticket opens only under the same early data context it was sealed under, because that
 * context is authenticated with it.
 */
#include <string.h>

#include "tls_impl.h"

#include <wolfssl/wolfcrypt/aes.h>

#define EXTRA \
    (CRYPTO_TICKET_DATA + 1) /* the application's bytes and their number, behind wolfSSL's; always all of them */
#define STRIKE_WAYS 8u
#define STRIKE_SECONDS 30u

static void put_u64(uint8_t *at, uint64_t value) {
    for (size_t i = 0; i < 8; i++)
        at[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t get_u64(const uint8_t *at) {
    uint64_t value = 0;
    for (size_t i = 0; i < 8; i++)
        value = value << 8 | at[i];
    return value;
}

/* HKDF-Expand (RFC 5869 2.3) of one block, and as much of that as is asked for. */
static bool derive(const struct crypto_tls_config *config, const char *label, const uint8_t *name, const uint8_t *nonce,
                   uint8_t *out, size_t len) {
    uint8_t info[16 + WOLFSSL_TICKET_NAME_SZ + WOLFSSL_TICKET_IV_SZ + 1] = {0};
    strncpy((char *)info, label, 16);
    if (name)
        memcpy(info + 16, name, WOLFSSL_TICKET_NAME_SZ);
    if (nonce)
        memcpy(info + 16 + WOLFSSL_TICKET_NAME_SZ, nonce, WOLFSSL_TICKET_IV_SZ);
    info[sizeof info - 1] = 1;
    return hkdf_mac(&config->ticket_secret, info, sizeof info, out, len);
}

bool tls_ticket_secret_set(struct crypto_tls_config *config, const uint8_t secret[32]) {
    return hkdf_begin(&config->ticket_secret, false, secret, 32) &&
           derive(config, "weft ticket id", NULL, NULL, config->ticket_id, sizeof config->ticket_id);
}

static uint64_t epoch_now(const struct crypto_tls_config *config) { return tls_now_s() / config->ticket_lifetime_s; }

/* The key of one ticket, ready for use; wiped by the caller with wc_AesFree. */
static bool ticket_key(const struct crypto_tls_config *config, const uint8_t *name, const uint8_t *nonce, Aes *aes) {
    uint8_t key[32];
    bool ok = derive(config, "weft ticket", name, nonce, key, sizeof key) &&
              wc_AesInit(aes, NULL, INVALID_DEVID) == 0 && wc_AesGcmSetKey(aes, key, sizeof key) == 0;
    crypto_wipe(key, sizeof key);
    return ok;
}

/* Authenticated with the ticket: its name and the context. */
static void bound(const struct crypto_tls *tls, const uint8_t *name, uint8_t out[16 + 32]) {
    memcpy(out, name, 16);
    memcpy(out + 16, tls->context, 32);
}

/* The application's bytes, as many as it likes up to the limit; how many there are is not to be seen from without. */
static void fill(struct crypto_tls *tls, uint8_t extra[EXTRA]) {
    const struct crypto_tls_config *config = tls->config;
    memset(extra, 0, EXTRA);
    if (!config->ticket_fill_cb)
        return;
    size_t len = config->ticket_fill_cb(config->ticket_user, tls->user, extra + 1, CRYPTO_TICKET_DATA);
    extra[0] = (uint8_t)(len <= CRYPTO_TICKET_DATA ? len : 0);
}

static bool judged_good(struct crypto_tls *tls, const uint8_t extra[EXTRA]) {
    const struct crypto_tls_config *config = tls->config;
    return !config->ticket_judge_cb || config->ticket_judge_cb(config->ticket_user, tls->user, extra + 1, extra[0]);
}

static int seal_ticket(struct crypto_tls *tls, uint8_t *name, uint8_t *iv, uint8_t *mac, uint8_t *ticket, int len) {
    struct crypto_tls_config *config = tls->config;
    WC_RNG *rng = wolfSSL_GetRNG(tls->ssl);
    uint8_t with[48];
    Aes aes;
    if (!rng || wc_RNG_GenerateBlock(rng, iv, WOLFSSL_TICKET_IV_SZ) != 0)
        return WOLFSSL_TICKET_RET_FATAL;
    memcpy(name, config->ticket_id, TLS_TICKET_ID);
    put_u64(name + TLS_TICKET_ID, epoch_now(config));
    bound(tls, name, with);
    fill(tls, ticket + len - EXTRA);
    memset(mac, 0, WOLFSSL_TICKET_MAC_SZ);
    bool ok = ticket_key(config, name, iv, &aes) &&
              wc_AesGcmEncrypt(&aes, ticket, ticket, (word32)len, iv, 12, mac, CRYPTO_TAG_SIZE, with, sizeof with) == 0;
    wc_AesFree(&aes); /* wipes it */
    return ok ? WOLFSSL_TICKET_RET_OK : WOLFSSL_TICKET_RET_FATAL;
}

/* True the first time a ticket is shown. An entry is 48 bits of the ticket and 16 of the time, never 0. */
static bool first_use(struct crypto_tls_config *config, const uint8_t *tag) {
    uint64_t now = tls_now_s() & 0xffff, mark = get_u64(tag) | 1u << 16;
    _Atomic uint64_t *line = config->strikes + (get_u64(tag + 8) & (TLS_STRIKES / STRIKE_WAYS - 1)) * STRIKE_WAYS;
    for (;;) {
        _Atomic uint64_t *place = NULL;
        uint64_t old = 0;
        for (unsigned way = 0; way < STRIKE_WAYS; way++) {
            uint64_t held = atomic_load(&line[way]);
            if (held && ((now - held) & 0xffff) <= STRIKE_SECONDS) {
                if (held >> 16 == mark >> 16)
                    return false;
            } else if (!place) {
                place = &line[way];
                old = held;
            }
        }
        if (!place)
            return false;
        if (atomic_compare_exchange_strong(place, &old, (mark & ~UINT64_C(0xffff)) | now))
            return true; /* else another thread took the place: look again */
    }
}

static bool first_in_fleet(const struct crypto_tls_config *config, const uint8_t tag[CRYPTO_TAG_SIZE]) {
    return !config->replay_cb || config->replay_cb(config->replay_user, tag, STRIKE_SECONDS);
}

static int open_ticket(struct crypto_tls *tls, const uint8_t *name, const uint8_t *iv, const uint8_t *mac,
                       uint8_t *ticket, int len) {
    struct crypto_tls_config *config = tls->config;
    uint8_t with[48];
    uint64_t now = epoch_now(config), epoch = get_u64(name + TLS_TICKET_ID);
    if (!crypto_equal(config->ticket_id, name, sizeof config->ticket_id) || (epoch != now && epoch + 1 != now))
        return WOLFSSL_TICKET_RET_REJECT;
    bound(tls, name, with);
    uint8_t tag[CRYPTO_TAG_SIZE];
    memcpy(tag, mac, sizeof tag);
    Aes aes;
    bool ok = ticket_key(config, name, iv, &aes) &&
              wc_AesGcmDecrypt(&aes, ticket, ticket, (word32)len, iv, 12, tag, sizeof tag, with, sizeof with) == 0;
    wc_AesFree(&aes); /* wipes it */
    if (!ok)
        return WOLFSSL_TICKET_RET_REJECT;
    /* After a HelloRetryRequest the same session shows the same ticket once more. */
    if (tls->has_ticket_seen && crypto_equal(tls->ticket_seen, tag, sizeof tag))
        return WOLFSSL_TICKET_RET_OK;
    if (!judged_good(tls, ticket + len - EXTRA))
        return WOLFSSL_TICKET_RET_REJECT;
    if (config->early_data && !(first_use(config, tag) && first_in_fleet(config, tag)))
        return WOLFSSL_TICKET_RET_REJECT;
    memcpy(tls->ticket_seen, tag, sizeof tag);
    tls->has_ticket_seen = true;
    return WOLFSSL_TICKET_RET_OK;
}

int tls_on_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac, int seal,
                  unsigned char *ticket, int in_len, int *out_len, void *user) {
    (void)user;
    struct crypto_tls *tls = wolfSSL_get_app_data(ssl);
    /* wolfSSL leaves WOLFSSL_TICKET_EXTRA_PADDING_SZ (32) bytes behind its own for what a cipher may add. */
    if (seal) {
        *out_len = in_len + (int)EXTRA;
        return seal_ticket(tls, name, iv, mac, ticket, *out_len);
    }
    *out_len = in_len - (int)EXTRA;
    return *out_len > 0 ? open_ticket(tls, name, iv, mac, ticket, in_len) : WOLFSSL_TICKET_RET_REJECT;
}
