/* The JSON reader of `weft qlog`: no bytes may make it crash, run on for ever or give tokens that do not fit together.
 * The first byte says in which pieces the input comes, and whether values are read as trees. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../../abi/cli/json_read.c"
#include "pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk(const struct cli_json_tree *tree) {
    for (uint32_t i = 1; i < tree->count; i++) {
        const struct cli_json_node *node = &tree->nodes[i];
        double value;
        assert(node->child < tree->count && node->sibling < tree->count && node->name < tree->len &&
               node->text < tree->len);
        assert(!node->child || node->child > i); /* so no walk goes in circles */
        assert(!node->sibling || node->sibling > i);
        (void)cli_json_member(tree, node, "time");
        (void)cli_json_real_of(tree, node, &value);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct cli_json_in in;
    struct cli_json_tree tree;
    if (!size)
        return 0;
    struct input input = {data + 1, size - 1, (size_t)(data[0] & 63) + 1};
    bool opened = cli_json_in_open(&in, give, &input) && cli_json_tree_open(&tree);
    assert(opened);
    unsigned depth = 0;
    for (enum cli_json_token token; opened && (token = cli_json_next(&in)) != CLI_JSON_END;) {
        if (token == CLI_JSON_ERROR) {
            assert(cli_json_next(&in) == CLI_JSON_ERROR && in.error[0]);
            depth = 0;
            if (!cli_json_resume(&in))
                break;
            continue;
        }
        if (data[0] & 64 && token != CLI_JSON_NAME && token != CLI_JSON_OBJECT_END && token != CLI_JSON_ARRAY_END) {
            if (cli_json_tree_read(&tree, &in, token, NULL))
                walk(&tree);
            continue;
        }
        depth += token == CLI_JSON_OBJECT || token == CLI_JSON_ARRAY;
        assert(depth || (token != CLI_JSON_OBJECT_END && token != CLI_JSON_ARRAY_END && token != CLI_JSON_NAME));
        depth -= token == CLI_JSON_OBJECT_END || token == CLI_JSON_ARRAY_END;
        assert(depth == in.depth && depth <= CLI_JSON_DEPTH);
    }
    cli_json_in_close(&in);
    cli_json_tree_close(&tree);
    return 0;
}
