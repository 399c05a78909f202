/* process.c - starting and ending the TLS library, and where its wall-clock time comes from; its randomness: random.c.
 *
 * The wall clock (certificate dates, ages of tickets) stands still in a simulation, so that two runs that do the same
 * in the same order are the same byte for byte.
 *
 * The invariant that matters: the clock never stands still unless crypto_deterministic was called with a seed. This
 * state belongs to the process and not to an engine, because wolfSSL's hooks do.
 */
#include <stdatomic.h>
#include <time.h>

#include "tls_impl.h"

#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/random.h>

#define SIMULATED_TIME 1893456000 /* 2030-01-01: every simulation begins at this moment */

static struct {
    atomic_bool on;
    atomic_uint_fast64_t time;
} simulated;

static time_t on_time(time_t *out) {
    time_t now = atomic_load(&simulated.on) ? (time_t)atomic_load(&simulated.time) : time(NULL);
    if (out)
        *out = now;
    return now;
}

uint64_t tls_now_s(void) { return (uint64_t)on_time(NULL); }

void crypto_deterministic(const uint8_t seed[32]) {
    atomic_store(&simulated.time, SIMULATED_TIME);
    atomic_store(&simulated.on, seed != NULL);
    tls_random_simulate(seed);
}

void crypto_deterministic_time(uint64_t seconds) { atomic_store(&simulated.time, seconds); }

bool crypto_init(void) {
    static atomic_flag installed = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&installed) && !tls_heap_install())
        return false;
    tls_random_init();
    if (wolfSSL_Init() != WOLFSSL_SUCCESS) /* counted and locked by wolfSSL */
        return false;
    wc_SetTimeCb(on_time);
#ifndef CUSTOM_RAND_GENERATE_BLOCK
    tls_random_hook();
#ifdef WOLFSSL_DRBG_SHA512 /* a generator that each TLS object tests first: with SHA-256 at a third of the price */
    return wc_Sha512Drbg_Disable() == 0;
#endif
#endif
    return true;
}

void crypto_cleanup(void) { wolfSSL_Cleanup(); }
