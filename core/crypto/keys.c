/* keys.c - from TLS secrets to expanded packet keys: RFC 9001 section 5 and Appendix B, RFC 9369 section 3.3.
 *
 * Knows: the salts and labels of each QUIC version, the sizes and limits of each AEAD. Does not know
 * packets, key phases or who holds a key; connections replace keys, this file only makes and destroys them.
 *
 * The invariant that matters: every secret that passes through here, on the stack or in a block, is wiped before its
 * memory can be seen by anybody else, on the failing paths too.
 *
 * All facts that differ by version or cipher stand in the two tables below; no function asks which version it is.
 */
#include "keys.h"

#include <assert.h>
#include <string.h>

#include "hkdf.h"
#include "keys_impl.h"

#include <wolfssl/wolfcrypt/memory.h>

#define INITIAL_SALT_SIZE 20u

struct version_facts {
    uint8_t salt[INITIAL_SALT_SIZE];
    const char *key, *iv, *mask, *update;
};

static const struct version_facts versions[CRYPTO_VERSIONS] = {
    [CRYPTO_QUIC_V1] = {{0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                         0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a},
                        "quic key",
                        "quic iv",
                        "quic hp",
                        "quic ku"},
    [CRYPTO_QUIC_V2] = {{0x0d, 0xed, 0xe3, 0xde, 0xf7, 0x00, 0xa6, 0xdb, 0x81, 0x93,
                         0x81, 0xbe, 0x6e, 0x26, 0x9d, 0xcb, 0xf9, 0xbd, 0x2e, 0xd9},
                        "quicv2 key",
                        "quicv2 iv",
                        "quicv2 hp",
                        "quicv2 ku"},
};

struct aead_facts {
    uint8_t key_size, hash_size;         /* 32: SHA-256, 48: SHA-384 */
    uint64_t confidentiality, integrity; /* RFC 9001 6.6 */
};

static const struct aead_facts aeads[CRYPTO_AEADS] = {
    [CRYPTO_AES_128_GCM] = {16, 32, UINT64_C(1) << 23, UINT64_C(1) << 52},
    [CRYPTO_AES_256_GCM] = {32, 48, UINT64_C(1) << 23, UINT64_C(1) << 52},
    /* The confidentiality limit of ChaCha20-Poly1305 lies above the number of packet numbers there are. */
    [CRYPTO_CHACHA20_POLY1305] = {32, 32, UINT64_C(1) << 62, UINT64_C(1) << 36},
};

uint64_t crypto_confidentiality_limit(enum crypto_aead aead) { return aeads[aead].confidentiality; }

uint64_t crypto_integrity_limit(enum crypto_aead aead) { return aeads[aead].integrity; }

void crypto_wipe(void *at, size_t len) {
#ifdef __GNUC__
    memset(at, 0, len);
    __asm__ volatile("" : : "r"(at) : "memory"); /* somebody may read it now, so the zeros must be there */
#else
    wc_ForceZero(at, len); /* the same between two fences, each of which takes longer than a small wipe */
#endif
}

bool crypto_equal(const void *a, const void *b, size_t len) {
    const volatile uint8_t *x = a, *y = b;
    uint8_t differ = 0;
    for (size_t i = 0; i < len; i++)
        differ = (uint8_t)(differ | (x[i] ^ y[i]));
    return differ == 0;
}

static bool secret_begin(struct hkdf *hkdf, const struct crypto_secret *secret) {
    assert(secret->len == aeads[secret->aead].hash_size);
    return hkdf_begin(hkdf, secret->len == HKDF_MOST, secret->bytes, secret->len);
}

bool crypto_expand_label(const struct crypto_secret *secret, const char *label, uint8_t *out, size_t len) {
    struct hkdf hkdf;
    bool ok = secret_begin(&hkdf, secret) && hkdf_label(&hkdf, label, out, len);
    hkdf_end(&hkdf);
    return ok;
}

bool crypto_initial_secrets(enum crypto_version version, const uint8_t *dcid, size_t dcid_len,
                            struct crypto_secret *client, struct crypto_secret *server) {
    /* Initial packets are always AES-128-GCM with SHA-256, whatever TLS agrees on later (RFC 9001 5.2). */
    struct crypto_secret initial = {.aead = CRYPTO_AES_128_GCM, .len = 32};
    struct hkdf hkdf;
    *client = *server = initial;
    bool ok = hkdf_begin(&hkdf, false, versions[version].salt, INITIAL_SALT_SIZE) && /* HKDF-Extract is an HMAC */
              hkdf_mac(&hkdf, dcid, dcid_len, initial.bytes, initial.len) && secret_begin(&hkdf, &initial) &&
              hkdf_label(&hkdf, "client in", client->bytes, 32) && hkdf_label(&hkdf, "server in", server->bytes, 32);
    hkdf_end(&hkdf);
    crypto_wipe(&initial, sizeof initial);
    return ok;
}

bool crypto_next_secret(enum crypto_version version, const struct crypto_secret *now, struct crypto_secret *next) {
    struct crypto_secret made = {.aead = now->aead, .len = now->len};
    bool ok = crypto_expand_label(now, versions[version].update, made.bytes, made.len);
    *next = made; /* `next` may be `now` */
    crypto_wipe(&made, sizeof made);
    return ok;
}

static bool is_aes(enum crypto_aead aead) { return aead != CRYPTO_CHACHA20_POLY1305; }

static size_t key_size(const struct crypto_key *key) {
    size_t gcm = is_aes(key->aead) && !key->packed ? gcm_key_size(key->gcm.wide) : 0;
    return offsetof(struct crypto_key, gcm) + gcm;
}

static size_t mask_key_size(const struct crypto_mask_key *key) {
    size_t cipher = key->packed ? 0 : is_aes(key->aead) ? aes_key_size(key->u.aes.direct) : sizeof(ChaCha);
    return offsetof(struct crypto_mask_key, u) + cipher;
}

/* Wiped; how many bytes it was. */
static size_t key_clear(struct crypto_key *key) {
    size_t size = key_size(key);
    if (is_aes(key->aead) && !key->packed)
        gcm_clear(&key->gcm);
    crypto_wipe(key, size);
    return size;
}

static size_t mask_key_clear(struct crypto_mask_key *key) {
    size_t size = mask_key_size(key);
    if (is_aes(key->aead) && !key->packed)
        aes_clear(&key->u.aes);
    crypto_wipe(key, size);
    return size;
}

void crypto_key_free(struct base_mem *mem, struct crypto_key *key) {
    if (key)
        base_free(mem, key, key_clear(key));
}

void crypto_mask_key_free(struct base_mem *mem, struct crypto_mask_key *key) {
    if (key)
        base_free(mem, key, mask_key_clear(key));
}

/* ---- making ---- */

/* What a key is to be, and what kind of schedule is to come. From now on it can be cleared. */
static void key_begin(struct crypto_key *key, enum crypto_aead aead, bool packed) {
    key->aead = aead;
    key->packed = packed;
    if (is_aes(aead) && !packed)
        gcm_begin(&key->gcm, gcm_is_wide());
}

static void mask_key_begin(struct crypto_mask_key *key, enum crypto_aead aead, bool packed) {
    key->aead = aead;
    key->packed = packed;
    if (is_aes(aead) && !packed)
        aes_begin(&key->u.aes, aes_is_direct());
}

static struct crypto_key *key_room(struct base_mem *mem, enum crypto_aead aead, bool packed) {
    size_t gcm = is_aes(aead) && !packed ? gcm_key_size(gcm_is_wide()) : 0;
    struct crypto_key *key = base_alloc(mem, offsetof(struct crypto_key, gcm) + gcm);
    if (key)
        key_begin(key, aead, packed);
    return key;
}

static struct crypto_mask_key *mask_key_room(struct base_mem *mem, enum crypto_aead aead, bool packed) {
    size_t cipher = packed ? 0 : is_aes(aead) ? aes_key_size(aes_is_direct()) : sizeof(ChaCha);
    struct crypto_mask_key *key = base_alloc(mem, offsetof(struct crypto_mask_key, u) + cipher);
    if (key)
        mask_key_begin(key, aead, packed);
    return key;
}

/* What both the packed and the expanded key are made of. */
static void key_copy_raw(struct crypto_key *key, const struct crypto_key *from) {
    memcpy(key->iv, from->iv, sizeof key->iv);
    memcpy(key->raw, from->raw, sizeof key->raw);
}

static void mask_key_copy_raw(struct crypto_mask_key *key, const struct crypto_mask_key *from) {
    memcpy(key->raw, from->raw, sizeof key->raw);
}

static bool key_expand(struct crypto_key *key) {
    return !is_aes(key->aead) || gcm_set_key(&key->gcm, key->raw, aeads[key->aead].key_size);
}

static bool mask_key_expand(struct crypto_mask_key *key) {
    if (is_aes(key->aead))
        return aes_set_key(&key->u.aes, key->raw, aeads[key->aead].key_size);
    return wc_Chacha_SetKey(&key->u.chacha, key->raw, KEY_RAW_MAX) == 0;
}

static struct crypto_key *key_derive(struct base_mem *mem, enum crypto_version version, enum crypto_aead aead,
                                     const struct hkdf *hkdf) {
    struct crypto_key *key = key_room(mem, aead, false);
    if (!key)
        return NULL;
    if (hkdf_label(hkdf, versions[version].key, key->raw, aeads[aead].key_size) &&
        hkdf_label(hkdf, versions[version].iv, key->iv, KEY_IV_SIZE) && key_expand(key))
        return key;
    crypto_key_free(mem, key);
    return NULL;
}

static struct crypto_mask_key *mask_key_derive(struct base_mem *mem, enum crypto_version version, enum crypto_aead aead,
                                               const struct hkdf *hkdf) {
    struct crypto_mask_key *key = mask_key_room(mem, aead, false);
    if (!key)
        return NULL;
    if (hkdf_label(hkdf, versions[version].mask, key->raw, aeads[aead].key_size) && mask_key_expand(key))
        return key;
    crypto_mask_key_free(mem, key);
    return NULL;
}

struct crypto_key *crypto_key_new(struct base_mem *mem, enum crypto_version version,
                                  const struct crypto_secret *secret) {
    struct hkdf hkdf;
    struct crypto_key *key = secret_begin(&hkdf, secret) ? key_derive(mem, version, secret->aead, &hkdf) : NULL;
    hkdf_end(&hkdf);
    return key;
}

struct crypto_mask_key *crypto_mask_key_new(struct base_mem *mem, enum crypto_version version,
                                            const struct crypto_secret *secret) {
    struct hkdf hkdf;
    bool begun = secret_begin(&hkdf, secret);
    struct crypto_mask_key *key = begun ? mask_key_derive(mem, version, secret->aead, &hkdf) : NULL;
    hkdf_end(&hkdf);
    return key;
}

bool crypto_keys_new(struct base_mem *mem, enum crypto_version version, const struct crypto_secret *secret,
                     struct crypto_key **key, struct crypto_mask_key **mask) {
    struct hkdf hkdf;
    bool begun = secret_begin(&hkdf, secret);
    *key = begun ? key_derive(mem, version, secret->aead, &hkdf) : NULL;
    *mask = *key ? mask_key_derive(mem, version, secret->aead, &hkdf) : NULL;
    hkdf_end(&hkdf);
    if (*mask)
        return true;
    crypto_key_free(mem, *key);
    *key = NULL;
    return false;
}

/* ---- packing ---- */

struct crypto_key *crypto_key_pack(struct base_mem *mem, struct crypto_key *key) {
    if (!key || key->packed || !is_aes(key->aead))
        return key;
    struct crypto_key *packed = key_room(mem, key->aead, true);
    if (!packed)
        return key;
    key_copy_raw(packed, key);
    crypto_key_free(mem, key);
    return packed;
}

struct crypto_key *crypto_key_unpack(struct base_mem *mem, struct crypto_key *key) {
    if (!key || !key->packed)
        return key;
    struct crypto_key *expanded = key_room(mem, key->aead, false);
    if (!expanded)
        return NULL;
    key_copy_raw(expanded, key);
    if (key_expand(expanded)) {
        crypto_key_free(mem, key);
        return expanded;
    }
    crypto_key_free(mem, expanded);
    return NULL;
}

struct crypto_mask_key *crypto_mask_key_pack(struct base_mem *mem, struct crypto_mask_key *key) {
    if (!key || key->packed || !is_aes(key->aead))
        return key;
    struct crypto_mask_key *packed = mask_key_room(mem, key->aead, true);
    if (!packed)
        return key;
    mask_key_copy_raw(packed, key);
    crypto_mask_key_free(mem, key);
    return packed;
}

struct crypto_mask_key *crypto_mask_key_unpack(struct base_mem *mem, struct crypto_mask_key *key) {
    if (!key || !key->packed)
        return key;
    struct crypto_mask_key *expanded = mask_key_room(mem, key->aead, false);
    if (!expanded)
        return NULL;
    mask_key_copy_raw(expanded, key);
    if (mask_key_expand(expanded)) {
        crypto_mask_key_free(mem, key);
        return expanded;
    }
    crypto_mask_key_free(mem, expanded);
    return NULL;
}

/* ---- packed keys at work ---- */

struct crypto_key *key_at_hand(struct crypto_key *key, struct crypto_key *room) {
    if (!key->packed)
        return key;
    key_begin(room, key->aead, false);
    key_copy_raw(room, key);
    if (key_expand(room))
        return room;
    key_clear(room);
    return NULL;
}

struct crypto_mask_key *mask_key_at_hand(struct crypto_mask_key *key, struct crypto_mask_key *room) {
    if (!key->packed)
        return key;
    mask_key_begin(room, key->aead, false);
    mask_key_copy_raw(room, key);
    if (mask_key_expand(room))
        return room;
    mask_key_clear(room);
    return NULL;
}

void key_away(struct crypto_key *at_hand, const struct crypto_key *room) {
    if (at_hand == room)
        key_clear(at_hand);
}

void mask_key_away(struct crypto_mask_key *at_hand, const struct crypto_mask_key *room) {
    if (at_hand == room)
        mask_key_clear(at_hand);
}
