/* link.c - two network namespaces and the link between them, with the faults that the QUIC interop runner's scenarios
 * have, and a capture at each end.
 *
 *     link --capture DIR [--seed N] [faults]
 *
 *     --delay MS       one way                       --bandwidth KBIT   a second, each way
 *     --queue N        packets that wait for it      --rate-up P, --rate-down P     percent hit, at most --burst N in
 *     --corrupt        hit datagrams have a byte                                    a row (3); dropped unless --corrupt
 *                      changed, and a good checksum  --drop-up N,N,...  the n-th datagrams to the server are dropped
 *     --on MS --off MS everything passes, then       --rebind-first MS  the client's port changes behind a NAT that
 *                      nothing, by turns             --rebind-every MS  forgets; with --rebind-address its address too
 *
 * Each namespace has one TUN device, whose other end this program holds: whole IP packets, with their real addresses,
 * ECN marks and checksums, go from one to the other, UDP and TCP, IPv4 and IPv6. Faults hit UDP only; delay, bandwidth
 * and queue are for all. Times count from the first datagram. DIR gets client.pcap and server.pcap: UDP as it passes
 * the client's and the server's end, in both directions, before (sent) or after (arrived) the faults.
 *
 * It prints "ready CLIENT-FD SERVER-FD", file descriptors of its own that are the namespaces (/proc/PID/fd/N, for
 * nsenter), relays until SIGINT or SIGTERM, and prints its counts as one line of JSON. The namespaces have no names and
 * no other keeper: they are gone when this program and what runs in them have ended, however they end.
 *
 * What must stay true: a packet that no fault hits leaves with the bytes it came with, or as a NAT would have them.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* glibc declares unshare only with _GNU_SOURCE; the number is the kernel's. */
#ifndef CLONE_NEWNET
#define CLONE_NEWNET 0x40000000
#endif

enum { MTU = 1500, MAX_DROPS = 32, MAX_MAPPINGS = 512, MAX_QUEUE = 65536, IP_UDP = 17, IP_TCP = 6 };

struct counts {
    uint64_t datagrams, bytes, dropped, corrupted, queue_full, other;
};

struct side {
    int tun, namespace;
    FILE *capture;
};

/* Of one direction. */
struct way {
    struct counts counts;
    uint64_t random, busy_until;
    unsigned in_a_row;
    double rate;         /* percent */
    uint64_t *departing; /* when the packets that wait will have left: a ring */
    size_t first, waiting;
};

struct mapping {
    uint16_t inside, outside;
};

struct link {
    struct side sides[DIRECTIONS]; /* UP: the client's, where datagrams up begin */
    struct way ways[DIRECTIONS];
    struct wire_heap heap;
    uint64_t seed, delay, bandwidth, on, off, rebind_first, rebind_every;
    size_t queue;
    unsigned burst;
    bool corrupt, rebind_address;
    uint64_t drops[MAX_DROPS];
    size_t drop_count;
    uint64_t began, rebinds; /* began 0: no datagram yet */
    struct mapping mappings[MAX_MAPPINGS];
    size_t mapping_count;
    uint16_t next_port;
    const char *directory;
};

static volatile sig_atomic_t stopped;

static void on_signal(int signal) {
    (void)signal;
    stopped = 1;
}

/* ---- packets ----------------------------------------------------------------------------------------------------- */

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }

static void put16(uint8_t *at, uint16_t value) {
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

/* Where an IP packet has what. */
struct packet {
    uint8_t *ip, *transport;
    size_t len, transport_len, address_len;
    uint8_t *source, *destination;
    uint8_t protocol;
    bool v6;
};

static bool parse(uint8_t *data, size_t len, struct packet *packet) {
    *packet = (struct packet){.ip = data, .len = len};
    if (len >= 28 && data[0] >> 4 == 4) {
        size_t header = (size_t)(data[0] & 15) * 4;
        *packet = (struct packet){data, data + header, len, len - header, 4, data + 12, data + 16, data[9], false};
        return header >= 20 && header + 8 <= len && !(get16(data + 6) & 0x3fff); /* no fragments */
    }
    if (len >= 48 && data[0] >> 4 == 6) {
        *packet = (struct packet){data, data + 40, len, len - 40, 16, data + 8, data + 24, data[6], true};
        return true;
    }
    return false;
}

static uint32_t sum(const uint8_t *data, size_t len, uint32_t sum) {
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += get16(data + i);
    return len & 1 ? sum + (uint32_t)(data[len - 1] << 8) : sum;
}

static uint16_t fold(uint32_t sum) {
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

/* RFC 768, RFC 8200 8.1, RFC 791: after a change of addresses, ports or payload. */
static void set_checksums(const struct packet *packet) {
    put16(packet->transport + 6, 0);
    uint32_t total = sum(packet->source, packet->address_len * 2, IP_UDP + (uint32_t)packet->transport_len);
    uint16_t checksum = fold(sum(packet->transport, packet->transport_len, total));
    put16(packet->transport + 6, checksum ? checksum : 0xffff);
    if (packet->v6)
        return;
    put16(packet->ip + 10, 0);
    put16(packet->ip + 10, fold(sum(packet->ip, (size_t)(packet->transport - packet->ip), 0)));
}

/* ---- captures (pcap with nanoseconds, raw IP) -------------------------------------------------------------------- */

static void capture_open(struct link *link, int side, const char *name) {
    char path[4096];
    const uint32_t header[] = {0xa1b23c4d, 4u << 16 | 2, 0, 0, 65535, 101};
    snprintf(path, sizeof path, "%s/%s.pcap", link->directory, name);
    link->sides[side].capture = fopen(path, "wb");
    if (!link->sides[side].capture || fwrite(header, sizeof header, 1, link->sides[side].capture) != 1)
        wire_die(path);
}

static void capture(struct side *side, const uint8_t *data, size_t len) {
    uint64_t now = wire_now();
    const uint32_t header[] = {(uint32_t)(now / SECOND), (uint32_t)(now % SECOND), (uint32_t)len, (uint32_t)len};
    if (fwrite(header, sizeof header, 1, side->capture) != 1 || fwrite(data, len, 1, side->capture) != 1)
        wire_die("capture");
}

/* ---- the NAT ----------------------------------------------------------------------------------------------------- */

static uint64_t rebinds_by_now(const struct link *link, uint64_t elapsed) {
    if (!link->rebind_first || elapsed < link->rebind_first)
        return 0;
    return 1 + (link->rebind_every ? (elapsed - link->rebind_first) / link->rebind_every : 0);
}

static struct mapping *find_mapping(struct link *link, bool outside, uint16_t port) {
    for (size_t i = 0; i < link->mapping_count; i++)
        if ((outside ? link->mappings[i].outside : link->mappings[i].inside) == port)
            return &link->mappings[i];
    return NULL;
}

/* Towards the server: the source as the NAT has it now. */
static void translate_up(struct link *link, const struct packet *packet) {
    uint16_t port = get16(packet->transport);
    struct mapping *mapping = find_mapping(link, false, port);
    if (!mapping) {
        if (link->mapping_count == MAX_MAPPINGS)
            return;
        mapping = &link->mappings[link->mapping_count++];
        *mapping = (struct mapping){port, link->rebinds ? ++link->next_port : port};
    }
    put16(packet->transport, mapping->outside);
    if (link->rebind_address)
        packet->source[packet->address_len - 1] =
            (uint8_t)(packet->source[packet->address_len - 1] + link->rebinds * 8);
}

/* Towards the client; false: there is no such mapping any more. */
static bool translate_down(struct link *link, const struct packet *packet) {
    struct mapping *mapping = find_mapping(link, true, get16(packet->transport + 2));
    uint8_t *last = &packet->destination[packet->address_len - 1];
    if (!mapping)
        return false;
    put16(packet->transport + 2, mapping->inside);
    if (link->rebind_address) {
        uint64_t moved = link->rebinds * 8;
        if (*last < moved || *last - moved == 0 || *last - moved > 7)
            return false; /* an address of before */
        *last = (uint8_t)(*last - moved);
    }
    return true;
}

/* ---- what becomes of a packet ------------------------------------------------------------------------------------ */

/* Whether chance hits this datagram: at most `burst` in a row. */
static bool hit(struct link *link, struct way *way) {
    bool chosen = wire_chance(&way->random, way->rate) && way->in_a_row < link->burst;
    way->in_a_row = chosen ? way->in_a_row + 1 : 0;
    return chosen;
}

static bool on_drop_list(const struct link *link, int direction) {
    for (size_t i = 0; direction == UP && i < link->drop_count; i++)
        if (link->drops[i] == link->ways[UP].counts.datagrams)
            return true;
    return false;
}

/* False: it is lost. */
static bool judge(struct link *link, int direction, struct packet *packet, uint64_t now) {
    struct way *way = &link->ways[direction];
    way->counts.datagrams++;
    way->counts.bytes += packet->transport_len - 8;
    if (!link->began)
        link->began = now;
    uint64_t elapsed = now - link->began, rebinds = rebinds_by_now(link, elapsed);
    bool black = link->off && elapsed % (link->on + link->off) >= link->on, chosen = hit(link, way);
    uint64_t where = wire_draw(&way->random), flip = wire_draw(&way->random) % 255 + 1;
    if (rebinds != link->rebinds) {
        link->rebinds = rebinds;
        link->mapping_count = 0;
    }
    if (black || on_drop_list(link, direction) || (chosen && !link->corrupt)) {
        way->counts.dropped++;
        return false;
    }
    if (chosen && packet->transport_len > 8) {
        packet->transport[8 + where % (packet->transport_len - 8)] ^= (uint8_t)flip;
        way->counts.corrupted++;
    }
    if (link->rebind_first) {
        if (direction == UP)
            translate_up(link, packet);
        else if (!translate_down(link, packet))
            return way->counts.dropped++, false;
    }
    if (chosen || link->rebind_first)
        set_checksums(packet);
    return true;
}

/* When it arrives, if the queue has room for it. */
static bool schedule(struct link *link, struct way *way, size_t len, uint64_t now, uint64_t *due) {
    if (!link->bandwidth) {
        *due = now + link->delay;
        return true;
    }
    for (; way->waiting && way->departing[way->first] <= now; way->waiting--)
        way->first = (way->first + 1) % link->queue;
    if (way->waiting == link->queue)
        return false;
    uint64_t begins = way->busy_until > now ? way->busy_until : now;
    way->busy_until = begins + (uint64_t)len * 8 * SECOND / link->bandwidth;
    way->departing[(way->first + way->waiting++) % link->queue] = begins; /* it waits until its first bit leaves */
    *due = way->busy_until + link->delay;
    return true;
}

static void take_in(struct link *link, int direction, uint8_t *data, size_t len) {
    struct way *way = &link->ways[direction];
    struct packet packet;
    uint64_t now = wire_now(), due;
    if (!parse(data, len, &packet) || (packet.protocol != IP_UDP && packet.protocol != IP_TCP)) {
        way->counts.other++; /* neighbour discovery, multicast listeners ... */
        return;
    }
    if (packet.protocol == IP_UDP) {
        capture(&link->sides[direction], data, len);
        if (!judge(link, direction, &packet, now))
            return;
    }
    if (schedule(link, way, len, now, &due))
        wire_put(&link->heap, (struct parcel){.direction = direction, .data = data, .len = len}, due);
    else
        way->counts.queue_full++;
}

static void hand_out(struct link *link) {
    struct parcel parcel;
    while (wire_take(&link->heap, wire_now(), &parcel)) {
        struct side *side = &link->sides[parcel.direction == UP ? DOWN : UP];
        struct packet packet;
        if (parse(parcel.data, parcel.len, &packet) && packet.protocol == IP_UDP)
            capture(side, parcel.data, parcel.len);
        if (write(side->tun, parcel.data, parcel.len) < 0 && errno != EAGAIN && errno != ENOBUFS && errno != EINVAL)
            wire_die("write");
        free(parcel.data);
    }
}

static void turn(struct link *link) {
    static uint8_t buffer[65536];
    struct pollfd fds[] = {{.fd = link->sides[UP].tun, .events = POLLIN},
                           {.fd = link->sides[DOWN].tun, .events = POLLIN}};
    struct timespec wait = wire_wait(&link->heap);
    sigset_t none;
    sigemptyset(&none); /* signals are let in while it waits, and only then: none is missed */
    int ready = ppoll(fds, 2, &wait, &none);
    if (ready < 0 && errno != EINTR)
        wire_die("poll");
    for (int d = 0; ready > 0 && d < DIRECTIONS; d++)
        for (int i = 0; fds[d].revents && i < 64; i++) {
            ssize_t len = read(link->sides[d].tun, buffer, sizeof buffer);
            if (len <= 0)
                break;
            take_in(link, d, buffer, (size_t)len);
        }
    hand_out(link);
}

/* ---- namespaces -------------------------------------------------------------------------------------------------- */

/* A namespace with a device that this process holds the other end of. Addresses end in 2 to 6: 2 is the one to use
 * first, the others are there to move to. */
static void make_side(struct side *side, unsigned network) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "link0");
    if (syscall(SYS_unshare, CLONE_NEWNET) != 0)
        wire_die("a network namespace (it needs root)");
    side->tun = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (side->tun < 0 || ioctl(side->tun, TUNSETIFF, &request) != 0)
        wire_die("/dev/net/tun");
    side->namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    FILE *ip = popen("ip -batch -", "w");
    if (side->namespace < 0 || !ip)
        wire_die("ip");
    fputs("link set lo up\n", ip);
    for (unsigned last = 2; last <= 6; last++)
        fprintf(ip, "addr add 10.0.%u.%u/32 dev link0\naddr add fd00:%u::%u/128 dev link0 nodad\n", network, last,
                network, last);
    fprintf(ip, "link set link0 mtu %d txqueuelen 20000 up\nroute add default dev link0 src 10.0.%u.2\n", MTU, network);
    fprintf(ip, "route add ::/0 dev link0 src fd00:%u::2\n", network);
    if (pclose(ip) != 0) {
        fputs("link: ip (iproute2) could not set up the namespace\n", stderr);
        exit(1);
    }
}

/* ---- arguments and report ---------------------------------------------------------------------------------------- */

static void parse_drops(struct link *link, const char *list) {
    for (char *end; *list && link->drop_count < MAX_DROPS; list = *end == ',' ? end + 1 : end)
        link->drops[link->drop_count++] = strtoull(list, &end, 10);
}

static void usage(const char *word) {
    fprintf(stderr, "link: %s: unknown, or its value is missing\n", word);
    exit(2);
}

static void parse_arguments(struct link *link, int argc, char **argv) {
    double milliseconds[5] = {0}, queue = 1000, burst = 3, bandwidth = 0, seed = 1;
    const struct {
        const char *name;
        double *value;
    } numbers[] = {{"--delay", &milliseconds[0]},
                   {"--on", &milliseconds[1]},
                   {"--off", &milliseconds[2]},
                   {"--rebind-first", &milliseconds[3]},
                   {"--rebind-every", &milliseconds[4]},
                   {"--queue", &queue},
                   {"--burst", &burst},
                   {"--bandwidth", &bandwidth},
                   {"--seed", &seed},
                   {"--rate-up", &link->ways[UP].rate},
                   {"--rate-down", &link->ways[DOWN].rate}};
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i];
        size_t n = 0;
        if (!strcmp(name, "--corrupt") || !strcmp(name, "--rebind-address")) {
            *(name[2] == 'c' ? &link->corrupt : &link->rebind_address) = true;
            continue;
        }
        if (++i == argc)
            usage(name);
        while (n < sizeof numbers / sizeof *numbers && strcmp(name, numbers[n].name) != 0)
            n++;
        if (n < sizeof numbers / sizeof *numbers)
            *numbers[n].value = wire_number("link", name, argv[i]);
        else if (!strcmp(name, "--capture"))
            link->directory = argv[i];
        else if (!strcmp(name, "--drop-up"))
            parse_drops(link, argv[i]);
        else
            usage(name);
    }
    uint64_t *times[] = {&link->delay, &link->on, &link->off, &link->rebind_first, &link->rebind_every};
    for (size_t i = 0; i < 5; i++)
        *times[i] = (uint64_t)(milliseconds[i] * (double)MS);
    link->queue = (size_t)queue;
    link->burst = (unsigned)burst;
    link->bandwidth = (uint64_t)(bandwidth * 1000);
    link->seed = (uint64_t)seed;
    if (!link->directory || link->queue == 0 || link->queue > MAX_QUEUE)
        usage(link->directory ? "--queue" : "--capture");
}

static void report(const struct link *link) {
    static const char *const names[] = {"up", "down"};
    printf("{\"rebinds\": %llu", (unsigned long long)link->rebinds);
    for (int d = 0; d < DIRECTIONS; d++) {
        const struct counts *c = &link->ways[d].counts;
        printf(", \"%s\": {\"datagrams\": %llu, \"bytes\": %llu, \"dropped\": %llu, \"corrupted\": %llu, "
               "\"queue_full\": %llu, \"other\": %llu}",
               names[d], (unsigned long long)c->datagrams, (unsigned long long)c->bytes, (unsigned long long)c->dropped,
               (unsigned long long)c->corrupted, (unsigned long long)c->queue_full, (unsigned long long)c->other);
    }
    puts("}");
}

int main(int argc, char **argv) {
    static struct link link = {.next_port = 20000};
    parse_arguments(&link, argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would end it */

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    make_side(&link.sides[UP], 1);
    make_side(&link.sides[DOWN], 2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    capture_open(&link, UP, "client");
    capture_open(&link, DOWN, "server");
    for (int d = 0; d < DIRECTIONS; d++) {
        link.ways[d].random = link.seed * 1000003 + (uint64_t)d;
        link.ways[d].departing = calloc(link.queue, sizeof(uint64_t));
        if (!link.ways[d].departing)
            wire_die("no memory");
    }
    printf("ready %d %d\n", link.sides[UP].namespace, link.sides[DOWN].namespace);
    fflush(stdout);
    while (!stopped)
        turn(&link);
    hand_out(&link);
    for (int d = 0; d < DIRECTIONS; d++)
        if (fclose(link.sides[d].capture) != 0)
            wire_die("capture");
    report(&link);
    return 0;
}
