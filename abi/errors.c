/* errors.c - what has a number has a name: errors, events, options, counters; and structs that grow.
 *
 * Knows the tables of core/tables and holds weft.h to them: an enumerator or member that differs from its line in the
 * table does not compile.
 *
 * The invariant that matters: numbers and offsets that were published never change.
 */
#include "abi.h"

#include <string.h>

#include "tables/options.h"
#include "tables/stats.h"

uint32_t weft_version(void) { return WEFT_VERSION_MAJOR << 16 | WEFT_VERSION_MINOR << 8 | WEFT_VERSION_PATCH; }

const char *weft_version_text(void) { return WEFT_VERSION; }

uint32_t weft_has_feature(const char *name) {
    static const char *const features[] = {"quic-v1", "quic-v2",         "early-data",    "migration",        "ecn",
                                           "bbr",     "reset-stream-at", "ack-frequency", "stream-deadlines", "pair",
                                           "pool",    "datagrams",       "qlog"};
    for (size_t i = 0; name && i < sizeof features / sizeof *features; i++)
        if (strcmp(name, features[i]) == 0)
            return 1;
    return 0;
}

/* ---- errors ---- */

#define ERROR(name, number, text) _Static_assert(WEFT_E_##name == -(number), "weft.h and errors.def differ");
#include "tables/errors.def"
#undef ERROR

const char *weft_strerror(int32_t error) { return err_text(error); }

const char *weft_error_name(int32_t error) { return err_name(error); }

/* ---- events ---- */

#define EVENT(name, number, text) _Static_assert(WEFT_EV_##name == (number), "weft.h and events.def differ");
#include "tables/events.def"
#undef EVENT

_Static_assert(sizeof(weft_event) == 128, "an event has 128 bytes");

const char *weft_event_name(uint32_t type) {
    switch (type) {
#define EVENT(name, number, text) \
    case number:                  \
        return #name;
#include "tables/events.def"
#undef EVENT
    }
    return "UNKNOWN";
}

/* ---- options ---- */

_Static_assert((int)WEFT_OPTION_TIME == (int)OPTION_TIME && (int)WEFT_OPTION_BYTES == (int)OPTION_BYTES &&
                   (int)WEFT_OPTION_COUNT == (int)OPTION_COUNT && (int)WEFT_OPTION_FLAG == (int)OPTION_FLAG &&
                   (int)WEFT_OPTION_CHOICE == (int)OPTION_CHOICE,
               "weft.h and options.h differ");

uint32_t weft_option_count(void) { return OPTION_IDS; }

int32_t weft_option_info(uint32_t index, weft_option *option) {
    if (index >= OPTION_IDS)
        return WEFT_E_OPTION;
    const struct option_info *info = &options_table[index];
    weft_option out = {.size = sizeof out,
                       .type = info->type,
                       .name = info->name,
                       .text = info->text,
                       .standard = info->standard,
                       .least = info->least,
                       .greatest = info->greatest,
                       .choices = info->choices};
    return abi_give(option, &out, sizeof out);
}

/* ---- counters ---- */

#define STAT_AT_CONN(name) offsetof(weft_conn_stats, name)
#define STAT_AT_ENGINE(name) offsetof(weft_engine_stats, name)
#define STAT_AT_PATH(name) offsetof(weft_path_stats, name)
static const weft_stat stats_table[] = {
#define STAT(where, what, about) \
    {.size = sizeof(weft_stat),  \
     .scope = WEFT_STAT_##where, \
     .name = #what,              \
     .text = about,              \
     .offset = (uint32_t)STAT_AT_##where(what)},
#include "tables/stats.def"
#undef STAT
};

#define STAT_COUNT (sizeof stats_table / sizeof *stats_table)

uint32_t weft_stat_count(void) { return STAT_COUNT; }

int32_t weft_stat_info(uint32_t index, weft_stat *stat) {
    return index < STAT_COUNT ? abi_give(stat, &stats_table[index], sizeof *stats_table) : WEFT_E_INVALID;
}

/* ---- structs that grow ---- */

int32_t abi_params(void *to, const void *from, size_t size) {
    memset(to, 0, size);
    if (!from)
        return WEFT_OK;
    uint32_t theirs;
    memcpy(&theirs, from, sizeof theirs);
    if (theirs < sizeof theirs)
        return WEFT_E_INVALID;
    for (size_t i = size; i < theirs; i++)
        if (((const uint8_t *)from)[i])
            return WEFT_E_UNSUPPORTED;
    memcpy(to, from, theirs < size ? theirs : size);
    return WEFT_OK;
}

/* What all tables begin with. */
struct table_head {
    uint32_t size, reserved;
};

int32_t abi_table(const void *table) {
    struct table_head head = {sizeof head, 0};
    if (table)
        memcpy(&head, table, sizeof head.size);
    if (head.size < sizeof head)
        return WEFT_E_INVALID;
    if (table)
        memcpy(&head, table, sizeof head);
    return head.reserved ? WEFT_E_UNSUPPORTED : WEFT_OK;
}

int32_t abi_table_params(void *to, const void *from, size_t size) {
    int32_t error = abi_table(from);
    return error ? error : abi_params(to, from, size);
}

const char *abi_table_why(int32_t error) {
    return error == WEFT_E_INVALID
               ? "a table of functions begins with its size"
               : "the table has functions that this version does not know, or uses what is reserved";
}

int32_t abi_give(void *to, const void *from, size_t size) {
    uint32_t theirs;
    if (!to)
        return WEFT_E_INVALID;
    memcpy(&theirs, to, sizeof theirs);
    if (theirs < sizeof theirs)
        return WEFT_E_INVALID;
    memcpy(to, from, theirs < size ? theirs : size);
    if (theirs > size) /* members of a later version: not known here */
        memset((uint8_t *)to + size, 0, theirs - size);
    memcpy(to, &theirs, sizeof theirs);
    return WEFT_OK;
}

int32_t abi_copy_text(const char *from, char *text, size_t capacity) {
    size_t len = strlen(from);
    if (capacity && !text)
        return WEFT_E_INVALID;
    if (capacity) {
        size_t part = len < capacity ? len : capacity - 1;
        memcpy(text, from, part);
        text[part] = 0;
    }
    return (int32_t)len;
}
