/* tls_schedule.c - the key schedule of TLS 1.3 (RFC 8446 7.1), as far as it is HKDF. wolfSSL says what is to be
 * extracted and expanded, and from what; here it is done.
 *
 * wolfSSL by itself sets up an HMAC for each label. But labels come in groups: traffic secrets of both directions and
 * what leads to the next secret are all made of the one that was extracted last, and hkdf.h begins that key once for
 * all of them. And without a PSK the early secret, and what is derived from it, are the same in every handshake with
 * SHA-256: they stand here, as RFC 8448 3 prints them.
 *
 * Knows no transcripts, and not what labels are for. What is unusual - an exporter of more than a hash, another hash -
 * is left to wolfSSL.
 *
 * The invariant that matters: a secret is remembered no longer than wolfSSL works on one input, by the thread that
 * works on it; then tls_schedule_forget wipes it.
 */
#include <string.h>

#include "keys.h"
#include "tls_impl.h"

#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/kdf.h>

static const uint8_t early_secret[WC_SHA256_DIGEST_SIZE] = {
    0x33, 0xad, 0x0a, 0x1c, 0x60, 0x7e, 0xc0, 0x3b, 0x09, 0xe6, 0xcd, 0x98, 0x93, 0x68, 0x0c, 0xe2,
    0x10, 0xad, 0xf3, 0x00, 0xaa, 0x1f, 0x26, 0x60, 0xe1, 0xb2, 0x2e, 0x10, 0xf1, 0x70, 0xf9, 0x2a,
};
static const uint8_t early_derived[WC_SHA256_DIGEST_SIZE] = {
    0x6f, 0x26, 0x15, 0xa1, 0x08, 0xc7, 0x02, 0xc5, 0x67, 0x8f, 0x54, 0xfc, 0x9d, 0xba, 0xb6, 0x97,
    0x16, 0xc0, 0x76, 0x18, 0x9c, 0x48, 0x25, 0x0c, 0xeb, 0xea, 0xc3, 0x57, 0x6c, 0x36, 0x11, 0xba,
};

/* The hash of nothing, which is the context of "derived". */
static const uint8_t hash_of_nothing[WC_SHA256_DIGEST_SIZE] = {
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
};

/* The secret that was extracted last, and once there was a label of it, the HMAC that it is the key of. */
static _Thread_local struct {
    bool set, begun;
    size_t len;
    uint8_t secret[HKDF_MOST];
    struct hkdf hkdf;
} kept;

bool tls_schedule_forget(void) {
    bool kept_one = kept.set;
    if (kept_one)
        crypto_wipe(&kept, sizeof kept);
    return kept_one;
}

static void keep(const uint8_t *secret, size_t len) {
    tls_schedule_forget();
    memcpy(kept.secret, secret, len);
    kept.len = len;
    kept.set = true;
}

/* What labels of the secret begin with: the one that is kept, or `room`. NULL: wolfCrypt refuses. */
static const struct hkdf *begin(const uint8_t *secret, size_t len, struct hkdf *room) {
    bool wide = len == HKDF_MOST;
    if (!kept.set || kept.len != len || memcmp(kept.secret, secret, len) != 0) /* both are ours: no guess is judged */
        return hkdf_begin(room, wide, secret, len) ? room : NULL;
    kept.begun = kept.begun || hkdf_begin(&kept.hkdf, wide, secret, len);
    return kept.begun ? &kept.hkdf : NULL;
}

/* The size of the hash wolfSSL calls `id`; 0: none of those that QUIC's suites have. */
static size_t digest_size(int id) {
    return id == WC_SHA256 ? (size_t)WC_SHA256_DIGEST_SIZE : id == WC_SHA384 ? (size_t)WC_SHA384_DIGEST_SIZE : 0;
}

int tls_on_extract(byte *secret, const byte *salt, word32 salt_len, byte *input, word32 input_len, int hash,
                   void *user) {
    static const uint8_t zeros[HKDF_MOST];
    (void)user;
    size_t size = digest_size(hash);
    if (!size || salt_len > size)
        return wc_Tls13_HKDF_Extract(secret, salt, salt_len, input, input_len, hash);
    if (!salt_len && !input_len && size == sizeof early_secret) {
        memcpy(secret, early_secret, size);
        return 0;
    }
    struct hkdf hkdf;
    bool ok = hkdf_begin(&hkdf, size == HKDF_MOST, salt, salt_len) &&
              hkdf_mac(&hkdf, input_len ? input : zeros, input_len ? input_len : size, secret, size);
    hkdf_end(&hkdf);
    if (ok)
        keep(secret, size);
    return ok ? 0 : BAD_STATE_E;
}

static bool is(const uint8_t *what, size_t what_len, const void *other, size_t len) {
    return what_len == len && memcmp(what, other, len) == 0;
}

static bool is_early_derived(const uint8_t *secret, size_t size, const uint8_t *label, size_t label_len,
                             const uint8_t *context, size_t context_len) {
    return is(label, label_len, "derived", 7) && is(secret, size, early_secret, sizeof early_secret) &&
           is(context, context_len, hash_of_nothing, sizeof hash_of_nothing);
}

int tls_on_expand(byte *out, word32 out_len, const byte *secret, word32 secret_len, const byte *prefix,
                  word32 prefix_len, const byte *label, word32 label_len, const byte *context, word32 context_len,
                  int hash, int side) {
    (void)side;
    size_t size = digest_size(hash);
    if (!size || secret_len != size || out_len > size || label_len > HKDF_LABEL || context_len > size ||
        !is(prefix, prefix_len, "tls13 ", 6))
        return NOT_COMPILED_IN; /* then wolfSSL does it */
    if (out_len == sizeof early_derived && is_early_derived(secret, size, label, label_len, context, context_len)) {
        memcpy(out, early_derived, sizeof early_derived);
        return 0;
    }
    struct hkdf room;
    const struct hkdf *hkdf = begin(secret, size, &room);
    bool ok = hkdf && hkdf_expand(hkdf, (const char *)label, label_len, context, context_len, out, out_len);
    if (hkdf != &kept.hkdf)
        hkdf_end(&room);
    return ok ? 0 : BAD_STATE_E;
}

void tls_schedule_apply(WOLFSSL_CTX *ctx) {
#ifdef HAVE_PK_CALLBACKS
    wolfSSL_CTX_SetHKDFExtractCb(ctx, tls_on_extract);
    wolfSSL_CTX_SetHKDFExpandLabelCb(ctx, tls_on_expand);
#else
    (void)ctx; /* not our build: wolfSSL does all of it */
#endif
}
