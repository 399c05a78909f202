/* stats.h - the counters of stats.def as plain structs. */
#ifndef TABLES_STATS_H
#define TABLES_STATS_H

#include <stdint.h>

#define STAT_FIELD_CONN(name) uint64_t name;
#define STAT_FIELD_ENGINE(name)
#define STAT_FIELD_PATH(name)
struct conn_stats {
#define STAT(scope, name, text) STAT_FIELD_##scope(name)
#include "tables/stats.def"
#undef STAT
};
#undef STAT_FIELD_ENGINE

#define STAT_FIELD_ENGINE(name) uint64_t name;
struct engine_stats { /* CONN counters here are the sums over closed connections */
#define STAT(scope, name, text) STAT_FIELD_##scope(name)
#include "tables/stats.def"
#undef STAT
};
#undef STAT_FIELD_PATH
#undef STAT_FIELD_ENGINE
#undef STAT_FIELD_CONN

#define STAT_FIELD_CONN(name)
#define STAT_FIELD_ENGINE(name)
#define STAT_FIELD_PATH(name) uint64_t name;
struct path_stats {
#define STAT(scope, name, text) STAT_FIELD_##scope(name)
#include "tables/stats.def"
#undef STAT
};
#undef STAT_FIELD_PATH
#undef STAT_FIELD_ENGINE
#undef STAT_FIELD_CONN

#endif
