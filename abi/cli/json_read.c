/* json_read.c - see the header. A pull parser with an explicit stack: no recursion, so no input can exhaust ours. */
#include "json_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EXPECT_VALUE = 0,
    EXPECT_FIRST,
    EXPECT_NAME,
    EXPECT_COMMA,
    EXPECT_FAILED
}; /* FIRST: a member or item, or the end */

/* ---- bytes ---- */

static int peek(struct cli_json_in *in) {
    if (in->at == in->have) {
        long got = in->ended ? 0 : in->read(in->user, in->buffer, sizeof in->buffer);
        in->at = 0;
        in->have = got > 0 ? (size_t)got : 0;
        in->ended = got <= 0;
        if (!in->have)
            return -1;
    }
    return (unsigned char)in->buffer[in->at];
}

static int take(struct cli_json_in *in) {
    int c = peek(in);
    if (c < 0)
        return c;
    in->at++;
    in->column++;
    if (c == '\n') {
        in->line++;
        in->column = 1;
    }
    return c;
}

static enum cli_json_token fail(struct cli_json_in *in, const char *what) {
    in->expect = EXPECT_FAILED;
    snprintf(in->error, sizeof in->error, "line %lu, column %lu: %s", in->line, in->column, what);
    return CLI_JSON_ERROR;
}

bool cli_json_in_open(struct cli_json_in *in, long (*read)(void *, void *, size_t), void *user) {
    *in = (struct cli_json_in){.read = read, .user = user, .line = 1, .column = 1};
    in->text = malloc(CLI_JSON_TEXT + 1);
    return in->text != NULL;
}

void cli_json_in_close(struct cli_json_in *in) { free(in->text); }

bool cli_json_resume(struct cli_json_in *in) {
    int c;
    in->depth = 0;
    in->expect = EXPECT_VALUE;
    while ((c = peek(in)) >= 0 && c != 0x1e)
        take(in);
    return c >= 0;
}

/* ---- texts and numbers ---- */

static bool add(struct cli_json_in *in, char c) {
    if (in->len == CLI_JSON_TEXT)
        return false;
    in->text[in->len++] = c;
    in->text[in->len] = 0;
    return true;
}

static bool add_utf8(struct cli_json_in *in, uint32_t code) {
    if (code < 0x80)
        return add(in, (char)code);
    if (code < 0x800)
        return add(in, (char)(0xc0 | code >> 6)) && add(in, (char)(0x80 | (code & 63)));
    if (code < 0x10000)
        return add(in, (char)(0xe0 | code >> 12)) && add(in, (char)(0x80 | (code >> 6 & 63))) &&
               add(in, (char)(0x80 | (code & 63)));
    return add(in, (char)(0xf0 | code >> 18)) && add(in, (char)(0x80 | (code >> 12 & 63))) &&
           add(in, (char)(0x80 | (code >> 6 & 63))) && add(in, (char)(0x80 | (code & 63)));
}

static bool hex4(struct cli_json_in *in, uint32_t *code) {
    *code = 0;
    for (int i = 0; i < 4; i++) {
        int c = peek(in);
        int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (c < 0 || digit < 0)
            return false;
        take(in);
        *code = *code << 4 | (uint32_t)digit;
    }
    return true;
}

/* Behind a backslash. NULL, or what is wrong. */
static const char *escape(struct cli_json_in *in) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint32_t code, low;
    int c = take(in);
    const char *at = c > 0 ? strchr(from, c) : NULL;
    if (at)
        return add(in, to[at - from]) ? NULL : "a text is too long";
    if (c != 'u' || !hex4(in, &code))
        return "no escape sequence";
    if (code >= 0xd800 && code < 0xdc00) { /* the first half of a pair */
        bool pair = take(in) == '\\' && take(in) == 'u' && hex4(in, &low) && low >= 0xdc00 && low < 0xe000;
        if (!pair)
            return "half of a surrogate pair";
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
        return "half of a surrogate pair";
    }
    return add_utf8(in, code) ? NULL : "a text is too long";
}

static const char *read_text(struct cli_json_in *in) {
    in->len = 0;
    in->text[0] = 0;
    take(in);
    for (;;) {
        int c = peek(in);
        const char *wrong = NULL;
        if (c < 0)
            return "the input ends within a text";
        if (c < 0x20)
            return "a control character within a text";
        take(in);
        if (c == '"')
            return NULL;
        if (c == '\\')
            wrong = escape(in);
        else if (!add(in, (char)c))
            wrong = "a text is too long";
        if (wrong)
            return wrong;
    }
}

static bool digits(struct cli_json_in *in) {
    unsigned count = 0;
    for (int c; (c = peek(in)) >= '0' && c <= '9'; count++)
        if (!add(in, (char)take(in)))
            return false;
    return count > 0;
}

static const char *read_number(struct cli_json_in *in) {
    in->len = 0;
    if (peek(in) == '-')
        add(in, (char)take(in));
    bool zero = peek(in) == '0', good = digits(in);
    if (zero && good && in->len > (in->text[0] == '-' ? 2u : 1u))
        return "a number with zeros in front";
    if (good && peek(in) == '.') {
        add(in, (char)take(in));
        good = digits(in);
    }
    if (good && (peek(in) | 32) == 'e') {
        add(in, (char)take(in));
        if (peek(in) == '+' || peek(in) == '-')
            add(in, (char)take(in));
        good = digits(in);
    }
    if (!good)
        return "no number";
    in->number = strtod(in->text, NULL);
    return NULL;
}

static bool word(struct cli_json_in *in, const char *text) {
    for (; *text; text++) {
        if (peek(in) != *text)
            return false;
        take(in);
    }
    return true;
}

/* ---- structure ---- */

static void after_value(struct cli_json_in *in) { in->expect = in->depth ? EXPECT_COMMA : EXPECT_VALUE; }

static enum cli_json_token open_one(struct cli_json_in *in, char bracket) {
    if (in->depth == CLI_JSON_DEPTH)
        return fail(in, "too deep");
    take(in);
    in->open[in->depth++] = bracket;
    in->expect = EXPECT_FIRST;
    return bracket == '{' ? CLI_JSON_OBJECT : CLI_JSON_ARRAY;
}

static enum cli_json_token close_one(struct cli_json_in *in) {
    char bracket = in->open[--in->depth];
    take(in);
    after_value(in);
    return bracket == '{' ? CLI_JSON_OBJECT_END : CLI_JSON_ARRAY_END;
}

static enum cli_json_token value(struct cli_json_in *in, int c) {
    static const struct {
        const char *word;
        enum cli_json_token token;
    } words[] = {{"true", CLI_JSON_TRUE}, {"false", CLI_JSON_FALSE}, {"null", CLI_JSON_NULL}};
    const char *wrong = NULL;
    enum cli_json_token token = CLI_JSON_STRING;
    if (c == '{' || c == '[')
        return open_one(in, (char)c);
    if (c == '"') {
        wrong = read_text(in);
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        wrong = read_number(in);
        token = CLI_JSON_NUMBER;
    } else {
        unsigned i = 0;
        while (i < 3 && words[i].word[0] != c)
            i++;
        if (i == 3 || !word(in, words[i].word))
            return fail(in, "a value was expected");
        token = words[i].token;
    }
    if (wrong)
        return fail(in, wrong);
    after_value(in);
    return token;
}

static enum cli_json_token member_name(struct cli_json_in *in, int c) {
    const char *wrong = c == '"' ? read_text(in) : "a name in quotes was expected";
    if (wrong)
        return fail(in, wrong);
    for (c = peek(in); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(in))
        take(in);
    if (c != ':')
        return fail(in, "a colon was expected");
    take(in);
    in->expect = EXPECT_VALUE;
    return CLI_JSON_NAME;
}

enum cli_json_token cli_json_next(struct cli_json_in *in) {
    for (;;) {
        int c = peek(in);
        if (in->expect == EXPECT_FAILED)
            return CLI_JSON_ERROR;
        if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || (c == 0x1e && !in->depth)) {
            take(in);
            continue;
        }
        if (c < 0)
            return in->depth ? fail(in, "the input ends within a value") : CLI_JSON_END;
        char in_what = in->depth ? in->open[in->depth - 1] : 0;
        bool end = in->depth && c == (in_what == '{' ? '}' : ']');
        if (end && (in->expect == EXPECT_FIRST || in->expect == EXPECT_COMMA))
            return close_one(in);
        if (in->expect == EXPECT_COMMA) {
            if (c != ',')
                return fail(in, in_what == '{' ? "a comma or } was expected" : "a comma or ] was expected");
            take(in);
            in->expect = in_what == '{' ? EXPECT_NAME : EXPECT_VALUE;
            continue;
        }
        if (in->expect == EXPECT_NAME || (in->expect == EXPECT_FIRST && in_what == '{'))
            return member_name(in, c);
        return value(in, c);
    }
}

/* ---- trees ---- */

bool cli_json_tree_open(struct cli_json_tree *tree) {
    tree->nodes = malloc(CLI_JSON_NODES * sizeof *tree->nodes);
    tree->text = malloc(CLI_JSON_TEXT);
    if (!tree->nodes || !tree->text)
        return false;
    cli_json_tree_clear(tree);
    return true;
}

void cli_json_tree_close(struct cli_json_tree *tree) {
    free(tree->nodes);
    free(tree->text);
}

void cli_json_tree_clear(struct cli_json_tree *tree) {
    tree->nodes[1] = (struct cli_json_node){.type = CLI_JSON_OBJECT};
    tree->count = 2;
    tree->text[0] = 0;
    tree->len = 1;
}

static bool keep(struct cli_json_tree *tree, const char *text, uint32_t *at) {
    size_t len = strlen(text) + 1;
    if (CLI_JSON_TEXT - tree->len < len)
        return false;
    *at = tree->len;
    memcpy(tree->text + tree->len, text, len);
    tree->len += (uint32_t)len;
    return true;
}

/* The node for a value; 0: no room. */
static uint32_t node_new(struct cli_json_tree *tree, const struct cli_json_in *in, enum cli_json_token token) {
    if (tree->count == CLI_JSON_NODES)
        return 0;
    struct cli_json_node *node = &tree->nodes[tree->count];
    *node = (struct cli_json_node){.type = (uint8_t)token, .number = in->number};
    if (token == CLI_JSON_STRING && !keep(tree, in->text, &node->text))
        return 0;
    return tree->count++;
}

bool cli_json_tree_read(struct cli_json_tree *tree, struct cli_json_in *in, enum cli_json_token token,
                        const char *name) {
    uint32_t parents[CLI_JSON_DEPTH + 2] = {1}, last[CLI_JSON_DEPTH + 2] = {0}, label = 0;
    unsigned depth = name ? 1 : 0;
    if (!name) {
        cli_json_tree_clear(tree);
        tree->count = 1; /* the value is the root */
    }
    for (uint32_t i = name ? tree->nodes[1].child : 0; i; i = tree->nodes[i].sibling)
        last[0] = i;
    if (name && !keep(tree, name, &label)) {
        fail(in, "a record is too large");
        return false;
    }
    for (unsigned base = depth;;) {
        if (token == CLI_JSON_ERROR || token == CLI_JSON_END)
            return false;
        if (token == CLI_JSON_NAME) {
            if (!keep(tree, in->text, &label))
                break;
        } else if (token == CLI_JSON_OBJECT_END || token == CLI_JSON_ARRAY_END) {
            depth--;
        } else {
            uint32_t node = node_new(tree, in, token);
            if (!node)
                break;
            tree->nodes[node].name = label;
            label = 0;
            if (depth && last[depth - 1])
                tree->nodes[last[depth - 1]].sibling = node;
            else if (depth)
                tree->nodes[parents[depth - 1]].child = node;
            if (depth)
                last[depth - 1] = node;
            if (token == CLI_JSON_OBJECT || token == CLI_JSON_ARRAY) {
                parents[depth] = node;
                last[depth++] = 0;
            }
        }
        if (depth == base && token != CLI_JSON_NAME)
            return true;
        token = cli_json_next(in);
    }
    fail(in, "a record is too large");
    return false;
}

const struct cli_json_node *cli_json_first(const struct cli_json_tree *tree, const struct cli_json_node *node) {
    return node && node->child ? &tree->nodes[node->child] : NULL;
}

const struct cli_json_node *cli_json_sibling(const struct cli_json_tree *tree, const struct cli_json_node *node) {
    return node && node->sibling ? &tree->nodes[node->sibling] : NULL;
}

const struct cli_json_node *cli_json_member(const struct cli_json_tree *tree, const struct cli_json_node *node,
                                            const char *name) {
    if (!node || node->type != CLI_JSON_OBJECT)
        return NULL;
    for (node = cli_json_first(tree, node); node; node = cli_json_sibling(tree, node))
        if (node->name && strcmp(tree->text + node->name, name) == 0)
            return node;
    return NULL;
}

const char *cli_json_string(const struct cli_json_tree *tree, const struct cli_json_node *node) {
    return node && node->type == CLI_JSON_STRING ? tree->text + node->text : NULL;
}

bool cli_json_real_of(const struct cli_json_tree *tree, const struct cli_json_node *node, double *value) {
    const char *text = cli_json_string(tree, node);
    char *end;
    if (node && node->type == CLI_JSON_NUMBER) {
        *value = node->number;
        return true;
    }
    if (!text || !*text)
        return false;
    *value = strtod(text, &end);
    return !*end;
}
