/* process.c - starting and ending the TLS library, and where its randomness and wall-clock time come from.
 *
 * wolfSSL seeds a generator of its own for every session. The seed comes from the system, or, in a simulation, from a
 * number of 32 bytes: then every draw is SHA-256(seed, counter), and two runs that make the same sessions in the same
 * order are the same byte for byte. The wall clock (certificate dates, ages of tickets) stands still in a simulation
 * for the same reason.
 *
 * The invariant that matters: deterministic randomness is never on unless crypto_deterministic was called with a seed.
 * This is the only state that belongs to the process and not to an engine, because wolfSSL's hooks do.
 */
#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "tls_impl.h"

#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/sha256.h>

#define SIMULATED_TIME 1893456000 /* 2030-01-01: every simulation begins at this moment */

static struct {
    atomic_bool on;
    uint8_t bytes[32];
    atomic_uint_fast64_t drawn, time;
} simulated;

static int simulated_seed(uint8_t *out, uint32_t len) {
    while (len) {
        uint64_t number = atomic_fetch_add(&simulated.drawn, 1);
        uint8_t block[sizeof simulated.bytes + sizeof number], hash[32];
        memcpy(block, simulated.bytes, sizeof simulated.bytes);
        for (size_t i = 0; i < sizeof number; i++)
            block[sizeof simulated.bytes + i] = (uint8_t)(number >> (8 * i));
        int failed = wc_Sha256Hash(block, sizeof block, hash);
        if (failed)
            return failed;
        uint32_t part = len < sizeof hash ? len : (uint32_t)sizeof hash;
        memcpy(out, hash, part);
        out += part;
        len -= part;
    }
    return 0;
}

static int on_seed(OS_Seed *os, byte *out, word32 len) {
    return atomic_load(&simulated.on) ? simulated_seed(out, len) : wc_GenerateSeed(os, out, len);
}

static time_t on_time(time_t *out) {
    time_t now = atomic_load(&simulated.on) ? (time_t)atomic_load(&simulated.time) : time(NULL);
    if (out)
        *out = now;
    return now;
}

uint64_t tls_now_s(void) { return (uint64_t)on_time(NULL); }

void crypto_deterministic(const uint8_t seed[32]) {
    atomic_store(&simulated.on, false);
    if (!seed)
        return;
    memcpy(simulated.bytes, seed, sizeof simulated.bytes);
    atomic_store(&simulated.drawn, 0);
    atomic_store(&simulated.time, SIMULATED_TIME);
    atomic_store(&simulated.on, true);
}

void crypto_deterministic_time(uint64_t seconds) { atomic_store(&simulated.time, seconds); }

bool crypto_random(uint8_t *out, size_t len) {
    WC_RNG rng;
    if (wc_InitRng(&rng) != 0)
        return false;
    bool ok = wc_RNG_GenerateBlock(&rng, out, (word32)len) == 0;
    wc_FreeRng(&rng);
    return ok;
}

bool crypto_init(void) {
    static atomic_flag installed = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&installed) && !tls_heap_install())
        return false;
    if (wolfSSL_Init() != WOLFSSL_SUCCESS) /* counted and locked by wolfSSL */
        return false;
    wc_SetSeed_Cb(on_seed);
    wc_SetTimeCb(on_time);
#ifdef WOLFSSL_DRBG_SHA512 /* each TLS object has a generator and tests it first: with SHA-256 at a third of the price */
    return wc_Sha512Drbg_Disable() == 0;
#else
    return true;
#endif
}

void crypto_cleanup(void) { wolfSSL_Cleanup(); }
