/* udp_recv.c - datagrams from the system to the core, many a call and none copied.
 *
 * Knows recvmmsg, GRO and the control messages that tell where a datagram was sent to and how the network marked it.
 * Does not know what the datagrams say.
 *
 * Each message gets a 64 KiB buffer of the pool; with GRO the kernel joins datagrams of one flow in it and tells their
 * size, and we hand on slices. The number of buffers offered follows the traffic: a busy socket prepares IO_UDP_BATCH.
 * A call that returns fewer than it was offered has drained the socket; it is not asked again. On a socket that its
 * owner found quiet one message is taken by a plain recvmsg: to look for a second would hold up the answer to the
 * first, and the poll that follows tells of one anyway.
 *
 * The invariant that matters: a buffer is referenced by us from base_buf_get until the sink has seen every slice of it;
 * one that the kernel did not fill goes back untouched.
 */
#include "io/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include "io/addr.h"

#define RECV_GROUP 64u      /* datagrams handed over at a time */
#define RECV_BATCH_LEAST 2u /* buffers a quiet socket prepares: one that comes back empty saves asking again */
#define RECV_ERRORS 16u     /* errors in a row that are swallowed before the socket is left alone for this turn */
/* pktinfo, the mark of either family, and the segment size */
#define RECV_CONTROL (CMSG_SPACE(sizeof(struct in6_pktinfo)) + 3 * CMSG_SPACE(sizeof(int)))

struct recv_slot {
    struct base_buf *buf;
    struct iovec iov;
    struct sockaddr_in6 from; /* large enough for IPv4's */
    union {
        struct cmsghdr aligned;
        uint8_t bytes[RECV_CONTROL];
    } control;
};

struct recv_run {
    struct io_udp *udp;
    io_udp_sink sink;
    void *user;
    unsigned received;
    unsigned waiting; /* in `group` */
    struct mmsghdr msgs[IO_UDP_BATCH];
    struct recv_slot slots[IO_UDP_BATCH];
    struct quic_datagram group[RECV_GROUP];
};

/* What the control messages of one message tell. */
struct recv_notes {
    struct quic_addr local;
    uint8_t ecn;
    size_t segment; /* 0: a single datagram */
};

static unsigned prepare(struct recv_run *run, struct base_bufpool *bufs, unsigned wanted) {
    unsigned count = 0;
    for (; count < wanted; count++) {
        struct recv_slot *slot = &run->slots[count];
        slot->buf = base_buf_get(bufs);
        if (!slot->buf)
            break;
        slot->iov = (struct iovec){.iov_base = slot->buf->data, .iov_len = slot->buf->size};
        run->msgs[count] = (struct mmsghdr){.msg_hdr = {.msg_name = &slot->from,
                                                        .msg_namelen = sizeof slot->from,
                                                        .msg_iov = &slot->iov,
                                                        .msg_iovlen = 1,
                                                        .msg_control = slot->control.bytes,
                                                        .msg_controllen = sizeof slot->control.bytes}};
    }
    return count;
}

/* One system call. The number of messages, or -1 and errno. */
static int ask(struct recv_run *run, unsigned count) {
    run->udp->stats->receive_calls++;
    if (run->udp->features & IO_UDP_RECVMMSG && !run->udp->quiet) {
        int got = recvmmsg(run->udp->fd, run->msgs, count, MSG_DONTWAIT, NULL);
        if (got >= 0 || errno != ENOSYS)
            return got;
        run->udp->features &= ~(uint32_t)IO_UDP_RECVMMSG;
    }
    ssize_t len = recvmsg(run->udp->fd, &run->msgs[0].msg_hdr, MSG_DONTWAIT);
    if (len < 0)
        return -1;
    run->msgs[0].msg_len = (unsigned)len;
    return 1;
}

/* An integer the kernel wrote as one byte (IP_TOS) or as an int. */
static unsigned control_number(struct cmsghdr *cmsg) {
    int value = 0;
    if (cmsg->cmsg_len < CMSG_LEN(sizeof value))
        return *(const uint8_t *)CMSG_DATA(cmsg);
    memcpy(&value, CMSG_DATA(cmsg), sizeof value);
    return (unsigned)value;
}

static void note_pktinfo(struct recv_notes *notes, struct cmsghdr *cmsg) {
    if (cmsg->cmsg_level == IPPROTO_IP) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(cmsg), sizeof info);
        notes->local.family = 4;
        memcpy(notes->local.ip, &info.ipi_addr, 4);
        return;
    }
    struct in6_pktinfo info;
    memcpy(&info, CMSG_DATA(cmsg), sizeof info);
    io_addr_from_v6(info.ipi6_addr.s6_addr, info.ipi6_ifindex, &notes->local);
}

static struct recv_notes read_notes(const struct io_udp *udp, struct msghdr *msg, const struct quic_addr *remote) {
    struct recv_notes notes = {.local = udp->socket.local};
    if (udp->dual_stack) /* "any" in the family of the peer, until pktinfo tells more */
        notes.local.family = remote->family;
    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        int level = cmsg->cmsg_level, type = cmsg->cmsg_type;
        if ((level == IPPROTO_IP && type == IP_PKTINFO) || (level == IPPROTO_IPV6 && type == IPV6_PKTINFO))
            note_pktinfo(&notes, cmsg);
        else if ((level == IPPROTO_IP && type == IP_TOS) || (level == IPPROTO_IPV6 && type == IPV6_TCLASS))
            notes.ecn = control_number(cmsg) & 3;
        else if (level == IPPROTO_UDP && type == UDP_GRO)
            notes.segment = control_number(cmsg);
    }
    return notes;
}

static void hand_over(struct recv_run *run) {
    if (run->waiting)
        run->sink(run->user, run->group, run->waiting);
    run->waiting = 0;
}

/* One message: a datagram, or a train of them. */
static void split(struct recv_run *run, struct recv_slot *slot, struct mmsghdr *message) {
    struct quic_addr remote;
    size_t len = message->msg_len;
    if (len == 0 || (message->msg_hdr.msg_flags & MSG_TRUNC) ||
        !io_addr_from_sockaddr((const struct sockaddr *)&slot->from, &remote))
        return;
    struct recv_notes notes = read_notes(run->udp, &message->msg_hdr, &remote);
    size_t segment = notes.segment ? notes.segment : len;
    for (size_t at = 0; at < len; at += segment) {
        if (run->waiting == RECV_GROUP)
            hand_over(run);
        run->group[run->waiting++] = (struct quic_datagram){.buf = slot->buf,
                                                            .data = slot->buf->data + at,
                                                            .len = len - at < segment ? len - at : segment,
                                                            .socket = &run->udp->socket,
                                                            .local = notes.local,
                                                            .remote = remote,
                                                            .ecn = notes.ecn};
        run->received++;
    }
}

/* The next call's size: double when all was filled, half when most was not. */
static void adapt(struct io_udp *udp, unsigned offered, unsigned got) {
    unsigned batch = udp->batch;
    if (got == offered && batch < IO_UDP_BATCH)
        batch *= 2;
    else if (got < offered / 2 && batch > RECV_BATCH_LEAST)
        batch /= 2;
    udp->batch = (uint8_t)batch;
}

unsigned io_udp_receive(struct io_udp *udp, struct base_bufpool *bufs, unsigned budget, bool *more, io_udp_sink sink,
                        void *user) {
    struct recv_run run; /* 10 KiB that prepare() fills as far as it is needed */
    run.udp = udp;
    run.sink = sink;
    run.user = user;
    run.received = run.waiting = 0;
    *more = false;
    if (udp->batch < RECV_BATCH_LEAST)
        udp->batch = RECV_BATCH_LEAST;
    for (unsigned errors = 0; run.received < budget && errors < RECV_ERRORS;) {
        bool batched = !udp->quiet && (udp->features & IO_UDP_RECVMMSG);
        unsigned offered = prepare(&run, bufs, batched ? udp->batch : 1);
        *more = true;
        if (offered == 0)
            return run.received; /* buffers are all in use: what waits in the kernel is its to keep or drop */
        int got = ask(&run, offered);
        int error = got < 0 ? errno : 0;
        unsigned filled = got < 0 ? 0 : (unsigned)got;
        for (unsigned i = 0; i < filled; i++)
            split(&run, &run.slots[i], &run.msgs[i]);
        hand_over(&run);
        for (unsigned i = 0; i < offered; i++)
            base_buf_unref(run.slots[i].buf);
        if (got < 0) {
            /* What ICMP told an earlier send is not about us: asking takes it away. */
            *more = error != EAGAIN && error != EWOULDBLOCK;
            if (!*more)
                return run.received;
            errors++;
            continue;
        }
        if (batched)
            adapt(udp, offered, filled);
        *more = !udp->quiet && (!batched || filled == offered);
        if (!*more)
            return run.received;
    }
    return run.received;
}
