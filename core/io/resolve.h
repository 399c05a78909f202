/* resolve.h - names to addresses, without blocking the loop, in the order of RFC 6724 interleaved by family
 * (RFC 8305 section 4). */
#ifndef IO_RESOLVE_H
#define IO_RESOLVE_H

#include "io/loop.h"

#define IO_RESOLVE_MAX 16u

struct io_resolve; /* one question under way; gone when its callback begins */

/* `status` 0, or ERR_RESOLVE / ERR_NOMEM with a text; the addresses are the callee's only during the call. Comes from
 * the loop, never from within io_resolve_start; it may ask again, but not close the loop. */
typedef void (*io_resolve_cb)(void *user, int status, const char *text, const struct quic_addr *addrs, unsigned count);

/* A literal is answered without asking anybody (in the next turn); a port in it goes before `port`. family: 0 any, 4,
 * 6. 0, or ERR_NOMEM, ERR_ADDRESS (a literal of the other family), ERR_RESOLVE (not a name at all), ERR_UNSUPPORTED (a
 * name in external mode: there is nobody to ask). */
int io_resolve_start(struct io_loop *loop, const char *host, uint16_t port, uint8_t family, io_resolve_cb cb,
                     void *user, struct io_resolve **out);
/* The callback will not come. */
void io_resolve_cancel(struct io_resolve *resolve);

/* Orders `count` addresses so that the families take turns, each keeping its own order, beginning with the first's. */
void io_resolve_interleave(struct quic_addr *addrs, unsigned count);

#endif
