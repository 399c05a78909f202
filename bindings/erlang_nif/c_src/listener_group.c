/* listener_group.c - listeners of several engines that are one port, and must close together.
 *
 * The system hands a datagram to the engine that its connection ID names, by the place its socket has among those of
 * the port (WEFT_LISTEN_STEER in weft.h). When one of the sockets closes, the last takes its place, and datagrams of
 * other engines' connections go astray. So a stopped listener whose connections are gone waits for the others: the last
 * to have none left closes them all.
 *
 * Members belong to different engines' threads. A group has a lock for that; it is never held for more than a few
 * instructions, and never while something is waited for.
 *
 * The invariant that matters: a member is in the list from the moment its engine knows it until it has ended, and the
 * core's reference keeps it as long.
 */
#include "nif.h"

struct listener_group {
    ErlNifMutex *lock;
    uint32_t refs; /* members whose resource is alive; these three under the lock */
    uint32_t idle;
    uint32_t count;
    struct listener *first; /* linked by group_next */
};

struct listener_group *group_new(void) {
    struct listener_group *group = (struct listener_group *)nif_alloc_zero(sizeof *group);
    if (!group)
        return NULL;
    char name[] = "weft_listener_group";
    group->lock = enif_mutex_create(name);
    group->refs = 1;
    return group;
}

struct listener_group *group_ref(struct listener_group *group) {
    enif_mutex_lock(group->lock);
    group->refs++;
    enif_mutex_unlock(group->lock);
    return group;
}

void group_unref(struct listener_group *group) {
    enif_mutex_lock(group->lock);
    bool last = --group->refs == 0;
    enif_mutex_unlock(group->lock);
    if (!last)
        return;
    enif_mutex_destroy(group->lock);
    nif_free(group);
}

void group_join(struct listener_group *group, struct listener *listener) {
    enif_mutex_lock(group->lock);
    listener->group_next = group->first;
    group->first = listener;
    group->count++;
    enif_mutex_unlock(group->lock);
}

static void run_close(struct engine *engine, struct command *command) {
    struct listener *listener = (struct listener *)command->object;
    (void)engine;
    if (listener->open)
        weft_listener_close(listener->handle, 0);
}

/* On the threads of all of them. */
static void close_all(struct listener_group *group) {
    for (struct listener *member = group->first; member; member = member->group_next) {
        struct command *command = command_new(run_close, member, 0);
        if (command)
            command_push(member->engine, command);
    }
}

void group_idle(struct listener_group *group, struct listener *listener) {
    enif_mutex_lock(group->lock);
    if (!listener->group_idle) {
        listener->group_idle = true;
        if (++group->idle == group->count)
            close_all(group);
    }
    enif_mutex_unlock(group->lock);
}

void group_leave(struct listener_group *group, struct listener *listener) {
    enif_mutex_lock(group->lock);
    for (struct listener **at = &group->first; *at; at = &(*at)->group_next) {
        if (*at != listener)
            continue;
        *at = listener->group_next;
        group->count--;
        group->idle -= listener->group_idle;
        if (group->count && group->idle == group->count)
            close_all(group);
        break;
    }
    enif_mutex_unlock(group->lock);
}
