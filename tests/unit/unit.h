/* unit.h - what every unit test includes. A test file defines unit_suite(); main.c runs it. */
#ifndef UNIT_H
#define UNIT_H

#include <check.h>

Suite *unit_suite(void);

#endif
