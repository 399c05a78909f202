/* accept.c - a client's first Initial: is it worth a connection? (RFC 9000 sections 5.2.2, 7.2, 8.1, 14.1)
 *
 * It knows the rules a first Initial must meet, a listener's limits and the address tokens; it does not open the
 * packet, which only the connection can. An Initial that is turned away costs no memory: it is dropped, answered with
 * Retry, or refused with a CONNECTION_CLOSE of its own. A connection whose first datagram proves to hold nothing
 * authentic goes at once.
 *
 * Tokens (8.1.2 to 8.1.4) are sealed by the fleet's secret, so whatever opens was made by the fleet for that use: a
 * Retry token that opens but is late, or was made for another address or ID, is an error to be told (INVALID_TOKEN);
 * what does not open is somebody else's and counts as no token. Times in tokens are wall clock: machines of a fleet
 * agree on it.
 *
 * The application may be asked what to do with a client (endpoint.h, quic_admission): it can let one in as proven by a
 * token of its own, but the gate and the listener's limits hold for all.
 *
 * Invariant: with address_validation = always no connection is made without a valid token, ours or the application's.
 */
#include "quic/lobby.h"
#include "quic/resume_conn.h"
#include "quic/walk.h"

#define TOKEN_USE_RETRY 1u
#define TOKEN_USE_NEW 2u
#define TOKEN_PLAIN_MAX 96u

#define NEW_TOKEN_LIFETIME (24 * 3600 * BASE_SEC)
#define TOKEN_SKEW (60 * BASE_SEC) /* machines of a fleet may differ so much */

#define LEAST_CLIENT_CID 8u /* RFC 9000 7.2 */

/* NONE: none that is the fleet's and good. */
enum token_verdict { TOKEN_NONE, TOKEN_NEW, TOKEN_RETRY, TOKEN_INVALID };

static void write_cid(struct base_writer *w, const struct quic_cid *cid) {
    base_write_u8(w, cid->len);
    base_write_bytes(w, cid->id, cid->len);
}

static void read_cid(struct base_reader *r, struct quic_cid *cid) {
    *cid = (struct quic_cid){.len = base_read_u8(r)};
    if (cid->len > QUIC_CID_MAX) {
        r->bad = true;
        return;
    }
    const uint8_t *id = base_read_bytes(r, cid->len);
    if (id)
        memcpy(cid->id, id, cid->len);
}

/* A client keeps its address while it answers a Retry, port included; a later connection has another port. */
static void write_ip(struct base_writer *w, const struct quic_addr *addr) {
    base_write_u8(w, addr->family);
    base_write_bytes(w, addr->ip, sizeof addr->ip);
}

static bool same_ip(struct base_reader *r, const struct quic_addr *addr) {
    uint8_t family = base_read_u8(r);
    const uint8_t *ip = base_read_bytes(r, sizeof addr->ip);
    return ip && family == addr->family && memcmp(ip, addr->ip, sizeof addr->ip) == 0;
}

static bool in_time(const struct quic_endpoint *endpoint, uint64_t issued, base_time lifetime, base_time now) {
    uint64_t unix_now = quic_endpoint_unix(endpoint, now);
    return issued > unix_now ? issued - unix_now <= TOKEN_SKEW : unix_now - issued <= lifetime;
}

size_t quic_endpoint_new_token(struct quic_endpoint *endpoint, uint32_t version, const struct quic_addr *remote,
                               const struct quic_resume_saved *saved, uint8_t *out, size_t capacity, base_time now) {
    uint8_t plain[TOKEN_PLAIN_MAX];
    struct base_writer w = base_writer_of(plain, sizeof plain);
    base_write_uint(&w, quic_endpoint_unix(endpoint, now), 8);
    write_ip(&w, remote);
    base_write_u32(&w, version);
    if (saved)
        quic_resume_write_token(endpoint, saved, &w);
    return crypto_token_seal(endpoint->fleet, &endpoint->random, TOKEN_USE_NEW, NULL, 0, plain, (size_t)(w.pos - plain),
                             out, capacity);
}

static size_t retry_token(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                          const struct quic_header *header, const struct quic_cid *scid, uint8_t *out, size_t capacity,
                          base_time now) {
    uint8_t plain[TOKEN_PLAIN_MAX];
    struct base_writer w = base_writer_of(plain, sizeof plain);
    base_write_uint(&w, quic_endpoint_unix(endpoint, now), 8);
    write_ip(&w, &datagram->remote);
    base_write_u16(&w, datagram->remote.port);
    base_write_u32(&w, header->version);
    write_cid(&w, scid);
    write_cid(&w, &header->dcid);
    return crypto_token_seal(endpoint->fleet, &endpoint->random, TOKEN_USE_RETRY, NULL, 0, plain,
                             (size_t)(w.pos - plain), out, capacity);
}

/* The token of an Initial; *odcid: what a Retry token says the client chose first. */
static enum token_verdict token_judge(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                                      const struct quic_header *header, base_time retry_lifetime, base_time now,
                                      struct quic_cid *odcid) {
    uint8_t plain[CRYPTO_TOKEN_MAX];
    int32_t len = crypto_token_open(endpoint->fleet, TOKEN_USE_RETRY, NULL, 0, header->token, header->token_len, plain,
                                    sizeof plain);
    bool retry = len >= 0;
    if (!retry)
        len = crypto_token_open(endpoint->fleet, TOKEN_USE_NEW, NULL, 0, header->token, header->token_len, plain,
                                sizeof plain);
    if (len < 0)
        return TOKEN_NONE;
    struct base_reader r = base_reader_of(plain, (size_t)len);
    uint64_t issued = base_read_uint(&r, 8);
    bool valid =
        same_ip(&r, &datagram->remote) && in_time(endpoint, issued, retry ? retry_lifetime : NEW_TOKEN_LIFETIME, now);
    if (!retry) {
        valid = base_read_u32(&r) == header->version && valid; /* RFC 9369 5 */
        return valid && !r.bad ? TOKEN_NEW : TOKEN_NONE;
    }
    struct quic_cid scid;
    valid = base_read_u16(&r) == datagram->remote.port && valid;
    valid = base_read_u32(&r) == header->version && valid;
    read_cid(&r, &scid);
    read_cid(&r, odcid);
    return valid && !r.bad && quic_cid_equal(&scid, &header->dcid) ? TOKEN_RETRY : TOKEN_INVALID;
}

/* The token was good. What the connection it came from had found its path to carry, if anything, goes to the new
 * one. */
static void token_resume(struct quic_conn *conn, const struct quic_header *header, base_time now) {
    struct quic_endpoint *endpoint = conn->endpoint;
    uint8_t plain[CRYPTO_TOKEN_MAX];
    int32_t len = crypto_token_open(endpoint->fleet, TOKEN_USE_NEW, NULL, 0, header->token, header->token_len, plain,
                                    sizeof plain);
    if (len < 0)
        return; /* the application's */
    struct base_reader r = base_reader_of(plain, (size_t)len);
    uint64_t issued = base_read_uint(&r, 8);
    if (same_ip(&r, &conn->first_path.remote) && base_read_u32(&r) == header->version)
        quic_resume_read_token(conn, issued, &r, now);
}

/* A new ID for the client to use, which leads its next Initial to this engine, and a token that remembers the first.
 * False: there is no place for a reply now. */
static bool accept_retry(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                         const struct quic_header *header, const struct quic_hello *hello, base_time now) {
    struct quic_cid scid;
    if (!quic_stateless_has_room(endpoint) || !quic_endpoint_make_cid(endpoint, &scid))
        return false;
    uint8_t token[CRYPTO_TOKEN_MAX];
    size_t len = retry_token(endpoint, datagram, header, &scid, token, sizeof token, now);
    if (!len || !quic_stateless_retry(endpoint, datagram, header, &scid, token, len))
        return false;
    quic_gate_turn_away(endpoint, hello->key, now);
    return true;
}

static void accept_drop(struct quic_endpoint *endpoint, const struct quic_hello *hello, base_time now) {
    endpoint->stats.initials_dropped++;
    quic_gate_turn_away(endpoint, hello->key, now);
}

/* The last eighth of the memory budget is for the connections there are. */
static bool accept_has_room(const struct quic_endpoint *endpoint, const struct quic_listener *listener) {
    const struct base_mem *mem = endpoint->mem;
    if (listener->draining || listener->connections >= listener->config->options.max_connections)
        return false;
    return !mem->limit || mem->used <= mem->limit - mem->limit / 8;
}

static void accept_create(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                          const struct quic_header *header, const struct quic_hello *hello, base_time now) {
    bool retried = hello->token == TOKEN_RETRY, proven = hello->token != TOKEN_NONE;
    struct quic_conn *conn =
        quic_conn_accept(endpoint, datagram->socket->listener, header, datagram,
                         retried ? &hello->odcid : &header->dcid, retried ? &header->dcid : NULL, proven, now);
    if (!conn) {
        endpoint->stats.datagrams_refused++;
        return;
    }
    if (hello->token == TOKEN_NEW && conn->config->options.careful_resume)
        token_resume(conn, header, now);
    quic_rx_datagrams(conn, datagram, 1, now);
    if (!base_node_linked(&conn->touched))
        base_list_push_back(&endpoint->touched, &conn->touched);
    if (conn->stats.packets_received == 0) { /* noise, or corrupted on the way: the client will send it again */
        conn->detached = true;
        quic_conn_free(conn);
        return;
    }
    endpoint->stats.connections_accepted++;
    if (conn->state < QUIC_CONN_CLOSING)
        quic_gate_enter(conn, hello->prefix, proven);
    quic_orphan_adopt(endpoint, &header->dcid, conn, now);
}

/* What the application says. Who has just answered a Retry is not sent another. */
static enum quic_admit accept_ask(const struct quic_listener *listener, const struct quic_datagram *datagram,
                                  const struct quic_header *header, enum token_verdict token) {
    static const enum quic_token_kind kinds[] = {
        [TOKEN_NONE] = QUIC_TOKEN_OTHER, [TOKEN_NEW] = QUIC_TOKEN_NEW, [TOKEN_RETRY] = QUIC_TOKEN_RETRY};
    const struct quic_admission *admission = listener->config->admission;
    if (!admission || !admission->judge)
        return QUIC_ADMIT_DEFAULT;
    enum quic_token_kind kind = header->token_len ? kinds[token] : QUIC_TOKEN_NONE;
    enum quic_admit admit =
        admission->judge(admission, kind, &datagram->remote, header->token, (size_t)header->token_len);
    return admit == QUIC_ADMIT_RETRY && token == TOKEN_RETRY ? QUIC_ADMIT_DEFAULT : admit;
}

/* It is asked for a Retry; while too many replies wait to be sent, it waits itself. */
static void accept_later(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                         const struct quic_header *header, const struct quic_hello *hello, bool waited, base_time now) {
    if (!accept_retry(endpoint, datagram, header, hello, now) &&
        (waited || !quic_gate_wait(endpoint, datagram, hello, now)))
        accept_drop(endpoint, hello, now);
}

/* There is no time for it in this turn. Who cannot wait proves his address meanwhile, or says it again later. */
static void accept_wait(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                        const struct quic_header *header, const struct quic_hello *hello, base_time now) {
    const struct options *options = &datagram->socket->listener->config->options;
    bool stranger = hello->token == TOKEN_NONE && options->address_validation != QUIC_VALIDATE_NEVER;
    if (quic_gate_wait(endpoint, datagram, hello, now) ||
        (stranger && accept_retry(endpoint, datagram, header, hello, now)))
        return;
    accept_drop(endpoint, hello, now);
}

/* What the gate says of a client. */
static void accept_gate(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                        const struct quic_header *header, const struct quic_hello *hello, bool waited, base_time now) {
    const struct options *options = &datagram->socket->listener->config->options;
    switch (quic_gate_judge(endpoint, options, hello->prefix, hello->token != TOKEN_NONE, waited, now)) {
    case QUIC_GATE_OPEN: accept_create(endpoint, datagram, header, hello, now); break;
    case QUIC_GATE_WAIT: accept_wait(endpoint, datagram, header, hello, now); break;
    case QUIC_GATE_RETRY: accept_later(endpoint, datagram, header, hello, waited, now); break;
    case QUIC_GATE_DROP: accept_drop(endpoint, hello, now); break;
    }
}

/* Its token was judged, and the application asked, when it came; connections and memory may be fewer by now. */
bool quic_accept_waited(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                        const struct quic_hello *hello, base_time now) {
    struct quic_header header;
    if (!quic_header_parse(datagram->data, datagram->len, endpoint->cid_len, &header))
        return true; /* a later datagram that is of no use harms none */
    struct quic_conn *conn = quic_route_initial(endpoint, header.dcid.id, header.dcid.len);
    if (conn) {
        quic_endpoint_input(endpoint, datagram, 1, now);
        return true;
    }
    if (!accept_has_room(endpoint, datagram->socket->listener)) {
        endpoint->stats.datagrams_refused++;
        quic_stateless_close(endpoint, datagram, &header, QUIC_CONNECTION_REFUSED, now);
        return false;
    }
    accept_gate(endpoint, datagram, &header, hello, true, now);
    return quic_route_initial(endpoint, header.dcid.id, header.dcid.len) != NULL;
}

/* Lets it in, or not. */
static void accept_admit(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                         const struct quic_header *header, struct quic_hello *hello, base_time now) {
    const struct quic_listener *listener = datagram->socket->listener;
    enum quic_admit admit = accept_has_room(endpoint, listener)
                                ? accept_ask(listener, datagram, header, (enum token_verdict)hello->token)
                                : QUIC_ADMIT_REFUSE;
    switch (admit) {
    case QUIC_ADMIT_RETRY: accept_later(endpoint, datagram, header, hello, false, now); break;
    case QUIC_ADMIT_DROP: accept_drop(endpoint, hello, now); break;
    case QUIC_ADMIT_REFUSE:
        endpoint->stats.datagrams_refused++;
        quic_stateless_close(endpoint, datagram, header, QUIC_CONNECTION_REFUSED, now);
        break;
    case QUIC_ADMIT_PROVEN: hello->token = hello->token ? hello->token : TOKEN_NEW; /* fallthrough */
    default: accept_gate(endpoint, datagram, header, hello, false, now); break;
    }
}

void quic_accept_initial(struct quic_endpoint *endpoint, const struct quic_datagram *datagram,
                         const struct quic_header *header, base_time now) {
    const struct options *options = &datagram->socket->listener->config->options;
    if (datagram->len < QUIC_MIN_INITIAL || header->dcid.len < LEAST_CLIENT_CID)
        return;
    struct quic_hello hello = {.key = quic_gate_key(endpoint, &header->dcid, &datagram->remote),
                               .token = TOKEN_NONE,
                               .prefix = quic_gate_prefix(endpoint, options, &datagram->remote)};
    if (quic_lobby_join(endpoint, datagram, hello.key) || quic_gate_was_turned_away(endpoint, hello.key, now))
        return;
    if (header->token_len)
        hello.token =
            (uint8_t)token_judge(endpoint, datagram, header, options->retry_token_lifetime, now, &hello.odcid);
    if (hello.token == TOKEN_INVALID)
        quic_stateless_close(endpoint, datagram, header, QUIC_INVALID_TOKEN, now);
    else
        accept_admit(endpoint, datagram, header, &hello, now);
}
