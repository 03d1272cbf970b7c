/* store.c — the words for what store.h numbers. Pure, any thread. */
#include <odto/store.h>

const char *odto_status_name(odto_status s)
{
    static const char *const names[] = {"PENDING", "VALIDATED", "EXECUTING", "COMPLETED", "FAILED"};
    return (size_t)s < sizeof(names) / sizeof(names[0]) ? names[s] : "unknown";
}

const char *odto_outcome_name(odto_outcome o)
{
    static const char *const names[] = {"none",   "ok",        "error",   "timeout",  "lost",
                                        "poison", "cancelled", "expired", "discarded"};
    return (size_t)o < sizeof(names) / sizeof(names[0]) ? names[o] : "unknown";
}
