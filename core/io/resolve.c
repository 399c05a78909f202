/* resolve.c - what a name means, asked of the system in a thread of libuv's pool.
 *
 * Knows getaddrinfo, which sorts by RFC 6724 (what can be reached comes first), and the interleaving of RFC 8305
 * section 4: when the first family is broken, the second attempt is already of the other. Does not know what is done
 * with the addresses.
 *
 * The invariant that matters: a question that was handed to the pool stays allocated until the pool gives it back,
 * asked for or not; cancelling only makes it silent. The loop does not end before.
 */
#include "io/resolve.h"

#include <netdb.h>
#include <stdio.h>

#include "io/addr.h"
#include "tables/errors.h"

struct io_resolve {
    struct io_loop *loop;
    io_resolve_cb cb; /* NULL: cancelled */
    void *user;
    uint16_t port;
    bool literal;
    struct quic_addr addr; /* of a literal */
    struct io_timer timer; /* a literal's */
    uv_getaddrinfo_t request;
};

void io_resolve_interleave(struct quic_addr *addrs, unsigned count) {
    for (unsigned i = 1; i < count; i++) {
        unsigned other = i; /* the next of the other family than the one before */
        while (other < count && addrs[other].family == addrs[i - 1].family)
            other++;
        if (other == count)
            return; /* only one family is left */
        struct quic_addr moved = addrs[other];
        memmove(addrs + i + 1, addrs + i, (other - i) * sizeof *addrs);
        addrs[i] = moved;
    }
}

static void answer_literal(struct io_timer *timer) {
    struct io_resolve *resolve = BASE_CONTAINER(timer, struct io_resolve, timer);
    struct io_resolve said = *resolve;
    io_timer_close(resolve->loop, timer);
    BASE_DELETE(said.loop->mem, resolve);
    said.cb(said.user, 0, NULL, &said.addr, 1);
}

static bool is_known(const struct quic_addr *addrs, unsigned count, const struct quic_addr *addr) {
    for (unsigned i = 0; i < count; i++)
        if (quic_addr_equal(&addrs[i], addr))
            return true;
    return false;
}

/* The system's list as ours. One family may not fill all places before the other comes. */
static unsigned collect(const struct addrinfo *list, uint16_t port, struct quic_addr addrs[IO_RESOLVE_MAX]) {
    unsigned count = 0, of_family[2] = {0, 0};
    for (; list; list = list->ai_next) {
        struct quic_addr addr;
        if (!list->ai_addr || !io_addr_from_sockaddr(list->ai_addr, &addr))
            continue;
        addr.port = port;
        unsigned *same = &of_family[addr.family == 6];
        if (*same == IO_RESOLVE_MAX / 2 || is_known(addrs, count, &addr))
            continue;
        (*same)++;
        addrs[count++] = addr;
    }
    io_resolve_interleave(addrs, count);
    return count;
}

static void on_answer(uv_getaddrinfo_t *request, int status, struct addrinfo *list) {
    struct io_resolve *resolve = (struct io_resolve *)request->data;
    struct io_resolve said = *resolve;
    struct quic_addr addrs[IO_RESOLVE_MAX];
    unsigned count = status == 0 ? collect(list, said.port, addrs) : 0;
    uv_freeaddrinfo(list);
    BASE_DELETE(said.loop->mem, resolve);
    if (said.cb) {
        io_loop_touch(said.loop);
        if (count)
            said.cb(said.user, 0, NULL, addrs, count);
        else if (status == 0)
            said.cb(said.user, ERR_RESOLVE, "the name has no address", NULL, 0);
        else
            said.cb(said.user, status == UV_ENOMEM || status == UV_EAI_MEMORY ? ERR_NOMEM : ERR_RESOLVE,
                    uv_strerror(status), NULL, 0);
    }
    io_loop_release(said.loop);
}

static int start_literal(struct io_resolve *resolve, uint8_t family) {
    if (family && family != resolve->addr.family)
        return ERR_ADDRESS;
    if (!io_timer_open(resolve->loop, &resolve->timer, answer_literal))
        return ERR_NOMEM;
    io_timer_set(resolve->loop, &resolve->timer, 0);
    return 0;
}

static int start_question(struct io_resolve *resolve, const char *host, uint8_t family) {
    if (resolve->loop->external)
        return ERR_UNSUPPORTED;
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM,
                             .ai_family = family == 4   ? AF_INET
                                          : family == 6 ? AF_INET6
                                                        : AF_UNSPEC};
    resolve->request.data = resolve;
    int result = uv_getaddrinfo(resolve->loop->uv, &resolve->request, on_answer, host, NULL, &hints);
    if (result != 0)
        return result == UV_ENOMEM ? ERR_NOMEM : ERR_RESOLVE;
    io_loop_hold(resolve->loop);
    return 0;
}

int io_resolve_start(struct io_loop *loop, const char *host, uint16_t port, uint8_t family, io_resolve_cb cb,
                     void *user, struct io_resolve **out) {
    *out = NULL;
    if (!*host)
        return ERR_RESOLVE;
    struct io_resolve *resolve = BASE_NEW(loop->mem, struct io_resolve);
    if (!resolve)
        return ERR_NOMEM;
    resolve->loop = loop;
    resolve->cb = cb;
    resolve->user = user;
    resolve->port = port;
    resolve->literal = io_addr_parse(host, port, &resolve->addr);
    int result = resolve->literal ? start_literal(resolve, family) : start_question(resolve, host, family);
    if (result != 0) {
        BASE_DELETE(loop->mem, resolve);
        return result;
    }
    *out = resolve;
    return 0;
}

void io_resolve_cancel(struct io_resolve *resolve) {
    struct io_loop *loop = resolve->loop;
    if (resolve->literal) {
        io_timer_close(loop, &resolve->timer);
        BASE_DELETE(loop->mem, resolve);
        return;
    }
    resolve->cb = NULL;
    /* Its callback comes all the same: at once when no thread of the pool has begun with it; else when the system has
     * answered, for nothing interrupts getaddrinfo. */
    uv_cancel((uv_req_t *)&resolve->request);
}
