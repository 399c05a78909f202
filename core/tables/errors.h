/* errors.h - the error numbers of errors.def as the core uses them: ERR_GONE and so on, negative. */
#ifndef TABLES_ERRORS_H
#define TABLES_ERRORS_H

enum err {
    ERR_OK = 0,
#define ERROR(name, number, text) ERR_##name = -(number),
#include "tables/errors.def"
#undef ERROR
};

/* Name ("GONE", "OK" for 0) and text for a person; static. For a number that is no error of weft: "UNKNOWN". */
const char *err_name(int err);
const char *err_text(int err);

#endif
