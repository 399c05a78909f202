/*
 * How wolfCrypt calls s2n-bignum. scripts/wolfssl.sh puts this file into the source of wolfSSL, beside curve25519.c and
 * sp_x86_64.c, and changes there the lines that call it; scripts/bignum.sh builds what it calls.
 *
 * What must stay true: the results are wolfCrypt's own, bit by bit, and nothing here branches on a secret or uses one
 * as an address. Temporary space that is lent lies where the caller wipes it; what assembly leaves below the stack is
 * wiped neither here nor in wolfCrypt.
 */
#ifndef WOLFSSL_BIGNUM_H
#define WOLFSSL_BIGNUM_H

#include <wolfssl/wolfcrypt/cpuid.h>

void s2n_curve25519_x25519_byte(unsigned char *out, const unsigned char *scalar, const unsigned char *point);
void s2n_curve25519_x25519base_byte(unsigned char *out, const unsigned char *scalar);
void s2n_bignum_modinv(unsigned long words, unsigned long *out, const unsigned long *a, const unsigned long *modulus,
                       unsigned long *temporary);
void s2n_bignum_montinv_p256(unsigned long *out, const unsigned long *a);
void s2n_p256_scalarmulbase(unsigned long *out, const unsigned long *scalar, unsigned long bits,
                            const unsigned long *table);

/* --- X25519, RFC 7748 5 --------------------------------------------------------------------------------------------
 * False where the processor lacks the instructions (MULX, ADCX, ADOX): then wolfCrypt does it. Both clamp the scalar,
 * which wolfCrypt has done before, and the second ignores the point's top bit, which wolfCrypt refuses before. A shared
 * secret of nothing but zeros (RFC 7748 6.1) is refused by wolfCrypt afterwards, whoever made it. */

static inline int s2n_can_x25519(void) {
    cpuid_flags_t flags = cpuid_get_flags();
    return IS_INTEL_BMI2(flags) && IS_INTEL_ADX(flags);
}

static inline int s2n_x25519_base(unsigned char *out, const unsigned char *scalar) {
    if (!s2n_can_x25519())
        return 0;
    s2n_curve25519_x25519base_byte(out, scalar);
    return 1;
}

static inline int s2n_x25519(unsigned char *out, const unsigned char *scalar, const unsigned char *point) {
    if (!s2n_can_x25519())
        return 0;
    s2n_curve25519_x25519_byte(out, scalar, point);
    return 1;
}

/* --- P-256 ---------------------------------------------------------------------------------------------------
 * The inverses run on every x86-64 processor. */

/* 2^768 modulo the order of P-256. A Montgomery multiplication by it brings the plain inverse of a number in Montgomery
 * form, 2^-256 / a, into Montgomery form, 2^256 / a. */
static const unsigned long s2n_order_form[4] = {0xac8ebec90b65a624UL, 0x111f28ae0c0555c9UL, 0x2543b9246ba5e93fUL,
                                                0x503a54e76407be65UL};

/* 1 / a modulo the order, as plain numbers. a is not a multiple of the order: a nonce that is gives no r, and an s that
 * is one is refused (FIPS 186-5 6.4); neither comes as far as this. The result is in space, of which 16 words are
 * used. */
static inline const unsigned long *s2n_order_inverse(const unsigned long *a, const unsigned long *order,
                                                     unsigned long *space) {
    s2n_bignum_modinv(4, space, a, order, space + 4);
    return space;
}

extern const unsigned long s2n_p256_table[]; /* bignum_table.c */

/* The base point times scalar, affine, as plain numbers, each in the lower half of its eight words, as sp_256_map_4
 * leaves them. Only where MULX, ADCX and ADOX are, so beside wolfCrypt's routines "avx2". R and public keys come from
 * here; that they lie on the stack a while does not matter. */
static inline void s2n_p256_base(unsigned long *x, unsigned long *y, unsigned long *z, const unsigned long *scalar) {
    unsigned long point[8];
    s2n_p256_scalarmulbase(point, scalar, 6, s2n_p256_table);
    for (int i = 0; i < 4; i++) {
        x[i] = point[i];
        y[i] = point[4 + i];
        x[4 + i] = y[4 + i] = z[i] = 0;
    }
    z[0] = 1;
}

#endif
