/* 0-RTT packets without a connection: few are kept, of few bytes, and only where early data is wanted. */
#include "engine.h"

static struct engine engine;

static void open_engine(void) { engine_open(&engine, CRYPTO_SERVER, 1, NULL); }
static void close_engine(void) { engine_close(&engine); }

/* Something that looks like a 0-RTT packet to an ID of which the first byte is `id`. */
static void overtake(uint8_t id, size_t len) {
    static uint8_t packet[3000];
    struct base_writer w = base_writer_of(packet, sizeof packet);
    struct quic_cid dcid = {.len = 8, .id = {id, 1, 2, 3}}, scid = {.len = 4};
    uint8_t *length_at;
    quic_header_write_long(&w, QUIC_VERSION_1, QUIC_PACKET_0RTT, 2, &dcid, &scid, NULL, 0, &length_at);
    quic_header_patch_length(length_at, len - (size_t)(w.pos - packet));
    engine_input(&engine, packet, len, engine_addr(9, 9));
}

START_TEST(nothing_is_kept_where_nothing_is_wanted)
{
    uint64_t before = engine.mem.used;
    overtake(1, 1200);
    ck_assert_uint_eq(engine.mem.used, before);
}
END_TEST

START_TEST(memory_is_bounded)
{
    engine.config.options.early_data = 1;
    uint64_t before = engine.mem.used, most = 0;
    for (unsigned i = 0; i < 1000; i++) {
        overtake((uint8_t)i, 100 + i % 1300);
        if (engine.mem.used > most)
            most = engine.mem.used;
    }
    ck_assert_uint_gt(most, before);
    ck_assert_uint_le(most - before, QUIC_ORPHANS * 1600);
    most = engine.mem.used;
    for (unsigned i = 0; i < 10; i++)
        overtake(7, 2000); /* too large to be taken */
    ck_assert_uint_eq(engine.mem.used, most);
    ck_assert(!engine_output(&engine)); /* and nobody is answered */
    ck_assert_uint_eq(engine.endpoint.conn_count, 0);
}
END_TEST

START_TEST(without_memory_nothing_happens)
{
    engine.config.options.early_data = 1;
    for (uint64_t spare = 0; spare < 4000; spare += 500) {
        engine.mem.limit = engine.mem.used + spare;
        overtake(1, 1200);
    }
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("quic/orphan");
    TCase *tests = tcase_create("orphans");
    tcase_add_checked_fixture(tests, open_engine, close_engine);
    tcase_add_test(tests, nothing_is_kept_where_nothing_is_wanted);
    tcase_add_test(tests, memory_is_bounded);
    tcase_add_test(tests, without_memory_nothing_happens);
    suite_add_tcase(suite, tests);
    return suite;
}
