/* Tokens: each opens for what it was made for and for nothing else; secrets rotate; reset tokens; scrambled IDs. */
#include "unit.h"

#include <string.h>

#include "crypto/token.h"

static void fill(void *user, uint8_t *out, size_t len) {
    uint8_t *next = user;
    for (size_t i = 0; i < len; i++)
        out[i] = (*next)++;
}

static struct base_mem mem;
static uint8_t drawn;
static const struct base_random rng = {fill, &drawn};
static const char bound[] = "192.0.2.1";
static const uint8_t plain[] = "the original destination connection ID";

static struct crypto_fleet *fleet_of(uint8_t seed) {
    uint8_t secret[CRYPTO_FLEET_SECRET_SIZE];
    memset(secret, seed, sizeof secret);
    struct crypto_fleet *fleet = crypto_fleet_new(&mem, secret);
    ck_assert_ptr_nonnull(fleet);
    return fleet;
}

static void rotate(struct crypto_fleet *fleet, uint8_t seed) {
    uint8_t secret[CRYPTO_FLEET_SECRET_SIZE];
    memset(secret, seed, sizeof secret);
    ck_assert(crypto_fleet_rotate(fleet, secret));
}

static size_t seal(struct crypto_fleet *fleet, uint8_t *token) {
    size_t len = crypto_token_seal(fleet, &rng, 1, bound, sizeof bound, plain, sizeof plain, token, CRYPTO_TOKEN_MAX);
    ck_assert_uint_eq(len, sizeof plain + CRYPTO_TOKEN_OVERHEAD);
    return len;
}

static int32_t open_as(struct crypto_fleet *fleet, uint8_t use, const char *to, const uint8_t *token, size_t len) {
    uint8_t out[CRYPTO_TOKEN_MAX];
    int32_t got = crypto_token_open(fleet, use, to, strlen(to) + 1, token, len, out, sizeof out);
    if (got >= 0) {
        ck_assert_int_eq(got, (int)sizeof plain);
        ck_assert_mem_eq(out, plain, sizeof plain);
    }
    return got;
}

static void begin(void) {
    base_mem_init(&mem, 0);
    drawn = 0;
}

static void end(void) { ck_assert(mem.used == 0); }

START_TEST(opens_for_its_purpose_only)
{
    struct crypto_fleet *fleet = fleet_of(1), *twin = fleet_of(1), *stranger = fleet_of(2);
    uint8_t token[CRYPTO_TOKEN_MAX];
    size_t len = seal(fleet, token);
    ck_assert_int_ge(open_as(fleet, 1, bound, token, len), 0);
    ck_assert_int_ge(open_as(twin, 1, bound, token, len), 0); /* another server of the fleet */
    ck_assert_int_eq(open_as(stranger, 1, bound, token, len), -1);
    ck_assert_int_eq(open_as(fleet, 2, bound, token, len), -1);
    ck_assert_int_eq(open_as(fleet, 1, "192.0.2.2", token, len), -1);
    ck_assert_int_eq(open_as(fleet, 1, "", token, len), -1);
    crypto_fleet_free(&mem, fleet);
    crypto_fleet_free(&mem, twin);
    crypto_fleet_free(&mem, stranger);
    crypto_fleet_free(&mem, NULL);
}
END_TEST

START_TEST(every_bit_counts)
{
    struct crypto_fleet *fleet = fleet_of(1);
    uint8_t token[CRYPTO_TOKEN_MAX];
    size_t len = seal(fleet, token);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        token[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(open_as(fleet, 1, bound, token, len), -1);
        token[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t cut = 0; cut < len; cut++)
        ck_assert_int_eq(open_as(fleet, 1, bound, token, cut), -1);
    ck_assert_int_eq(open_as(fleet, 1, bound, token, len + 1), -1);
    crypto_fleet_free(&mem, fleet);
}
END_TEST

START_TEST(sizes)
{
    struct crypto_fleet *fleet = fleet_of(1);
    uint8_t token[CRYPTO_TOKEN_MAX + 1], out[CRYPTO_TOKEN_MAX], text[CRYPTO_TOKEN_MAX] = {3};
    for (size_t len = 0; len <= CRYPTO_TOKEN_MAX - CRYPTO_TOKEN_OVERHEAD; len++) {
        size_t made = crypto_token_seal(fleet, &rng, 9, NULL, 0, text, len, token, CRYPTO_TOKEN_MAX);
        ck_assert_uint_eq(made, len + CRYPTO_TOKEN_OVERHEAD);
        ck_assert_int_eq(crypto_token_open(fleet, 9, NULL, 0, token, made, out, sizeof out), (int)len);
        ck_assert_mem_eq(out, text, len);
        ck_assert_uint_eq(crypto_token_seal(fleet, &rng, 9, NULL, 0, text, len, token, made - 1), 0);
        if (len)
            ck_assert_int_eq(crypto_token_open(fleet, 9, NULL, 0, token, made, out, len - 1), -1);
    }
    size_t over = CRYPTO_TOKEN_MAX - CRYPTO_TOKEN_OVERHEAD + 1;
    ck_assert_uint_eq(crypto_token_seal(fleet, &rng, 9, NULL, 0, text, over, token, sizeof token), 0);
    static const uint8_t wide[300];
    ck_assert_uint_eq(crypto_token_seal(fleet, &rng, 9, wide, sizeof wide, text, 1, token, sizeof token), 0);
    ck_assert_int_eq(crypto_token_open(fleet, 9, wide, sizeof wide, token, 60, out, sizeof out), -1);
    crypto_fleet_free(&mem, fleet);
}
END_TEST

START_TEST(no_two_tokens_alike)
{
    struct crypto_fleet *fleet = fleet_of(1);
    uint8_t one[CRYPTO_TOKEN_MAX], two[CRYPTO_TOKEN_MAX];
    size_t len = seal(fleet, one);
    seal(fleet, two);
    ck_assert_mem_ne(one + 13, two + 13, len - 13);
    crypto_fleet_free(&mem, fleet);
}
END_TEST

START_TEST(rotation)
{
    struct crypto_fleet *fleet = fleet_of(1);
    uint8_t token[CRYPTO_TOKEN_MAX], reset[3][16], cid[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    size_t len = seal(fleet, token);
    crypto_reset_token(fleet, 0, cid, sizeof cid, reset[0]);
    rotate(fleet, 2);
    ck_assert_int_ge(open_as(fleet, 1, bound, token, len), 0);
    crypto_reset_token(fleet, 1, cid, sizeof cid, reset[1]);
    crypto_reset_token(fleet, 0, cid, sizeof cid, reset[2]);
    ck_assert_mem_eq(reset[0], reset[1], 16);
    ck_assert_mem_ne(reset[0], reset[2], 16);
    rotate(fleet, 3);
    ck_assert_int_eq(open_as(fleet, 1, bound, token, len), -1);
    crypto_fleet_free(&mem, fleet);
}
END_TEST

START_TEST(same_id_of_two_secrets)
{
    /* Among 257 secrets two have the same id byte: the older one's tokens must still open. */
    struct crypto_fleet *fleets[256];
    uint8_t tokens[256][CRYPTO_TOKEN_MAX];
    int of_id[256];
    bool met = false;
    for (size_t i = 0; i < 256; i++)
        of_id[i] = -1;
    for (int i = 0; i < 256; i++) {
        fleets[i] = fleet_of((uint8_t)i);
        size_t len = seal(fleets[i], tokens[i]);
        int other = of_id[tokens[i][0]];
        of_id[tokens[i][0]] = i;
        if (other < 0)
            continue;
        met = true;
        rotate(fleets[other], (uint8_t)i);
        ck_assert_int_ge(open_as(fleets[other], 1, bound, tokens[i], len), 0);
        ck_assert_int_ge(open_as(fleets[other], 1, bound, tokens[other], len), 0);
    }
    ck_assert(met);
    for (size_t i = 0; i < 256; i++)
        crypto_fleet_free(&mem, fleets[i]);
}
END_TEST

START_TEST(reset_tokens)
{
    struct crypto_fleet *fleet = fleet_of(1), *twin = fleet_of(1);
    uint8_t cid[20] = {9}, a[16], b[16];
    crypto_reset_token(fleet, 0, cid, 20, a);
    crypto_reset_token(twin, 0, cid, 20, b);
    ck_assert_mem_eq(a, b, 16);
    crypto_reset_token(fleet, 0, cid, 19, b);
    ck_assert_mem_ne(a, b, 16);
    cid[19] ^= 1;
    crypto_reset_token(fleet, 0, cid, 20, b);
    ck_assert_mem_ne(a, b, 16);
    crypto_reset_token(fleet, 1, cid, 20, a); /* there was no secret before */
    ck_assert_mem_eq(a, b, 16);
    crypto_fleet_free(&mem, fleet);
    crypto_fleet_free(&mem, twin);
}
END_TEST

/* Tokens outlive the process, and other members of the fleet may be older: HMAC-SHA-256, with a key that is
 * HKDF-Expand(secret, "weft reset", 32), of the connection ID; its first 16 bytes. */
START_TEST(known_reset_tokens)
{
    static const uint8_t of_8[] = {0xc0, 0x1d, 0xf8, 0x84, 0xff, 0xb3, 0xc8, 0x02,
                                   0x00, 0xa6, 0x2f, 0x7e, 0xe7, 0x23, 0x51, 0x22};
    static const uint8_t of_20[] = {0xc5, 0xe9, 0x5c, 0xe6, 0xd3, 0xfb, 0x98, 0x74,
                                    0x28, 0xe2, 0xaf, 0x12, 0x65, 0x0f, 0x30, 0x10};
    struct crypto_fleet *fleet = fleet_of(1);
    uint8_t cid[20], token[16];
    for (uint8_t i = 0; i < 8; i++)
        cid[i] = (uint8_t)(i + 1);
    crypto_reset_token(fleet, 0, cid, 8, token);
    ck_assert_mem_eq(token, of_8, 16);
    rotate(fleet, 2);
    for (uint8_t i = 0; i < 20; i++)
        cid[i] = i;
    crypto_reset_token(fleet, 1, cid, 20, token);
    ck_assert_mem_eq(token, of_20, 16);
    crypto_fleet_free(&mem, fleet);
}
END_TEST

START_TEST(scrambling)
{
    struct crypto_fleet *fleet = fleet_of(1), *other = fleet_of(2);
    uint8_t in[16] = {1, 2, 3}, out[16], back[16], differ[16];
    crypto_fleet_scramble(fleet, in, out);
    ck_assert_mem_ne(in, out, 16);
    crypto_fleet_unscramble(fleet, out, back);
    ck_assert_mem_eq(in, back, 16);
    crypto_fleet_scramble(other, in, differ);
    ck_assert_mem_ne(out, differ, 16);
    crypto_fleet_scramble(fleet, in, in); /* in place */
    ck_assert_mem_eq(in, out, 16);
    crypto_fleet_free(&mem, fleet);
    crypto_fleet_free(&mem, other);
}
END_TEST

START_TEST(needs_memory)
{
    uint8_t secret[CRYPTO_FLEET_SECRET_SIZE] = {0};
    base_mem_init(&mem, 16);
    ck_assert_ptr_null(crypto_fleet_new(&mem, secret));
}
END_TEST

Suite *unit_suite(void) {
    Suite *suite = suite_create("token");
    TCase *tests = tcase_create("token");
    tcase_add_checked_fixture(tests, begin, end);
    tcase_add_test(tests, opens_for_its_purpose_only);
    tcase_add_test(tests, every_bit_counts);
    tcase_add_test(tests, sizes);
    tcase_add_test(tests, no_two_tokens_alike);
    tcase_add_test(tests, rotation);
    tcase_add_test(tests, same_id_of_two_secrets);
    tcase_add_test(tests, reset_tokens);
    tcase_add_test(tests, known_reset_tokens);
    tcase_add_test(tests, scrambling);
    tcase_add_test(tests, needs_memory);
    suite_add_tcase(suite, tests);
    return suite;
}
