/* Tests of lb.c: reading an ID, and an engine whose IDs can be read. */
#include "world.h"

static weft_quic_lb draft(void) { /* appendix B.2 of the draft */
    return (weft_quic_lb){
        .size = sizeof(weft_quic_lb),
        .rotation = 2,
        .server_id_len = 8,
        .nonce_len = 8,
        .encode_length = 1,
        .encrypted = 1,
        .key = {0x8f, 0x95, 0xf0, 0x92, 0x45, 0x76, 0x5f, 0x80, 0x25, 0x69, 0x34, 0xe5, 0x0c, 0x66, 0x20, 0x7f}};
}

static const uint8_t draft_cid[] = {0x50, 0x4d, 0xd2, 0xd0, 0x5a, 0x7b, 0x0d, 0xe9, 0xb2,
                                    0xb9, 0x90, 0x7a, 0xfb, 0x5e, 0xcf, 0x8c, 0xc3};

START_TEST(an_id_is_read)
{
    static const uint8_t server_id[] = {0xed, 0x79, 0x3a, 0x51, 0xd4, 0x9b, 0x8f, 0x5f};
    static const uint8_t nonce[] = {0xee, 0x08, 0x0d, 0xbf, 0x48, 0xc0, 0xd1, 0xe5};
    weft_quic_lb lb = draft();
    uint8_t id[15], number[18];
    ck_assert_int_eq(weft_quic_lb_decode(&lb, draft_cid, sizeof draft_cid, id, number), 0);
    ck_assert_mem_eq(id, server_id, 8);
    ck_assert_mem_eq(number, nonce, 8);
    ck_assert_int_eq(weft_quic_lb_decode(&lb, draft_cid, sizeof draft_cid, id, NULL), 0);
    ck_assert_int_eq(weft_quic_lb_decode(&lb, draft_cid, sizeof draft_cid - 1, id, NULL), WEFT_E_VALUE);
    ck_assert_int_eq(weft_quic_lb_decode(&lb, NULL, 0, id, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_quic_lb_decode(&lb, draft_cid, sizeof draft_cid, NULL, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_quic_lb_decode(NULL, draft_cid, sizeof draft_cid, id, NULL), WEFT_E_INVALID);
    lb.rotation = 1;
    ck_assert_int_eq(weft_quic_lb_decode(&lb, draft_cid, sizeof draft_cid, id, NULL), WEFT_E_VALUE);
    lb.rotation = 7;
    ck_assert_int_eq(weft_quic_lb_decode(&lb, draft_cid, sizeof draft_cid, id, NULL), WEFT_E_INVALID);
}
END_TEST

START_TEST(an_id_is_made)
{
    static const uint8_t nonce[] = {0xee, 0x08, 0x0d, 0xbf, 0x48, 0xc0, 0xd1, 0xe5};
    weft_quic_lb lb = draft();
    uint8_t cid[20];
    memcpy(lb.server_id, (const uint8_t[]){0xed, 0x79, 0x3a, 0x51, 0xd4, 0x9b, 0x8f, 0x5f}, 8);
    ck_assert_int_eq(weft_quic_lb_encode(&lb, nonce, cid), sizeof draft_cid);
    ck_assert_mem_eq(cid, draft_cid, sizeof draft_cid);
    ck_assert_int_eq(weft_quic_lb_encode(&lb, NULL, cid), WEFT_E_INVALID);
    ck_assert_int_eq(weft_quic_lb_encode(&lb, nonce, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_quic_lb_encode(NULL, nonce, cid), WEFT_E_INVALID);
    lb.encode_length = 0; /* the low bits are anything then, and differ at times */
    unsigned seen = 0;
    for (int i = 0; i < 100; i++) {
        ck_assert_int_eq(weft_quic_lb_encode(&lb, nonce, cid), sizeof draft_cid);
        ck_assert_uint_eq(cid[0] >> 5, 2);
        ck_assert_mem_eq(cid + 1, draft_cid + 1, sizeof draft_cid - 1);
        seen |= 1u << (cid[0] & 0x1f);
    }
    ck_assert_uint_ne(seen & (seen - 1), 0);
    lb.nonce_len = 12;
    ck_assert_int_eq(weft_quic_lb_encode(&lb, nonce, cid), WEFT_E_INVALID);
}
END_TEST

/* What an engine tells its peer with its IDs is what the fleet's secret gives for them. */
START_TEST(tokens_follow_from_the_secret)
{
    static const uint8_t secret[32] = {7, 1}, other[32] = {7, 2};
    uint8_t token[16], again[16], empty[16];
    ck_assert_int_eq(weft_fleet_reset_token(secret, draft_cid, sizeof draft_cid, token), 0);
    ck_assert_int_eq(weft_fleet_reset_token(secret, draft_cid, sizeof draft_cid, again), 0);
    ck_assert_mem_eq(token, again, 16);
    ck_assert_int_eq(weft_fleet_reset_token(other, draft_cid, sizeof draft_cid, again), 0);
    ck_assert_mem_ne(token, again, 16);
    ck_assert_int_eq(weft_fleet_reset_token(secret, draft_cid, sizeof draft_cid - 1, again), 0);
    ck_assert_mem_ne(token, again, 16);
    ck_assert_int_eq(weft_fleet_reset_token(secret, NULL, 0, empty), 0);
    ck_assert_int_eq(weft_fleet_reset_token(secret, draft_cid, 0, again), 0);
    ck_assert_mem_eq(empty, again, 16);
    ck_assert_int_eq(weft_fleet_reset_token(NULL, draft_cid, 8, token), WEFT_E_INVALID);
    ck_assert_int_eq(weft_fleet_reset_token(secret, NULL, 8, token), WEFT_E_INVALID);
    ck_assert_int_eq(weft_fleet_reset_token(secret, draft_cid, 8, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_fleet_reset_token(secret, empty, 21, token), WEFT_E_INVALID);

    /* An engine with the secret answers a packet of a connection that nobody knows (RFC 9000 10.3). */
    weft_engine engine;
    weft_engine_params params = {.size = sizeof params, .flags = WEFT_ENGINE_EXTERNAL, .fleet_secret = secret};
    weft_config config;
    weft_listener listener;
    uint8_t packet[60] = {0x40}, train[65536];
    ck_assert_int_eq(weft_engine_new(&params, &engine), 0);
    ck_assert_int_eq(weft_config_new(WEFT_SERVER, &config), 0);
    ck_assert_int_eq(weft_config_set_alpn(config, "test"), 0);
    ck_assert_int_eq(weft_config_self_signed(config, "example.test", 10), 0);
    ck_assert_int_eq(weft_listen(engine, config, "192.0.2.2:443", NULL, &listener), 0);
    weft_datagram in = {.data = packet, .len = sizeof packet, .local = world_server_addr, .remote = world_client_addr};
    weft_datagram out = {.data = train, .segment = 1};
    ck_assert_int_eq(weft_fleet_reset_token(secret, packet + 1, 10, token), 0); /* the engine's number is 0 */
    ck_assert_int_eq(weft_engine_input(engine, &in, 1), 1);
    weft_engine_turn(engine);
    ck_assert_int_eq(weft_engine_output(engine, &out), 1);
    ck_assert_mem_eq(train + out.len - 16, token, 16);
    weft_engine_free(engine);
    weft_config_free(config);
}
END_TEST

START_TEST(an_engine_takes_it)
{
    weft_engine engine;
    weft_quic_lb lb = draft();
    ck_assert_int_eq(weft_engine_new(NULL, &engine), 0);
    lb.nonce_len = 3;
    ck_assert_int_eq(weft_engine_set_quic_lb(engine, &lb), WEFT_E_INVALID);
    lb.nonce_len = 8;
    ck_assert_int_eq(weft_engine_set_quic_lb(engine, NULL), WEFT_E_INVALID);
    ck_assert_int_eq(weft_engine_set_quic_lb(engine, &lb), 0);
    lb.rotation = 3;
    ck_assert_int_eq(weft_engine_set_quic_lb(engine, &lb), 0);
    lb.nonce_len = 9;
    ck_assert_int_eq(weft_engine_set_quic_lb(engine, &lb), WEFT_E_STATE);
    ck_assert_int_eq(weft_engine_free(engine), 0);
    ck_assert_int_eq(weft_engine_set_quic_lb(engine, &lb), WEFT_E_GONE);
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("abi/lb");
    TCase *all = tcase_create("all");
    tcase_add_test(all, an_id_is_read);
    tcase_add_test(all, an_id_is_made);
    tcase_add_test(all, tokens_follow_from_the_secret);
    tcase_add_test(all, an_engine_takes_it);
    suite_add_tcase(suite, all);
    return suite;
}
