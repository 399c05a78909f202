/* lb.c - what a fleet behind a load balancer shares, through the ABI: an engine whose connection IDs can be read
 * (QUIC-LB), the reading and making of such IDs, and the tokens of stateless resets.
 *
 * Knows how weft_quic_lb and the core's configuration correspond. The formats are core/quic/lb.c's and
 * core/crypto/token.c's.
 *
 * The invariant that matters: an ID alone needs no engine, so a load balancer or an operator may ask anywhere. Copies
 * of keys and secrets are wiped.
 */
#include "abi.h"

#include "quic/lb.h"

static int32_t lb_config(const weft_quic_lb *from, struct quic_lb_config *config) {
    static const uint8_t none[sizeof from->reserved];
    weft_quic_lb lb;
    int32_t error = from ? abi_params(&lb, from, sizeof lb) : WEFT_E_INVALID;
    if (!error && memcmp(lb.reserved, none, sizeof none) != 0)
        error = WEFT_E_UNSUPPORTED;
    if (error)
        return error;
    *config = (struct quic_lb_config){.rotation = lb.rotation,
                                      .server_id_len = lb.server_id_len,
                                      .nonce_len = lb.nonce_len,
                                      .encode_length = lb.encode_length != 0,
                                      .encrypted = lb.encrypted != 0};
    if (quic_lb_check(config) || lb.encode_length > 1 || lb.encrypted > 1) {
        error = WEFT_E_INVALID;
    } else {
        memcpy(config->server_id, lb.server_id, config->server_id_len);
        memcpy(config->key, lb.key, sizeof config->key);
    }
    crypto_wipe(&lb, sizeof lb);
    return error;
}

int32_t weft_engine_set_quic_lb(weft_engine engine, const weft_quic_lb *lb) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    struct quic_lb_config config;
    if (!own)
        return error;
    error = lb_config(lb, &config);
    if (!error)
        error = quic_endpoint_set_lb(&own->loop.endpoint, &config);
    crypto_wipe(&config, sizeof config);
    return error;
}

/* What lasts for one call. */
static int32_t lb_open(const weft_quic_lb *lb, struct base_mem *mem, struct quic_lb **made) {
    struct quic_lb_config config;
    if (!abi_start())
        return WEFT_E_INTERNAL;
    int32_t error = lb_config(lb, &config);
    if (error)
        return error;
    base_mem_init(mem, 0);
    *made = quic_lb_new(mem, &config);
    crypto_wipe(&config, sizeof config);
    return *made ? WEFT_OK : WEFT_E_NOMEM;
}

int32_t weft_quic_lb_decode(const weft_quic_lb *lb, const void *cid, size_t len, uint8_t *server_id, uint8_t *nonce) {
    struct base_mem mem;
    struct quic_lb *made;
    int32_t error = cid && server_id ? lb_open(lb, &mem, &made) : WEFT_E_INVALID;
    if (error)
        return error;
    bool good = quic_lb_decode(made, (const uint8_t *)cid, len, server_id, nonce);
    quic_lb_free(&mem, made);
    return good ? WEFT_OK : WEFT_E_VALUE;
}

int32_t weft_quic_lb_encode(const weft_quic_lb *lb, const void *nonce, uint8_t *cid) {
    struct base_mem mem;
    struct quic_lb *made;
    struct quic_cid id;
    uint8_t random;
    int32_t error = nonce && cid ? lb_open(lb, &mem, &made) : WEFT_E_INVALID;
    if (error)
        return error;
    error = crypto_random(&random, sizeof random) ? WEFT_OK : WEFT_E_INTERNAL;
    if (!error) {
        quic_lb_encode(made, (const uint8_t *)nonce, random, &id);
        memcpy(cid, id.id, id.len);
    }
    quic_lb_free(&mem, made);
    return error ? error : id.len;
}

int32_t weft_fleet_reset_token(const void *fleet_secret, const void *cid, size_t len, uint8_t *token) {
    if (!fleet_secret || (!cid && len) || len > QUIC_CID_MAX || !token)
        return WEFT_E_INVALID;
    if (!abi_start())
        return WEFT_E_INTERNAL;
    struct base_mem mem;
    base_mem_init(&mem, 0);
    struct crypto_fleet *fleet = crypto_fleet_new(&mem, (const uint8_t *)fleet_secret);
    if (!fleet)
        return WEFT_E_NOMEM;
    crypto_reset_token(fleet, 0, len ? (const uint8_t *)cid : (const uint8_t *)"", len, token);
    crypto_fleet_free(&mem, fleet);
    return WEFT_OK;
}
