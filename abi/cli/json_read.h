/* json_read.h - JSON (RFC 8259) from a stream, a token at a time, and values of bounded size as trees.
 *
 * Several values may follow each other, as in JSON text sequences (RFC 7464: a record separator before each) and in
 * files with a value a line. What is wrong is said with line and column; after that cli_json_resume goes on with the
 * next record. Depth, texts and trees are bounded, so no input takes more memory than CLI_JSON_NODES and CLI_JSON_TEXT
 * allow.
 *
 * Invariant: the tokens that were given are those of a well-formed text, or of the start of one.
 */
#ifndef CLI_JSON_READ_H
#define CLI_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLI_JSON_DEPTH 64u
#define CLI_JSON_NODES 65536u
#define CLI_JSON_TEXT (1u << 20) /* bytes of all texts of a tree, and of any token */

enum cli_json_token {
    CLI_JSON_END = 0, /* of the input */
    CLI_JSON_ERROR,   /* see `error`; given again until cli_json_resume */
    CLI_JSON_OBJECT,
    CLI_JSON_OBJECT_END,
    CLI_JSON_ARRAY,
    CLI_JSON_ARRAY_END,
    CLI_JSON_NAME, /* of a member: text, len */
    CLI_JSON_STRING,
    CLI_JSON_NUMBER,
    CLI_JSON_TRUE,
    CLI_JSON_FALSE,
    CLI_JSON_NULL,
};

struct cli_json_in {
    long (*read)(void *user, void *data, size_t len); /* bytes; 0: the end; negative: cannot be read */
    void *user;
    char buffer[65536];
    size_t at, have;
    bool ended;
    unsigned long line, column; /* of the next byte, from 1 */
    unsigned depth;
    char open[CLI_JSON_DEPTH]; /* '{' or '[' */
    uint8_t expect;
    char *text; /* CLI_JSON_TEXT bytes and a zero: of the last NAME, STRING or NUMBER */
    size_t len;
    double number;
    char error[160];
};

/* False: no memory. */
bool cli_json_in_open(struct cli_json_in *in, long (*read)(void *, void *, size_t), void *user);
void cli_json_in_close(struct cli_json_in *in);
enum cli_json_token cli_json_next(struct cli_json_in *in);
/* After an error: skips to the next record separator. False: there is none. */
bool cli_json_resume(struct cli_json_in *in);

/* ---- trees ---- */

struct cli_json_node {
    uint8_t type;     /* OBJECT, ARRAY, STRING ... */
    uint32_t name;    /* offset into text; 0: none */
    uint32_t text;    /* STRING */
    double number;    /* NUMBER */
    uint32_t child;   /* index of the first; 0: none */
    uint32_t sibling; /* of the next; 0: none */
};

struct cli_json_tree {
    struct cli_json_node *nodes; /* the root is nodes[1] */
    uint32_t count;
    char *text;
    uint32_t len;
};

bool cli_json_tree_open(struct cli_json_tree *tree); /* false: no memory */
void cli_json_tree_close(struct cli_json_tree *tree);
void cli_json_tree_clear(struct cli_json_tree *tree); /* becomes an empty object */
/* Reads the value that `token` begins and adds it to the root under `name`, or, if name is NULL, makes it the root.
 * False: an error (in->error), too large included. */
bool cli_json_tree_read(struct cli_json_tree *tree, struct cli_json_in *in, enum cli_json_token token,
                        const char *name);
/* The member of that name, or NULL: of a node that is no object or NULL, too. */
const struct cli_json_node *cli_json_member(const struct cli_json_tree *tree, const struct cli_json_node *node,
                                            const char *name);
const struct cli_json_node *cli_json_first(const struct cli_json_tree *tree, const struct cli_json_node *node);
const struct cli_json_node *cli_json_sibling(const struct cli_json_tree *tree, const struct cli_json_node *node);
const char *cli_json_string(const struct cli_json_tree *tree, const struct cli_json_node *node); /* NULL: no string */
/* A number, or a string that is one (64-bit integers are written so by some). */
bool cli_json_real_of(const struct cli_json_tree *tree, const struct cli_json_node *node, double *value);

#endif
