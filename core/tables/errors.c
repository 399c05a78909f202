/* errors.c - names and texts of the errors in errors.def.
 *
 * Knows what the table says. A number the table does not have still gets a name and a text, so that a caller can
 * always print what it was given.
 */
#include "tables/errors.h"

#include <stddef.h>

static const struct {
    const char *name, *text;
} errors[] = {
    [0] = {"OK", "no error"},
#define ERROR(name, number, text) [number] = {#name, text},
#include "tables/errors.def"
#undef ERROR
};
#define ERRORS ((int)(sizeof errors / sizeof *errors))

const char *err_name(int err) { return err <= 0 && err > -ERRORS && errors[-err].name ? errors[-err].name : "UNKNOWN"; }

const char *err_text(int err) {
    return err <= 0 && err > -ERRORS && errors[-err].text ? errors[-err].text : "not an error number of weft";
}
