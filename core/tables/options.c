/* options.c - the options of options.def: their table, their values, and their text form.
 *
 * Knows what the table says, and how people write times and sizes. Does not know what an option does, nor whether two
 * options fit together.
 *
 * The text form: TIME is a number with one of ns, us, ms, s, m, h (0 needs none); BYTES is a number, alone or with B,
 * KiB, MiB, GiB, TiB, PiB, EiB (powers of 1024), kB, MB, GB (powers of 1000), or just k, K, M, G, which are powers of
 * 1024; COUNT is a number; FLAG is on, true, yes, 1, off, false, no or 0; CHOICE is one of the option's names. No
 * spaces, no signs, no fractions.
 *
 * The invariant that matters: a value in a struct options is within its option's range, because nothing but
 * options_init and options_set writes one; and what a message prints as allowed, the parser accepts.
 */
#include "tables/options.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tables/errors.h"

/* ---- the table ------------------------------------------------------------------------------------------------ */

static const char *const choices_congestion_control[] = {"cubic", "newreno", "bbr", NULL};
static const char *const choices_datagram_drop[] = {"oldest", "newest", NULL};
static const char *const choices_datagram_priority[] = {"before", "after", NULL};
static const char *const choices_address_validation[] = {"never", "always", "auto", NULL};
static const char *const choices_versions[] = {"both", "v1", "v2", NULL};
static const char *const choices_version[] = {"v1", "v2", NULL};
static const char *const choices_version_preference[] = {"client", "v1", "v2", NULL};

#define CHOICES_TIME(name) NULL
#define CHOICES_BYTES(name) NULL
#define CHOICES_COUNT(name) NULL
#define CHOICES_FLAG(name) NULL
#define CHOICES_CHOICE(name) choices_##name

const struct option_info options_table[OPTION_IDS] = {
#define OPTION(name, type, standard, least, greatest, text) \
    {#name, OPTION_##type, standard, least, greatest, text, CHOICES_##type(name)},
#include "tables/options.def"
#undef OPTION
};

static_assert(sizeof(struct options) == OPTION_IDS * sizeof(uint64_t),
              "a struct options is OPTION_IDS values in order");

void options_init(struct options *options) {
    for (size_t id = 0; id < OPTION_IDS; id++)
        memcpy((uint8_t *)options + id * sizeof(uint64_t), &options_table[id].standard, sizeof(uint64_t));
}

int options_find(const char *name) {
    for (int id = 0; id < OPTION_IDS; id++)
        if (strcmp(options_table[id].name, name) == 0)
            return id;
    return -1;
}

uint64_t options_get(const struct options *options, int id) {
    assert(id >= 0 && id < OPTION_IDS);
    uint64_t value;
    memcpy(&value, (const uint8_t *)options + (size_t)id * sizeof value, sizeof value);
    return value;
}

/* ---- values as people write them ------------------------------------------------------------------------------ */

struct unit {
    const char *name;
    uint64_t size;
};

/* Printing takes the first that divides the value, so the largest come first and what is only read comes last. */
static const struct unit time_units[] = {
    {"h", 3600 * BASE_SEC},
    {"m", 60 * BASE_SEC},
    {"s", BASE_SEC},
    {"ms", BASE_MS},
    {"us", BASE_US},
    {"ns", 1},
    {NULL, 0},
};
#define BYTES_PRINTED 6 /* units that are used in printing */
static const struct unit byte_units[] = {
    {"EiB", UINT64_C(1) << 60},
    {"PiB", UINT64_C(1) << 50},
    {"TiB", UINT64_C(1) << 40},
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"G", UINT64_C(1) << 30},
    {"M", UINT64_C(1) << 20},
    {"K", UINT64_C(1) << 10},
    {"k", UINT64_C(1) << 10},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"kB", 1000},
    {"B", 1},
    {"", 1},
    {NULL, 0},
};
static const struct unit count_units[] = {{"", 1}, {NULL, 0}};

static const struct unit *const units_of[] = {
    [OPTION_TIME] = time_units,
    [OPTION_BYTES] = byte_units,
    [OPTION_COUNT] = count_units,
};

static const char *const forms[] = {
    [OPTION_TIME] = "a time such as 250ms or 30s (units: ns, us, ms, s, m, h)",
    [OPTION_BYTES] = "a size such as 65536, 64KiB or 4MiB (units: B, KiB, MiB, GiB, kB, MB, GB)",
    [OPTION_COUNT] = "a whole number",
    [OPTION_FLAG] = "on or off",
};

#define VALUE_TEXT 32

static void print_value(const struct option_info *info, uint64_t value, char out[VALUE_TEXT]) {
    const char *unit = "";
    uint64_t size = 1;
    if (info->type == OPTION_FLAG && value <= 1) {
        snprintf(out, VALUE_TEXT, "%s", value ? "on" : "off");
        return;
    }
    if (value > 0 && (info->type == OPTION_TIME || info->type == OPTION_BYTES)) {
        size_t count = info->type == OPTION_TIME ? sizeof time_units / sizeof *time_units - 1 : BYTES_PRINTED;
        for (size_t i = 0; i < count && size == 1; i++)
            if (value % units_of[info->type][i].size == 0) {
                unit = units_of[info->type][i].name;
                size = units_of[info->type][i].size;
            }
    }
    snprintf(out, VALUE_TEXT, "%" PRIu64 "%s", value / size, unit);
}

/* "cubic or newreno", "1KiB to 1TiB", "on or off". */
static void print_allowed(const struct option_info *info, char *out, size_t len) {
    if (info->type == OPTION_FLAG) {
        snprintf(out, len, "%s", forms[OPTION_FLAG]);
    } else if (info->type == OPTION_CHOICE) {
        size_t at = 0;
        for (uint64_t i = 0; i <= info->greatest && at < len; i++) {
            const char *between = i == 0 ? "" : i == info->greatest ? " or " : ", ";
            at += (size_t)snprintf(out + at, len - at, "%s%s", between, info->choices[i]);
        }
    } else {
        char least[VALUE_TEXT], greatest[VALUE_TEXT];
        print_value(info, info->least, least);
        print_value(info, info->greatest, greatest);
        snprintf(out, len, "%s to %s", least, greatest);
    }
}

static int refuse_value(const struct option_info *info, const char *value, char *why, size_t why_len) {
    char allowed[96];
    print_allowed(info, allowed, sizeof allowed);
    if (why && why_len)
        snprintf(why, why_len, "%s: %.40s is not allowed; allowed: %s", info->name, value, allowed);
    return ERR_VALUE;
}

static int refuse_form(const struct option_info *info, const char *value, char *why, size_t why_len) {
    char allowed[96];
    print_allowed(info, allowed, sizeof allowed);
    if (why && why_len && info->type == OPTION_CHOICE)
        snprintf(why, why_len, "%s: \"%.40s\" is not one of its names; allowed: %s", info->name, value, allowed);
    else if (why && why_len && info->type == OPTION_FLAG)
        snprintf(why, why_len, "%s: \"%.40s\" is neither; allowed: %s", info->name, value, allowed);
    else if (why && why_len)
        snprintf(why, why_len, "%s: \"%.40s\" is not %s; allowed: %s", info->name, value, forms[info->type], allowed);
    return ERR_VALUE;
}

int options_set(struct options *options, int id, uint64_t value, char *why, size_t why_len) {
    if (id < 0 || id >= OPTION_IDS) {
        if (why && why_len)
            snprintf(why, why_len, "there is no option with the number %d; allowed: 0 to %d", id, OPTION_IDS - 1);
        return ERR_OPTION;
    }
    const struct option_info *info = &options_table[id];
    if (value < info->least || value > info->greatest) {
        char text[VALUE_TEXT];
        print_value(info, value, text);
        return refuse_value(info, text, why, why_len);
    }
    memcpy((uint8_t *)options + (size_t)id * sizeof value, &value, sizeof value);
    return ERR_OK;
}

/* ---- reading text --------------------------------------------------------------------------------------------- */

enum parsed { PARSED_OK, PARSED_MALFORMED, PARSED_TOO_LARGE };

static enum parsed parse_quantity(const struct unit *units, const char *text, uint64_t *value) {
    if (strcmp(text, "0") == 0) {
        *value = 0;
        return PARSED_OK;
    }
    uint64_t number = 0;
    bool overflow = false;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        overflow |= number > (UINT64_MAX - digit) / 10;
        number = overflow ? 0 : number * 10 + digit;
    }
    if (at == text)
        return PARSED_MALFORMED;
    const struct unit *unit = units;
    while (unit->name && strcmp(unit->name, at) != 0)
        unit++;
    if (!unit->name)
        return PARSED_MALFORMED;
    if (overflow || number > UINT64_MAX / unit->size)
        return PARSED_TOO_LARGE;
    *value = number * unit->size;
    return PARSED_OK;
}

static enum parsed parse_flag(const char *text, uint64_t *value) {
    static const char *const words[] = {"off", "on", "false", "true", "no", "yes", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strcmp(words[i], text) == 0) {
            *value = i & 1;
            return PARSED_OK;
        }
    return PARSED_MALFORMED;
}

static enum parsed parse_choice(const char *const *choices, const char *text, uint64_t *value) {
    for (*value = 0; choices[*value]; ++*value)
        if (strcmp(choices[*value], text) == 0)
            return PARSED_OK;
    return PARSED_MALFORMED;
}

int options_set_text(struct options *options, const char *name, const char *value, char *why, size_t why_len) {
    int id = options_find(name);
    if (id < 0) {
        if (why && why_len)
            snprintf(why, why_len, "there is no option \"%.40s\"", name);
        return ERR_OPTION;
    }
    const struct option_info *info = &options_table[id];
    uint64_t number = 0;
    enum parsed parsed = info->type == OPTION_FLAG     ? parse_flag(value, &number)
                         : info->type == OPTION_CHOICE ? parse_choice(info->choices, value, &number)
                                                       : parse_quantity(units_of[info->type], value, &number);
    if (parsed == PARSED_MALFORMED)
        return refuse_form(info, value, why, why_len);
    if (parsed == PARSED_TOO_LARGE || number < info->least || number > info->greatest)
        return refuse_value(info, value, why, why_len); /* in the words it was given in */
    return options_set(options, id, number, why, why_len);
}
