/* steer.c - which of the sockets that share a port gets a datagram.
 *
 * Left to itself the system chooses by a hash of the addresses and ports. That is right until a client's address
 * changes: then its datagrams reach an engine that does not know the connection. So a filter of classic BPF looks at
 * the one thing that stays, the connection ID. Ours begin with the number of their engine (quic/cid.h), and the filter
 * returns it; the system takes it for the place of a socket in the order in which they were bound. A number for which
 * there is no socket, and the filter's "nothing", leave it to the hash.
 *
 *     short header (RFC 9000 17.3)      the ID is at byte 1, and ours
 *     Handshake packets (17.2.4)        the ID is at byte 6, and ours: the client has learned it from our Initial
 *     Initial and 0-RTT (17.2)          the ID may be one that the client made up: the hash decides, as it did for the
 *                                       first of them
 *     all other long headers            nobody's, or no version of ours: the hash decides
 *
 * When a socket closes, the system moves the last one of the group into its place, and one that is bound later comes
 * last: from then on numbers and places differ, until all have closed and are bound anew. That is the system's
 * business; there is no call that puts a socket at a place, and extended BPF with a map of sockets wants privileges. So
 * a pool's listeners are closed together.
 *
 * The invariant that matters: what the filter says is a hint. An engine gives what is not its own to the one of its
 * pool that the ID names (handover.h), or drops it; it never answers for another one (stateless.c sends resets for IDs
 * with its own number alone).
 */
#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>

#include "io/udp.h"
#include "quic/types.h"

#ifndef SO_ATTACH_REUSEPORT_CBPF
#define SO_ATTACH_REUSEPORT_CBPF 51
#endif

#define LONG_HEADER 0x80u
#define LONG_TYPE 0x30u
#define HANDSHAKE_1 0x20u /* of version 1 */
#define HANDSHAKE_2 0x30u /* of version 2 (RFC 9369 3.2) */
#define VERSION_1 0x00000001u
#define VERSION_2 0x6b3343cfu

/* The instructions that load the byte of the ID that names the engine: its first, or that which `at` says. */
#define SHORT_LOAD 2
#define HANDSHAKE_LOAD 13

/* Offsets count from the first byte of the datagram. A load beyond its end returns 0: the first socket drops it. */
static const struct sock_filter program[] = {
    /*  0 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
    /*  1 */ BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, LONG_HEADER, 2, 0),
    /*  2 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 1),
    /*  3 */ BPF_STMT(BPF_RET | BPF_A, 0),
    /*  4 */ BPF_STMT(BPF_ALU | BPF_AND | BPF_K, LONG_TYPE),
    /*  5 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
    /*  6 */ BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 1),
    /*  7 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, VERSION_1, 0, 2),
    /*  8 */ BPF_STMT(BPF_MISC | BPF_TXA, 0),
    /*  9 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, HANDSHAKE_1, 3, 5),
    /* 10 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, VERSION_2, 0, 4),
    /* 11 */ BPF_STMT(BPF_MISC | BPF_TXA, 0),
    /* 12 */ BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, HANDSHAKE_2, 0, 2),
    /* 13 */ BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
    /* 14 */ BPF_STMT(BPF_RET | BPF_A, 0),
    /* 15 */ BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
};

bool io_udp_steer(int fd, uint8_t at) {
    struct sock_filter own[sizeof program / sizeof *program];
    memcpy(own, program, sizeof program);
    own[SHORT_LOAD].k += at;
    own[HANDSHAKE_LOAD].k += at;
    const struct sock_fprog attached = {.len = sizeof own / sizeof *own, .filter = own};
    return setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached) == 0;
}
