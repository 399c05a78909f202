/* protect.c - sealing, opening and header protection of QUIC packets, in place: RFC 9001 sections 5.3, 5.4 and 5.8.
 *
 * Knows: where nonce, associated data and sample lie in a packet. Does not know frames, packet number spaces or which
 * key is current; it does what the item says with the key it is given.
 *
 * The invariant that matters: associated data are the header as it stands before masking (sending) and after unmasking
 * (receiving), so a train is sealed first and masked afterwards, and a batch is unmasked first and opened afterwards.
 *
 * This is the hottest code of the house after the copy loops: no key schedule but for packed keys, no allocation, no
 * EVP. The samples of up to BATCH packets are gathered so that the block cipher is entered once and keeps its pipeline
 * full.
 */
#include "protect.h"

#include <assert.h>
#include <string.h>

#include "base/cursor.h"
#include "keys_impl.h"

#include <wolfssl/wolfcrypt/chacha20_poly1305.h>

#define BATCH 32u
#define SAMPLE_AHEAD 4u /* the sample starts where a packet number of 4 bytes would end (5.4.2) */
#define LONG_FORM 0x80u
#define LONG_MASK 0x0fu /* bits of the first byte that are protected: long header, short header */
#define SHORT_MASK 0x1fu

/* 5.3: the packet number, left-padded to the IV's size, XOR the IV. */
static inline void make_nonce(uint8_t nonce[KEY_IV_SIZE], const uint8_t iv[KEY_IV_SIZE], uint64_t number) {
    memcpy(nonce, iv, KEY_IV_SIZE - 8);
    base_store_u64(nonce + KEY_IV_SIZE - 8, base_load_u64(iv + KEY_IV_SIZE - 8) ^ number);
}

static bool seal_one(struct crypto_key *key, const struct crypto_seal_item *item) {
    assert(item->pn_len >= 1 && item->pn_len <= 4);
    assert(item->len >= item->pn_offset + SAMPLE_AHEAD + CRYPTO_SAMPLE_SIZE);
    uint8_t nonce[KEY_IV_SIZE];
    make_nonce(nonce, key->iv, item->number);
    uint32_t header = (uint32_t)item->pn_offset + item->pn_len;
    uint32_t len = item->len - header - CRYPTO_TAG_SIZE;
    uint8_t *text = item->packet + header;
    if (key->aead == CRYPTO_CHACHA20_POLY1305)
        return wc_ChaCha20Poly1305_Encrypt(key->raw, nonce, item->packet, header, text, len, text, text + len) == 0;
    return gcm_seal(&key->gcm, nonce, item->packet, header, text, len);
}

/* Turns `count` samples into masks, in place; only the first 5 bytes of each mask mean anything. */
static bool make_masks(struct crypto_mask_key *mask, uint8_t (*samples)[CRYPTO_SAMPLE_SIZE], size_t count) {
    if (mask->aead != CRYPTO_CHACHA20_POLY1305)
        return aes_encrypt(&mask->u.aes, samples, count);
    static const uint8_t zeros[5];
    for (size_t i = 0; i < count; i++) { /* 5.4.4: counter and nonce come out of the sample */
        uint8_t *s = samples[i];
        uint32_t counter = s[0] | (uint32_t)s[1] << 8 | (uint32_t)s[2] << 16 | (uint32_t)s[3] << 24;
        if (wc_Chacha_SetIV(&mask->u.chacha, s + 4, counter) != 0 ||
            wc_Chacha_Process(&mask->u.chacha, s, zeros, sizeof zeros) != 0)
            return false;
    }
    return true;
}

static uint8_t first_byte_mask(uint8_t first) { return first & LONG_FORM ? LONG_MASK : SHORT_MASK; }

static bool seal_chunk(struct crypto_key *key, struct crypto_mask_key *mask, const struct crypto_seal_item *items,
                       size_t count) {
    uint8_t samples[BATCH][CRYPTO_SAMPLE_SIZE];
    for (size_t i = 0; i < count; i++) {
        if (!seal_one(key, &items[i]))
            return false;
        memcpy(samples[i], items[i].packet + items[i].pn_offset + SAMPLE_AHEAD, CRYPTO_SAMPLE_SIZE);
    }
    if (!make_masks(mask, samples, count))
        return false;
    for (size_t i = 0; i < count; i++) {
        uint8_t *packet = items[i].packet, *pn = packet + items[i].pn_offset;
        packet[0] ^= (uint8_t)(samples[i][0] & first_byte_mask(packet[0]));
        for (size_t b = 0; b < items[i].pn_len; b++)
            pn[b] ^= samples[i][1 + b];
    }
    return true;
}

static bool seal_packed(struct crypto_key *key, struct crypto_mask_key *mask, const struct crypto_seal_item *items,
                        size_t count) {
    struct crypto_key key_room, *k = key_at_hand(key, &key_room);
    struct crypto_mask_key mask_room, *m = mask_key_at_hand(mask, &mask_room);
    bool ok = k && m && crypto_seal(k, m, items, count);
    key_away(k, &key_room);
    mask_key_away(m, &mask_room);
    return ok;
}

bool crypto_seal(struct crypto_key *key, struct crypto_mask_key *mask, const struct crypto_seal_item *items,
                 size_t count) {
    if (key->packed || mask->packed)
        return seal_packed(key, mask, items, count);
    for (size_t done = 0; done < count; done += BATCH) {
        size_t chunk = count - done < BATCH ? count - done : BATCH;
        if (!seal_chunk(key, mask, items + done, chunk))
            return false;
    }
    return true;
}

static void unmask_one(struct crypto_open_item *item, const uint8_t mask[CRYPTO_SAMPLE_SIZE]) {
    uint8_t *packet = item->packet, *pn = packet + item->pn_offset;
    packet[0] ^= (uint8_t)(mask[0] & first_byte_mask(packet[0]));
    item->first = packet[0];
    item->pn_len = (uint8_t)((packet[0] & 3u) + 1);
    item->truncated = 0;
    for (size_t b = 0; b < item->pn_len; b++) {
        pn[b] ^= mask[1 + b];
        item->truncated = item->truncated << 8 | pn[b];
    }
}

static bool unmask_packed(struct crypto_mask_key *mask, struct crypto_open_item *items, size_t count) {
    struct crypto_mask_key room, *m = mask_key_at_hand(mask, &room);
    bool ok = m && crypto_unmask(m, items, count);
    mask_key_away(m, &room);
    return ok;
}

bool crypto_unmask(struct crypto_mask_key *mask, struct crypto_open_item *items, size_t count) {
    uint8_t samples[BATCH][CRYPTO_SAMPLE_SIZE];
    if (mask->packed)
        return unmask_packed(mask, items, count);
    for (size_t done = 0; done < count; done += BATCH) {
        size_t chunk = count - done < BATCH ? count - done : BATCH;
        struct crypto_open_item *part = items + done;
        for (size_t i = 0; i < chunk; i++) {
            assert(part[i].len >= part[i].pn_offset + SAMPLE_AHEAD + CRYPTO_SAMPLE_SIZE);
            memcpy(samples[i], part[i].packet + part[i].pn_offset + SAMPLE_AHEAD, CRYPTO_SAMPLE_SIZE);
        }
        if (!make_masks(mask, samples, chunk))
            return false;
        for (size_t i = 0; i < chunk; i++)
            unmask_one(&part[i], samples[i]);
    }
    return true;
}

static int32_t open_packed(struct crypto_key *key, const struct crypto_open_item *item, uint64_t number) {
    struct crypto_key room, *k = key_at_hand(key, &room);
    int32_t len = k ? crypto_open(k, item, number) : -1;
    key_away(k, &room);
    return len;
}

int32_t crypto_open(struct crypto_key *key, const struct crypto_open_item *item, uint64_t number) {
    assert(item->pn_len >= 1 && item->pn_len <= 4);
    if (key->packed)
        return open_packed(key, item, number);
    uint32_t header = (uint32_t)item->pn_offset + item->pn_len;
    if (item->len < header + CRYPTO_TAG_SIZE)
        return -1;
    uint8_t nonce[KEY_IV_SIZE];
    make_nonce(nonce, key->iv, number);
    uint32_t len = item->len - header - CRYPTO_TAG_SIZE;
    uint8_t *text = item->packet + header;
    bool ok = key->aead == CRYPTO_CHACHA20_POLY1305
                  ? wc_ChaCha20Poly1305_Decrypt(key->raw, nonce, item->packet, header, text, len, text + len, text) == 0
                  : gcm_open(&key->gcm, nonce, item->packet, header, text, len);
    return ok ? (int32_t)len : -1;
}
