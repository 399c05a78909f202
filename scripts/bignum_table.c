/*
 * Prints the table that p256_scalarmulbase of s2n-bignum multiplies the base point of P-256 with, as C.
 * scripts/bignum.sh compiles and runs it where it builds that library.
 *
 * For each i with 6 * i <= 256 and j of 1 to 32 it has j * 2^(6 * i) * G: x and y in Montgomery form, each four words,
 * the least significant first. 6 bits a block are what was fastest: smaller blocks are more additions, and of larger
 * ones more has to be read, as every look-up reads a whole block.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BITS 6
#define POINTS (1 << (BITS - 1))

void s2n_p256_scalarmul_alt(uint64_t out[8], const uint64_t scalar[4], const uint64_t point[8]);
void s2n_bignum_tomont_p256_alt(uint64_t out[4], const uint64_t a[4]);

/* FIPS 186-5 names it, SP 800-186 3.2.1.3 has it. */
static const uint64_t base_point[8] = {UINT64_C(0xf4a13945d898c296), UINT64_C(0x77037d812deb33a0),
                                       UINT64_C(0xf8bce6e563a440f2), UINT64_C(0x6b17d1f2e12c4247),
                                       UINT64_C(0xcbb6406837bf51f5), UINT64_C(0x2bce33576b315ece),
                                       UINT64_C(0x8ee7eb4a7c0f9e16), UINT64_C(0x4fe342e2fe1a7f9b)};

static void print_multiple(const uint64_t point[8], uint64_t factor) {
    uint64_t scalar[4] = {factor}, multiple[8], form[8];
    s2n_p256_scalarmul_alt(multiple, scalar, point);
    s2n_bignum_tomont_p256_alt(form, multiple);
    s2n_bignum_tomont_p256_alt(form + 4, multiple + 4);
    for (int i = 0; i < 8; i++)
        printf("0x%016" PRIx64 "UL,%c", form[i], i % 4 == 3 ? '\n' : ' ');
}

int main(void) {
    uint64_t point[8];
    memcpy(point, base_point, sizeof point);
    printf("__attribute__((visibility(\"hidden\"), aligned(64))) const unsigned long s2n_p256_table[] = {\n");
    for (int at = 0; at <= 256; at += BITS) {
        for (uint64_t factor = 1; factor <= POINTS; factor++)
            print_multiple(point, factor);
        uint64_t shift[4] = {UINT64_C(1) << BITS}, next[8];
        s2n_p256_scalarmul_alt(next, shift, point);
        memcpy(point, next, sizeof point);
    }
    printf("};\n");
    return 0;
}
