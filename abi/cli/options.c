/* options.c - `weft options`: the library's options, as the library itself tells them. */
#include <string.h>

#include "cli.h"

struct arguments {
    struct cli_common common;
};

static const struct cli_option options_table[] = {
    {"json", 0, CLI_FLAG, offsetof(struct arguments, common.json), NULL, "one JSON object on each line"},
    {.name = NULL},
};

static const char *const type_names[] = {"time", "bytes", "count", "flag", "choice"};

static const char *value_text(const weft_option *option, uint64_t value, char text[CLI_UNIT_TEXT]) {
    if (option->type == WEFT_OPTION_CHOICE && option->choices)
        for (uint64_t i = 0; option->choices[i]; i++)
            if (i == value)
                return option->choices[i];
    if (option->type == WEFT_OPTION_FLAG)
        return value ? "on" : "off";
    if (option->type == WEFT_OPTION_TIME) {
        static const struct {
            uint64_t ns;
            const char *name;
        } units[] = {{3600000000000u, "h"}, {1000000000u, "s"}, {1000000u, "ms"}, {1000u, "us"}, {1, "ns"}};
        size_t unit = 0;
        while (value % units[unit].ns)
            unit++;
        snprintf(text, CLI_UNIT_TEXT, "%llu%s", (unsigned long long)(value / units[unit].ns),
                 value ? units[unit].name : "");
        return text;
    }
    if (option->type == WEFT_OPTION_BYTES && value && value % 1024 == 0) {
        static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
        size_t unit = 0;
        for (value /= 1024; value % 1024 == 0 && unit < 4; value /= 1024)
            unit++;
        snprintf(text, CLI_UNIT_TEXT, "%llu%s", (unsigned long long)value, units[unit]);
        return text;
    }
    snprintf(text, CLI_UNIT_TEXT, "%llu", (unsigned long long)value);
    return text;
}

static void print_option(const weft_option *option) {
    char standard[CLI_UNIT_TEXT], least[CLI_UNIT_TEXT], greatest[CLI_UNIT_TEXT];
    printf("%s\n    %s\n    ", option->name, option->text);
    if (option->type == WEFT_OPTION_CHOICE && option->choices) {
        for (size_t i = 0; option->choices[i]; i++)
            printf("%s%s", i ? " or " : "", option->choices[i]);
    } else if (option->type == WEFT_OPTION_FLAG) {
        printf("on or off");
    } else {
        printf("%s to %s", value_text(option, option->least, least), value_text(option, option->greatest, greatest));
    }
    printf("; unless set %s\n", value_text(option, option->standard, standard));
}

static void print_json(const weft_option *option) {
    struct cli_json json = cli_json_begin(stdout);
    char choices[256] = "";
    cli_json_text(&json, "name", option->name);
    cli_json_text(&json, "type", option->type < 5 ? type_names[option->type] : "?");
    cli_json_uint(&json, "default", option->standard);
    cli_json_uint(&json, "least", option->least);
    cli_json_uint(&json, "greatest", option->greatest);
    for (size_t i = 0; option->type == WEFT_OPTION_CHOICE && option->choices && option->choices[i]; i++)
        snprintf(choices + strlen(choices), sizeof choices - strlen(choices), "%s%s", i ? "," : "", option->choices[i]);
    if (*choices)
        cli_json_text(&json, "choices", choices);
    cli_json_text(&json, "text", option->text);
    cli_json_end(&json);
}

int options_main(int argc, char **argv) {
    static const struct cli_usage usage = {
        "options", "[NAME...]",
        "Lists the library's options (or those named), which every command takes with --set NAME=VALUE:\n"
        "what they mean, what is allowed, and what they are unless set.",
        "Example: weft serve --set max_idle_timeout=2m --set congestion_control=newreno\n\n"
        "Exit codes: 0 ok, 2 there is no such option.\n"};
    struct arguments arguments = {{0}};
    const struct cli_group groups[] = {{"Options", options_table, &arguments}, {NULL, NULL, NULL}};
    int code = cli_parse(&usage, groups, &argc, argv);
    if (code != CLI_GO_ON)
        return code;
    for (int i = 1; i < argc || (argc == 1 && i == 1); i++) {
        bool found = false;
        for (uint32_t index = 0; index < weft_option_count(); index++) {
            weft_option option = {.size = sizeof option};
            if (weft_option_info(index, &option) || (argc > 1 && strcmp(option.name, argv[i])))
                continue;
            found = true;
            (arguments.common.json ? print_json : print_option)(&option);
        }
        if (!found) {
            cli_error("there is no option '%s'", argc > 1 ? argv[i] : "");
            return CLI_USAGE;
        }
    }
    return CLI_OK;
}
