/* world.c - the simulated network. Time jumps from one thing that must happen to the next: a datagram arrives, a
 * deadline passes, an application wakes. At every instant each node concerned has one turn, in the order an engine has
 * it: input, timers, events, settle, output.
 *
 * Invariant: the clock never goes back, and nothing in here asks the machine for time, randomness or threads.
 */
#include "checker.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- dice ---- */

uint64_t sim_roll(struct sim_dice *dice) {
    uint64_t z = dice->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

bool sim_chance(struct sim_dice *dice, double probability) {
    return probability > 0 && (double)(sim_roll(dice) >> 11) < probability * 9007199254740992.0;
}

static void dice_fill(void *user, uint8_t *out, size_t len) {
    struct sim_dice *dice = user;
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(sim_roll(dice) >> 24);
}

void sim_fail(struct sim_world *world, const char *format, ...) {
    if (world->failure)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(world->failure_text, sizeof world->failure_text, format, args);
    va_end(args);
    world->failure = world->failure_text;
}

/* ---- datagrams under way: a binary heap ---- */

struct sim_flight {
    base_time at;
    uint64_t order; /* ties arrive in the order of sending */
    unsigned to;
    struct quic_addr local, remote;
    uint8_t ecn;
    bool intact;
    uint32_t len, tag; /* tag: the checker's */
    uint8_t *data;
};

static bool flight_before(const struct sim_flight *a, const struct sim_flight *b) {
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void flight_swap(struct sim_flight *a, struct sim_flight *b) {
    struct sim_flight t = *a;
    *a = *b;
    *b = t;
}

static void flight_push(struct sim_world *world, struct sim_flight flight) {
    if (world->flight_count == world->flight_capacity) {
        world->flight_capacity = world->flight_capacity ? 2 * world->flight_capacity : 256;
        world->flights = realloc(world->flights, world->flight_capacity * sizeof *world->flights);
    }
    flight.order = world->flight_order++;
    uint32_t i = world->flight_count++;
    world->flights[i] = flight;
    for (; i && flight_before(&world->flights[i], &world->flights[(i - 1) / 2]); i = (i - 1) / 2)
        flight_swap(&world->flights[i], &world->flights[(i - 1) / 2]);
}

static struct sim_flight flight_pop(struct sim_world *world) {
    struct sim_flight first = world->flights[0];
    world->flights[0] = world->flights[--world->flight_count];
    for (uint32_t i = 0;;) {
        uint32_t least = i, child = 2 * i + 1;
        for (uint32_t c = child; c < child + 2 && c < world->flight_count; c++)
            if (flight_before(&world->flights[c], &world->flights[least]))
                least = c;
        if (least == i)
            return first;
        flight_swap(&world->flights[i], &world->flights[least]);
        i = least;
    }
}

/* ---- links ---- */

/* When the last bit of a datagram has passed the line; BASE_NEVER: the queue was full. May change its mark. */
static base_time link_pass(struct sim_link *link, size_t len, base_time now, uint8_t *ecn) {
    if (link->remark && *ecn)
        *ecn = link->remark;
    if (!link->bits_per_second)
        return now + link->delay;
    base_time start = base_time_max(now, link->line_free);
    if (start - now > (link->queue ? link->queue : 100 * BASE_MS))
        return BASE_NEVER;
    if (link->mark_after && *ecn && start - now > link->mark_after)
        *ecn = QUIC_CE;
    link->line_free = start + (base_time)(len + 28) * 8 * BASE_SEC / link->bits_per_second;
    return link->line_free + link->delay;
}

static void link_deliver(struct sim_world *world, struct sim_link *link, struct sim_flight flight, const uint8_t *data,
                         base_time at) {
    struct sim_dice *dice = &world->dice;
    flight.at = at + (link->jitter ? sim_roll(dice) % link->jitter : 0);
    if (sim_chance(dice, link->reorder))
        flight.at += 1 + sim_roll(dice) % (link->reorder_delay ? link->reorder_delay : 2 * link->delay + BASE_MS);
    flight.data = malloc(flight.len);
    memcpy(flight.data, data, flight.len);
    flight.intact = !sim_chance(dice, link->corrupt);
    /* nothing but UDP's checksum protects Version Negotiation: spoilt ones vanish */
    if (!flight.intact && flight.len > 5 && (data[0] & 0x80) && !base_load_u32(data + 1)) {
        free(flight.data);
        return;
    }
    if (!flight.intact) {
        world->tampered |= (data[0] & 0x80) != 0; /* a server may answer a spoilt Initial that it cannot open */
        flight.data[sim_roll(dice) % flight.len] ^= (uint8_t)(1u << sim_roll(dice) % 8);
    }
    link->delivered++;
    flight_push(world, flight);
}

static void link_send(struct sim_world *world, struct sim_node *from, struct sim_node *to, struct sim_flight flight,
                      const uint8_t *data) {
    struct sim_link *link = &from->links[to->index];
    link->sent++;
    link->bytes += flight.len;
    struct sim_datagram datagram = {from, to, flight.remote, flight.local, data, flight.len, 0, flight.ecn};
    flight.tag = datagram.tag = world->unchecked ? 0 : checker_on_sent(world->checker, &datagram);
    bool pass = !world->filter || world->filter(world, &datagram);
    if (!pass || link->cut || (link->drop_marked && flight.ecn) || (link->mtu && flight.len > link->mtu) ||
        sim_chance(&world->dice, link->loss)) {
        link->lost++;
        return;
    }
    base_time now = from->cpu.on ? from->cpu.busy_until : world->now;
    base_time at = link_pass(link, flight.len, now, &flight.ecn);
    if (at == BASE_NEVER) {
        link->lost++;
        return;
    }
    if (link->bleach)
        flight.ecn = QUIC_NOT_ECT;
    link_deliver(world, link, flight, data, at);
    if (sim_chance(&world->dice, link->duplicate))
        link_deliver(world, link, flight, data, at + sim_roll(&world->dice) % (link->delay + BASE_MS));
}

/* ---- nodes ---- */

static struct quic_addr node_addr(unsigned index) {
    return (struct quic_addr){.family = 4, .ip = {10, 0, 0, (uint8_t)(index + 1)}, .port = 4433};
}

static struct sim_node *node_at(struct sim_world *world, const struct quic_addr *addr) {
    for (unsigned i = 0; i < world->node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        const struct quic_addr *own = node->seen_as.family ? &node->seen_as : &node->socket.local;
        if (node->alive &&
            (quic_addr_equal(own, addr) || (node->other.local.family && quic_addr_equal(&node->other.local, addr))))
            return node;
    }
    return NULL;
}

/* An allocator that counts, and fails when it is told to. */
static bool node_fails(struct sim_node *node) {
    uint64_t number = ++node->allocations;
    return node->fail_at && (node->fail_on ? number >= node->fail_at : number == node->fail_at);
}

static void *node_alloc(void *user, size_t size) { return node_fails(user) ? NULL : malloc(size); }

static void *node_resize(void *user, void *block, size_t from, size_t size) {
    return size > from && node_fails(user) ? NULL : realloc(block, size);
}

static void node_release(void *user, void *block, size_t size) {
    (void)user;
    memset(block, 0xdd, size); /* whoever still looks sees nonsense */
    free(block);
}

static void node_start(struct sim_node *node) {
    base_slots_init(&node->slots, &node->mem, (uint16_t)(node->index + 1));
    base_events_init(&node->events);
    base_bufpool_init(&node->bufs, &node->mem, 16, 0);
    node->train = malloc(QUIC_TRAIN_SIZE);
    node->alive = true;
    struct quic_endpoint_open open = {.mem = &node->mem,
                                      .random = {dice_fill, &node->dice},
                                      .slots = &node->slots,
                                      .events = &node->events,
                                      .bufs = &node->bufs,
                                      .engine = (uint8_t)node->index,
                                      .fleet_secret = node->fleet_secret};
    if (!quic_endpoint_init(&node->endpoint, &open, node->world->now))
        return;
    node->alive = false;
    base_slots_clear(&node->slots);
    free(node->train);
    if (!node->fail_at)
        sim_fail(node->world, "node %u: endpoint", node->index);
}

struct sim_node *sim_node_add(struct sim_world *world, const struct sim_app *app, uint64_t limit) {
    struct sim_node *node = &world->nodes[world->node_count];
    *node =
        (struct sim_node){.world = world, .index = world->node_count++, .app = app, .wake = BASE_NEVER, .alive = true};
    node->dice.state = sim_roll(&world->dice);
    dice_fill(&node->dice, node->fleet_secret, sizeof node->fleet_secret);
    base_mem_init(&node->mem, limit);
    node->mem.alloc = node_alloc;
    node->mem.resize = node_resize;
    node->mem.release = node_release;
    node->mem.user = node;
    if (world->fail_at && world->fail_node == node->index) {
        node->fail_at = world->fail_at;
        node->fail_on = world->fail_on;
    }
    node->socket.local = node_addr(node->index);
    node_start(node);
    return node;
}

/* What applications have hung on streams that will never be told to be closed: always from malloc. */
static void node_forget_streams(struct sim_node *node) {
    struct base_list *conns = &node->endpoint.conns;
    for (struct base_node *n = base_list_first(conns); n; n = base_list_next(conns, n)) {
        struct base_list *all = &BASE_CONTAINER(n, struct quic_conn, all)->streams.all;
        for (struct base_node *m = base_list_first(all); m; m = base_list_next(all, m)) {
            struct quic_stream *stream = BASE_CONTAINER(m, struct quic_stream, all);
            free(stream->user);
            stream->user = NULL;
        }
    }
}

static struct sim_flight *cpu_at(struct sim_cpu *cpu, uint32_t place) {
    return &cpu->socket[(cpu->head + place) % SIM_CPU_SOCKET];
}

static void cpu_clear(struct sim_cpu *cpu) {
    for (uint32_t i = 0; i < cpu->count; i++)
        free(cpu_at(cpu, i)->data);
    free(cpu->socket);
    *cpu = (struct sim_cpu){0};
}

void sim_node_cpu(struct sim_node *node) {
    node->cpu = (struct sim_cpu){
        .on = true, .busy_until = node->world->now, .socket = calloc(SIM_CPU_SOCKET, sizeof(struct sim_flight))};
}

void sim_node_remove(struct sim_node *node) {
    if (node->cpu.on)
        cpu_clear(&node->cpu);
    if (!node->alive)
        return;
    node_forget_streams(node);
    node->alive = false;
    quic_endpoint_clear(&node->endpoint);
    base_bufpool_clear(&node->bufs);
    base_slots_clear(&node->slots);
    free(node->train);
    if (node->mem.used)
        sim_fail(node->world, "node %u leaks %llu bytes", node->index, (unsigned long long)node->mem.used);
}

void sim_node_restart(struct sim_node *node) {
    sim_node_remove(node);
    node->listener.connections = 0;
    node_start(node);
}

static void inject(struct sim_node *to, const struct quic_addr *src, const uint8_t *data, size_t len, base_time delay,
                   uint32_t tag, bool intact) {
    struct sim_flight flight = {.at = to->world->now + delay,
                                .to = to->index,
                                .local = to->socket.local,
                                .remote = *src,
                                .tag = tag,
                                .intact = intact,
                                .len = (uint32_t)len,
                                .data = malloc(len)};
    to->world->tampered |= !intact;
    memcpy(flight.data, data, len);
    flight_push(to->world, flight);
}

void sim_inject(struct sim_node *to, const struct quic_addr *src, const uint8_t *data, size_t len, base_time delay) {
    uint32_t tag = checker_tag_of(to->world->checker, data, len);
    inject(to, src, data, len, delay, tag, tag != 0);
}

void sim_inject_changed(struct sim_node *to, const struct quic_addr *src, const uint8_t *data, size_t len,
                        base_time delay, const struct sim_datagram *of) {
    inject(to, src, data, len, delay, of->tag, false);
}

void sim_join(struct sim_node *a, struct sim_node *b, const struct sim_link *link) {
    a->links[b->index] = *link;
    b->links[a->index] = *link;
}

void sim_listen(struct sim_node *node, const struct quic_config *config) {
    node->listener = (struct quic_listener){.config = config, .user = node};
    node->socket.listener = &node->listener;
}

struct quic_conn *sim_connect(struct sim_node *from, struct sim_node *to, const struct quic_config *config,
                              void *user) {
    struct quic_connect connect = {.config = config,
                                   .socket = &from->socket,
                                   .local = from->socket.local,
                                   .remote = to->socket.local,
                                   .server_name = "sim.test",
                                   .user = user};
    struct quic_conn *conn = NULL;
    struct crypto_error why = {{0}};
    if (!from->alive)
        return NULL;
    int result = quic_conn_connect(&from->endpoint, &connect, from->world->now, &conn, &why);
    if (result && !from->fail_at)
        sim_fail(from->world, "connect: %d %s", result, why.text);
    return conn;
}

/* ---- a node's turn ---- */

static void node_input(struct sim_node *node, const struct sim_flight *flight) {
    struct base_buf *buf = base_buf_get(&node->bufs);
    if (!buf)
        return; /* as a full socket buffer would */
    memcpy(buf->data, flight->data, flight->len);
    if (!node->world->unchecked)
        checker_on_arrival(node->world->checker, node, &flight->remote, flight->data, flight->len, flight->tag,
                           flight->intact);
    struct quic_socket *socket = quic_addr_equal(&flight->local, &node->other.local) ? &node->other : &node->socket;
    struct quic_datagram datagram = {buf, buf->data, flight->len, socket, socket->local, flight->remote, flight->ecn};
    quic_endpoint_input(&node->endpoint, &datagram, 1, node->world->now);
    base_buf_unref(buf);
}

/* Honest peers stay far below what ends a connection, whatever the network does to them, and strangers add nothing. */
double sim_glitch_peak;

static void node_check_glitches(struct sim_node *node, const struct quic_conn *conn) {
    uint64_t burst = conn->config->options.glitch_burst;
    double share = burst ? (double)conn->glitches.peak / (double)burst : 0;
    if (node->world->hostile)
        return;
    if (share > sim_glitch_peak)
        sim_glitch_peak = share;
    if (share >= 0.1)
        sim_fail(node->world, "node %u: its peer came to %u of %llu points for what is to no use", node->index,
                 conn->glitches.peak, (unsigned long long)burst);
}

static void node_dispatch(struct sim_node *node) {
    uint32_t bits;
    struct base_event *event;
    while ((event = base_events_pop(&node->events, &bits))) {
        if (base_handle_kind(event->handle) == QUIC_SLOT_STREAM) {
            struct quic_stream *stream = BASE_CONTAINER(event, struct quic_stream, event);
            if (node->app->on_stream)
                node->app->on_stream(node, stream, bits);
            if (bits & QUIC_STREAM_EV_CLOSED)
                quic_stream_told_closed(stream);
            continue;
        }
        struct quic_conn *conn = quic_conn_of(&node->slots, event->handle);
        if (event == &conn->closed_event) {
            node_check_glitches(node, conn);
            if (node->app->on_closed)
                node->app->on_closed(node, conn);
            quic_endpoint_forget(&node->endpoint, conn);
        } else if (conn && node->app->on_conn) {
            node->app->on_conn(node, conn, bits);
        }
    }
}

static void node_output(struct sim_node *node) {
    struct sim_world *world = node->world;
    struct quic_train train = {.data = node->train, .max_segments = QUIC_TRAIN_SEGMENTS};
    while (quic_endpoint_output(&node->endpoint, &train, world->now)) {
        struct sim_node *to = node_at(world, &train.remote);
        for (size_t at = 0; at < train.len; at += train.segment) {
            size_t len = train.len - at < train.segment ? train.len - at : train.segment;
            node->cpu.busy_until += SIM_CPU_DATAGRAM;
            struct sim_flight flight = {.to = to ? to->index : 0,
                                        .local = train.remote,
                                        .remote = train.socket->local,
                                        .ecn = train.ecn,
                                        .len = (uint32_t)len};
            if (node->seen_as.family && train.socket == &node->socket)
                flight.remote = node->seen_as;
            if (to) {
                link_send(world, node, to, flight, train.data + at);
                continue;
            }
            node->strays++;
            node->stray_bytes += len;
            const struct sim_datagram lost = {node,       NULL, flight.remote, flight.local, train.data + at,
                                              flight.len, 0,    flight.ecn};
            if (!world->unchecked)
                checker_on_sent(world->checker, &lost); /* nobody has that address (any more) */
        }
    }
}

static void node_turn_begin(struct sim_node *node) {
    base_time now = node->world->now;
    quic_endpoint_tick(&node->endpoint, now);
    node_dispatch(node);
    if (node->wake <= now && node->app->on_timer) {
        node->wake = BASE_NEVER;
        node->app->on_timer(node);
    }
    node_dispatch(node);
    quic_endpoint_settle(&node->endpoint);
}

static void node_turn(struct sim_node *node) {
    node_turn_begin(node);
    node_output(node);
}

/* ---- the world ---- */

void sim_world_init(struct sim_world *world, uint64_t seed) {
    *world = (struct sim_world){.now = BASE_SEC, .dice = {seed}};
    uint8_t tls_seed[32];
    dice_fill(&world->dice, tls_seed, sizeof tls_seed);
    crypto_deterministic(tls_seed);
    world->checker = checker_new(world);
}

void sim_world_clear(struct sim_world *world) {
    for (unsigned i = 0; i < world->node_count; i++)
        sim_node_remove(&world->nodes[i]);
    for (uint32_t i = 0; i < world->flight_count; i++)
        free(world->flights[i].data);
    free(world->flights);
    checker_free(world->checker);
    crypto_deterministic(NULL);
}

/* What arrives at a node with a processor waits in its socket. */
static void cpu_hold(struct sim_node *node, const struct sim_flight *flight) {
    struct sim_cpu *cpu = &node->cpu;
    if (cpu->count == SIM_CPU_SOCKET) {
        cpu->overflowed++;
        free(flight->data);
        return;
    }
    *cpu_at(cpu, cpu->count++) = *flight;
}

/* A turn, and how long it takes; its datagrams leave as the work goes on. */
static void cpu_turn(struct sim_node *node) {
    struct sim_world *world = node->world;
    struct sim_cpu *cpu = &node->cpu;
    if (cpu->busy_until > world->now)
        return;
    uint64_t accepted = node->endpoint.stats.connections_accepted, allocations = node->allocations;
    unsigned taken = 0;
    for (; taken < SIM_CPU_TURN && cpu->count; taken++) {
        node_input(node, cpu_at(cpu, 0));
        free(cpu_at(cpu, 0)->data);
        cpu->head = (cpu->head + 1) % SIM_CPU_SOCKET;
        cpu->count--;
    }
    node_turn_begin(node);
    cpu->busy_until = world->now + taken * SIM_CPU_DATAGRAM +
                      (node->endpoint.stats.connections_accepted - accepted) * SIM_CPU_HANDSHAKE +
                      (node->allocations - allocations) * SIM_CPU_ALLOCATION;
    node_output(node);
    cpu->worked += cpu->busy_until - world->now;
}

static base_time world_next(struct sim_world *world) {
    base_time next = world->flight_count ? world->flights[0].at : BASE_NEVER;
    for (unsigned i = 0; i < world->node_count; i++) {
        struct sim_node *node = &world->nodes[i];
        if (!node->alive)
            continue;
        base_time at = base_time_min(node->wake, quic_endpoint_deadline(&node->endpoint));
        if (node->cpu.on)
            at = base_time_max(node->cpu.count ? 0 : at, node->cpu.busy_until);
        next = base_time_min(next, at);
    }
    return next;
}

/* Everything that is due at this instant. */
static void world_instant(struct sim_world *world) {
    while (world->flight_count && world->flights[0].at <= world->now) {
        struct sim_flight flight = flight_pop(world);
        struct sim_node *node = &world->nodes[flight.to];
        if (node->alive && node->cpu.on) {
            cpu_hold(node, &flight);
            continue;
        }
        if (node->alive)
            node_input(node, &flight);
        free(flight.data);
    }
    for (unsigned i = 0; i < world->node_count; i++)
        if (world->nodes[i].alive && world->nodes[i].cpu.on)
            cpu_turn(&world->nodes[i]);
        else if (world->nodes[i].alive)
            node_turn(&world->nodes[i]);
    world->turns++;
}

/* Which node, connection and timer keep the clock from moving. */
static void fail_still(struct sim_world *world) {
    for (unsigned i = 0; i < world->node_count; i++) {
        struct base_list *all = &world->nodes[i].endpoint.conns;
        for (struct base_node *n = world->nodes[i].alive ? base_list_first(all) : NULL; n; n = base_list_next(all, n)) {
            const struct quic_conn *conn = BASE_CONTAINER(n, struct quic_conn, all);
            for (unsigned timer = 0; timer < QUIC_TIMERS; timer++)
                if (conn->deadlines[timer] <= world->now)
                    sim_fail(world, "the clock stands still: node %u, timer %u is due again and again", i, timer);
            if (base_node_linked(&conn->dirty))
                sim_fail(world, "the clock stands still: a connection of node %u is always dirty", i);
        }
    }
    sim_fail(world, "the clock stands still: something is always due");
}

bool sim_run(struct sim_world *world, base_time until, bool (*done)(struct sim_world *world)) {
    unsigned still = 0;
    while (!world->failure) {
        world_instant(world);
        if (done && done(world))
            return true;
        base_time next = world_next(world);
        if (next == BASE_NEVER || next > until) {
            world->now = next == BASE_NEVER ? world->now : until;
            return false;
        }
        if (next > world->now && !world->unchecked)
            checker_on_idle(world->checker, next);
        still = next <= world->now ? still + 1 : 0;
        if (still > 10000)
            fail_still(world);
        world->now = base_time_max(world->now, next);
    }
    return false;
}

/* ---- configurations ---- */

static void config_release(struct quic_config *config) {
    crypto_tls_config_unref(config->tls);
    free(config);
}

static struct { char cert[2048], key[1024], large_key[1024], large[24000]; } identity;

#define LARGE_NAMES 40u
#define LARGE_CHAIN 6u

/* The chain of the large one: a leaf of many names, a few times over. Nobody verifies it; what counts is its size. */
static bool prepare_large(struct crypto_error *why) {
    static char text[LARGE_NAMES][48], cert[8192];
    const char *names[LARGE_NAMES];
    for (unsigned i = 0; i < LARGE_NAMES; i++) {
        snprintf(text[i], sizeof text[i], "a-name-that-takes-room-%02u.sim.test", i);
        names[i] = text[i];
    }
    if (!crypto_selfsigned(names, LARGE_NAMES, 3650, cert, sizeof cert, identity.large_key, sizeof identity.large_key,
                           why))
        return false;
    for (unsigned i = 0; i < LARGE_CHAIN && strlen(identity.large) + strlen(cert) < sizeof identity.large; i++)
        strcat(identity.large, cert);
    return true;
}

bool sim_prepare(void) {
    static const char *const names[] = {"sim.test"};
    static const uint8_t seed[32] = "weft";
    struct crypto_error why = {{0}};
    crypto_deterministic(seed);
    bool ok = crypto_selfsigned(names, 1, 3650, identity.cert, sizeof identity.cert, identity.key, sizeof identity.key,
                                &why) &&
              prepare_large(&why);
    crypto_deterministic(NULL);
    if (!ok)
        fprintf(stderr, "sim: %s\n", why.text);
    return ok;
}

static const char *settings[8]; /* NAME=VALUE */
static unsigned setting_count;

/* The settings hold for servers, whatever the scenario says. */
static bool apply_settings(struct options *options) {
    char name[64], why[200];
    for (unsigned i = 0; i < setting_count; i++) {
        const char *value = strchr(settings[i], '=');
        if (!value || (size_t)(value - settings[i]) >= sizeof name) {
            fprintf(stderr, "sim: \"%s\" is not NAME=VALUE\n", settings[i]);
            return false;
        }
        memcpy(name, settings[i], (size_t)(value - settings[i]));
        name[value - settings[i]] = 0;
        if (options_set_text(options, name, value + 1, why, sizeof why)) {
            fprintf(stderr, "sim: %s\n", why);
            return false;
        }
    }
    return true;
}

bool sim_set(const char *setting) {
    struct options options;
    if (setting_count == sizeof settings / sizeof *settings)
        return false;
    settings[setting_count++] = setting;
    options_init(&options);
    return apply_settings(&options);
}

static struct quic_config *config_new(enum crypto_role role, const struct options *options, const char *cert,
                                      const char *key) {
    struct crypto_error why = {{0}};
    struct quic_config *config = calloc(1, sizeof *config);
    config->role = role;
    config->refs = 1;
    config->release = config_release;
    if (options)
        config->options = *options;
    else
        options_init(&config->options);
    if (role == CRYPTO_SERVER)
        apply_settings(&config->options);
    config->tls = crypto_tls_config_new(role, &why);
    bool ok = config->tls && crypto_tls_config_alpn(config->tls, (const uint8_t *)"\x03sim", 4, &why);
    if (role == CRYPTO_SERVER)
        ok = ok && crypto_tls_config_certificate(config->tls, CRYPTO_PEM, (const uint8_t *)cert, strlen(cert),
                                                 (const uint8_t *)key, strlen(key), &why);
    else
        crypto_tls_config_verify(config->tls, false);
    static const uint8_t ticket_secret[32] = "tickets of the simulation";
    if (role == CRYPTO_SERVER && config->options.session_tickets)
        ok = ok && crypto_tls_config_tickets(config->tls, ticket_secret, 3600, &why);
    if (config->options.early_data)
        crypto_tls_config_early_data(config->tls, true);
    crypto_tls_config_keylog(config->tls, checker_keylog, NULL);
    config->qlog = sim_qlog;
    if (!ok) {
        fprintf(stderr, "sim: %s\n", why.text);
        abort();
    }
    return config;
}

struct quic_config *sim_config(enum crypto_role role, const struct options *options) {
    return config_new(role, options, identity.cert, identity.key);
}
struct quic_config *sim_config_large(const struct options *options) {
    return config_new(CRYPTO_SERVER, options, identity.large, identity.large_key);
}
void sim_config_free(struct quic_config *config) { quic_config_unref(config); }
