/* walk.h - the connection's side of the two walks: the calls by which a datagram enters and leaves it.
 *
 *     in:   endpoint.c -> quic_rx_datagrams (rx_packet.c) -> quic_rx_frames (rx_frame.c) -> the machines
 *     out:  endpoint.c -> quic_tx_train (tx_packet.c) -> quic_tx_fill (tx_frame.c) -> the machines
 */
#ifndef QUIC_WALK_H
#define QUIC_WALK_H

#include "quic/conn.h"

static inline enum quic_space quic_space_of(enum crypto_level level) {
    return level == CRYPTO_INITIAL ? QUIC_INITIAL : level == CRYPTO_HANDSHAKE ? QUIC_HANDSHAKE : QUIC_APPLICATION;
}

/* Where a packet came from and what it was protected with. */
struct quic_rx {
    struct quic_conn *conn;
    struct quic_path *path;
    struct base_buf *buf;
    const struct quic_cid *dcid; /* the ID it was sent to */
    enum crypto_level level;
    enum quic_space space;
    uint64_t number;
    base_time now;
    bool eliciting; /* out: has ack-eliciting frames */
    bool probing;   /* out: has only probing frames (RFC 9000 9.1) */
    bool lone;      /* out: says no more than that the peer is there */
    bool glitched;  /* out: had one */
    uint8_t glitch; /* of the frame at hand: enum quic_glitch */
    uint32_t tiny;  /* frames of a few bytes so far */
};

/* --- rx_packet.c --- */
/* Datagrams for this connection that came in one batch, in order; short-header packets among them are unmasked
 * together. */
void quic_rx_datagrams(struct quic_conn *conn, const struct quic_datagram *datagrams, size_t count, base_time now);
/* The peer has shown that it receives at its address: the amplification limit is lifted. */
void quic_rx_address_proven(struct quic_conn *conn);
/* A datagram for a connection that is closing. */
void quic_rx_while_closing(struct quic_conn *conn, const struct quic_datagram *datagram, base_time now);
/* Keys of a level have come: packets that waited for them are processed. */
void quic_rx_early(struct quic_conn *conn, base_time now);

/* --- rx_frame.c --- */
/* All frames of an opened packet. 0; QUIC_RX_DROP: treat the packet as not received; an error has closed the connection
 * already when > 0. */
int quic_rx_frames(struct quic_rx *rx, const uint8_t *payload, size_t len);

/* --- handshake.c: TLS and the connection --- */
bool quic_handshake_open(struct quic_conn *conn, const char *server_name, const uint8_t *session, size_t session_len,
                         struct crypto_error *why);
/* A CRYPTO frame: bytes join the space's stream. 0, QUIC_RX_DROP or CRYPTO_BUFFER_EXCEEDED. */
int quic_handshake_crypto(struct quic_conn *conn, enum quic_space space, const struct quic_frame *frame);
/* CRYPTO bytes that are in order go to TLS. */
void quic_handshake_input(struct quic_conn *conn, enum quic_space space, base_time now);
/* Bytes that the peer makes us hold for the handshake, beyond what ordinary peers do. */
uint64_t quic_handshake_surplus(const struct quic_conn *conn);
/* After TLS made progress: completion, confirmation, keys to throw away. */
void quic_handshake_progress(struct quic_conn *conn, base_time now);
void quic_handshake_confirm(struct quic_conn *conn, base_time now);
/* The application had its turn: frees TLS when it is done. */
void quic_handshake_settle(struct quic_conn *conn);
void quic_handshake_discard(struct quic_conn *conn, enum quic_space space);
/* 3 PTO after confirmation: nothing of the handshake can still be under way (0-RTT keys and the ID the client chose
 * go). */
void quic_handshake_expire(struct quic_conn *conn);
/* A client whose version has changed begins again: a new ClientHello, without the old session. */
bool quic_handshake_reopen(struct quic_conn *conn);
/* Client: the Initial keys this connection would have in another version. */
bool quic_handshake_candidate(struct quic_conn *conn, uint32_t version, struct quic_keys *keys);
/* The version these keys are of is the one in use; takes them. */
void quic_handshake_take_version(struct quic_conn *conn, uint32_t version, const struct quic_keys *keys);
void quic_handshake_drop_keys(struct quic_conn *conn, struct quic_keys *keys);
/* (Re)makes the Initial keys from the client's first (or after Retry: present) Destination Connection ID. */
bool quic_handshake_initial_keys(struct quic_conn *conn, const struct quic_cid *dcid);
/* The CRYPTO stream of a space, made at first use; NULL: out of memory. */
struct quic_crypto_stream *quic_handshake_stream(struct quic_conn *conn, enum quic_space space);
void quic_handshake_free_space(struct quic_conn *conn, enum quic_space space);
void quic_handshake_free_keys(struct quic_conn *conn, enum crypto_level level);

/* --- version.c: version negotiation (RFC 9368, RFC 9369) --- */
/* The version a client begins with. */
uint32_t quic_version_first(const struct options *options, const uint8_t *session, size_t session_len);
/* Fills in our version_information. */
void quic_version_inform(struct quic_conn *conn, struct quic_params *params);
/* The peer's version_information: NULL, or why VERSION_NEGOTIATION_ERROR. */
const char *quic_version_check(const struct quic_conn *conn, const struct quic_params *params);
/* Server, after the check: changes to the version it prefers, if the client offers that. False: out of memory. */
bool quic_version_upgrade(struct quic_conn *conn, const struct quic_params *params);
/* Client: may an Initial in this version still show that the server has changed to it? */
bool quic_version_may_change(const struct quic_conn *conn, uint32_t version);
/* Client: a Version Negotiation packet. */
void quic_version_negotiate(struct quic_conn *conn, const struct quic_header *header, base_time now);

/* --- early.c: 0-RTT (RFC 9001 4.6) --- */
/* Server: tickets are good for the version in use and these limits. */
bool quic_early_bind(struct quic_conn *conn, const struct quic_params *own);
/* Client: TLS has a session to be kept. */
void quic_early_on_session(struct quic_conn *conn, const uint8_t *tls, size_t len);
/* Client: what a session remembers of the path has changed: it is made again. */
void quic_early_refresh(struct quic_conn *conn);
/* Client: what of a stored session can be used goes into `open`. */
void quic_early_resume(struct quic_conn *conn, const uint8_t *session, size_t len, struct crypto_tls_open *open);
/* Client: the ClientHello is made; if it offers early data, streams may send. */
void quic_early_begin(struct quic_conn *conn);
/* Client: after TLS made progress: accepted or rejected? */
void quic_early_decide(struct quic_conn *conn, base_time now);
/* Client: early data that was sent is lost for good; streams begin again. */
void quic_early_abandon(struct quic_conn *conn);
void quic_early_clear(struct quic_conn *conn);

/* --- keyphase.c: key updates of 1-RTT (RFC 9001 section 6) --- */
void quic_keyphase_install(struct quic_conn *conn, const struct crypto_secret *read, const struct crypto_secret *write);
/* Packets of 1-RTT have come, and were gone through. */
void quic_keyphase_on_batch(struct quic_conn *conn);
/* Opens a 1-RTT packet with the right generation. Length of the plaintext, -1 = drop; KEY_UPDATE_ERROR closes. */
int32_t quic_keyphase_open(struct quic_conn *conn, const struct crypto_open_item *item, uint64_t number, base_time now);
bool quic_keyphase_update(struct quic_conn *conn); /* our side starts the next generation; false: not allowed yet */
void quic_keyphase_on_acked(struct quic_conn *conn, uint64_t number);
void quic_keyphase_on_sealed(struct quic_conn *conn, uint64_t packets, base_time now);
void quic_keyphase_on_timeout(struct quic_conn *conn);
void quic_keyphase_clear(struct quic_conn *conn);
/* A connection at rest keeps its 1-RTT keys packed (crypto/keys.h); for more than a keep-alive (rest.h) they are
 * unpacked. False: out of memory. */
void quic_keyphase_pack(struct quic_conn *conn);
bool quic_keyphase_unpack_now(struct quic_conn *conn);
static inline bool quic_keyphase_unpack(struct quic_conn *conn) {
    return !conn->keys_packed || quic_keyphase_unpack_now(conn);
}

/* --- rest.c --- */
static inline bool quic_rest_hears(struct quic_conn *conn, size_t datagrams, base_time now) {
    return conn->keys_packed && quic_rest_hears_now(conn, datagrams, now);
}
static inline bool quic_rest_speaks(struct quic_conn *conn, base_time now) {
    return conn->keys_packed && quic_rest_speaks_now(conn, now);
}

/* --- tx_packet.c --- */
/* Fills a train with what this connection has to send now. False: nothing (then it is not dirty any more). */
bool quic_tx_train(struct quic_conn *conn, struct quic_train *train, base_time now);
/* One datagram with a CONNECTION_CLOSE at each level of the bit set `levels`. */
bool quic_tx_close_datagram(struct quic_conn *conn, struct quic_train *train, unsigned levels, base_time now);
/* Heads a train of one datagram of `len` bytes for this path. */
void quic_tx_address(const struct quic_path *path, struct quic_train *train, size_t len);

/* --- tx_frame.c --- */
struct quic_tx { /* one packet being written */
    struct quic_conn *conn;
    struct quic_path *path;
    struct base_writer out;
    enum crypto_level level;
    enum quic_space space;
    base_time now;
    bool eliciting, in_flight; /* out */
    bool has_ack;
    bool window_open; /* congestion control allows more than ACKs (or this is a probe) */
    bool probe;       /* a PTO probe: must be ack-eliciting */
    bool pad;         /* the datagram must be filled up to 1200 bytes */
};
/* Frames of tx->path alone: PATH_RESPONSE, PATH_CHALLENGE. */
void quic_tx_path_frames(struct quic_tx *tx);
/* Frames into one packet, in order of need. False: nothing was written. */
bool quic_tx_fill(struct quic_tx *tx);
/* True when there is more to say in 1-RTT packets than an ACK or a PING. */
bool quic_tx_has_news(struct quic_conn *conn);
/* True when the connection would write something at this level now. */
bool quic_tx_wants(struct quic_conn *conn, enum crypto_level level, bool window_open, base_time now);
/* What became of a frame of ours: the recovery's callback. */
void quic_tx_on_fate(void *user, enum quic_space space, const struct quic_sent_frame *frame, enum quic_fate fate);
void quic_tx_on_packet(void *user, enum quic_space space, uint64_t number, const struct quic_sent_packet *packet,
                       enum quic_fate fate);

/* --- close.c --- */
void quic_close_begin(struct quic_conn *conn, const struct quic_close *close, base_time now);
/* The peer closed (CONNECTION_CLOSE or stateless reset). */
void quic_close_drain(struct quic_conn *conn, const struct quic_close *close, base_time now);
/* Ends without a word (idle, handshake time-out of a server that may not answer, version negotiation failed). */
void quic_close_silent(struct quic_conn *conn, const struct quic_close *close, base_time now);
/* It is kept no longer, or freed. */
void quic_close_leave(struct quic_conn *conn);
/* A datagram arrived while closing. */
void quic_close_on_datagram(struct quic_conn *conn, base_time now);
/* The frame into a packet being written. */
bool quic_close_fill(struct quic_tx *tx);
bool quic_close_tx(struct quic_conn *conn, struct quic_train *train, base_time now);

/* --- conn.c --- */
/* Allocates a connection with everything both roles share; NULL: out of memory. */
struct quic_conn *quic_conn_new(struct quic_endpoint *endpoint, const struct quic_config *config, enum crypto_role role,
                                uint32_t version, base_time now);
/* Server: from a client's first Initial. `odcid`: the ID the client first chose (from the token after a Retry),
 * `retry_scid` NULL without Retry. */
struct quic_conn *quic_conn_accept(struct quic_endpoint *endpoint, struct quic_listener *listener,
                                   const struct quic_header *header, const struct quic_datagram *datagram,
                                   const struct quic_cid *odcid, const struct quic_cid *retry_scid,
                                   bool address_validated, base_time now);
void quic_conn_free(struct quic_conn *conn);
void quic_conn_free_machines(struct quic_conn *conn); /* TLS, streams, recovery, keys: on entering closing */
void quic_conn_on_received(struct quic_conn *conn, base_time now);       /* a packet was opened: idle timer */
void quic_conn_on_sent_eliciting(struct quic_conn *conn, base_time now); /* idle timer, keep-alive */
/* max(PTO of the application space, granularity) * 3: closing, draining, key and path periods. */
base_time quic_conn_three_pto(const struct quic_conn *conn);

#endif
