/* lb.c - QUIC-LB through the ABI: an engine whose connection IDs a load balancer can read, and the reading.
 *
 * Knows how weft_quic_lb and the core's configuration correspond. The format is core/quic/lb.c's.
 *
 * The invariant that matters: reading an ID needs no engine, so a load balancer may do it anywhere.
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

int32_t weft_quic_lb_decode(const weft_quic_lb *lb, const void *cid, size_t len, uint8_t *server_id, uint8_t *nonce) {
    struct quic_lb_config config;
    if (!cid || !server_id)
        return WEFT_E_INVALID;
    if (!abi_start())
        return WEFT_E_INTERNAL;
    int32_t error = lb_config(lb, &config);
    if (error)
        return error;
    struct base_mem mem;
    base_mem_init(&mem, 0);
    struct quic_lb *made = quic_lb_new(&mem, &config);
    crypto_wipe(&config, sizeof config);
    if (!made)
        return WEFT_E_NOMEM;
    bool good = quic_lb_decode(made, (const uint8_t *)cid, len, server_id, nonce);
    quic_lb_free(&mem, made);
    return good ? WEFT_OK : WEFT_E_VALUE;
}
