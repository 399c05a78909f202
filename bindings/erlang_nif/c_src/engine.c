/* engine.c - an engine's thread, and the queue of commands into it.
 *
 * The thread turns the core's loop as long as there is something to wait for, and sleeps on a condition when there is
 * not. Commands are pushed without a lock: a scheduler must not wait for an engine's thread that the system has put
 * aside with the lock in its hand. Only the first since the thread last looked wakes it, so a burst of calls costs one
 * wake-up; the queue is taken as a whole and run in order, among the callbacks of a turn, which is where the core
 * allows everything. The lock there is belongs to the condition, and is touched only when the thread sleeps on that.
 *
 * The end. An engine stops when it is told to or when its owner is down: its connections are closed, one more turn
 * tells the peers, everything that is left is ended here as if its last event had come, and whoever waits is answered.
 * From then on no command is taken. But binaries may still refer to received bytes, so the core's engine is freed only
 * when the last of them has been given back; until then the thread sleeps. It is detached, and the library is linked
 * with -z nodelete: no code can be unmapped under it.
 *
 * The invariant that matters: commands run in the order of their calls, each exactly once, and are freed after that; a
 * waiter still in one by then is told {error, closed}.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

#include "nif.h"

/* ---- waiters ---- */

struct waiter *waiter_new(ErlNifEnv *env, term ref) {
    struct waiter *waiter = (struct waiter *)nif_alloc_zero(sizeof *waiter);
    if (!waiter)
        return NULL;
    enif_self(env, &waiter->pid);
    waiter->env = enif_alloc_env();
    waiter->ref = enif_make_copy(waiter->env, ref);
    COUNT(waiters, 1);
    return waiter;
}

void waiter_free(struct waiter *waiter) {
    if (waiter->has_part)
        enif_release_binary(&waiter->part);
    enif_free_env(waiter->env);
    nif_free(waiter);
    COUNT(waiters, -1);
}

void waiter_answer(struct waiter *waiter, term result) {
    enif_send(NULL, &waiter->pid, waiter->env, enif_make_tuple2(waiter->env, waiter->ref, result));
    waiter_free(waiter);
}

static void unwatch(struct waiter *waiter) {
    if (waiter->watched)
        enif_demonitor_process(NULL, waiter->watched, &waiter->monitor);
    waiter->watched = NULL;
}

void waiters_add(struct waiters *list, struct waiter *waiter, void *object) {
    if (enif_monitor_process(NULL, object, &waiter->pid, &waiter->monitor) != 0) {
        waiter_free(waiter); /* there is nobody to answer */
        return;
    }
    waiter->watched = object;
    waiter->next = NULL;
    if (list->last)
        list->last->next = waiter;
    else
        list->first = waiter;
    list->last = waiter;
}

struct waiter *waiters_take(struct waiters *list) {
    struct waiter *waiter = list->first;
    if (!waiter)
        return NULL;
    list->first = waiter->next;
    if (!list->first)
        list->last = NULL;
    unwatch(waiter);
    return waiter;
}

static void take_out(struct waiters *list, struct waiter *previous, struct waiter *waiter) {
    if (previous)
        previous->next = waiter->next;
    else
        list->first = waiter->next;
    if (list->last == waiter)
        list->last = previous;
    unwatch(waiter);
}

struct waiter *waiters_find(struct waiters *list, ErlNifEnv *env, term ref) {
    struct waiter *previous = NULL;
    (void)env;
    for (struct waiter *waiter = list->first; waiter; previous = waiter, waiter = waiter->next)
        if (enif_compare(waiter->ref, ref) == 0) {
            take_out(list, previous, waiter);
            return waiter;
        }
    return NULL;
}

struct waiter *waiters_take_of(struct waiters *list, const ErlNifPid *pid) {
    struct waiter *previous = NULL;
    for (struct waiter *waiter = list->first; waiter; previous = waiter, waiter = waiter->next)
        if (enif_compare_pids(&waiter->pid, pid) == 0) {
            take_out(list, previous, waiter);
            return waiter;
        }
    return NULL;
}

void waiters_answer_error(struct waiters *list, int32_t error) {
    for (struct waiter *waiter = waiters_take(list); waiter; waiter = waiters_take(list))
        waiter_answer(waiter, error ? term_error(waiter->env, error) : AM(ok));
}

void waiters_answer_closed(struct waiters *list, const struct conn *conn) {
    for (struct waiter *waiter = waiters_take(list); waiter; waiter = waiters_take(list))
        waiter_answer(waiter, term_closed(waiter->env, conn));
}

/* ---- commands ---- */

struct command *command_new(command_run run, void *object, size_t inline_len) {
    struct command *command = (struct command *)nif_alloc(sizeof *command + inline_len);
    if (!command)
        return NULL;
    memset(command, 0, sizeof *command);
    command->run = run;
    command->object = object;
    if (object)
        enif_keep_resource(object);
    COUNT(commands, 1);
    return command;
}

void command_free(struct command *command) {
    if (command->waiter)
        waiter_answer(command->waiter, term_fail(command->waiter->env, AM(closed)));
    if (command->env)
        enif_free_env(command->env);
    if (command->object)
        enif_release_resource(command->object);
    nif_free(command);
    COUNT(commands, -1);
}

struct waiter *command_take_waiter(struct command *command) {
    struct waiter *waiter = command->waiter;
    command->waiter = NULL;
    return waiter;
}

void command_answer(struct command *command, term result) {
    struct waiter *waiter = command_take_waiter(command);
    if (waiter)
        waiter_answer(waiter, result);
}

void command_answer_code(struct command *command, int32_t error) {
    if (command->waiter)
        command_answer(command, error < 0 ? term_error(command->waiter->env, error) : AM(ok));
}

/* The queue's head when nothing may be appended any more. */
static struct command no_more;

/* Takes a whole queue, leaves `instead`, and gives what was there in the order of the calls. */
static struct command *queue_take(_Atomic(struct command *) *queue, struct command *instead) {
    struct command *last = atomic_exchange(queue, instead), *first = NULL;
    while (last && last != &no_more) {
        struct command *before = last->next;
        last->next = first;
        first = last;
        last = before;
    }
    return first;
}

static bool queue_push(_Atomic(struct command *) *queue, struct command *command) {
    struct command *head = atomic_load_explicit(queue, memory_order_relaxed);
    do {
        if (head == &no_more)
            return false;
        command->next = head;
    } while (!atomic_compare_exchange_weak(queue, &head, command));
    return true;
}

static void run_all(struct engine *engine, struct command *command) {
    while (command) {
        struct command *next = command->next;
        command->run(engine, command);
        command_free(command);
        command = next;
    }
}

static void drain(void *arg) {
    struct engine *engine = (struct engine *)arg;
    atomic_store(&engine->posted, false); /* before looking: who comes later wakes again */
    if (atomic_load_explicit(&engine->queue, memory_order_relaxed) != &no_more)
        run_all(engine, queue_take(&engine->queue, NULL));
    run_all(engine, queue_take(&engine->returned, NULL));
}

static void wake(struct engine *engine) {
    /* Where there is no memory for it the next command tries again. An engine that is gone is none to wake. */
    if (!atomic_exchange(&engine->posted, true) && weft_engine_post(engine->handle, drain, engine) != WEFT_OK)
        atomic_store(&engine->posted, false);
    if (!atomic_load(&engine->sleeping))
        return;
    enif_mutex_lock(engine->lock);
    enif_cond_signal(engine->cond);
    enif_mutex_unlock(engine->lock);
}

bool command_push(struct engine *engine, struct command *command) {
    if (!queue_push(&engine->queue, command)) {
        command_free(command);
        return false;
    }
    wake(engine);
    return true;
}

void command_push_returned(struct engine *engine, struct command *command) {
    queue_push(&engine->returned, command);
    wake(engine);
}

term command_post(struct engine *engine, struct command *command) {
    if (!command)
        return AM(error);
    return command_push(engine, command) ? AM(ok) : AM(closed);
}

term command_ask(ErlNifEnv *env, struct engine *engine, struct command *command, term ref) {
    if (!command)
        return AM(error);
    command->waiter = waiter_new(env, ref);
    return command_post(engine, command); /* a refused one answers */
}

/* ---- the thread ---- */

static bool is_queued(struct engine *engine) {
    struct command *head = atomic_load(&engine->queue);
    return (head && head != &no_more) || atomic_load(&engine->returned);
}

/* Until there is a command. */
static void sleep_until_queued(struct engine *engine) {
    enif_mutex_lock(engine->lock);
    atomic_store(&engine->sleeping, true); /* before looking: who pushes later signals */
    while (!is_queued(engine))
        enif_cond_wait(engine->cond, engine->lock);
    atomic_store(&engine->sleeping, false);
    enif_mutex_unlock(engine->lock);
}

static void end_everything(struct engine *engine) {
    while (engine->conns)
        conn_ended(engine, engine->conns);
    while (engine->listeners)
        listener_ended(engine, engine->listeners);
}

static void engine_thread_end(struct engine *engine) {
    weft_engine_turn(engine->handle); /* what closing has to say */
    weft_engine_turn(engine->handle);
    end_everything(engine);
    run_all(engine, queue_take(&engine->queue, &no_more));
    drain(engine);
    owner_clear(&engine->owner, engine);
    if (engine->on_stopped) {
        waiter_answer(engine->on_stopped, AM(ok));
        engine->on_stopped = NULL;
    }
    while (atomic_load(&engine->live) > 0) {
        sleep_until_queued(engine);
        drain(engine);
    }
    weft_engine_free(engine->handle);
    stream_send_forget_lent(engine);
    drain(engine);
    COUNT(engines, -1);
}

/* So that an operator's tools tell it from the scheduler that started it. */
static void thread_name(uint32_t number) {
#if defined(__linux__)
    char name[16];
    snprintf(name, sizeof name, "weft_engine_%u", (unsigned)(number & 0xff));
    prctl(PR_SET_NAME, name, 0, 0, 0);
#else
    (void)number;
#endif
}

static void *engine_thread(void *arg) {
    struct engine *engine = (struct engine *)arg;
    thread_name(engine->number);
    struct waiter *starter = engine->on_stopped;
    int32_t error = weft_engine_new(&engine->params, &engine->handle);
    engine->on_stopped = NULL;
    if (error == WEFT_OK && !owner_set(&engine->owner, engine, &starter->pid))
        engine->stopped = true; /* who asked for it is gone */
    if (error != WEFT_OK) {
        waiter_answer(starter, term_error(starter->env, error));
        enif_release_resource(engine);
        return NULL;
    }
    COUNT(engines, 1);
    waiter_answer(starter, term_ok(starter->env, enif_make_resource(starter->env, engine)));
    while (!engine->stopped) {
        weft_engine_run(engine->handle);
        if (is_queued(engine) || engine->stopped)
            drain(engine);
        else
            sleep_until_queued(engine);
    }
    engine_thread_end(engine);
    enif_release_resource(engine);
    return NULL;
}

/* Detached, and deaf to signals, which are the VM's. */
static int thread_start(struct engine *engine) {
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (error)
        return error;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    error = pthread_create(&thread, &attributes, engine_thread, engine);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

/* ---- start and stop ---- */

/* engine_start(Number, FleetSecret | undefined, MemoryLimit, Ref) -> ok; {Ref, {ok, Engine} | {error, _}} follows. */
NIF(nif_engine_start) {
    unsigned number;
    ErlNifBinary secret;
    ErlNifUInt64 limit;
    (void)argc;
    bool has_secret = enif_inspect_binary(env, argv[1], &secret);
    if (!enif_get_uint(env, argv[0], &number) || number > 255 || (has_secret && secret.size != 32) ||
        !enif_get_uint64(env, argv[2], &limit))
        return enif_make_badarg(env);
    struct engine *engine = (struct engine *)resource_new(RESOURCE_ENGINE, sizeof *engine);
    if (!engine)
        return AM(error);
    engine->number = number;
    char name[] = "weft_engine";
    engine->lock = enif_mutex_create(name);
    engine->cond = enif_cond_create(name);
    engine->env = enif_alloc_env();
    engine->on_stopped = waiter_new(env, argv[3]);
    engine->params = (weft_engine_params){
        .size = sizeof engine->params,
        .memory_limit = limit,
        .on_events = events_on_batch,
        .events_user = engine,
        .number = number,
        .stream_flags = WEFT_STREAM_PULL,
    };
    if (has_secret) {
        memcpy(engine->fleet_secret, secret.data, 32);
        engine->params.fleet_secret = engine->fleet_secret;
    }
    if (thread_start(engine) != 0) {
        waiter_free(engine->on_stopped);
        enif_release_resource(engine);
        return AM(error);
    }
    return AM(ok);
}

static void engine_stop(struct engine *engine) {
    for (struct listener *listener = engine->listeners; listener; listener = listener->next)
        if (listener->open)
            weft_listener_close(listener->handle, 0);
    for (struct conn *conn = engine->conns; conn; conn = conn->next)
        if (conn->open)
            weft_conn_close(conn->handle, 0, NULL);
    engine->stopped = true;
    weft_engine_stop(engine->handle);
}

void engine_owner_down(struct engine *engine) {
    if (!engine->stopped)
        engine_stop(engine);
}

static void run_stop(struct engine *engine, struct command *command) {
    if (engine->on_stopped || engine->stopped)
        return;
    engine->on_stopped = command_take_waiter(command);
    engine_stop(engine);
}

/* engine_stop(Engine, Ref) -> ok | closed; {Ref, ok} follows when all of its objects have ended. */
NIF(nif_engine_stop) {
    struct engine *engine = (struct engine *)resource_get(env, argv[0], RESOURCE_ENGINE);
    (void)argc;
    if (!engine)
        return AM(closed);
    return command_ask(env, engine, command_new(run_stop, engine, 0), argv[1]);
}
