/* Files: each operation is one channel, ended by its result. */
#include "agent.h"
#include <linux/inotify.h>

#define INLINE_CONTENT 128

static void put_stat(u8 *at, const struct statx *found) {
  put16(at, found->stx_mode);
  put64(at + 2, found->stx_size);
  put64(at + 10, found->stx_mtime.tv_sec * 1000 + found->stx_mtime.tv_nsec / 1000000);
  put32(at + 18, found->stx_uid);
  put32(at + 22, found->stx_gid);
}

void send_stat(u8 type, u32 id, const struct statx *found) {
  put_stat(wire_room(26), found);
  wire_commit(type, 0, id, 26);
}

static int is_link(int folder, const char *name) {
  struct statx found;
  return sys_statx(folder, name, &found) == 0 && (found.stx_mode & S_IFMT) == S_IFLNK;
}

static int read_file(u32 id, u32 credit, u64 offset, int folder, const char *name) {
  /* a pipe would make us wait: opened without waiting, and only a plain file is read */
  int fd = sys_openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
  if (fd < 0) return fd;
  struct statx found;
  i64 failed = sys_statx(fd, "", &found);
  if (failed == 0 && (found.stx_mode & S_IFMT) != S_IFREG) failed = (found.stx_mode & S_IFMT) == S_IFDIR ? -EISDIR : -EINVAL;
  if (failed == 0 && offset > 0) {
    failed = SYS3(__NR_lseek, fd, offset, 0);
    if (failed > 0) failed = 0;
  }
  struct channel *channel = failed == 0 ? new_channel(id, FILE_IN) : 0;
  if (!channel) {
    sys_close(fd);
    return failed == 0 ? 1 : failed;
  }
  channel->out[0] = fd;
  channel->credit = credit;
  send_stat(OPENED, id, &found);
  /* a small file is sent at once */
  pump_output(channel, 0);
  if (channel->kind == FILE_IN) pump_output(channel, 0);
  return 1;
}

static int write_file(u32 id, u32 mode, int *folder, const char *name, const u8 *content, const u8 *end, int whole) {
  struct statx found;
  i64 failed = sys_statx(*folder, name, &found);
  if (failed == 0) {
    u32 type = found.stx_mode & S_IFMT;
    if (type == S_IFLNK) return -ELOOP;
    if (type != S_IFREG) return type == S_IFDIR ? -EISDIR : -EINVAL;
    if (mode == 0) mode = found.stx_mode & 07777;
  } else if (failed != -ENOENT) {
    return failed;
  }
  struct channel *channel = new_channel(id, FILE_OUT);
  if (!channel) return 1;
  static u32 serial;
  do {
    text_append(text_number(text_append(text_number(text_append(channel->temporary, ".manyhands-"), id), "-"), ++serial), ".tmp");
    channel->in = sys_openat(*folder, channel->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  } while (channel->in == -EEXIST);
  if (channel->in < 0) {
    failed = channel->in;
    channel->in = NOFD;
    channel->kind = FREE;
    return failed;
  }
  channel->mode = mode == 0 ? 0644 : mode & 07777;
  channel->folder = *folder;
  *folder = NOFD;
  text_append(channel->target, name);
  if (!whole) send_number(OPENED, 0, id, 0);
  else take_data(channel, content, end - content, 1);
  return 1;
}

void abandon_file(struct channel *channel) {
  if (channel->kind == FILE_OUT && channel->folder >= 0) SYS3(__NR_unlinkat, channel->folder, channel->temporary, 0);
}

void commit_file(struct channel *channel) {
  i64 failed = SYS2(__NR_fchmod, channel->in, channel->mode);
  if (failed == 0) failed = SYS5(__NR_renameat2, channel->folder, channel->temporary, channel->folder, channel->target, 0);
  if (failed != 0) return end_channel(channel, FAILED, -failed);
  sys_close(channel->folder);
  channel->folder = NOFD;
  end_channel(channel, DONE, 0);
}

static int open_list(u32 id, u32 credit, int folder, const char *name) {
  int fd = read_folder(folder, name);
  if (fd < 0) return fd;
  struct channel *channel = new_channel(id, FOLDER);
  if (!channel) {
    sys_close(fd);
    return 1;
  }
  channel->out[0] = fd;
  channel->credit = credit;
  pump_folder(channel);
  return 1;
}

/* Entries: {stat, u16 length, name}, as many in a frame as one reading of the folder gives. */
void pump_folder(struct channel *channel) {
  static u8 entries[8 << 10];
  u8 *room = wire_room(PIECE);
  while (channel->credit >= PIECE) {
    i64 n = SYS3(__NR_getdents64, channel->out[0], entries, sizeof entries);
    if (n <= 0) return end_channel(channel, n == 0 ? DONE : FAILED, -n);
    u32 length = 0;
    for (u8 *at = entries; at < entries + n; at += get16(at + 16)) {
      const char *name = (const char *)at + 19;
      struct statx found;
      if (text_equal(name, ".") || text_equal(name, "..") || sys_statx(channel->out[0], name, &found) != 0) continue;
      u16 bytes = text_length(name);
      put_stat(room + length, &found);
      put16(room + length + 26, bytes);
      memcpy(room + length + 28, name, bytes);
      length += 28 + bytes;
    }
    if (length == 0) continue;
    channel->credit -= length;
    wire_commit(OUT, 1, channel->id, length);
    room = wire_room(PIECE);
  }
}

static int open_watch(u32 id, u32 credit, int folder, const char *name) {
  int target = sys_openat(folder, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
  if (target == -ENOTDIR && is_link(folder, name)) return -ELOOP;
  if (target < 0) return target;
  int fd = SYS1(__NR_inotify_init1, O_CLOEXEC | O_NONBLOCK);
  i64 failed = fd < 0 ? fd : 0;
  if (failed == 0) {
    char path[40];
    text_number(text_append(path, "/proc/self/fd/"), target);
    u32 wanted = IN_CREATE | IN_MOVED_TO | IN_CLOSE_WRITE | IN_MODIFY | IN_ATTRIB | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF;
    failed = SYS3(__NR_inotify_add_watch, fd, path, wanted);
  }
  sys_close(target);
  struct channel *channel = failed >= 0 ? new_channel(id, WATCH) : 0;
  if (!channel) {
    if (fd >= 0) sys_close(fd);
    return failed < 0 ? failed : 1;
  }
  channel->out[0] = fd;
  channel->credit = credit;
  send_number(OPENED, 0, id, 0);
  return 1;
}

/* Changes: {u8 kind, u16 length, name}. The kernel bounds its queue; an overflow is told as a change without a name. */
void pump_watch(struct channel *channel) {
  static u8 events[4096];
  if (channel->credit < sizeof events) return;
  i64 n = sys_read(channel->out[0], events, sizeof events);
  if (n <= 0) return;
  u8 *room = wire_room(sizeof events);
  u32 length = 0;
  int gone = 0;
  for (u8 *at = events; at < events + n; at += 16 + get32(at + 12)) {
    u32 mask = get32(at + 4);
    if (mask & IN_IGNORED) gone = 1;
    if (mask & (IN_IGNORED | IN_DELETE_SELF)) continue;
    const char *name = get32(at + 12) > 0 ? (const char *)at + 16 : "";
    if (name[0] == 0 && !(mask & IN_Q_OVERFLOW)) continue;
    u16 bytes = text_length(name);
    room[length] = mask & (IN_CREATE | IN_MOVED_TO) ? 1 : mask & (IN_DELETE | IN_MOVED_FROM) ? 3 : 2;
    put16(room + length + 1, bytes);
    memcpy(room + length + 3, name, bytes);
    length += 3 + bytes;
  }
  if (length > 0) {
    channel->credit -= length;
    wire_commit(OUT, 1, channel->id, length);
  }
  if (gone) end_channel(channel, DONE, 0);
}

static int remove_all(u32 id, int folder, const char *name) {
  struct channel *channel = new_channel(id, WORKER);
  if (!channel) return 1;
  int pid = sys_fork();
  if (pid == 0) sys_exit(remove_tree(folder, name, 0));
  if (pid < 0) {
    channel->kind = FREE;
    return pid;
  }
  channel->pid = pid;
  return 1;
}

static int stat_file(u32 id, int folder, const char *name) {
  struct statx found;
  i64 failed = sys_statx(folder, name, &found);
  if (failed == 0) send_stat(OPENED, id, &found);
  return failed;
}

static int make_folder(int folder, const char *name) {
  i64 failed = SYS3(__NR_mkdirat, folder, name, 0755);
  if (failed != -EEXIST) return failed;
  struct statx found;
  failed = sys_statx(folder, name, &found);
  if (failed != 0) return failed;
  u32 type = found.stx_mode & S_IFMT;
  return type == S_IFDIR ? 0 : type == S_IFLNK ? -ELOOP : -EEXIST;
}

static int remove_one(int folder, const char *name) {
  i64 failed = SYS3(__NR_unlinkat, folder, name, 0);
  return failed == -EISDIR ? SYS3(__NR_unlinkat, folder, name, 0x200 /* AT_REMOVEDIR */) : failed;
}

static int move_to(int folder, const char *name, const char *to) {
  char last[256];
  int target = walk(to, 1, last);
  if (target < 0) return target;
  i64 failed = SYS5(__NR_renameat2, folder, name, target, last, 0);
  sys_close(target);
  return failed;
}

/* {u32 credit, u32 mode, u64 offset, path, second path or content} */
void file_op(u32 id, u8 flags, const u8 *at, const u8 *end) {
  u8 op = flags & ~INLINE_CONTENT;
  if (end - at < 17) return send_number(END, FAILED, id, EINVAL);
  u32 credit = get32(at), mode = get32(at + 4);
  u64 offset = get64(at + 8);
  at += 16;
  const char *path = take_text(&at, end), *second = 0;
  if (op == OP_MOVE && path) second = take_text(&at, end);
  char name[256];
  int folder = path && (second || op != OP_MOVE) ? walk(path, op == OP_WRITE || op == OP_MKDIR, name) : -EINVAL;
  int result = folder;
  if (folder >= 0) switch (op) {
      case OP_READ: result = read_file(id, credit, offset, folder, name); break;
      case OP_WRITE: result = write_file(id, mode, &folder, name, at, end, flags & INLINE_CONTENT); break;
      case OP_STAT: result = stat_file(id, folder, name); break;
      case OP_LIST: result = open_list(id, credit, folder, name); break;
      case OP_MKDIR: result = make_folder(folder, name); break;
      case OP_MOVE: result = move_to(folder, name, second); break;
      case OP_REMOVE: result = remove_one(folder, name); break;
      case OP_REMOVE_ALL: result = remove_all(id, folder, name); break;
      case OP_WATCH: result = open_watch(id, credit, folder, name); break;
      default: result = -EINVAL;
    }
  if (folder >= 0) sys_close(folder);
  if (result < 0) send_number(END, FAILED, id, -result);
  if (result == 0) send_number(END, DONE, id, 0);
}
