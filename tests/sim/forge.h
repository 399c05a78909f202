/* forge.h - packets that a peer with keys makes by hand, to say what weft itself never would. */
#ifndef SIM_FORGE_H
#define SIM_FORGE_H

#include "quic/walk.h"

#define SIM_FORGE_MOST 1100u /* bytes of frames */

/* These frames as a 1-RTT packet of this connection; `packet` has room for 1200 bytes. Its length; 0: it cannot be
 * made. */
size_t sim_forge(struct quic_conn *conn, uint64_t number, const uint8_t *frames, size_t len, uint8_t *packet);

#endif
