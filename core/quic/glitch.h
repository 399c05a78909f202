/* glitch.h - one score for all that a peer does to no use.
 *
 * Each rule of the protocol can be kept to the letter and the peer still be an attacker: it may repeat itself, ask for
 * answers, reset what it has just opened, and pay less for it than we do. No single such thing tells. So each has a
 * name and a weight (tables/glitches.def), all weights go into one score, and the score drains with time (option
 * glitch_rate) and with useful traffic: four packets without a glitch outweigh one point, so a fast connection on a
 * bad network is not judged by a slow one's measure. Beyond glitch_burst the connection is closed.
 *
 * Only what was authenticated, and not a duplicate, may be counted: or a stranger could end a connection by repeating
 * its packets. What cannot be opened is bounded by the AEAD's integrity limit instead (RFC 9001 6.6).
 *
 * The close is a PROTOCOL_VIOLATION (RFC 9000 20.1 has no "enough"; 0xa is for what no other code covers) whose reason
 * names the glitch that was one too many, and whose frame type is that of the frame it stood in.
 *
 * Invariant: the score is never above glitch_burst, but in a connection that has ended for it.
 */
#ifndef QUIC_GLITCH_H
#define QUIC_GLITCH_H

#include "base/clock.h"
#include "tables/options.h"

struct quic_conn;

enum quic_glitch {
    QUIC_GLITCH_NONE = 0,
#define GLITCH(name, weight, text) QUIC_GLITCH_##name,
#include "tables/glitches.def"
#undef GLITCH
    QUIC_GLITCHES
};

struct quic_glitches {
    uint64_t score;  /* in 1e-9 points, as of `since` */
    base_time since; /* when it was settled */
    uint32_t good;   /* packets without a glitch since then */
    uint32_t peak;   /* highest score so far, in points */
};

/* Adds `weight` points. False: that is more than glitch_burst (0: nothing is too much). */
bool quic_glitches_add(struct quic_glitches *glitches, const struct options *options, uint32_t weight, base_time now);
/* The score now, in points. */
uint64_t quic_glitches_score(const struct quic_glitches *glitches, const struct options *options, base_time now);

const char *quic_glitch_name(enum quic_glitch what);
uint32_t quic_glitch_weight(enum quic_glitch what);

/* The peer did it once more, in a frame of this type (0: in none): counts, and closes the connection when it was too
 * much. */
void quic_glitch(struct quic_conn *conn, enum quic_glitch what, uint64_t frame_type, base_time now);

#endif
