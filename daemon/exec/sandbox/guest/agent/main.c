/* The loop: wait, read what the daemon sent, move bytes, collect the dead, write what there is to say. */
#include "agent.h"
#include <linux/filter.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <linux/signalfd.h>

#define MOST_POLLS (3 + 3 * MAX_CHANNELS)

static int signals;
static struct pollfd polls[MOST_POLLS];
/* What each poll is for: the channel, and 0 input, 1 and 2 output */
static struct {
  struct channel *channel;
  u8 what;
} meaning[MOST_POLLS];

void dispatch(u8 type, u8 flag, u32 id, const u8 *body, u32 length) {
  const u8 *end = body + length;
  struct channel *channel = find_channel(id);
  switch (type) {
    case EXEC: return exec_process(id, flag, body, end);
    case FILE_OP: return file_op(id, flag, body, end);
    case DIAL: return dial(id, body, end);
    case LISTEN: return listen_on(id, body, end);
    case ACCEPT: return await_connection(id, body, end);
    case ATTACH: return attach_job(id, body, end);
    case JOBS: return list_jobs(id);
    case MOVE: {
      const char *path = take_text(&body, end);
      int failed = path ? wire_move(path) : -EINVAL;
      if (failed != 0) send_number(END, FAILED, id, -failed);
      return;
    }
    case PING: return send_number(PONG, 0, id, 0);
    case KILL_ALL:
      kill_all();
      return send_number(END, DONE, id, 0);
  }
  if (!channel) return;
  struct channel *process = process_of(channel);
  switch (type) {
    case DATA: return take_data(channel, body, length, flag & 1);
    case CREDIT:
      if (length == 4) channel->credit += get32(body);
      return;
    case SIGNAL:
      /* a process that was just started may not have its group yet */
      if (process && !process->exited && sys_kill(-process->pid, flag) == -ESRCH) sys_kill(process->pid, flag);
      return;
    case TREE:
      if (process && (!process->exited || flag == SIGKILL)) signal_tree(process, flag);
      return;
    case RESIZE:
      if (process && process->pty && process->out[0] >= 0 && length == 4) {
        u16 window[4] = {get16(body + 2), get16(body), 0, 0};
        sys_ioctl(process->out[0], TIOCSWINSZ, window);
      }
      return;
    case CLOSE:
      if (channel->background) return;
      if (channel->kind == PROCESS && !channel->exited) {
        signal_tree(channel, SIGKILL);
        kill_chosen();
      }
      return end_channel(channel, DONE, 0);
  }
}

static int add_poll(int count, struct channel *channel, u8 what, int fd, short events) {
  polls[count].fd = fd;
  polls[count].events = events;
  polls[count].revents = 0;
  meaning[count].channel = channel;
  meaning[count].what = what;
  return count + 1;
}

/* A pipe whose reader is gone is noticed when it is written to; a process that ended, by its signal. So only what can move is waited for. */
static int gather_polls(void) {
  int count = add_poll(0, 0, 0, wire_fd(), POLLIN);
  count = add_poll(count, 0, 0, signals, POLLIN);
  /* a negative number is not waited for */
  count = add_poll(count, 0, 0, wire_standby(), POLLIN);
  for (int n = 0; n < MAX_CHANNELS; n++) {
    struct channel *channel = &channels[n];
    if (channel->kind == FREE) continue;
    if (channel->connecting) {
      count = add_poll(count, channel, 0, channel->in, POLLOUT);
      continue;
    }
    if (channel->in >= 0 && channel->length > 0) count = add_poll(count, channel, 0, channel->in, POLLOUT);
    if (channel->kind == LISTENER) {
      if (next_waiting(channel)) count = add_poll(count, channel, 1, channel->out[0], POLLIN);
      continue;
    }
    u32 least = channel->kind == FOLDER ? PIECE : channel->kind == WATCH ? 4096 : 1;
    if (channel->credit < least && !channel->background) continue;
    for (int which = 0; which < 2; which++)
      if (channel->out[which] >= 0 && !channel->output_over[which])
        count = add_poll(count, channel, which + 1, channel->out[which], POLLIN);
  }
  return count;
}

static void move_bytes(int count) {
  for (int n = 3; n < count; n++) {
    struct channel *channel = meaning[n].channel;
    /* an earlier turn of this loop may have ended it */
    if (polls[n].revents == 0 || channel->kind == FREE) continue;
    if (meaning[n].what == 0 && channel->in != polls[n].fd) continue;
    if (meaning[n].what > 0 && channel->out[meaning[n].what - 1] != polls[n].fd) continue;
    if (channel->connecting) socket_ready(channel);
    else if (meaning[n].what == 0) pump_input(channel);
    else pump_output(channel, meaning[n].what - 1);
  }
}

static void drain_exited(struct channel *channel) {
  for (int which = 0; which < 2; which++)
    while (channel->kind == PROCESS && channel->out[which] >= 0 && channel->rest[which] > 0 && channel->credit > 0) {
      u32 before = channel->rest[which];
      pump_output(channel, which);
      if (channel->out[which] >= 0 && channel->rest[which] == before) break;
    }
}

static void finish(void) {
  for (int n = 0; n < MAX_CHANNELS; n++) {
    struct channel *channel = &channels[n];
    if (channel->kind == FREE || !channel->exited) continue;
    if (channel->kind == PROCESS && !channel->background) drain_exited(channel);
    if (channel->kind == PROCESS || channel->kind == WORKER) finish_process(channel);
  }
  for (int n = 0; n < MAX_CHANNELS; n++) {
    if (channels[n].kind != READER) continue;
    pump_reader(&channels[n]);
    finish_process(&channels[n]);
  }
}

/* Gives whether the agent should go on. As the first of its namespace it takes orders only from outside, where no process has a number. */
static int take_signals(void) {
  struct signalfd_siginfo info;
  int go_on = 1, first = sys_getpid() == 1;
  while (sys_read(signals, &info, sizeof info) == sizeof info)
    go_on &= info.ssi_signo == SIGCHLD || (first && info.ssi_pid != 0);
  reap();
  return go_on;
}

/*
 * Engines before 25 let io_uring through, whose operations go past the engine's own filter of system calls. Its three calls have the same numbers on
 * all processors; the bit that is masked is that of x86's other ABI. Where no filter can be set (gVisor, which has no io_uring), there is none.
 */
static void close_io_uring(void) {
  struct sock_filter program[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, 0 /* the number of the call */},
      {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xbfffffff},
      {BPF_JMP | BPF_JGE | BPF_K, 0, 2, __NR_io_uring_setup},
      {BPF_JMP | BPF_JGT | BPF_K, 1, 0, __NR_io_uring_register},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ERRNO | EPERM},
      {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW},
  };
  struct sock_fprog filter = {sizeof program / sizeof *program, program};
  SYS2(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1);
  if (SYS3(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &filter) != 0)
    SYS3(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

static void set_up(char **argv) {
  close_io_uring();
  /* what is not to be read of the guest's: this process's memory; what is to be ours: orphans */
  SYS2(__NR_prctl, PR_SET_DUMPABLE, 0);
  SYS2(__NR_prctl, PR_SET_CHILD_SUBREAPER, 1);
  struct {
    void *handler;
    u64 flags;
    void *restorer;
    u64 mask;
  } ignore = {(void *)1, 0, 0, 0};
  SYS4(__NR_rt_sigaction, SIGPIPE, &ignore, 0, 8);
  u64 watched = 1UL << (SIGCHLD - 1) | 1UL << (SIGTERM - 1);
  SYS4(__NR_rt_sigprocmask, 0 /* block */, &watched, 0, 8);
  signals = SYS4(__NR_signalfd4, -1, &watched, 8, O_CLOEXEC | O_NONBLOCK);
  start_errors = sys_map(MAX_CHANNELS * sizeof *start_errors, 1);
  /* larger pipes, where allowed: fewer wakings */
  sys_fcntl(0, F_SETPIPE_SZ, 1 << 20);
  sys_fcntl(1, F_SETPIPE_SZ, 1 << 20);
  wire_start(argv[1]);
}

__attribute__((noreturn, used)) void agent_main(i64 *stack) {
  char **argv = (char **)(stack + 1);
  base_env = (char **)(stack + stack[0] + 2);
  if (stack[0] < 2 || text_length(argv[1]) != TOKEN) {
    const char usage[] = "usage: agent TOKEN (32 characters); it is started by the daemon and speaks frames\n";
    sys_write(2, usage, sizeof usage - 1);
    sys_exit(64);
  }
  set_up(argv);
  if (signals < 0 || !start_errors) sys_exit(71);
  for (;;) {
    int count = gather_polls();
    i64 n = SYS5(__NR_ppoll, polls, count, 0, 0, 0);
    if (n < 0 && n != -EINTR) break;
    if (n > 0) {
      if (polls[1].revents && !take_signals()) break;
      if (polls[2].revents) wire_fall_back();
      else if (polls[0].revents && !wire_read()) break;
      kill_chosen();
      move_bytes(count);
    }
    finish();
    wire_flush();
  }
  kill_all();
  sys_exit(0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n  mov %rsp, %rdi\n  xor %ebp, %ebp\n  and $-16, %rsp\n  call agent_main\n");
#else
__asm__(".globl _start\n_start:\n  mov x0, sp\n  mov x29, #0\n  bl agent_main\n");
#endif
