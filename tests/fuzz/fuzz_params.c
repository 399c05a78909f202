/* fuzz_params.c - any bytes as transport parameters: nothing is read beyond them, what is accepted holds to the limits,
 * and says the same when it is written and read again. The first byte is the peer's role. */
#include <stdlib.h>

#include "quic/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds) {
    if (!holds)
        abort();
}

static void check(const struct quic_params *params, enum crypto_role role) {
    require(params->max_udp_payload_size >= 1200 && params->ack_delay_exponent <= 20 &&
            params->max_ack_delay < 1 << 14);
    require(params->active_connection_id_limit >= 2);
    require(params->initial_max_streams_bidi <= QUIC_MAX_STREAMS &&
            params->initial_max_streams_uni <= QUIC_MAX_STREAMS);
    require(params->original_dcid.len <= QUIC_CID_MAX && params->initial_scid.len <= QUIC_CID_MAX);
    require(params->retry_scid.len <= QUIC_CID_MAX && params->available_count <= QUIC_PARAMS_VERSIONS);
    if (role == CRYPTO_CLIENT)
        require(!params->has_original_dcid && !params->has_retry_scid && !params->has_reset_token &&
                !params->has_preferred_address);
    if (params->has_preferred_address)
        require(params->preferred_address.cid.len >= 1 && params->preferred_address.cid.len <= QUIC_CID_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    enum crypto_role role = data[0] & 1 ? CRYPTO_SERVER : CRYPTO_CLIENT;
    struct quic_params params;
    const char *text;
    enum quic_error error = quic_params_parse(data + 1, size - 1, role, &params, &text);
    require((error != QUIC_NO_ERROR) == (text != NULL));
    if (error) {
        require(error == QUIC_TRANSPORT_PARAMETER_ERROR && text[0] != 0);
        return 0;
    }
    check(&params, role);
    uint8_t out[1024], again[1024];
    size_t len = quic_params_write(&params, role, NULL, out, sizeof out);
    struct quic_params second;
    if (quic_params_parse(out, len, role, &second, &text)) {
        require(params.chosen_version !=
                0); /* a client's choice may have been listed behind the versions that are kept */
        return 0;
    }
    size_t again_len = quic_params_write(&second, role, NULL, again, sizeof again);
    require(again_len == len && memcmp(again, out, len) == 0);
    return 0;
}
