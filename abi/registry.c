/* registry.c - from a handle to the object it names, for whoever may ask.
 *
 * A handle says which engine it belongs to (its tag) and which slot of that engine's table. Here is the way from the
 * tag to the engine: a fixed table of 4095 places, the one thing of weft that belongs to the process. Looking up is
 * two atomic loads and a compare; there is no lock, because only the thread that owns an engine ever follows the
 * pointer. Threads that do not own it are turned away by their number before, but for wake and post, which pin the
 * place first: an engine waits for its pins before it goes.
 *
 * Configurations, pools and pairs belong to no engine: they have a slot table of their own, under a lock. What many
 * threads use counts its references; one is taken under the lock.
 *
 * The invariant that matters: no handle is issued twice in the life of the process. A place remembers which
 * generations its engines have used, and the next engine there continues above them; a place whose generations are
 * used up stays empty.
 */
#include <assert.h>
#include <sched.h>

#include "abi.h"

#define PLACES (BASE_SLOTS_MAX >> 12) /* 4096: what 12 bits of tag can name; tag 0 is nobody's */

struct place {
    _Atomic(struct abi_engine *) engine; /* NULL: empty, or going */
    _Atomic uint64_t handle;             /* of the engine, 0 likewise */
    _Atomic uint64_t owner;              /* number of the thread */
    _Atomic uint32_t first;              /* generation from which on the present engine's objects are */
    _Atomic uint32_t engines;            /* how many there were */
    _Atomic uint32_t pins;
    bool taken; /* under the lock */
};

static struct {
    struct place places[PLACES];
    pthread_mutex_t lock;
    uint32_t cursor; /* the place used last: places are used in turn, so that generations last */
    uint32_t live;   /* places taken */
    bool repeatable; /* TLS draws from a seed: no further engine */
    bool has_shared;
    struct base_mem mem;
    struct base_slots shared; /* configurations, pools, pairs */
} registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

_Static_assert(PLACES == 1u << 12, "as many places as tags");

/* ---- threads ---- */

static _Thread_local struct {
    uint64_t number; /* 0: not asked for yet. Never used again, unlike the system's */
    uint32_t inside; /* depth of callbacks that run in the midst of things */
} thread;

static uint64_t thread_number(void) {
    static _Atomic uint64_t last;
    if (!thread.number)
        thread.number = atomic_fetch_add(&last, 1) + 1;
    return thread.number;
}

uint64_t abi_thread(void) { return thread_number(); }

void abi_enter(void) { thread.inside++; }

void abi_leave(void) {
    assert(thread.inside);
    thread.inside--;
}

bool abi_inside(void) { return thread.inside > 0; }

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool started;

static void start(void) { started = crypto_init(); }

bool abi_start(void) { return pthread_once(&once, start) == 0 && started; }

/* ---- engines ---- */

static struct place *place_of(uint64_t handle) { return &registry.places[base_handle_tag(handle)]; }

static uint64_t engine_handle(uint16_t tag, uint32_t generation) {
    return (uint64_t)ABI_ENGINE << 60 | (uint64_t)tag << 48 | (uint64_t)generation << 24;
}

int32_t abi_registry_take(struct abi_engine *engine, uint16_t *tag, uint32_t *generation) {
    pthread_mutex_lock(&registry.lock);
    for (uint32_t tries = 1; tries < PLACES && !registry.repeatable; tries++) {
        registry.cursor = registry.cursor + 1 < PLACES ? registry.cursor + 1 : 1;
        struct place *place = &registry.places[registry.cursor];
        uint32_t first = atomic_load(&place->first);
        if (place->taken || first > BASE_GENERATION_MAX || atomic_load(&place->engines) >= BASE_GENERATION_MAX)
            continue;
        place->taken = true;
        registry.live++;
        *tag = (uint16_t)registry.cursor;
        *generation = first ? first : 1;
        atomic_store(&place->first, *generation);
        engine->handle = engine_handle(*tag, atomic_fetch_add(&place->engines, 1) + 1);
        pthread_mutex_unlock(&registry.lock);
        return WEFT_OK;
    }
    int32_t error = registry.repeatable ? WEFT_E_STATE : WEFT_E_NOMEM;
    pthread_mutex_unlock(&registry.lock);
    return error;
}

bool abi_registry_repeat(uint32_t live) {
    pthread_mutex_lock(&registry.lock);
    bool alone = registry.live == live && !registry.repeatable;
    if (alone)
        registry.repeatable = true;
    pthread_mutex_unlock(&registry.lock);
    return alone;
}

void abi_registry_repeat_no_more(void) {
    pthread_mutex_lock(&registry.lock);
    registry.repeatable = false;
    pthread_mutex_unlock(&registry.lock);
}

void abi_registry_publish(struct abi_engine *engine) {
    struct place *place = place_of(engine->handle);
    atomic_store(&place->owner, thread_number());
    atomic_store(&place->handle, engine->handle);
    atomic_store(&place->engine, engine);
}

void abi_registry_hide(struct abi_engine *engine) {
    struct place *place = place_of(engine->handle);
    atomic_store(&place->engine, NULL);
    atomic_store(&place->handle, 0);
    while (atomic_load(&place->pins))
        sched_yield(); /* another thread is within wake or post: a few instructions */
}

void abi_registry_give_back(uint64_t handle, uint32_t generation) {
    struct place *place = place_of(handle);
    pthread_mutex_lock(&registry.lock);
    atomic_store(&place->first, generation);
    place->taken = false;
    registry.live--;
    pthread_mutex_unlock(&registry.lock);
}

int32_t abi_registry_adopt(uint64_t handle) {
    struct place *place = place_of(handle);
    atomic_store(&place->owner, thread_number());
    return WEFT_OK;
}

/* Why the handle of an engine is none that lives. */
static int32_t engine_cause(uint64_t handle) {
    uint32_t generation = base_handle_generation(handle);
    bool well_formed = base_handle_kind(handle) == ABI_ENGINE && base_handle_tag(handle) && !base_handle_index(handle);
    bool issued = well_formed && generation && generation <= atomic_load(&place_of(handle)->engines);
    return issued ? WEFT_E_GONE : WEFT_E_HANDLE;
}

static bool engine_is_at(uint64_t handle) {
    return base_handle_kind(handle) == ABI_ENGINE && base_handle_tag(handle) &&
           atomic_load(&place_of(handle)->handle) == handle;
}

struct abi_engine *abi_engine_pin(weft_engine handle, int32_t *error) {
    if (engine_cause(handle.id) == WEFT_E_HANDLE) {
        *error = WEFT_E_HANDLE;
        return NULL;
    }
    struct place *place = place_of(handle.id);
    atomic_fetch_add(&place->pins, 1); /* before looking: hide empties the place before it counts the pins */
    struct abi_engine *engine = engine_is_at(handle.id) ? atomic_load(&place->engine) : NULL;
    if (!engine) {
        atomic_fetch_sub(&place->pins, 1);
        *error = WEFT_E_GONE;
    }
    return engine;
}

void abi_engine_unpin(uint64_t handle) { atomic_fetch_sub(&place_of(handle)->pins, 1); }

/* The engine at the tag of an object's handle. */
static struct abi_engine *engine_at(uint64_t handle, int32_t *error) {
    struct place *place = place_of(handle);
    uint32_t engines = atomic_load_explicit(&place->engines, memory_order_relaxed);
    if (!base_handle_tag(handle) || !engines) {
        *error = WEFT_E_HANDLE;
        return NULL;
    }
    if (atomic_load_explicit(&place->owner, memory_order_acquire) != thread_number()) {
        /* of an engine before this one, or of this one? */
        bool old = base_handle_generation(handle) < atomic_load(&place->first) || !atomic_load(&place->engine);
        *error = old ? WEFT_E_GONE : WEFT_E_THREAD;
        return NULL;
    }
    struct abi_engine *engine = atomic_load_explicit(&place->engine, memory_order_acquire);
    if (!engine)
        *error = WEFT_E_GONE;
    else if (thread.inside)
        *error = WEFT_E_STATE;
    return engine && !thread.inside ? engine : NULL;
}

struct abi_engine *abi_engine_of(uint64_t handle, int32_t *error) {
    return engine_at(handle, error);
}

struct abi_engine *abi_engine_get(weft_engine handle, int32_t *error) {
    if (!engine_is_at(handle.id)) {
        *error = engine_cause(handle.id);
        return NULL;
    }
    struct place *place = place_of(handle.id);
    if (atomic_load(&place->owner) != thread_number()) {
        *error = WEFT_E_THREAD;
        return NULL;
    }
    if (thread.inside) {
        *error = WEFT_E_STATE;
        return NULL;
    }
    return atomic_load(&place->engine);
}

void *abi_get(uint8_t kind, uint64_t handle, struct abi_engine **engine, int32_t *error) {
    if (base_handle_kind(handle) != kind || !base_handle_generation(handle)) {
        *error = WEFT_E_HANDLE;
        return NULL;
    }
    struct abi_engine *owner = engine_at(handle, error);
    if (!owner)
        return NULL;
    enum base_lookup why;
    void *object = base_slots_get(&owner->loop.slots, kind, handle, &why);
    if (engine)
        *engine = owner;
    if (!object)
        *error = why == BASE_LOOKUP_GONE ? WEFT_E_GONE : WEFT_E_HANDLE;
    return object;
}

/* ---- what belongs to no engine ---- */

uint64_t abi_registry_add(uint8_t kind, void *object) {
    pthread_mutex_lock(&registry.lock);
    if (!registry.has_shared) {
        base_mem_init(&registry.mem, 0);
        base_slots_init(&registry.shared, &registry.mem, 0);
        registry.has_shared = true;
    }
    uint64_t handle = base_slots_add(&registry.shared, kind, object);
    pthread_mutex_unlock(&registry.lock);
    return handle;
}

/* Under the lock. */
static void *shared_at(uint8_t kind, uint64_t handle, int32_t *error) {
    enum base_lookup why = BASE_LOOKUP_WRONG;
    void *object = NULL;
    if (registry.has_shared)
        object = base_slots_get(&registry.shared, kind, handle, &why);
    if (!object)
        *error = why == BASE_LOOKUP_GONE ? WEFT_E_GONE : WEFT_E_HANDLE;
    return object;
}

void *abi_registry_get(uint8_t kind, uint64_t handle, int32_t (*admit)(void *object), int32_t *error) {
    if (thread.inside) {
        *error = WEFT_E_STATE;
        return NULL;
    }
    pthread_mutex_lock(&registry.lock);
    void *object = shared_at(kind, handle, error);
    int32_t refused = object ? admit(object) : WEFT_OK;
    pthread_mutex_unlock(&registry.lock);
    if (refused)
        *error = refused;
    return refused ? NULL : object;
}

void *abi_registry_remove(uint8_t kind, uint64_t handle, int32_t *error) {
    if (thread.inside) {
        *error = WEFT_E_STATE;
        return NULL;
    }
    pthread_mutex_lock(&registry.lock);
    void *object = shared_at(kind, handle, error);
    if (object)
        base_slots_remove(&registry.shared, handle);
    pthread_mutex_unlock(&registry.lock);
    return object;
}
