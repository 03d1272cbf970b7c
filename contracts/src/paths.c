/* paths.c — where a host keeps its data when nothing says so; see control.h. */
#include <odto/control.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

const char *odto_default_data_dir(char *buf, size_t size)
{
    const char *data = getenv("ODTO_DATA_DIR"), *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    if (data && *data)
        snprintf(buf, size, "%s", data);
    else if (geteuid() == 0)
        snprintf(buf, size, "/var/lib/odto");
    else if (state && *state == '/')
        snprintf(buf, size, "%s/odto", state);
    else if (home && *home == '/')
        snprintf(buf, size, "%s/.local/state/odto", home);
    else
        snprintf(buf, size, "/tmp/odto-%u", (unsigned)geteuid());
    return buf;
}
