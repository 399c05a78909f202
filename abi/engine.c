/* engine.c - engines: how they begin, turn, hear from other threads, and end.
 *
 * An engine is a loop (core/io), a memory budget, and lists of what the application has made there. It knows when it
 * is in a turn, and whose libuv loop it runs on. It does not know what an event is (dispatch.c).
 *
 * The end is the delicate part. It is allowed in a callback, that is in the middle of a turn, whose rest still uses
 * the engine. So weft_engine_free takes the engine out of the registry, which ends all handles at once, and, in a
 * turn, marks it: the dispatcher stops, and whoever drives the turn (weft_engine_run, weft_engine_turn, or a timer on
 * the caller's loop) does the rest when the turn is over.
 *
 * The invariant that matters: a doomed engine calls nobody. And memory of an engine is freed exactly once, by
 * engine_end, when no turn is on the stack.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "abi.h"

#define BATCH_BYTES (ABI_BATCH * sizeof(weft_event))

/* ---- small things ---- */

void abi_log(struct abi_engine *engine, uint32_t level, const char *format, ...) {
    if (!engine->log)
        return;
    char text[256];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    abi_enter();
    engine->log(engine->log_user, level, text);
    abi_leave();
}

int32_t abi_engine_fail(struct abi_engine *engine, int32_t error, const struct crypto_error *why) {
    snprintf(engine->error.text, sizeof engine->error.text, "%s", why->text[0] ? why->text : weft_strerror(error));
    abi_log(engine, WEFT_LOG_WARNING, "%s", engine->error.text);
    return error;
}

/* ---- what the application lends: asked in the midst of things ---- */

static void on_random(void *user, uint8_t *out, size_t len) {
    struct abi_engine *engine = (struct abi_engine *)user;
    abi_enter();
    engine->random(engine->random_user, out, len);
    abi_leave();
}

static uint64_t on_clock(void *user) {
    struct abi_engine *engine = (struct abi_engine *)user;
    abi_enter();
    uint64_t now = engine->clock(engine->clock_user);
    abi_leave();
    return now;
}

static uint64_t on_wall_clock(void *user) {
    struct abi_engine *engine = (struct abi_engine *)user;
    abi_enter();
    uint64_t now = engine->wall_clock(engine->clock_user);
    abi_leave();
    return now;
}

static void *on_alloc(void *user, size_t size) {
    const weft_allocator *allocator = (const weft_allocator *)user;
    abi_enter();
    void *block = allocator->alloc(allocator->user, size);
    abi_leave();
    return block;
}

static void *on_resize(void *user, void *block, size_t from, size_t size) {
    const weft_allocator *allocator = (const weft_allocator *)user;
    abi_enter();
    void *moved = allocator->resize(allocator->user, block, from, size);
    abi_leave();
    return moved;
}

static void on_release(void *user, void *block, size_t size) {
    const weft_allocator *allocator = (const weft_allocator *)user;
    abi_enter();
    allocator->release(allocator->user, block, size);
    abi_leave();
}

/* ---- birth ---- */

static int32_t params_check(const weft_engine_params *p) {
    if (p->flags & ~(uint32_t)WEFT_ENGINE_EXTERNAL || p->number > 255 ||
        p->stream_flags & ~(uint32_t)(WEFT_STREAM_PULL | WEFT_STREAM_MANUAL_CREDIT))
        return WEFT_E_INVALID;
    if (p->flags & WEFT_ENGINE_EXTERNAL && p->uv_loop)
        return WEFT_E_INVALID;
    return WEFT_OK;
}

/* *allocator stays where it is while mem is used. */
static int32_t params_memory(const weft_engine_params *p, struct base_mem *mem, weft_allocator *allocator) {
    base_mem_init(mem, p->memory_limit);
    if (!p->allocator)
        return WEFT_OK;
    int32_t error = abi_table_params(allocator, p->allocator, sizeof *allocator);
    if (error)
        return error;
    if (!allocator->alloc || !allocator->resize || !allocator->release)
        return WEFT_E_INVALID;
    mem->alloc = on_alloc;
    mem->resize = on_resize;
    mem->release = on_release;
    mem->user = allocator;
    return WEFT_OK;
}

static void engine_init(struct abi_engine *engine, const weft_engine_params *p) {
    engine->owns_loop = !p->uv_loop;
    engine->external = (p->flags & WEFT_ENGINE_EXTERNAL) != 0;
    engine->stream_flags = p->stream_flags;
    engine->on_events = p->on_events;
    engine->events_user = p->events_user;
    engine->log = p->log;
    engine->log_user = p->log_user;
    engine->random = p->random;
    engine->random_user = p->random_user;
    engine->clock = p->clock;
    engine->wall_clock = p->wall_clock;
    engine->clock_user = p->clock_user;
    base_list_init(&engine->listeners);
    base_list_init(&engine->conns);
    base_list_init(&engine->buffers);
    base_list_init(&engine->spare_streams);
    engine->shown_serial = engine->peeked_serial = 1;
    pthread_mutex_init(&engine->post_lock, NULL);
}

static int32_t engine_open_loop(struct abi_engine *engine, const weft_engine_params *p, uint16_t tag) {
    struct io_loop_open open = {.mem = &engine->mem,
                                .uv = (uv_loop_t *)p->uv_loop,
                                .external = engine->external,
                                .clock = p->clock ? on_clock : NULL,
                                .wall_clock = p->wall_clock ? on_wall_clock : NULL,
                                .clock_user = engine,
                                .random = {.fill = p->random ? on_random : NULL, .user = engine},
                                .engine = (uint8_t)p->number,
                                .handle_tag = tag,
                                .fleet_secret = p->fleet_secret,
                                .receive_buffer = p->receive_buffer,
                                .send_buffer = p->send_buffer,
                                .features = IO_UDP_ALL,
                                .dispatch = abi_dispatch,
                                .user = engine};
    return io_loop_init(&engine->loop, &open, NULL);
}

/* Memory of the engine itself: the allocator is inside of it. */
static void engine_free_memory(struct abi_engine *engine) {
    struct base_mem mem = engine->mem;
    weft_allocator allocator = engine->allocator;
    if (allocator.alloc)
        mem.user = &allocator;
    pthread_mutex_destroy(&engine->post_lock);
    base_free(&mem, engine->batch, BATCH_BYTES);
    base_free(&mem, engine->arena, ABI_ARENA);
    base_free(&mem, engine, sizeof *engine);
    assert(mem.used == 0);
}

int32_t weft_engine_new(const weft_engine_params *params, weft_engine *engine) {
    weft_engine_params p;
    int32_t error = abi_params(&p, params, sizeof p);
    if (!error)
        error = engine ? params_check(&p) : WEFT_E_INVALID;
    struct base_mem mem;
    weft_allocator allocator;
    if (!error)
        error = params_memory(&p, &mem, &allocator);
    if (!error && abi_inside())
        error = WEFT_E_STATE;
    if (!error && !abi_start())
        error = WEFT_E_INTERNAL;
    if (error)
        return error;
    struct abi_engine *made = BASE_NEW(&mem, struct abi_engine);
    if (!made)
        return WEFT_E_NOMEM;
    made->mem = mem;
    if (p.allocator) {
        made->allocator = allocator;
        made->mem.user = &made->allocator;
    }
    engine_init(made, &p);
    made->batch = (weft_event *)base_alloc(&made->mem, BATCH_BYTES);
    made->arena = (uint8_t *)base_alloc(&made->mem, ABI_ARENA);
    uint16_t tag;
    uint32_t generation;
    error = made->batch && made->arena ? abi_registry_take(made, &tag, &generation) : WEFT_E_NOMEM;
    if (!error && (error = engine_open_loop(made, &p, tag)) != 0)
        abi_registry_give_back(made->handle, generation);
    if (error) {
        engine_free_memory(made);
        return error;
    }
    base_slots_continue(abi_slots(made), generation);
    abi_registry_publish(made);
    engine->id = made->handle;
    return WEFT_OK;
}

/* ---- end ---- */

static void engine_drop_posts(struct abi_engine *engine) {
    for (struct abi_post *post = engine->post_first, *next; post; post = next) {
        next = post->next;
        engine->mem.release(engine->mem.user, post, sizeof *post);
    }
    engine->post_first = engine->post_last = NULL;
}

static void engine_drop_objects(struct abi_engine *engine) {
    struct base_node *node;
    abi_unshow(engine);
    while ((node = base_list_first(&engine->buffers)) != NULL)
        abi_buffer_free(engine, BASE_CONTAINER(node, struct abi_buffer, node));
    while ((node = base_list_first(&engine->conns)) != NULL)
        abi_conn_free(BASE_CONTAINER(node, struct abi_conn, node));
    while ((node = base_list_pop_front(&engine->spare_streams)) != NULL)
        BASE_DELETE(&engine->mem, BASE_CONTAINER(node, struct abi_stream, node));
    for (node = base_list_first(&engine->listeners); node; node = base_list_next(&engine->listeners, node))
        abi_listener_hide(BASE_CONTAINER(node, struct abi_listener, node));
}

static void on_loop_closed(void *user) {
    struct abi_engine *engine = (struct abi_engine *)user;
    struct base_node *node;
    while ((node = base_list_first(&engine->listeners)) != NULL)
        abi_listener_free(BASE_CONTAINER(node, struct abi_listener, node));
    engine_free_memory(engine);
}

/* No turn is on the stack, and the registry does not know the engine any more. */
static void engine_end(struct abi_engine *engine) {
    abi_registry_give_back(engine->handle, base_slots_generation(abi_slots(engine)));
    engine_drop_posts(engine);
    engine_drop_objects(engine);
    io_loop_close(&engine->loop, on_loop_closed, engine); /* connections go first, then what they name: listeners */
}

static void on_reaper_closed(uv_handle_t *handle) { engine_end((struct abi_engine *)handle->data); }

static void on_reaper(uv_timer_t *timer) { uv_close((uv_handle_t *)timer, on_reaper_closed); }

int32_t weft_engine_free(weft_engine engine) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    abi_registry_hide(own);
    own->doomed = true;
    if (!own->busy && !own->telling) {
        engine_end(own);
    } else if (own->owns_loop) {
        io_loop_stop(&own->loop); /* whoever drives the turn ends the engine */
    } else {
        uv_timer_init(own->loop.uv, &own->reaper);
        own->reaper.data = own;
        uv_timer_start(&own->reaper, on_reaper, 0, 0);
    }
    return WEFT_OK;
}

/* ---- turns ---- */

int32_t weft_engine_run(weft_engine engine) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    if (own->busy || own->telling || !own->owns_loop || own->external)
        return WEFT_E_STATE;
    own->busy = true;
    error = io_loop_run(&own->loop);
    own->busy = false;
    if (own->doomed)
        engine_end(own);
    return error;
}

int32_t weft_engine_stop(weft_engine engine) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    if (!own->owns_loop || own->external)
        return WEFT_E_STATE;
    io_loop_stop(&own->loop);
    return WEFT_OK;
}

int32_t weft_engine_turn(weft_engine engine) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    if (own->busy || own->telling || !own->owns_loop)
        return WEFT_E_STATE;
    own->busy = true;
    int worked = io_loop_turn(&own->loop);
    own->busy = false;
    if (own->doomed)
        engine_end(own);
    return worked;
}

int32_t weft_engine_fd(weft_engine engine) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    int fd = own->external ? -1 : io_loop_fd(&own->loop);
    return fd < 0 ? WEFT_E_UNSUPPORTED : fd;
}

int32_t weft_engine_deadline(weft_engine engine, uint64_t *ns) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    if (!ns)
        return WEFT_E_INVALID;
    *ns = io_loop_deadline(&own->loop);
    return WEFT_OK;
}

int32_t weft_engine_now(weft_engine engine, uint64_t *now) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    if (!now)
        return WEFT_E_INVALID;
    *now = abi_now(own);
    return WEFT_OK;
}

int32_t weft_engine_adopt(weft_engine engine) {
    int32_t error;
    struct abi_engine *own = abi_engine_pin(engine, &error);
    if (!own)
        return error;
    error = own->busy || own->telling ? WEFT_E_STATE : abi_registry_adopt(engine.id);
    abi_engine_unpin(engine.id);
    return error;
}

/* ---- from other threads ---- */

int32_t weft_engine_wake(weft_engine engine) {
    int32_t error;
    struct abi_engine *own = abi_engine_pin(engine, &error);
    if (!own)
        return error;
    io_loop_wake(&own->loop);
    abi_engine_unpin(engine.id);
    return WEFT_OK;
}

int32_t weft_engine_post(weft_engine engine, void (*function)(void *arg), void *arg) {
    int32_t error;
    struct abi_engine *own = abi_engine_pin(engine, &error);
    if (!own)
        return error;
    /* Not counted against the budget, whose counters are the owner's. */
    struct abi_post *post = function ? (struct abi_post *)own->mem.alloc(own->mem.user, sizeof *post) : NULL;
    if (post) {
        *post = (struct abi_post){.function = function, .arg = arg};
        pthread_mutex_lock(&own->post_lock);
        if (own->post_last)
            own->post_last->next = post;
        else
            own->post_first = post;
        own->post_last = post;
        pthread_mutex_unlock(&own->post_lock);
        io_loop_wake(&own->loop);
    }
    abi_engine_unpin(engine.id);
    return post ? WEFT_OK : function ? WEFT_E_NOMEM : WEFT_E_INVALID;
}

int32_t abi_engine_leave(weft_engine engine) {
    int32_t error;
    struct abi_engine *own = abi_engine_pin(engine, &error);
    if (!own)
        return error;
    atomic_store(&own->leaving, true);
    io_loop_wake(&own->loop);
    abi_engine_unpin(engine.id);
    return WEFT_OK;
}

static struct abi_post *posts_take(struct abi_engine *engine) {
    pthread_mutex_lock(&engine->post_lock);
    struct abi_post *first = engine->post_first;
    engine->post_first = engine->post_last = NULL;
    pthread_mutex_unlock(&engine->post_lock);
    return first;
}

bool abi_engine_run_posts(struct abi_engine *engine) {
    if (atomic_load_explicit(&engine->leaving, memory_order_relaxed))
        io_loop_stop(&engine->loop);
    for (struct abi_post *post = posts_take(engine), *next; post; post = next) {
        next = post->next;
        struct abi_post call = *post;
        engine->mem.release(engine->mem.user, post, sizeof *post);
        if (!engine->doomed)
            call.function(call.arg);
    }
    return !engine->doomed;
}

/* ---- what it says of itself ---- */

int32_t weft_engine_error(weft_engine engine, char *text, size_t capacity) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    return own ? abi_copy_text(own->error.text, text, capacity) : error;
}

static void stats_add(weft_conn_stats *sum, const struct conn_stats *stats) {
#define STAT_ADD_CONN(name) sum->name += stats->name;
#define STAT_ADD_ENGINE(name)
#define STAT_ADD_PATH(name)
#define STAT(scope, name, text) STAT_ADD_##scope(name)
#include "tables/stats.def"
#undef STAT
#undef STAT_ADD_CONN
#undef STAT_ADD_ENGINE
#undef STAT_ADD_PATH
}

int32_t weft_engine_get_stats(weft_engine engine, weft_engine_stats *stats) {
    int32_t error;
    struct abi_engine *own = abi_engine_get(engine, &error);
    if (!own)
        return error;
    const struct engine_stats *core = &own->loop.endpoint.stats;
    weft_engine_stats all = {.size = sizeof all,
                             .conns.size = sizeof all.conns,
                             .memory_used = own->mem.used,
                             .memory_peak = own->mem.peak,
                             .memory_refusals = own->mem.refusals,
                             .connections = own->loop.endpoint.conn_count,
                             .buffers_retained = own->buffers_retained};
#define STAT_COPY_CONN(name) all.conns.name = core->name;
#define STAT_COPY_ENGINE(name) all.name = core->name;
#define STAT_COPY_PATH(name)
#define STAT(scope, name, text) STAT_COPY_##scope(name)
#include "tables/stats.def"
#undef STAT
#undef STAT_COPY_CONN
#undef STAT_COPY_ENGINE
#undef STAT_COPY_PATH
    const struct base_list *conns = &own->loop.endpoint.conns;
    for (const struct base_node *node = base_list_first(conns); node; node = base_list_next(conns, node))
        stats_add(&all.conns, &BASE_CONTAINER(node, struct quic_conn, all)->stats);
    return abi_give(stats, &all, sizeof all);
}
