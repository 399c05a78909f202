/* Connection IDs: the codec's permutation, our set's limits, the peer's set against repetition, delay and abuse. */
#include "quic/cid.h"

#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "hex.h"
#include "quic/stream.h"
#include "unit.h"

static struct quic_cid cid_of(uint64_t mark) {
    struct quic_cid cid = {.len = 8};
    memcpy(cid.id, &mark, cid.len);
    return cid;
}

static void token_of(uint64_t mark, uint8_t token[16]) {
    memset(token, 0x80, 16);
    memcpy(token, &mark, sizeof mark);
}

static enum quic_error add(struct quic_remote_cids *set, uint64_t sequence, uint64_t prior, unsigned *mask) {
    struct quic_cid cid = cid_of(sequence + 1);
    uint8_t token[16];
    token_of(sequence + 1, token);
    unsigned own;
    return quic_remote_cids_add(set, sequence, prior, &cid, token, mask ? mask : &own);
}

static struct quic_remote_cids remote(uint8_t limit) {
    struct quic_remote_cids set;
    struct quic_cid first = cid_of(1);
    quic_remote_cids_init(&set, limit);
    quic_remote_cids_set_initial(&set, &first);
    return set;
}

static unsigned owed(const struct quic_remote_cids *set) {
    unsigned count = 0;
    for (unsigned i = 0; i < QUIC_RETIRES; i++)
        count += set->retire[i].want == QUIC_WANTED;
    return count;
}

static bool owes(const struct quic_remote_cids *set, uint64_t sequence) {
    for (unsigned i = 0; i < QUIC_RETIRES; i++)
        if (set->retire[i].want == QUIC_WANTED && set->retire[i].sequence == sequence)
            return true;
    return false;
}

static void settle_retires(struct quic_remote_cids *set) {
    for (unsigned i = 0; i < QUIC_RETIRES; i++)
        if (set->retire[i].want == QUIC_WANTED)
            set->retire[i].want = QUIC_WANT_DONE;
}

/* ---- the codec ---- */

START_TEST(codec_gives_back_what_was_put_in)
{
    struct quic_cid_codec codec = {.secret = "0123456789abcde", .engine = 7};
    static const uint32_t slots[] = {0, 1, 255, 65536, (1u << 24) - 1};
    for (unsigned i = 0; i < sizeof slots / sizeof *slots; i++) {
        for (uint64_t serial = 0; serial < QUIC_CID_SERIALS; serial = 3 * serial + 1) {
            struct quic_cid cid;
            quic_cid_encode(&codec, slots[i], serial, &cid);
            ck_assert_uint_eq(cid.len, QUIC_LOCAL_CID_LEN);
            ck_assert_uint_eq(cid.id[0], 7);
            uint32_t slot;
            ck_assert(quic_cid_decode(&codec, cid.id, cid.len, &slot));
            ck_assert_uint_eq(slot, slots[i]);
        }
    }
}
END_TEST

START_TEST(codec_refuses_other_lengths_and_engines)
{
    struct quic_cid_codec codec = {.engine = 1}, other = {.engine = 2};
    struct quic_cid cid;
    quic_cid_encode(&codec, 5, 6, &cid);
    uint32_t slot;
    ck_assert(!quic_cid_decode(&other, cid.id, cid.len, &slot));
    ck_assert(!quic_cid_decode(&codec, cid.id, 9, &slot));
    ck_assert(!quic_cid_decode(&codec, cid.id, 20, &slot));
    ck_assert(!quic_cid_decode(&codec, cid.id, 0, &slot));
}
END_TEST

/* Two IDs of one connection differ in about half of their 72 bits, as those of two connections do; another key gives
 * other IDs. */
START_TEST(codec_hides_what_belongs_together)
{
    struct quic_cid_codec codec = {.secret = "key one"}, other = {.secret = "key two"};
    unsigned bits = 0, rounds = 256, same = 0;
    for (unsigned i = 0; i < rounds; i++) {
        struct quic_cid a, b, c;
        quic_cid_encode(&codec, 9, 2 * i, &a);
        quic_cid_encode(&codec, 9, 2 * i + 1, &b);
        quic_cid_encode(&other, 9, 2 * i, &c);
        same += quic_cid_equal(&a, &c);
        for (unsigned k = 1; k < 10; k++)
            bits += (unsigned)__builtin_popcount(a.id[k] ^ b.id[k]);
    }
    ck_assert_uint_eq(same, 0);
    ck_assert_uint_gt(bits, rounds * 34);
    ck_assert_uint_lt(bits, rounds * 38);
}
END_TEST

/* Nonces of any length: each value once, for as many as there are. */
START_TEST(no_id_comes_twice)
{
    struct quic_cid_codec codec = {.secret = "key one"};
    static bool seen[1 << 16];
    for (uint64_t serial = 0; serial < 1 << 16; serial++) {
        uint8_t out[2];
        ck_assert(quic_cid_nth(&codec, serial, out, 2));
        require(!seen[out[0] << 8 | out[1]], "comes again");
        seen[out[0] << 8 | out[1]] = true;
    }
    uint8_t out[8];
    ck_assert(!quic_cid_nth(&codec, 1 << 16, out, 2));
    ck_assert(!quic_cid_nth(&codec, UINT64_MAX, out, 7));
    ck_assert(quic_cid_nth(&codec, UINT64_MAX, out, 8));
    /* IDs of one connection, beyond what a byte of sequence number could tell apart */
    struct base_mem mem;
    struct base_map map;
    base_mem_init(&mem, 0);
    base_map_init(&map, &mem, codec.secret);
    for (uint64_t serial = 0; serial < 5000; serial++) {
        struct quic_cid cid;
        uint64_t before;
        quic_cid_encode(&codec, 3, serial, &cid);
        require(!base_map_get(&map, cid.id, cid.len, &before), "an ID comes again");
        require(base_map_put(&map, cid.id, cid.len, serial), "no memory");
    }
    base_map_clear(&map);
}
END_TEST

/* ---- IDs we issued ---- */

START_TEST(local_ids_are_found_until_retired)
{
    struct quic_local_cids set;
    quic_local_cids_init(&set);
    set.limit = 4;
    struct quic_cid a = cid_of(1), b = cid_of(2);
    ck_assert_uint_eq(quic_local_cids_add(&set, &a)->sequence, 0);
    ck_assert_uint_eq(quic_local_cids_add(&set, &b)->sequence, 1);
    ck_assert_uint_eq(quic_local_cids_room(&set), 2);
    ck_assert_ptr_nonnull(quic_local_cids_find(&set, a.id, a.len));
    ck_assert_ptr_null(quic_local_cids_find(&set, a.id, 7));
    ck_assert_int_eq(quic_local_cids_retire(&set, 0, &b), QUIC_NO_ERROR);
    ck_assert_ptr_null(quic_local_cids_find(&set, a.id, a.len));
    ck_assert_ptr_nonnull(quic_local_cids_find(&set, b.id, b.len));
    ck_assert_int_eq(quic_local_cids_retire(&set, 0, &b), QUIC_NO_ERROR); /* again */
    ck_assert_uint_eq(quic_local_cids_room(&set), 3);
    struct quic_cid c = cid_of(3);
    ck_assert_uint_eq(quic_local_cids_add(&set, &c)->sequence, 2); /* numbers are not reused */
}
END_TEST

START_TEST(local_ids_are_announced_but_for_the_first)
{
    struct quic_local_cids set;
    quic_local_cids_init(&set);
    struct quic_cid a = cid_of(1), b = cid_of(2), c = cid_of(3);
    ck_assert_uint_eq(quic_local_cids_add(&set, &a)->want,
                      QUIC_WANT_NOT); /* sequence 0: the handshake's headers carry it */
    struct quic_local_cid *entry = quic_local_cids_add(&set, &b);
    ck_assert_uint_eq(entry->want, QUIC_WANTED);
    entry->want = QUIC_WANT_DONE;
    ck_assert_int_eq(quic_local_cids_retire(&set, 1, &a), QUIC_NO_ERROR);
    ck_assert_uint_eq(quic_local_cids_add(&set, &c)->want, QUIC_WANTED); /* whatever stood in its place before */
}
END_TEST

START_TEST(local_ids_refuse_impossible_retirements)
{
    struct quic_local_cids set;
    quic_local_cids_init(&set);
    struct quic_cid a = cid_of(1);
    quic_local_cids_add(&set, &a);
    ck_assert_int_eq(quic_local_cids_retire(&set, 1, &a), QUIC_PROTOCOL_VIOLATION); /* never issued */
    ck_assert_int_eq(quic_local_cids_retire(&set, 0, &a), QUIC_PROTOCOL_VIOLATION); /* the packet came to it */
    ck_assert_ptr_nonnull(quic_local_cids_find(&set, a.id, a.len));
}
END_TEST

START_TEST(local_ids_end_at_their_number)
{
    struct quic_local_cids set;
    quic_local_cids_init(&set);
    set.limit = 200; /* the peer would take more than there is room for */
    for (uint8_t i = 0; i < QUIC_CIDS; i++) {
        struct quic_cid cid = cid_of(i);
        ck_assert_uint_eq(quic_local_cids_room(&set), QUIC_CIDS - i);
        ck_assert_ptr_nonnull(quic_local_cids_add(&set, &cid));
    }
    struct quic_cid cid = cid_of(99);
    ck_assert_ptr_null(quic_local_cids_add(&set, &cid));
    ck_assert_uint_eq(quic_local_cids_room(&set), 0);
    ck_assert_uint_eq(set.next_sequence, QUIC_CIDS);
}
END_TEST

/* ---- IDs the peer issued ---- */

START_TEST(remote_repetition_changes_nothing)
{
    struct quic_remote_cids set = remote(4);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(add(&set, 1, 0, NULL), QUIC_NO_ERROR);
    ck_assert_ptr_nonnull(quic_remote_cids_take(&set, 1));
    ck_assert_ptr_null(quic_remote_cids_take(&set, 2));
}
END_TEST

START_TEST(remote_contradictions_are_violations)
{
    struct quic_remote_cids set = remote(4);
    unsigned mask;
    uint8_t token[16], other[16];
    token_of(2, token);
    token_of(3, other);
    struct quic_cid one = cid_of(2), two = cid_of(3), first = cid_of(1);
    ck_assert_int_eq(quic_remote_cids_add(&set, 1, 0, &one, token, &mask), QUIC_NO_ERROR);
    ck_assert_int_eq(quic_remote_cids_add(&set, 1, 0, &two, token, &mask), QUIC_PROTOCOL_VIOLATION);
    ck_assert_int_eq(quic_remote_cids_add(&set, 1, 0, &one, other, &mask), QUIC_PROTOCOL_VIOLATION);
    ck_assert_int_eq(quic_remote_cids_add(&set, 2, 0, &one, token, &mask), QUIC_PROTOCOL_VIOLATION);
    ck_assert_int_eq(quic_remote_cids_add(&set, 2, 0, &first, token, &mask), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

START_TEST(remote_limit_counts_active_ones)
{
    struct quic_remote_cids set = remote(3);
    ck_assert_int_eq(add(&set, 1, 0, NULL), QUIC_NO_ERROR);
    ck_assert_int_eq(add(&set, 2, 0, NULL), QUIC_NO_ERROR);
    ck_assert_int_eq(add(&set, 3, 0, NULL), QUIC_CONNECTION_ID_LIMIT_ERROR);
    set = remote(3);
    ck_assert_int_eq(add(&set, 1, 0, NULL), QUIC_NO_ERROR);
    ck_assert_int_eq(add(&set, 2, 0, NULL), QUIC_NO_ERROR);
    unsigned mask;
    ck_assert_int_eq(add(&set, 3, 1, &mask), QUIC_NO_ERROR); /* the same frame makes room */
    ck_assert_uint_eq(mask, 1);
    ck_assert(owes(&set, 0));
}
END_TEST

START_TEST(remote_retire_prior_to_names_the_paths)
{
    struct quic_remote_cids set = remote(4);
    add(&set, 1, 0, NULL);
    add(&set, 2, 0, NULL);
    struct quic_remote_cid *entry = quic_remote_cids_take(&set, 2);
    ck_assert_uint_eq(entry->sequence, 1);
    unsigned mask;
    ck_assert_int_eq(add(&set, 3, 2, &mask), QUIC_NO_ERROR);
    ck_assert_uint_eq(mask, 1u << 0 | 1u << 2);
    ck_assert_uint_eq(owed(&set), 2);
    ck_assert_ptr_null(quic_remote_cids_of_path(&set, 0));
    ck_assert_uint_eq(quic_remote_cids_take(&set, 0)->sequence, 3); /* the first entry that is free was given to it */
    ck_assert_uint_eq(quic_remote_cids_take(&set, 2)->sequence, 2);
    /* a smaller one that comes late does nothing */
    ck_assert_int_eq(add(&set, 4, 1, &mask), QUIC_NO_ERROR);
    ck_assert_uint_eq(mask, 0);
    ck_assert_uint_eq(set.retire_prior_to, 2);
}
END_TEST

START_TEST(remote_latecomer_below_the_bound_is_retired_at_once)
{
    struct quic_remote_cids set = remote(4);
    ck_assert_int_eq(add(&set, 3, 2, NULL), QUIC_NO_ERROR);
    ck_assert_int_eq(add(&set, 1, 0, NULL), QUIC_NO_ERROR);
    ck_assert(owes(&set, 1));
    ck_assert(owes(&set, 0));
    ck_assert_uint_eq(owed(&set), 2);
}
END_TEST

/* A frame delayed in the network repeats an ID that was retired meanwhile: it must not come back. */
START_TEST(remote_retired_id_does_not_come_back)
{
    struct quic_remote_cids set = remote(4);
    add(&set, 1, 0, NULL);
    quic_remote_cids_take(&set, 1);
    quic_remote_cids_release(&set, 1);
    ck_assert(owes(&set, 1));
    settle_retires(&set);
    ck_assert_int_eq(add(&set, 1, 0, NULL), QUIC_NO_ERROR);
    ck_assert_uint_eq(owed(&set), 0);
    ck_assert_ptr_null(quic_remote_cids_take(&set, 1));
}
END_TEST

START_TEST(remote_long_life)
{
    struct quic_remote_cids set = remote(4);
    for (uint64_t sequence = 1; sequence < 1000; sequence++) {
        ck_assert_int_eq(add(&set, sequence, 0, NULL), QUIC_NO_ERROR);
        ck_assert_ptr_nonnull(quic_remote_cids_take(&set, 1));
        quic_remote_cids_release(&set, 1);
        ck_assert(owes(&set, sequence));
        settle_retires(&set);
    }
    /* sequence 0 is still in use, and its frame may be repeated even though it left the window */
    ck_assert_uint_eq(quic_remote_cids_of_path(&set, 0)->sequence, 0);
    ck_assert_int_eq(add(&set, 0, 0, NULL), QUIC_NO_ERROR);
    ck_assert_uint_eq(owed(&set), 0);
    /* one that nobody can remember is retired, not used */
    ck_assert_int_eq(add(&set, 1, 0, NULL), QUIC_NO_ERROR);
    ck_assert(owes(&set, 1));
    ck_assert_ptr_null(quic_remote_cids_take(&set, 1));
}
END_TEST

START_TEST(remote_owes_no_more_than_it_can_hold)
{
    struct quic_remote_cids set = remote(2);
    enum quic_error error = QUIC_NO_ERROR;
    uint64_t sequence = 1;
    for (; sequence < 100 && !error; sequence++)
        error = add(&set, sequence, sequence, NULL); /* each retires the one before; none is ever acknowledged */
    ck_assert_int_eq(error, QUIC_CONNECTION_ID_LIMIT_ERROR);
    ck_assert_uint_eq(sequence, QUIC_RETIRES + 2);
}
END_TEST

START_TEST(remote_release_without_room_waits)
{
    struct quic_remote_cids set = remote(4);
    for (unsigned i = 0; i < QUIC_RETIRES; i++) {
        set.retire[i].want = QUIC_IN_FLIGHT;
        set.retire[i].sequence = 1000 + i;
    }
    add(&set, 1, 0, NULL);
    quic_remote_cids_take(&set, 1);
    quic_remote_cids_release(&set, 1);
    ck_assert(!owes(&set, 1));
    ck_assert_ptr_null(quic_remote_cids_of_path(&set, 1));
    ck_assert_ptr_null(quic_remote_cids_take(&set, 1)); /* given up is given up */
    set.retire[3].want = QUIC_WANT_DONE;
    add(&set, 2, 0, NULL);
    ck_assert(owes(&set, 1));
}
END_TEST

START_TEST(remote_zero_length_serves_every_path)
{
    struct quic_remote_cids set;
    struct quic_cid none = {.len = 0};
    quic_remote_cids_init(&set, 4);
    quic_remote_cids_set_initial(&set, &none);
    ck_assert_ptr_nonnull(quic_remote_cids_take(&set, 1));
    ck_assert_ptr_eq(quic_remote_cids_of_path(&set, 1), quic_remote_cids_of_path(&set, 0));
    quic_remote_cids_release(&set, 0);
    quic_remote_cids_release(&set, 1);
    ck_assert_uint_eq(owed(&set), 0);
    ck_assert_ptr_nonnull(quic_remote_cids_of_path(&set, 0));
    ck_assert_int_eq(add(&set, 1, 0, NULL), QUIC_PROTOCOL_VIOLATION);
}
END_TEST

START_TEST(remote_shared_id_is_retired_by_its_last_user)
{
    struct quic_remote_cids set = remote(4);
    ck_assert_ptr_nonnull(quic_remote_cids_share(&set, 3, 0));
    ck_assert_ptr_null(quic_remote_cids_share(&set, 3, 2));
    quic_remote_cids_release(&set, 0);
    ck_assert_uint_eq(owed(&set), 0);
    ck_assert_uint_eq(quic_remote_cids_of_path(&set, 3)->sequence, 0);
    quic_remote_cids_release(&set, 3);
    ck_assert(owes(&set, 0));
    quic_remote_cids_release(&set, 3);
    ck_assert_uint_eq(owed(&set), 1);
}
END_TEST

START_TEST(remote_initial_is_replaced)
{
    struct quic_remote_cids set = remote(4);
    struct quic_cid chosen = cid_of(42);
    quic_remote_cids_set_initial(&set, &chosen); /* the server's answer replaces the random one */
    ck_assert(quic_cid_equal(&quic_remote_cids_of_path(&set, 0)->cid, &chosen));
    ck_assert_uint_eq(owed(&set), 0);
    ck_assert_ptr_null(quic_remote_cids_take(&set, 1));
}
END_TEST

START_TEST(reset_token_counts_while_its_id_is_used)
{
    struct quic_remote_cids set = remote(4);
    uint8_t first[16], second[16];
    token_of(77, first);
    token_of(2, second);
    ck_assert(!quic_remote_cids_is_reset(&set, first));
    uint8_t zero[16] = {0};
    ck_assert(!quic_remote_cids_is_reset(&set, zero)); /* no token is not a token of zeros */
    quic_remote_cids_set_token(&set, first);
    ck_assert(quic_remote_cids_is_reset(&set, first));
    add(&set, 1, 0, NULL);
    ck_assert(!quic_remote_cids_is_reset(&set, second)); /* a spare one was never used */
    quic_remote_cids_take(&set, 1);
    ck_assert(quic_remote_cids_is_reset(&set, second));
    quic_remote_cids_release(&set, 1);
    ck_assert(!quic_remote_cids_is_reset(&set, second)); /* retired */
    first[15] ^= 1;
    ck_assert(!quic_remote_cids_is_reset(&set, first));
}
END_TEST

Suite *unit_suite(void) {
    static const TTest *const *const tests[] = {
        &codec_gives_back_what_was_put_in,
        &codec_refuses_other_lengths_and_engines,
        &codec_hides_what_belongs_together,
        &no_id_comes_twice,
        &local_ids_are_found_until_retired,
        &local_ids_are_announced_but_for_the_first,
        &local_ids_refuse_impossible_retirements,
        &local_ids_end_at_their_number,
        &remote_repetition_changes_nothing,
        &remote_contradictions_are_violations,
        &remote_limit_counts_active_ones,
        &remote_retire_prior_to_names_the_paths,
        &remote_latecomer_below_the_bound_is_retired_at_once,
        &remote_retired_id_does_not_come_back,
        &remote_long_life,
        &remote_owes_no_more_than_it_can_hold,
        &remote_release_without_room_waits,
        &remote_zero_length_serves_every_path,
        &remote_shared_id_is_retired_by_its_last_user,
        &remote_initial_is_replaced,
        &reset_token_counts_while_its_id_is_used,
    };
    Suite *suite = suite_create("quic/cid");
    TCase *tcase = tcase_create("cid");
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        tcase_add_test(tcase, *tests[i]);
    suite_add_tcase(suite, tcase);
    return suite;
}
