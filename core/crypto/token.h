/* token.h - what a server seals for its future self: address tokens and stateless reset tokens.
 *
 * One fleet secret makes all of them, so a restarted server, or another server of the fleet, recognises what a first
 * one issued. Tokens are sealed with AES-256-GCM under a key derived from the fleet secret and a random nonce; the
 * fleet may hold a previous secret beside the present one, so that secrets rotate without refusing anybody.
 *
 * Invariant: a token of one use is never valid for another (the use is authenticated).
 */
#ifndef CRYPTO_TOKEN_H
#define CRYPTO_TOKEN_H

#include "base/random.h"
#include "keys.h"

#define CRYPTO_FLEET_SECRET_SIZE 32u
#define CRYPTO_RESET_TOKEN_SIZE 16u
#define CRYPTO_TOKEN_OVERHEAD 29u /* secret id (1) + nonce (12) + tag (16) */
#define CRYPTO_TOKEN_MAX 256u

struct crypto_fleet; /* expanded keys of the present and the previous secret */

struct crypto_fleet *crypto_fleet_new(struct base_mem *mem, const uint8_t secret[CRYPTO_FLEET_SECRET_SIZE]);
/* The present secret becomes the previous one. */
bool crypto_fleet_rotate(struct crypto_fleet *fleet, const uint8_t secret[CRYPTO_FLEET_SECRET_SIZE]);
void crypto_fleet_free(struct base_mem *mem, struct crypto_fleet *fleet);

/* Seals `plain` for one `use` (a domain number), authenticating `bound` (for instance the client's address) with it.
 * Returns the token's length (plain_len + CRYPTO_TOKEN_OVERHEAD), or 0 when it does not fit into `capacity`. */
size_t crypto_token_seal(struct crypto_fleet *fleet, const struct base_random *random, uint8_t use, const void *bound,
                         size_t bound_len, const void *plain, size_t plain_len, uint8_t *token, size_t capacity);
/* Opens a token; returns the plaintext's length or -1 when it is not ours, not for this use, or not bound to this. */
int32_t crypto_token_open(struct crypto_fleet *fleet, uint8_t use, const void *bound, size_t bound_len,
                          const uint8_t *token, size_t token_len, uint8_t *plain, size_t capacity);

/* The stateless reset token of a connection ID (RFC 9000 10.3.2), from the present secret (age 0) or the previous (1).
 */
void crypto_reset_token(struct crypto_fleet *fleet, unsigned age, const uint8_t *cid, size_t cid_len,
                        uint8_t token[CRYPTO_RESET_TOKEN_SIZE]);

/* One block of AES-128 under a key derived from the present fleet secret: hides what a connection ID contains. */
void crypto_fleet_scramble(struct crypto_fleet *fleet, const uint8_t in[16], uint8_t out[16]);
void crypto_fleet_unscramble(struct crypto_fleet *fleet, const uint8_t in[16], uint8_t out[16]);

#endif
