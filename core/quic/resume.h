/* resume.h - Careful Resume: a connection that goes where an earlier one went need not find out from ten packets what
 * the path carries (RFC 9959, draft-ietf-tsvwg-careful-resume).
 *
 * The machine of a path stands between recovery and the path's congestion controller: it has the controller's table of
 * functions, passes every call on, and puts its own word in. What it needs to know comes with those calls; who keeps
 * what is saved, and who may use it, are its owner's business (resume_conn.c). A path whose connection does not use it
 * has no such machine, and its controller is called directly.
 *
 *     NORMAL          the controller alone; what the path carries in a round trip is observed, to be saved
 *     RECONNAISSANCE  the controller alone, until an initial window has been acknowledged: is it the path of then?
 *     UNVALIDATED     the window is half of the saved one, paced over the round trip, for one round trip at most
 *     VALIDATING      the controller again, from what is in flight; until all of that is acknowledged
 *     SAFE_RETREAT    a loss or mark before that: half of what is proven, no growth, until the jump has left the path
 *
 * Controllers whose window follows from a model (quic_cc_ops.models, BBR) cannot be moved from outside: they have no
 * machine.
 *
 * Invariant: window <= max(half of the saved one, what acknowledgements have earned); in SAFE_RETREAT it does not grow.
 */
#ifndef QUIC_RESUME_H
#define QUIC_RESUME_H

#include "quic/cc.h"

enum quic_resume_phase {
    QUIC_RESUME_NORMAL = 0,
    QUIC_RESUME_RECONNAISSANCE,
    QUIC_RESUME_UNVALIDATED,
    QUIC_RESUME_VALIDATING,
    QUIC_RESUME_SAFE_RETREAT
};

/* Why it went from one phase to the next (names of the qlog draft where it has one). */
enum quic_resume_why {
    QUIC_RESUME_OFFERED = 0,   /* there is a saved window: RECONNAISSANCE */
    QUIC_RESUME_CONFIRMED,     /* more to send than the controller allows, on the path of then: UNVALIDATED */
    QUIC_RESUME_RTT_NOT_VALID, /* RECONNAISSANCE ends: half the RTT of then, or ten times */
    QUIC_RESUME_EXPIRED,       /* ... the saved window is too old */
    QUIC_RESUME_USED,          /* ... a connection has used it already */
    QUIC_RESUME_REACHED,       /* ... the controller is there without it */
    QUIC_RESUME_LAST_SENT,     /* UNVALIDATED ends: the window is full */
    QUIC_RESUME_FIRST_ACKED,   /* ... the first answer came */
    QUIC_RESUME_RTT_EXCEEDED,  /* ... a round trip is over */
    QUIC_RESUME_RATE_LIMITED,  /* ... but little more was sent than before: NORMAL */
    QUIC_RESUME_LAST_ACKED,    /* VALIDATING ends well */
    QUIC_RESUME_PATH_CHANGED,  /* SAFE_RETREAT: the RTT fell to half of that of then */
    QUIC_RESUME_LOSS,          /* any phase ends */
    QUIC_RESUME_ECN,           /* the same */
    QUIC_RESUME_PERSISTENT,    /* the same */
    QUIC_RESUME_EXIT_RECOVERY, /* SAFE_RETREAT ends */
    QUIC_RESUME_WHYS
};

/* What is known of a path from an earlier connection. */
struct quic_resume_saved {
    uint64_t window;    /* bytes the path carried in a round trip of `rtt`; 0 = nothing is known */
    base_time rtt;      /* the least there was */
    base_time saved_at; /* of our clock; 0 = before it began */
    base_time good_to;
    uint64_t address; /* whose they are: for the owner's register */
};

struct quic_resume;

struct quic_resume_events {
    /* The saved window is about to be used. False: another connection has, and it is not. */
    bool (*claim)(void *user, const struct quic_resume_saved *saved, base_time now);
    /* What is to be saved has changed much: quic_resume_observed. */
    void (*on_observed)(void *user);
    /* `resume` is in its new phase; `cc` is its path's. */
    void (*on_phase)(void *user, const struct quic_cc *cc, enum quic_resume_phase old, enum quic_resume_why why);
};

struct quic_resume {
    const struct quic_cc_ops *inner; /* the controller's */
    struct quic_cc_ops ops;          /* ours: as many functions as the controller has */
    const struct quic_resume_events *events;
    void *user;
    uint64_t initial_window;
    uint8_t phase; /* enum quic_resume_phase */
    /* observing */
    uint64_t observed, told; /* bytes in a round trip; as it was when the owner was told, 0 = not worth it */
    base_time observed_rtt, told_at;
    uint64_t round_delivered; /* a round ends when something sent after this was delivered is acknowledged */
    base_time round_at;
    /* resuming */
    struct quic_resume_saved saved;
    uint64_t most;                        /* the jump's greatest */
    uint64_t acked;                       /* bytes, in RECONNAISSANCE */
    uint64_t pipe;                        /* PipeSize: bytes the path has proven to carry */
    uint64_t held;                        /* UNVALIDATED: the jump; SAFE_RETREAT: what the window may not exceed */
    uint64_t rate, quantum;               /* UNVALIDATED: of pacing */
    uint64_t rate_before, quantum_before; /* the controller's own */
    base_time entered_at, round_trip;     /* UNVALIDATED: since when; and for how long at most */
    base_time last_at;                    /* when the last unvalidated packet was sent */
    uint64_t first_number, last_number;   /* of the unvalidated packets; QUIC_NO_NUMBER: none */
    uint64_t retreats_from;               /* cc->events when SAFE_RETREAT began: with the loss that led there */
};

/* Puts a machine before the controller. False: out of memory, or the controller is none that can be moved; then nothing
 * has changed. quic_cc_clear ends it. */
bool quic_resume_begin(struct quic_cc *cc, struct base_mem *mem, const struct quic_resume_events *events, void *user);
void quic_resume_end(struct quic_cc *cc, struct base_mem *mem); /* the controller stands alone again */
/* Before anything was sent: an earlier connection to the same place had this. `most`: no jump beyond. */
void quic_resume_offer(struct quic_cc *cc, const struct quic_resume_saved *saved, uint64_t most);
/* What is worth saving: window and rtt. False: nothing is. */
bool quic_resume_observed(const struct quic_cc *cc, struct quic_resume_saved *saved);
const char *quic_resume_phase_name(enum quic_resume_phase phase);
const char *quic_resume_why_name(enum quic_resume_why why);

#endif
