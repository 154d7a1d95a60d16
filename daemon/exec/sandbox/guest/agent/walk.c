/* Paths, one part at a time from the root: each folder is opened relative to the one before, and a symbolic link anywhere is an error. */
#include "agent.h"

static int open_folder(int at, const char *name) {
  int fd = sys_openat(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
  if (fd != -ENOTDIR) return fd;
  struct statx found;
  /* the same error stands for a file and for a link */
  if (sys_statx(at, name, &found) == 0 && (found.stx_mode & S_IFMT) == S_IFLNK) return -ELOOP;
  return fd;
}

/* For reading its entries: in two steps, as gVisor follows a link when a folder is opened for reading, whatever it was told. */
int read_folder(int at, const char *name) {
  int fd = open_folder(at, name);
  if (fd < 0) return fd;
  int readable = sys_openat(fd, ".", O_RDONLY | O_DIRECTORY, 0);
  sys_close(fd);
  return readable;
}

/*
 * Opens the folder of the last part and copies that part to `last` (256 bytes; "." for the root itself). With `make`, missing folders are made.
 */
int walk(const char *path, int make, char *last) {
  if (path[0] != '/') return -EINVAL;
  int folder = sys_openat(AT_CWD, "/", O_PATH | O_DIRECTORY, 0);
  text_append(last, ".");
  for (int depth = 0; folder >= 0; depth++) {
    while (*path == '/') path++;
    if (*path == 0) return folder;
    u64 n = 0;
    while (path[n] && path[n] != '/') n++;
    int next = NOFD;
    if (depth > 0) {
      if (make && SYS3(__NR_mkdirat, folder, last, 0755) == -ENOSPC) next = -ENOSPC;
      else next = open_folder(folder, last);
      sys_close(folder);
      folder = next;
      if (folder < 0) return folder;
    }
    if (n > 255 || depth >= PATH_DEPTH || (n == 2 && path[0] == '.' && path[1] == '.')) {
      sys_close(folder);
      return n > 255 ? -ENAMETOOLONG : -EINVAL;
    }
    memcpy(last, path, n);
    last[n] = 0;
    path += n;
  }
  return folder;
}

/* 0 or an errno. Runs in a child: a large tree takes long. */
int remove_tree(int folder, const char *name, int depth) {
  i64 failed = SYS3(__NR_unlinkat, folder, name, 0);
  if (failed != -EISDIR && failed != -EPERM) return -failed;
  if (depth > PATH_DEPTH) return ELOOP;
  int fd = read_folder(folder, name);
  if (fd < 0) return -fd;
  u8 entries[4096];
  int result = 0;
  for (int removed = 1; removed && result == 0;) {
    removed = 0;
    i64 n = SYS3(__NR_getdents64, fd, entries, sizeof entries);
    for (u8 *at = entries; n > 0 && at < entries + n && result == 0; at += get16(at + 16)) {
      const char *entry = (const char *)at + 19;
      if (text_equal(entry, ".") || text_equal(entry, "..")) {
        removed = 1;
        continue;
      }
      result = remove_tree(fd, entry, depth + 1);
      if (result == ENOENT) result = 0;
      removed = 1;
    }
    if (n <= 0) break;
  }
  sys_close(fd);
  if (result == 0) result = -SYS3(__NR_unlinkat, folder, name, 0x200 /* AT_REMOVEDIR */);
  return result;
}
