/*
 * Stands between a process and its disk (LD_PRELOAD), for the crash lab.
 *
 *   trace   writes down every call that changes files under CRASHLAB_FOLDER, in one order, with what was
 *           written; and what goes to stdout ("told the client") and into sockets, which is where node
 *           keeps the stdin of its children ("sent upstream").
 *   fail    the n-th call of a kind under the folder fails, once or from then on.
 *   slow    each fsync takes so many milliseconds longer.
 *
 * CRASHLAB_FOLDER  absolute path; calls on other files pass untouched
 * CRASHLAB_TRACE   the file of records; no trace without it
 * CRASHLAB_FAIL    as the part after "fail/" below
 * CRASHLAB_SLOW    milliseconds
 *
 * A process under test changes this by "opening" a path under /@crashlab/ that is no file:
 *   /@crashlab/fail/KIND/HOW/N/COUNT   KIND open|write|sync|truncate|unlink|any, HOW EIO|ENOSPC|SHORT;
 *                                      the N-th call from now fails, and the COUNT - 1 after it
 *   /@crashlab/fail/none
 *   /@crashlab/slow/MS
 *   /@crashlab/here                    says EEXIST: the library is there
 *   /@crashlab/fired                   says EEXIST if a call was made to fail since, else ENOENT
 *
 * A record is written after its call, in the same breath for all but fsync: what it says has happened.
 * The shared memory of the WAL is mapped, so it is not traced; it does not outlive the machine anyway.
 * Children of the process are not traced: they do not inherit the library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind {
  OPENED = 1,
  WRITTEN,
  SYNCED,
  TRUNCATED,
  UNLINKED,
  RENAMED,
  CLOSED,
  MADE_FOLDER,
  TOLD,
  SENT,
  LINKED
};

/* One record: this head, then the path, then the bytes. Little endian, as the machine is. */
struct head {
  uint32_t kind;
  int32_t fd;
  uint64_t order;
  int64_t offset; /* of a write; the new size of a truncation; the open flags */
  uint32_t path_length;
  uint32_t data_length;
};

#define FDS_MAX 4096
#define IS_FILE 1

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[4096];
static size_t folder_length;
static int trace_fd = -1;
static uint64_t order;
static unsigned char fds[FDS_MAX];
/* Whose descriptor it was when it was opened: some are closed by system calls that nobody can stand before. */
static struct { dev_t device; ino_t inode; } files[FDS_MAX];

static char fail_kind[16];
static int fail_errno; /* 0: a short write */
static long fail_at, fail_count, fail_seen;
static int has_fired;
static long slow_ms;

#define REAL(type, name, ...)                  \
  static type (*real)(__VA_ARGS__);            \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t raw_write(int fd, const void *bytes, size_t length) {
  REAL(ssize_t, "write", int, const void *, size_t);
  return real(fd, bytes, length);
}

static int is_file(int fd) {
  struct stat about;
  if (fd < 0 || fd >= FDS_MAX || fds[fd] != IS_FILE) return 0;
  if (fstat(fd, &about) == 0 && about.st_dev == files[fd].device && about.st_ino == files[fd].inode)
    return 1;
  fds[fd] = 0;
  return 0;
}

static int is_under(const char *path) {
  return folder_length > 0 && path && strncmp(path, folder, folder_length) == 0 &&
         (path[folder_length] == '/' || path[folder_length] == 0);
}

/* Under the lock. */
static void record(enum kind kind, int fd, int64_t offset, const char *path, const void *bytes,
                   size_t length) {
  if (trace_fd < 0) return;
  int kept = errno;
  struct head head = {kind,   fd, ++order, offset, path ? (uint32_t)strlen(path) : 0,
                      (uint32_t)length};
  struct iovec parts[3] = {{&head, sizeof head},
                           {(void *)path, head.path_length},
                           {(void *)bytes, length}};
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  size_t whole = sizeof head + head.path_length + length;
  if (real(trace_fd, parts, 3) != (ssize_t)whole) {
    static const char text[] = "crash lab: the trace can't be written\n";
    raw_write(2, text, sizeof text - 1);
    abort();
  }
  errno = kept;
}

static void set_fail(const char *text) {
  char how[16] = "";
  fail_kind[0] = 0;
  fail_seen = 0;
  has_fired = 0;
  if (sscanf(text, "%15[a-z]/%15[A-Z]/%ld/%ld", fail_kind, how, &fail_at, &fail_count) < 4) {
    fail_kind[0] = 0;
    return;
  }
  fail_errno = strcmp(how, "EIO") == 0 ? EIO : strcmp(how, "ENOSPC") == 0 ? ENOSPC : 0;
}

/* Whether this call is one that fails. Under the lock. */
static int fails(const char *kind) {
  if (!fail_kind[0] || (strcmp(fail_kind, "any") != 0 && strcmp(fail_kind, kind) != 0)) return 0;
  fail_seen++;
  if (fail_seen < fail_at || fail_seen >= fail_at + fail_count) return 0;
  has_fired = 1;
  return 1;
}

static int fails_with_error(const char *kind) {
  pthread_mutex_lock(&lock);
  int is_failing = fails(kind) && fail_errno != 0;
  pthread_mutex_unlock(&lock);
  if (is_failing) errno = fail_errno;
  return is_failing;
}

/* Commands of the process under test. Returns whether the path was one. */
static int obey(const char *path) {
  static const char mark[] = "/@crashlab/";
  if (!path || strncmp(path, mark, sizeof mark - 1) != 0) return 0;
  const char *text = path + sizeof mark - 1;
  pthread_mutex_lock(&lock);
  errno = ENOENT;
  if (strncmp(text, "fail/", 5) == 0) {
    set_fail(text + 5);
    errno = ENOENT;
  } else if (strncmp(text, "slow/", 5) == 0) {
    slow_ms = atol(text + 5);
  } else if (strcmp(text, "here") == 0 || (strcmp(text, "fired") == 0 && has_fired)) {
    errno = EEXIST;
  }
  pthread_mutex_unlock(&lock);
  return 1;
}

__attribute__((constructor)) static void start(void) {
  const char *path = getenv("CRASHLAB_FOLDER");
  const char *trace = getenv("CRASHLAB_TRACE");
  const char *fail = getenv("CRASHLAB_FAIL");
  const char *slow = getenv("CRASHLAB_SLOW");
  if (path && strlen(path) < sizeof folder) {
    strcpy(folder, path);
    folder_length = strlen(folder);
  }
  if (fail) set_fail(fail);
  if (slow) slow_ms = atol(slow);
  REAL(int, "open", const char *, int, ...);
  if (trace) trace_fd = real(trace, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  unsetenv("LD_PRELOAD");
  unsetenv("CRASHLAB_FOLDER");
  unsetenv("CRASHLAB_TRACE");
  unsetenv("CRASHLAB_FAIL");
  unsetenv("CRASHLAB_SLOW");
}

static int open_under(const char *path, int flags, mode_t mode) {
  REAL(int, "open", const char *, int, ...);
  if (obey(path)) return -1;
  if (!is_under(path)) {
    int fd = real(path, flags, mode);
    if (fd >= 0 && fd < FDS_MAX) fds[fd] = 0;
    return fd;
  }
  if (fails_with_error("open")) return -1;
  pthread_mutex_lock(&lock);
  int fd = real(path, flags, mode);
  struct stat about;
  if (fd >= 0 && fd < FDS_MAX && fstat(fd, &about) == 0) {
    fds[fd] = IS_FILE;
    files[fd].device = about.st_dev;
    files[fd].inode = about.st_ino;
    record(OPENED, fd, flags, path, NULL, 0);
  }
  pthread_mutex_unlock(&lock);
  return fd;
}

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return open_under(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return open_under(path, flags | O_LARGEFILE, mode);
}

int openat(int at, const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  if (path[0] == '/') return open_under(path, flags, mode);
  REAL(int, "openat", int, const char *, int, ...);
  return real(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  mode_t mode = va_arg(more, mode_t);
  va_end(more);
  return openat(at, path, flags | O_LARGEFILE, mode);
}

int close(int fd) {
  REAL(int, "close", int);
  if (fd < 0 || fd >= FDS_MAX || fds[fd] == 0) return real(fd);
  pthread_mutex_lock(&lock);
  if (is_file(fd)) record(CLOSED, fd, 0, NULL, NULL, 0);
  fds[fd] = 0;
  int result = real(fd);
  pthread_mutex_unlock(&lock);
  return result;
}

/* How much of a write is done: less than asked for, or -1 with errno. Under the lock. */
static ssize_t allowed(size_t length) {
  if (!fails("write")) return (ssize_t)length;
  if (fail_errno == 0) return length > 1 ? (ssize_t)(length / 2) : (ssize_t)length;
  errno = fail_errno;
  return -1;
}

static ssize_t pwrite_under(int fd, const void *bytes, size_t length, off64_t offset) {
  REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
  if (!is_file(fd)) return real(fd, bytes, length, offset);
  pthread_mutex_lock(&lock);
  ssize_t result = allowed(length);
  if (result >= 0) {
    result = real(fd, bytes, (size_t)result, offset);
    if (result > 0) record(WRITTEN, fd, offset, NULL, bytes, (size_t)result);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  return pwrite_under(fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
  return pwrite_under(fd, bytes, length, offset);
}

/* Which of the descriptors that are no files of ours are worth a record. */
static enum kind stream_of(int fd) {
  if (trace_fd < 0 || fd < 0 || fd >= FDS_MAX || fd == trace_fd || fd == 2) return 0;
  if (fd == 1) return TOLD;
  struct stat about;
  return fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode) ? SENT : 0;
}

static void record_parts(enum kind kind, int fd, int64_t offset, const struct iovec *parts,
                         int count, size_t length) {
  char *bytes = malloc(length);
  size_t at = 0;
  for (int i = 0; bytes && i < count && at < length; i++) {
    size_t part = parts[i].iov_len < length - at ? parts[i].iov_len : length - at;
    memcpy(bytes + at, parts[i].iov_base, part);
    at += part;
  }
  record(kind, fd, offset, NULL, bytes, length);
  free(bytes);
}

ssize_t write(int fd, const void *bytes, size_t length) {
  int is_ours = is_file(fd);
  enum kind kind = is_ours ? WRITTEN : stream_of(fd);
  if (!kind) return raw_write(fd, bytes, length);
  pthread_mutex_lock(&lock);
  int64_t offset = is_ours ? lseek(fd, 0, SEEK_CUR) : 0;
  ssize_t result = is_ours ? allowed(length) : (ssize_t)length;
  if (result >= 0) {
    result = raw_write(fd, bytes, (size_t)result);
    if (result > 0) record(kind, fd, offset, NULL, bytes, (size_t)result);
  }
  pthread_mutex_unlock(&lock);
  return result;
}

static size_t whole(const struct iovec *parts, int count) {
  size_t length = 0;
  for (int i = 0; i < count; i++) length += parts[i].iov_len;
  return length;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(ssize_t, "writev", int, const struct iovec *, int);
  int is_ours = is_file(fd);
  enum kind kind = is_ours ? WRITTEN : stream_of(fd);
  if (!kind) return real(fd, parts, count);
  pthread_mutex_lock(&lock);
  int64_t offset = is_ours ? lseek(fd, 0, SEEK_CUR) : 0;
  ssize_t result = is_ours && allowed(whole(parts, count)) < 0 ? -1 : real(fd, parts, count);
  if (result > 0) record_parts(kind, fd, offset, parts, count, (size_t)result);
  pthread_mutex_unlock(&lock);
  return result;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
  REAL(ssize_t, "pwritev64", int, const struct iovec *, int, off64_t);
  if (!is_file(fd)) return real(fd, parts, count, offset);
  pthread_mutex_lock(&lock);
  ssize_t result = allowed(whole(parts, count)) < 0 ? -1 : real(fd, parts, count, offset);
  if (result > 0) record_parts(WRITTEN, fd, offset, parts, count, (size_t)result);
  pthread_mutex_unlock(&lock);
  return result;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
  return pwritev64(fd, parts, count, offset);
}

/* The call itself is not under the lock, so that others go on meanwhile, as they do. */
static int synced(int fd, int (*real)(int)) {
  if (!is_file(fd)) return real(fd);
  if (fails_with_error("sync")) return -1;
  if (slow_ms > 0) {
    struct timespec time = {slow_ms / 1000, slow_ms % 1000 * 1000000};
    nanosleep(&time, NULL);
  }
  int result = real(fd);
  if (result == 0) {
    pthread_mutex_lock(&lock);
    record(SYNCED, fd, 0, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
  }
  return result;
}

int fsync(int fd) {
  REAL(int, "fsync", int);
  return synced(fd, real);
}

int fdatasync(int fd) {
  REAL(int, "fdatasync", int);
  return synced(fd, real);
}

static int truncate_under(int fd, off64_t size) {
  REAL(int, "ftruncate64", int, off64_t);
  if (!is_file(fd)) return real(fd, size);
  if (fails_with_error("truncate")) return -1;
  pthread_mutex_lock(&lock);
  int result = real(fd, size);
  if (result == 0) record(TRUNCATED, fd, size, NULL, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int ftruncate64(int fd, off64_t size) { return truncate_under(fd, size); }
int ftruncate(int fd, off_t size) { return truncate_under(fd, size); }

int unlink(const char *path) {
  REAL(int, "unlink", const char *);
  if (!is_under(path)) return real(path);
  if (fails_with_error("unlink")) return -1;
  pthread_mutex_lock(&lock);
  int result = real(path);
  if (result == 0) record(UNLINKED, -1, 0, path, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int rename(const char *from, const char *to) {
  REAL(int, "rename", const char *, const char *);
  if (!is_under(from) && !is_under(to)) return real(from, to);
  pthread_mutex_lock(&lock);
  int result = real(from, to);
  if (result == 0) record(RENAMED, -1, 0, from, to, strlen(to));
  pthread_mutex_unlock(&lock);
  return result;
}

int mkdir(const char *path, mode_t mode) {
  REAL(int, "mkdir", const char *, mode_t);
  if (!is_under(path)) return real(path, mode);
  pthread_mutex_lock(&lock);
  int result = real(path, mode);
  if (result == 0) record(MADE_FOLDER, -1, 0, path, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}

int link(const char *from, const char *to) {
  REAL(int, "link", const char *, const char *);
  if (!is_under(to)) return real(from, to);
  pthread_mutex_lock(&lock);
  int result = real(from, to);
  if (result == 0) record(LINKED, -1, 0, from, to, strlen(to));
  pthread_mutex_unlock(&lock);
  return result;
}
