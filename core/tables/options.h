/* options.h - the options of options.def: the struct that holds their values, and what is known about each. */
#ifndef TABLES_OPTIONS_H
#define TABLES_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

enum option_type { OPTION_TIME, OPTION_BYTES, OPTION_COUNT, OPTION_FLAG, OPTION_CHOICE };

enum option_id {
#define OPTION(name, type, standard, least, greatest, text) OPTION_ID_##name,
#include "tables/options.def"
#undef OPTION
    OPTION_IDS
};

/* The values: one uint64_t an option, by name. */
struct options {
#define OPTION(name, type, standard, least, greatest, text) uint64_t name;
#include "tables/options.def"
#undef OPTION
};

struct option_info {
    const char *name;
    enum option_type type;
    uint64_t standard, least, greatest;
    const char *text;
    const char *const *choices; /* CHOICE: names, NULL-terminated; else NULL */
};

extern const struct option_info options_table[OPTION_IDS];

void options_init(struct options *options); /* all defaults */
/* Index of the option with this name, or -1. */
int options_find(const char *name);
uint64_t options_get(const struct options *options, int id); /* 0 <= id < OPTION_IDS */
/* 0, or ERR_VALUE with a text in `why` (may be NULL) that names option, value and what is allowed; ERR_OPTION for no
 * such id. On an error nothing is changed. */
int options_set(struct options *options, int id, uint64_t value, char *why, size_t why_len);
/* From text: "30s", "250ms", "4MiB", "64k", "on", "cubic", "17"; options.c says what may be written. 0, ERR_OPTION or
 * ERR_VALUE, with the text. */
int options_set_text(struct options *options, const char *name, const char *value, char *why, size_t why_len);

#endif
