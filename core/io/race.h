/* race.h - Happy Eyeballs (RFC 8305) for QUIC: attempts at several addresses, started one after the other, the first
 * that completes its handshake wins.
 *
 * The race owns its attempts until one has won; the winner is handed over with everything it is (its streams, its
 * events), the others are closed and never heard of. When all have failed the cause of the most telling one (a TLS or
 * protocol error before a time-out) is handed over.
 *
 * Invariant: a connection belongs to a race (conn->owner) or to the application, never to both. A race calls exactly
 * one of on_conn and on_failed, once, as its last act: when the call begins the race is gone.
 */
#ifndef IO_RACE_H
#define IO_RACE_H

#include "io/resolve.h"
#include "quic/conn.h"

#define IO_RACE_DELAY (250 * BASE_MS) /* RFC 8305 section 5: Connection Attempt Delay */

struct io_race;

struct io_race_open {
    const char *host;
    uint16_t port;
    uint8_t family;              /* 0 any, 4, 6 */
    struct quic_connect connect; /* config, server_name, session, token, user; socket and addresses are filled in by the
                                    race; what it points to is copied, of the config a reference is held */
    bool first_only;             /* do not race: take the first address (0-RTT) */
    /* An attempt has won (its CONNECTED event is still to be delivered), or is the only one possible: from now on it is
     * the callee's. */
    void (*on_conn)(void *user, struct quic_conn *conn);
    /* No attempt is left. close: how the most telling one ended, or NULL when none got so far. */
    void (*on_failed)(void *user, int status, const struct quic_close *close, const char *text);
    void *user;
};

/* 0 or ERR_* with a text (then no callback comes). With a literal address there is nothing to race: on_conn is called
 * from within, and *out is NULL by then. */
int io_race_start(struct io_loop *loop, const struct io_race_open *open, struct io_race **out,
                  struct crypto_error *why);
/* Ends the race without a word. */
void io_race_cancel(struct io_race *race);
/* The dispatcher shows every connection event that belongs to a racing attempt here first: `bits` of conn->event, or
 * closed: of conn->closed_event. True: taken. False: the attempt has just won, and `bits` are for its new owner - who
 * got it by on_conn from within this call. */
bool io_race_on_event(struct io_race *race, struct quic_conn *conn, uint32_t bits, bool closed);
/* The race a connection belongs to, or NULL. */
struct io_race *io_race_of(struct quic_conn *conn);

#endif
