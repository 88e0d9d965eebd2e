/* Makes calls that change files below one folder fail, for the drill of failed saves: loaded before
   the C library, so that Python's writes and those of tensorstore's threads meet it alike. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char folder[PATH_MAX];
static int first, fault, lasting;
static atomic_int calls, failed;

/* From call number `number` on `error` is given, for ever or once; number 0: never. */
void faults_arm(const char *below, int number, int error, int for_ever) {
  snprintf(folder, sizeof folder, "%s", below);
  first = number, fault = error, lasting = for_ever;
  calls = failed = 0;
}
int faults_calls(void) { return calls; }
int faults_failed(void) { return failed; }

static int below(int at, const char *path) {
  char name[64], parent[PATH_MAX];
  if (!folder[0]) return 0;
  if (path && path[0] == '/') return !strncmp(path, folder, strlen(folder));
  if (path && at == AT_FDCWD) return 0;
  snprintf(name, sizeof name, "/proc/self/fd/%d", at);
  ssize_t size = readlink(name, parent, sizeof parent - 1);
  if (size < 0) return 0;
  parent[size] = 0;
  return !strncmp(parent, folder, strlen(folder));
}

/* Whether this call fails. A full disk still lets files go. */
static int fails(int at, const char *path, int removes) {
  int before = errno;
  if (!below(at, path) || (removes && fault == ENOSPC)) return errno = before, 0;
  int number = ++calls;
  if (!first || (lasting ? number < first : number != first)) return errno = before, 0;
  ++failed;
  errno = fault;
  return 1;
}

#define REAL(type, name, ...) ((type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name))
#define CHANGES(name, given, taken, at, path, removes) \
  int name given { return fails(at, path, removes) ? -1 : ((int(*) given)dlsym(RTLD_NEXT, #name)) taken; }
#define WRITES(name, given, taken) \
  ssize_t name given { return fails(fd, 0, 0) ? -1 : ((ssize_t(*) given)dlsym(RTLD_NEXT, #name)) taken; }
#define OPENS(name) \
  int name(const char *path, int flags, ...) { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if ((flags & O_CREAT) && fails(AT_FDCWD, path, 0)) return -1; \
    return REAL(int, #name, const char *, int, ...)(path, flags, mode); \
  }
#define OPENS_AT(name) \
  int name(int at, const char *path, int flags, ...) { \
    va_list rest; \
    va_start(rest, flags); \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0; \
    va_end(rest); \
    if ((flags & O_CREAT) && fails(at, path, 0)) return -1; \
    return REAL(int, #name, int, const char *, int, ...)(at, path, flags, mode); \
  }

OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
WRITES(write, (int fd, const void *from, size_t size), (fd, from, size))
WRITES(pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
WRITES(pwrite64, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
WRITES(writev, (int fd, const struct iovec *from, int count), (fd, from, count))
CHANGES(fsync, (int fd), (fd), fd, 0, 0)
CHANGES(fdatasync, (int fd), (fd), fd, 0, 0)
CHANGES(ftruncate, (int fd, off_t size), (fd, size), fd, 0, 0)
CHANGES(mkdir, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, 0)
CHANGES(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode), at, path, 0)
CHANGES(rename, (const char *path, const char *target), (path, target), AT_FDCWD, path, 0)
CHANGES(renameat, (int at, const char *path, int to, const char *target), (at, path, to, target), at, path, 0)
CHANGES(link, (const char *path, const char *target), (path, target), AT_FDCWD, path, 0)
CHANGES(linkat, (int at, const char *path, int to, const char *target, int flags), (at, path, to, target, flags), at, path, 0)
CHANGES(unlink, (const char *path), (path), AT_FDCWD, path, 1)
CHANGES(unlinkat, (int at, const char *path, int flags), (at, path, flags), at, path, 1)
CHANGES(rmdir, (const char *path), (path), AT_FDCWD, path, 1)
