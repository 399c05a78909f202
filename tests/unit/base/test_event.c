/* test_event.c - an event is said once, in its turn, and not at all after it was taken back. */
#include "base/event.h"

#include "toolkit.h"

static struct base_events events;
static struct base_event nodes[4];

static void setup(void) {
    base_events_init(&events);
    memset(nodes, 0, sizeof nodes);
    for (int i = 0; i < 4; i++)
        nodes[i].handle = (uint64_t)i + 100;
}

static void pops(struct base_event *expect, uint32_t expect_bits) {
    uint32_t bits = 0xdead;
    ck_assert_ptr_eq(base_events_pop(&events, &bits), expect);
    if (!expect)
        return;
    ck_assert_uint_eq(bits, expect_bits);
    ck_assert_uint_eq(expect->bits, 0);
    ck_assert(!base_node_linked(&expect->node));
}

START_TEST(nothing_to_say)
{ pops(NULL, 0); }
END_TEST

START_TEST(raising_twice_is_once)
{
    base_event_raise(&events, &nodes[0], 1);
    base_event_raise(&events, &nodes[0], 1);
    base_event_raise(&events, &nodes[0], 4);
    pops(&nodes[0], 5);
    ck_assert_uint_eq(nodes[0].handle, 100);
    pops(NULL, 0);
}
END_TEST

START_TEST(first_raised_first_out)
{
    base_event_raise(&events, &nodes[2], 1);
    base_event_raise(&events, &nodes[0], 1);
    base_event_raise(&events, &nodes[3], 2);
    base_event_raise(&events, &nodes[2], 8); /* keeps its turn */
    pops(&nodes[2], 9);
    base_event_raise(&events, &nodes[2], 2); /* heard already: to the end of the line */
    pops(&nodes[0], 1);
    pops(&nodes[3], 2);
    pops(&nodes[2], 2);
    pops(NULL, 0);
}
END_TEST

START_TEST(cancelled_is_not_heard)
{
    for (int i = 0; i < 4; i++)
        base_event_raise(&events, &nodes[i], 1u << i);
    base_event_cancel(&nodes[1]);
    base_event_cancel(&nodes[0]);
    base_event_cancel(&nodes[0]);
    ck_assert_uint_eq(nodes[0].bits, 0);
    ck_assert(!base_node_linked(&nodes[0].node));
    pops(&nodes[2], 4);
    base_event_cancel(&nodes[2]); /* delivered: nothing to take back */
    base_event_raise(&events, &nodes[1], 16);
    pops(&nodes[3], 8);
    pops(&nodes[1], 16); /* and none of what it had to say before */
    pops(NULL, 0);
}
END_TEST

START_TEST(no_bits_no_place_in_line)
{
    base_event_raise(&events, &nodes[0], 0);
    ck_assert(!base_node_linked(&nodes[0].node));
    base_event_raise(&events, &nodes[1], 1);
    base_event_raise(&events, &nodes[1], 0);
    pops(&nodes[1], 1);
    pops(NULL, 0);
}
END_TEST

START_TEST(agrees_with_a_model)
{
    struct toolkit_dice dice = {6};
    uint32_t order[4], count = 0, bits[4] = {0}; /* of nodes in line; what each is to say */
    for (int step = 0; step < 5000; step++) {
        uint32_t which = toolkit_pick(&dice, 4), what = toolkit_pick(&dice, 4);
        if (what == 0) {
            pops(count ? &nodes[order[0]] : NULL, count ? bits[order[0]] : 0);
            if (count) {
                bits[order[0]] = 0;
                memmove(order, order + 1, --count * sizeof *order);
            }
        } else if (what == 1) {
            base_event_cancel(&nodes[which]);
            bits[which] = 0;
            uint32_t kept = 0;
            for (uint32_t i = 0; i < count; i++)
                if (order[i] != which)
                    order[kept++] = order[i];
            count = kept;
        } else {
            uint32_t raised = 1u << toolkit_pick(&dice, 32);
            base_event_raise(&events, &nodes[which], raised);
            if (!bits[which])
                order[count++] = which;
            bits[which] |= raised;
        }
        for (int i = 0; i < 4; i++)
            ck_assert(nodes[i].bits == bits[i] && base_node_linked(&nodes[i].node) == (bits[i] != 0));
    }
}
END_TEST

Suite *unit_suite(void) {
    const TTest *tests[] = {nothing_to_say,         raising_twice_is_once,    first_raised_first_out,
                            cancelled_is_not_heard, no_bits_no_place_in_line, agrees_with_a_model};
    return TOOLKIT_SUITE_WITH("base/event", tests, setup, NULL);
}
