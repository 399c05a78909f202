/* cid.c - connection IDs: those we issue and those the peer gave us (RFC 9000 sections 5.1, 9.5, 10.3.1, 19.15,
 * 19.16).
 *
 * Two small sets a connection, and the codec that puts a connection's slot into the IDs we issue. The sets know
 * sequence numbers, limits and which path uses what; they know no packets: what is owed to the peer is marked
 * "wanted" for whoever writes frames.
 *
 * The codec turns 72 bits - slot and serial number - into 72 others by four Feistel rounds (as many as QUIC-LB takes,
 * draft-ietf-quic-load-balancers) with SipHash as the round function. It is a permutation, so no two IDs are ever the
 * same; without the key an ID says nothing about its neighbours.
 *
 * Invariant: a sequence number of the peer is used at most once. `seen` remembers which ones have come, so that a
 * NEW_CONNECTION_ID frame that was delayed in the network cannot bring back an ID that was retired meanwhile.
 */
#include "quic/cid.h"

#include <assert.h>

#include "base/cursor.h"
#include "base/hash.h"
#include "crypto/keys.h"
#include "quic/stream.h" /* enum quic_want */

/* ---- the codec ---- */

#define CODEC_ROUNDS 4u
#define CODEC_HALF 36u
#define CODEC_MASK ((UINT64_C(1) << CODEC_HALF) - 1)

static uint64_t codec_round(const struct quic_cid_codec *codec, uint64_t half, unsigned bits, unsigned round) {
    uint8_t in[10];
    base_store_uint(in, half, 8);
    in[8] = (uint8_t)bits; /* permutations of different widths have nothing in common */
    in[9] = (uint8_t)round;
    return base_siphash(codec->secret, in, sizeof in) & ((UINT64_C(1) << bits) - 1);
}

static void codec_mix(const struct quic_cid_codec *codec, unsigned bits, uint64_t *left, uint64_t *right) {
    for (unsigned round = 0; round < CODEC_ROUNDS; round++) {
        uint64_t mixed = *left ^ codec_round(codec, *right, bits, round);
        *left = *right;
        *right = mixed;
    }
}

static void codec_unmix(const struct quic_cid_codec *codec, unsigned bits, uint64_t *left, uint64_t *right) {
    for (unsigned round = CODEC_ROUNDS; round-- > 0;) {
        uint64_t plain = *right ^ codec_round(codec, *left, bits, round);
        *right = *left;
        *left = plain;
    }
}

/* slot (24 bits) | serial (48 bits), cut into halves of 36 */
void quic_cid_encode(const struct quic_cid_codec *codec, uint32_t slot, uint64_t serial, struct quic_cid *cid) {
    assert(slot < UINT32_C(1) << 24 && serial < QUIC_CID_SERIALS);
    uint64_t left = (uint64_t)slot << 12 | serial >> CODEC_HALF, right = serial & CODEC_MASK;
    codec_mix(codec, CODEC_HALF, &left, &right);
    *cid = (struct quic_cid){.len = QUIC_LOCAL_CID_LEN};
    cid->id[0] = codec->engine;
    base_store_uint(cid->id + 1, left >> 4, 4);
    base_store_uint(cid->id + 5, (left & 0xf) << CODEC_HALF | right, 5);
}

bool quic_cid_decode(const struct quic_cid_codec *codec, const uint8_t *id, size_t len, uint32_t *slot) {
    if (len != QUIC_LOCAL_CID_LEN || id[0] != codec->engine)
        return false;
    uint64_t low = (uint64_t)id[5] << 32 | base_load_u32(id + 6);
    uint64_t left = (uint64_t)base_load_u32(id + 1) << 4 | low >> CODEC_HALF, right = low & CODEC_MASK;
    codec_unmix(codec, CODEC_HALF, &left, &right);
    *slot = (uint32_t)(left >> 12);
    return true;
}

bool quic_cid_nth(const struct quic_cid_codec *codec, uint64_t serial, uint8_t *out, size_t len) {
    assert(len >= 1 && len <= 8);
    unsigned bits = 4 * (unsigned)len;
    if (len < 8 && serial >> 2 * bits)
        return false;
    uint64_t left = serial >> bits, right = serial & ((UINT64_C(1) << bits) - 1);
    codec_mix(codec, bits, &left, &right);
    base_store_uint(out, left << bits | right, len);
    return true;
}

/* ---- IDs we issued ---- */

/* Before the peer's transport parameters are known it takes two (RFC 9000 18.2). */
void quic_local_cids_init(struct quic_local_cids *set) { *set = (struct quic_local_cids){.limit = 2}; }

struct quic_local_cid *quic_local_cids_add(struct quic_local_cids *set, const struct quic_cid *cid) {
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        struct quic_local_cid *entry = &set->list[i];
        if (entry->used)
            continue;
        *entry = (struct quic_local_cid){.cid = *cid, .sequence = set->next_sequence++, .used = true};
        if (entry->sequence > 0) /* the first goes in the header of our first packets, no frame tells of it */
            entry->want = QUIC_WANTED;
        return entry;
    }
    return NULL;
}

bool quic_local_cids_free(const struct quic_local_cids *set) {
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        if (!set->list[i].used)
            return true;
    return false;
}

struct quic_local_cid *quic_local_cids_find(struct quic_local_cids *set, const uint8_t *id, size_t len) {
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        struct quic_local_cid *entry = &set->list[i];
        if (entry->used && entry->cid.len == len && memcmp(entry->cid.id, id, len) == 0)
            return entry;
    }
    return NULL;
}

enum quic_error quic_local_cids_retire(struct quic_local_cids *set, uint64_t sequence,
                                       const struct quic_cid *arrived_on) {
    if (sequence >= set->next_sequence)
        return QUIC_PROTOCOL_VIOLATION;
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        struct quic_local_cid *entry = &set->list[i];
        if (!entry->used || entry->sequence != sequence)
            continue;
        if (quic_cid_equal(&entry->cid, arrived_on))
            return QUIC_PROTOCOL_VIOLATION;
        *entry = (struct quic_local_cid){.used = false};
    }
    return QUIC_NO_ERROR;
}

unsigned quic_local_cids_room(const struct quic_local_cids *set) {
    unsigned used = 0, limit = set->limit < QUIC_CIDS ? set->limit : QUIC_CIDS;
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        used += set->list[i].used;
    return used < limit ? limit - used : 0;
}

/* ---- IDs the peer issued ---- */

void quic_remote_cids_init(struct quic_remote_cids *set, uint8_t limit) {
    assert(limit <= QUIC_CIDS);
    *set = (struct quic_remote_cids){.limit = limit};
}

static struct quic_remote_cid *remote_by_sequence(struct quic_remote_cids *set, uint64_t sequence) {
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        struct quic_remote_cid *entry = &set->list[i];
        if (entry->used && entry->sequence == sequence)
            return entry;
    }
    return NULL;
}

/* The peer that uses zero-length IDs has exactly one. */
static struct quic_remote_cid *remote_zero_length(struct quic_remote_cids *set) {
    struct quic_remote_cid *entry = remote_by_sequence(set, 0);
    return entry && entry->cid.len == 0 ? entry : NULL;
}

void quic_remote_cids_set_initial(struct quic_remote_cids *set, const struct quic_cid *cid) {
    struct quic_remote_cid *entry = remote_by_sequence(set, 0);
    if (!entry)
        entry = &set->list[0];
    *entry = (struct quic_remote_cid){.cid = *cid, .used = true, .paths = 1};
    set->seen |= 1;
}

void quic_remote_cids_set_token(struct quic_remote_cids *set, const uint8_t reset_token[16]) {
    struct quic_remote_cid *entry = remote_by_sequence(set, 0);
    if (!entry)
        return;
    memcpy(entry->reset_token, reset_token, sizeof entry->reset_token);
    entry->has_token = true;
}

/* Owes a RETIRE_CONNECTION_ID. False: too many are owed. */
static bool remote_owe_retire(struct quic_remote_cids *set, uint64_t sequence) {
    int free_at = -1;
    for (int i = 0; i < (int)QUIC_RETIRES; i++) {
        if (set->retire[i].want == QUIC_WANT_NOT || set->retire[i].want == QUIC_WANT_DONE)
            free_at = i;
        else if (set->retire[i].sequence == sequence)
            return true;
    }
    if (free_at < 0)
        return false;
    set->retire[free_at].sequence = sequence;
    set->retire[free_at].want = QUIC_WANTED;
    return true;
}

static bool remote_retire(struct quic_remote_cids *set, struct quic_remote_cid *entry) {
    entry->paths = 0;
    entry->stale = !remote_owe_retire(set, entry->sequence);
    entry->used = entry->stale;
    return entry->used == false;
}

/* IDs we gave up ourselves wait here for room among the frames owed; the peer counts them as active until then, and
 * so do we. */
static void remote_retire_stale(struct quic_remote_cids *set) {
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        if (set->list[i].used && set->list[i].stale)
            remote_retire(set, &set->list[i]);
}

/* Notes that a sequence number has come. False: it had come before (or is so old that nobody knows). */
static bool remote_see(struct quic_remote_cids *set, uint64_t sequence) {
    if (sequence > set->seen_top) {
        uint64_t up = sequence - set->seen_top;
        set->seen = up < 64 ? set->seen << up : 0;
        set->seen |= 1;
        set->seen_top = sequence;
        return true;
    }
    uint64_t back = set->seen_top - sequence;
    if (back >= 64 || (set->seen >> back & 1))
        return false;
    set->seen |= UINT64_C(1) << back;
    return true;
}

/* What a frame says about an ID must agree with what earlier ones said (19.15). */
static bool remote_agrees(const struct quic_remote_cids *set, uint64_t sequence, const struct quic_cid *cid,
                          const uint8_t reset_token[16]) {
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        const struct quic_remote_cid *entry = &set->list[i];
        if (!entry->used)
            continue;
        if ((entry->sequence == sequence) != quic_cid_equal(&entry->cid, cid))
            return false;
        if (entry->sequence == sequence && entry->has_token &&
            !crypto_equal(entry->reset_token, reset_token, sizeof entry->reset_token))
            return false;
    }
    return true;
}

/* Retires everything below the new retire_prior_to. False: more is owed than QUIC_RETIRES. */
static bool remote_retire_prior_to(struct quic_remote_cids *set, uint64_t bound, unsigned *retired_mask) {
    if (bound <= set->retire_prior_to)
        return true;
    set->retire_prior_to = bound;
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        struct quic_remote_cid *entry = &set->list[i];
        if (!entry->used || entry->sequence >= bound)
            continue;
        *retired_mask |= entry->paths;
        if (!remote_retire(set, entry))
            return false;
    }
    return true;
}

static unsigned remote_active(const struct quic_remote_cids *set) {
    unsigned active = 0;
    for (unsigned i = 0; i < QUIC_CIDS; i++)
        active += set->list[i].used;
    return active;
}

enum quic_error quic_remote_cids_add(struct quic_remote_cids *set, uint64_t sequence, uint64_t retire_prior_to,
                                     const struct quic_cid *cid, const uint8_t reset_token[16],
                                     unsigned *retired_mask) {
    *retired_mask = 0;
    if (remote_zero_length(set) || !remote_agrees(set, sequence, cid, reset_token))
        return QUIC_PROTOCOL_VIOLATION;
    remote_retire_stale(set);
    if (!remote_retire_prior_to(set, retire_prior_to, retired_mask))
        return QUIC_CONNECTION_ID_LIMIT_ERROR;
    bool fresh = remote_see(set, sequence);
    if (!fresh) {
        /* A repetition; but one out of the window may be the first copy, and the peer waits for it to be retired. */
        bool unknown = set->seen_top - sequence >= 64 && !remote_by_sequence(set, sequence);
        return unknown && !remote_owe_retire(set, sequence) ? QUIC_CONNECTION_ID_LIMIT_ERROR : QUIC_NO_ERROR;
    }
    if (sequence < set->retire_prior_to)
        return remote_owe_retire(set, sequence) ? QUIC_NO_ERROR : QUIC_CONNECTION_ID_LIMIT_ERROR;
    if (remote_active(set) >= set->limit)
        return QUIC_CONNECTION_ID_LIMIT_ERROR;
    struct quic_remote_cid *entry = set->list;
    while (entry->used)
        entry++;
    assert(entry < set->list + QUIC_CIDS);
    *entry = (struct quic_remote_cid){.cid = *cid, .sequence = sequence, .has_token = true, .used = true};
    memcpy(entry->reset_token, reset_token, sizeof entry->reset_token);
    return QUIC_NO_ERROR;
}

struct quic_remote_cid *quic_remote_cids_of_path(struct quic_remote_cids *set, uint8_t path) {
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        struct quic_remote_cid *entry = &set->list[i];
        if (entry->used && (entry->paths >> path & 1))
            return entry;
    }
    return remote_zero_length(set);
}

struct quic_remote_cid *quic_remote_cids_take(struct quic_remote_cids *set, uint8_t path) {
    remote_retire_stale(set);
    struct quic_remote_cid *spare = remote_zero_length(set);
    for (unsigned i = 0; i < QUIC_CIDS && !spare; i++)
        if (set->list[i].used && !set->list[i].paths && !set->list[i].stale)
            spare = &set->list[i];
    if (spare)
        spare->paths = (uint8_t)(spare->paths | 1u << path);
    return spare;
}

struct quic_remote_cid *quic_remote_cids_share(struct quic_remote_cids *set, uint8_t path, uint8_t from) {
    struct quic_remote_cid *entry = quic_remote_cids_of_path(set, from);
    if (entry)
        entry->paths = (uint8_t)(entry->paths | 1u << path);
    return entry;
}

void quic_remote_cids_release(struct quic_remote_cids *set, uint8_t path) {
    struct quic_remote_cid *entry = quic_remote_cids_of_path(set, path);
    if (!entry)
        return;
    entry->paths = (uint8_t)(entry->paths & ~(1u << path));
    if (!entry->paths && entry->cid.len)
        remote_retire(set, entry);
}

bool quic_remote_cids_is_reset(const struct quic_remote_cids *set, const uint8_t token[16]) {
    unsigned found = 0;
    for (unsigned i = 0; i < QUIC_CIDS; i++) {
        const struct quic_remote_cid *entry = &set->list[i];
        unsigned counts = entry->used && entry->has_token && entry->paths;
        found |= counts & (unsigned)crypto_equal(entry->reset_token, token, sizeof entry->reset_token);
    }
    return found != 0;
}
