/* pool.c - several engines, each on a thread of its own, that may share a port.
 *
 * Knows the threads, in which order they begin and how they end. Everything else is the engines': a pool calls
 * weft_engine_new, _run and _free as a program would, moves work between threads with weft_engine_post, and gives the
 * engines a place where they leave each other's datagrams (core/io/handover.h).
 *
 * The order matters: engine k must be the k-th to bind a shared port, because that is how the system is told where
 * connection IDs belong (core/io/steer.c). So engines are set up one after the other, and weft_pool_listen goes round
 * in the same order.
 *
 * A pool is used by many threads and counted: its handle holds one reference, every call under way another, and its
 * threads are joined before the last goes.
 *
 * The invariant that matters: no thread of a pool outlives weft_pool_free, and stopping needs no memory.
 */
#include "abi.h"

#include <sched.h>

#include "io/handover.h"

#define POOL_MOST 256u /* what the engine's number in connection IDs can tell apart */

struct abi_worker {
    struct abi_pool *pool;
    uint32_t index;
    pthread_t thread;
    weft_engine engine;
    int32_t result; /* of its beginning */
    bool ready;
    bool over; /* its engine is freed, the thread about to end; under the lock */
};

struct abi_pool {
    struct base_mem mem;
    _Atomic uint32_t refs;
    uint64_t handle;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t count;            /* of workers whose threads were made; under the lock, and after weft_pool_new fixed */
    bool born;                 /* weft_pool_new has returned; under the lock */
    bool stopped;              /* under the lock */
    pthread_mutex_t listening; /* one weft_pool_listen at a time: the order of binding is the order of engines */
    pthread_mutex_t joining;
    bool joined;                  /* under joining */
    struct io_exchange *exchange; /* datagrams that reached the wrong engine */
    weft_engine_params engine_params;
    uint8_t fleet_secret[32];
    int32_t (*setup)(void *user, weft_pool pool, uint32_t index, weft_engine engine);
    void (*teardown)(void *user, weft_pool pool, uint32_t index, weft_engine engine);
    void *user;
    uint32_t wanted;
    struct abi_worker workers[]; /* `wanted` of them */
};

static _Thread_local const struct abi_pool *pool_of_thread; /* NULL: not a pool's */

static size_t pool_bytes(uint32_t workers) { return sizeof(struct abi_pool) + workers * sizeof(struct abi_worker); }

/* ---- references ---- */

static int32_t pool_ref(void *pool) {
    atomic_fetch_add(&((struct abi_pool *)pool)->refs, 1);
    return WEFT_OK;
}

static void pool_put(struct abi_pool *pool) {
    if (atomic_fetch_sub(&pool->refs, 1) != 1)
        return;
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->listening);
    pthread_mutex_destroy(&pool->joining);
    pthread_cond_destroy(&pool->changed);
    io_exchange_free(pool->exchange);
    struct base_mem mem = pool->mem;
    base_free(&mem, pool, pool_bytes(pool->wanted));
}

static struct abi_pool *pool_get(weft_pool handle, int32_t *error) {
    return (struct abi_pool *)abi_registry_get(ABI_POOL, handle.id, pool_ref, error);
}

static int32_t pool_end(struct abi_pool *pool, int32_t result) {
    pool_put(pool);
    return result;
}

static bool is_set(struct abi_pool *pool, const bool *flag) {
    pthread_mutex_lock(&pool->lock);
    bool set = *flag;
    pthread_mutex_unlock(&pool->lock);
    return set;
}

/* For calls that wait for the pool's threads: not by one of them, nor before all have begun. */
static bool may_wait(struct abi_pool *pool) { return pool_of_thread != pool && is_set(pool, &pool->born); }

/* While others are still being set up an engine may not be there yet. */
static int32_t engine_at(struct abi_pool *pool, uint32_t index, weft_engine *engine) {
    pthread_mutex_lock(&pool->lock);
    bool there = index < pool->wanted && pool->workers[index].ready;
    if (there)
        *engine = pool->workers[index].engine;
    pthread_mutex_unlock(&pool->lock);
    return there ? WEFT_OK : index < pool->wanted ? WEFT_E_STATE : WEFT_E_VALUE;
}

/* ---- a thread ---- */

static void worker_tell(struct abi_worker *worker, int32_t result) {
    pthread_mutex_lock(&worker->pool->lock);
    worker->result = result;
    worker->ready = true;
    pthread_cond_broadcast(&worker->pool->changed);
    pthread_mutex_unlock(&worker->pool->lock);
}

static int32_t worker_begin(struct abi_worker *worker) {
    struct abi_pool *pool = worker->pool;
    weft_engine_params params = pool->engine_params;
    params.number = worker->index;
    int32_t error = weft_engine_new(&params, &worker->engine);
    if (error)
        return error;
    struct io_loop *loop = &abi_engine_get(worker->engine, &error)->loop;
    io_loop_stay(loop);
    io_exchange_join(pool->exchange, loop);
    return pool->setup ? pool->setup(pool->user, (weft_pool){pool->handle}, worker->index, worker->engine) : WEFT_OK;
}

static void *worker_main(void *arg) {
    struct abi_worker *worker = (struct abi_worker *)arg;
    struct abi_pool *pool = worker->pool;
    pool_of_thread = pool;
    int32_t result = worker_begin(worker);
    worker_tell(worker, result);
    if (!result) {
        if (!is_set(pool, &pool->stopped)) /* whoever stops it from now on finds this engine ready */
            weft_engine_run(worker->engine);
        if (pool->teardown)
            pool->teardown(pool->user, (weft_pool){pool->handle}, worker->index, worker->engine);
    }
    weft_engine_free(worker->engine); /* the application may have done it: then nothing happens */
    pthread_mutex_lock(&pool->lock);
    worker->over = true;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* Starts the next thread and waits until it is set up. */
static int32_t worker_start(struct abi_pool *pool, uint32_t index) {
    struct abi_worker *worker = &pool->workers[index];
    worker->pool = pool;
    worker->index = index;
    pthread_mutex_lock(&pool->lock);
    int32_t error = pthread_create(&worker->thread, NULL, worker_main, worker) == 0 ? WEFT_OK : WEFT_E_IO;
    if (!error)
        pool->count++;
    while (!error && !worker->ready)
        pthread_cond_wait(&pool->changed, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    return error ? error : worker->result;
}

/* ---- stopping ---- */

static void pool_stop(struct abi_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    pool->stopped = true;
    pthread_mutex_unlock(&pool->lock);
    weft_engine engine;
    for (uint32_t i = 0; i < pool->wanted; i++)
        if (engine_at(pool, i, &engine) == WEFT_OK)
            abi_engine_leave(engine);
}

static void pool_join(struct abi_pool *pool) {
    pthread_mutex_lock(&pool->joining);
    for (uint32_t i = 0; i < pool->count && !pool->joined; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pool->joined = true;
    pthread_mutex_unlock(&pool->joining);
}

int32_t weft_pool_stop(weft_pool pool) {
    int32_t error;
    struct abi_pool *own = pool_get(pool, &error);
    if (!own)
        return error;
    pool_stop(own);
    return pool_end(own, WEFT_OK);
}

int32_t weft_pool_join(weft_pool pool) {
    int32_t error;
    struct abi_pool *own = pool_get(pool, &error);
    if (!own)
        return error;
    if (!may_wait(own))
        return pool_end(own, WEFT_E_STATE);
    pool_join(own);
    return pool_end(own, WEFT_OK);
}

int32_t weft_pool_free(weft_pool pool) {
    int32_t error;
    struct abi_pool *own = pool_get(pool, &error);
    if (!own)
        return error;
    if (!may_wait(own))
        return pool_end(own, WEFT_E_STATE);
    if (!abi_registry_remove(ABI_POOL, pool.id, &error))
        return pool_end(own, error); /* another thread was quicker */
    pool_stop(own);
    pool_join(own);
    pool_put(own); /* the handle's */
    return pool_end(own, WEFT_OK);
}

/* ---- birth ---- */

static uint32_t processors(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > (int)POOL_MOST ? POOL_MOST : (uint32_t)count;
}

static int32_t params_check(weft_pool_params *p, weft_engine_params *engine) {
    int32_t error = abi_params(engine, p->engine_params, sizeof *engine);
    if (error)
        return error;
    if (p->engines > POOL_MOST || engine->uv_loop || engine->flags || engine->number)
        return WEFT_E_INVALID;
    engine->size = sizeof *engine;
    if (!p->engines)
        p->engines = processors();
    return WEFT_OK;
}

static int32_t exchange_new(struct abi_pool *pool) {
    uint8_t secret[16];
    if (!abi_start() || !crypto_random(secret, sizeof secret))
        return WEFT_E_INTERNAL;
    pool->exchange = io_exchange_new(pool->wanted, secret);
    return pool->exchange ? WEFT_OK : WEFT_E_NOMEM;
}

/* One secret for all: an engine must believe the address tokens that another one gave. */
static int32_t fleet_secret(struct abi_pool *pool) {
    uint8_t *secret = pool->fleet_secret;
    if (pool->engine_params.fleet_secret) {
        memcpy(secret, pool->engine_params.fleet_secret, sizeof pool->fleet_secret);
    } else if (!abi_start() || !crypto_random(secret, sizeof pool->fleet_secret)) {
        return WEFT_E_INTERNAL;
    }
    pool->engine_params.fleet_secret = secret;
    return WEFT_OK;
}

static struct abi_pool *pool_make(const weft_pool_params *p, const weft_engine_params *engine) {
    struct base_mem mem;
    base_mem_init(&mem, 0);
    struct abi_pool *pool = (struct abi_pool *)base_zalloc(&mem, pool_bytes(p->engines));
    if (!pool)
        return NULL;
    pool->mem = mem;
    atomic_init(&pool->refs, 1);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->listening, NULL);
    pthread_mutex_init(&pool->joining, NULL);
    pthread_cond_init(&pool->changed, NULL);
    pool->wanted = p->engines;
    pool->engine_params = *engine;
    pool->setup = p->setup;
    pool->teardown = p->teardown;
    pool->user = p->user;
    return pool;
}

int32_t weft_pool_new(const weft_pool_params *params, weft_pool *pool) {
    weft_pool_params p;
    weft_engine_params engine;
    int32_t error = abi_params(&p, params, sizeof p);
    if (!error)
        error = pool ? params_check(&p, &engine) : WEFT_E_INVALID;
    if (error)
        return error;
    if (pool_of_thread || abi_inside())
        return WEFT_E_STATE;
    struct abi_pool *made = pool_make(&p, &engine);
    if (!made)
        return WEFT_E_NOMEM;
    made->handle = abi_registry_add(ABI_POOL, made);
    error = made->handle ? fleet_secret(made) : WEFT_E_NOMEM;
    if (!error)
        error = exchange_new(made);
    for (uint32_t i = 0; i < made->wanted && !error && !is_set(made, &made->stopped); i++)
        error = worker_start(made, i);
    if (!error) {
        pool->id = made->handle;
        pthread_mutex_lock(&made->lock);
        made->born = true;
        pthread_mutex_unlock(&made->lock);
        return WEFT_OK;
    }
    int32_t ignored;
    if (made->handle)
        abi_registry_remove(ABI_POOL, made->handle, &ignored);
    pool_stop(made);
    pool_join(made);
    pool_put(made);
    return error;
}

/* ---- its engines ---- */

int32_t weft_pool_count(weft_pool pool, uint32_t *count) {
    int32_t error;
    struct abi_pool *own = pool_get(pool, &error);
    if (!own)
        return error;
    if (count)
        *count = own->wanted;
    return pool_end(own, count ? WEFT_OK : WEFT_E_INVALID);
}

int32_t weft_pool_engine(weft_pool pool, uint32_t index, weft_engine *engine) {
    int32_t error;
    struct abi_pool *own = pool_get(pool, &error);
    return own ? pool_end(own, engine ? engine_at(own, index, engine) : WEFT_E_INVALID) : error;
}

int32_t weft_pool_post(weft_pool pool, uint32_t index, void (*function)(void *arg), void *arg) {
    int32_t error;
    struct abi_pool *own = pool_get(pool, &error);
    if (!own)
        return error;
    weft_engine engine;
    error = engine_at(own, index, &engine);
    return pool_end(own, error ? error : weft_engine_post(engine, function, arg));
}

/* ---- listening ---- */

struct listen_job {
    struct abi_pool *pool;
    weft_engine engine;
    weft_config config;
    const char *address;
    const weft_listen_params *params;
    weft_listener listener; /* made, or to be closed */
    weft_addr bound;
    int32_t result;
    bool done; /* under the pool's lock */
};

static void job_done(struct listen_job *job) {
    pthread_mutex_lock(&job->pool->lock);
    job->done = true;
    pthread_cond_broadcast(&job->pool->changed);
    pthread_mutex_unlock(&job->pool->lock);
}

static void job_listen(void *arg) {
    struct listen_job *job = (struct listen_job *)arg;
    job->result = weft_listen(job->engine, job->config, job->address, job->params, &job->listener);
    if (!job->result)
        weft_listener_address(job->listener, &job->bound);
    job_done(job);
}

static void job_close(void *arg) {
    struct listen_job *job = (struct listen_job *)arg;
    weft_listener_close(job->listener, 0);
    job_done(job);
}

/* On the engine's thread, waited for. A post that is not called, because the pool was stopped or the application freed
 * the engine, is never called; that is known for certain when that thread is over. */
static int32_t job_run(struct listen_job *job, uint32_t index, void (*function)(void *arg)) {
    struct abi_pool *pool = job->pool;
    job->done = false;
    int32_t error = engine_at(pool, index, &job->engine);
    if (!error)
        error = weft_engine_post(job->engine, function, job);
    if (error)
        return error == WEFT_E_GONE ? WEFT_E_STATE : error;
    pthread_mutex_lock(&pool->lock);
    while (!job->done && !pool->workers[index].over)
        pthread_cond_wait(&pool->changed, &pool->lock);
    bool done = job->done;
    pthread_mutex_unlock(&pool->lock);
    return done ? job->result : WEFT_E_STATE;
}

/* `listeners` has a place for each engine. */
static int32_t listen_all(struct listen_job *job, weft_listener *listeners, weft_addr *bound) {
    char address[WEFT_ADDR_TEXT];
    uint32_t count = job->pool->wanted;
    int32_t error = WEFT_OK;
    uint32_t made = 0;
    while (made < count && !error) {
        error = job_run(job, made, job_listen);
        if (error)
            break;
        listeners[made] = job->listener;
        if (made++ == 0) { /* the system may have chosen the port: the others take the same */
            *bound = job->bound;
            error = weft_addr_format(bound, address, sizeof address) < 0 ? WEFT_E_INTERNAL : WEFT_OK;
            job->address = address;
        }
    }
    while (error && made--) {
        job->listener = listeners[made];
        job->result = WEFT_OK;
        job_run(job, made, job_close);
    }
    return error;
}

static int32_t pool_listen(struct abi_pool *pool, weft_config config, const char *address,
                           const weft_listen_params *params, weft_addr *bound) {
    weft_listen_params p;
    int32_t error = abi_params(&p, params, sizeof p);
    if (error)
        return error;
    p.size = sizeof p;
    p.flags |= WEFT_LISTEN_REUSE_PORT | WEFT_LISTEN_STEER;
    weft_addr addr = {0};
    size_t bytes = pool->wanted * sizeof(weft_listener);
    struct base_mem mem; /* not the pool's: its counters are not for several threads */
    base_mem_init(&mem, 0);
    weft_listener *listeners = (weft_listener *)base_alloc(&mem, bytes);
    if (!listeners)
        return WEFT_E_NOMEM;
    struct listen_job job = {.pool = pool, .config = config, .address = address, .params = &p};
    pthread_mutex_lock(&pool->listening);
    error = listen_all(&job, listeners, &addr);
    pthread_mutex_unlock(&pool->listening);
    base_free(&mem, listeners, bytes);
    if (!error && bound)
        *bound = addr;
    return error;
}

int32_t weft_pool_listen(weft_pool pool, weft_config config, const char *address, const weft_listen_params *params,
                         weft_addr *bound) {
    int32_t error;
    struct abi_pool *own = pool_get(pool, &error);
    if (!own)
        return error;
    if (!address || !may_wait(own))
        return pool_end(own, address ? WEFT_E_STATE : WEFT_E_INVALID);
    return pool_end(own, pool_listen(own, config, address, params, bound));
}
