/* A disk whose fsync takes so many milliseconds longer (LD_PRELOAD): SLOW_SYNC_MS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static int slowly(const char *name, int fd) {
  const char *ms = getenv("SLOW_SYNC_MS");
  if (ms != NULL) usleep(atoi(ms) * 1000);
  return ((int (*)(int))dlsym(RTLD_NEXT, name))(fd);
}

int fsync(int fd) { return slowly("fsync", fd); }

int fdatasync(int fd) { return slowly("fdatasync", fd); }
