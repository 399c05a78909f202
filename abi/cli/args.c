/* args.c - options of the command line, and the help that is made from the same tables.
 *
 * Forms: --name value, --name=value, -n value, -nvalue, several flags in one word (-46), "--" before words that begin
 * with a dash. An error names the word and what is allowed, and nothing has been done then.
 *
 * Invariant: what cli_parse leaves in argv are exactly the words that are no options, in their order.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define COLUMN 30 /* where the texts of the help begin */

static void print_text(const char *text, int from) {
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        printf("%*s%.*s\n", line == text ? from : COLUMN, "", (int)len, line);
        line += len + (line[len] == '\n');
    }
}

static void print_option(const struct cli_option *option) {
    char head[96];
    int len = snprintf(head, sizeof head, "    %c%c%s--%s%s%s", option->letter ? '-' : ' ',
                       option->letter ? option->letter : ' ', option->letter ? ", " : "  ", option->name,
                       option->value ? " " : "", option->value ? option->value : "");
    fputs(head, stdout);
    if (len >= COLUMN)
        putchar('\n');
    print_text(option->text, len >= COLUMN ? COLUMN : COLUMN - len);
}

static void print_help(const struct cli_usage *usage, const struct cli_group *groups) {
    printf("usage: weft %s%s%s%s\n\n%s\n", usage->command, groups->options ? " [OPTIONS]" : "",
           *usage->arguments ? " " : "", usage->arguments, usage->about);
    for (; groups->options; groups++) {
        printf("\n%s:\n", groups->title);
        for (const struct cli_option *option = groups->options; option->name; option++)
            print_option(option);
    }
    if (usage->closing)
        printf("\n%s", usage->closing);
}

static const struct cli_option *find(const struct cli_group *groups, const char *name, size_t len, char letter,
                                     void **target) {
    for (; groups->options; groups++)
        for (const struct cli_option *option = groups->options; option->name; option++)
            if (letter ? option->letter == letter : strlen(option->name) == len && !memcmp(option->name, name, len)) {
                *target = (char *)groups->target + option->offset;
                return option;
            }
    return NULL;
}

bool cli_list_add(struct cli_list *list, const char *value) {
    const char **items = realloc(list->items, (list->count + 1) * sizeof *items);
    if (!items)
        return false;
    items[list->count++] = value;
    list->items = items;
    return true;
}

void cli_list_free(struct cli_list *list) {
    free(list->items);
    *list = (struct cli_list){NULL, 0};
}

static bool assign(const struct cli_option *option, void *target, const char *value) {
    const char *wanted = "";
    bool ok = true;
    switch (option->kind) {
    case CLI_FLAG: *(bool *)target = true; break;
    case CLI_TEXT: *(const char **)target = value; break;
    case CLI_LIST:
        ok = cli_list_add(target, value);
        wanted = "fewer of them: there is no memory";
        break;
    case CLI_COUNT:
        ok = cli_parse_count(value, target);
        wanted = "a whole number";
        break;
    case CLI_SIZE:
        ok = cli_parse_size(value, target);
        wanted = "a size such as 1000, 64KiB, 1.5GiB or 10MB";
        break;
    case CLI_TIME:
        ok = cli_parse_time(value, target);
        wanted = "a time such as 5, 5s, 250ms or 2m";
        break;
    }
    if (!ok)
        cli_error("--%s wants %s, not '%s'", option->name, wanted, value);
    return ok;
}

static int unknown(const struct cli_usage *usage, const char *word) {
    cli_error("there is no option %s; `weft %s --help` lists them", word, usage->command);
    return CLI_USAGE;
}

/* "--name", "--name=value". */
static int take_long(const struct cli_usage *usage, const struct cli_group *groups, const char *word, int *at, int argc,
                     char **argv) {
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] ? name + len + 1 : NULL;
    void *target = NULL;
    const struct cli_option *option = find(groups, name, len, 0, &target);
    if (!option)
        return unknown(usage, word);
    if (option->kind == CLI_FLAG && value) {
        cli_error("--%s takes no value", option->name);
        return CLI_USAGE;
    }
    if (option->kind != CLI_FLAG && !value) {
        if (*at + 1 >= argc) {
            cli_error("--%s wants a value: %s", option->name, option->value);
            return CLI_USAGE;
        }
        value = argv[++*at];
    }
    return assign(option, target, value) ? CLI_GO_ON : CLI_USAGE;
}

/* "-n", "-nvalue", "-46". */
static int take_short(const struct cli_usage *usage, const struct cli_group *groups, const char *word, int *at,
                      int argc, char **argv) {
    for (const char *letter = word + 1; *letter; letter++) {
        void *target = NULL;
        const struct cli_option *option = find(groups, NULL, 0, *letter, &target);
        if (!option)
            return unknown(usage, word);
        if (option->kind == CLI_FLAG) {
            assign(option, target, NULL);
            continue;
        }
        if (!letter[1] && *at + 1 >= argc) {
            cli_error("-%c wants a value: %s", *letter, option->value);
            return CLI_USAGE;
        }
        return assign(option, target, letter[1] ? letter + 1 : argv[++*at]) ? CLI_GO_ON : CLI_USAGE;
    }
    return CLI_GO_ON;
}

int cli_parse(const struct cli_usage *usage, const struct cli_group *groups, int *argc, char **argv) {
    int kept = 1;
    bool options = true;
    for (int at = 1; at < *argc; at++) {
        char *word = argv[at];
        int code = CLI_GO_ON;
        if (!options || word[0] != '-' || !word[1]) {
            argv[kept++] = word;
        } else if (!strcmp(word, "--")) {
            options = false;
        } else if (!strcmp(word, "--help") || !strcmp(word, "-h")) {
            print_help(usage, groups);
            return CLI_OK;
        } else if (!strcmp(word, "--version")) {
            printf("weft %s\n", weft_version_text());
            return CLI_OK;
        } else {
            code = (word[1] == '-' ? take_long : take_short)(usage, groups, word, &at, *argc, argv);
        }
        if (code != CLI_GO_ON)
            return code;
    }
    *argc = kept;
    return CLI_GO_ON;
}
