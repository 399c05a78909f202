/* params.h - transport parameters (RFC 9000 section 18): bytes to struct, struct to bytes, and what may stand in
 * them. */
#ifndef QUIC_PARAMS_H
#define QUIC_PARAMS_H

#include "base/cursor.h"
#include "base/random.h"
#include "quic/types.h"

struct quic_preferred_address {
    struct quic_addr v4, v6; /* family 0 = not given */
    struct quic_cid cid;
    uint8_t reset_token[16];
};

#define QUIC_PARAMS_VERSIONS 8
#define QUIC_NO_MIN_ACK_DELAY UINT64_MAX

struct quic_params {
    uint64_t max_idle_timeout; /* ms, 0 = none */
    uint64_t max_udp_payload_size;
    uint64_t initial_max_data;
    uint64_t initial_max_stream_data_bidi_local;
    uint64_t initial_max_stream_data_bidi_remote;
    uint64_t initial_max_stream_data_uni;
    uint64_t initial_max_streams_bidi;
    uint64_t initial_max_streams_uni;
    uint64_t ack_delay_exponent;
    uint64_t max_ack_delay; /* ms */
    uint64_t active_connection_id_limit;
    uint64_t max_datagram_frame_size; /* RFC 9221; 0 = none */
    bool disable_active_migration;
    bool has_original_dcid, has_initial_scid, has_retry_scid, has_reset_token, has_preferred_address;
    struct quic_cid original_dcid, initial_scid, retry_scid;
    uint8_t reset_token[16];
    struct quic_preferred_address preferred_address;
    uint32_t chosen_version; /* RFC 9368; 0 = not given */
    uint32_t available_versions[QUIC_PARAMS_VERSIONS];
    uint8_t available_count;
    bool grease_quic_bit;   /* RFC 9287 */
    bool reset_stream_at;   /* draft-ietf-quic-reliable-stream-reset: RESET_STREAM_AT may come */
    uint64_t min_ack_delay; /* draft-ietf-quic-ack-frequency: us; QUIC_NO_MIN_ACK_DELAY = not spoken */
};

void quic_params_init(struct quic_params *params); /* the RFC's defaults for absent parameters */
/* Encodes what differs from the defaults, every value being in its range. `role`: ours; a client has no server-only
 * parameters. `grease`: adds one reserved parameter (31 * N + 27) with random content; may be NULL. Returns the
 * length, 0 if it does not fit. */
size_t quic_params_write(const struct quic_params *params, enum crypto_role role, const struct base_random *grease,
                         uint8_t *out, size_t capacity);
/* Decodes what a peer in `role` sent; starts from the defaults. 0 or TRANSPORT_PARAMETER_ERROR: cut short, duplicate
 * (of a known ID or of one of the first 64 unknown ones), value out of its range, a server-only parameter from a
 * client; *text (static) names which, or is NULL. Of available_versions those we speak are kept before others. */
enum quic_error quic_params_parse(const uint8_t *data, size_t len, enum crypto_role role, struct quic_params *params,
                                  const char **text);

#endif
