/* resource.c - the kinds of resource, and what becomes of one when nobody refers to it any more.
 *
 * A destructor runs on whatever thread drops the last reference: a scheduler in the midst of a garbage collection, or
 * an engine's thread. It must not wait, and it finds the object out of the core: as long as the core knows an object,
 * the engine's side holds a reference. What has to be done on the engine's thread all the same (giving back a kept
 * buffer) is posted to it.
 */
#include "nif.h"

ErlNifResourceType *resource_type[RESOURCE_KINDS];
struct nif_counters nif_count;

void *nif_alloc_zero(size_t size) {
    void *block = nif_alloc(size);
    if (block)
        memset(block, 0, size);
    return block;
}

void *resource_new(enum resource_kind kind, size_t size) {
    void *object = enif_alloc_resource(resource_type[kind], size);
    if (object) {
        memset(object, 0, size);
        COUNT(handles, 1);
    }
    return object;
}

void *resource_get(ErlNifEnv *env, term value, enum resource_kind kind) {
    const term *parts;
    int arity;
    void *object;
    if (enif_get_tuple(env, value, &arity, &parts)) {
        if (arity < 2)
            return NULL;
        value = parts[1];
    }
    return enif_get_resource(env, value, resource_type[kind], &object) ? object : NULL;
}

/* ---- destructors ---- */

static void engine_dtor(ErlNifEnv *env, void *object) {
    struct engine *engine = (struct engine *)object;
    (void)env;
    COUNT(handles, -1);
    if (engine->env)
        enif_free_env(engine->env);
    if (engine->cond)
        enif_cond_destroy(engine->cond);
    if (engine->lock)
        enif_mutex_destroy(engine->lock);
}

static void config_dtor(ErlNifEnv *env, void *object) {
    (void)env;
    weft_config_free(((struct config *)object)->handle);
    COUNT(handles, -1);
    COUNT(configs, -1);
}

static void listener_dtor(ErlNifEnv *env, void *object) {
    struct listener *listener = (struct listener *)object;
    (void)env;
    COUNT(handles, -1);
    if (listener->group)
        group_unref(listener->group);
    if (listener->engine)
        enif_release_resource(listener->engine);
}

static void conn_dtor(ErlNifEnv *env, void *object) {
    struct conn *conn = (struct conn *)object;
    (void)env;
    COUNT(handles, -1);
    datagram_clear(conn);
    conn_queue_clear(conn);
    if (conn->last_stats)
        nif_free(conn->last_stats);
    if (conn->engine)
        enif_release_resource(conn->engine);
}

static void stream_dtor(ErlNifEnv *env, void *object) {
    struct stream *stream = (struct stream *)object;
    (void)env;
    COUNT(handles, -1);
    if (stream->has_stash)
        enif_release_binary(&stream->stash);
    if (stream->conn)
        enif_release_resource(stream->conn);
    if (stream->engine)
        enif_release_resource(stream->engine);
}

static const struct {
    const char *name;
    ErlNifResourceTypeInit init;
} kinds[RESOURCE_KINDS] = {
    [RESOURCE_ENGINE] = {"weft_engine", {.dtor = engine_dtor, .down = owner_of_engine_down}},
    [RESOURCE_CONFIG] = {"weft_config", {.dtor = config_dtor}},
    [RESOURCE_LISTENER] = {"weft_listener", {.dtor = listener_dtor, .down = owner_of_listener_down}},
    [RESOURCE_CONN] = {"weft_conn", {.dtor = conn_dtor, .down = owner_of_conn_down}},
    [RESOURCE_STREAM] = {"weft_stream", {.dtor = stream_dtor, .down = owner_of_stream_down}},
    [RESOURCE_BYTES] = {"weft_bytes", {.dtor = bytes_dtor}},
};

bool resource_open_types(ErlNifEnv *env, int flags) {
    for (int i = 0; i < RESOURCE_KINDS; i++) {
        resource_type[i] =
            enif_open_resource_type_x(env, kinds[i].name, &kinds[i].init, (ErlNifResourceFlags)flags, NULL);
        if (!resource_type[i])
            return false;
    }
    return true;
}
