/* lb.c - QUIC-LB connection IDs: packing, encryption and the way back (draft-ietf-quic-load-balancers-21, section 5).
 *
 * Knows the format and nothing of connections, nor where nonces come from.
 *
 * The Feistel network works on two halves of the plaintext. An odd length splits the middle octet: the left half ends
 * with its upper four bits and four zero bits, the right one begins with four zero bits and its lower four. Both halves
 * are then of the same length in octets, and the zero bits are put back after each round.
 *
 * The invariant that matters: each round changes one half by a function of the other, so undoing the rounds in the
 * opposite order gives the plaintext back.
 */
#include "quic/lb.h"

#include <assert.h>

#include "crypto/block.h"
#include "crypto/keys.h"

#define HALF_MAX 10u
#define ROTATION_SHIFT 5u
#define LENGTH_MASK 0x1fu

struct quic_lb {
    struct quic_lb_config config;
    struct crypto_block *block; /* NULL: in the clear */
};

const char *quic_lb_check(const struct quic_lb_config *config) {
    if (config->rotation >= QUIC_LB_ROTATIONS)
        return "rotation bits are 0 to 6";
    if (config->server_id_len < 1 || config->server_id_len > QUIC_LB_SERVER_MAX)
        return "a server ID has 1 to 15 bytes";
    if (config->nonce_len < QUIC_LB_NONCE_LEAST)
        return "a nonce has 4 bytes at least";
    if (config->server_id_len + config->nonce_len > QUIC_LB_PLAIN_MAX)
        return "server ID and nonce have 19 bytes at most";
    return NULL;
}

struct quic_lb *quic_lb_new(struct base_mem *mem, const struct quic_lb_config *config) {
    assert(!quic_lb_check(config));
    struct quic_lb *lb = BASE_NEW(mem, struct quic_lb);
    if (!lb)
        return NULL;
    lb->config = *config;
    lb->block = config->encrypted ? crypto_block_new(mem, config->key) : NULL;
    if (lb->block || !config->encrypted)
        return lb;
    quic_lb_free(mem, lb);
    return NULL;
}

void quic_lb_free(struct base_mem *mem, struct quic_lb *lb) {
    if (!lb)
        return;
    crypto_block_free(mem, lb->block);
    crypto_wipe(lb, sizeof *lb);
    BASE_DELETE(mem, lb);
}

const struct quic_lb_config *quic_lb_config_of(const struct quic_lb *lb) { return &lb->config; }

/* ---- four passes ---- */

struct halves {
    uint8_t left[HALF_MAX], right[HALF_MAX];
    uint8_t len, half; /* of the whole, and of a half */
};

static void halves_trim(struct halves *h) {
    if (h->len % 2 == 0)
        return;
    h->left[h->half - 1] &= 0xf0;
    h->right[0] &= 0x0f;
}

static void halves_split(struct halves *h, const uint8_t *in, uint8_t len) {
    h->len = len;
    h->half = (uint8_t)((len + 1) / 2);
    memcpy(h->left, in, h->half);
    memcpy(h->right, in + len - h->half, h->half);
    halves_trim(h);
}

static void halves_join(const struct halves *h, uint8_t *out) {
    memcpy(out, h->left, h->half);
    if (h->len % 2) {
        out[h->half - 1] |= h->right[0];
        memcpy(out + h->half, h->right + 1, h->half - 1u);
    } else {
        memcpy(out + h->half, h->right, h->half);
    }
}

/* Passes 1 and 3 change the right half, 2 and 4 the left one. */
static void halves_pass(struct quic_lb *lb, struct halves *h, uint8_t pass) {
    const uint8_t *from = pass % 2 ? h->left : h->right;
    uint8_t *to = pass % 2 ? h->right : h->left, block[CRYPTO_BLOCK_SIZE] = {0};
    memcpy(block, from, h->half);
    block[14] = h->len;
    block[15] = pass;
    crypto_block_encrypt(lb->block, block, block);
    for (unsigned i = 0; i < h->half; i++)
        to[i] ^= block[i];
    halves_trim(h);
}

static void lb_encrypt(struct quic_lb *lb, uint8_t *plain, uint8_t len) {
    if (len == CRYPTO_BLOCK_SIZE) {
        crypto_block_encrypt(lb->block, plain, plain);
        return;
    }
    struct halves h;
    halves_split(&h, plain, len);
    for (uint8_t pass = 1; pass <= 4; pass++)
        halves_pass(lb, &h, pass);
    halves_join(&h, plain);
}

static void lb_decrypt(struct quic_lb *lb, uint8_t *sealed, uint8_t len) {
    if (len == CRYPTO_BLOCK_SIZE) {
        crypto_block_decrypt(lb->block, sealed, sealed);
        return;
    }
    struct halves h;
    halves_split(&h, sealed, len);
    for (uint8_t pass = 4; pass >= 1; pass--)
        halves_pass(lb, &h, pass);
    halves_join(&h, sealed);
}

/* ---- IDs ---- */

void quic_lb_encode(struct quic_lb *lb, const uint8_t *nonce, uint8_t random, struct quic_cid *cid) {
    const struct quic_lb_config *c = &lb->config;
    uint8_t plain = (uint8_t)(c->server_id_len + c->nonce_len);
    *cid = (struct quic_cid){.len = (uint8_t)(1 + plain)};
    uint8_t low = c->encode_length ? plain : random & LENGTH_MASK;
    cid->id[0] = (uint8_t)(c->rotation << ROTATION_SHIFT | low);
    memcpy(cid->id + 1, c->server_id, c->server_id_len);
    memcpy(cid->id + 1 + c->server_id_len, nonce, c->nonce_len);
    if (lb->block)
        lb_encrypt(lb, cid->id + 1, plain);
}

bool quic_lb_decode(struct quic_lb *lb, const uint8_t *id, size_t len, uint8_t *server_id, uint8_t *nonce) {
    const struct quic_lb_config *c = &lb->config;
    uint8_t plain[QUIC_LB_PLAIN_MAX], count = (uint8_t)(c->server_id_len + c->nonce_len);
    if (len < 1u + count || id[0] >> ROTATION_SHIFT != c->rotation)
        return false;
    memcpy(plain, id + 1, count);
    if (lb->block)
        lb_decrypt(lb, plain, count);
    memcpy(server_id, plain, c->server_id_len);
    if (nonce)
        memcpy(nonce, plain + c->server_id_len, c->nonce_len);
    return true;
}
