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
    tcase_add_test(all, an_engine_takes_it);
    suite_add_tcase(suite, all);
    return suite;
}
