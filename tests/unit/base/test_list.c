/* test_list.c - an intrusive list whose nodes know whether they are linked. */
#include "base/list.h"

#include "toolkit.h"

struct item {
    int before;
    struct base_node node;
    char name;
};

static struct base_list list;
static struct item items[6];

static void setup(void) {
    base_list_init(&list);
    memset(items, 0, sizeof items);
    for (int i = 0; i < 6; i++)
        items[i].name = (char)('a' + i);
}

/* Walks both ways. */
static void looks_like(const char *expect) {
    char text[8] = "";
    size_t len = 0;
    for (struct base_node *node = base_list_first(&list); node; node = base_list_next(&list, node))
        text[len++] = BASE_CONTAINER(node, struct item, node)->name;
    ck_assert_str_eq(text, expect);
    for (const struct base_node *node = list.head.prev; node != &list.head; node = node->prev)
        ck_assert_int_eq(BASE_CONTAINER(node, const struct item, node)->name, text[--len]);
    ck_assert_uint_eq(len, 0);
    ck_assert_int_eq(base_list_empty(&list), *expect == 0);
}

START_TEST(empty_list)
{
    looks_like("");
    ck_assert_ptr_null(base_list_first(&list));
    ck_assert_ptr_null(base_list_pop_front(&list));
    ck_assert(!base_node_linked(&items[0].node));
    base_list_remove(&items[0].node); /* not linked: nothing happens */
    looks_like("");
}
END_TEST

START_TEST(pushing_and_inserting)
{
    base_list_push_back(&list, &items[1].node);
    base_list_push_back(&list, &items[2].node);
    base_list_push_front(&list, &items[0].node);
    looks_like("abc");
    base_list_insert_before(&items[2].node, &items[3].node);
    looks_like("abdc");
    base_list_insert_before(&list.head, &items[4].node);
    looks_like("abdce");
    for (int i = 0; i < 5; i++)
        ck_assert(base_node_linked(&items[i].node));
}
END_TEST

START_TEST(removing)
{
    for (int i = 0; i < 5; i++)
        base_list_push_back(&list, &items[i].node);
    base_list_remove(&items[2].node);
    looks_like("abde");
    ck_assert(!base_node_linked(&items[2].node));
    ck_assert_ptr_null(items[2].node.prev);
    base_list_remove(&items[2].node); /* twice is once */
    base_list_remove(&items[0].node);
    base_list_remove(&items[4].node);
    looks_like("bd");
    base_list_push_back(&list, &items[2].node);
    looks_like("bdc");
    ck_assert_ptr_eq(base_list_pop_front(&list), &items[1].node);
    ck_assert(!base_node_linked(&items[1].node));
    ck_assert_ptr_eq(base_list_pop_front(&list), &items[3].node);
    ck_assert_ptr_eq(base_list_pop_front(&list), &items[2].node);
    ck_assert_ptr_null(base_list_pop_front(&list));
    looks_like("");
}
END_TEST

START_TEST(agrees_with_an_array)
{
    struct toolkit_dice dice = {5};
    char model[8] = "";
    for (int step = 0; step < 3000; step++) {
        struct item *item = &items[toolkit_pick(&dice, 6)];
        char *at = strchr(model, item->name);
        ck_assert_int_eq(base_node_linked(&item->node), at != NULL);
        if (at) {
            base_list_remove(&item->node);
            memmove(at, at + 1, strlen(at));
        } else if (toolkit_pick(&dice, 2)) {
            base_list_push_front(&list, &item->node);
            memmove(model + 1, model, strlen(model) + 1);
            model[0] = item->name;
        } else {
            base_list_push_back(&list, &item->node);
            model[strlen(model) + 1] = 0;
            model[strlen(model)] = item->name;
        }
        looks_like(model);
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {empty_list, pushing_and_inserting, removing, agrees_with_an_array};
    return TOOLKIT_SUITE_WITH("base/list", tests, setup, NULL);
}
