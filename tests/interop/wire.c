/* wire.c - see wire.h. What must stay true: parcels leave in the order of their times, and those of one time in the
 * order in which they came. */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void wire_die(const char *what) {
    fprintf(stderr, "interop: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t wire_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

struct timespec wire_wait(const struct wire_heap *heap) {
    if (heap->len == 0)
        return (struct timespec){.tv_sec = 3600};
    uint64_t now = wire_now(), due = heap->parcels[0].due, left = due > now ? due - now : 0;
    return (struct timespec){.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};
}

uint64_t wire_draw(uint64_t *state) {
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

bool wire_chance(uint64_t *state, double percent) {
    return (double)(wire_draw(state) >> 11) * (100.0 / 9007199254740992.0 /* 2^53 */) < percent;
}

static bool sooner(const struct parcel *a, const struct parcel *b) {
    return a->due != b->due ? a->due < b->due : a->order < b->order;
}

void wire_put(struct wire_heap *heap, struct parcel parcel, uint64_t due) {
    uint8_t *copy = malloc(parcel.len ? parcel.len : 1);
    if (heap->len == heap->cap) {
        heap->cap = heap->cap ? heap->cap * 2 : 256;
        heap->parcels = realloc(heap->parcels, heap->cap * sizeof *heap->parcels);
    }
    if (!copy || !heap->parcels)
        wire_die("no memory");
    memcpy(copy, parcel.data, parcel.len);
    parcel.data = copy;
    parcel.due = due;
    parcel.order = heap->orders++;
    size_t at = heap->len++;
    for (; at > 0 && sooner(&parcel, &heap->parcels[(at - 1) / 2]); at = (at - 1) / 2)
        heap->parcels[at] = heap->parcels[(at - 1) / 2];
    heap->parcels[at] = parcel;
}

bool wire_take(struct wire_heap *heap, uint64_t now, struct parcel *parcel) {
    if (heap->len == 0 || heap->parcels[0].due > now)
        return false;
    *parcel = heap->parcels[0];
    struct parcel last = heap->parcels[--heap->len];
    size_t at = 0;
    for (size_t child = 1; child < heap->len; child = 2 * at + 1) {
        if (child + 1 < heap->len && sooner(&heap->parcels[child + 1], &heap->parcels[child]))
            child++;
        if (!sooner(&heap->parcels[child], &last))
            break;
        heap->parcels[at] = heap->parcels[child];
        at = child;
    }
    heap->parcels[at] = last;
    return true;
}

double wire_number(const char *program, const char *name, const char *text) {
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= 0)) {
        fprintf(stderr, "%s: %s %s: not a number\n", program, name, text);
        exit(2);
    }
    return number;
}
