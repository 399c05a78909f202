/* loop_socket.c - the sockets of a loop: opened, watched, read and written a turn's worth, and closed in good time.
 *
 * Knows which sockets have something to say and which are full. Does not know what a datagram says.
 *
 * Both directions have a budget, so that a flood on one socket delays neither the others nor the application; what is
 * left makes the next turn due at once. When a socket is full, output stops for all until it is writable: the endpoint
 * decides what is sent next, and there is no place to put a second train.
 *
 * The invariant that matters: a socket lives as long as anything in the core may name it - a path of a connection or a
 * waiting reply. Its owner's "close" takes the listener off; the descriptor goes when nobody uses it.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "io/addr.h"
#include "io/handover.h"
#include "io/loop_impl.h"
#include "quic/conn.h"
#include "tables/errors.h"

#define RECEIVE_BUDGET 256u        /* datagrams a turn: 300 KB, about 200 us of work */
#define SEND_BUDGET 64u            /* trains a turn: many may be of one datagram */
#define SEND_BYTES (1u << 20)      /* and what they hold together */
#define QUIET_AFTER (10 * BASE_US) /* without a turn: the loop has slept, and what woke it is likely to be alone */
#define STARVED_REST BASE_MS       /* without receive buffers, datagrams wait in the kernel for so long */

/* ---- watching ---- */

static void mark_readable(struct io_socket *socket) {
    if (!base_node_linked(&socket->readable))
        base_list_push_back(&socket->loop->readable, &socket->readable);
}

static void on_poll(uv_poll_t *poll, int status, int events);

/* Tells libuv what we wait for on this socket now. */
static void watch(struct io_socket *socket) {
    struct io_loop *loop = socket->loop;
    int events = (loop->starved ? 0 : UV_READABLE) | (socket->udp.blocked && !socket->misled ? UV_WRITABLE : 0);
    if (loop->external || socket->watched == events)
        return;
    socket->watched = events;
    loop->unapplied = true;
    if (events)
        uv_poll_start(&socket->poll, events, on_poll);
    else
        uv_poll_stop(&socket->poll);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct io_socket *socket = (struct io_socket *)poll->data;
    if (status < 0) { /* an error waits on the socket and libuv has stopped watching: take it away and go on */
        int error;
        socklen_t len = sizeof error;
        getsockopt(socket->udp.fd, SOL_SOCKET, SO_ERROR, &error, &len);
        socket->watched = 0;
        watch(socket);
    }
    if (status < 0 || (events & UV_READABLE))
        mark_readable(socket);
    if (events & UV_WRITABLE)
        socket->writable = true;
    socket->loop->due = true;
}

static void watch_all(struct io_loop *loop) {
    for (struct base_node *node = base_list_first(&loop->sockets); node; node = base_list_next(&loop->sockets, node))
        watch(BASE_CONTAINER(node, struct io_socket, node));
}

/* ---- a turn's input ---- */

static void to_endpoint(void *user, const struct quic_datagram *datagrams, size_t count) {
    struct io_loop *loop = (struct io_loop *)user;
    struct io_socket *socket = (struct io_socket *)(void *)datagrams->socket;
    if (count && socket->remote.family) {
        io_connected_input(socket, datagrams, count);
        return;
    }
    io_loop_take_in(loop, datagrams, count);
}

/* All receive buffers are held by streams nobody reads: sockets are not watched for a while, or we would spin. */
static void starve(struct io_loop *loop) {
    loop->starved = true;
    loop->resume_at = io_loop_now(loop) + STARVED_REST;
    watch_all(loop);
}

static void resume(struct io_loop *loop) {
    loop->starved = false;
    watch_all(loop);
}

/* What siblings have received for us; it has a budget of its own, so that neither keeps the other waiting. */
static unsigned receive_mail(struct io_loop *loop) {
    bool fed;
    unsigned received = io_seat_deliver(loop, &fed);
    if (!fed)
        starve(loop);
    return received;
}

/* Was there nothing to do until just now, and is this the only socket that has something? */
static bool is_quiet(struct io_loop *loop) {
    return base_list_empty(&loop->readable) && loop->turned_at != BASE_NEVER &&
           io_loop_now(loop) - loop->turned_at > QUIET_AFTER;
}

static unsigned receive_own(struct io_loop *loop) {
    unsigned received = 0;
    bool first = true;
    struct base_node *node;
    while (received < RECEIVE_BUDGET && !loop->starved && (node = base_list_pop_front(&loop->readable)) != NULL) {
        struct io_socket *socket = BASE_CONTAINER(node, struct io_socket, readable);
        bool more;
        socket->udp.quiet = first && is_quiet(loop);
        first = false;
        unsigned got = io_udp_receive(&socket->udp, &loop->bufs, RECEIVE_BUDGET - received, &more, to_endpoint, loop);
        received += got;
        if (more)
            mark_readable(socket); /* behind the others */
        if (more && got == 0)
            starve(loop);
    }
    if (!base_list_empty(&loop->readable) && !loop->starved)
        loop->due = true;
    return received;
}

unsigned io_sockets_receive(struct io_loop *loop) {
    if (loop->starved) {
        if (io_loop_now(loop) < loop->resume_at)
            return 0;
        resume(loop);
    }
    if (!loop->seat)
        return receive_own(loop);
    unsigned received = receive_mail(loop);
    received += receive_own(loop);
    io_seat_wake_others(loop);
    return received;
}

/* ---- a turn's output ---- */

/* A socket that is writable and takes nothing (the device's queue or memory is full, ENOBUFS) would have us spin: it is
 * tried again when the loop looks at what is blocked, a while later. */
static void flush(struct io_socket *socket) {
    if (io_udp_flush(&socket->udp) == IO_UDP_SENT) {
        socket->loop->blocked--;
        socket->misled = false;
    } else {
        socket->misled = socket->misled || socket->writable;
    }
    socket->writable = false;
    watch(socket);
}

static void flush_blocked(struct io_loop *loop) {
    for (struct base_node *node = base_list_first(&loop->sockets); node && loop->blocked;
         node = base_list_next(&loop->sockets, node)) {
        struct io_socket *socket = BASE_CONTAINER(node, struct io_socket, node);
        if (socket->udp.blocked)
            flush(socket);
    }
}

bool io_sockets_may_send(const struct io_loop *loop) {
    return loop->turn_trains < SEND_BUDGET && loop->turn_bytes < SEND_BYTES;
}

unsigned io_sockets_send(struct io_loop *loop) {
    if (loop->external)
        return 0;
    if (loop->blocked)
        flush_blocked(loop);
    unsigned sent = 0;
    while (!loop->blocked && io_sockets_may_send(loop)) {
        struct quic_train train = {.data = loop->train_data, .max_segments = QUIC_TRAIN_SEGMENTS};
        if (!quic_endpoint_output(&loop->endpoint, &train, io_loop_now(loop)))
            return sent;
        struct io_socket *socket = (struct io_socket *)(void *)train.socket;
        sent++;
        loop->turn_trains++;
        loop->turn_bytes += train.len;
        if (io_udp_send(&socket->udp, &train) == IO_UDP_BLOCKED) {
            loop->blocked++;
            watch(socket);
        }
    }
    if (!loop->blocked)
        loop->due = true;
    return sent;
}

/* ---- what the core asks ---- */

static struct quic_socket *socket_sibling(struct quic_socket *socket, uint8_t family) {
    struct io_socket *shared;
    struct io_loop *loop = ((struct io_socket *)(void *)socket)->loop;
    return io_loop_client_socket(loop, family, &shared, NULL) == 0 ? io_socket_core(shared) : NULL;
}

static uint32_t socket_payload_size(struct quic_socket *socket, const struct quic_addr *remote) {
    return ((struct io_socket *)(void *)socket)->loop->external ? 0 : io_udp_payload_size(remote);
}

static const struct quic_socket_ops socket_ops = {socket_sibling, socket_payload_size, io_socket_connect,
                                                  io_socket_release};

/* ---- opening ---- */

static void on_socket_closed(uv_handle_t *handle) {
    struct io_socket *socket = (struct io_socket *)handle->data;
    struct io_loop *loop = socket->loop;
    BASE_DELETE(loop->mem, socket);
    io_loop_release(loop);
}

static int watch_new(struct io_loop *loop, struct io_socket *socket, struct crypto_error *why) {
    int result = uv_poll_init(loop->uv, &socket->poll, socket->udp.fd);
    if (result != 0) {
        if (why)
            snprintf(why->text, sizeof why->text, "cannot watch a UDP socket: %s", uv_strerror(result));
        return ERR_IO;
    }
    socket->poll.data = socket;
    io_loop_hold(loop);
    watch(socket);
    io_loop_want_turn(loop); /* tells the kernel */
    return 0;
}

int io_loop_open_socket(struct io_loop *loop, const struct io_udp_open *open, struct io_socket **out,
                        struct crypto_error *why) {
    struct io_socket *socket = BASE_NEW(loop->mem, struct io_socket);
    if (!socket) {
        if (why)
            snprintf(why->text, sizeof why->text, "out of memory");
        return ERR_NOMEM;
    }
    socket->loop = loop;
    struct io_udp_open full = *open;
    full.features &= loop->open.features;
    if (!full.receive_buffer)
        full.receive_buffer = loop->open.receive_buffer;
    if (!full.send_buffer)
        full.send_buffer = loop->open.send_buffer;
    int result = 0;
    if (loop->external) {
        socket->udp = (struct io_udp){.socket = {.local = open->local}, .fd = -1, .mem = loop->mem};
    } else {
        result = io_udp_open(&socket->udp, &full, loop->mem, &loop->endpoint.stats, why);
        if (result == 0 && (result = watch_new(loop, socket, why)) != 0)
            io_udp_close(&socket->udp);
    }
    if (result != 0) {
        BASE_DELETE(loop->mem, socket);
        return result;
    }
    socket->udp.socket.ops = &socket_ops;
    base_list_push_back(&loop->sockets, &socket->node);
    *out = socket;
    return 0;
}

struct quic_socket *io_socket_core(struct io_socket *socket) {
    return &socket->udp.socket;
}

int io_loop_client_socket(struct io_loop *loop, uint8_t family, struct io_socket **out, struct crypto_error *why) {
    assert(family == 4 || family == 6);
    struct io_socket **shared = &loop->clients[family == 6];
    if (!*shared) {
        struct io_udp_open open = {.local = {.family = family}, .features = IO_UDP_ALL, .v6_only = true};
        int result = io_loop_open_socket(loop, &open, shared, why);
        if (result != 0)
            return result;
        if (!loop->external)
            uv_unref((uv_handle_t *)&(*shared)->poll); /* connections keep the loop alive, this socket does not */
    }
    *out = *shared;
    return 0;
}

/* ---- closing ---- */

/* A connection's own socket goes, or the listener's that such ones came over. */
static void disconnect(struct io_socket *socket) {
    struct io_loop *loop = socket->loop;
    if (socket->remote.family) {
        loop->connected--;
        base_list_remove(&socket->released);
        return;
    }
    for (struct base_node *node = loop->connected ? base_list_first(&loop->sockets) : NULL; node;
         node = base_list_next(&loop->sockets, node)) {
        struct io_socket *own = BASE_CONTAINER(node, struct io_socket, node);
        if (own->shared == socket)
            own->shared = NULL;
    }
}

void io_socket_destroy(struct io_socket *socket) {
    struct io_loop *loop = socket->loop;
    disconnect(socket);
    base_list_remove(&socket->node);
    base_list_remove(&socket->readable);
    loop->blocked -= socket->udp.blocked;
    loop->retiring -= socket->retiring;
    for (int i = 0; i < 2; i++)
        if (loop->clients[i] == socket)
            loop->clients[i] = NULL;
    if (loop->external) {
        BASE_DELETE(loop->mem, socket);
        return;
    }
    uv_close((uv_handle_t *)&socket->poll, on_socket_closed); /* from here on libuv does not touch the descriptor */
    io_udp_close(&socket->udp);
    loop->unapplied = true;
}

static bool is_used(struct io_loop *loop, const struct io_socket *socket) {
    const struct quic_socket *core = &socket->udp.socket;
    if (loop->endpoint.reply_count || loop->endpoint.gate.waiting_count || socket->udp.blocked)
        return true;
    const struct base_list *conns = &loop->endpoint.conns;
    for (const struct base_node *node = base_list_first(conns); node; node = base_list_next(conns, node)) {
        const struct quic_conn *conn = BASE_CONTAINER(node, struct quic_conn, all);
        for (unsigned i = 0; i < QUIC_PATHS; i++)
            if (quic_path_at(conn, i) && conn->paths[i]->socket == core)
                return true;
    }
    return false;
}

/* Closes what nobody uses any more. Connections are looked through only when one, or a path, has gone since the last
 * time. */
void io_sockets_retire(struct io_loop *loop) {
    io_sockets_drop_released(loop);
    uint64_t gone = loop->endpoint.stats.connections_closed + loop->endpoint.paths_gone;
    if (!loop->retiring || loop->endpoint.reply_count || loop->endpoint.gate.waiting_count || loop->retire_seen == gone)
        return;
    loop->retire_seen = gone;
    struct base_node *next;
    for (struct base_node *node = base_list_first(&loop->sockets); node; node = next) {
        struct io_socket *socket = BASE_CONTAINER(node, struct io_socket, node);
        next = base_list_next(&loop->sockets, node);
        if (!socket->retiring)
            continue;
        if (!is_used(loop, socket))
            io_socket_destroy(socket);
        else if (socket->udp.blocked)
            loop->retire_seen = UINT64_MAX; /* not for want of a connection: look again next time */
    }
}

void io_loop_close_socket(struct io_loop *loop, struct io_socket *socket) {
    assert(!socket->retiring);
    socket->udp.socket.listener = NULL;
    socket->retiring = true;
    loop->retiring++;
    loop->retire_seen = UINT64_MAX;
    for (int i = 0; i < 2; i++)
        if (loop->clients[i] == socket)
            loop->clients[i] = NULL;
    if (!loop->external)
        uv_unref((uv_handle_t *)&socket->poll);
    io_loop_touch(loop); /* a turn closes it */
}

void io_sockets_close_all(struct io_loop *loop) {
    struct base_node *node;
    while ((node = base_list_first(&loop->sockets)) != NULL)
        io_socket_destroy(BASE_CONTAINER(node, struct io_socket, node));
}
