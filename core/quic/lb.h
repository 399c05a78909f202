/* lb.h - connection IDs that load balancers can read: QUIC-LB (draft-ietf-quic-load-balancers-21).
 *
 *     first octet: 3 bits of config rotation, 5 bits length - 1 or random | server ID | nonce
 *
 * A load balancer that shares the configuration finds the server in every ID, whatever address a client has moved to.
 * With a key, server ID and nonce are encrypted together: as one block of AES when they are 16 bytes, else by four
 * rounds of a Feistel network whose round function is AES. Without one they are readable by everybody, and IDs of a
 * connection can be told to belong to one server.
 *
 * Rotation bits 7 stand for IDs that cannot be routed; we make none.
 *
 * Invariant: what encode made, decode gives back; and two different (server ID, nonce) never have the same ID.
 */
#ifndef QUIC_LB_H
#define QUIC_LB_H

#include "base/mem.h"
#include "quic/types.h"

#define QUIC_LB_ROTATIONS 7u /* 0 to 6 */
#define QUIC_LB_SERVER_MAX 15u
#define QUIC_LB_NONCE_LEAST 4u
#define QUIC_LB_PLAIN_MAX 19u /* server ID and nonce together */

struct quic_lb_config {
    uint8_t rotation;      /* 0 to 6 */
    uint8_t server_id_len; /* 1 to 15 */
    uint8_t nonce_len;     /* at least 4; with server_id_len 19 at most */
    bool encode_length;    /* the first octet's low bits are the length of the rest, or random */
    bool encrypted;
    uint8_t server_id[QUIC_LB_SERVER_MAX];
    uint8_t key[16];
};

struct quic_lb; /* a configuration whose key is expanded */

/* NULL, or what is wrong with it. */
const char *quic_lb_check(const struct quic_lb_config *config);
/* The configuration must be good. NULL: out of memory. */
struct quic_lb *quic_lb_new(struct base_mem *mem, const struct quic_lb_config *config);
void quic_lb_free(struct base_mem *mem, struct quic_lb *lb);

static inline uint8_t quic_lb_cid_len(const struct quic_lb_config *config) {
    return (uint8_t)(1 + config->server_id_len + config->nonce_len);
}
const struct quic_lb_config *quic_lb_config_of(const struct quic_lb *lb);

/* The ID of this server with this nonce (nonce_len bytes); `random`: for the first octet. */
void quic_lb_encode(struct quic_lb *lb, const uint8_t *nonce, uint8_t random, struct quic_cid *cid);
/* The server ID and the nonce in an ID of this configuration (both sized as the configuration says; nonce may be NULL).
 * False: it is of another rotation, or too short. Bytes behind the nonce are not looked at. */
bool quic_lb_decode(struct quic_lb *lb, const uint8_t *id, size_t len, uint8_t *server_id, uint8_t *nonce);

#endif
