/* relay.c - a bad network in one process: a UDP relay between clients and a server that loses, delays, duplicates,
 * reorders and corrupts datagrams.
 *
 *     relay --server ADDRESS:PORT [--listen ADDRESS:PORT] [--seed N] [faults] [--up faults] [--down faults]
 *
 * Faults before the first --up or --down are for both directions. They are:
 *
 *     --drop P       percent lost                   --delay MS      added to every datagram
 *     --dup P        percent sent twice             --reorder P     percent held back for --hold MS (default 8) more,
 *     --corrupt P    percent with one byte changed                  so that later ones overtake them
 *     --mtu N        datagrams over N bytes vanish
 *
 * and, for both directions at once, --rebind N: after every N datagrams from a client its flow moves to a new port, as
 * behind a NAT that forgets; what still arrives at the old port is lost. --rebinds M: at most M times for each flow.
 *
 * It prints "listening on ADDRESS:PORT", relays until SIGINT or SIGTERM, and prints its counts as one line of JSON.
 *
 * It knows nothing of QUIC: every fault hits whatever comes. Each client address is a flow with a socket of its own
 * towards the server, so the server sees as many clients as there are. The fate of the n-th datagram of a direction of
 * a flow follows from the seed, the flow's number, the direction and n, and from nothing else: the same number of draws
 * is made for each, needed or not. ECN marks pass through. What must stay true: a datagram that is neither dropped nor
 * corrupted leaves with the bytes it came with, once or twice; and "no fault" relays in order.
 *
 * IPv4 only: it stands between two programs on one machine.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FLOWS = 256, MAX_DATAGRAM = 65535, BATCH = 64 /* datagrams from one socket before the others' turn */ };

struct faults {
    double drop, dup, reorder, corrupt; /* percent */
    uint64_t delay, hold;               /* nanoseconds */
    size_t mtu;
};

struct counts {
    uint64_t received, sent, dropped, duplicated, reordered, corrupted, too_large, refused;
};

struct flow {
    struct sockaddr_in client;
    int socket; /* towards the server */
    uint64_t random[DIRECTIONS];
    uint64_t from_client, rebinds;
};

struct relay {
    struct faults faults[DIRECTIONS];
    struct counts counts[DIRECTIONS];
    uint64_t seed, rebind_every, rebind_most, rebinds;
    struct sockaddr_in server, listen;
    int socket; /* towards the clients */
    struct flow flows[MAX_FLOWS];
    size_t flow_count;
    struct wire_heap heap;
};

static volatile sig_atomic_t stopped;

static void on_signal(int signal) {
    (void)signal;
    stopped = 1;
}

/* ---- sockets ---------------------------------------------------------------------------------------------------- */

static int open_socket(const struct sockaddr_in *bind_to) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20, on = 1;
    if (fd < 0)
        wire_die("socket");
    /* Only faults that were ordered should happen, so the queues are as long as the system lets them be. */
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &on, sizeof on);
    if (bind(fd, (const struct sockaddr *)bind_to, sizeof *bind_to) != 0)
        wire_die("bind");
    if (fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        wire_die("fcntl");
    return fd;
}

static int open_towards_server(const struct relay *relay) {
    struct sockaddr_in any = {.sin_family = AF_INET};
    int fd = open_socket(&any);
    if (connect(fd, (const struct sockaddr *)&relay->server, sizeof relay->server) != 0)
        wire_die("connect");
    return fd;
}

/* Bytes received, or -1 when there are none now. */
static ssize_t receive(int fd, uint8_t *data, size_t size, struct sockaddr_in *from, uint8_t *ecn) {
    union {
        struct cmsghdr align;
        uint8_t bytes[64];
    } control;
    struct iovec iov = {data, size};
    struct msghdr msg = {.msg_name = from,
                         .msg_namelen = sizeof *from,
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = sizeof control.bytes};
    ssize_t len = recvmsg(fd, &msg, 0);
    *ecn = 0;
    if (len < 0) /* ECONNREFUSED is an ICMP message about an earlier datagram: the peer is not there (yet) */
        return errno == ECONNREFUSED ? receive(fd, data, size, from, ecn) : -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c))
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
            *ecn = *CMSG_DATA(c) & 3;
    return len;
}

static struct flow *flow_of(const struct parcel *parcel) { return parcel->owner; }

static void send_parcel(struct relay *relay, const struct parcel *parcel) {
    union {
        struct cmsghdr align;
        uint8_t bytes[CMSG_SPACE(sizeof(int))];
    } control = {.bytes = {0}};
    struct iovec iov = {parcel->data, parcel->len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    bool up = parcel->direction == UP;
    if (!up) {
        msg.msg_name = &flow_of(parcel)->client;
        msg.msg_namelen = sizeof flow_of(parcel)->client;
    }
    if (parcel->ecn) {
        int tos = parcel->ecn;
        msg.msg_control = control.bytes;
        msg.msg_controllen = sizeof control.bytes;
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = IPPROTO_IP;
        c->cmsg_type = IP_TOS;
        c->cmsg_len = CMSG_LEN(sizeof tos);
        memcpy(CMSG_DATA(c), &tos, sizeof tos);
    }
    if (sendmsg(up ? flow_of(parcel)->socket : relay->socket, &msg, 0) == (ssize_t)parcel->len)
        relay->counts[parcel->direction].sent++;
    else
        relay->counts[parcel->direction].refused++;
}

/* ---- relaying --------------------------------------------------------------------------------------------------- */

static struct flow *find_flow(struct relay *relay, const struct sockaddr_in *client) {
    for (size_t i = 0; i < relay->flow_count; i++)
        if (relay->flows[i].client.sin_port == client->sin_port &&
            relay->flows[i].client.sin_addr.s_addr == client->sin_addr.s_addr)
            return &relay->flows[i];
    if (relay->flow_count == MAX_FLOWS)
        return NULL;
    struct flow *flow = &relay->flows[relay->flow_count++];
    flow->client = *client;
    flow->socket = open_towards_server(relay);
    for (int d = 0; d < DIRECTIONS; d++) {
        flow->random[d] = relay->seed * 1000003 + relay->flow_count * 2 + (uint64_t)d;
        wire_draw(&flow->random[d]);
    }
    return flow;
}

/* Decides what becomes of a datagram. parcel.data is borrowed, and may be changed. */
static void judge(struct relay *relay, struct parcel parcel) {
    const struct faults *faults = &relay->faults[parcel.direction];
    struct counts *counts = &relay->counts[parcel.direction];
    uint64_t *random = &flow_of(&parcel)->random[parcel.direction], due = wire_now() + faults->delay;

    /* Every draw is made for every datagram: its fate does not depend on how long or how late others are. */
    bool drop = wire_chance(random, faults->drop), dup = wire_chance(random, faults->dup);
    bool reorder = wire_chance(random, faults->reorder), corrupt = wire_chance(random, faults->corrupt);
    uint64_t where = wire_draw(random), flip = wire_draw(random) % 255 + 1;

    counts->received++;
    if (drop) {
        counts->dropped++;
        return;
    }
    if (faults->mtu && parcel.len > faults->mtu) {
        counts->too_large++;
        return;
    }
    if (dup) { /* of what was sent: the other copy may be corrupted or late */
        counts->duplicated++;
        wire_put(&relay->heap, parcel, due);
    }
    if (corrupt && parcel.len > 0) {
        counts->corrupted++;
        parcel.data[where % parcel.len] ^= (uint8_t)flip;
    }
    if (reorder) {
        counts->reordered++;
        due += faults->hold;
    }
    wire_put(&relay->heap, parcel, due);
}

static void rebind(struct relay *relay, struct flow *flow) {
    int fresh = open_towards_server(relay); /* before the old one is closed, so that the port differs */
    close(flow->socket);
    flow->socket = fresh;
    flow->rebinds++;
    relay->rebinds++;
}

static void drain_clients(struct relay *relay, uint8_t *buffer) {
    for (int i = 0; i < BATCH; i++) {
        struct sockaddr_in from = {0};
        struct parcel parcel = {.direction = UP, .data = buffer};
        ssize_t len = receive(relay->socket, buffer, MAX_DATAGRAM, &from, &parcel.ecn);
        if (len < 0)
            return;
        if (!(parcel.owner = find_flow(relay, &from))) {
            relay->counts[UP].refused++;
            continue;
        }
        parcel.len = (size_t)len;
        flow_of(&parcel)->from_client++;
        if (relay->rebind_every && flow_of(&parcel)->from_client % relay->rebind_every == 0 &&
            flow_of(&parcel)->rebinds < relay->rebind_most)
            rebind(relay, flow_of(&parcel));
        judge(relay, parcel);
    }
}

static void drain_server(struct relay *relay, struct flow *flow, uint8_t *buffer) {
    for (int i = 0; i < BATCH; i++) {
        struct sockaddr_in from;
        struct parcel parcel = {.direction = DOWN, .owner = flow, .data = buffer};
        ssize_t len = receive(flow->socket, buffer, MAX_DATAGRAM, &from, &parcel.ecn);
        if (len < 0)
            return;
        parcel.len = (size_t)len;
        judge(relay, parcel);
    }
}

static void send_due(struct relay *relay) {
    struct parcel parcel;
    while (wire_take(&relay->heap, wire_now(), &parcel)) {
        send_parcel(relay, &parcel);
        free(parcel.data);
    }
}

static void turn(struct relay *relay, uint8_t *buffer) {
    struct pollfd fds[1 + MAX_FLOWS];
    size_t flows = relay->flow_count;
    fds[0] = (struct pollfd){.fd = relay->socket, .events = POLLIN};
    for (size_t i = 0; i < flows; i++)
        fds[1 + i] = (struct pollfd){.fd = relay->flows[i].socket, .events = POLLIN};
    struct timespec wait = wire_wait(&relay->heap);
    sigset_t none;
    sigemptyset(&none); /* signals are let in while it waits, and only then: none is missed */
    int ready = ppoll(fds, (nfds_t)(1 + flows), &wait, &none);
    if (ready < 0 && errno != EINTR)
        wire_die("poll");
    if (ready > 0) {
        for (size_t i = 0; i < flows; i++) /* before the clients, which may rebind a flow */
            if (fds[1 + i].revents)
                drain_server(relay, &relay->flows[i], buffer);
        if (fds[0].revents)
            drain_clients(relay, buffer);
    }
    send_due(relay);
}

/* ---- arguments and report --------------------------------------------------------------------------------------- */

static struct sockaddr_in parse_address(const char *text) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN];
    unsigned port;
    char tail;
    if (sscanf(text, "%15[0-9.]:%u%c", host, &port, &tail) != 2 || port > 65535 ||
        inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "relay: '%s' is not IPV4-ADDRESS:PORT\n", text);
        exit(2);
    }
    address.sin_port = htons((uint16_t)port);
    return address;
}

static bool set_fault(struct faults *faults, const char *name, double value) {
    const struct {
        const char *name;
        double *percent;
        uint64_t *time;
    } known[] = {{"--drop", &faults->drop, NULL},       {"--dup", &faults->dup, NULL},
                 {"--reorder", &faults->reorder, NULL}, {"--corrupt", &faults->corrupt, NULL},
                 {"--delay", NULL, &faults->delay},     {"--hold", NULL, &faults->hold}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(name, known[i].name) != 0)
            continue;
        if (known[i].percent)
            *known[i].percent = value;
        else
            *known[i].time = (uint64_t)(value * (double)MS);
        return true;
    }
    if (strcmp(name, "--mtu") != 0)
        return false;
    faults->mtu = (size_t)value;
    return true;
}

static void parse_arguments(struct relay *relay, int argc, char **argv) {
    int first = UP, last = DOWN;
    for (int d = 0; d < DIRECTIONS; d++)
        relay->faults[d].hold = 8 * MS;
    relay->rebind_most = UINT64_MAX;
    relay->listen = parse_address("127.0.0.1:0");
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--up") == 0 || strcmp(name, "--down") == 0) {
            first = last = strcmp(name, "--up") == 0 ? UP : DOWN;
            continue;
        }
        if (i + 1 == argc) {
            fprintf(stderr, "relay: %s: unknown, or its value is missing\n", name);
            exit(2);
        }
        const char *value = argv[++i];
        if (strcmp(name, "--server") == 0)
            relay->server = parse_address(value);
        else if (strcmp(name, "--listen") == 0)
            relay->listen = parse_address(value);
        else if (strcmp(name, "--seed") == 0)
            relay->seed = (uint64_t)wire_number("relay", name, value);
        else if (strcmp(name, "--rebind") == 0)
            relay->rebind_every = (uint64_t)wire_number("relay", name, value);
        else if (strcmp(name, "--rebinds") == 0)
            relay->rebind_most = (uint64_t)wire_number("relay", name, value);
        else
            for (int d = first; d <= last; d++)
                if (!set_fault(&relay->faults[d], name, wire_number("relay", name, value))) {
                    fprintf(stderr, "relay: unknown argument %s\n", name);
                    exit(2);
                }
    }
    if (!relay->server.sin_port) {
        fprintf(stderr, "relay: --server ADDRESS:PORT is needed\n");
        exit(2);
    }
}

static void report(const struct relay *relay) {
    static const char *const names[] = {"up", "down"};
    printf("{\"flows\": %zu, \"rebinds\": %llu", relay->flow_count, (unsigned long long)relay->rebinds);
    for (int d = 0; d < DIRECTIONS; d++) {
        const struct counts *c = &relay->counts[d];
        printf(", \"%s\": {\"received\": %llu, \"sent\": %llu, \"dropped\": %llu, \"duplicated\": %llu, "
               "\"reordered\": %llu, \"corrupted\": %llu, \"too_large\": %llu, \"refused\": %llu}",
               names[d], (unsigned long long)c->received, (unsigned long long)c->sent, (unsigned long long)c->dropped,
               (unsigned long long)c->duplicated, (unsigned long long)c->reordered, (unsigned long long)c->corrupted,
               (unsigned long long)c->too_large, (unsigned long long)c->refused);
    }
    puts("}");
}

int main(int argc, char **argv) {
    static struct relay relay;
    static uint8_t buffer[MAX_DATAGRAM];
    parse_arguments(&relay, argc, argv);

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    relay.socket = open_socket(&relay.listen);
    struct sockaddr_in bound;
    socklen_t len = sizeof bound;
    char host[INET_ADDRSTRLEN];
    if (getsockname(relay.socket, (struct sockaddr *)&bound, &len) != 0)
        wire_die("getsockname");
    printf("listening on %s:%u\n", inet_ntop(AF_INET, &bound.sin_addr, host, sizeof host), ntohs(bound.sin_port));
    fflush(stdout);

    while (!stopped)
        turn(&relay, buffer);
    report(&relay);
    return 0;
}
