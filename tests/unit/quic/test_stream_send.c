/* test_stream_send.c - the sending half against a model that knows the fate of every single byte. */
#include "quic/stream_send.h"

#include "base/toolkit.h"
#include "quic/chunk.h"
#include "tables/errors.h"

#define MOST 400000u
#define RECORDS 4096u
#define TOKENS 4096u

static uint8_t byte_at(uint64_t offset) { return (uint8_t)(offset * 167 + (offset >> 8) * 13 + (offset >> 16)); }

enum fate { UNSENT, FLYING, LOST, ACKED };

struct record {
    uint64_t offset, len;
    bool fin, lost; /* declared lost: may still be acknowledged */
};

struct token {
    uint64_t end; /* stream offset behind its last byte */
    unsigned released;
};

static struct fixture {
    struct toolkit_heap heap;
    struct base_mem mem;
    struct quic_pools pools;
    struct quic_stream_send send;
    struct toolkit_dice dice;
    uint8_t *source, *fates;
    uint64_t written, sent, prefix; /* everything below prefix is ACKED */
    struct record records[RECORDS];
    unsigned record_count;
    struct token tokens[TOKENS];
    unsigned token_count;
    bool fin, fin_acked;
} f;

static void begin(uint64_t seed, bool pools) {
    memset(&f, 0, sizeof f);
    f.mem = toolkit_mem(&f.heap, 0);
    f.dice.state = seed;
    quic_pools_init(&f.pools);
    quic_stream_send_init(&f.send);
    if (pools)
        f.send.pools = &f.pools;
    f.source = (uint8_t *)malloc(MOST);
    f.fates = (uint8_t *)calloc(1, MOST);
    ck_assert(f.source && f.fates);
    for (unsigned i = 0; i < MOST; i++)
        f.source[i] = byte_at(i);
}

static void released(void *user, uint64_t token) {
    ck_assert_ptr_eq(user, &f);
    ck_assert_uint_lt(token, f.token_count);
    f.tokens[token].released++;
}

static void teardown(void) {
    quic_stream_send_clear(&f.send, &f.mem, released, &f);
    for (unsigned i = 0; i < f.token_count; i++)
        ck_assert_uint_eq(f.tokens[i].released, 1);
    quic_pools_clear(&f.pools, &f.mem);
    toolkit_all_back(&f.heap, &f.mem);
    free(f.source);
    free(f.fates);
}

/* Each test begins with this one. */
static void setup(void) { begin(1, true); }

static void again(uint64_t seed, bool pools) {
    teardown();
    begin(seed, pools);
}

static bool copy_in(size_t len) {
    if (len > MOST - f.written)
        len = (size_t)(MOST - f.written);
    if (quic_stream_send_copy_in(&f.send, &f.mem, f.source + f.written, len) != 0)
        return false;
    f.written += len;
    return true;
}

static bool refer(size_t len) {
    if (len > MOST - f.written || !len || f.token_count == TOKENS)
        return false;
    if (quic_stream_send_reference(&f.send, &f.mem, f.source + f.written, len, f.token_count) != 0)
        return false;
    f.written += len;
    f.tokens[f.token_count++] = (struct token){.end = f.written};
    return true;
}

static void finish(void) {
    quic_stream_send_finish(&f.send);
    f.fin = true;
}

/* What the model says should go next. */
static bool expected(uint64_t limit, uint64_t *from, uint64_t *to) {
    while (f.prefix < f.sent && f.fates[f.prefix] == ACKED)
        f.prefix++;
    for (uint64_t i = f.prefix; i < f.sent; i++)
        if (f.fates[i] == LOST) {
            *from = i;
            for (*to = i; *to < f.sent && f.fates[*to] == LOST;)
                ++*to;
            return true;
        }
    *from = f.sent;
    *to = f.written < limit ? f.written : limit;
    return *to > *from;
}

/* Sends one piece of at most `most` bytes. False: nothing to send. */
static bool send_piece(uint64_t limit, uint64_t most, bool strict) {
    struct quic_send_piece piece;
    uint64_t from, to;
    bool any = strict && expected(limit, &from, &to);
    if (!quic_stream_send_next(&f.send, limit, &piece)) {
        ck_assert(!strict || !any);
        return false;
    }
    if (strict && any) {
        ck_assert_uint_eq(piece.offset, from);
        ck_assert_uint_eq(piece.len, to - from);
        ck_assert_int_eq(piece.again, from < f.sent);
        ck_assert_int_eq(piece.fin, f.fin && to == f.written);
    } else if (strict) {
        ck_assert(piece.fin && piece.len == 0 && piece.offset == f.written && f.fin);
    }
    bool whole = piece.len <= most;
    uint64_t len = whole ? piece.len : most;
    bool fin = piece.fin && whole;
    static uint8_t out[MOST];
    quic_stream_send_copy_out(&f.send, piece.offset, out, (size_t)len);
    ck_assert_mem_eq(out, f.source + piece.offset, len);
    if (!quic_stream_send_on_sent(&f.send, &f.mem, piece.offset, len, fin))
        return false;
    for (uint64_t i = piece.offset; i < piece.offset + len; i++)
        f.fates[i] = FLYING;
    if (piece.offset + len > f.sent)
        f.sent = piece.offset + len;
    ck_assert_uint_lt(f.record_count, RECORDS);
    f.records[f.record_count++] = (struct record){piece.offset, len, fin, false};
    return true;
}

static void settle(unsigned index, bool acked) {
    struct record *r = &f.records[index];
    if (acked) {
        quic_stream_send_on_acked(&f.send, &f.mem, r->offset, r->len, r->fin, released, &f);
        memset(f.fates + r->offset, ACKED, (size_t)r->len);
        f.fin_acked |= r->fin;
        *r = f.records[--f.record_count];
        return;
    }
    quic_stream_send_on_lost(&f.send, &f.mem, r->offset, r->len, r->fin);
    for (uint64_t i = r->offset; i < r->offset + r->len; i++)
        if (f.fates[i] != ACKED)
            f.fates[i] = LOST;
    if (toolkit_pick(&f.dice, 2))
        r->lost = true;
    else
        *r = f.records[--f.record_count];
}

/* The half says the same as the model about every byte. */
static void compare(void) {
    const struct quic_stream_send *s = &f.send;
    uint64_t acked_to = 0;
    while (acked_to < f.sent && f.fates[acked_to] == ACKED)
        acked_to++;
    ck_assert_uint_eq(s->acked_to, acked_to);
    ck_assert_uint_eq(s->sent, f.sent);
    ck_assert_uint_eq(s->written, f.written);
    ck_assert_uint_eq(s->buffered, f.written - acked_to);
    unsigned wrong = 0; /* an assertion a byte would take minutes */
    for (uint64_t i = acked_to; i < f.sent; i++) {
        wrong += base_ranges_contains(&s->acked, i) != (f.fates[i] == ACKED);
        wrong += base_ranges_contains(&s->lost, i) != (f.fates[i] == LOST);
    }
    ck_assert_uint_eq(wrong, 0);
    for (unsigned i = 0; i < f.token_count; i++)
        ck_assert_uint_eq(f.tokens[i].released, f.tokens[i].end <= acked_to);
    bool done = f.fin && f.fin_acked && acked_to == f.written;
    ck_assert_int_eq(quic_stream_send_done(s), done);
}

static size_t some_size(void) {
    static const uint32_t sizes[] = {1, 20, 700, 5000, 70000};
    return toolkit_pick(&f.dice, sizes[toolkit_pick(&f.dice, 5)]);
}

static void random_step(bool strict) {
    switch (toolkit_pick(&f.dice, 8)) {
    case 0:
        if (!f.fin)
            copy_in(some_size());
        break;
    case 1:
        if (!f.fin && toolkit_pick(&f.dice, 2))
            refer(some_size());
        break;
    case 2:
    case 3:
    case 4:
        if (f.record_count < RECORDS)
            send_piece(f.sent + toolkit_pick(&f.dice, 5000), 1 + toolkit_pick(&f.dice, 3000), strict);
        break;
    case 5:
    case 6:
        if (f.record_count)
            settle(toolkit_pick(&f.dice, 2) ? 0 : toolkit_pick(&f.dice, f.record_count), true);
        break;
    default:
        if (f.record_count) {
            unsigned i = toolkit_pick(&f.dice, f.record_count);
            if (!f.records[i].lost)
                settle(i, false);
        }
    }
}

/* Until everything has arrived. */
static void drain(bool strict) {
    for (unsigned round = 0; !quic_stream_send_done(&f.send); round++) {
        ck_assert_uint_lt(round, 1000000);
        while (f.record_count < RECORDS && send_piece(UINT64_MAX, 1 + toolkit_pick(&f.dice, 20000), strict))
            ;
        ck_assert_uint_gt(f.record_count, 0);
        settle(toolkit_pick(&f.dice, f.record_count), toolkit_pick(&f.dice, 10) > 0);
    }
}

START_TEST(random_lives)
{
    for (uint64_t seed = 0; seed < 30; seed++) {
        again(seed, seed % 2);
        for (unsigned step = 0; step < 1500; step++) {
            random_step(true);
            if (step % 50 == 0)
                compare();
            if (step == 1200)
                finish();
        }
        compare();
        drain(true);
        compare();
        ck_assert_int_eq(f.send.state, QUIC_SEND_DATA_RECVD);
        ck_assert_ptr_null(f.send.first);
    }
}
END_TEST

START_TEST(random_lives_end_in_a_reset)
{
    for (uint64_t seed = 100; seed < 130; seed++) {
        again(seed, seed % 2);
        unsigned steps = toolkit_pick(&f.dice, 600);
        for (unsigned step = 0; step < steps; step++)
            random_step(true);
        if (seed % 3 == 0)
            finish();
        quic_stream_send_reset(&f.send, &f.mem, 77, released, &f);
        ck_assert_uint_eq(f.send.final_size, f.sent);
        ck_assert_uint_eq(f.send.reset_code, 77);
        ck_assert_ptr_null(f.send.first);
        struct quic_send_piece piece;
        ck_assert(!quic_stream_send_next(&f.send, UINT64_MAX, &piece));
        for (unsigned i = 0; i < f.token_count; i++)
            ck_assert_uint_eq(f.tokens[i].released, 1);
        while (f.record_count) { /* late fates change nothing */
            struct record r = f.records[--f.record_count];
            quic_stream_send_on_acked(&f.send, &f.mem, r.offset, r.len, r.fin, released, &f);
            quic_stream_send_on_lost(&f.send, &f.mem, r.offset, r.len, r.fin);
        }
        ck_assert_int_eq(f.send.state, QUIC_SEND_RESET_SENT);
    }
}
END_TEST

START_TEST(memory_that_fails_now_and_then_loses_no_byte)
{
    for (uint64_t seed = 200; seed < 240; seed++) {
        again(seed, seed % 2);
        for (unsigned step = 0; step < 1500; step++) {
            f.heap.left = toolkit_pick(&f.dice, 3) ? 0 : -1;
            random_step(false);
        }
        finish();
        f.heap.left = -1;
        drain(false);
        ck_assert_uint_eq(f.send.acked_to, f.written);
    }
}
END_TEST

START_TEST(a_refused_write_takes_nothing)
{
    ck_assert(copy_in(100));
    for (int64_t n = 0; n < 3; n++) {
        f.heap.left = n;
        ck_assert_int_eq(quic_stream_send_copy_in(&f.send, &f.mem, f.source, 4 * QUIC_CHUNK_LARGEST), ERR_NOMEM);
        ck_assert_uint_eq(f.send.written, 100);
    }
    quic_pools_clear(&f.pools, &f.mem);
    f.heap.left = 0;
    ck_assert_int_eq(quic_stream_send_reference(&f.send, &f.mem, f.source, 5, 0), ERR_NOMEM);
    ck_assert_uint_eq(f.send.written, 100);
    f.heap.left = -1;
}
END_TEST

START_TEST(states_follow_the_rfc)
{
    ck_assert_int_eq(f.send.state, QUIC_SEND_READY);
    copy_in(10);
    ck_assert_int_eq(f.send.state, QUIC_SEND_READY);
    send_piece(UINT64_MAX, 100, true);
    ck_assert_int_eq(f.send.state, QUIC_SEND_SEND);
    finish();
    send_piece(5, 100, true); /* a FIN alone needs no credit */
    ck_assert_int_eq(f.send.state, QUIC_SEND_DATA_SENT);
    settle(1, true);
    ck_assert_int_eq(f.send.state, QUIC_SEND_DATA_SENT);
    settle(0, true);
    ck_assert_int_eq(f.send.state, QUIC_SEND_DATA_RECVD);
}
END_TEST

START_TEST(a_lost_fin_goes_again_alone_or_with_its_bytes)
{
    copy_in(10);
    send_piece(UINT64_MAX, 100, true);
    finish();
    send_piece(UINT64_MAX, 100, true);
    struct quic_send_piece piece;
    ck_assert(!quic_stream_send_next(&f.send, UINT64_MAX, &piece));
    quic_stream_send_on_lost(&f.send, &f.mem, 10, 0, true);
    ck_assert(quic_stream_send_next(&f.send, UINT64_MAX, &piece));
    ck_assert(piece.fin && piece.again && piece.len == 0 && piece.offset == 10);
    quic_stream_send_on_lost(&f.send, &f.mem, 0, 10, false);
    ck_assert(quic_stream_send_next(&f.send, UINT64_MAX, &piece));
    ck_assert(piece.fin && piece.again && piece.len == 10 && piece.offset == 0);
    ck_assert(quic_stream_send_on_sent(&f.send, &f.mem, 0, 10, true));
    ck_assert(!quic_stream_send_next(&f.send, UINT64_MAX, &piece));
    quic_stream_send_on_acked(&f.send, &f.mem, 0, 10, true, released, &f);
    ck_assert(quic_stream_send_done(&f.send));
}
END_TEST

START_TEST(an_empty_stream_can_end)
{
    again(1, false);
    finish();
    ck_assert(send_piece(0, 100, true));
    settle(0, true);
    ck_assert(quic_stream_send_done(&f.send));
}
END_TEST

START_TEST(warm_bulk_writes_do_not_allocate)
{
    uint64_t calls = 0;
    for (unsigned round = 0; round < 20; round++) {
        static uint8_t block[65536], out[1200];
        ck_assert_int_eq(quic_stream_send_copy_in(&f.send, &f.mem, block, sizeof block), 0);
        while (f.send.sent < f.send.written) {
            uint64_t at = f.send.sent, n = f.send.written - at < sizeof out ? f.send.written - at : sizeof out;
            quic_stream_send_copy_out(&f.send, at, out, (size_t)n);
            ck_assert(quic_stream_send_on_sent(&f.send, &f.mem, at, n, false));
            quic_stream_send_on_acked(&f.send, &f.mem, at, n, false, NULL, NULL);
        }
        if (round == 0)
            calls = f.heap.calls;
    }
    ck_assert_uint_eq(f.heap.calls, calls);
}
END_TEST

START_TEST(small_writes_share_chunks)
{
    for (unsigned i = 0; i < 400; i++)
        copy_in(1);
    ck_assert_ptr_eq(f.send.first, f.send.last);
    ck_assert_uint_eq(f.heap.calls, 1);
    refer(10);
    copy_in(1); /* never into a reference */
    ck_assert_uint_eq(f.heap.calls, 3);
    finish();
    drain(true);
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {random_lives,
                            random_lives_end_in_a_reset,
                            memory_that_fails_now_and_then_loses_no_byte,
                            a_refused_write_takes_nothing,
                            states_follow_the_rfc,
                            a_lost_fin_goes_again_alone_or_with_its_bytes,
                            an_empty_stream_can_end,
                            warm_bulk_writes_do_not_allocate,
                            small_writes_share_chunks};
    return TOOLKIT_SUITE_WITH("quic/stream_send", tests, setup, teardown);
}
