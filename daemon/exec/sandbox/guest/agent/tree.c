/* All descendants of a process, found through /proc: also those that left its group, or whose parents are gone. */
#include "agent.h"

#define MOST_PROCESSES 4096
#define ROUNDS 8

struct entry {
  int pid, parent, group, session;
  u8 marked;
};
static struct entry table[MOST_PROCESSES];
static char text[64 << 10];

static i64 read_file(int pid, const char *name) {
  char path[40];
  text_append(text_number(text_append(path, "/proc/"), pid), name);
  int fd = sys_openat(AT_CWD, path, O_RDONLY, 0);
  if (fd < 0) return fd;
  i64 n = sys_read(fd, text, sizeof text - 1);
  sys_close(fd);
  if (n >= 0) text[n] = 0;
  return n;
}

static const char *take_number(const char *at, int *value) {
  while (*at == ' ') at++;
  int n = 0;
  while (*at >= '0' && *at <= '9') n = n * 10 + (*at++ - '0');
  *value = n;
  return at;
}

/* "pid (name) state parent group session ...": the name may hold anything, so the last parenthesis counts. */
static int describe(int pid, struct entry *entry) {
  i64 n = read_file(pid, "/stat");
  if (n <= 0) return 0;
  const char *at = text + n;
  while (at > text && *at != ')') at--;
  if (*at != ')' || text + n - at < 5) return 0;
  entry->pid = pid;
  entry->marked = 0;
  if (at[2] == 'Z' || at[2] == 'X') return 0;
  take_number(take_number(take_number(at + 3, &entry->parent), &entry->group), &entry->session);
  return 1;
}

static int scan(void) {
  static u8 entries[16 << 10];
  int count = 0, fd = sys_openat(AT_CWD, "/proc", O_RDONLY | O_DIRECTORY, 0);
  if (fd < 0) return 0;
  for (;;) {
    i64 n = SYS3(__NR_getdents64, fd, entries, sizeof entries);
    if (n <= 0) break;
    for (u8 *at = entries; at < entries + n; at += get16(at + 16)) {
      int pid;
      if (*take_number((char *)at + 19, &pid) != 0 || pid == 0) continue;
      if (count < MOST_PROCESSES && describe(pid, &table[count])) count++;
    }
  }
  sys_close(fd);
  return count;
}

/* An orphan, adopted by the agent, that still carries the mark of its command. */
static int carries_mark(int pid, u32 id) {
  char wanted[40];
  text_number(text_append(wanted, MARK), id);
  i64 n = read_file(pid, "/environ");
  for (i64 at = 0; at < n; at += text_length(text + at) + 1)
    if (text_equal(text + at, wanted)) return 1;
  return 0;
}

static int is_marked(int count, int pid) {
  for (int n = 0; n < count; n++)
    if (table[n].pid == pid) return table[n].marked;
  return 0;
}

/* Marks descendants until none is new; gives how many there are. Without a channel, all of the agent's. */
static int mark_all(struct channel *channel, int count, int self) {
  int total = 0;
  for (int changed = 1; changed;) {
    changed = 0;
    for (int n = 0; n < count; n++) {
      struct entry *entry = &table[n];
      if (entry->marked || entry->pid == self) continue;
      int ours = entry->parent != self && is_marked(count, entry->parent);
      if (!ours && !channel) ours = entry->parent == self;
      if (!ours && channel) {
        ours = entry->pid == channel->pid || entry->session == channel->pid || entry->group == channel->pid;
        if (!ours && entry->parent == self) ours = carries_mark(entry->pid, channel->id);
      }
      if (!ours) continue;
      entry->marked = 1;
      changed = 1;
      total++;
    }
  }
  return total;
}

static void signal_marked(int count, int signal) {
  for (int n = 0; n < count; n++)
    if (table[n].marked) sys_kill(table[n].pid, signal);
}

static void signal_found(struct channel *channel, int signal) {
  int self = sys_getpid(), before = 0;
  if (channel && !channel->exited) sys_kill(-channel->pid, signal == SIGKILL ? SIGSTOP : signal);
  for (int round = 0; round < ROUNDS; round++) {
    int count = scan(), found = mark_all(channel, count, self);
    if (signal != SIGKILL) return signal_marked(count, signal);
    /* stopped first, so that none forks while others are being killed */
    signal_marked(count, SIGSTOP);
    if (found == before || round == ROUNDS - 1) {
      signal_marked(count, SIGKILL);
      break;
    }
    before = found;
  }
  if (channel && !channel->exited) sys_kill(-channel->pid, SIGKILL);
}

void signal_tree(struct channel *channel, int signal) { signal_found(channel, signal); }

void kill_all(void) {
  for (int round = 0; round < ROUNDS; round++) signal_found(0, SIGKILL);
}
