/* test_sched.c - urgency first, sequential before turns, and random use against a naive list. */
#include "quic/sched.h"

#include "base/toolkit.h"

#define NODES 24u

static struct quic_sched_node node_of(uint8_t urgency, bool incremental) {
    return (struct quic_sched_node){.urgency = urgency, .incremental = incremental};
}

START_TEST(nobody_waits_at_first)
{
    struct quic_sched sched;
    quic_sched_init(&sched);
    ck_assert_ptr_null(quic_sched_first(&sched));
}
END_TEST

START_TEST(the_most_urgent_goes_first)
{
    struct quic_sched sched;
    quic_sched_init(&sched);
    struct quic_sched_node low = node_of(7, false), mid = node_of(3, true), top = node_of(0, true);
    quic_sched_add(&sched, &low);
    ck_assert_ptr_eq(quic_sched_first(&sched), &low);
    quic_sched_add(&sched, &mid);
    ck_assert_ptr_eq(quic_sched_first(&sched), &mid);
    quic_sched_add(&sched, &top);
    ck_assert_ptr_eq(quic_sched_first(&sched), &top);
    quic_sched_remove(&sched, &top);
    quic_sched_remove(&sched, &top);
    ck_assert_ptr_eq(quic_sched_first(&sched), &mid);
    quic_sched_remove(&sched, &mid);
    quic_sched_remove(&sched, &low);
    ck_assert_ptr_null(quic_sched_first(&sched));
}
END_TEST

START_TEST(sequential_ones_go_one_after_the_other)
{
    struct quic_sched sched;
    quic_sched_init(&sched);
    struct quic_sched_node turn = node_of(3, true), a = node_of(3, false), b = node_of(3, false);
    quic_sched_add(&sched, &turn);
    quic_sched_add(&sched, &a);
    quic_sched_add(&sched, &b);
    for (int i = 0; i < 3; i++) {
        ck_assert_ptr_eq(quic_sched_first(&sched), &a);
        quic_sched_served(&sched, &a);
    }
    quic_sched_remove(&sched, &a);
    ck_assert_ptr_eq(quic_sched_first(&sched), &b);
    quic_sched_remove(&sched, &b);
    ck_assert_ptr_eq(quic_sched_first(&sched), &turn);
}
END_TEST

START_TEST(incremental_ones_take_turns)
{
    struct quic_sched sched;
    quic_sched_init(&sched);
    struct quic_sched_node nodes[3] = {node_of(3, true), node_of(3, true), node_of(3, true)};
    for (int i = 0; i < 3; i++)
        quic_sched_add(&sched, &nodes[i]);
    for (int i = 0; i < 9; i++) {
        quic_sched_add(&sched, &nodes[i % 3]); /* again: it keeps its place */
        ck_assert_ptr_eq(quic_sched_first(&sched), &nodes[i % 3]);
        quic_sched_served(&sched, &nodes[i % 3]);
    }
    quic_sched_remove(&sched, &nodes[0]);
    quic_sched_served(&sched, &nodes[0]); /* does not come back by that */
    ck_assert_ptr_eq(quic_sched_first(&sched), &nodes[1]);
}
END_TEST

START_TEST(priority_can_change_while_waiting_or_not)
{
    struct quic_sched sched;
    quic_sched_init(&sched);
    struct quic_sched_node a = node_of(3, true), b = node_of(3, true);
    quic_sched_add(&sched, &a);
    quic_sched_add(&sched, &b);
    quic_sched_set(&sched, &a, 3, true); /* nothing new */
    ck_assert_ptr_eq(quic_sched_first(&sched), &a);
    quic_sched_set(&sched, &b, 1, false);
    ck_assert_ptr_eq(quic_sched_first(&sched), &b);
    quic_sched_remove(&sched, &b);
    quic_sched_set(&sched, &b, 0, false);
    ck_assert_ptr_eq(quic_sched_first(&sched), &a);
    quic_sched_add(&sched, &b);
    ck_assert_ptr_eq(quic_sched_first(&sched), &b);
}
END_TEST

/* The naive scheduler: the waiting nodes in order of arrival; the first of the best class goes. */
struct naive {
    struct quic_sched_node *line[NODES];
    unsigned count;
};

static void naive_take(struct naive *n, const struct quic_sched_node *node) {
    unsigned kept = 0;
    for (unsigned i = 0; i < n->count; i++)
        if (n->line[i] != node)
            n->line[kept++] = n->line[i];
    n->count = kept;
}

static bool naive_has(const struct naive *n, const struct quic_sched_node *node) {
    for (unsigned i = 0; i < n->count; i++)
        if (n->line[i] == node)
            return true;
    return false;
}

static struct quic_sched_node *naive_first(const struct naive *n) {
    struct quic_sched_node *best = NULL;
    for (unsigned i = 0; i < n->count; i++) {
        struct quic_sched_node *node = n->line[i];
        if (!best || node->urgency * 2 + node->incremental < best->urgency * 2 + best->incremental)
            best = node;
    }
    return best;
}

START_TEST(agrees_with_a_naive_line)
{
    struct toolkit_dice dice = {7};
    struct quic_sched sched;
    quic_sched_init(&sched);
    struct quic_sched_node nodes[NODES];
    struct naive naive = {.count = 0};
    for (unsigned i = 0; i < NODES; i++)
        nodes[i] = node_of((uint8_t)toolkit_pick(&dice, 8), toolkit_pick(&dice, 2));
    for (unsigned step = 0; step < 100000; step++) {
        struct quic_sched_node *node = &nodes[toolkit_pick(&dice, NODES)];
        bool in = naive_has(&naive, node), requeue = false;
        switch (toolkit_pick(&dice, 4)) {
        case 0:
            quic_sched_add(&sched, node);
            requeue = !in;
            break;
        case 1:
            quic_sched_remove(&sched, node);
            naive_take(&naive, node);
            break;
        case 2:
            quic_sched_served(&sched, node);
            requeue = in && node->incremental;
            break;
        default: {
            uint8_t urgency = (uint8_t)toolkit_pick(&dice, 8);
            bool incremental = toolkit_pick(&dice, 2);
            requeue = in && (urgency != node->urgency || incremental != node->incremental);
            quic_sched_set(&sched, node, urgency, incremental);
        }
        }
        if (requeue) {
            naive_take(&naive, node);
            naive.line[naive.count++] = node;
        }
        ck_assert_ptr_eq(quic_sched_first(&sched), naive_first(&naive));
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {nobody_waits_at_first,
                            the_most_urgent_goes_first,
                            sequential_ones_go_one_after_the_other,
                            incremental_ones_take_turns,
                            priority_can_change_while_waiting_or_not,
                            agrees_with_a_naive_line};
    return TOOLKIT_SUITE("quic/sched", tests);
}
