/* udp.h - UDP sockets as the core wants them: whole batches in, whole trains out, with marks and addresses.
 *
 * libuv's UDP calls show no control messages, so the sockets are our own and libuv only watches them. Receiving:
 * recvmmsg into 64 KiB buffers, GRO trains split by the size the kernel tells. Sending: one sendmsg a train with
 * UDP_SEGMENT. Destination address (pktinfo) and ECN come and go as control messages. Whatever the kernel lacks is
 * found out at open, or at the first refusal, and done without from then on.
 *
 * Invariant: a train that the system could not take now is kept and sent first when the socket is writable again.
 */
#ifndef IO_UDP_H
#define IO_UDP_H

#include "quic/endpoint.h"

/* What a socket can do; tests clear bits to walk the fallbacks. */
enum io_udp_feature {
    IO_UDP_GSO = 1u << 0,      /* UDP_SEGMENT; without: sendmmsg */
    IO_UDP_GRO = 1u << 1,      /* UDP_GRO */
    IO_UDP_RECVMMSG = 1u << 2, /* without: recvmsg */
    IO_UDP_PKTINFO = 1u << 3,
    IO_UDP_ECN = 1u << 4,
    IO_UDP_ALL = (1u << 5) - 1,
};

#define IO_UDP_BATCH 16u /* most buffers offered to one recvmmsg */

struct io_udp {
    struct quic_socket socket; /* first: what the core holds */
    int fd;
    uint8_t family; /* of the socket itself: 6 with dual_stack speaks IPv4 too */
    bool dual_stack;
    bool reuse_port;
    bool connected; /* to one peer: no address is told with what is sent */
    bool any;       /* bound to no single address: source addresses are told and asked for by pktinfo */
    bool blocked;   /* the last send found no room: wait for writable, then flush */
    bool quiet;     /* its owner's word: nothing came for a while, so the next receive takes one message and no more */
    uint8_t batch;  /* buffers for the next recvmmsg: follows the traffic */
    uint8_t mark;   /* ECN mark of what is sent without a word about it */
    uint32_t features;
    uint8_t *pending; /* copy of what did not go out, or NULL */
    size_t pending_size;
    struct quic_train pending_train; /* its data points into `pending` */
    struct base_mem *mem;
    struct engine_stats *stats;
};

struct io_udp_open {
    struct quic_addr local;               /* ip all 0 = any; family 6 any = dual stack; port 0 = the system chooses */
    uint32_t features;                    /* IO_UDP_ALL, or fewer for tests */
    uint32_t receive_buffer, send_buffer; /* bytes asked of the system; 0 = leave as it is */
    bool reuse_port;                      /* SO_REUSEPORT: several engines on one port */
    bool steer;                           /* and datagrams go to the engine that their connection ID names: steer.c */
    uint8_t steer_at;                     /* which byte of it does */
    bool v6_only;
    bool reuse_addr;                /* SO_REUSEADDR: beside another socket of ours that allows it */
    const struct quic_addr *remote; /* connected to; NULL = to nobody */
};

/* 0, or ERR_ADDRESS / ERR_IO with a text. socket.local tells the address and port bound. A system without IPv6 gives an
 * IPv4 socket for dual stack. Counts stats->socket_buffers_small when the system gave less than half of what was
 * asked. */
int io_udp_open(struct io_udp *udp, const struct io_udp_open *open, struct base_mem *mem, struct engine_stats *stats,
                struct crypto_error *why);
/* Others may be bound to this one's address from now on, beside it: those that ask for it in the same way. */
bool io_udp_share(const struct io_udp *udp);
/* What was kept is lost. */
void io_udp_close(struct io_udp *udp);

/* Takes datagrams in batches; they are the sink's during the call, their buffers as long as it holds references. */
typedef void (*io_udp_sink)(void *user, const struct quic_datagram *datagrams, size_t count);

/* Receives what is there and hands it to `sink`. Stops at `budget` datagrams (a batch begun is finished: it may become
 * more) or when no buffer is left, then *more is true: there may be more. A quiet socket is asked for one message, and
 * *more is false: whoever waits for it to be readable hears of the next. Returns datagrams received. */
unsigned io_udp_receive(struct io_udp *udp, struct base_bufpool *bufs, unsigned budget, bool *more, io_udp_sink sink,
                        void *user);

enum io_udp_sent { IO_UDP_SENT = 0, IO_UDP_BLOCKED = 1 };
/* Sends a train; not to be called while blocked. BLOCKED: the socket's buffer is full; the train is kept (a copy; what
 * no memory was found for is lost). Errors of the network (unreachable, too big) are swallowed as loss. */
enum io_udp_sent io_udp_send(struct io_udp *udp, const struct quic_train *train);
/* Sends what was kept. */
enum io_udp_sent io_udp_flush(struct io_udp *udp);

/* The sockets that share this one's port (or, before it is bound, will) get the datagrams of their own connections
 * whatever address those come from. False: the system cannot do that. */
bool io_udp_steer(int fd, uint8_t at);

/* The address the system would use to reach `remote` (connect on a scratch socket, nothing is sent), port 0.
 * ERR_ADDRESS when unreachable. */
int io_udp_route(const struct quic_addr *remote, struct quic_addr *local);
/* The largest UDP payload that the interface towards `remote` takes; 0 = not known. */
uint32_t io_udp_payload_size(const struct quic_addr *remote);

#endif
