/* main.c - runs the suite of the test file it is linked with.
 *
 * Each test runs in a process of its own (CK_FORK=no turns that off, for the debugger), so a crash is one failed test
 * and not the end of the run. Check prints a closing line with the counts, which scripts/test.sh adds up; a test
 * program that ends without one has crashed. There is no time limit unless CK_DEFAULT_TIMEOUT sets one: sanitizers and
 * busy machines are slow, and a test must not fail for that.
 */
#include <stdio.h>
#include <stdlib.h>

#include "unit.h"

int main(void) {
    if (setenv("CK_DEFAULT_TIMEOUT", "0", 0) != 0) {
        perror("setenv");
        return EXIT_FAILURE;
    }
    SRunner *runner = srunner_create(unit_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    int ran = srunner_ntests_run(runner);
    srunner_free(runner);
    if (ran == 0) {
        fputs("the suite has no tests\n", stderr);
        return EXIT_FAILURE;
    }
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
