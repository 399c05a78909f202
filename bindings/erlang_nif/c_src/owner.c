/* owner.c - who is told of an object, and how much: owners and modes.
 *
 * An owner is watched with a monitor. When it is down the VM calls owner_down on some scheduler's thread, which does
 * nothing but post: what follows (a reset, a close) is the engine's thread's to do, and finds out for itself whether
 * the process that died is still the owner.
 */
#include "nif.h"

bool owner_set(struct owner *owner, void *object, const ErlNifPid *pid) {
    owner_clear(owner, object);
    owner->pid = *pid;
    owner->set = true;
    owner->monitored = enif_monitor_process(NULL, object, pid, &owner->monitor) == 0;
    return owner->monitored;
}

void owner_clear(struct owner *owner, void *object) {
    if (owner->monitored)
        enif_demonitor_process(NULL, object, &owner->monitor);
    owner->monitored = false;
}

bool owner_is(const struct owner *owner, const ErlNifPid *pid) {
    return owner->set && enif_compare_pids(&owner->pid, pid) == 0;
}

/* ---- down ---- */

#define IS_STILL(object) owner_is(&(object)->owner, &command->pid)

static void forget(struct waiters *list, const ErlNifPid *pid) {
    for (struct waiter *waiter = waiters_take_of(list, pid); waiter; waiter = waiters_take_of(list, pid))
        waiter_free(waiter);
}

static void run_engine_down(struct engine *engine, struct command *command) {
    (void)command;
    engine_owner_down(engine);
}

static void run_listener_down(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    forget(&listener->accepting, &command->pid);
    forget(&listener->draining, &command->pid);
    if (IS_STILL(listener))
        listener_owner_down(engine, listener);
}

static void run_conn_down(struct engine *engine, struct command *command) {
    struct conn *conn = (struct conn *)command->object;
    struct waiters *lists[] = {&conn->accepting, &conn->opening, &conn->connecting, &conn->datagrams_wanted,
                               &conn->closing};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        forget(lists[i], &command->pid);
    if (IS_STILL(conn))
        conn_owner_down(engine, conn);
}

static void run_stream_down(struct engine *engine, struct command *command) {
    struct stream *stream = (struct stream *)command->object;
    forget(&stream->writable, &command->pid);
    forget(&stream->finishing, &command->pid);
    stream_recv_forget(stream, &command->pid);
    if (IS_STILL(stream))
        stream_owner_down(engine, stream);
}

static void post_down(struct engine *engine, void *object, const ErlNifPid *pid, command_run run) {
    struct command *command = command_new(run, object, 0);
    if (!command)
        return;
    command->pid = *pid;
    command_push(engine, command);
}

#define DOWN(kind, engine_of)                                                                           \
    void owner_of_##kind##_down(ErlNifEnv *env, void *object, ErlNifPid *pid, ErlNifMonitor *monitor) { \
        (void)env;                                                                                      \
        (void)monitor;                                                                                  \
        struct kind *kind = (struct kind *)object;                                                      \
        post_down(engine_of, object, pid, run_##kind##_down);                                           \
    }
DOWN(engine, engine)
DOWN(listener, listener->engine)
DOWN(conn, conn->engine)
DOWN(stream, stream->engine)

/* ---- modes ---- */

bool mode_is_active(const struct mode *mode) { return mode->kind != MODE_FALSE && !mode->held; }

bool mode_spend(struct mode *mode) {
    if (mode->kind == MODE_ONCE)
        mode->kind = MODE_FALSE;
    if (mode->kind != MODE_COUNT || --mode->left > 0)
        return false;
    mode->kind = MODE_FALSE;
    mode->left = 0;
    return true;
}

bool mode_change(struct mode *mode, const struct mode *change, bool *passive) {
    *passive = false;
    if (change->kind != MODE_COUNT) {
        mode->kind = change->kind;
        mode->left = 0;
        return true;
    }
    int32_t sum = (mode->kind == MODE_COUNT ? mode->left : 0) + change->left;
    if (sum > 32767 || sum < -32768)
        return false;
    *passive = sum <= 0;
    mode->kind = sum > 0 ? MODE_COUNT : MODE_FALSE;
    mode->left = sum > 0 ? sum : 0;
    return true;
}
