/* jobs_input.c — see jobs_input.h. Finds where objects end; whether they are JSON is checked by the parser.
 */
#include "jobs_input.h"

#include <errno.h>
#include <string.h>

static int broken(jobs_input *in, odto_error *err, int code, const char *what)
{
    odto_fail(err, code, "%s", what);
    odto_error_where(err, in->name, in->at_line, 1);
    in->ended = true;
    return code;
}

static int next_byte(jobs_input *in)
{
    int c = getc(in->file);
    if (c == '\n')
        in->at_line++;
    return c;
}

/* Reads on from the opening brace to its closing one. */
static int read_object(jobs_input *in, odto_error *err)
{
    size_t depth = 0;
    bool string = false, escaped = false;
    int c = '{';
    in->line = in->at_line;
    do {
        char byte = (char)c;
        if (in->text.n >= JOBS_INPUT_MAX || !odto_buf_put(&in->text, &byte, 1))
            return broken(in, err, -EFBIG, "a job is larger than 1 MiB");
        if (string) {
            string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if (c == '"') {
            string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
        if (depth == 0)
            return 1;
        c = next_byte(in);
    } while (c != EOF);
    return broken(in, err, ferror(in->file) ? -EIO : -EINVAL, "the input ends within a job");
}

int jobs_input_next(jobs_input *in, odto_error *err)
{
    if (in->at_line == 0)
        in->at_line = 1;
    odto_buf_clear(&in->text);
    while (!in->ended) {
        int c = next_byte(in);
        if (c == EOF && ferror(in->file))
            return broken(in, err, -EIO, strerror(errno));
        if (c == EOF && in->in_array)
            return broken(in, err, -EINVAL, "the array is not closed by ]");
        if (c == EOF) {
            in->ended = true;
        } else if (c == '{') {
            return read_object(in, err);
        } else if (c == '[' && !in->in_array) {
            in->in_array = true;
        } else if (c == ']' && in->in_array) {
            in->in_array = false;
        } else if (!strchr(" \t\r\n,", c)) {
            broken(in, err, -EINVAL, "no job begins here");
            odto_error_hint(err, "jobs are JSON objects: one a line, one after another, or in an array");
            return -EINVAL;
        }
    }
    return 0;
}
