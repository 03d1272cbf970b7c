/* jobs_input.h — jobs out of a stream of JSON text: objects one after another, one a line, or in an array.
 * One thread, one stream. */
#ifndef ODTO_JOBS_INPUT_H
#define ODTO_JOBS_INPUT_H

#include <odto/base.h>
#include <stdio.h>

#define JOBS_INPUT_MAX (1u << 20) /* bytes of one job */

typedef struct jobs_input {
    FILE *file;
    const char *name; /* for errors */
    int line;         /* where the last job began */
    int at_line;
    bool in_array, ended;
    odto_buf text;
} jobs_input;

/* The text of the next object in in->text. 1: there is one; 0: the end; -EINVAL, -EFBIG, -EIO with err (where
 * it is): the stream can't be read on. */
int jobs_input_next(jobs_input *in, odto_error *err);

#endif
