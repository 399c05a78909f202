/* loop_impl.h - what the files of the loop share: loop.c (the turn), loop_open.c (birth, end, system services),
 * loop_socket.c (sockets and what is done to them in a turn), loop_connect.c (sockets of one connection each). */
#ifndef IO_LOOP_IMPL_H
#define IO_LOOP_IMPL_H

#include "io/loop.h"

struct io_socket {
    struct io_udp udp; /* first: a quic_socket is an io_udp is an io_socket */
    struct io_loop *loop;
    struct base_node node;     /* in loop->sockets */
    struct base_node readable; /* in loop->readable: the kernel has something for us */
    uv_poll_t poll;
    int watched;   /* events asked of libuv */
    bool writable; /* libuv says so, and nothing was tried since */
    bool misled;   /* it said so and was wrong: not asked again until something went out */
    bool retiring; /* closes when no connection uses it */
    /* a connection's own socket: */
    struct io_socket *shared;  /* the one its client came over; NULL: that is gone, or this is none */
    struct base_node released; /* in loop->released: closes at the end of the turn */
    struct quic_addr remote;   /* connected to; family 0 = this is none */
};

/* --- loop.c --- */
void io_loop_on_check(uv_check_t *check);
/* Ends the sleep of libuv until the next turn. */
void io_loop_want_turn(struct io_loop *loop);

/* Datagrams received go to the endpoint; within a turn. */
void io_loop_take_in(struct io_loop *loop, const struct quic_datagram *datagrams, size_t count);

/* --- loop_open.c --- */
void io_loop_arm(struct io_loop *loop, base_time when, base_time now);

/* --- loop_socket.c --- */
/* Datagrams received; sets loop->due when some are left. */
unsigned io_sockets_receive(struct io_loop *loop);
/* Trains sent; sets loop->due when more may follow at once. */
unsigned io_sockets_send(struct io_loop *loop);
/* The turn's budget is not used up. */
bool io_sockets_may_send(const struct io_loop *loop);
/* At once; nothing in the core names it any more. */
void io_socket_destroy(struct io_socket *socket);

/* --- loop_connect.c --- */
struct quic_socket *io_socket_connect(struct quic_socket *core, const struct quic_addr *local,
                                      const struct quic_addr *remote, uint64_t most);
void io_socket_release(struct quic_socket *core);
void io_sockets_drop_released(struct io_loop *loop);
/* What a connection's own socket received. */
void io_connected_input(struct io_socket *own, const struct quic_datagram *datagrams, size_t count);

/* --- loop_socket.c --- */
void io_sockets_retire(struct io_loop *loop);
void io_sockets_close_all(struct io_loop *loop);

#endif
