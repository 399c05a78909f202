/* keyphase.c - the generations of 1-RTT keys (RFC 9001 section 6).
 *
 * Both directions share one generation number; its low bit is the Key Phase on the wire. Up to three read keys exist:
 * the previous one (for 3 PTO, so that reordered packets still open), the present one, and the next one, made ahead of
 * time so that an update by the peer costs no more than any other packet and cannot be timed (9.5). Header protection
 * keys never change.
 *
 * The first of the next keys is made as late as that allows: most connections of a busy server end without an update,
 * many after one request. A peer may update when the handshake is confirmed for it (6.1), and hears of that in what we
 * send after completing it; until then a packet of the other phase cannot be right, and is dropped after a trial with
 * the present key, which takes as long as any. From then on the next batch of packets has the key made, whatever is in
 * it: before the packet that needs it, or behind the last one if none did. So the first batch takes longer, and no bit
 * of a packet shows in that; unless it ends the connection, which needs the key no more.
 *
 * An update by us is allowed when both sides have confirmed the handshake, the present generation was acknowledged and
 * the previous one is thrown away; updates come by themselves well before the AEAD's confidentiality limit.
 *
 * Invariant: phase->rx_next, if there is one, belongs to generation + 1, keys[APPLICATION].rx and .tx to generation.
 */
#include "quic/walk.h"

static enum crypto_version phase_version(const struct quic_conn *conn) {
    return conn->version == QUIC_VERSION_2 ? CRYPTO_QUIC_V2 : CRYPTO_QUIC_V1;
}

/* Makes the read key of the generation after the present one. */
static struct crypto_key *phase_next_key(struct quic_conn *conn, const struct crypto_secret *present,
                                         struct crypto_secret *next) {
    if (!crypto_next_secret(phase_version(conn), present, next))
        return NULL;
    return crypto_key_new(conn->endpoint->mem, phase_version(conn), next);
}

void quic_keyphase_install(struct quic_conn *conn, const struct crypto_secret *read,
                           const struct crypto_secret *write) {
    struct quic_phase *phase = &conn->phase;
    phase->rx_first = QUIC_NO_NUMBER;
    if (write && write->len)
        phase->tx_secret = *write;
    if (read && read->len)
        phase->rx_secret = *read;
    if (conn->role == CRYPTO_CLIENT) /* the server has confirmed as soon as it has our Finished */
        phase->peer_may_update = true;
}

/* The next key is there, or made now. False: out of memory. */
static bool phase_prepare(struct quic_conn *conn) {
    struct quic_phase *phase = &conn->phase;
    if (phase->rx_next)
        return true;
    struct crypto_secret next;
    phase->rx_next = phase_next_key(conn, &phase->rx_secret, &next);
    crypto_wipe(&next, sizeof next);
    if (conn->keys_packed)
        phase->rx_next = crypto_key_pack(conn->endpoint->mem, phase->rx_next);
    return phase->rx_next != NULL;
}

void quic_keyphase_on_batch(struct quic_conn *conn) {
    if (conn->phase.peer_may_update && conn->state < QUIC_CONN_CLOSING)
        phase_prepare(conn); /* out of memory: with the next batch, or for a packet */
}

/* Everything moves on by one generation: what is prepared becomes present. False: out of memory, nothing changed. */
static bool phase_advance(struct quic_conn *conn, bool remote) {
    struct quic_phase *phase = &conn->phase;
    struct quic_keys *keys = &conn->keys[CRYPTO_APPLICATION];
    struct base_mem *mem = conn->endpoint->mem;
    struct crypto_secret rx, rx_after, tx;
    struct crypto_key *tx_key = phase_next_key(conn, &phase->tx_secret, &tx);
    struct crypto_key *rx_key =
        crypto_next_secret(phase_version(conn), &phase->rx_secret, &rx) ? phase_next_key(conn, &rx, &rx_after) : NULL;
    bool ok = tx_key && rx_key;
    if (ok) {
        crypto_key_free(mem, phase->rx_previous);
        crypto_key_free(mem, keys->tx);
        phase->rx_previous = keys->rx;
        keys->rx = phase->rx_next;
        keys->tx = tx_key;
        phase->rx_next = rx_key;
        phase->rx_secret = rx;
        phase->tx_secret = tx;
        phase->generation++;
        phase->rx_first = QUIC_NO_NUMBER;
        phase->tx_first = conn->recovery.spaces[QUIC_APPLICATION].next;
        phase->tx_sealed = 0;
        phase->tx_acked = false;
        conn->stats.key_updates++;
        if (conn->qlog)
            quic_qlog_keys(conn, CRYPTO_APPLICATION, true, true, remote ? QUIC_QLOG_KEY_REMOTE : QUIC_QLOG_KEY_LOCAL);
    } else {
        crypto_key_free(mem, tx_key);
        crypto_key_free(mem, rx_key);
    }
    crypto_wipe(&rx, sizeof rx);
    crypto_wipe(&rx_after, sizeof rx_after);
    crypto_wipe(&tx, sizeof tx);
    return ok;
}

bool quic_keyphase_update(struct quic_conn *conn) {
    const struct quic_phase *phase = &conn->phase;
    /* A client that has not heard HANDSHAKE_DONE yet may know of one phase only: quiche drops the other, quinn takes it
     * for an error. So a server's first update waits until that frame is acknowledged. */
    bool both_confirmed =
        conn->handshake_confirmed && (conn->role == CRYPTO_CLIENT || conn->want_handshake_done == QUIC_WANT_DONE);
    if (!both_confirmed || !quic_keyphase_unpack(conn) || phase->rx_previous || (phase->generation && !phase->tx_acked))
        return false;
    return phase_prepare(conn) && phase_advance(conn, false);
}

/* A packet of the next generation opened: the peer has updated (6.2). */
static void phase_follow_peer(struct quic_conn *conn, uint64_t number, base_time now) {
    struct quic_phase *phase = &conn->phase;
    /* A client may hear of a server's first update before it hears that the handshake is confirmed: HANDSHAKE_DONE can
     * be lost. */
    bool answered = phase->generation == 0 || phase->tx_sealed > 0;
    if (!answered) { /* 6.2: a second update before we could have told of the first */
        quic_conn_fail(conn, QUIC_KEY_UPDATE_ERROR, 0, "key update too early", now);
        return;
    }
    if (!phase_advance(conn, true)) {
        quic_conn_fail(conn, QUIC_INTERNAL_ERROR, 0, "out of memory", now);
        return;
    }
    phase->rx_first = number;
    quic_conn_set_timer(conn, QUIC_TIMER_KEYS, now + quic_conn_three_pto(conn));
    quic_glitch(conn, QUIC_GLITCH_key_update, 0, now);
}

static int32_t phase_failed(struct quic_conn *conn, base_time now) {
    enum crypto_aead aead = conn->phase.rx_secret.aead;
    if (++conn->phase.open_failures >= crypto_integrity_limit(aead))
        quic_conn_fail(conn, QUIC_AEAD_LIMIT_REACHED, 0, "integrity limit reached", now);
    return -1;
}

/* The other phase where no update was made: the start of the next, if the peer may know that it is allowed to. */
static int32_t phase_open_next(struct quic_conn *conn, const struct crypto_open_item *item, uint64_t number) {
    if (!conn->phase.peer_may_update) {
        crypto_open(conn->keys[CRYPTO_APPLICATION].rx, item, number);
        return -1;
    }
    return phase_prepare(conn) ? crypto_open(conn->phase.rx_next, item, number) : -1;
}

int32_t quic_keyphase_open(struct quic_conn *conn, const struct crypto_open_item *item, uint64_t number,
                           base_time now) {
    struct quic_phase *phase = &conn->phase;
    bool bit = (item->first & 0x04) != 0;
    int32_t len;
    if (bit == (phase->generation & 1)) {
        len = crypto_open(conn->keys[CRYPTO_APPLICATION].rx, item, number);
        if (len < 0)
            return phase_failed(conn, now);
        if (phase->rx_first == QUIC_NO_NUMBER && phase->rx_previous) /* the peer has followed our update */
            quic_conn_set_timer(conn, QUIC_TIMER_KEYS, now + quic_conn_three_pto(conn));
        if (number < phase->rx_first)
            phase->rx_first = number;
        return len;
    }
    /* The other phase: older than everything of this generation, or the start of the next. */
    if (phase->rx_previous && (phase->rx_first == QUIC_NO_NUMBER || number < phase->rx_first)) {
        len = crypto_open(phase->rx_previous, item, number);
        return len < 0 ? phase_failed(conn, now) : len;
    }
    len = phase_open_next(conn, item, number);
    if (len < 0)
        return phase_failed(conn, now);
    if (!quic_keyphase_unpack(conn)) /* out of memory: lost, as if on the way */
        return -1;
    phase_follow_peer(conn, number, now);
    return conn->state >= QUIC_CONN_CLOSING ? -1 : len;
}

void quic_keyphase_on_acked(struct quic_conn *conn, uint64_t number) {
    if (number >= conn->phase.tx_first)
        conn->phase.tx_acked = true;
}

void quic_keyphase_on_sealed(struct quic_conn *conn, uint64_t packets, base_time now) {
    struct quic_phase *phase = &conn->phase;
    phase->tx_sealed += packets;
    if (conn->handshake_complete)
        phase->peer_may_update = true;
    uint64_t limit = crypto_confidentiality_limit(phase->tx_secret.aead);
    if (phase->tx_sealed < limit / 2)
        return;
    if (!quic_keyphase_update(conn) && phase->tx_sealed + QUIC_TRAIN_SEGMENTS >= limit)
        quic_conn_fail(conn, QUIC_AEAD_LIMIT_REACHED, 0, "confidentiality limit reached", now);
}

void quic_keyphase_on_timeout(struct quic_conn *conn) {
    if (conn->qlog && conn->phase.rx_previous)
        quic_qlog_old_key_gone(conn);
    crypto_key_free(conn->endpoint->mem, conn->phase.rx_previous);
    conn->phase.rx_previous = NULL;
}

/* ---- idle ---- */

void quic_keyphase_pack(struct quic_conn *conn) {
    struct quic_keys *keys = &conn->keys[CRYPTO_APPLICATION];
    struct base_mem *mem = conn->endpoint->mem;
    if (conn->keys_packed || conn->phase.rx_previous)
        return;
    keys->rx = crypto_key_pack(mem, keys->rx);
    keys->tx = crypto_key_pack(mem, keys->tx);
    keys->rx_mask = crypto_mask_key_pack(mem, keys->rx_mask);
    keys->tx_mask = crypto_mask_key_pack(mem, keys->tx_mask);
    conn->phase.rx_next = crypto_key_pack(mem, conn->phase.rx_next);
    conn->keys_packed = true;
}

static bool unpack_key(struct base_mem *mem, struct crypto_key **key) {
    struct crypto_key *expanded = crypto_key_unpack(mem, *key);
    if (!expanded)
        return !*key;
    *key = expanded;
    return true;
}

static bool unpack_mask_key(struct base_mem *mem, struct crypto_mask_key **key) {
    struct crypto_mask_key *expanded = crypto_mask_key_unpack(mem, *key);
    if (!expanded)
        return !*key;
    *key = expanded;
    return true;
}

/* All of them, the next generation's too: which of them a packet needs shall not show in the time it takes (9.5).
 * Packed, each of them takes as long as the others. */
bool quic_keyphase_unpack_now(struct quic_conn *conn) {
    struct quic_keys *keys = &conn->keys[CRYPTO_APPLICATION];
    struct base_mem *mem = conn->endpoint->mem;
    conn->keys_packed =
        !(unpack_key(mem, &keys->rx) && unpack_key(mem, &keys->tx) && unpack_mask_key(mem, &keys->rx_mask) &&
          unpack_mask_key(mem, &keys->tx_mask) && unpack_key(mem, &conn->phase.rx_next));
    return !conn->keys_packed;
}

void quic_keyphase_clear(struct quic_conn *conn) {
    crypto_key_free(conn->endpoint->mem, conn->phase.rx_previous);
    crypto_key_free(conn->endpoint->mem, conn->phase.rx_next);
    crypto_wipe(&conn->phase, sizeof conn->phase);
}
