/* Processes: started, watched, signalled with all their descendants; those in the background keep what they wrote. */
#include "agent.h"

#define MOST_TEXTS 4096
#define FALLBACK_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

char **base_env;
volatile int *start_errors;
static char *argv[MOST_TEXTS + 1], *envp[MOST_TEXTS + 1];
static char mark[40];

static int same_key(const char *a, const char *b) {
  while (*a && *a != '=' && *a == *b) a++, b++;
  return *a == '=' && *b == '=';
}

/* The agent's own environment, each name replaced by what the command brings, and the mark by which its descendants are known. */
static int gather_env(const u8 **at, const u8 *end, u32 count, u32 id) {
  u32 n = 0;
  for (; n < count; n++)
    if (!(envp[n] = (char *)take_text(at, end))) return 0;
  text_number(text_append(mark, MARK), id);
  envp[n++] = mark;
  u32 given = n;
  for (char **own = base_env; *own && n < MOST_TEXTS; own++) {
    u32 twin = 0;
    while (twin < given && !same_key(*own, envp[twin])) twin++;
    if (twin == given) envp[n++] = *own;
  }
  envp[n] = 0;
  return 1;
}

static const char *path_of(void) {
  for (char **e = envp; *e; e++)
    if (text_begins(*e, "PATH=")) return *e + 5;
  return FALLBACK_PATH;
}

static int run_program(void) {
  char file[MAX_PATH];
  const char *name = argv[0];
  for (const char *c = name; *c; c++)
    if (*c == '/') return SYS3(__NR_execve, name, argv, envp);
  int result = -ENOENT;
  for (const char *dir = path_of(); *dir;) {
    u64 n = 0;
    while (dir[n] && dir[n] != ':') n++;
    if (n + text_length(name) + 2 < sizeof file) {
      memcpy(file, dir, n);
      file[n] = '/';
      text_append(file + n + 1, name);
      int failed = SYS3(__NR_execve, file, argv, envp);
      if (failed != -ENOENT && failed != -ENOTDIR) result = failed;
    }
    dir += n + (dir[n] == ':');
  }
  return result;
}

static void become(int in, int out, int err, int pty, const char *cwd, int slot) {
  u64 none = 0;
  /* what the agent ignores or blocks, its children must not */
  struct {
    void *handler;
    u64 flags;
    void *restorer;
    u64 mask;
  } usual = {0};
  SYS4(__NR_rt_sigaction, SIGPIPE, &usual, 0, sizeof none);
  SYS4(__NR_rt_sigprocmask, 2 /* set */, &none, 0, sizeof none);
  SYS0(__NR_setsid);
  if (pty) sys_ioctl(in, TIOCSCTTY, 0);
  sys_dup3(in, 0);
  sys_dup3(out, 1);
  sys_dup3(err, 2);
  int failed = cwd[0] ? SYS1(__NR_chdir, cwd) : 0;
  if (failed == 0) failed = run_program();
  else if (failed == -ENOENT) failed = -ENOTDIR;
  start_errors[slot] = -failed;
  sys_exit(127);
}

static int open_pty(const u8 *size, int *terminal) {
  int fd = sys_openat(AT_CWD, "/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0);
  if (fd < 0) return fd;
  int unlocked = 0;
  u32 number;
  char path[24];
  int failed = sys_ioctl(fd, TIOCSPTLCK, &unlocked);
  if (failed == 0) failed = sys_ioctl(fd, TIOCGPTN, &number);
  if (failed == 0) {
    text_number(text_append(path, "/dev/pts/"), number);
    *terminal = sys_openat(AT_CWD, path, O_RDWR | O_NOCTTY, 0);
    failed = *terminal < 0 ? *terminal : 0;
  }
  if (failed != 0) {
    sys_close(fd);
    return failed;
  }
  u16 window[4] = {get16(size + 2), get16(size), 0, 0};
  sys_ioctl(fd, TIOCSWINSZ, window);
  return fd;
}

/* ours[0] is written to (or both ways with a terminal), the others are read; theirs are for the process. */
static int open_pipes(u8 flags, const u8 *size, int ours[3], int theirs[3]) {
  for (int n = 0; n < 3; n++) ours[n] = theirs[n] = NOFD;
  if (flags & WITH_PTY) {
    int fd = open_pty(size, &theirs[0]);
    if (fd < 0) return fd;
    ours[0] = ours[1] = fd;
    theirs[1] = theirs[2] = theirs[0];
    return 0;
  }
  for (int n = 0; n < 3; n++) {
    int fds[2];
    if (n == 0 && !(flags & TAKES_INPUT)) {
      theirs[0] = sys_openat(AT_CWD, "/dev/null", O_RDONLY, 0);
      if (theirs[0] >= 0) continue;
    }
    int failed = sys_pipe(fds);
    if (failed != 0) return failed;
    ours[n] = fds[n == 0];
    theirs[n] = fds[n != 0];
    set_nonblocking(ours[n]);
    if (n == 0 && !(flags & TAKES_INPUT)) {
      sys_close(ours[0]);
      ours[0] = NOFD;
    }
  }
  return 0;
}

static void close_three(int fds[3]) {
  for (int n = 0; n < 3; n++)
    if (fds[n] >= 0 && (n == 0 || fds[n] != fds[0])) sys_close(fds[n]);
}

static struct channel *oldest_ended_job(int *count) {
  struct channel *found = 0;
  for (int n = 0; n < MAX_CHANNELS; n++) {
    struct channel *job = &channels[n];
    if (job->kind != PROCESS || !job->background) continue;
    *count += 1;
    if (!job->exited || (found && found->id < job->id)) continue;
    int read = 0;
    for (int r = 0; r < MAX_CHANNELS; r++) read |= channels[r].kind == READER && channels[r].job == job;
    if (!read) found = job;
  }
  return found;
}

/* The process of a job, and the reader that its starter gets. */
static struct channel *new_job(u32 id, u32 credit) {
  int count = 0;
  struct channel *ended = oldest_ended_job(&count);
  if (count >= MAX_JOBS && !ended) {
    send_number(END, FULL, id, 0);
    return 0;
  }
  if (count >= MAX_JOBS) release(ended);
  struct channel *reader = new_channel(id, READER);
  struct channel *job = reader ? new_channel(id, PROCESS) : 0;
  if (!job) {
    if (reader) reader->kind = FREE;
    return 0;
  }
  job->background = 1;
  job->kept.ring = sys_map(KEPT, 0);
  reader->job = job;
  reader->credit = credit;
  return job;
}

/* Until the program runs, or could not: only then the terminal is its own, and what is typed reaches it. */
static void await_start(int ready[2]) {
  u8 none;
  sys_close(ready[1]);
  while (sys_read(ready[0], &none, 1) == -EINTR) continue;
  sys_close(ready[0]);
}

void exec_process(u32 id, u8 flags, const u8 *at, const u8 *end) {
  if (end - at < 12) return send_number(END, FAILED, id, EINVAL);
  u32 credit = get32(at), argc = get16(at + 8), envc = get16(at + 10);
  const u8 *size = at + 4;
  at += 12;
  const char *name = take_text(&at, end), *cwd = name ? take_text(&at, end) : 0;
  if (!cwd || argc == 0 || argc > MOST_TEXTS || envc > MOST_TEXTS - 2) return send_number(END, FAILED, id, EINVAL);
  for (u32 n = 0; n < argc; n++)
    if (!(argv[n] = (char *)take_text(&at, end))) return send_number(END, FAILED, id, EINVAL);
  argv[argc] = 0;
  if (!gather_env(&at, end, envc, id)) return send_number(END, FAILED, id, EINVAL);
  struct channel *channel = flags & IN_BACKGROUND ? new_job(id, credit) : new_channel(id, PROCESS);
  if (!channel) return;
  int ours[3], theirs[3];
  int failed = open_pipes(flags, size, ours, theirs);
  int slot = channel - channels;
  start_errors[slot] = 0;
  int ready[2];
  if (failed == 0 && flags & WITH_PTY) failed = sys_pipe(ready);
  int pid = failed == 0 ? sys_fork() : failed;
  if (pid == 0) become(theirs[0], theirs[1], theirs[2], flags & WITH_PTY, cwd, slot);
  close_three(theirs);
  if (failed == 0 && flags & WITH_PTY) await_start(ready);
  if (pid < 0) {
    close_three(ours);
    struct channel *reader = find_channel(id);
    if (reader != channel) release(channel);
    return end_channel(reader, NOT_STARTED, -pid);
  }
  channel->pid = pid;
  channel->pty = (flags & WITH_PTY) != 0;
  channel->in = ours[0];
  channel->out[0] = ours[1];
  channel->out[1] = ours[2];
  channel->credit = credit;
  u64 length = text_length(name);
  memcpy(channel->name, name, length < 64 ? length : 64);
  send_number(OPENED, 0, id, pid);
}

/* What the pipes hold now is the last that is sent: a descendant that still writes must not keep the command from ending. */
static void note_exit(struct channel *channel, int status) {
  channel->exited = 1;
  channel->status = status;
  for (int n = 0; n < 2; n++) {
    int bytes = 0;
    if (channel->out[n] >= 0) {
      if (channel->pty) bytes = 1 << 20;
      else sys_ioctl(channel->out[n], FIONREAD, &bytes);
    }
    channel->rest[n] = bytes;
  }
}

void reap(void) {
  for (;;) {
    int status;
    int pid = SYS4(__NR_wait4, -1, &status, 1 /* do not wait */, 0);
    if (pid <= 0) return;
    for (int n = 0; n < MAX_CHANNELS; n++)
      if (channels[n].kind != FREE && channels[n].pid == pid && !channels[n].exited) note_exit(&channels[n], status);
  }
}

static void tell_end(struct channel *channel, struct channel *process) {
  int status = process->status, why = start_errors[process - channels];
  if (why != 0) return end_channel(channel, NOT_STARTED, why);
  if (status & 127) return end_channel(channel, BY_SIGNAL, status & 127);
  end_channel(channel, BY_EXIT, (status >> 8) & 255);
}

/* Once a turn, for what has exited. */
void finish_process(struct channel *channel) {
  if (channel->kind == WORKER) {
    /* one that was killed has no code */
    int code = channel->status & 127 ? EIO : (channel->status >> 8) & 255;
    return end_channel(channel, code == 0 ? DONE : FAILED, code);
  }
  if (channel->kind == READER) {
    struct channel *job = channel->job;
    if (job->exited && channel->at == job->kept.next) tell_end(channel, job);
    return;
  }
  if (channel->background) {
    for (int n = 0; n < 2; n++)
      while (channel->out[n] >= 0 && channel->rest[n] > 0) {
        int bytes = job_read(channel, n);
        channel->rest[n] = bytes <= 0 || bytes > channel->rest[n] ? 0 : channel->rest[n] - bytes;
      }
    close_input(channel);
    for (int n = 0; n < 2; n++) {
      if (channel->out[n] >= 0) sys_close(channel->out[n]);
      channel->out[n] = NOFD;
    }
    return;
  }
  if (channel->rest[0] == 0 && channel->rest[1] == 0) tell_end(channel, channel);
}

/* Bytes read; 0: its end; -1: nothing now */
int job_read(struct channel *job, int which) {
  static u8 piece[4096];
  i64 n = sys_read(job->out[which], piece, sizeof piece);
  if (n == -EAGAIN || n == -EINTR) return -1;
  if (n <= 0) return 0;
  struct kept *kept = &job->kept;
  kept->total += n;
  if (!kept->ring) return n;
  while (kept->next - kept->first + 3 + n > KEPT) {
    u32 length = kept->ring[(kept->first + 1) % KEPT] | kept->ring[(kept->first + 2) % KEPT] << 8;
    kept->first += 3 + length;
  }
  u8 head[3] = {which + 1, n, n >> 8};
  for (int i = 0; i < 3; i++) kept->ring[(kept->next + i) % KEPT] = head[i];
  u32 at = (kept->next + 3) % KEPT;
  u32 first = KEPT - at < n ? KEPT - at : n;
  memcpy(kept->ring + at, piece, first);
  memcpy(kept->ring, piece + first, n - first);
  kept->next += 3 + n;
  return n;
}

void pump_reader(struct channel *reader) {
  struct kept *kept = &reader->job->kept;
  if (reader->at < kept->first) reader->at = kept->first;
  while (reader->at < kept->next && reader->credit >= 4096) {
    u8 fd = kept->ring[reader->at % KEPT];
    u32 length = kept->ring[(reader->at + 1) % KEPT] | kept->ring[(reader->at + 2) % KEPT] << 8;
    u8 *room = wire_room(length);
    u32 at = (reader->at + 3) % KEPT;
    u32 first = KEPT - at < length ? KEPT - at : length;
    memcpy(room, kept->ring + at, first);
    memcpy(room + first, kept->ring, length - first);
    wire_commit(OUT, fd, reader->id, length);
    reader->credit -= length;
    reader->at += 3 + length;
  }
}

void list_jobs(u32 id) {
  for (int n = 0; n < MAX_CHANNELS; n++) {
    struct channel *job = &channels[n];
    if (job->kind != PROCESS || !job->background) continue;
    u64 length = text_length(job->name);
    u8 *at = wire_room(17 + length);
    put32(at, job->id);
    put32(at + 4, job->pid);
    at[8] = !job->exited;
    put64(at + 9, job->kept.total);
    memcpy(at + 17, job->name, length);
    wire_commit(OUT, 1, id, 17 + length);
  }
  send_number(END, DONE, id, 0);
}

void attach_job(u32 id, const u8 *at, const u8 *end) {
  if (end - at != 8) return send_number(END, FAILED, id, EINVAL);
  for (int n = 0; n < MAX_CHANNELS; n++) {
    struct channel *job = &channels[n];
    if (job->kind != PROCESS || !job->background || job->id != get32(at + 4)) continue;
    struct channel *reader = new_channel(id, READER);
    if (!reader) return;
    reader->job = job;
    reader->credit = get32(at);
    return send_number(OPENED, 0, id, job->pid);
  }
  send_number(END, FAILED, id, ENOENT);
}
