/* udp_open.c - how a UDP socket comes to be: which options it gets and what we do without.
 *
 * Knows the options of Linux sockets: don't-fragment (QUIC forbids fragmentation, RFC 9000 section 14, and path MTU
 * discovery of our own needs every datagram sent as it is), dual stack, buffers, GRO, GSO, pktinfo, ECN. Does not know
 * what is sent or received.
 *
 * The invariant that matters: `features` holds exactly what this socket was seen to support. An option that is refused
 * clears its bit and is no error; only what makes a socket useless (no descriptor, no address) is.
 *
 * The system's default receive buffer of 208 KiB holds a few dozen datagrams by its own accounting; a burst of
 * handshakes overruns it while we still do arithmetic for the first. So buffers are raised as far as we may: beyond the
 * administrator's limit where we are privileged (SO_RCVBUFFORCE), else up to it, and what stays small is counted.
 */
#include "io/udp.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <unistd.h>

#include "io/addr.h"
#include "tables/errors.h"

static bool set_int(int fd, int level, int option, int value) {
    return setsockopt(fd, level, option, &value, sizeof value) == 0;
}

static int refuse(struct crypto_error *why, int error, const char *what, const struct quic_addr *addr) {
    if (why) {
        char text[IO_ADDR_TEXT], system[64];
        io_addr_format(addr, text);
        /* GNU's strerror_r: thread-safe, returns the text wherever it is. */
        snprintf(why->text, sizeof why->text, "%s %.*s: %.60s", what, (int)sizeof text, text,
                 strerror_r(errno, system, sizeof system));
    }
    return error;
}

/* Asks for `bytes` of buffer; true when at least half was given. The system doubles what is asked, and tells it
 * doubled. */
static bool set_buffer(int fd, int forced, int polite, uint32_t bytes) {
    int wanted = bytes > INT_MAX / 2 ? INT_MAX / 2 : (int)bytes;
    if (!set_int(fd, SOL_SOCKET, forced, wanted))
        set_int(fd, SOL_SOCKET, polite, wanted);
    int given = 0;
    socklen_t len = sizeof given;
    return getsockopt(fd, SOL_SOCKET, polite, &given, &len) == 0 && given >= wanted;
}

static void set_buffers(const struct io_udp *udp, const struct io_udp_open *open) {
    bool enough = true;
    if (open->receive_buffer)
        enough = set_buffer(udp->fd, SO_RCVBUFFORCE, SO_RCVBUF, open->receive_buffer);
    if (open->send_buffer)
        enough = set_buffer(udp->fd, SO_SNDBUFFORCE, SO_SNDBUF, open->send_buffer) && enough;
    if (!enough)
        udp->stats->socket_buffers_small++;
}

/* What a feature needs of a socket of each family; a dual-stack socket needs both. */
static const struct {
    uint32_t feature;
    int level[2], option[2]; /* of IPv4, of IPv6 */
} receive_options[] = {
    {IO_UDP_PKTINFO, {IPPROTO_IP, IPPROTO_IPV6}, {IP_PKTINFO, IPV6_RECVPKTINFO}},
    {IO_UDP_ECN, {IPPROTO_IP, IPPROTO_IPV6}, {IP_RECVTOS, IPV6_RECVTCLASS}},
};

/* Turns on what was asked for and is there; the rest loses its bit. */
static void set_features(struct io_udp *udp) {
    bool v4 = udp->family == 4 || udp->dual_stack, v6 = udp->family == 6;
    for (size_t i = 0; i < sizeof receive_options / sizeof receive_options[0]; i++) {
        uint32_t feature = receive_options[i].feature;
        if (!(udp->features & feature) || (feature == IO_UDP_PKTINFO && !udp->any))
            continue; /* a socket with an address of its own knows where its datagrams went */
        bool given = true;
        if (v4 && !(v6 && feature == IO_UDP_PKTINFO)) /* IPV6_PKTINFO tells mapped addresses too */
            given = set_int(udp->fd, receive_options[i].level[0], receive_options[i].option[0], 1);
        if (v6)
            given = set_int(udp->fd, receive_options[i].level[1], receive_options[i].option[1], 1) && given;
        if (!given)
            udp->features &= ~feature;
    }
    if ((udp->features & IO_UDP_GRO) && !set_int(udp->fd, IPPROTO_UDP, UDP_GRO, 1))
        udp->features &= ~(uint32_t)IO_UDP_GRO;
    int segment;
    socklen_t len = sizeof segment;
    if ((udp->features & IO_UDP_GSO) && getsockopt(udp->fd, IPPROTO_UDP, UDP_SEGMENT, &segment, &len) != 0)
        udp->features &= ~(uint32_t)IO_UDP_GSO;
    /* Don't fragment, and let no ICMP message but our own probing decide what fits. */
    if (v4)
        set_int(udp->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    if (v6)
        set_int(udp->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
}

/* Nearly all that is sent is marked ECT(0): the socket does it by itself, and only what is not says so. A control
 * message less for each train. */
static void set_mark(struct io_udp *udp) {
    bool v4 = udp->family == 4 || udp->dual_stack, v6 = udp->family == 6, given = (udp->features & IO_UDP_ECN) != 0;
    if (given && v4)
        given = set_int(udp->fd, IPPROTO_IP, IP_TOS, QUIC_ECT0);
    if (given && v6)
        given = set_int(udp->fd, IPPROTO_IPV6, IPV6_TCLASS, QUIC_ECT0);
    if (given)
        udp->mark = QUIC_ECT0;
    else if (v4)
        set_int(udp->fd, IPPROTO_IP, IP_TOS, QUIC_NOT_ECT); /* both families or none */
}

/* A descriptor of the right family; dual stack falls back to IPv4 where the system has no IPv6. */
static int make_socket(struct io_udp *udp, struct quic_addr *local) {
    const int type = SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
    udp->fd = socket(local->family == 6 ? AF_INET6 : AF_INET, type, 0);
    if (udp->fd < 0 && errno == EAFNOSUPPORT && udp->dual_stack) {
        *local = (struct quic_addr){.family = 4, .port = local->port};
        udp->dual_stack = false;
        udp->fd = socket(AF_INET, type, 0);
    }
    udp->family = local->family;
    return udp->fd;
}

static int bind_socket(struct io_udp *udp, const struct quic_addr *local) {
    struct sockaddr_storage storage;
    socklen_t len = io_addr_to_sockaddr(local, &storage);
    if (bind(udp->fd, (const struct sockaddr *)&storage, len) != 0)
        return -1;
    len = sizeof storage;
    if (getsockname(udp->fd, (struct sockaddr *)&storage, &len) != 0)
        return -1;
    return io_addr_from_sockaddr((const struct sockaddr *)&storage, &udp->socket.local) ? 0 : -1;
}

static int connect_socket(struct io_udp *udp, const struct quic_addr *remote) {
    struct sockaddr_storage storage;
    socklen_t len = udp->family == 6 ? io_addr_to_mapped(remote, &storage) : io_addr_to_sockaddr(remote, &storage);
    udp->connected = connect(udp->fd, (const struct sockaddr *)&storage, len) == 0;
    return udp->connected ? 0 : -1;
}

bool io_udp_share(const struct io_udp *udp) { return set_int(udp->fd, SOL_SOCKET, SO_REUSEADDR, 1); }

int io_udp_open(struct io_udp *udp, const struct io_udp_open *open, struct base_mem *mem, struct engine_stats *stats,
                struct crypto_error *why) {
    struct quic_addr local = open->local;
    *udp = (struct io_udp){.fd = -1, .features = open->features, .batch = 1, .mem = mem, .stats = stats};
    udp->reuse_port = open->reuse_port;
    udp->any = io_addr_is_any(&local);
    udp->dual_stack = local.family == 6 && udp->any && !open->v6_only;
    if (local.family != 4 && local.family != 6) {
        errno = EAFNOSUPPORT;
        return refuse(why, ERR_ADDRESS, "cannot open a UDP socket for", &local);
    }
    if (make_socket(udp, &local) < 0)
        return refuse(why, errno == EAFNOSUPPORT ? ERR_ADDRESS : ERR_IO, "cannot open a UDP socket for", &local);

    const char *what = NULL;
    if (udp->family == 6 && !set_int(udp->fd, IPPROTO_IPV6, IPV6_V6ONLY, !udp->dual_stack))
        what = "cannot choose between IPv6 and dual stack for";
    else if (open->reuse_port && !set_int(udp->fd, SOL_SOCKET, SO_REUSEPORT, 1))
        what = "cannot share the port of";
    else if (open->reuse_addr && !set_int(udp->fd, SOL_SOCKET, SO_REUSEADDR, 1))
        what = "cannot share the address of";
    else if (bind_socket(udp, &local) != 0)
        what = "cannot bind to";
    else if (open->remote && connect_socket(udp, open->remote) != 0)
        what = "cannot connect";
    if (what) {
        /* An address that is not ours is a mistake; one that is taken, or not for us, is the system's refusal. */
        bool no_address = errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT || errno == EINVAL || errno == ENODEV;
        int result = refuse(why, no_address ? ERR_ADDRESS : ERR_IO, what, &local);
        io_udp_close(udp);
        return result;
    }
    set_features(udp);
    set_mark(udp);
    set_buffers(udp, open);
    if (open->steer && open->reuse_port)
        io_udp_steer(udp->fd, open->steer_at); /* without it the addresses decide: right until a client moves */
    return 0;
}

void io_udp_close(struct io_udp *udp) {
    if (udp->fd >= 0)
        close(udp->fd);
    udp->fd = -1;
    base_free(udp->mem, udp->pending, udp->pending_size);
    udp->pending = NULL;
    udp->blocked = false;
}

/* A scratch socket that is connected to `remote`; -1 with *error. Nothing is sent. */
static int connect_scratch(const struct quic_addr *remote, int *error) {
    struct sockaddr_storage storage;
    socklen_t len = io_addr_to_sockaddr(remote, &storage);
    *error = ERR_ADDRESS;
    if (len == 0)
        return -1;
    int fd = socket(storage.ss_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *error = errno == EAFNOSUPPORT ? ERR_ADDRESS : ERR_IO;
        return -1;
    }
    if (connect(fd, (const struct sockaddr *)&storage, len) == 0)
        return fd;
    close(fd);
    return -1;
}

int io_udp_route(const struct quic_addr *remote, struct quic_addr *local) {
    int result;
    int fd = connect_scratch(remote, &result);
    if (fd < 0)
        return result;
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    if (getsockname(fd, (struct sockaddr *)&storage, &len) == 0 &&
        io_addr_from_sockaddr((const struct sockaddr *)&storage, local)) {
        local->port = 0;
        result = 0;
    }
    close(fd);
    return result;
}

uint32_t io_udp_payload_size(const struct quic_addr *remote) {
    int error, mtu = 0, headers = remote->family == 6 ? 40 + 8 : 20 + 8;
    int fd = connect_scratch(remote, &error);
    socklen_t len = sizeof mtu;
    if (fd < 0)
        return 0;
    int result = remote->family == 6 ? getsockopt(fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &len)
                                     : getsockopt(fd, IPPROTO_IP, IP_MTU, &mtu, &len);
    close(fd);
    return result == 0 && mtu > headers ? (uint32_t)(mtu - headers) : 0;
}
