/* params.c - transport parameters: RFC 9000 sections 7.4 and 18, RFC 9221 section 3, RFC 9287 section 3, RFC 9368
 * section 3, and the drafts ietf-quic-ack-frequency and ietf-quic-reliable-stream-reset.
 *
 * Knows which parameters there are, how each is laid out and which values are allowed in it. Does not know the
 * connection: whether an ID in here is the one that was used, or whether a remembered 0-RTT limit was lowered, is the
 * connection's to check.
 *
 * One row a parameter; reader and writer go through the same rows. The invariant that matters: a struct that was
 * parsed without error holds only values the RFCs allow, so nobody else checks a range.
 */
#include "quic/params.h"

#define RESET_TOKEN_SIZE 16u
#define UNKNOWN_REMEMBERED 64u
#define GREASE_MAX 16u /* bytes of content */
#define GREASE_ID(n) (UINT64_C(31) * (n) + 27)

enum param_kind { PARAM_INTEGER, PARAM_FLAG, PARAM_CID, PARAM_TOKEN, PARAM_ADDRESS, PARAM_VERSIONS };

struct param {
    uint64_t id;
    const char *wrong, *twice, *from_client; /* texts for a person */
    uint64_t standard, least, greatest;      /* INTEGER only; `standard` is what absence means */
    size_t field, has;                       /* offsets into struct quic_params */
    enum param_kind kind;
    bool server_only;
};

#define TEXTS(name, rule)                                                               \
    "transport parameter " #name " " rule, "transport parameter " #name " given twice", \
        "transport parameter " #name " sent by a client"
#define INTEGER(id, name, standard, least, greatest, rule) \
    { id, TEXTS(name, rule), standard, least, greatest, offsetof(struct quic_params, name), 0, PARAM_INTEGER, false }
#define FLAG(id, name) \
    { id, TEXTS(name, "has a value"), 0, 0, 0, offsetof(struct quic_params, name), 0, PARAM_FLAG, false }
#define RECORD(id, name, kind, field, has, server_only, rule)                                                         \
    {                                                                                                                 \
        id, TEXTS(name, rule), 0, 0, 0, offsetof(struct quic_params, field), offsetof(struct quic_params, has), kind, \
            server_only                                                                                               \
    }

static const struct param params_known[] = {
    RECORD(0x00, original_destination_connection_id, PARAM_CID, original_dcid, has_original_dcid, true,
           "is over 20 bytes"),
    INTEGER(0x01, max_idle_timeout, 0, 0, BASE_VARINT_MAX, "is not one integer"),
    RECORD(0x02, stateless_reset_token, PARAM_TOKEN, reset_token, has_reset_token, true, "is not 16 bytes"),
    INTEGER(0x03, max_udp_payload_size, 65527, 1200, BASE_VARINT_MAX, "is not one integer of at least 1200"),
    INTEGER(0x04, initial_max_data, 0, 0, BASE_VARINT_MAX, "is not one integer"),
    INTEGER(0x05, initial_max_stream_data_bidi_local, 0, 0, BASE_VARINT_MAX, "is not one integer"),
    INTEGER(0x06, initial_max_stream_data_bidi_remote, 0, 0, BASE_VARINT_MAX, "is not one integer"),
    INTEGER(0x07, initial_max_stream_data_uni, 0, 0, BASE_VARINT_MAX, "is not one integer"),
    INTEGER(0x08, initial_max_streams_bidi, 0, 0, QUIC_MAX_STREAMS, "is not one integer of at most 2^60"),
    INTEGER(0x09, initial_max_streams_uni, 0, 0, QUIC_MAX_STREAMS, "is not one integer of at most 2^60"),
    INTEGER(0x0a, ack_delay_exponent, 3, 0, 20, "is not one integer of at most 20"),
    INTEGER(0x0b, max_ack_delay, 25, 0, (1 << 14) - 1, "is not one integer below 2^14"),
    FLAG(0x0c, disable_active_migration),
    RECORD(0x0d, preferred_address, PARAM_ADDRESS, preferred_address, has_preferred_address, true,
           "is cut short, too long or without connection ID"),
    INTEGER(0x0e, active_connection_id_limit, 2, 2, BASE_VARINT_MAX, "is not one integer of at least 2"),
    RECORD(0x0f, initial_source_connection_id, PARAM_CID, initial_scid, has_initial_scid, false, "is over 20 bytes"),
    RECORD(0x10, retry_source_connection_id, PARAM_CID, retry_scid, has_retry_scid, true, "is over 20 bytes"),
    RECORD(0x11, version_information, PARAM_VERSIONS, chosen_version, chosen_version, false,
           "is not a list of versions, or has version 0, or a client's lacks its chosen version"),
    INTEGER(0x20, max_datagram_frame_size, 0, 0, BASE_VARINT_MAX, "is not one integer"),
    FLAG(0x2ab2, grease_quic_bit),
    INTEGER(0xff04de1b, min_ack_delay, QUIC_NO_MIN_ACK_DELAY, 0, BASE_VARINT_MAX, "is not one integer"),
    FLAG(0x17f7586d2cb571, reset_stream_at),
};
#define PARAMS_KNOWN (sizeof params_known / sizeof *params_known)

static inline void *field_of(struct quic_params *params, size_t offset) { return (uint8_t *)params + offset; }

static inline const void *field_in(const struct quic_params *params, size_t offset) {
    return (const uint8_t *)params + offset;
}

void quic_params_init(struct quic_params *params) {
    memset(params, 0, sizeof *params);
    for (size_t i = 0; i < PARAMS_KNOWN; i++)
        if (params_known[i].kind == PARAM_INTEGER)
            *(uint64_t *)field_of(params, params_known[i].field) = params_known[i].standard;
}

/* ---- reading -------------------------------------------------------------------------------------------------- */

/* An address of one family; family 0 when it is not given (all zero, 18.2) or nothing could be sent to it: no port,
 * or IPv4 in the guise of IPv6. */
static struct quic_addr read_address(struct base_reader *in, uint8_t family) {
    static const uint8_t nowhere[16], mapped[12] = {[10] = 0xff, [11] = 0xff};
    const size_t len = family == 4 ? 4 : 16;
    struct quic_addr addr = {.family = family};
    const uint8_t *ip = base_read_bytes(in, len);
    addr.port = base_read_u16(in);
    if (in->bad || addr.port == 0 || memcmp(ip, nowhere, len) == 0)
        return (struct quic_addr){0};
    if (family == 6 && memcmp(ip, mapped, sizeof mapped) == 0)
        return (struct quic_addr){0};
    memcpy(addr.ip, ip, len);
    return addr;
}

static bool read_preferred_address(struct base_reader *in, struct quic_preferred_address *preferred) {
    preferred->v4 = read_address(in, 4);
    preferred->v6 = read_address(in, 6);
    preferred->cid.len = base_read_u8(in);
    if (preferred->cid.len < 1 || preferred->cid.len > QUIC_CID_MAX)
        return false;
    const uint8_t *id = base_read_bytes(in, preferred->cid.len);
    const uint8_t *token = base_read_bytes(in, RESET_TOKEN_SIZE);
    if (!token)
        return false;
    memcpy(preferred->cid.id, id, preferred->cid.len);
    memcpy(preferred->reset_token, token, RESET_TOKEN_SIZE);
    return true;
}

/* Chosen Version, then Available Versions (RFC 9368 section 3). The list may be longer than what is kept; versions we
 * do not speak are the first to be left out. */
static bool read_versions(struct base_reader *in, enum crypto_role role, struct quic_params *params) {
    bool listed = role == CRYPTO_SERVER; /* a client must list the version it chose */
    params->chosen_version = base_read_u32(in);
    if (params->chosen_version == 0 || base_reader_left(in) % 4 != 0)
        return false;
    while (base_reader_left(in) > 0) {
        uint32_t version = base_read_u32(in);
        if (version == 0)
            return false;
        listed |= version == params->chosen_version;
        bool ours = version == QUIC_VERSION_1 || version == QUIC_VERSION_2;
        if (params->available_count < (ours ? QUIC_PARAMS_VERSIONS : QUIC_PARAMS_VERSIONS - 2))
            params->available_versions[params->available_count++] = version;
    }
    return listed;
}

/* One parameter's value, all of which must be used up. */
static bool read_value(const struct param *param, struct base_reader *in, enum crypto_role role,
                       struct quic_params *params) {
    size_t len = base_reader_left(in);
    void *field = field_of(params, param->field);
    if (param->kind == PARAM_INTEGER) {
        uint64_t value = base_read_varint(in);
        *(uint64_t *)field = value;
        return !in->bad && base_reader_left(in) == 0 && value >= param->least && value <= param->greatest;
    }
    if (param->kind == PARAM_FLAG) {
        *(bool *)field = true;
        return len == 0;
    }
    if (param->kind == PARAM_VERSIONS)
        return read_versions(in, role, params);
    *(bool *)field_of(params, param->has) = true;
    if (param->kind == PARAM_ADDRESS)
        return read_preferred_address(in, field) && base_reader_left(in) == 0;
    if (param->kind == PARAM_TOKEN) {
        if (len == RESET_TOKEN_SIZE)
            memcpy(field, in->pos, RESET_TOKEN_SIZE);
        return len == RESET_TOKEN_SIZE;
    }
    struct quic_cid *cid = field;
    if (len > QUIC_CID_MAX)
        return false;
    cid->len = (uint8_t)len;
    if (len)
        memcpy(cid->id, in->pos, len);
    return true;
}

/* IDs met so far. Unknown ones are remembered up to a number no honest peer comes near, so that a hostile one cannot
 * make the search long. */
struct seen {
    uint32_t known; /* a bit a row of params_known */
    unsigned unknown_count;
    uint64_t unknown[UNKNOWN_REMEMBERED];
};

static bool seen_unknown(struct seen *seen, uint64_t id) {
    for (unsigned i = 0; i < seen->unknown_count; i++)
        if (seen->unknown[i] == id)
            return true;
    if (seen->unknown_count < UNKNOWN_REMEMBERED)
        seen->unknown[seen->unknown_count++] = id;
    return false;
}

static const struct param *param_find(uint64_t id) {
    for (size_t i = 0; i < PARAMS_KNOWN; i++)
        if (params_known[i].id == id)
            return &params_known[i];
    return NULL;
}

/* One parameter. NULL, or what is wrong with it. */
static const char *read_param(struct base_reader *in, struct seen *seen, enum crypto_role role,
                              struct quic_params *params) {
    uint64_t id = base_read_varint(in);
    uint64_t len = base_read_varint(in);
    if (in->bad || len > base_reader_left(in))
        return "transport parameters are cut short";
    struct base_reader value = base_reader_of(base_read_bytes(in, (size_t)len), (size_t)len);
    const struct param *param = param_find(id);
    if (!param)
        return seen_unknown(seen, id) ? "an unknown transport parameter given twice" : NULL;
    uint32_t bit = UINT32_C(1) << (param - params_known);
    if (seen->known & bit)
        return param->twice;
    seen->known |= bit;
    if (param->server_only && role == CRYPTO_CLIENT)
        return param->from_client;
    return read_value(param, &value, role, params) ? NULL : param->wrong;
}

enum quic_error quic_params_parse(const uint8_t *data, size_t len, enum crypto_role role, struct quic_params *params,
                                  const char **text) {
    static_assert(PARAMS_KNOWN <= 32, "one bit a row");
    struct base_reader in = base_reader_of(data, len);
    struct seen seen;
    seen.known = 0;
    seen.unknown_count = 0;
    quic_params_init(params);
    *text = NULL;
    while (!*text && base_reader_left(&in) > 0)
        *text = read_param(&in, &seen, role, params);
    if (!*text && params->has_preferred_address && params->has_initial_scid && params->initial_scid.len == 0)
        *text = "transport parameter preferred_address from a server with an empty connection ID";
    if (!*text && params->min_ack_delay != QUIC_NO_MIN_ACK_DELAY &&
        params->min_ack_delay > params->max_ack_delay * 1000)
        *text = "transport parameter min_ack_delay is above max_ack_delay";
    return *text ? QUIC_TRANSPORT_PARAMETER_ERROR : QUIC_NO_ERROR;
}

/* ---- writing -------------------------------------------------------------------------------------------------- */

static void write_address(struct base_writer *out, const struct quic_addr *addr, size_t len) {
    base_write_bytes(out, addr->ip, len); /* all zero when not given */
    base_write_u16(out, addr->port);
}

static void write_preferred_address(struct base_writer *out, const struct quic_preferred_address *preferred) {
    static const struct quic_addr none;
    const struct quic_cid *cid = &preferred->cid;
    assert(cid->len >= 1 && cid->len <= QUIC_CID_MAX);
    base_write_varint(out, 4 + 2 + 16 + 2 + 1 + (size_t)cid->len + RESET_TOKEN_SIZE);
    write_address(out, preferred->v4.family ? &preferred->v4 : &none, 4);
    write_address(out, preferred->v6.family ? &preferred->v6 : &none, 16);
    base_write_u8(out, cid->len);
    base_write_bytes(out, cid->id, cid->len);
    base_write_bytes(out, preferred->reset_token, RESET_TOKEN_SIZE);
}

static void write_versions(struct base_writer *out, const struct quic_params *params) {
    base_write_varint(out, 4 + 4 * (size_t)params->available_count);
    base_write_u32(out, params->chosen_version);
    for (unsigned i = 0; i < params->available_count; i++)
        base_write_u32(out, params->available_versions[i]);
}

/* What is absent says the same as its default, so defaults are not written. */
static bool is_present(const struct param *param, const struct quic_params *params) {
    if (param->kind == PARAM_INTEGER)
        return *(const uint64_t *)field_in(params, param->field) != param->standard;
    if (param->kind == PARAM_FLAG)
        return *(const bool *)field_in(params, param->field);
    if (param->kind == PARAM_VERSIONS)
        return params->chosen_version != 0;
    return *(const bool *)field_in(params, param->has);
}

static void write_value(struct base_writer *out, const struct param *param, const struct quic_params *params) {
    const void *field = field_in(params, param->field);
    if (param->kind == PARAM_INTEGER) {
        uint64_t value = *(const uint64_t *)field;
        assert(value >= param->least && value <= param->greatest);
        base_write_varint(out, base_varint_size(value));
        base_write_varint(out, value);
    } else if (param->kind == PARAM_FLAG) {
        base_write_varint(out, 0);
    } else if (param->kind == PARAM_CID) {
        const struct quic_cid *cid = field;
        base_write_varint(out, cid->len);
        base_write_bytes(out, cid->id, cid->len);
    } else if (param->kind == PARAM_TOKEN) {
        base_write_varint(out, RESET_TOKEN_SIZE);
        base_write_bytes(out, field, RESET_TOKEN_SIZE);
    } else if (param->kind == PARAM_ADDRESS) {
        write_preferred_address(out, field);
    } else {
        write_versions(out, params);
    }
}

/* A reserved parameter (18.1) that every peer must ignore, so that peers learn to. */
static void write_grease(struct base_writer *out, const struct base_random *random) {
    uint8_t content[GREASE_MAX];
    uint64_t pick = base_random_u64(random);
    size_t len = pick % (GREASE_MAX + 1);
    base_random_fill(random, content, sizeof content);
    base_write_varint(out, GREASE_ID((pick >> 8) % ((BASE_VARINT_MAX - 27) / 31 + 1)));
    base_write_varint(out, len);
    base_write_bytes(out, content, len);
}

size_t quic_params_write(const struct quic_params *params, enum crypto_role role, const struct base_random *grease,
                         uint8_t *out, size_t capacity) {
    struct base_writer w = base_writer_of(out, capacity);
    for (size_t i = 0; i < PARAMS_KNOWN; i++) {
        const struct param *param = &params_known[i];
        if (!is_present(param, params))
            continue;
        assert(role == CRYPTO_SERVER || !param->server_only);
        base_write_varint(&w, param->id);
        write_value(&w, param, params);
    }
    if (grease)
        write_grease(&w, grease);
    (void)role; /* checked only */
    return w.bad ? 0 : (size_t)(w.pos - out);
}
