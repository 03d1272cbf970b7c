/* host/privileges.h — become the user the manifest names, for good, before the first plugin's code runs. */
#ifndef HOST_PRIVILEGES_H
#define HOST_PRIVILEGES_H

#include <odto/plugin.h>

/* [host] user, group, no_new_privs. As root with `user`: data_dir is handed over while it is still root's,
 * groups and ids change, the bounding set is emptied, all capabilities go. Main thread, while it is the only
 * one. 0, or an error and the process must end. */
int privileges_drop(const odto_config *host, const char *data_dir, odto_error *err);
#endif
