/* clock.h - time is a number that is passed in: nanoseconds of a clock that never goes back. Core reads no clock. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

typedef uint64_t base_time; /* ns */

#define BASE_NEVER UINT64_MAX
#define BASE_US UINT64_C(1000)
#define BASE_MS UINT64_C(1000000)
#define BASE_SEC UINT64_C(1000000000)

static inline base_time base_time_min(base_time a, base_time b) { return a < b ? a : b; }
static inline base_time base_time_max(base_time a, base_time b) { return a > b ? a : b; }
/* a + b, staying at BASE_NEVER instead of wrapping. */
static inline base_time base_time_add(base_time a, base_time b) { return a > BASE_NEVER - b ? BASE_NEVER : a + b; }

#endif
