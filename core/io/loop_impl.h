/* loop_impl.h - what the three files of the loop share: loop.c (the turn), loop_open.c (birth, end, system services),
 * loop_socket.c (sockets and what is done to them in a turn). */
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
};

/* --- loop.c --- */
void io_loop_on_check(uv_check_t *check);
/* Ends the sleep of libuv until the next turn. */
void io_loop_want_turn(struct io_loop *loop);

/* --- loop_open.c --- */
void io_loop_arm(struct io_loop *loop, base_time when, base_time now);

/* --- loop_socket.c --- */
/* Datagrams received; sets loop->due when some are left. */
unsigned io_sockets_receive(struct io_loop *loop);
/* Trains sent; sets loop->due when more may follow at once. */
unsigned io_sockets_send(struct io_loop *loop);
void io_sockets_retire(struct io_loop *loop);
void io_sockets_close_all(struct io_loop *loop);

#endif
