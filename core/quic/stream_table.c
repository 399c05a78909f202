/* stream_table.c - from stream ID to stream.
 *
 * Knows the sequence number of each stream (its ID without the two type bits) within its kind. Does not know what
 * streams do.
 *
 * IDs of a kind are handed out in order and most streams are short, so the living ones stand close together: a
 * window over the sequence numbers, an array with a mask, finds nearly all of them with one look. A stream that
 * outlives thousands of younger ones would hold the window open; it moves to a hash table instead, and the window
 * moves on.
 *
 * The invariant that matters: a living stream is in its kind's window when its number is in [base, base + capacity),
 * else, its number being below base, in the outliers. A place of the window that belongs to no living stream is
 * NULL.
 */
#include <assert.h>

#include "quic/stream_impl.h"

#define WINDOW_LEAST 16u
#define WINDOW_MOST (UINT32_C(1) << 20)

static struct quic_stream **window_at(const struct quic_stream_kind *kind, uint64_t sequence) {
    return &kind->window[sequence & (kind->capacity - 1)];
}

static bool window_grow(struct quic_streams *set, struct quic_stream_kind *kind) {
    uint32_t capacity = kind->capacity ? kind->capacity * 2 : WINDOW_LEAST;
    struct quic_stream **window = (struct quic_stream **)base_zalloc(set->mem, capacity * sizeof(struct quic_stream *));
    if (!window)
        return false;
    for (uint64_t q = kind->base; q < kind->base + kind->capacity; q++)
        window[q & (capacity - 1)] = *window_at(kind, q);
    base_free(set->mem, kind->window, kind->capacity * sizeof(struct quic_stream *));
    kind->window = window;
    kind->capacity = capacity;
    return true;
}

/* The stream at the window's base becomes an outlier. */
static bool window_evict(struct quic_streams *set, struct quic_stream_kind *kind) {
    struct quic_stream **place = window_at(kind, kind->base);
    uint64_t id = (*place)->id;
    if (!base_map_put(&set->outliers, &id, sizeof id, (uint64_t)(uintptr_t)*place))
        return false;
    *place = NULL;
    kind->base++;
    return true;
}

bool quic_stream_table_put(struct quic_streams *set, struct quic_stream *s) {
    struct quic_stream_kind *kind = quic_streams_kind(set, s->id);
    uint64_t sequence = s->id >> 2;
    assert(sequence >= kind->base);
    while (sequence - kind->base >= kind->capacity) {
        if (kind->capacity && !*window_at(kind, kind->base))
            kind->base++;
        else if (kind->open >= kind->capacity / 4 && kind->capacity < WINDOW_MOST) {
            if (!window_grow(set, kind))
                return false;
        } else if (!window_evict(set, kind))
            return false;
    }
    *window_at(kind, sequence) = s;
    kind->open++;
    return true;
}

void quic_stream_table_remove(struct quic_streams *set, const struct quic_stream *s) {
    struct quic_stream_kind *kind = quic_streams_kind(set, s->id);
    uint64_t sequence = s->id >> 2;
    if (sequence >= kind->base)
        *window_at(kind, sequence) = NULL;
    else
        base_map_remove(&set->outliers, &s->id, sizeof s->id);
    kind->open--;
}

struct quic_stream *quic_streams_find(struct quic_streams *set, uint64_t id) {
    const struct quic_stream_kind *kind = quic_streams_kind(set, id);
    uint64_t sequence = id >> 2;
    if (sequence - kind->base < kind->capacity)
        return *window_at(kind, sequence);
    uint64_t value;
    if (sequence < kind->base && base_map_get(&set->outliers, &id, sizeof id, &value))
        return (struct quic_stream *)(uintptr_t)value;
    return NULL;
}

static void window_free(struct quic_streams *set, struct quic_stream_kind *kind) {
    base_free(set->mem, kind->window, kind->capacity * sizeof(struct quic_stream *));
    kind->window = NULL;
    kind->capacity = 0;
}

/* A window without streams starts again with the next one, whatever its number. */
void quic_stream_table_trim(struct quic_streams *set) {
    for (unsigned i = 0; i < 4; i++)
        if (set->kinds[i].open == 0)
            window_free(set, &set->kinds[i]);
}

void quic_stream_table_clear(struct quic_streams *set) {
    for (unsigned i = 0; i < 4; i++)
        window_free(set, &set->kinds[i]);
    base_map_clear(&set->outliers);
}
