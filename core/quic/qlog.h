/* qlog.h - what a connection does, told as qlog: draft-ietf-quic-qlog-main-schema-14 and -quic-events-13.
 *
 * A connection whose configuration has a sink has a struct quic_qlog; all others have a NULL there, and every place
 * that could tell something asks that pointer and nothing else: `if (conn->qlog)` and one call. What is told is taken
 * from the connection as it is at that moment; nothing is kept for qlog's sake elsewhere. Packets are told by reading
 * them once more, in plaintext; what changes slowly - metrics, states, MTU, IDs - is compared with what was told last
 * (quic_qlog_poll).
 *
 *     qlog.c         a log's life: header, records, buffer, sink         qlog_event.c   what happens to the connection
 *     qlog_json.c JSON into a fixed space qlog_state.c what has changed since it was told
 *     qlog_packet.c  packets and datagrams                               qlog_path.c    paths and addresses
 *     qlog_frame.c   frames
 *
 * Records are JSON text sequences (RFC 7464): a record separator, an object, a line feed. Whole records are gathered in
 * a buffer that goes to the sink when it is half full, a second old, when the connection rests, and at the end. Memory
 * that is missing or a sink that refuses costs records, which are counted (qlog_dropped), and nothing else.
 *
 * Secrets are never told: no keys, no tokens, no stateless reset tokens, no content of streams or CRYPTO frames.
 *
 * Invariant: what the sink is given is whole records, the header first.
 */
#ifndef QUIC_QLOG_H
#define QUIC_QLOG_H

#include "quic/endpoint.h"
#include "quic/path.h"
#include "quic/qlog_json.h"
#include "quic/resume.h"

/* Where logs go. Called on the engine's thread in the midst of things: must not call back, nor wait. */
struct quic_qlog_sink {
    /* A log begins; NULL: not of this connection. conn->original_dcid and role are known. */
    void *(*open)(const struct quic_qlog_sink *sink, const struct quic_conn *conn);
    /* Whole records. False: they are dropped. */
    bool (*write)(void *log, const struct quic_conn *conn, const char *data, size_t len);
    void (*close)(void *log, const struct quic_conn *conn);
};

#define QUIC_QLOG_BUFFER 65536u               /* bytes of a connection's buffer, there while something waits in it */
#define QUIC_QLOG_ROOM 32768u                 /* that a record finds at least */
#define QUIC_QLOG_AGE (1 * BASE_SEC)          /* records do not wait for longer, once another one comes */
#define QUIC_QLOG_NAME (2 * QUIC_CID_MAX + 8) /* room for "<ODCID>_server" */

/* What was told last; compared by quic_qlog_poll. */
struct quic_qlog_state {
    struct quic_qlog_metrics {
        base_time min_rtt, smoothed_rtt, latest_rtt, variation;
        uint64_t pto_count, window, in_flight, threshold, packets, pacing_rate;
    } metrics;
    const char *congestion; /* static names */
    const char *connection;
    uint64_t persistent; /* persistent congestions told of */
    uint64_t congestion_events;
    base_time timer; /* deadline of the recovery timer; BASE_NEVER = not set */
    bool timer_is_loss;
    uint64_t tuples;            /* identifiers given out */
    uint64_t tuple[QUIC_PATHS]; /* of each path */
    uint32_t mtu[QUIC_PATHS];
    uint8_t ecn[QUIC_PATHS]; /* enum quic_ecn_state */
    bool moving[QUIC_PATHS]; /* in use before it was proven */
    bool spin;
    struct quic_cid local, remote; /* that packets are sent to */
    uint8_t ecn_sent, ecn_received;
};

struct quic_qlog {
    const struct quic_qlog_sink *sink;
    void *log;             /* the sink's */
    char *buffer;          /* QUIC_QLOG_BUFFER bytes, or NULL: nothing waits */
    size_t len;            /* of whole records in it */
    uint32_t records;      /* how many */
    size_t header_len;     /* the buffer begins with the header, which has not reached the sink yet; 0 = it has */
    base_time start;       /* time 0 of the log */
    base_time oldest;      /* when the first record that waits was made */
    struct qlog_json json; /* the record being written */
    struct quic_qlog_state told;
};

/* --- qlog.c --- */
/* "<ODCID>_client" or "..._server": what the log of this connection is called. */
void quic_qlog_name(const struct quic_conn *conn, char name[QUIC_QLOG_NAME]);
/* The connection's first ID, its addresses and its role are known: begins a log if the configuration says so. */
void quic_qlog_begin(struct quic_conn *conn);
/* Hands over what waits and gives the buffer back. */
void quic_qlog_flush(struct quic_conn *conn);
void quic_qlog_end(struct quic_conn *conn);
/* A record of this name, of the path with this index (QUIC_PATHS: of none); NULL: no memory, it is dropped. Its data
 * are an open object. */
struct qlog_json *quic_qlog_record(struct quic_conn *conn, const char *name, unsigned path);
void quic_qlog_record_end(struct quic_conn *conn);

/* --- qlog_packet.c --- */
struct quic_qlog_packet {
    const uint8_t *start; /* of the header, in plaintext but for the first byte */
    uint8_t first;        /* that byte */
    uint8_t pn_len;
    uint16_t pn_offset;
    enum crypto_level level;
    uint64_t number;
    size_t payload; /* bytes of frames, behind the packet number */
    unsigned path;
    bool mtu_probe;
};

/* Before the packet is counted as sent. */
void quic_qlog_packet_sent(struct quic_conn *conn, const struct quic_qlog_packet *packet);
void quic_qlog_packet_received(struct quic_conn *conn, const struct quic_qlog_packet *packet);
/* Retry, Version Negotiation. */
void quic_qlog_unprotected(struct quic_conn *conn, const struct quic_header *header);
enum quic_qlog_drop {
    QUIC_QLOG_DROP_REJECTED = 0, /* not allowed where or when it came */
    QUIC_QLOG_DROP_UNSUPPORTED,
    QUIC_QLOG_DROP_INVALID,
    QUIC_QLOG_DROP_DUPLICATE,
    QUIC_QLOG_DROP_DECRYPTION,
    QUIC_QLOG_DROP_KEY, /* there is none, and nowhere to wait for it */
};
#define QUIC_QLOG_TYPE_UNKNOWN 255u
/* `type`: enum quic_packet_type, as far as known. */
void quic_qlog_dropped(struct quic_conn *conn, unsigned type, size_t len, enum quic_qlog_drop why);
void quic_qlog_buffered(struct quic_conn *conn, enum crypto_level level, size_t len);
void quic_qlog_lost(struct quic_conn *conn, enum quic_space space, uint64_t number,
                    const struct quic_sent_packet *packet);
void quic_qlog_datagrams_sent(struct quic_conn *conn, const struct quic_train *train);
void quic_qlog_datagrams_received(struct quic_conn *conn, const struct quic_datagram *datagrams, size_t count);

/* --- qlog_frame.c --- */
/* The frames in these bytes, as a member of the open object. `exponent`: of ACK Delay. What does not fit is counted in
 * frames_omitted. */
void quic_qlog_frames(struct qlog_json *json, const uint8_t *payload, size_t len, uint64_t exponent);
/* Members that name an error: `name` ("error", "connection_error") and error_code where it has no name. */
void quic_qlog_error(struct qlog_json *json, const char *name, bool app, uint64_t code);
/* A reason phrase: `reason`, or reason_bytes when it is not text. */
void quic_qlog_reason(struct qlog_json *json, const void *reason, size_t len);

/* --- qlog_event.c --- */
struct quic_params;
void quic_qlog_opening(struct quic_conn *conn); /* addresses, versions offered, parameters of recovery */
void quic_qlog_params(struct quic_conn *conn, const struct quic_params *params, bool local);
void quic_qlog_params_restored(struct quic_conn *conn, const struct quic_params *params);
void quic_qlog_params_known(struct quic_conn *conn); /* the peer's, and with them the version */
void quic_qlog_completed(struct quic_conn *conn);
enum quic_qlog_key { QUIC_QLOG_KEY_TLS = 0, QUIC_QLOG_KEY_REMOTE, QUIC_QLOG_KEY_LOCAL };
/* Keys of a level came (or went): to read with, to write with. */
void quic_qlog_keys(struct quic_conn *conn, enum crypto_level level, bool read, bool write, enum quic_qlog_key why);
void quic_qlog_keys_gone(struct quic_conn *conn, enum crypto_level level, bool read, bool write);
void quic_qlog_old_key_gone(struct quic_conn *conn); /* of the previous generation of 1-RTT */
void quic_qlog_closed(struct quic_conn *conn);
void quic_qlog_timer_expired(struct quic_conn *conn);

/* Careful Resume is in a new phase on a path (draft-ietf-tsvwg-careful-resume-qlog). */
void quic_qlog_resume(struct quic_conn *conn, const struct quic_cc *cc, enum quic_resume_phase old,
                      enum quic_resume_why why);

/* --- qlog_path.c --- */
/* Members of the open object: ip_v4, port_v4 or ip_v6, port_v6; none without an address. */
void quic_qlog_address(struct qlog_json *json, const struct quic_addr *addr);
void quic_qlog_endpoint(struct qlog_json *json, const char *name, const struct quic_addr *addr);
void quic_qlog_path_opened(struct quic_conn *conn, const struct quic_path *path);
void quic_qlog_path_gone(struct quic_conn *conn, const struct quic_path *path);
void quic_qlog_path_news(struct quic_conn *conn, const struct quic_path *path, unsigned news); /* enum quic_path_news */

/* --- qlog_state.c --- */
void quic_qlog_poll(struct quic_conn *conn);
/* The same with the recovery timer, which has been set for what is in flight now. */
void quic_qlog_poll_timer(struct quic_conn *conn);
/* The connection's state, where it is told apart from polling: "closing", "draining", "closed". */
void quic_qlog_connection_state(struct quic_conn *conn, const char *state);

#endif
