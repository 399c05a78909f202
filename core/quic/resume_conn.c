/* resume_conn.c - saved windows: into tokens and sessions, out of them, and used once (resume_conn.h).
 *
 * Knows addresses, clocks and formats. Does not know what a window does: that is the machine's (resume.c).
 *
 * A token holds, behind what proves the address: who keeps the register (8), window (8), RTT in microseconds (4). A
 * session holds: when it was saved, wall clock (8), window (8), RTT in microseconds (4), the server's IP address and
 * our own (17 each; family 0: not known). Tokens and sessions without these are those of before, or of paths not worth
 * it.
 *
 * The register is a field of times, one an address, several addresses to a time: two that meet make each other's saved
 * windows look used, which costs a jump and never allows one. It needs no keys, no removal and no end.
 *
 * The invariant that matters: of all that was saved for an address up to a moment, one jump is made.
 */
#include "quic/resume_conn.h"

#include "quic/walk.h"

#define RESUME_SLOTS 4096u
#define RESUME_PARAM UINT64_C(0x3765667463722031) /* of our own making, and only ever in a session */

/* ---- who and when ---- */

/* Of IPv6 the network: a client has all of its addresses. */
static uint64_t resume_address(const struct quic_endpoint *endpoint, const struct quic_addr *addr) {
    uint8_t key[1 + sizeof addr->ip] = {addr->family};
    memcpy(key + 1, addr->ip, addr->family == 6 ? 8 : 4);
    return base_siphash(endpoint->hash_secret, key, sizeof key);
}

/* Names the register: another process, or engine, has another one. */
static uint64_t resume_keeper(const struct quic_endpoint *endpoint) {
    return base_siphash(endpoint->hash_secret, "careful resume", 14);
}

void quic_resume_clear(struct quic_endpoint *endpoint) {
    base_free(endpoint->mem, endpoint->resumes, endpoint->resumes ? RESUME_SLOTS * sizeof *endpoint->resumes : 0);
    endpoint->resumes = NULL;
}

static bool on_claim(void *user, const struct quic_resume_saved *saved, base_time now) {
    struct quic_endpoint *endpoint = ((struct quic_conn *)user)->endpoint;
    if (!endpoint->resumes)
        endpoint->resumes = (base_time *)base_zalloc(endpoint->mem, RESUME_SLOTS * sizeof *endpoint->resumes);
    if (!endpoint->resumes)
        return false;
    base_time *used = &endpoint->resumes[saved->address % RESUME_SLOTS];
    if (*used && saved->saved_at <= *used)
        return false;
    *used = base_time_max(now, 1);
    return true;
}

/* ---- what the machine tells ---- */

static void on_observed(void *user) {
    struct quic_conn *conn = (struct quic_conn *)user;
    if (conn->role == CRYPTO_CLIENT) {
        quic_early_refresh(conn);
        return;
    }
    conn->new_tokens++;
    conn->want_new_token = QUIC_WANTED;
    conn->control_wanted = true;
}

static void on_phase(void *user, const struct quic_cc *cc, enum quic_resume_phase old, enum quic_resume_why why) {
    struct quic_conn *conn = (struct quic_conn *)user;
    enum quic_resume_phase phase = (enum quic_resume_phase)cc->resume->phase;
    conn->stats.resumes_tried += phase == QUIC_RESUME_UNVALIDATED;
    conn->stats.resumes_refused += old == QUIC_RESUME_RECONNAISSANCE && phase == QUIC_RESUME_NORMAL;
    conn->stats.resumes_validated += why == QUIC_RESUME_LAST_ACKED;
    conn->stats.resumes_retreated += phase == QUIC_RESUME_SAFE_RETREAT;
    if (conn->qlog)
        quic_qlog_resume(conn, cc, old, why);
}

static const struct quic_resume_events resume_events = {
    .claim = on_claim, .on_observed = on_observed, .on_phase = on_phase};

void quic_resume_start(struct quic_conn *conn, struct quic_path *path) {
    if (conn->config->options.pacing) /* without it there is no jump (3.3); out of memory, neither */
        (void)quic_resume_begin(&path->control.cc, conn->endpoint->mem, &resume_events, conn);
}

/* Who has no machine has no use for what comes, and does not judge it. */
static bool resume_can(const struct quic_conn *conn) { return conn->first_path.control.cc.resume != NULL; }

/* Something was saved at this wall clock time, for the address that the connection begins at. */
static void resume_offer(struct quic_conn *conn, uint64_t unix_saved, struct quic_resume_saved *saved, base_time now) {
    const struct options *options = &conn->config->options;
    uint64_t unix_now = quic_endpoint_unix(conn->endpoint, now);
    if (unix_saved > unix_now || unix_now - unix_saved > options->careful_resume_lifetime) {
        conn->stats.resumes_refused++;
        return;
    }
    base_time age = unix_now - unix_saved;
    saved->saved_at = age < now ? now - age : 0;
    saved->good_to = base_time_add(now, options->careful_resume_lifetime - age);
    saved->address = resume_address(conn->endpoint, &conn->first_path.remote);
    quic_resume_offer(&conn->first_path.control.cc, saved, options->careful_resume_most);
}

static void write_saved(struct base_writer *out, const struct quic_resume_saved *saved) {
    base_time us = saved->rtt / BASE_US;
    base_write_uint(out, saved->window, 8);
    base_write_u32(out, us < UINT32_MAX ? (uint32_t)us : UINT32_MAX);
}

static void read_saved(struct base_reader *in, struct quic_resume_saved *saved) {
    *saved = (struct quic_resume_saved){.window = base_read_uint(in, 8)};
    saved->rtt = base_read_u32(in) * BASE_US;
}

/* ---- tokens ---- */

void quic_resume_write_token(const struct quic_endpoint *endpoint, const struct quic_resume_saved *saved,
                             struct base_writer *out) {
    base_write_uint(out, resume_keeper(endpoint), 8);
    write_saved(out, saved);
}

void quic_resume_read_token(struct quic_conn *conn, uint64_t issued, struct base_reader *in, base_time now) {
    struct quic_resume_saved saved;
    if (!base_reader_left(in) || !resume_can(conn))
        return;
    bool own = base_read_uint(in, 8) == resume_keeper(conn->endpoint);
    read_saved(in, &saved);
    if (own && !in->bad)
        resume_offer(conn, issued, &saved, now);
    else
        conn->stats.resumes_refused++;
}

/* ---- sessions ---- */

static void write_ip(struct base_writer *out, const struct quic_addr *addr) {
    base_write_u8(out, addr->family);
    base_write_bytes(out, addr->ip, sizeof addr->ip);
}

static struct quic_addr read_ip(struct base_reader *in) {
    struct quic_addr addr = {.family = base_read_u8(in)};
    const uint8_t *ip = base_read_bytes(in, sizeof addr.ip);
    if (ip)
        memcpy(addr.ip, ip, sizeof addr.ip);
    return addr;
}

/* Our own address on this path; family 0 when the system chooses it. */
static struct quic_addr resume_local(const struct quic_path *path) {
    static const uint8_t any[sizeof path->local.ip];
    struct quic_addr local = path->local;
    if (memcmp(local.ip, any, sizeof any) == 0)
        local = (struct quic_addr){0};
    return local;
}

void quic_resume_write_session(struct quic_conn *conn, struct base_writer *out) {
    const struct quic_path *path = quic_path_active(conn);
    const struct quic_addr local = resume_local(path);
    struct quic_resume_saved saved;
    if (!quic_resume_observed(&path->control.cc, &saved))
        return;
    base_write_varint(out, RESUME_PARAM);
    base_write_varint(out, 8 + 8 + 4 + 2 * (1 + sizeof local.ip));
    base_write_uint(out, quic_endpoint_unix(conn->endpoint, conn->endpoint->now), 8);
    write_saved(out, &saved);
    write_ip(out, &path->remote);
    write_ip(out, &local);
}

void quic_resume_read_session(struct quic_conn *conn, const uint8_t *params, size_t len, base_time now) {
    struct base_reader in = base_reader_of(params, len);
    while (resume_can(conn) && base_reader_left(&in) && !in.bad) {
        uint64_t id = base_read_varint(&in), size = base_read_varint(&in);
        const uint8_t *value = base_read_bytes(&in, (size_t)size);
        if (id != RESUME_PARAM || !value)
            continue;
        struct base_reader own = base_reader_of(value, (size_t)size);
        struct quic_resume_saved saved;
        const struct quic_addr here = resume_local(&conn->first_path);
        uint64_t unix_saved = base_read_uint(&own, 8);
        read_saved(&own, &saved);
        struct quic_addr remote = read_ip(&own), local = read_ip(&own);
        remote.scope = conn->first_path.remote.scope;
        local.scope = here.scope;
        bool same = quic_addr_same_ip(&remote, &conn->first_path.remote) &&
                    (!local.family || !here.family || quic_addr_same_ip(&local, &here));
        if (same && !own.bad)
            resume_offer(conn, unix_saved, &saved, now);
        else
            conn->stats.resumes_refused++;
        return;
    }
}
