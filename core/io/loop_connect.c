/* loop_connect.c - a socket for one connection alone: bound beside the listener's, connected to the client.
 *
 * The system finds a connected socket by the whole address of a datagram, and a socket that is connected needs no route
 * looked up for each train. That pays for few connections that carry much; descriptors and receive buffers are its
 * price. So it is an option, within a limit, and whatever goes wrong leaves the connection where it was.
 *
 * Between bind and connect the new socket stands beside the listener's like another one, and the system may give it
 * datagrams of anybody. They stay in its queue when it is connected; here they are handed on as if the listener's had
 * received them. From the moment it is connected there are no more of those. When the client moves, or its NAT does,
 * its datagrams match this socket no longer: they reach the listener's, and the connection follows them as ever.
 *
 * The invariant that matters: the core hears of a datagram on a connected socket only from the address it is connected
 * to, so what it sends there goes to whom it means. A released socket is closed when the turn ends, for the turn may be
 * reading it.
 */
#include "io/addr.h"
#include "io/loop_impl.h"

/* The address to bind to: where the client's datagrams go. */
static struct quic_addr local_for(const struct io_udp *shared, const struct quic_addr *local,
                                  const struct quic_addr *remote) {
    struct quic_addr own = local->family == remote->family ? *local : (struct quic_addr){.family = remote->family};
    if (io_addr_is_any(&own) && shared->socket.local.family == remote->family)
        own = shared->socket.local;
    own.port = shared->socket.local.port;
    return own;
}

struct quic_socket *io_socket_connect(struct quic_socket *core, const struct quic_addr *local,
                                      const struct quic_addr *remote, uint64_t most) {
    struct io_socket *shared = (struct io_socket *)(void *)core, *own;
    struct io_loop *loop = shared->loop;
    if (loop->external || shared->remote.family || shared->retiring || loop->connected >= most)
        return NULL;
    struct io_udp_open open = {.local = local_for(&shared->udp, local, remote),
                               .features = IO_UDP_ALL,
                               .reuse_port = shared->udp.reuse_port,
                               .reuse_addr = !shared->udp.reuse_port,
                               .v6_only = true,
                               .remote = remote};
    if (open.reuse_addr && !io_udp_share(&shared->udp))
        return NULL;
    if (io_loop_open_socket(loop, &open, &own, NULL) != 0)
        return NULL;
    own->shared = shared;
    own->remote = *remote;
    loop->connected++;
    uv_unref((uv_handle_t *)&own->poll); /* its connection keeps the loop alive */
    return &own->udp.socket;
}

void io_socket_release(struct quic_socket *core) {
    struct io_socket *own = (struct io_socket *)(void *)core;
    if (!base_node_linked(&own->released))
        base_list_push_back(&own->loop->released, &own->released);
    io_loop_touch(own->loop);
}

void io_sockets_drop_released(struct io_loop *loop) {
    struct base_node *node;
    while ((node = base_list_first(&loop->released)) != NULL)
        io_socket_destroy(BASE_CONTAINER(node, struct io_socket, released));
}

/* One datagram that was caught before the socket was connected belongs to the listener's. */
static void hand_on(struct io_socket *own, const struct quic_datagram *datagram) {
    struct quic_datagram stray = *datagram;
    if (!quic_addr_equal(&stray.remote, &own->remote)) {
        if (!own->shared)
            return;
        stray.socket = &own->shared->udp.socket;
    }
    quic_endpoint_input(&own->loop->endpoint, &stray, 1, io_loop_now(own->loop));
}

void io_connected_input(struct io_socket *own, const struct quic_datagram *datagrams, size_t count) {
    size_t same = 0;
    while (same < count && quic_addr_equal(&datagrams[same].remote, &own->remote))
        same++;
    if (same == count)
        io_loop_take_in(own->loop, datagrams, count);
    else
        for (size_t i = 0; i < count; i++)
            hand_on(own, &datagrams[i]);
}
