/* fuzz_token.c - tokens in a client's first Initial, of a server that insists on them.
 *
 * The first byte says what the rest is: a token as it comes, or what a token holds - then it is sealed with the fleet's
 * secret, as a Retry token or one for later, and changed by one bit if the byte says so. Only what was made for this
 * address, this version, in time, may make a connection; all else is answered by Retry, or by a refusal.
 */
#include "peers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct peers peers;

static size_t make_token(uint8_t how, const uint8_t *data, size_t size, uint8_t *out) {
    struct quic_endpoint *endpoint = &peers.sides[CRYPTO_SERVER].endpoint;
    size_t len = 0;
    if (how % 3 == 0) {
        len = size < CRYPTO_TOKEN_MAX ? size : CRYPTO_TOKEN_MAX;
        memcpy(out, data, len);
        return len;
    }
    len = crypto_token_seal(endpoint->fleet, &endpoint->random, how % 3, NULL, 0, data, size, out, CRYPTO_TOKEN_MAX);
    if (len && how & 0x80)
        out[how % len] ^= 1;
    return len;
}

/* An Initial with this token, well sealed, but without a ClientHello in it. */
static size_t make_initial(uint8_t *packet, const uint8_t *token, size_t token_len) {
    static const struct quic_cid dcid = {.len = 8, .id = "whither"}, scid = {.len = 4, .id = "from"};
    struct base_mem *mem = &peers.sides[CRYPTO_CLIENT].mem;
    struct crypto_secret client, server;
    peers_require(crypto_initial_secrets(CRYPTO_QUIC_V1, dcid.id, dcid.len, &client, &server));
    struct crypto_key *key = crypto_key_new(mem, CRYPTO_QUIC_V1, &client);
    struct crypto_mask_key *mask = crypto_mask_key_new(mem, CRYPTO_QUIC_V1, &client);
    struct base_writer w = base_writer_of(packet, QUIC_MIN_INITIAL);
    uint8_t *length_at;
    quic_header_write_long(&w, QUIC_VERSION_1, QUIC_PACKET_INITIAL, 4, &dcid, &scid, token, token_len, &length_at);
    size_t pn_offset = (size_t)(w.pos - packet);
    base_write_u32(&w, 0);
    quic_frame_write_type(&w, QUIC_FRAME_PING);
    memset(w.pos, 0, (size_t)(packet + QUIC_MIN_INITIAL - w.pos));
    quic_header_patch_length(length_at, QUIC_MIN_INITIAL - pn_offset);
    struct crypto_seal_item item = {
        .packet = packet, .len = QUIC_MIN_INITIAL, .pn_offset = (uint16_t)pn_offset, .pn_len = 4};
    peers_require(crypto_seal(key, mask, &item, 1));
    crypto_key_free(mem, key);
    crypto_mask_key_free(mem, mask);
    return QUIC_MIN_INITIAL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t token[CRYPTO_TOKEN_MAX], packet[QUIC_MIN_INITIAL];
    if (!size)
        return 0;
    peers_open(&peers);
    struct peer *server = &peers.sides[CRYPTO_SERVER];
    server->config.options.address_validation = 1;
    size_t len = make_token(data[0], data + 1, size - 1, token);
    peers_input(&peers, CRYPTO_SERVER, packet, make_initial(packet, token, len));
    peers_settle(&peers);
    bool sealed = data[0] % 3 != 0 && !(data[0] & 0x80);
    peers_require(sealed || server->endpoint.conn_count == 0);
    unsigned answers = 0;
    for (; answers < 10 && peers_carry(&peers, CRYPTO_SERVER, 1, false); answers++)
        peers_require(server->train.len <= 3 * QUIC_MIN_INITIAL);
    peers_require(answers > 0);
    peers_close(&peers);
    return 0;
}
