/* stateless.c - what an endpoint says without having a connection: Version Negotiation (RFC 9000 6.1), Retry (8.1.2),
 * a refusing CONNECTION_CLOSE (5.2.2, 10.2.3) and stateless reset (10.3).
 *
 * A reply is made when its cause arrives and waits in a line until output. The line has a limit, and memory that cannot
 * be had is one, too: what does not fit is not said, as if it had been lost. No reply is longer than the datagram that
 * caused it, a reset is always shorter, and none answers a packet that is itself such a reply: two endpoints can never
 * keep each other talking.
 *
 * Buckets limit what costs more than it gives: resets, which a peer that lost its state asks for at most now and
 * then, and refusals, which expand Initial keys. Retry has no bucket: it is the defence against floods, and the line
 * bounds it.
 *
 * Invariant: reply_count replies wait, oldest first.
 */
#include <assert.h>

#include "crypto/protect.h"
#include "quic/endpoint.h"
#include "quic/frame.h"

/* Largest: a Version Negotiation that echoes two IDs of 255 bytes. */
#define REPLY_MAX (1 + 4 + 2 * (1 + 255) + 4 * 4)

#define RESET_RATE 1000u /* a second, where no listener's options say so */

/* Resets of 43 bytes and more are indistinguishable from short packets with IDs of any length; causes longer than
 * that get a length from this range (RFC 9000 10.3). */
#define RESET_USUAL 43u
#define RESET_SPREAD 32u

struct quic_reply {
    struct base_node node;
    struct quic_socket *socket;
    struct quic_addr local, remote;
    uint16_t len;
    uint8_t data[];
};

void quic_stateless_init(struct quic_endpoint *endpoint, base_time now) {
    base_bucket_init(&endpoint->reset_bucket, 0, 0, now);
    base_bucket_init(&endpoint->reply_bucket, 0, 0, now);
    base_list_init(&endpoint->replies);
}

static void reply_free(struct quic_endpoint *endpoint, struct quic_reply *reply) {
    base_list_remove(&reply->node);
    endpoint->reply_count--;
    base_free(endpoint->mem, reply, sizeof *reply + reply->len);
}

void quic_stateless_clear(struct quic_endpoint *endpoint) {
    struct base_node *node;
    while ((node = base_list_first(&endpoint->replies)) != NULL)
        reply_free(endpoint, BASE_CONTAINER(node, struct quic_reply, node));
}

/* Takes a reply from its bucket, whose burst is what its rate gives in `burst` tenths of a second. */
static bool reply_allowed(struct quic_endpoint *endpoint, struct base_bucket *bucket, uint64_t rate, unsigned burst,
                          base_time now) {
    if (rate) {
        base_bucket_adjust(bucket, rate, rate * burst < 10 ? 1 : rate * burst / 10);
        if (base_bucket_take(bucket, 1, now))
            return true;
    }
    endpoint->stats.replies_suppressed++;
    return false;
}

static bool reply_is_due(struct quic_endpoint *endpoint, const struct quic_datagram *cause, base_time now) {
    uint64_t rate = cause->socket->listener->config->options.stateless_reply_rate;
    return reply_allowed(endpoint, &endpoint->reply_bucket, rate, 1, now);
}

static bool reset_is_due(struct quic_endpoint *endpoint, const struct quic_datagram *cause, base_time now) {
    const struct quic_listener *listener = cause->socket->listener;
    uint64_t rate = listener ? listener->config->options.stateless_reset_rate : RESET_RATE;
    return reply_allowed(endpoint, &endpoint->reset_bucket, rate, 2, now);
}

bool quic_stateless_has_room(const struct quic_endpoint *endpoint) { return endpoint->reply_count < QUIC_REPLIES; }

/* The same, for those who say nothing then. */
static bool reply_fits(struct quic_endpoint *endpoint) {
    bool fits = quic_stateless_has_room(endpoint);
    endpoint->stats.datagrams_refused += !fits;
    return fits;
}

/* To the sender of `cause`. False: there was nothing to say after all, or no memory for it. */
static bool reply_say(struct quic_endpoint *endpoint, const struct quic_datagram *cause, const uint8_t *data,
                      size_t len) {
    assert(len <= REPLY_MAX);
    struct quic_reply *reply = len ? base_alloc(endpoint->mem, sizeof *reply + len) : NULL;
    if (!reply)
        return false;
    *reply = (struct quic_reply){
        .socket = cause->socket, .local = cause->local, .remote = cause->remote, .len = (uint16_t)len};
    memcpy(reply->data, data, len);
    base_list_push_back(&endpoint->replies, &reply->node);
    endpoint->reply_count++;
    return true;
}

void quic_stateless_version_negotiation(struct quic_endpoint *endpoint, const struct quic_datagram *cause,
                                        const struct quic_header *header, base_time now) {
    uint8_t reply[REPLY_MAX];
    if (cause->len < QUIC_MIN_INITIAL || header->version == 0 || !reply_is_due(endpoint, cause, now) ||
        !reply_fits(endpoint))
        return;
    const struct options *options = &cause->socket->listener->config->options;
    uint32_t versions[QUIC_VERSION_LIST_MAX + 1];
    size_t count = quic_version_list(options, 0, versions);
    uint64_t random = base_random_u64(&endpoint->random);
    if (options->grease) /* RFC 9000 6.3 */
        versions[count++] = quic_version_reserved(&endpoint->random);
    size_t len =
        quic_header_write_version_negotiation(reply, sizeof reply, header, (uint8_t)random & 0x3f, versions, count);
    if (reply_say(endpoint, cause, reply, len))
        endpoint->stats.version_negotiations_sent++;
}

bool quic_stateless_retry(struct quic_endpoint *endpoint, const struct quic_datagram *cause,
                          const struct quic_header *header, const struct quic_cid *scid, const uint8_t *token,
                          size_t token_len) {
    uint8_t reply[REPLY_MAX], random = (uint8_t)base_random_u64(&endpoint->random);
    if (!reply_fits(endpoint))
        return false;
    size_t len = quic_header_write_retry(reply, sizeof reply, header->version, &header->scid, scid, &header->dcid,
                                         token, token_len, random);
    bool said = reply_say(endpoint, cause, reply, len);
    endpoint->stats.retries_sent += said;
    return said;
}

/* Seals the packet with the keys a server has for this client ID. */
static bool close_seal(struct quic_endpoint *endpoint, const struct quic_header *header,
                       const struct crypto_seal_item *item) {
    enum crypto_version version = header->version == QUIC_VERSION_2 ? CRYPTO_QUIC_V2 : CRYPTO_QUIC_V1;
    struct crypto_secret client, server;
    if (!crypto_initial_secrets(version, header->dcid.id, header->dcid.len, &client, &server))
        return false;
    struct crypto_key *key;
    struct crypto_mask_key *mask;
    bool sealed = crypto_keys_new(endpoint->mem, version, &server, &key, &mask) && crypto_seal(key, mask, item, 1);
    crypto_key_free(endpoint->mem, key);
    crypto_mask_key_free(endpoint->mem, mask);
    return sealed;
}

/* Packet number 0, no padding: it elicits no ACK, so its datagram need not be large (RFC 9000 14.1). */
static size_t close_write(struct quic_endpoint *endpoint, const struct quic_header *header, uint64_t code, uint8_t *out,
                          size_t capacity) {
    struct base_writer w = base_writer_of(out, capacity);
    uint8_t *length_at = NULL;
    quic_header_write_long(&w, header->version, QUIC_PACKET_INITIAL, 1, &header->scid, &header->dcid, NULL, 0,
                           &length_at);
    uint8_t *number_at = w.pos;
    base_write_u8(&w, 0);
    quic_frame_write_close(&w, false, code, 0, NULL, 0);
    base_write_space(&w, CRYPTO_TAG_SIZE);
    if (w.bad)
        return 0;
    struct crypto_seal_item item = {
        .packet = out,
        .number = 0,
        .len = (uint32_t)(w.pos - out),
        .pn_offset = (uint16_t)(number_at - out),
        .pn_len = 1,
    };
    quic_header_patch_length(length_at, (size_t)(w.pos - number_at));
    return close_seal(endpoint, header, &item) ? item.len : 0;
}

void quic_stateless_close(struct quic_endpoint *endpoint, const struct quic_datagram *cause,
                          const struct quic_header *header, uint64_t code, base_time now) {
    uint8_t reply[REPLY_MAX];
    if (reply_is_due(endpoint, cause, now) && reply_fits(endpoint))
        reply_say(endpoint, cause, reply, close_write(endpoint, header, code, reply, sizeof reply));
}

/* Shorter than its cause, so that resets answering resets die out. */
static size_t reset_len(struct quic_endpoint *endpoint, size_t cause_len) {
    if (cause_len <= RESET_USUAL)
        return cause_len - 1;
    size_t len = RESET_USUAL + (size_t)(base_random_u64(&endpoint->random) % RESET_SPREAD);
    return len < cause_len ? len : cause_len - 1;
}

void quic_stateless_reset(struct quic_endpoint *endpoint, const struct quic_datagram *cause, const uint8_t *dcid,
                          size_t dcid_len, base_time now) {
    if (!quic_endpoint_owns_cid(endpoint, dcid, dcid_len) || cause->len <= QUIC_RESET_LEAST ||
        !reset_is_due(endpoint, cause, now) || !reply_fits(endpoint))
        return;
    /* Which secret made the token is not known after a rotation; the peer asks again, and gets the other one. */
    unsigned age = (unsigned)base_random_u64(&endpoint->random) & 1;
    uint8_t token[CRYPTO_RESET_TOKEN_SIZE];
    crypto_reset_token(endpoint->fleet, age, dcid, dcid_len, token);
    uint8_t reply[RESET_USUAL + RESET_SPREAD];
    size_t len = reset_len(endpoint, cause->len);
    if (reply_say(endpoint, cause, reply, quic_header_write_stateless_reset(reply, len, token, &endpoint->random)))
        endpoint->stats.stateless_resets_sent++;
}

bool quic_stateless_output(struct quic_endpoint *endpoint, struct quic_train *train) {
    struct base_node *node = base_list_first(&endpoint->replies);
    if (!node)
        return false;
    struct quic_reply *reply = BASE_CONTAINER(node, struct quic_reply, node);
    memcpy(train->data, reply->data, reply->len);
    train->len = train->segment = reply->len;
    train->count = 1;
    train->socket = reply->socket;
    train->local = reply->local;
    train->remote = reply->remote;
    train->ecn = QUIC_NOT_ECT;
    reply_free(endpoint, reply);
    return true;
}

void quic_stateless_forget_socket(struct quic_endpoint *endpoint, const struct quic_socket *socket) {
    struct base_node *next;
    for (struct base_node *node = base_list_first(&endpoint->replies); node; node = next) {
        next = base_list_next(&endpoint->replies, node);
        struct quic_reply *reply = BASE_CONTAINER(node, struct quic_reply, node);
        if (reply->socket == socket)
            reply_free(endpoint, reply);
    }
}
