/* host/init.h — duties of PID 1. */
#ifndef HOST_INIT_H
#define HOST_INIT_H

/* Forks: the child returns and becomes the host; the parent stays PID 1, passes signals on to it, reaps every
 * orphan, and exits with the host's code. Call before any thread exists. */
void init_become(void);
#endif
