/* privileges.c — see privileges.h. */
#include "host/privileges.h"

#include <errno.h>
#include <ftw.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct ids {
    uid_t uid;
    gid_t gid;
    char name[64];
};

/* Names, or numbers for ids the machine has no name for. */
static int look_up(const char *user, const char *group, struct ids *out, odto_error *err)
{
    char *end;
    const struct passwd *pw = getpwnam(user);
    unsigned long number = strtoul(user, &end, 10);
    if (!pw && (*end || end == user || !group))
        return odto_fail(err, -ENOENT, "user = %s: %s", user,
                         *end || end == user ? "there is no such user" : "a number needs `group` too");
    out->uid = pw ? pw->pw_uid : (uid_t)number;
    out->gid = pw ? pw->pw_gid : (gid_t)-1;
    snprintf(out->name, sizeof out->name, "%s", pw ? pw->pw_name : "");
    if (!group)
        return 0;
    const struct group *gr = getgrnam(group);
    number = strtoul(group, &end, 10);
    if (!gr && (*end || end == group))
        return odto_fail(err, -ENOENT, "group = %s: there is no such group", group);
    out->gid = gr ? gr->gr_gid : (gid_t)number;
    return 0;
}

static struct ids hand_to; /* nftw takes no argument; the main thread only, before any other */

static int hand_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)f;
    if (type == FTW_NS || (!S_ISDIR(st->st_mode) && st->st_nlink > 1))
        return 0; /* a second name of the file may lie anywhere */
    return lchown(path, hand_to.uid, hand_to.gid) == 0 ? 0 : errno;
}

/* Only while the folder is root's own: in one that is the user's already he could have put links. */
static int hand_over(const char *dir, const struct ids *ids, odto_error *err)
{
    struct stat st;
    if (lstat(dir, &st) < 0)
        return odto_fail(err, -errno, "can't look at %s: %s", dir, strerror(errno));
    if (st.st_uid == ids->uid)
        return 0;
    if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH))) {
        odto_fail(err, -EPERM, "the data directory %s belongs to neither root nor user %s", dir, ids->name);
        odto_error_hint(err, "give it to that user: chown -R %u:%u %s", ids->uid, ids->gid, dir);
        return -EPERM;
    }
    hand_to = *ids;
    int r = nftw(dir, hand_one, 16, FTW_PHYS | FTW_MOUNT);
    return r == 0 ? 0
                  : odto_fail(err, -EPERM, "can't hand %s over to user %s: %s", dir, ids->name,
                              strerror(r < 0 ? errno : r));
}

static int drop_capabilities(void)
{
    struct __user_cap_header_struct head = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &head, none) == 0 ? 0 : -errno;
}

static int become(const struct ids *ids)
{
    for (unsigned long cap = 0; cap < 64; cap++)
        prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* EINVAL above the last one the kernel knows */
    int r = ids->name[0] ? initgroups(ids->name, ids->gid) : setgroups(1, &ids->gid);
    if (r < 0 || setresgid(ids->gid, ids->gid, ids->gid) < 0 || setresuid(ids->uid, ids->uid, ids->uid) < 0)
        return -errno;
    r = drop_capabilities();
    if (r == 0 && ids->uid != 0 && (setuid(0) == 0 || geteuid() != ids->uid))
        r = -EPERM;                     /* it must not come back */
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); /* crash records and the watchdog read /proc/self */
    return r;
}

int privileges_drop(const odto_config *host, const char *data_dir, odto_error *err)
{
    const char *user = odto_config_str(host, "user"), *group = odto_config_str(host, "group");
    struct ids ids;
    int r = 0;
    if (group && !user)
        return odto_fail(err, -EINVAL, "group = %s without `user`", group);
    if (user && (r = look_up(user, group, &ids, err)) < 0)
        return r;
    if (user && geteuid() == 0) {
        r = hand_over(data_dir, &ids, err);
        if (r == 0 && (r = become(&ids)) < 0)
            odto_fail(err, r, "can't become user %s: %s", user, strerror(-r));
    } else if (user && geteuid() != ids.uid) {
        r = odto_fail(err, -EPERM, "user = %s, but the host was started by user %u", user, geteuid());
        odto_error_hint(err, "start it as root or as that user, or remove the option");
    }
    if (r == 0 && odto_config_bool(host, "no_new_privs") && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        r = odto_fail(err, -errno, "can't set no_new_privs: %s", strerror(errno));
    return r;
}
