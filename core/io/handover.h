/* handover.h - datagrams that reached the wrong engine of a pool, and how they come to the right one.
 *
 * Engines that share a port cannot always be told apart by the system: encrypted connection IDs say nothing to a
 * filter, some systems have no filter, and sockets that close change places. Then a hash of the addresses decides, and
 * when a client's address changes its datagrams reach an engine that does not know the connection. That engine can
 * read the ID, and puts the datagram into the mailbox of the one that it names.
 *
 * Each engine of the pool has a seat at one exchange: a mailbox that all others may put into and it alone empties.
 *
 *     the engine that got it                              the one that it is for
 *     quic_endpoint_input finds no connection, but        is woken, once for all that a turn brought
 *     a sibling's number: siblings->hand_over             io_seat_deliver, at the beginning of its turn: takes the
 *     copies it into the sibling's mailbox                mailbox away whole and gives the endpoint what is in it, as
 *     io_seat_wake_others, when the turn has received     if its own socket at that address had received it
 *
 * Receive buffers belong to one engine's thread, so bytes are copied twice: into the mailbox, and from there into a
 * buffer of the receiver's. Address, mark and time of arrival go with them.
 *
 * Invariants: a datagram is handed over once - what comes out of a mailbox goes into none. A mailbox holds
 * IO_HANDOVER_BYTES at most, half of them from one network, and drops what comes beyond that. Its memory is part of its
 * engine's budget and taken by the engine's own thread: IO_HANDOVER_FIRST to begin with, all when the first datagrams
 * have come; less where the budget is small. When io_exchange_leave has returned nobody touches the loop any more.
 */
#ifndef IO_HANDOVER_H
#define IO_HANDOVER_H

#include "io/loop.h"

#define IO_HANDOVER_BYTES (1u << 20) /* a mailbox; twice that while one is emptied */
#define IO_HANDOVER_FIRST (1u << 17) /* of an engine to which nothing came so far */
#define IO_HANDOVER_SHARE 40u        /* ... and never more than this part of a memory limit */
#define IO_HANDOVER_LEAST 1024u      /* what the smallest datagram counts for: so there are 1,024 at most */
#define IO_HANDOVER_BUDGET 128u      /* delivered in a turn: half of what sockets may receive */
#define IO_HANDOVER_SEATS 256u       /* as many as engines have numbers */

struct io_exchange; /* of a pool; counted by nobody: it outlives all loops that sit at it */

/* `secret` hashes the networks of clients. NULL: out of memory. */
struct io_exchange *io_exchange_new(unsigned seats, const uint8_t secret[16]);
/* All have left. */
void io_exchange_free(struct io_exchange *exchange);

/* The engine takes the seat of its number (quic_endpoint_open.engine), which is free and exists. Its own thread.
 * Without memory for a mailbox it gets nothing from others until there is some. */
void io_exchange_join(struct io_exchange *exchange, struct io_loop *loop);

/* ---- inside the room ---- */

/* Nothing is put into its mailbox any more, and what is there is lost. Does nothing for a loop without a seat. */
void io_exchange_leave(struct io_loop *loop);
/* Gives the endpoint what others put there: how many datagrams. Sets loop->due when some are left; false in *fed when
 * there was no receive buffer for the next one. */
unsigned io_seat_deliver(struct io_loop *loop, bool *fed);
/* Those who got something from this loop since the last call hear of it. */
void io_seat_wake_others(struct io_loop *loop);

#endif
