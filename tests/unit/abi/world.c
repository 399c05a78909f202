/* world.c - see world.h. */
#include "world.h"

const weft_addr world_client_addr = {.family = 4, .port = 5000, .ip = {192, 0, 2, 1}};
const weft_addr world_server_addr = {.family = 4, .port = 443, .ip = {192, 0, 2, 2}};

/* ---- what is injected ---- */

static uint64_t on_clock(void *user) { return ((struct world *)user)->now; }

static uint64_t on_wall_clock(void *user) { return UINT64_C(1900000000000000000) + ((struct world *)user)->now; }

static bool fails(struct world_memory *memory) { return ++memory->calls == memory->fail_at; }

static void *on_alloc(void *user, size_t size) {
    struct world_memory *memory = user;
    if (fails(memory))
        return NULL;
    memory->blocks++;
    return malloc(size);
}

static void *on_resize(void *user, void *block, size_t from, size_t size) {
    struct world_memory *memory = user;
    (void)from;
    if (fails(memory))
        return NULL;
    memory->blocks += block == NULL;
    return realloc(block, size);
}

static void on_release(void *user, void *block, size_t size) {
    struct world_memory *memory = user;
    (void)size;
    if (block)
        memory->blocks--;
    free(block);
}

static void on_events(void *user, const weft_event *events, uint32_t count) {
    struct world_log *log = user;
    for (uint32_t i = 0; i < count && log->count < WORLD_EVENTS; i++)
        log->events[log->count++] = events[i];
}

/* ---- opening ---- */

weft_engine world_engine(struct world *world, struct world_log *log) {
    weft_allocator allocator = {sizeof allocator, 0, on_alloc, on_resize, on_release, &world->memory};
    weft_engine_params params = {.size = sizeof params,
                                 .flags = WEFT_ENGINE_EXTERNAL,
                                 .allocator = &allocator,
                                 .clock = on_clock,
                                 .wall_clock = on_wall_clock,
                                 .clock_user = world,
                                 .on_events = log ? on_events : NULL,
                                 .events_user = log};
    weft_engine engine = {0};
    weft_engine_new(&params, &engine);
    return engine;
}

void world_configs(struct world *world) {
    uint8_t sha256[32];
    ck_assert_int_eq(weft_config_new(WEFT_SERVER, &world->server_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(world->server_config, "echo"), 0);
    ck_assert_int_eq(weft_config_self_signed(world->server_config, "example.test", 10), 0);
    ck_assert_int_eq(weft_config_fingerprint(world->server_config, sha256), 0);
    ck_assert_int_eq(weft_config_new(WEFT_CLIENT, &world->client_config), 0);
    ck_assert_int_eq(weft_config_set_alpn(world->client_config, "echo"), 0);
    ck_assert_int_eq(weft_config_add_pin(world->client_config, sha256), 0);
}

void world_open(struct world *world) {
    memset(world, 0, sizeof *world);
    world->now = 1000000000;
    world_configs(world);
    world->client = world_engine(world, &world->client_log);
    world->server = world_engine(world, &world->server_log);
    ck_assert_int_eq(weft_listen(world->server, world->server_config, "192.0.2.2:443", NULL, &world->listener), 0);
}

void world_close(struct world *world) {
    weft_engine_free(world->client);
    weft_engine_free(world->server);
    weft_config_free(world->client_config);
    weft_config_free(world->server_config);
    ck_assert_int_eq(world->memory.blocks, 0);
}

/* ---- running ---- */

/* All that `from` has to say is given to `to`. */
static bool carry(weft_engine from, const weft_addr *from_addr, weft_engine to) {
    static uint8_t bytes[WEFT_TRAIN_SIZE];
    bool any = false;
    for (;;) {
        weft_datagram datagram = {.data = bytes, .segment = WEFT_TRAIN_MAX};
        int32_t got = weft_engine_output(from, &datagram);
        if (got != 1)
            return any;
        weft_addr source = *from_addr;
        if (datagram.local.port)
            source.port = datagram.local.port;
        datagram.local = datagram.remote; /* as the other side sees it */
        datagram.remote = source;
        any = true;
        if (to.id)
            weft_engine_input(to, &datagram, 1);
    }
}

bool world_step(struct world *world) {
    bool any = weft_engine_turn(world->client) == 1;
    any = carry(world->client, &world_client_addr, world->server) || any;
    any = weft_engine_turn(world->server) == 1 || any;
    return carry(world->server, &world_server_addr, world->client) || any;
}

void world_run(struct world *world, uint64_t until) {
    while (world->now < until) {
        for (int i = 0; i < 10000 && world_step(world); i++)
            continue;
        uint64_t client = UINT64_MAX, server = UINT64_MAX;
        weft_engine_deadline(world->client, &client);
        weft_engine_deadline(world->server, &server);
        uint64_t wait = client < server ? client : server, left = until - world->now;
        wait = wait ? wait : 1000;
        world->now += wait < left ? wait : left;
    }
    for (int i = 0; i < 100 && world_step(world); i++)
        continue;
}

weft_conn world_connect(struct world *world, const weft_connect_params *params) {
    weft_conn conn = {0};
    weft_connect_params named = {.size = sizeof named, .server_name = "example.test"};
    ck_assert_int_eq(
        weft_connect(world->client, world->client_config, "192.0.2.2", 443, params ? params : &named, &conn), 0);
    for (int i = 0; i < 20; i++)
        world_step(world);
    return conn;
}

/* ---- looking ---- */

const weft_event *world_find(const struct world_log *log, uint32_t type, uint32_t *from) {
    uint32_t at = from ? *from : 0;
    for (; at < log->count; at++)
        if (log->events[at].type == type) {
            if (from)
                *from = at + 1;
            return &log->events[at];
        }
    return NULL;
}

uint32_t world_count(const struct world_log *log, uint32_t type) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < log->count; i++)
        count += log->events[i].type == type;
    return count;
}
