/* test_params.c - transport parameters there and back, and every limit of RFC 9000 section 18.2, RFC 9221, 9287 and
 * 9368. */
#include "quic/params.h"

#include "hex.h"

static void fill(void *user, uint8_t *out, size_t len) {
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)roll(user);
}

static enum quic_error parse_as(enum crypto_role role, const char *text, struct quic_params *params, const char **why) {
    struct bytes bytes = hex(text);
    enum quic_error error = quic_params_parse(bytes.at, bytes.len, role, params, why);
    free(bytes.at);
    ck_assert_int_eq(error != QUIC_NO_ERROR, *why != NULL);
    return error;
}

START_TEST(defaults)
{
    struct quic_params params;
    const char *why;
    ck_assert_int_eq(parse_as(CRYPTO_CLIENT, "", &params, &why), QUIC_NO_ERROR);
    ck_assert_int_eq(quic_params_parse(NULL, 0, CRYPTO_CLIENT, &params, &why), QUIC_NO_ERROR);
    ck_assert_uint_eq(params.max_idle_timeout, 0);
    ck_assert_uint_eq(params.max_udp_payload_size, 65527);
    ck_assert_uint_eq(params.initial_max_data, 0);
    ck_assert_uint_eq(params.initial_max_streams_bidi, 0);
    ck_assert_uint_eq(params.ack_delay_exponent, 3);
    ck_assert_uint_eq(params.max_ack_delay, 25);
    ck_assert_uint_eq(params.active_connection_id_limit, 2);
    ck_assert_uint_eq(params.max_datagram_frame_size, 0);
    ck_assert(!params.disable_active_migration && !params.grease_quic_bit && !params.has_initial_scid);
    ck_assert(!params.has_preferred_address && params.chosen_version == 0 && params.available_count == 0);
    uint8_t out[8];
    ck_assert_uint_eq(quic_params_write(&params, CRYPTO_CLIENT, NULL, out, sizeof out), 0); /* nothing differs */
}
END_TEST

static struct quic_cid cid_of(uint8_t len, uint8_t first) {
    struct quic_cid cid = {.len = len};
    for (uint8_t i = 0; i < len; i++)
        cid.id[i] = (uint8_t)(first + i);
    return cid;
}

/* Every parameter, each with a value of its own. */
static void everything(struct quic_params *p, enum crypto_role role) {
    quic_params_init(p);
    p->max_idle_timeout = 30000;
    p->max_udp_payload_size = 1200;
    p->initial_max_data = BASE_VARINT_MAX;
    p->initial_max_stream_data_bidi_local = 1;
    p->initial_max_stream_data_bidi_remote = 64;
    p->initial_max_stream_data_uni = 16384;
    p->initial_max_streams_bidi = QUIC_MAX_STREAMS;
    p->initial_max_streams_uni = 3;
    p->ack_delay_exponent = 20;
    p->max_ack_delay = 16383;
    p->active_connection_id_limit = 8;
    p->max_datagram_frame_size = 65535;
    p->disable_active_migration = p->grease_quic_bit = p->reset_stream_at = true;
    p->min_ack_delay = 1000;
    p->has_initial_scid = true;
    p->initial_scid = cid_of(8, 0x10);
    p->chosen_version = QUIC_VERSION_2;
    p->available_count = 2;
    p->available_versions[0] = QUIC_VERSION_2;
    p->available_versions[1] = QUIC_VERSION_1;
    if (role == CRYPTO_CLIENT)
        return;
    p->has_original_dcid = p->has_retry_scid = p->has_reset_token = p->has_preferred_address = true;
    p->original_dcid = cid_of(20, 0x20);
    p->retry_scid = cid_of(0, 0);
    memset(p->reset_token, 0x77, 16);
    p->preferred_address.v4 = (struct quic_addr){.family = 4, .ip = {192, 0, 2, 1}, .port = 443};
    p->preferred_address.v6 = (struct quic_addr){.family = 6, .ip = {0x20, 1, 0xd, 0xb8, [15] = 1}, .port = 8443};
    p->preferred_address.cid = cid_of(1, 0x50);
    memset(p->preferred_address.reset_token, 0x88, 16);
}

static void same_for_client(const struct quic_params *a, const struct quic_params *b) {
    ck_assert_uint_eq(a->max_idle_timeout, b->max_idle_timeout);
    ck_assert_uint_eq(a->max_udp_payload_size, b->max_udp_payload_size);
    ck_assert_uint_eq(a->initial_max_data, b->initial_max_data);
    ck_assert_uint_eq(a->initial_max_stream_data_bidi_local, b->initial_max_stream_data_bidi_local);
    ck_assert_uint_eq(a->initial_max_stream_data_bidi_remote, b->initial_max_stream_data_bidi_remote);
    ck_assert_uint_eq(a->initial_max_stream_data_uni, b->initial_max_stream_data_uni);
    ck_assert_uint_eq(a->initial_max_streams_bidi, b->initial_max_streams_bidi);
    ck_assert_uint_eq(a->initial_max_streams_uni, b->initial_max_streams_uni);
    ck_assert_uint_eq(a->ack_delay_exponent, b->ack_delay_exponent);
    ck_assert_uint_eq(a->max_ack_delay, b->max_ack_delay);
    ck_assert_uint_eq(a->active_connection_id_limit, b->active_connection_id_limit);
    ck_assert_uint_eq(a->max_datagram_frame_size, b->max_datagram_frame_size);
    ck_assert_int_eq(a->disable_active_migration, b->disable_active_migration);
    ck_assert_int_eq(a->grease_quic_bit, b->grease_quic_bit);
    ck_assert_int_eq(a->reset_stream_at, b->reset_stream_at);
    ck_assert_uint_eq(a->min_ack_delay, b->min_ack_delay);
    ck_assert_int_eq(a->has_initial_scid, b->has_initial_scid);
    ck_assert(quic_cid_equal(&a->initial_scid, &b->initial_scid));
    ck_assert_uint_eq(a->chosen_version, b->chosen_version);
    ck_assert_uint_eq(a->available_count, b->available_count);
    ck_assert_mem_eq(a->available_versions, b->available_versions, sizeof a->available_versions);
}

static void same_for_server(const struct quic_params *a, const struct quic_params *b) {
    ck_assert_int_eq(a->has_original_dcid, b->has_original_dcid);
    ck_assert_int_eq(a->has_retry_scid, b->has_retry_scid);
    ck_assert_int_eq(a->has_reset_token, b->has_reset_token);
    ck_assert_int_eq(a->has_preferred_address, b->has_preferred_address);
    ck_assert(quic_cid_equal(&a->original_dcid, &b->original_dcid));
    ck_assert(quic_cid_equal(&a->retry_scid, &b->retry_scid));
    ck_assert_mem_eq(a->reset_token, b->reset_token, 16);
    ck_assert(quic_addr_equal(&a->preferred_address.v4, &b->preferred_address.v4));
    ck_assert(quic_addr_equal(&a->preferred_address.v6, &b->preferred_address.v6));
    ck_assert(quic_cid_equal(&a->preferred_address.cid, &b->preferred_address.cid));
    ck_assert_mem_eq(a->preferred_address.reset_token, b->preferred_address.reset_token, 16);
}

START_TEST(there_and_back)
{
    enum crypto_role role = _i ? CRYPTO_SERVER : CRYPTO_CLIENT;
    struct quic_params want, got;
    const char *why;
    everything(&want, role);
    uint8_t out[512];
    size_t len = quic_params_write(&want, role, NULL, out, sizeof out);
    ck_assert_uint_gt(len, 0);
    for (size_t room = 0; room < len; room++)
        ck_assert_uint_eq(quic_params_write(&want, role, NULL, out, room), 0);
    ck_assert_uint_eq(quic_params_write(&want, role, NULL, out, len), len);
    ck_assert_int_eq(quic_params_parse(out, len, role, &got, &why), QUIC_NO_ERROR);
    same_for_client(&want, &got);
    same_for_server(&want, &got);

    /* Cut short: an error, unless it is cut between two parameters. */
    size_t fine = 0;
    for (size_t cut = 1; cut < len; cut++) {
        struct bytes part = bytes_of(out, cut);
        enum quic_error error = quic_params_parse(part.at, cut, role, &got, &why);
        ck_assert(error == QUIC_NO_ERROR || error == QUIC_TRANSPORT_PARAMETER_ERROR);
        fine += error == QUIC_NO_ERROR;
        free(part.at);
    }
    ck_assert_uint_eq(fine, role == CRYPTO_SERVER ? 22 - 1 : 18 - 1);
}
END_TEST

START_TEST(grease)
{
    uint64_t dice = 11;
    const struct base_random random = {fill, &dice};
    size_t lens = 0;
    for (int i = 0; i < 1000; i++) {
        struct quic_params want, got;
        const char *why;
        everything(&want, CRYPTO_CLIENT);
        uint8_t out[512];
        size_t plain = quic_params_write(&want, CRYPTO_CLIENT, NULL, out, sizeof out);
        size_t len = quic_params_write(&want, CRYPTO_CLIENT, &random, out, sizeof out);
        ck_assert_uint_ge(len, plain + 2);
        ck_assert_int_eq(quic_params_parse(out, len, CRYPTO_CLIENT, &got, &why), QUIC_NO_ERROR);
        same_for_client(&want, &got);
        struct base_reader in = base_reader_of(out + plain, len - plain);
        ck_assert_uint_eq(base_read_varint(&in) % 31, 27);
        uint64_t content = base_read_varint(&in);
        ck_assert_uint_eq(content, base_reader_left(&in));
        lens |= (size_t)1 << content;
        ck_assert_uint_eq(quic_params_write(&want, CRYPTO_CLIENT, &random, out, plain), 0);
    }
    ck_assert_uint_gt(lens & (lens - 1), 0); /* more than one length came up */
}
END_TEST

#define TOKEN "000102030405060708090a0b0c0d0e0f"
#define CID_21 "000102030405060708090a0b0c0d0e0f1011121314"
#define V4 "c0000201 01bb"
#define V6 "20010db8000000000000000000000001 01bb"

static const struct {
    const char *hex, *about; /* a word of the text */
} refused[] = {
    {"01", "cut short"},
    {"01 02 00", "cut short"},
    {"40", "cut short"},
    {"01 ffffffffffffffff 00", "cut short"},
    {"01 00", "max_idle_timeout"},
    {"01 02 05 00", "max_idle_timeout"}, /* one integer, and more */
    {"01 01 40", "max_idle_timeout"},    /* not all of an integer, though bytes follow */
    {"01 01 40 04 01 00", "max_idle_timeout"},
    {"03 02 44af", "max_udp_payload_size"},
    {"08 08 d000000000000001", "initial_max_streams_bidi"},
    {"09 08 d000000000000001", "initial_max_streams_uni"},
    {"0a 01 15", "ack_delay_exponent"},
    {"0b 04 80004000", "max_ack_delay"},
    {"0c 01 00", "disable_active_migration"},
    {"6ab2 01 01", "grease_quic_bit"},
    {"c017f7586d2cb571 01 00", "reset_stream_at"},
    {"c0000000ff04de1b 04 800061a9", "min_ack_delay"},          /* 25.001 ms, max_ack_delay is 25 ms */
    {"c0000000ff04de1b 04 80000fa1 0b 01 04", "min_ack_delay"}, /* in any order */
    {"0e 01 01", "active_connection_id_limit"},
    {"0e 01 00", "active_connection_id_limit"},
    {"00 15" CID_21, "original_destination_connection_id"},
    {"0f 15" CID_21, "initial_source_connection_id"},
    {"10 15" CID_21, "retry_source_connection_id"},
    {"02 0f 000102030405060708090a0b0c0d0e", "stateless_reset_token"},
    {"02 11" TOKEN "10", "stateless_reset_token"},
    {"02 00", "stateless_reset_token"},
    {"0d 00", "preferred_address"},
    {"0d 29" V4 V6 "00" TOKEN, "preferred_address"},            /* connection ID of no bytes */
    {"0d 3e" V4 V6 "15" CID_21 TOKEN, "preferred_address"},     /* of 21 */
    {"0d 2a" V4 V6 "02 aa" TOKEN, "preferred_address"},         /* cut short */
    {"0d 2b" V4 V6 "01 aa" TOKEN "00", "preferred_address"},    /* too long */
    {"0f 00 0d 2a" V4 V6 "01 aa" TOKEN, "preferred_address"},   /* server without connection ID */
    {"0d 2a" V4 V6 "01 aa" TOKEN "0f 00", "preferred_address"}, /* in any order */
    {"11 00", "version_information"},
    {"11 03 000000", "version_information"},
    {"11 04 00000000", "version_information"},
    {"11 06 00000001 0000", "version_information"},
    {"11 08 00000001 00000000", "version_information"},
    {"01 01 05 01 01 05", "max_idle_timeout given twice"},
    {"01 01 05 4001 01 06", "max_idle_timeout given twice"}, /* however it is encoded */
    {"0c 00 01 01 00 0c 00", "disable_active_migration given twice"},
    {"1b 00 01 01 00 1b 00", "unknown transport parameter given twice"},
    {"ffffffffffffffff 00 ffffffffffffffff 00", "unknown transport parameter given twice"},
};

START_TEST(each_limit)
{
    struct quic_params params;
    const char *why;
    ck_assert_msg(parse_as(CRYPTO_SERVER, refused[_i].hex, &params, &why) == QUIC_TRANSPORT_PARAMETER_ERROR, "%s: %s",
                  refused[_i].about, refused[_i].hex);
    ck_assert_msg(strstr(why, refused[_i].about) != NULL, "\"%s\" should name %s", why, refused[_i].about);
}
END_TEST

/* The last value each limit still allows. */
static const char *const accepted[] = {
    "03 02 44b0",
    "03 08 ffffffffffffffff",
    "08 08 d000000000000000",
    "0a 01 14",
    "0b 02 7fff",
    "0b 01 00",
    "0e 01 02",
    "0c 00 6ab2 00",
    "01 08 c000000000000005", /* not the shortest, but one integer */
    "00 14 000102030405060708090a0b0c0d0e0f10111213 0f 00 10 00",
    "0d 2a" V4 V6 "01 aa" TOKEN,
    "0f 01 aa 0d 2a" V4 V6 "01 aa" TOKEN,
    "11 04 00000001",
};

START_TEST(each_limit_reached)
{
    struct quic_params params;
    const char *why;
    ck_assert_msg(parse_as(CRYPTO_SERVER, accepted[_i], &params, &why) == QUIC_NO_ERROR, "%s: %s", accepted[_i], why);
}
END_TEST

START_TEST(server_only)
{
    static const char *const texts[] = {"00 01 aa", "02 10" TOKEN, "0d 2a" V4 V6 "01 aa" TOKEN, "10 01 aa"};
    struct quic_params params;
    const char *why;
    ck_assert_int_eq(parse_as(CRYPTO_SERVER, texts[_i], &params, &why), QUIC_NO_ERROR);
    ck_assert_int_eq(parse_as(CRYPTO_CLIENT, texts[_i], &params, &why), QUIC_TRANSPORT_PARAMETER_ERROR);
    ck_assert(strstr(why, "sent by a client") != NULL);
}
END_TEST

START_TEST(preferred_address_families)
{
    struct quic_params params;
    const char *why;
    parse_as(CRYPTO_SERVER, "0d 2a 00000000 0000" V6 "01 aa" TOKEN, &params, &why);
    ck_assert(params.has_preferred_address && params.preferred_address.v4.family == 0);
    ck_assert_uint_eq(params.preferred_address.v6.family, 6);
    ck_assert_uint_eq(params.preferred_address.v6.port, 443);
    parse_as(CRYPTO_SERVER, "0d 2a" V4 "00000000000000000000000000000000 0000 01 aa" TOKEN, &params, &why);
    ck_assert_uint_eq(params.preferred_address.v4.family, 4);
    ck_assert_uint_eq(params.preferred_address.v4.ip[0], 192);
    ck_assert_uint_eq(params.preferred_address.v6.family, 0);
    parse_as(CRYPTO_SERVER, "0d 2a c0000201 0000 00000000000000000000ffffc0000201 01bb 01 aa" TOKEN, &params, &why);
    ck_assert(params.preferred_address.v4.family == 0 && params.preferred_address.v6.family == 0);
    ck_assert(params.preferred_address.v4.ip[0] == 0 && params.preferred_address.v6.port == 0);
}
END_TEST

START_TEST(versions)
{
    struct quic_params params;
    const char *why;
    /* A client lists what it chose; a server need not. */
    ck_assert_int_eq(parse_as(CRYPTO_CLIENT, "11 08 00000001 6b3343cf", &params, &why), QUIC_TRANSPORT_PARAMETER_ERROR);
    ck_assert_int_eq(parse_as(CRYPTO_CLIENT, "11 04 00000001", &params, &why), QUIC_TRANSPORT_PARAMETER_ERROR);
    ck_assert_int_eq(parse_as(CRYPTO_SERVER, "11 08 00000001 6b3343cf", &params, &why), QUIC_NO_ERROR);
    ck_assert_uint_eq(params.chosen_version, QUIC_VERSION_1);
    ck_assert_uint_eq(params.available_count, 1);
    ck_assert_uint_eq(params.available_versions[0], QUIC_VERSION_2);
    /* Of a long list those we speak are kept, in their order. */
    ck_assert_int_eq(parse_as(CRYPTO_CLIENT,
                              "11 2c 6b3343cf 0a0a0a01 0a0a0a02 0a0a0a03 0a0a0a04 0a0a0a05 0a0a0a06 0a0a0a07"
                              "0a0a0a08 6b3343cf 00000001",
                              &params, &why),
                     QUIC_NO_ERROR);
    ck_assert_uint_eq(params.available_count, 8);
    ck_assert_uint_eq(params.available_versions[5], 0x0a0a0a06);
    ck_assert_uint_eq(params.available_versions[6], QUIC_VERSION_2);
    ck_assert_uint_eq(params.available_versions[7], QUIC_VERSION_1);
}
END_TEST

/* Unknown parameters are ignored, however many; a duplicate among the first 64 is found. */
START_TEST(unknown_ones)
{
    uint8_t data[3 * 1000];
    struct quic_params params;
    const char *why;
    for (unsigned i = 0; i < 1000; i++) {
        base_store_varint(data + 3 * i, 0x100 + i, 2);
        data[3 * i + 2] = 0;
    }
    ck_assert_int_eq(quic_params_parse(data, sizeof data, CRYPTO_SERVER, &params, &why), QUIC_NO_ERROR);
    base_store_varint(data + 3 * 999, 0x100 + 63, 2);
    ck_assert_int_eq(quic_params_parse(data, sizeof data, CRYPTO_SERVER, &params, &why),
                     QUIC_TRANSPORT_PARAMETER_ERROR);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/params");
    TCase *tests = tcase_create("params");
    tcase_add_test(tests, defaults);
    tcase_add_loop_test(tests, there_and_back, 0, 2);
    tcase_add_test(tests, grease);
    tcase_add_loop_test(tests, each_limit, 0, COUNT(refused));
    tcase_add_loop_test(tests, each_limit_reached, 0, COUNT(accepted));
    tcase_add_loop_test(tests, server_only, 0, 4);
    tcase_add_test(tests, preferred_address_families);
    tcase_add_test(tests, versions);
    tcase_add_test(tests, unknown_ones);
    suite_add_tcase(suite, tests);
    return suite;
}
