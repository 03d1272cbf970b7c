/* template.h — argv templates: words of which some stand for a value of the job.
 *
 * {id} {type} {attempt} {correlation} {payload} {payload.FIELD.FIELD} — only as a whole argument, so a value
 * can never become two arguments or part of one, and there is no shell that could read it. A value that
 * begins with '-' would be an option to most programs: it is refused unless the template has "--" before it.
 */
#ifndef EXEC_TEMPLATE_H
#define EXEC_TEMPLATE_H

#include <odto/store.h>

/* 0, or -EINVAL with err naming the word. */
int template_check(const char *const *words, size_t n, odto_error *err);

/* Append the argument's text and a NUL to out. 0; -EINVAL with why (the job's error text); -ENOMEM.
 * after_end:
 * "--" came before. */
int template_word(const char *word, const odto_job *job, bool after_end, odto_buf *out, char *why,
                  size_t why_size);

#endif
