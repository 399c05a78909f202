/* give.c - handing over an object from its owner to another process, so that nothing is lost and nothing overtakes.
 *
 * In two halves. The first holds the object: no further message is made. The old owner then takes what is in its
 * mailbox about the object, and gives it to the second half, which makes the new process the owner, sends it those
 * messages, and lets go. All of them come from the engine's thread, the old ones first; had the old owner sent them,
 * they could be overtaken, for the VM keeps the order of signals only between two.
 */
#include "nif.h"

struct target {
    struct owner *owner;
    struct mode *mode;
    bool open;
};

static bool target_of(void *object, uint32_t kind, struct target *out) {
    switch (kind) {
    case RESOURCE_STREAM: {
        struct stream *stream = (struct stream *)object;
        *out = (struct target){&stream->owner, &stream->mode, stream->open};
        return true;
    }
    case RESOURCE_CONN: {
        struct conn *conn = (struct conn *)object;
        *out = (struct target){&conn->owner, &conn->mode, conn->open};
        return true;
    }
    case RESOURCE_LISTENER: {
        struct listener *listener = (struct listener *)object;
        *out = (struct target){&listener->owner, &listener->mode, listener->open};
        return true;
    }
    default: return false;
    }
}

static void deliver(struct engine *engine, void *object, uint32_t kind) {
    if (kind == RESOURCE_STREAM)
        stream_deliver(engine, (struct stream *)object);
    else if (kind == RESOURCE_CONN)
        conn_deliver(engine, (struct conn *)object);
    else
        listener_deliver(engine, (struct listener *)object);
}

static void run_begin(struct engine *engine, struct command *command) {
    struct target target;
    (void)engine;
    if (!target_of(command->object, command->flags, &target))
        return;
    if (!owner_is(target.owner, &command->waiter->pid)) {
        command_answer(command, term_fail(command->waiter->env, AM(not_owner)));
        return;
    }
    target.mode->held = true;
    command_answer_code(command, WEFT_OK);
}

static void run_end(struct engine *engine, struct command *command) {
    struct target target;
    term head, tail = command->value;
    if (!target_of(command->object, command->flags, &target))
        return;
    if (!owner_is(target.owner, &command->waiter->pid)) {
        command_answer(command, term_fail(command->waiter->env, AM(not_owner)));
        return;
    }
    ErlNifPid before = target.owner->pid;
    target.mode->held = false;
    /* Of what has ended nobody is an owner, but messages still are somebody's. */
    if (target.open && !owner_set(target.owner, command->object, &command->pid)) {
        owner_set(target.owner, command->object, &before); /* its mailbox gets them back */
        command->pid = before;
        command_answer(command, term_fail(command->waiter->env, AM(badarg)));
    }
    if (!target.open)
        target.owner->pid = command->pid;
    while (enif_get_list_cell(command->env, tail, &head, &tail)) {
        events_send(engine, &command->pid, enif_make_copy(engine->env, head));
    }
    command_answer_code(command, WEFT_OK);
    deliver(engine, command->object, command->flags);
}

/* The object and its kind. */
static void *get(ErlNifEnv *env, term value, uint32_t *kind, struct engine **engine) {
    static const enum resource_kind order[] = {RESOURCE_STREAM, RESOURCE_CONN, RESOURCE_LISTENER};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        void *object = resource_get(env, value, order[i]);
        if (!object)
            continue;
        *kind = order[i];
        *engine = order[i] == RESOURCE_STREAM ? ((struct stream *)object)->engine
                  : order[i] == RESOURCE_CONN ? ((struct conn *)object)->engine
                                              : ((struct listener *)object)->engine;
        return object;
    }
    return NULL;
}

/* give_begin(Handle, Ref): {Ref, ok | {error, not_owner}} follows. */
NIF(nif_give_begin) {
    struct engine *engine;
    uint32_t kind;
    void *object = get(env, argv[0], &kind, &engine);
    (void)argc;
    if (!object)
        return AM(closed);
    struct command *command = command_new(run_begin, object, 0);
    if (command)
        command->flags = kind;
    return command_ask(env, engine, command, argv[1]);
}

/* give_end(Handle, Pid, Messages, Ref) */
NIF(nif_give_end) {
    struct engine *engine;
    uint32_t kind;
    ErlNifPid pid;
    void *object = get(env, argv[0], &kind, &engine);
    (void)argc;
    if (!object)
        return AM(closed);
    if (!enif_get_local_pid(env, argv[1], &pid) || !enif_is_list(env, argv[2]))
        return enif_make_badarg(env);
    struct command *command = command_new(run_end, object, 0);
    if (command) {
        command->flags = kind;
        command->pid = pid;
        command->env = enif_alloc_env();
        command->value = enif_make_copy(command->env, argv[2]);
    }
    return command_ask(env, engine, command, argv[3]);
}
