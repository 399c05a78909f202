/* random.c - unpredictable bytes: for wolfSSL, which draws all of its own here, and for secrets that belong to no
 * engine.
 *
 * They are the system's (getrandom), taken 512 at a time for each thread: a handshake draws eight times, and what a
 * generator of its own costs each TLS object - instantiated, tested, asking for the process's number at each draw - is
 * more than all it ever draws. Nothing is computed from them here, so there is no state from which what was drawn could
 * be found again: bytes that were given away are wiped at once.
 *
 * Two processes must never draw the same bytes. A page that the kernel wipes in the child of a fork, however it was
 * made (MADV_WIPEONFORK), holds the number of this process among its ancestors; what a thread took under another number
 * is not given away. Where there is no such page nothing is kept, and each draw asks the system. A copy of a whole
 * machine (a snapshot that is resumed twice) cannot be seen from here: up to 512 bytes a thread are then the same in
 * both, as with any generator that lives in a process.
 *
 * In a simulation every draw is SHA-256(seed, counter), and two runs that draw in the same order are the same byte for
 * byte.
 *
 * The invariants that matter: no byte is given away twice, and nothing is predictable unless tls_random_simulate was
 * given a seed. This state belongs to the process and not to an engine, because wolfSSL's hook says not for whom it
 * draws.
 */
/* madvise: with process.c's clock the one thing of the system's that is not injected, as wolfSSL's hooks are not. */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "keys.h"
#include "tls_impl.h"

#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/sha256.h>

#define POOL 512u
#define POOL_PAGE 4096u

/* ---- simulated ---- */

static struct {
    atomic_bool on;
    uint8_t bytes[32];
    atomic_uint_fast64_t drawn;
} simulated;

void tls_random_simulate(const uint8_t seed[32]) {
    atomic_store(&simulated.on, false);
    if (!seed)
        return;
    memcpy(simulated.bytes, seed, sizeof simulated.bytes);
    atomic_store(&simulated.drawn, 0);
    atomic_store(&simulated.on, true);
}

static bool draw_simulated(uint8_t *out, size_t len) {
    while (len) {
        uint64_t number = atomic_fetch_add(&simulated.drawn, 1);
        uint8_t block[sizeof simulated.bytes + sizeof number], hash[32];
        memcpy(block, simulated.bytes, sizeof simulated.bytes);
        for (size_t i = 0; i < sizeof number; i++)
            block[sizeof simulated.bytes + i] = (uint8_t)(number >> (8 * i));
        if (wc_Sha256Hash(block, sizeof block, hash) != 0)
            return false;
        size_t part = len < sizeof hash ? len : sizeof hash;
        memcpy(out, hash, part);
        out += part;
        len -= part;
    }
    return true;
}

/* ---- the system's ---- */

static bool draw_system(uint8_t *out, size_t len) {
    while (len) {
        ssize_t got = getrandom(out, len, 0);
        if (got < 0 && errno != EINTR)
            return false;
        if (got > 0) {
            out += got;
            len -= (size_t)got;
        }
    }
    return true;
}

/* Both are copied by a fork; then the kernel makes what is on the page 0. */
static _Atomic(atomic_uint_fast64_t *) mark; /* NULL: nothing may be kept */
static atomic_uint_fast64_t processes;

void tls_random_init(void) {
#ifdef MADV_WIPEONFORK
    if (atomic_load(&mark))
        return;
    void *page = mmap(NULL, POOL_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return;
    atomic_uint_fast64_t *none = NULL;
    if (madvise(page, POOL_PAGE, MADV_WIPEONFORK) != 0 || !atomic_compare_exchange_strong(&mark, &none, page))
        munmap(page, POOL_PAGE);
#endif
}

/* The number of this process among its ancestors, never 0; 0: it cannot be known. */
static uint64_t process_number(void) {
    atomic_uint_fast64_t *at = atomic_load_explicit(&mark, memory_order_acquire);
    if (!at)
        return 0;
    uint_fast64_t number = atomic_load(at);
    if (number)
        return number;
    uint_fast64_t next = atomic_fetch_add(&processes, 1) + 1;
    return atomic_compare_exchange_strong(at, &number, next) ? next : number; /* else another thread was first */
}

static _Thread_local struct {
    uint64_t process; /* that took these bytes */
    size_t left;      /* at the beginning */
    uint8_t bytes[POOL];
} pool;

static bool draw_pooled(uint8_t *out, size_t len) {
    uint64_t process = process_number();
    if (!process || len > POOL / 4)
        return draw_system(out, len);
    if (pool.process != process || pool.left < len) {
        pool.left = 0;
        if (!draw_system(pool.bytes, POOL))
            return false;
        pool.process = process;
        pool.left = POOL;
    }
    pool.left -= len;
    memcpy(out, pool.bytes + pool.left, len);
    crypto_wipe(pool.bytes + pool.left, len);
    return true;
}

bool crypto_random(uint8_t *out, size_t len) {
    return atomic_load_explicit(&simulated.on, memory_order_relaxed) ? draw_simulated(out, len) : draw_pooled(out, len);
}

/* ---- wolfSSL's ---- */

#ifdef CUSTOM_RAND_GENERATE_BLOCK /* all of its draws */

int crypto_random_block(unsigned char *out, unsigned int len) { return crypto_random(out, len) ? 0 : RNG_FAILURE_E; }

/* Of no generator that we use, but wolfSSL does not link without. */
int wc_GenerateSeed(OS_Seed *os, byte *out, word32 len) {
    (void)os;
    return crypto_random_block(out, len);
}

#else /* not our build: it has generators of its own, and asks for their seeds */

static int on_seed(OS_Seed *os, byte *out, word32 len) {
    (void)os;
    return crypto_random(out, len) ? 0 : RNG_FAILURE_E;
}

void tls_random_hook(void) { wc_SetSeed_Cb(on_seed); }

#endif
