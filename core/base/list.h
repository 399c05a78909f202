/* list.h - an intrusive doubly linked list. A node knows whether it is linked, so "mark dirty" is idempotent.
 * Invariant: an unlinked node has next == NULL; a list head is a node linked to itself when empty. */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct base_node {
    struct base_node *next, *prev;
};

struct base_list {
    struct base_node head;
};

#define BASE_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void base_list_init(struct base_list *list) { list->head.next = list->head.prev = &list->head; }
static inline bool base_list_empty(const struct base_list *list) { return list->head.next == &list->head; }
static inline bool base_node_linked(const struct base_node *node) { return node->next != NULL; }

static inline void base_list_insert_before(struct base_node *at, struct base_node *node) {
    node->next = at;
    node->prev = at->prev;
    at->prev->next = node;
    at->prev = node;
}

static inline void base_list_push_back(struct base_list *list, struct base_node *node) {
    base_list_insert_before(&list->head, node);
}

static inline void base_list_push_front(struct base_list *list, struct base_node *node) {
    base_list_insert_before(list->head.next, node);
}

/* Unlinks; does nothing to a node that is not linked. */
static inline void base_list_remove(struct base_node *node) {
    if (!node->next)
        return;
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->next = node->prev = NULL;
}

static inline struct base_node *base_list_first(const struct base_list *list) {
    return base_list_empty(list) ? NULL : list->head.next;
}

static inline struct base_node *base_list_last(const struct base_list *list) {
    return base_list_empty(list) ? NULL : list->head.prev;
}

static inline struct base_node *base_list_pop_front(struct base_list *list) {
    struct base_node *node = base_list_first(list);
    if (node)
        base_list_remove(node);
    return node;
}

/* The node after `node`, or NULL at the end. */
static inline struct base_node *base_list_next(const struct base_list *list, const struct base_node *node) {
    return node->next == &list->head ? NULL : node->next;
}

#endif
