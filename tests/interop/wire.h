/* wire.h - what relay.c and link.c share: chance that follows from a seed, the clock, and datagrams on their way. */
#ifndef INTEROP_WIRE_H
#define INTEROP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { UP, DOWN, DIRECTIONS }; /* client to server, server to client */
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)

/* A datagram on its way. Its bytes are its own. */
struct parcel {
    uint64_t due, order;
    void *owner; /* what the user wants to know it by */
    int direction;
    uint8_t ecn;
    size_t len;
    uint8_t *data;
};

/* A binary heap, ordered by the time of leaving, then by the order of arrival. All zeros: empty. */
struct wire_heap {
    struct parcel *parcels;
    size_t len, cap;
    uint64_t orders;
};

_Noreturn void wire_die(const char *what); /* with errno's words */
uint64_t wire_now(void);                   /* ns */
/* How long ppoll may wait for the first parcel; an hour when there is none: a signal ends it. */
struct timespec wire_wait(const struct wire_heap *heap);

/* SplitMix64: small, and any seed is a good one. */
uint64_t wire_draw(uint64_t *state);
bool wire_chance(uint64_t *state, double percent);

/* Copies the parcel's bytes; they are freed by who takes it. */
void wire_put(struct wire_heap *heap, struct parcel parcel, uint64_t due);
bool wire_take(struct wire_heap *heap, uint64_t now, struct parcel *parcel); /* what is due; false: nothing is */

/* "12.5" of an option; ends the program with code 2 when it is no number. */
double wire_number(const char *program, const char *name, const char *text);

#endif
