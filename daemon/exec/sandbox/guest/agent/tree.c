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

/* The command whose mark an orphan, adopted by the agent, still carries; 0 for none. */
static u32 marked_for(int pid) {
  i64 n = read_file(pid, "/environ");
  for (i64 at = 0; at < n; at += text_length(text + at) + 1)
    if (text_begins(text + at, MARK)) {
      int id;
      take_number(text + at + sizeof MARK - 1, &id);
      return id;
    }
  return 0;
}

static int is_marked(int count, int pid) {
  for (int n = 0; n < count; n++)
    if (table[n].pid == pid) return table[n].marked;
  return 0;
}

/* Whether an entry belongs to a command that is chosen, by what stays with a process when its parent ends. */
static int is_chosen(const struct entry *entry, int self) {
  u32 id = entry->parent == self ? marked_for(entry->pid) : 0;
  for (int n = 0; n < MAX_CHANNELS; n++) {
    struct channel *channel = &channels[n];
    if (channel->kind != PROCESS || !channel->chosen) continue;
    int pid = channel->pid;
    if (entry->pid == pid || entry->session == pid || entry->group == pid || (id != 0 && channel->id == id)) return 1;
  }
  return 0;
}

/* Marks what is chosen (or all children of the agent) and then descendants until none is new; gives how many there are. */
static int mark_all(int everything, int count, int self) {
  int total = 0;
  for (int n = 0; n < count; n++) {
    struct entry *entry = &table[n];
    entry->marked = entry->pid != self && (everything ? entry->parent == self : is_chosen(entry, self));
    total += entry->marked;
  }
  for (int changed = 1; changed;) {
    changed = 0;
    for (int n = 0; n < count; n++) {
      struct entry *entry = &table[n];
      if (entry->marked || entry->pid == self || entry->parent == self || !is_marked(count, entry->parent)) continue;
      entry->marked = changed = 1;
      total++;
    }
  }
  return total;
}

static void signal_marked(int count, int signal) {
  for (int n = 0; n < count; n++)
    if (table[n].marked) sys_kill(table[n].pid, signal);
}

/* To the leaders and their groups: gives how many there are */
static int signal_chosen(int signal) {
  int leaders = 0;
  for (int n = 0; n < MAX_CHANNELS; n++) {
    struct channel *channel = &channels[n];
    if (channel->kind != PROCESS || !channel->chosen || channel->exited) continue;
    leaders++;
    sys_kill(-channel->pid, signal);
    sys_kill(channel->pid, signal);
  }
  return leaders;
}

/* Stopped first, so that none forks while others are being killed; looked at again until no new one is found. */
static void kill_found(int everything) {
  int self = sys_getpid(), before = -1;
  int leaders = everything ? -1 : signal_chosen(SIGSTOP);
  for (int round = 0; round < ROUNDS; round++) {
    int count = scan(), found = mark_all(everything, count, self);
    signal_marked(count, SIGSTOP);
    if (found == leaders || found == before || round == ROUNDS - 1) {
      signal_marked(count, SIGKILL);
      break;
    }
    before = found;
  }
  if (!everything) signal_chosen(SIGKILL);
}

static int waiting;

void kill_chosen(void) {
  if (!waiting) return;
  kill_found(0);
  waiting = 0;
  for (int n = 0; n < MAX_CHANNELS; n++) channels[n].chosen = 0;
}

/* A kill waits for `kill_chosen`, at the end of the turn, so that many cost one look at all processes. */
void signal_tree(struct channel *channel, int signal) {
  if (signal == SIGKILL) {
    channel->chosen = 1;
    waiting = 1;
    return;
  }
  kill_chosen();
  channel->chosen = 1;
  int count = scan();
  mark_all(0, count, sys_getpid());
  signal_marked(count, signal);
  channel->chosen = 0;
}

void kill_all(void) {
  kill_found(1);
  kill_found(1);
}
