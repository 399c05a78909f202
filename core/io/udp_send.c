/* udp_send.c - trains from the core to the system, one call each.
 *
 * Knows UDP_SEGMENT (one call, the kernel or the card cuts), sendmmsg (one call, cut by us), and what an error of
 * either means. Does not know what the datagrams say.
 *
 * Three kinds of errors. The socket's buffer is full: what is left is kept and the caller waits. The kernel refuses to
 * segment (EINVAL, EIO: a card without checksum offload, an odd route; EMSGSIZE: the segment does not fit the
 * interface): the train goes datagram by datagram, and if the first of them, which has the full size, gets through,
 * then it was segmentation that was refused, and this socket does without. Everything else - unreachable, filtered,
 * too big, an address we no longer have - is the network's way to lose datagrams, and loss is what QUIC is made for.
 *
 * The invariant that matters: while `blocked`, what is left of the train is in `pending`, in order and whole datagrams.
 */
#include "io/udp.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include "io/addr.h"

/* segment size, source address, mark */
#define SEND_CONTROL (CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)))

/* Destination and control messages of a train, made once for all its datagrams. */
struct send_form {
    struct sockaddr_storage to;
    socklen_t to_len;
    size_t control_len;
    union {
        struct cmsghdr aligned;
        uint8_t bytes[SEND_CONTROL];
    } control;
};

static void add_control(struct send_form *form, int level, int type, const void *data, size_t len) {
    assert(form->control_len + CMSG_SPACE(len) <= sizeof form->control.bytes);
    struct cmsghdr head = {.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type};
    uint8_t *at = form->control.bytes + form->control_len;
    memset(at, 0, CMSG_SPACE(len));
    memcpy(at, &head, sizeof head);
    memcpy(at + CMSG_LEN(0), data, len);
    form->control_len += CMSG_SPACE(len);
}

/* The source address, where there is a choice: the socket is bound to none and the core has one in mind. */
static void add_source(struct send_form *form, const struct io_udp *udp, const struct quic_addr *local) {
    if (!udp->any || !(udp->features & IO_UDP_PKTINFO) || local->family == 0 || io_addr_is_any(local))
        return;
    if (local->family == 4) { /* understood by a dual-stack socket too */
        struct in_pktinfo info = {0};
        memcpy(&info.ipi_spec_dst, local->ip, 4);
        add_control(form, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else {
        struct in6_pktinfo info = {.ipi6_ifindex = local->scope};
        memcpy(&info.ipi6_addr, local->ip, 16);
        add_control(form, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

static void make_form(struct send_form *form, const struct io_udp *udp, const struct quic_train *train) {
    form->to_len = udp->family == 6 ? io_addr_to_mapped(&train->remote, &form->to)
                                    : io_addr_to_sockaddr(&train->remote, &form->to);
    form->control_len = 0;
    if (udp->connected)
        form->to_len = 0;
    add_source(form, udp, &train->local);
    if (train->ecn != udp->mark && (udp->features & IO_UDP_ECN)) {
        int mark = train->ecn;
        bool v4 = train->remote.family == 4;
        add_control(form, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_TOS : IPV6_TCLASS, &mark, sizeof mark);
    }
}

static struct msghdr make_message(struct send_form *form, struct iovec *iov) {
    return (struct msghdr){.msg_name = form->to_len ? &form->to : NULL,
                           .msg_namelen = form->to_len,
                           .msg_iov = iov,
                           .msg_iovlen = 1,
                           .msg_control = form->control_len ? form->control.bytes : NULL,
                           .msg_controllen = form->control_len};
}

static bool is_full(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS; }

/* One call for all. 0, or the error. */
static int send_whole(struct io_udp *udp, const struct quic_train *train, const struct send_form *plain) {
    struct send_form form = *plain;
    struct iovec iov = {.iov_base = train->data, .iov_len = train->len};
    if (train->count > 1) {
        uint16_t segment = (uint16_t)train->segment;
        add_control(&form, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
    }
    struct msghdr message = make_message(&form, &iov);
    for (;;) {
        udp->stats->send_calls++;
        if (sendmsg(udp->fd, &message, MSG_DONTWAIT) >= 0)
            return 0;
        if (errno != EINTR)
            return errno;
    }
}

/* Datagram by datagram, as few calls as it takes. Returns the bytes done with (sent or lost); *first tells whether the
 * first one was sent. */
static size_t send_each(struct io_udp *udp, const struct quic_train *train, struct send_form *form, bool *first) {
    struct mmsghdr messages[QUIC_TRAIN_SEGMENTS];
    struct iovec iov[QUIC_TRAIN_SEGMENTS];
    unsigned count = 0, done = 0;
    for (size_t at = 0; at < train->len && count < QUIC_TRAIN_SEGMENTS; at += train->segment, count++) {
        size_t left = train->len - at;
        iov[count] =
            (struct iovec){.iov_base = train->data + at, .iov_len = left < train->segment ? left : train->segment};
        messages[count] = (struct mmsghdr){.msg_hdr = make_message(form, &iov[count])};
    }
    *first = false;
    while (done < count) {
        udp->stats->send_calls++;
        int sent = sendmmsg(udp->fd, messages + done, count - done, MSG_DONTWAIT);
        if (sent > 0) {
            *first = *first || done == 0;
            done += (unsigned)sent;
        } else if (sent < 0 && is_full(errno)) {
            break;
        } else if (sent == 0 || errno != EINTR) {
            done++; /* this one is lost; the next may not be */
        }
    }
    size_t bytes = (size_t)done * train->segment;
    return bytes < train->len ? bytes : train->len;
}

/* Returns the bytes done with; fewer than train->len: the buffer is full. */
static size_t send_train(struct io_udp *udp, const struct quic_train *train) {
    struct send_form form;
    make_form(&form, udp, train);
    if ((form.to_len == 0 && !udp->connected) || (udp->family == 4 && train->remote.family == 6))
        return train->len; /* nowhere to send it */
    int error = EINVAL;
    bool whole = train->count <= 1 || (udp->features & IO_UDP_GSO);
    if (whole) {
        error = send_whole(udp, train, &form);
        if (is_full(error))
            return 0;
        if (train->count <= 1 || (error != EINVAL && error != EIO && error != EMSGSIZE))
            return train->len;
    }
    bool first;
    size_t done = send_each(udp, train, &form, &first);
    if (first && whole && error != EMSGSIZE)
        udp->features &= ~(uint32_t)IO_UDP_GSO;
    return done;
}

/* Keeps a copy of everything from `done` on. Without memory it is lost, and we wait all the same. */
static void keep(struct io_udp *udp, const struct quic_train *train, size_t done) {
    size_t left = train->len - done;
    udp->pending = (uint8_t *)base_alloc(udp->mem, left);
    if (!udp->pending)
        return;
    memcpy(udp->pending, train->data + done, left);
    udp->pending_size = left;
    udp->pending_train = *train;
    udp->pending_train.data = udp->pending;
    udp->pending_train.len = left;
    udp->pending_train.count = (uint32_t)((left + train->segment - 1) / train->segment);
}

enum io_udp_sent io_udp_send(struct io_udp *udp, const struct quic_train *train) {
    assert(!udp->blocked && !udp->pending && train->len > 0 && train->segment > 0);
    size_t done = send_train(udp, train);
    if (done == train->len)
        return IO_UDP_SENT;
    udp->stats->send_blocked++;
    udp->blocked = true;
    keep(udp, train, done);
    return IO_UDP_BLOCKED;
}

enum io_udp_sent io_udp_flush(struct io_udp *udp) {
    if (udp->pending) {
        struct quic_train *train = &udp->pending_train;
        size_t done = send_train(udp, train);
        if (done < train->len) {
            train->data += done;
            train->len -= done;
            train->count = (uint32_t)((train->len + train->segment - 1) / train->segment);
            return IO_UDP_BLOCKED;
        }
        base_free(udp->mem, udp->pending, udp->pending_size);
        udp->pending = NULL;
    }
    udp->blocked = false;
    return IO_UDP_SENT;
}
