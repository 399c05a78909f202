/* unit.h - what every unit test includes. A test file defines unit_suite(); main.c runs it. */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>

Suite *unit_suite(void);

/* For loops of many steps: costs nothing while it holds. (Check's own assertions report to the parent process at every
 * pass, a system call each.) */
#define UNIT_CHECK(condition)               \
    do {                                    \
        if (!(condition))                   \
            ck_abort_msg("%s", #condition); \
    } while (0)

#endif
