/* QUIC-LB connection IDs: the draft's vectors, every length there is, what is refused; and an engine that issues
 * them. */
#include "hex.h"
#include "hostile.h"
#include "quic/lb.h"

static size_t hex_read(const char *text, uint8_t *out) {
    struct bytes bytes = hex(text);
    memcpy(out, bytes.at, bytes.len);
    free(bytes.at);
    return bytes.len;
}

static const char draft_key[] = "8f95f09245765f80256934e50c66207f";

struct vector {
    uint8_t rotation;
    const char *key, *server_id, *nonce, *cid;
};

/* Appendix B of draft-ietf-quic-load-balancers-21, and the example of its section 5.4.2.4. The draft prints config
 * rotation 3 for the last of B.2, whose first octet says 0. */
static const struct vector vectors[] = {
    {0, NULL, "c4605e", "4504cc4f", "07c4605e4504cc4f"},
    {0, draft_key, "ed793a", "ee080dbf", "0720b1d07b359d3c"},
    {1, draft_key, "ed793a51d49b8f5fab65", "ee080dbf48", "2fcc381bc74cb4fbad2823a3d1f8fed2"},
    {2, draft_key, "ed793a51d49b8f5f", "ee080dbf48c0d1e5", "504dd2d05a7b0de9b2b9907afb5ecf8cc3"},
    {0, draft_key, "ed793a51d49b8f5fab", "ee080dbf48c0d1e55d", "125779c9cc86beb3a3a4a3ca96fce4bfe0cdbc"},
    {0, "fdf726a9893ec05c0632d3956680baf0", "31441a", "9c69c275", "0767947d29be054a"},
};

static struct quic_lb_config config_of(const struct vector *v) {
    struct quic_lb_config config = {.rotation = v->rotation, .encode_length = true, .encrypted = v->key != NULL};
    uint8_t nonce[19];
    config.server_id_len = (uint8_t)hex_read(v->server_id, config.server_id);
    config.nonce_len = (uint8_t)hex_read(v->nonce, nonce);
    if (v->key)
        hex_read(v->key, config.key);
    return config;
}

START_TEST(vectors_of_the_draft)
{
    const struct vector *v = &vectors[_i];
    struct base_mem mem;
    base_mem_init(&mem, 0);
    ck_assert(crypto_init());
    struct quic_lb_config config = config_of(v);
    uint8_t nonce[19], cid_bytes[20], server_id[15], back[19];
    hex_read(v->nonce, nonce);
    size_t len = hex_read(v->cid, cid_bytes);
    ck_assert_ptr_null(quic_lb_check(&config));
    struct quic_lb *lb = quic_lb_new(&mem, &config);
    struct quic_cid cid;
    quic_lb_encode(lb, nonce, 0xff, &cid);
    ck_assert_uint_eq(cid.len, len);
    ck_assert_mem_eq(cid.id, cid_bytes, len);
    ck_assert(quic_lb_decode(lb, cid_bytes, len, server_id, back));
    ck_assert_mem_eq(server_id, config.server_id, config.server_id_len);
    ck_assert_mem_eq(back, nonce, config.nonce_len);
    ck_assert(!quic_lb_decode(lb, cid_bytes, len - 1, server_id, back));
    cid_bytes[0] ^= 0x80;
    ck_assert(!quic_lb_decode(lb, cid_bytes, len, server_id, back));
    quic_lb_free(&mem, lb);
    ck_assert_uint_eq(mem.used, 0);
    crypto_cleanup();
}
END_TEST

START_TEST(every_length_comes_back)
{
    struct base_mem mem;
    base_mem_init(&mem, 0);
    ck_assert(crypto_init());
    unsigned count = 0;
    for (uint8_t sid_len = 1; sid_len <= QUIC_LB_SERVER_MAX; sid_len++)
        for (uint8_t nonce_len = 4; sid_len + nonce_len <= 19; nonce_len++, count++) {
            struct quic_lb_config config = {
                .rotation = 6, .server_id_len = sid_len, .nonce_len = nonce_len, .encrypted = count % 4 != 0};
            uint8_t nonce[19], server_id[15], back[19];
            for (uint8_t i = 0; i < 19; i++)
                nonce[i] = (uint8_t)(i * 7 + count);
            memset(config.server_id, (int)count, sizeof config.server_id);
            memset(config.key, sid_len, sizeof config.key);
            ck_assert_ptr_null(quic_lb_check(&config));
            struct quic_lb *lb = quic_lb_new(&mem, &config);
            struct quic_cid cid;
            quic_lb_encode(lb, nonce, 0x7f, &cid);
            ck_assert_uint_eq(cid.len, quic_lb_cid_len(&config));
            ck_assert_uint_eq(cid.id[0], 6 << 5 | 0x1f);
            ck_assert(quic_lb_decode(lb, cid.id, cid.len, server_id, back));
            ck_assert_mem_eq(server_id, config.server_id, sid_len);
            ck_assert_mem_eq(back, nonce, nonce_len);
            quic_lb_free(&mem, lb);
        }
    ck_assert_uint_eq(count, 120);
    crypto_cleanup();
}
END_TEST

START_TEST(what_is_refused)
{
    const struct quic_lb_config good = {.rotation = 6, .server_id_len = 8, .nonce_len = 11};
    ck_assert_ptr_null(quic_lb_check(&good));
    struct quic_lb_config bad = good;
    bad.rotation = 7;
    ck_assert_ptr_nonnull(quic_lb_check(&bad));
    bad = good;
    bad.server_id_len = 0;
    ck_assert_ptr_nonnull(quic_lb_check(&bad));
    bad.server_id_len = 16;
    ck_assert_ptr_nonnull(quic_lb_check(&bad));
    bad = good;
    bad.nonce_len = 3;
    ck_assert_ptr_nonnull(quic_lb_check(&bad));
    bad.nonce_len = 12;
    ck_assert_ptr_nonnull(quic_lb_check(&bad));
}
END_TEST

/* ---- an engine behind a load balancer ---- */

static const struct quic_lb_config behind = {.rotation = 2,
                                             .server_id_len = 3,
                                             .nonce_len = 6,
                                             .encode_length = true,
                                             .encrypted = true,
                                             .server_id = {1, 2, 3},
                                             .key = {7, 8, 9}};

static void check_ids(struct quic_conn *peer, const struct quic_lb_config *config) {
    struct quic_lb *lb = quic_lb_new(&server.mem, config);
    unsigned found = 0;
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        const struct quic_local_cid *entry = &peer->local_cids.list[i];
        uint8_t server_id[15];
        if (!entry->used)
            continue;
        ck_assert_uint_eq(entry->cid.len, quic_lb_cid_len(config));
        found += quic_lb_decode(lb, entry->cid.id, entry->cid.len, server_id, NULL) &&
                 memcmp(server_id, config->server_id, config->server_id_len) == 0;
        ck_assert_ptr_eq(quic_endpoint_find(&server.endpoint, entry->cid.id, entry->cid.len), peer);
    }
    ck_assert_uint_gt(found, 0);
    quic_lb_free(&server.mem, lb);
}

START_TEST(an_engine_issues_them)
{
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &behind), 0);
    dial();
    carry();
    struct quic_conn *peer = accepted();
    check_ids(peer, &behind);
    const struct quic_cid gone = peer->local_cids.list[1].cid;
    begin();
    quic_frame_write_number(&f, QUIC_FRAME_RETIRE_CONNECTION_ID, peer->local_cids.list[1].sequence);
    send_1rtt(client_at);
    ck_assert_ptr_null(quic_endpoint_find(&server.endpoint, gone.id, gone.len));
    check_ids(peer, &behind);
    quic_conn_detach(peer, server.now);
    server.now += 100 * BASE_SEC;
    quic_endpoint_tick(&server.endpoint, server.now);
    ck_assert_uint_eq(server.endpoint.conn_count, 0);
    ck_assert_uint_eq(server.endpoint.lb_cids.count, 0);
}
END_TEST

START_TEST(the_configuration_rotates)
{
    struct quic_lb_config next = behind, other = behind;
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &behind), 0);
    dial();
    carry();
    struct quic_conn *peer = accepted();
    next.rotation = 3;
    next.encrypted = false;
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &next), 0);
    check_ids(peer, &behind); /* those that there are stay */
    begin();
    quic_frame_write_number(&f, QUIC_FRAME_RETIRE_CONNECTION_ID, peer->local_cids.list[1].sequence);
    send_1rtt(client_at);
    check_ids(peer, &next); /* new ones are of the new kind */
    other.nonce_len = 7;
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &other), ERR_STATE); /* all IDs are of one length */
    other.rotation = 7;
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &other), ERR_INVALID);
    ck_assert_int_eq(quic_endpoint_set_lb(&client.endpoint, &behind), ERR_STATE); /* it has issued others */
}
END_TEST

/* A reset is for IDs with our server ID alone: who knows who owns the others. */
START_TEST(resets_for_its_own_ids_only)
{
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &behind), 0);
    struct quic_lb_config others = behind;
    others.server_id[2] = 4;
    struct quic_lb *own = quic_lb_new(&server.mem, &behind), *foreign = quic_lb_new(&server.mem, &others);
    static const uint8_t nonce[6] = {1, 2, 3, 4, 5, 6};
    struct quic_cid cid;
    uint8_t packet[60] = {0x40};
    quic_lb_encode(foreign, nonce, 0, &cid);
    memcpy(packet + 1, cid.id, cid.len);
    engine_input(&server, packet, sizeof packet, client_at);
    ck_assert_uint_eq(server.endpoint.stats.stateless_resets_sent, 0);
    quic_lb_encode(own, nonce, 0, &cid);
    memcpy(packet + 1, cid.id, cid.len);
    engine_input(&server, packet, sizeof packet, client_at);
    ck_assert_uint_eq(server.endpoint.stats.stateless_resets_sent, 1);
    quic_lb_free(&server.mem, own);
    quic_lb_free(&server.mem, foreign);
}
END_TEST

static int sibling_of(struct quic_lb_config config, uint8_t at, uint8_t value) {
    static const uint8_t nonce[6] = {1, 2, 3, 4, 5, 6};
    struct quic_cid cid;
    config.server_id[at] = value;
    struct quic_lb *lb = quic_lb_new(&server.mem, &config);
    quic_lb_encode(lb, nonce, 0, &cid);
    quic_lb_free(&server.mem, lb);
    ck_assert_int_eq(quic_endpoint_sibling_of(&server.endpoint, cid.id, cid.len - 1u), -1);
    return quic_endpoint_sibling_of(&server.endpoint, cid.id, cid.len);
}

/* Which engine of a pool an ID names: its first byte, or the last of a server ID that is ours but for that. */
START_TEST(the_sibling_that_an_id_names)
{
    uint8_t id[QUIC_LOCAL_CID_LEN] = {server.endpoint.codec.engine};
    ck_assert_int_eq(quic_endpoint_sibling_of(&server.endpoint, id, sizeof id), -1);
    id[0] ^= 5;
    ck_assert_int_eq(quic_endpoint_sibling_of(&server.endpoint, id, sizeof id), id[0]);
    ck_assert_int_eq(quic_endpoint_sibling_of(&server.endpoint, id, sizeof id - 1), -1);
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &behind), 0);
    ck_assert_int_eq(sibling_of(behind, 2, behind.server_id[2]), -1);
    ck_assert_int_eq(sibling_of(behind, 2, 200), 200);
    ck_assert_int_eq(sibling_of(behind, 0, 7), -1); /* another machine's */
    ck_assert_int_eq(sibling_of(behind, 1, 7), -1);
    struct quic_lb_config next = behind;
    next.rotation = 3;
    ck_assert_int_eq(sibling_of(next, 2, 200), -1); /* a configuration that is not known */
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &next), 0);
    ck_assert_int_eq(sibling_of(next, 2, 200), 200);
    ck_assert_int_eq(sibling_of(behind, 2, 200), 200); /* that of before still is */
}
END_TEST

/* A Retry gives the client an ID that leads it to the same server. */
START_TEST(a_retry_can_be_routed)
{
    ck_assert_int_eq(quic_endpoint_set_lb(&server.endpoint, &behind), 0);
    int always = -1;
    for (int i = 0; options_table[OPTION_ID_address_validation].choices[i]; i++)
        if (strcmp(options_table[OPTION_ID_address_validation].choices[i], "always") == 0)
            always = i;
    server.config.options.address_validation = (uint64_t)always;
    dial();
    carry();
    ck_assert(accepted()->retried);
    struct quic_lb *lb = quic_lb_new(&server.mem, &behind);
    uint8_t server_id[15];
    ck_assert(quic_lb_decode(lb, accepted()->retry_scid.id, accepted()->retry_scid.len, server_id, NULL));
    ck_assert_mem_eq(server_id, behind.server_id, 3);
    quic_lb_free(&server.mem, lb);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/lb");
    TCase *tcase = tcase_create("format");
    tcase_add_loop_test(tcase, vectors_of_the_draft, 0, (int)(sizeof vectors / sizeof *vectors));
    tcase_add_test(tcase, every_length_comes_back);
    tcase_add_test(tcase, what_is_refused);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("engine");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, an_engine_issues_them);
    tcase_add_test(tcase, the_configuration_rotates);
    tcase_add_test(tcase, resets_for_its_own_ids_only);
    tcase_add_test(tcase, the_sibling_that_an_id_names);
    tcase_add_test(tcase, a_retry_can_be_routed);
    suite_add_tcase(suite, tcase);
    return suite;
}
