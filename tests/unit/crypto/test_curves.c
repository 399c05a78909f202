/* test_curves.c - X25519 and ECDSA with P-256 as wolfSSL does them for us: with s2n-bignum's routines where the
 * processor has their instructions, with wolfCrypt's own elsewhere (scripts/wolfssl_bignum.h). Published vectors,
 * edges, and both ways against each other; for P-256 also against the plain arithmetic of numbers, of which neither
 * makes use. Each test runs twice, the second time as on a processor without extensions. */
#include "../../../core/crypto/tls_impl.h"

#include "unit.h"
#include "vectors.h"

#include <wolfssl/wolfcrypt/cpuid.h>
#include <wolfssl/wolfcrypt/curve25519.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/sp.h>
#include <wolfssl/wolfcrypt/wolfmath.h>

enum { SIZE = 32, ROUNDS = 2000 };

static WC_RNG rng;

#ifdef IS_INTEL_ADX
static cpuid_flags_t had;
static void use_extensions(bool on) { cpuid_select_flags(on ? had : 0); }
static void remember_extensions(void) { had = cpuid_get_flags(); }
#else
static void use_extensions(bool on) { (void)on; }
static void remember_extensions(void) {}
#endif

static void setup(void) {
    uint8_t seed[32] = {25};
    ck_assert(crypto_init());
    remember_extensions();
    crypto_deterministic(seed);
    ck_assert_int_eq(wc_InitRng(&rng), 0);
}

static void teardown(void) {
    wc_FreeRng(&rng);
    crypto_deterministic(NULL);
    use_extensions(true);
    crypto_cleanup();
}

static void draw(uint8_t out[SIZE]) { UNIT_CHECK(crypto_random(out, SIZE)); }

/* --- X25519 ------------------------------------------------------------------------------------------------------ */

/* Little-endian, as in RFC 7748. The scalar is clamped when it is imported. */
static int x25519(uint8_t out[SIZE], const uint8_t scalar[SIZE], const uint8_t point[SIZE]) {
    curve25519_key ours, theirs;
    word32 len = SIZE;
    UNIT_CHECK(wc_curve25519_init(&ours) == 0 && wc_curve25519_init(&theirs) == 0);
    UNIT_CHECK(wc_curve25519_import_private_ex(scalar, SIZE, &ours, EC25519_LITTLE_ENDIAN) == 0);
    UNIT_CHECK(wc_curve25519_import_public_ex(point, SIZE, &theirs, EC25519_LITTLE_ENDIAN) == 0);
    int status = wc_curve25519_shared_secret_ex(&ours, &theirs, out, &len, EC25519_LITTLE_ENDIAN);
    UNIT_CHECK(len == SIZE);
    wc_curve25519_free(&ours);
    wc_curve25519_free(&theirs);
    return status;
}

static void x25519_public(uint8_t out[SIZE], const uint8_t scalar[SIZE]) {
    uint8_t clamped[SIZE];
    memcpy(clamped, scalar, SIZE);
    clamped[0] &= 248;
    clamped[SIZE - 1] = (clamped[SIZE - 1] & 127) | 64;
    UNIT_CHECK(wc_curve25519_make_pub(SIZE, out, SIZE, clamped) == 0);
}

/* RFC 7748 5.2; who is given a point masks its top bit (5), which is set in the second. */
START_TEST(x25519_vectors)
{
    static const char *const vectors[][3] = {
        {"a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
         "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
         "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552"},
        {"4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
         "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
         "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957"},
    };
    use_extensions(_i == 0);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint8_t scalar[SIZE], point[SIZE], expected[SIZE], result[SIZE];
        unhex(vectors[i][0], scalar);
        unhex(vectors[i][1], point);
        unhex(vectors[i][2], expected);
        point[SIZE - 1] &= 127;
        ck_assert_int_eq(x25519(result, scalar, point), 0);
        ck_assert_mem_eq(result, expected, SIZE);
    }
}
END_TEST

/* RFC 7748 5.2: a thousand times, of which the results of the first and of the last are known. */
START_TEST(x25519_again_and_again)
{
    static const char first[] = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
    static const char last[] = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
    uint8_t k[SIZE] = {9}, u[SIZE] = {9}, expected[SIZE], result[SIZE];
    use_extensions(_i == 0);
    for (int i = 1; i <= 1000; i++) {
        UNIT_CHECK(x25519(result, k, u) == 0);
        memcpy(u, k, SIZE);
        u[SIZE - 1] &= 127;
        memcpy(k, result, SIZE);
        if (i == 1 || i == 1000) {
            unhex(i == 1 ? first : last, expected);
            ck_assert_mem_eq(result, expected, SIZE);
        }
    }
}
END_TEST

/* RFC 7748 6.1. */
START_TEST(x25519_of_two)
{
    static const char *const text[] = {
        "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
        "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
        "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    };
    uint8_t alice[SIZE], alice_public[SIZE], bob[SIZE], bob_public[SIZE], shared[SIZE], result[SIZE];
    use_extensions(_i == 0);
    unhex(text[0], alice);
    unhex(text[1], alice_public);
    unhex(text[2], bob);
    unhex(text[3], bob_public);
    unhex(text[4], shared);
    x25519_public(result, alice);
    ck_assert_mem_eq(result, alice_public, SIZE);
    x25519_public(result, bob);
    ck_assert_mem_eq(result, bob_public, SIZE);
    ck_assert_int_eq(x25519(result, alice, bob_public), 0);
    ck_assert_mem_eq(result, shared, SIZE);
    ck_assert_int_eq(x25519(result, bob, alice_public), 0);
    ck_assert_mem_eq(result, shared, SIZE);
}
END_TEST

/* The points of low order bring every scalar to zero: refused (RFC 7748 6.1, RFC 8446 7.4.2). */
START_TEST(x25519_low_order)
{
    static const char *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", /* p - 1 */
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    };
    use_extensions(_i == 0);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        uint8_t scalar[SIZE], point[SIZE], result[SIZE];
        unhex(points[i], point);
        for (int round = 0; round < 20; round++) {
            draw(scalar);
            memset(result, 0xa5, sizeof result);
            ck_assert_int_eq(x25519(result, scalar, point), ECC_OUT_OF_RANGE_E);
            ck_assert(result[0] == 0xa5 && result[SIZE - 1] == 0xa5);
        }
    }
}
END_TEST

/* p + 2 ... 2^255 - 1 are taken modulo p (RFC 7748 5); a top bit is wolfCrypt's to refuse, before it calls anybody. */
START_TEST(x25519_not_canonical)
{
    uint8_t scalar[SIZE], point[SIZE], small[SIZE] = {0}, expected[SIZE], result[SIZE];
    use_extensions(_i == 0);
    for (uint8_t u = 2; u <= 18; u++) {
        memset(point, 0xff, SIZE);
        point[0] = (uint8_t)(0xed + u);
        point[SIZE - 1] = 0x7f;
        small[0] = u;
        draw(scalar);
        ck_assert_int_eq(x25519(expected, scalar, small), 0);
        ck_assert_int_eq(x25519(result, scalar, point), 0);
        ck_assert_mem_eq(result, expected, SIZE);
        point[SIZE - 1] = 0xff;
        ck_assert_int_eq(x25519(result, scalar, point), ECC_BAD_ARG_E);
    }
}
END_TEST

START_TEST(x25519_is_the_same_either_way)
{
    for (int i = 0; i < ROUNDS; i++) {
        uint8_t scalar[SIZE], point[SIZE], public[2][SIZE], shared[2][SIZE];
        draw(scalar);
        draw(point);
        point[SIZE - 1] &= 127;
        for (int way = 0; way < 2; way++) {
            use_extensions(way == 0);
            x25519_public(public[way], scalar);
            UNIT_CHECK(x25519(shared[way], scalar, point) == 0);
        }
        UNIT_CHECK(memcmp(public[0], public[1], SIZE) == 0 && memcmp(shared[0], shared[1], SIZE) == 0);
    }
}
END_TEST

/* --- ECDSA with P-256 -------------------------------------------------------------------------------------------- */

static const char order_text[] = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
static mp_int order;

static void number(mp_int *out, const char *text) {
    uint8_t bytes[SIZE];
    size_t len = unhex(text, bytes);
    UNIT_CHECK(mp_init(out) == MP_OKAY && mp_read_unsigned_bin(out, bytes, (word32)len) == MP_OKAY);
}

static void setup_p256(void) {
    setup();
    number(&order, order_text);
}

static void draw_number(mp_int *out) { /* 1 ... order - 1 */
    uint8_t bytes[SIZE];
    draw(bytes);
    UNIT_CHECK(mp_init(out) == MP_OKAY && mp_read_unsigned_bin(out, bytes, SIZE) == MP_OKAY);
    UNIT_CHECK(mp_mod(out, &order, out) == MP_OKAY && !mp_iszero(out));
}

/* The pair of keys with this secret. */
static void key_of(ecc_key *key, mp_int *secret) {
    uint8_t bytes[SIZE];
    UNIT_CHECK(mp_to_unsigned_bin_len(secret, bytes, SIZE) == MP_OKAY);
    UNIT_CHECK(wc_ecc_init(key) == 0);
    UNIT_CHECK(wc_ecc_import_private_key_ex(bytes, SIZE, NULL, 0, key, ECC_SECP256R1) == 0);
    UNIT_CHECK(wc_ecc_make_pub_ex(key, NULL, &rng) == 0);
    UNIT_CHECK(wc_ecc_check_key(key) == 0); /* the point lies on the curve */
}

static bool verifies(mp_int *r, mp_int *s, const uint8_t hash[SIZE], ecc_key *key) {
    int good = 0;
    return wc_ecc_verify_hash_ex(r, s, hash, SIZE, &good, key) == 0 && good == 1;
}

/* Numbers at which an inverse, or a multiple of the base point, could go wrong: at both ends, around the middle, and
 * with long runs of bits. */
static const char *const edges[] = {
    "01",
    "02",
    "03",
    "ffffffffffffffff",
    "010000000000000000",
    "0100000000000000000000000000000000",
    "010000000000000000000000000000000000000000000000",
    "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8", /* (order - 1) / 2 */
    "7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a9", /* its successor, 1 / 2 */
    "00000000ffffffff00000000000000004319055258e8617b0c46353d039cdaaf", /* 2^256 modulo the order */
    "ffffffff00000000ffffffffffffffff00000000000000000000000000000000",
    "8000000000000000000000000000000000000000000000000000000000000000",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc63254f", /* order - 2 */
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550", /* order - 1 */
};
enum { EDGES = sizeof edges / sizeof edges[0] };

static void number_at(mp_int *out, int i) { /* the edges come first */
    if (i < EDGES)
        number(out, edges[i]);
    else
        draw_number(out);
}

/* The base point's multiples. */
START_TEST(p256_keys_are_the_same_either_way)
{
    for (int i = 0; i < EDGES + ROUNDS; i++) {
        uint8_t points[2][2 * SIZE + 1];
        mp_int secret;
        number_at(&secret, i);
        for (int way = 0; way < 2; way++) {
            ecc_key key;
            word32 len = sizeof points[way];
            use_extensions(way == 0);
            key_of(&key, &secret);
            UNIT_CHECK(wc_ecc_export_x963(&key, points[way], &len) == 0 && len == sizeof points[way]);
            wc_ecc_free(&key);
        }
        UNIT_CHECK(memcmp(points[0], points[1], sizeof points[0]) == 0);
    }
}
END_TEST

/* Signatures with secrets and nonces of the generator's; what was signed verifies, and nothing else. */
START_TEST(p256_signs_and_verifies)
{
    use_extensions(_i == 0);
    for (int i = 0; i < ROUNDS; i++) {
        mp_int secret;
        ecc_key key;
        uint8_t hash[SIZE], signature[ECC_MAX_SIG_SIZE];
        word32 len = sizeof signature;
        int good = 0;
        draw_number(&secret);
        key_of(&key, &secret);
        draw(hash);
        UNIT_CHECK(wc_ecc_sign_hash(hash, SIZE, signature, &len, &rng, &key) == 0);
        use_extensions((_i == 0) != (i % 2 == 0)); /* every second one is verified the other way */
        UNIT_CHECK(wc_ecc_verify_hash(signature, len, hash, SIZE, &good, &key) == 0 && good == 1);
        hash[i % SIZE] ^= 1;
        UNIT_CHECK(wc_ecc_verify_hash(signature, len, hash, SIZE, &good, &key) == 0 && good == 0);
        use_extensions(_i == 0);
        wc_ecc_free(&key);
    }
}
END_TEST

#ifdef WEFT_OWN_WOLFSSL /* a system's wolfSSL keeps the nonce to itself */

static void sign(mp_int *r, mp_int *s, mp_int *secret, mp_int *nonce, const uint8_t hash[SIZE]) {
    mp_int used; /* it is cleared */
    UNIT_CHECK(mp_init(&used) == MP_OKAY && mp_copy(nonce, &used) == MP_OKAY);
    UNIT_CHECK(mp_init(r) == MP_OKAY && mp_init(s) == MP_OKAY);
    UNIT_CHECK(sp_ecc_sign_256(hash, SIZE, &rng, secret, r, s, &used, NULL) == MP_OKAY);
}

/* s k = hash + r d modulo the order (FIPS 186-5 6.4.1), reckoned with numbers of any length and without an inverse. */
static bool adds_up(mp_int *r, mp_int *s, mp_int *secret, mp_int *nonce, const uint8_t hash[SIZE]) {
    mp_int left, right, e;
    UNIT_CHECK(mp_init(&left) == MP_OKAY && mp_init(&right) == MP_OKAY && mp_init(&e) == MP_OKAY);
    UNIT_CHECK(mp_read_unsigned_bin(&e, hash, SIZE) == MP_OKAY);
    UNIT_CHECK(mp_mulmod(s, nonce, &order, &left) == MP_OKAY);
    UNIT_CHECK(mp_mulmod(r, secret, &order, &right) == MP_OKAY);
    UNIT_CHECK(mp_addmod(&right, &e, &order, &right) == MP_OKAY);
    return mp_cmp(&left, &right) == MP_EQ;
}

/* RFC 6979 A.2.5, with SHA-256 of "sample" and of "test". */
START_TEST(p256_vectors)
{
    static const char secret_text[] = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    static const char *const vectors[][4] = {
        {"af2bdbe1aa9b6ec1e2ade1d694f41fc71a831d0268e9891562113d8a62add1bf",
         "a6e3c57dd01abe90086538398355dd4c3b17aa873382b0f24d6129493d8aad60",
         "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
         "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"},
        {"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
         "d16b6ae827f17175e040871a1c7ec3500192c4c92677336ec2537acaee0008e0",
         "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
         "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083"},
    };
    use_extensions(_i == 0);
    mp_int secret;
    ecc_key key;
    number(&secret, secret_text);
    key_of(&key, &secret);
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        mp_int nonce, r, s, expected_r, expected_s;
        uint8_t hash[SIZE];
        unhex(vectors[i][0], hash);
        number(&nonce, vectors[i][1]);
        number(&expected_r, vectors[i][2]);
        number(&expected_s, vectors[i][3]);
        sign(&r, &s, &secret, &nonce, hash);
        ck_assert(mp_cmp(&r, &expected_r) == MP_EQ && mp_cmp(&s, &expected_s) == MP_EQ);
        ck_assert(verifies(&r, &s, hash, &key));
    }
    wc_ecc_free(&key);
}
END_TEST

/* The nonce's inverse, at the edges and elsewhere. */
START_TEST(p256_nonces)
{
    use_extensions(_i == 0);
    for (int i = 0; i < EDGES + ROUNDS; i++) {
        mp_int secret, nonce, r, s;
        ecc_key key;
        uint8_t hash[SIZE];
        draw(hash);
        draw_number(&secret);
        number_at(&nonce, i);
        sign(&r, &s, &secret, &nonce, hash);
        UNIT_CHECK(adds_up(&r, &s, &secret, &nonce, hash));
        key_of(&key, &secret);
        UNIT_CHECK(verifies(&r, &s, hash, &key));
        wc_ecc_free(&key);
    }
}
END_TEST

/* The inverse of s: a key is made for which the signature has just this s. Zero and the order are refused (6.4.2). */
START_TEST(p256_verifies_at_the_edges)
{
    use_extensions(_i == 0);
    for (int i = 0; i < EDGES; i++) {
        mp_int secret, nonce, r, s, e, result;
        ecc_key key;
        uint8_t hash[SIZE];
        draw(hash);
        draw_number(&nonce);
        draw_number(&secret);
        sign(&r, &s, &secret, &nonce, hash); /* for r, which depends on the nonce alone */
        number(&s, edges[i]);
        UNIT_CHECK(mp_init(&e) == MP_OKAY && mp_read_unsigned_bin(&e, hash, SIZE) == MP_OKAY);
        UNIT_CHECK(mp_mod(&e, &order, &e) == MP_OKAY);
        UNIT_CHECK(mp_mulmod(&s, &nonce, &order, &secret) == MP_OKAY); /* d = (s k - hash) / r */
        UNIT_CHECK(mp_submod(&secret, &e, &order, &secret) == MP_OKAY);
        UNIT_CHECK(mp_init(&result) == MP_OKAY && mp_invmod(&r, &order, &result) == MP_OKAY);
        UNIT_CHECK(mp_mulmod(&secret, &result, &order, &secret) == MP_OKAY);
        key_of(&key, &secret);
        ck_assert_msg(verifies(&r, &s, hash, &key), "s = %s", edges[i]);
        sign(&r, &result, &secret, &nonce, hash);
        UNIT_CHECK(mp_mod(&result, &order, &result) == MP_OKAY); /* wolfCrypt may leave order + s: once in 2^32 */
        ck_assert_msg(mp_cmp(&result, &s) == MP_EQ, "s = %s", edges[i]);
        ck_assert(!verifies(&r, &order, hash, &key));
        mp_zero(&s);
        ck_assert(!verifies(&r, &s, hash, &key));
        wc_ecc_free(&key);
    }
}
END_TEST

#endif

Suite *unit_suite(void) {
    Suite *suite = suite_create("curves");
    TCase *tests = tcase_create("X25519");
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, x25519_vectors, 0, 2);
    tcase_add_loop_test(tests, x25519_again_and_again, 0, 2);
    tcase_add_loop_test(tests, x25519_of_two, 0, 2);
    tcase_add_loop_test(tests, x25519_low_order, 0, 2);
    tcase_add_loop_test(tests, x25519_not_canonical, 0, 2);
    tcase_add_test(tests, x25519_is_the_same_either_way);
    suite_add_tcase(suite, tests);
    tests = tcase_create("P-256");
    tcase_add_checked_fixture(tests, setup_p256, teardown);
    tcase_add_test(tests, p256_keys_are_the_same_either_way);
    tcase_add_loop_test(tests, p256_signs_and_verifies, 0, 2);
#ifdef WEFT_OWN_WOLFSSL
    tcase_add_loop_test(tests, p256_vectors, 0, 2);
    tcase_add_loop_test(tests, p256_nonces, 0, 2);
    tcase_add_loop_test(tests, p256_verifies_at_the_edges, 0, 2);
#endif
    suite_add_tcase(suite, tests);
    return suite;
}
